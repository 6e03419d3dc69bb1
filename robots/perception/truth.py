"""A twin's truth in place of perception: what no camera tells, to deploy before there is one, and named as such."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from envs.mirror import Mirror
from envs.scene import SceneConfig
from envs.types import Array, Observation
from robots.arm.contract import Reading


class TruthPerceiver:
    """The arm as its own sensors have it, the objects as a twin knows them."""

    def __init__(self, scene: SceneConfig, tell: Callable[[str], Mapping[str, Any]]) -> None:
        """`tell` is the twin's, see `robots.twin.process.tell`."""
        self._mirror, self._tell = Mirror(scene), tell

    def observe(self, reading: Reading, target: Array, time: float) -> Observation:
        """What a policy sees, without a batch; `target` `[6]` [rad] is commanded, `time` [s] is since the beginning."""
        return self.see(reading.position, reading.velocity, target, time)

    def see(self, position: Array, velocity: Array, target: Array, time: float) -> Observation:
        """The same of joints `[6]` [rad] and their speeds [rad/s]."""
        self._mirror.show(position, velocity, target, bodies(self._tell("truth()")))
        return replace(self._mirror.observe(), time=np.float64(time))


def bodies(told: Mapping[str, Any]) -> dict[str, Array]:
    """By name the pose and velocity `[13]` of objects, as `Mirror.show` takes them, out of a twin's `truth()`."""
    return {name: np.array([*pose, *told["velocities"][name]]) for name, pose in told["objects"].items()}
