"""Objects as a perceiver finds them in pictures, whoever takes those."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Protocol

import numpy as np

from envs.layout import Layout
from envs.mirror import Mirror
from envs.scene import SceneConfig
from envs.types import Array, ObjectState, Observation
from robots.arm.contract import Reading


class PicturePerceiver(Protocol):
    """`TagPerceiver`, or an encoder of pixels."""

    def reset(self) -> None:
        """Forget past pictures."""
        ...

    def perceive(self, observation: Observation) -> ObjectState:
        """The state that pictures and joints show; of `observation.objects` what is declared is kept."""
        ...


class PictureSenses:
    """Objects out of pictures. Where the goal is, no picture says: it is where the layout has it."""

    def __init__(
        self, scene: SceneConfig, take: Callable[[], Mapping[str, Array]], perceiver: PicturePerceiver, source: str
    ) -> None:
        """`take` gives pictures `[h w 3]` uint8 by camera, as they are now."""
        self._mirror, self._take, self._perceiver, self._source = Mirror(scene), take, perceiver, source
        self._declared: dict[str, Array] = {}

    @property
    def source(self) -> str:
        """See `Senses.source`."""
        return self._source

    def begin(self, layout: Layout) -> None:
        """See `Senses.begin`."""
        self._perceiver.reset()
        scene = self._mirror.simulation.scene
        poses = {
            name: np.concatenate([layout.object_position[0, o], layout.object_quaternion[0, o]])
            for o, name in enumerate(scene.objects)
            if layout.present is None or layout.present[0, o]
        }
        goal = scene.config.goal_entity
        if goal is not None and layout.goal_position is not None and layout.goal_quaternion is not None:
            poses[goal] = np.concatenate([layout.goal_position[0], layout.goal_quaternion[0]])
        self._declared = {name: np.concatenate([pose, np.zeros(6)]) for name, pose in poses.items()}

    def observe(self, reading: Reading, target: Array, time: float) -> Observation:
        """See `Senses.observe`."""
        pictures = self._take()
        self._mirror.show(reading.position, reading.velocity, target, self._declared)
        seen = replace(self._mirror.observe(), time=np.float64(time), images=dict(pictures))
        return replace(seen, objects=self._perceiver.perceive(seen))
