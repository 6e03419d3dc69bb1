"""`type: twin` among LeRobot's cameras: what a camera of the scene sees of an `embodied twin` that runs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from lerobot.cameras.camera import Camera
from lerobot.cameras.configs import CameraConfig
from lerobot.utils.errors import DeviceNotConnectedError

from envs import cameras
from envs.mirror import Mirror
from envs.tasks import task
from envs.types import Array
from robots.perception.truth import bodies
from robots.twin.process import tell
from robots.units import JOINTS


@CameraConfig.register_subclass("twin")
@dataclass(kw_only=True)
class TwinCameraConfig(CameraConfig):
    """Which camera of which twin."""

    folder: str = "runs/twin"
    """Of the twin."""
    view: str = "front"
    """A camera of the scene: `front`, `top` or `wrist`."""
    mode: str = "fast"
    """A name in `envs.cameras.MODES`: `fast` has no shadows, `shadow` has."""
    fps: int | None = 30
    width: int | None = 320
    height: int | None = 240


class TwinCamera(Camera):
    """Draws the moment whenever it is asked, in the process that asks: the twin only says what is where."""

    def __init__(self, config: TwinCameraConfig) -> None:
        """Raises `EmbodiedError` for an unknown mode, or a size without pixels."""
        super().__init__(config)
        self.config = config
        self._wanted = cameras.CameraConfig(config.view, config.width or 0, config.height or 0, config.mode)
        self._mirror: Mirror | None = None

    @property
    def is_connected(self) -> bool:
        """Whether `connect` was called."""
        return self._mirror is not None

    @staticmethod
    def find_cameras() -> list[dict[str, Any]]:
        """None: a twin's folder has to be named."""
        return []

    def connect(self, warmup: bool = True) -> None:
        """Ask the twin for its scene. Raises `EmbodiedError` where none runs, and for a view that the scene lacks."""
        told = self._told()
        mirror = Mirror(task(told["task"], distractors=told["distractors"]).scene)
        self._cameras = cameras.Cameras(mirror.simulation.scene, (self._wanted,), threads=1)
        self._mirror = mirror
        # The first picture loads compiled code, for which no arm should have to wait.
        self.read()

    def read(self) -> Array:
        """`[height width 3]` uint8 RGB of this moment. Raises `EmbodiedError` where the twin is gone."""
        if self._mirror is None:
            raise DeviceNotConnectedError(f"The twin's {self.config.view} camera is not connected.")
        told = self._told()
        angles = np.array([told["joints"][name] for name in JOINTS])
        self._mirror.show(angles, np.zeros(len(JOINTS)), angles, bodies(self._mirror, told))
        return self._cameras.render(self._mirror.simulation)[self._wanted.name][0]

    def async_read(self, timeout_ms: float = 200.0) -> Array:
        """As `read`: every picture is new."""
        return self.read()

    def read_latest(self, max_age_ms: int = 500) -> Array:
        """As `read`: no picture is older."""
        return self.read()

    def disconnect(self) -> None:
        """Forget the scene."""
        self._mirror = None

    def _told(self) -> dict[str, Any]:
        return tell(Path(self.config.folder), "truth()")
