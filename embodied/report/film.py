"""Films one held-out episode: what happened beside what the model imagined from its first moments and its plan."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from embodied.evaluation.branches import Imagine
from embodied.evaluation.contexts import movable
from embodied.report import video
from embodied.report.data import Clip
from envs.cameras import CameraConfig, Cameras
from envs.episode import Episode
from envs.errors import EmbodiedError
from envs.scene import Scene
from envs.types import PROPRIOCEPTION, Array, Observation

THRESHOLD = 0.02
"""[m] Largest error to be expected that is still trusted: the tolerance of `place`."""
LEVEL = 0.9
"""How often the error should stay below what is expected."""
WIDTH, HEIGHT = 440, 330
"""Pixels of each half."""


def clip(
    scene: Scene, model: Imagine, episodes: Sequence[Episode], rate: float, history: int = 3, steps: int = 40
) -> Clip:
    """One of these unseen episodes, imagined in one go without seeing anything on the way.

    Half of the episodes, the first ones, calibrate what error to expect from the ensemble's disagreement (conformal
    prediction with scaled scores: Lei et al. 2018, JASA 113, sec. 5.2); the film is of the median one of the others.
    Raises `EmbodiedError` where there are fewer than four episodes long enough.
    """
    long = [episode for episode in episodes if episode.length >= history + 1]
    if len(long) < 4:
        raise EmbodiedError(f"A film needs four episodes of at least {history + 1} steps.")
    steps = min(steps, *(episode.length - history + 1 for episode in long))
    start = history - 1
    shown = [episode.observation[: start + 1] for episode in long]
    seen = Observation.stack(shown)
    actions = np.stack([np.asarray(e.action, np.float64)[start : start + steps] for e in long])
    rollout = model(seen, actions)
    if rollout.uncertainty is None:
        raise EmbodiedError("The model gives no uncertainty; a film of trust needs an ensemble.")
    imagined = rollout.observation.map(lambda array: np.asarray(array, dtype=np.float64))
    truth = [episode.observation[start : start + steps + 1] for episode in long]
    boxes = movable(seen.objects.kind)
    actual = np.stack([o.objects.position_in_world for o in truth])[:, :, boxes]
    there = np.stack([o.objects.present for o in truth])[:, :, boxes]
    error = _largest(np.linalg.norm(imagined.objects.position_in_world[:, :, boxes] - actual, axis=-1), there)
    disagreement = _largest(np.asarray(rollout.uncertainty, dtype=np.float64)[:, :, boxes], there)
    half = len(long) // 2
    # Members that agree may be wrong together: disagreement is counted on top of what is usual that far ahead.
    doubt = disagreement + error[:half].mean(0)
    expected = doubt * np.quantile((error / np.maximum(doubt, 1e-9))[:half, 1:], LEVEL)
    held = float((error <= expected)[half:, 1:].mean())
    chosen = half + int(np.argsort(error[half:, -1], kind="stable")[(len(long) - half) // 2])
    time = np.arange(steps + 1) / rate

    cameras = Cameras(scene, (CameraConfig("front", 2 * WIDTH, 2 * HEIGHT, "shadow"),))
    happened = _filmed(cameras, truth[chosen])
    dreamt = _filmed(cameras, imagined[chosen])
    above = expected[chosen] > THRESHOLD
    trusted = max(0, int(above.argmax()) - 1) if above.any() else steps
    film, media_type = video.encode(video.side_by_side(happened, dreamt, trusted), rate)
    still = video.side_by_side(happened, dreamt, trusted)[max(trusted, steps // 2)]
    return Clip(
        film,
        media_type,
        video.jpeg(still),
        f"The episode of median error among {len(long) - half} unseen ones, {time[-1]:.1f} s imagined in one go. In "
        f"all of them the error stayed below what was expected in {100 * held:.0f} % of the steps; the aim was "
        f"{100 * LEVEL:.0f} %.",
        time.tolist(),
        expected[chosen].tolist(),
        error[chosen].tolist(),
        THRESHOLD,
    )


def _largest(values: NDArray[np.float64], there: NDArray[np.bool_]) -> NDArray[np.float64]:
    """`[E T+1]` the largest over the objects that are there."""
    largest: NDArray[np.float64] = np.where(there, values, 0.0).max(-1)
    return largest


def _filmed(cameras: Cameras, observation: Observation) -> video.Frames:
    """`[T h w 3]`, drawn at twice the size and averaged: smooth edges at the price of four rays a pixel."""
    joints = observation.proprioception[:, PROPRIOCEPTION["joint_position"]]
    large: Array = cameras.draw(joints, observation.objects)["front"].rgb.astype(np.float32)
    count, height, width, _ = large.shape
    small = large.reshape(count, height // 2, 2, width // 2, 2, 3).mean((2, 4))
    frames: video.Frames = np.round(small).astype(np.uint8)
    return frames


def portrait(scene: Scene, observation: Observation, width: int = 1040, height: int = 560) -> bytes:
    """JPEG of one state (no batch axis), for the head of the page."""
    cameras = Cameras(scene, (CameraConfig("front", width, height, "video"),))
    single = observation.map(lambda array: np.asarray(array)[None])
    single = replace(single, images={})
    return video.jpeg(cameras.render(single)["front"][0], quality=90)
