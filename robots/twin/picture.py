"""Pictures of the scene in a file that is replaced now and then, drawn beside the loop that serves."""

import os
import threading
from pathlib import Path

import cv2

from envs.cameras import CameraConfig, Cameras
from envs.simulation import Simulation
from envs.types import Observation

CAMERA = CameraConfig("front", 480, 360, "shadow")


class Painter:
    """Writes `path` at most every `period` seconds; 0 for never."""

    def __init__(self, simulation: Simulation, path: Path, period: float) -> None:
        """The first picture is drawn at once: it compiles the ray-caster, which must not happen while a host waits."""
        self._simulation, self._path, self._period = simulation, path, period
        self._cameras = Cameras(simulation.scene, (CAMERA,), threads=1)
        self._thread: threading.Thread | None = None
        self._due = 0.0
        if period:
            self._draw(simulation.observe())

    def paint(self, now: float) -> None:
        """Begin a picture if one is due at the time `now` [s] and the last is done."""
        if not self._period or now < self._due or (self._thread is not None and self._thread.is_alive()):
            return
        self._due = now + self._period
        self._thread = threading.Thread(target=self._draw, args=(self._simulation.observe(),), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Wait for a picture that is being drawn."""
        if self._thread is not None:
            self._thread.join()

    def _draw(self, observation: Observation) -> None:
        image = self._cameras.render(observation)[CAMERA.name][0]
        # Replaced in one go, so that a viewer never reads half a picture.
        fresh = self._path.with_name(f".{self._path.name}")
        cv2.imwrite(str(fresh), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        os.replace(fresh, self._path)
