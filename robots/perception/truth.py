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
        told = self._tell("truth()")
        objects = {name: np.array([*pose, *told["velocities"][name]]) for name, pose in told["objects"].items()}
        self._mirror.show(reading.position, reading.velocity, target, objects)
        return replace(self._mirror.observe(), time=np.float64(time))
