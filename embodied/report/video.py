"""Short films inside the page: frames side by side, H.264 where ffmpeg is there, a moving image where it is not."""

import base64
import importlib
import io
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from envs.errors import EmbodiedError

Frames = NDArray[np.uint8]

_GAP, _BAR = 4, 10
_TRUSTED, _REST, _TRACK = (11, 98, 164), (194, 72, 10), (214, 210, 202)


def data_uri(content: bytes, media_type: str) -> str:
    """Bytes as an address that needs no network."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


def image_type(content: bytes) -> str:
    """The media type of PNG, JPEG or WebP bytes; raises `EmbodiedError` for others."""
    for start, media_type in ((b"\x89PNG", "image/png"), (b"\xff\xd8", "image/jpeg"), (b"RIFF", "image/webp")):
        if content.startswith(start):
            return media_type
    raise EmbodiedError(f"A picture for the page must be PNG, JPEG or WebP, got bytes beginning {content[:4]!r}.")


def png(frame: Frames) -> bytes:
    """`[h w 3]` as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def jpeg(frame: Frames, quality: int = 88) -> bytes:
    """`[h w 3]` as JPEG: a tenth of a PNG's size for a rendered picture."""
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "JPEG", quality=quality, optimize=True)
    return buffer.getvalue()


def side_by_side(truth: Frames, imagined: Frames, trusted: int) -> Frames:
    """Truth left, imagination right, a bar of time below whose colour turns after step `trusted`.

    Beyond that step the imagination fades to grey, so that nobody takes it for more than it is.
    Takes `[T h w 3]` twice, gives `[T h' w' 3]` with even sides, as H.264 wants.
    Raises `EmbodiedError` where the two films differ in shape.
    """
    if truth.shape != imagined.shape or truth.ndim != 4:
        raise EmbodiedError(f"Two films of one shape [T h w 3] are needed, got {truth.shape} and {imagined.shape}.")
    steps, height, width = truth.shape[:3]
    total_width, total_height = 2 * width + _GAP, height + _BAR
    film = np.full((steps, total_height + total_height % 2, total_width + total_width % 2, 3), 255, np.uint8)
    for step in range(steps):
        right = imagined[step].astype(np.float64)
        if step > trusted:
            right = 0.45 * right + 0.55 * (0.35 * right.mean(-1, keepdims=True) + 0.65 * 225)
        film[step, :height, :width] = truth[step]
        film[step, :height, width + _GAP : total_width] = right.astype(np.uint8)
        film[step, height:] = _TRACK
        now, turn = ((total_width * min(k + 1, steps)) // steps for k in (step, trusted))
        film[step, height:, : min(now, turn)] = _TRUSTED
        film[step, height:, min(now, turn) : now] = _REST
        film[step, height:, turn - 1 : turn + 1] = 0
    return film


def encode(frames: Frames, rate: float) -> tuple[bytes, str]:
    """`[T h w 3]` with even sides at `rate` [Hz] as a film and its media type: H.264, else an animated WebP."""
    try:
        return _h264(frames, rate), "video/mp4"
    except (ImportError, RuntimeError, OSError):
        images = [Image.fromarray(frame) for frame in frames]
        buffer = io.BytesIO()
        duration = round(1000 / rate)
        images[0].save(buffer, "WEBP", save_all=True, append_images=images[1:], duration=duration, loop=0, quality=70)
        return buffer.getvalue(), "image/webp"


def _h264(frames: Frames, rate: float) -> bytes:
    imageio_ffmpeg = importlib.import_module("imageio_ffmpeg")

    height, width = frames.shape[1:3]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "film.mp4"
        writer = imageio_ffmpeg.write_frames(
            str(file),
            (width, height),
            fps=rate,
            codec="libx264",
            macro_block_size=2,
            output_params=["-crf", "23", "-preset", "slow", "-movflags", "+faststart", "-threads", "1"],
        )
        writer.send(None)
        for frame in frames:
            writer.send(np.ascontiguousarray(frame))
        writer.close()
        return file.read_bytes()
