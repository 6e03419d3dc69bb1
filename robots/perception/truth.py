"""A twin's truth: in place of perception, and named as such; or drawn, as the scene's cameras would show it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from envs.cameras import CameraConfig, Cameras
from envs.errors import EmbodiedError
from envs.layout import Layout
from envs.mirror import Mirror
from envs.scene import SceneConfig
from envs.types import Array, Observation
from robots.arm.contract import Reading
from robots.units import JOINTS

Tell = Callable[[str], Mapping[str, Any]]
"""A twin's, see `robots.twin.process.tell`."""


class TruthSenses:
    """Objects as a twin knows them."""

    source = "the twin's truth"

    def __init__(self, scene: SceneConfig, tell: Tell) -> None:
        self._mirror, self._tell = Mirror(scene), tell

    def begin(self, layout: Layout) -> None:
        """See `Senses.begin`; truth remembers nothing."""

    def observe(self, reading: Reading, target: Array, time: float) -> Observation:
        """See `Senses.observe`."""
        return self.see(reading.position, reading.velocity, target, time)

    def see(self, position: Array, velocity: Array, target: Array, time: float) -> Observation:
        """The same of joints `[6]` [rad] and their speeds [rad/s]."""
        self._mirror.show(position, velocity, target, bodies(self._mirror, self._tell("truth()")))
        return replace(self._mirror.observe(), time=np.float64(time))


class TwinPictures:
    """What the cameras of a twin's scene show now."""

    def __init__(self, scene: SceneConfig, tell: Tell, cameras: Sequence[CameraConfig]) -> None:
        self._mirror, self._tell = Mirror(scene), tell
        self._cameras = Cameras(self._mirror.simulation.scene, cameras, threads=1)

    def __call__(self) -> Mapping[str, Array]:
        """`[h w 3]` uint8 by camera."""
        told = self._tell("truth()")
        joints = np.array([told["joints"][name] for name in JOINTS])
        self._mirror.show(joints, np.zeros(6), joints, bodies(self._mirror, told))
        return {name: picture[0] for name, picture in self._cameras.render(self._mirror.simulation).items()}


def bodies(mirror: Mirror, told: Mapping[str, Any]) -> dict[str, Array]:
    """By name the pose and velocity `[13]` of objects, as the mirror is shown them, out of a twin's `truth()`.

    Raises `EmbodiedError` where the twin has another scene.
    """
    names = mirror.simulation.scene.names
    if foreign := [name for name in told["objects"] if name not in names]:
        raise EmbodiedError(
            f"The twin has {', '.join(foreign)} before it, which the task has not: start the twin with the same task."
        )
    return {name: np.array([*pose, *told["velocities"][name]]) for name, pose in told["objects"].items()}
