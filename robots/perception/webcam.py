"""A USB camera through LeRobot's own driver, which reads it in a thread of its own."""

from collections.abc import Mapping
from typing import Any, Self

from envs.errors import EmbodiedError
from envs.types import Array

WARM_UP = 1
"""[s] in which exposure settles."""


class Webcam:
    """Gives the newest picture; use it in a `with` block."""

    def __init__(self, name: str, device: str, width: int, height: int) -> None:
        """`device` is OpenCV's number of the camera or its path; pictures are of the size that was calibrated.

        Raises `EmbodiedError` for one that does not open, or has no such size.
        """
        from lerobot.cameras.opencv import OpenCVCamera, OpenCVCameraConfig

        self.name = name
        where: Any = int(device) if device.isdecimal() else device
        self._camera: Any = OpenCVCamera(
            OpenCVCameraConfig(index_or_path=where, width=width, height=height, fps=None, warmup_s=WARM_UP)
        )
        try:
            self._camera.connect()
        except (OSError, RuntimeError, ValueError) as error:
            raise EmbodiedError(
                f"The camera {device} gives no pictures of {width} x {height} ({error}): lerobot-find-cameras opencv "
                "lists those there are; calibrate at a size that it has."
            ) from error

    def __call__(self) -> Mapping[str, Array]:
        """`[h w 3]` uint8 by the camera's name. Raises `EmbodiedError` where none has come for a while."""
        try:
            return {self.name: self._camera.read_latest()}
        except (OSError, RuntimeError, TimeoutError) as error:
            raise EmbodiedError(f"The camera {self.name} has stopped ({error}); check its cable.") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._camera.disconnect()
