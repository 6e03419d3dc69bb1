"""Ways to goals on drawn tabletops: each object the goal speaks of is fetched and put where it belongs, in turn.

No physics: the hand goes straight, and what it holds goes with it. This shows what order of states a reward should
recognise as progress, with any number of objects and literals, where no expert exists.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from embodied.data.arrangements import WORKSPACE
from envs.geometry import half_height, quat_from_yaw, quat_rotate
from envs.goals import Goal
from envs.predicates import GRIPPER, INTERVAL, JAWS
from envs.types import Kind, ObjectState

Floats = NDArray[np.float64]
CARRY = 0.12
"""[m] height at which things are carried."""
_OPEN = 0.02
"""[m] gap of each open jaw."""
_STEPS = {"reach": 4, "close": 1, "lift": 2, "carry": 4, "lower": 2, "open": 1, "leave": 1}


def way(rng: np.random.Generator, goal: Goal, end: ObjectState) -> ObjectState:
    """States `[T K ...]` that end in `end` `[K ...]`, from one where the goal's boxes lie elsewhere on the table."""
    named = dict.fromkeys((*goal.entities, *(one.frame for one in goal.literals if one.frame in end.names)))
    boxes = [end.index(name) for name in named if int(end.kind[end.index(name)]) == Kind.BOX]
    # What is lower comes first: one cannot put things on what is not there.
    boxes.sort(key=lambda index: float(end.position_in_world[index, 2]))
    film = _Film(end)
    low, high = np.array(WORKSPACE).T
    for index in boxes:
        film.quaternion[index] = quat_from_yaw(np.asarray(rng.uniform(-np.pi, np.pi)))
        film.position[index] = rng.uniform(low, high)
        film.position[index, 2] = half_height(film.quaternion[index], end.half_extents[index])
    film.hand(rng.uniform(low, high) * [1, 1, 0] + [0, 0, CARRY], film.quaternion[film.gripper], _OPEN)
    film.take()
    for index in boxes:
        film.fetch(index, end.position_in_world[index], end.quaternion_in_world[index])
    frames = film.frames
    # The hand's own part of the goal, and velocities, are those of the end.
    return ObjectState.stack([*frames, end])


@dataclass
class _Film:
    """The present state, and those taken so far."""

    end: ObjectState

    def __post_init__(self) -> None:
        self.position = self.end.position_in_world.copy()
        self.quaternion = self.end.quaternion_in_world.copy()
        self.frames: list[ObjectState] = []
        self.gripper = self.end.index(GRIPPER)
        self.held: int | None = None

    def hand(self, position: Floats, quaternion: Floats, gap: float) -> None:
        """Put the hand somewhere, its jaws so far from what they could hold."""
        self.position[self.gripper], self.quaternion[self.gripper] = position, quaternion
        reach = 0.015 if self.held is None else self.end.half_extents[self.held, 0]
        for side, name in zip((-1.0, 1.0), JAWS, strict=True):
            jaw = self.end.index(name)
            offset = np.array([side * (reach + gap + self.end.half_extents[jaw, 0]), 0.0, 0.0])
            self.position[jaw] = position + quat_rotate(quaternion, offset)
            self.quaternion[jaw] = quaternion

    def take(self, moved: Floats | None = None) -> None:
        """Record the present, the hand and what it holds moving by so much per `INTERVAL`."""
        still = np.zeros_like(self.position)
        if moved is not None:
            parts = [self.gripper, *(self.end.index(name) for name in JAWS)]
            still[[*parts, *([] if self.held is None else [self.held])]] = moved / INTERVAL
        self.frames.append(
            replace(
                self.end,
                position_in_world=self.position.copy(),
                quaternion_in_world=self.quaternion.copy(),
                linear_velocity_in_world=still,
                angular_velocity_in_world=np.zeros_like(still),
            )
        )

    def fetch(self, index: int, place: Floats, turned: Floats) -> None:
        """Reach, grasp, lift, carry, lower and let go of one box."""
        start = self.position[index].copy()
        self._go(start, self.quaternion[index], _OPEN, _STEPS["reach"])
        self.held = index
        self.hand(start, self.quaternion[index], 0.0)
        self.take()
        over = np.maximum(start, [-1, -1, CARRY])
        self._go(over, self.quaternion[index], 0.0, _STEPS["lift"])
        above = np.maximum(place, [-1, -1, CARRY])
        self._go(above, turned, 0.0, _STEPS["carry"])
        self._go(place, turned, 0.0, _STEPS["lower"])
        self.hand(place, turned, _OPEN)
        self.take()
        self.held = None
        self._go(place + np.array([0.0, 0.0, 0.05]), turned, _OPEN, _STEPS["leave"])

    def _go(self, to: Floats, turned: Floats, gap: float, steps: int) -> None:
        """Move the hand, and what it holds, in equal steps; it turns at the first."""
        start = self.position[self.gripper].copy()
        for step in range(1, steps + 1):
            at = start + (to - start) * step / steps
            if self.held is not None:
                self.position[self.held], self.quaternion[self.held] = at, turned
            self.hand(at, turned, gap)
            self.take((to - start) / steps)
