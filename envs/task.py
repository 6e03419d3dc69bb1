"""A task on the SO-101's table: what holds when it is done, how worlds begin, how long there is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from envs.errors import EmbodiedError
from envs.fixtures import BIN_HALF_EXTENTS, FIXTURES, OBSTACLES
from envs.geometry import quat_from_yaw, quat_rotate
from envs.goals import Goal
from envs.kinematics import Arm
from envs.layout import Layout
from envs.objects import CUBE_HALF_EXTENT, object_type
from envs.robot import arm_of, robot_of
from envs.scene import SceneConfig
from envs.types import Array

AREA = ((0.14, 0.34), (-0.10, 0.10))
"""[m] x and y of everything that is placed at random: where a grasp needs almost no tilt, whatever the yaw."""
PUSH_AREA = ((0.18, 0.30), (-0.09, 0.09))
"""[m] Smaller, so that the closed jaws find room behind the cube on every side."""
START = ((0.18, 0.24), (-0.04, 0.04), (0.065, 0.105))
"""[m] x, y and z of the tool at reset."""
AIR = (0.03, 0.10)
"""[m] height of a `reach` target."""
ALOFT = (0.04, 0.15)
"""[m] height of goals off the table, up to where the arm ends everywhere in `AREA` with the tool leaning 20 degrees."""
GRASP_TILT = 0.15
"""[rad] the most tilt a start position may demand of a grasp."""
CLEARANCE = {"object": 0.062, "bin": 0.115, "target": 0.05}
"""[m] least distance of an object's centre from what is already placed: the open jaws fit between."""
JAWS = 0.048
"""[m] The same between the side of what is larger than a cube and the middle of the open jaws."""
TRIES = 64
"""Candidate places drawn per entity and reset."""
ARRANGEMENTS = 160
"""Times that everything is placed anew, in one world after another, before nobody is thought to find room."""
TRIES_AT_ONCE = 8
"""Candidates whose reach is computed together."""


@dataclass(frozen=True)
class Place:
    """Where one entity may begin: uniform in x, y, height and yaw, of what is free and in reach."""

    x: tuple[float, float]
    """[m]."""
    y: tuple[float, float]
    """[m]."""
    yaw: tuple[float, float] = (-np.pi, np.pi)
    """[rad]."""
    height: tuple[float, float] | None = None
    """[m] of its centre; None stands it on the table."""
    clearance: float | None = None
    """[m] least distance of its centre from what was placed before; None takes that of its kind."""
    either_side: bool = False
    """At y or, as likely, at -y."""


@dataclass(frozen=True)
class Task:
    """A goal, a distribution of beginnings and a horizon."""

    name: str
    goal: Goal
    scene: SceneConfig
    subject: str
    """The entity that the goal moves."""
    horizon: int = 50
    """Control steps; at 10 Hz, 50 is five seconds."""
    goal_height: tuple[float, float] = (CUBE_HALF_EXTENT, CUBE_HALF_EXTENT)
    """[m] range of the goal entity's height."""
    aloft: tuple[float, float] | None = None
    """[m] range of its height in every other world on average, where goals are not all alike."""
    area: tuple[tuple[float, float], tuple[float, float]] = AREA
    """[m] x and y of everything that is placed at random."""
    distractor_probability: float = 1.0
    """Each object but the subject is on the table with this probability."""
    places: Mapping[str, Place] = field(default_factory=dict)
    """Of entities that do not begin anywhere in `area`; every fixture has one, but obstacles need none."""
    start: tuple[tuple[float, float], tuple[float, float], tuple[float, float]] = START
    """[m] x, y and z of the tool."""
    settle: float = 0.0
    """[s] for which worlds run, commands held, before they begin."""
    obstacles: bool = True
    """Whether it can be done with obstacles about."""

    @property
    def entities(self) -> tuple[str, ...]:
        """What its goals may speak of beside the table and the robot: the goal entity, fixtures' parts, objects."""
        parts = tuple(part.name for name in self.scene.fixtures for part in FIXTURES[name].parts)
        return ((self.goal_entity,) if self.goal_entity else ()) + parts + self.scene.objects

    @property
    def others(self) -> tuple[str, ...]:
        """What a policy must look out for beside the subject: other objects, and obstacles."""
        objects = tuple(name for name in self.scene.objects if name != self.subject)
        return objects + tuple(name for name in self.scene.fixtures if name in OBSTACLES)

    @property
    def goal_entity(self) -> str | None:
        """The entity that says where: `target`, `bin`, or None."""
        return self.scene.goal_entity

    def layout(self, generators: Sequence[np.random.Generator]) -> Layout:
        """Draw one beginning per generator; a world's beginning depends on its own generator alone."""
        worlds, fixtures, movable = len(generators), self.scene.fixtures, self._movable
        draws = np.zeros((worlds, len(movable) + 1, TRIES, 4))
        places = np.zeros((worlds, len(movable), 4))
        seeking, fruitless = np.arange(worlds), 0
        while fruitless < ARRANGEMENTS:
            # One block of numbers per world and one vectorised pass over worlds, however many tries it takes.
            draws[seeking] = [generators[int(i)].random(draws.shape[1:]) for i in seeking]
            places[seeking], missing = self._arranged(draws[seeking])
            crowded = missing >= 0
            if not crowded.any():
                break
            fruitless = 0 if crowded.sum() < len(seeking) else fruitless + len(seeking)
            seeking = seeking[crowded]
        else:
            raise EmbodiedError(
                f"Task {self.name!r} found no room for {movable[int(missing[crowded][0])]!r} in {fruitless} times "
                f"{TRIES} tries; use fewer objects and obstacles."
            )
        first = len(movable) - len(self.scene.objects)
        base = first - len(fixtures)
        position, quaternion = places[..., :3], np.zeros((worlds, len(movable), 4))
        quaternion[..., 0], quaternion[..., 3] = np.cos(places[..., 3] / 2), np.sin(places[..., 3] / 2)
        present = draws[:, -1, 0 : len(self.scene.objects), 3] < self.distractor_probability
        if self.subject in self.scene.objects:
            present[:, self.scene.objects.index(self.subject)] = True
        arm = self._arm.project(self._tool(draws), np.zeros(worlds)).joints
        # The gripper begins half open, and a second arm at home.
        rest = np.tile(robot_of(self.scene.robot).home[arm.shape[1] :], (worlds, 1))
        joints = np.concatenate([arm, rest], axis=1)
        return Layout(
            joints=joints,
            object_position=position[:, first:],
            object_quaternion=quaternion[:, first:],
            present=present,
            goal_position=position[:, 0] if base else None,
            goal_quaternion=quaternion[:, 0] if base else None,
            fixture_position=position[:, base:first],
            fixture_quaternion=quaternion[:, base:first],
            seed=np.array([generator.integers(2**52) for generator in generators]),
        )

    @property
    def _arm(self) -> Arm:
        return arm_of(self.scene.robot)

    @property
    def _movable(self) -> list[str]:
        """What is placed, in this order."""
        return ([self.goal_entity] if self.goal_entity else []) + [*self.scene.fixtures, *self.scene.objects]

    def _tool(self, draws: Array) -> Array:
        """`[N 3]` where the tool begins [m]."""
        low, high = np.array(self.start)[:, 0], np.array(self.start)[:, 1]
        return np.asarray(low + (high - low) * draws[:, -1, TRIES // 2, :3])

    def _arranged(self, draws: Array) -> tuple[Array, Array]:
        """Places `[N M 4]` (x, y, z, yaw) of the M things, and which of them found none `[N]`, -1 where all did."""
        tool, worlds = self._tool(draws), len(draws)
        placed: list[tuple[str, Array]] = []
        missing: Array = np.full(worlds, -1)
        for index, name in enumerate(self._movable):
            candidate = self._candidates(name, draws[:, index])
            free = np.ones(candidate.shape[:2], bool)
            if self.subject == "gripper":
                free &= np.linalg.norm(candidate[..., :3] - tool[:, None], axis=-1) > CLEARANCE["target"]
            if name in OBSTACLES:
                free &= np.linalg.norm(candidate[..., :2] - tool[:, None, :2], axis=-1) > self._clearance(name)
            for other, where in placed:
                if name in OBSTACLES and other in FIXTURES:
                    free &= ~_in_the_way(candidate, other, where, self._clearance(name))
                apart = np.linalg.norm(candidate[..., :2] - where[:, None, :2], axis=-1)
                free &= apart > max(self._clearance(name), self._clearance(other))
            found = _first_allowed(self._arm, name, candidate, free)
            missing = np.where((found < 0) & (missing < 0), index, missing)
            placed.append((name, candidate[np.arange(worlds), found]))
        return np.stack([where for _, where in placed], axis=1) if placed else np.zeros((worlds, 0, 4)), missing

    def _candidates(self, name: str, draws: Array) -> Array:
        """`[N TRIES 4]` x, y, z, yaw."""
        if (place := self.places.get(name)) is not None:
            return _drawn(place, name, draws)
        (x_low, x_high), (y_low, y_high) = self.area
        x = x_low + (x_high - x_low) * draws[..., 0]
        y = y_low + (y_high - y_low) * draws[..., 1]
        yaw = 2 * np.pi * (draws[..., 2] - 0.5)
        if name == "bin":
            z, yaw = np.full_like(x, BIN_HALF_EXTENTS[2]), yaw / 8
        elif name == "target":
            # Which kind is one draw per world, else what is out of reach would thin out the high ones.
            bottom, top = np.where(draws[:, :1, 2:3] < 0.5, self.aloft or self.goal_height, self.goal_height).T
            z = bottom.T + (top - bottom).T * draws[..., 3]
            yaw = np.zeros_like(x)
        else:
            z = np.full_like(x, _half_extents(name)[2])
        return np.stack([x, y, z, yaw], axis=-1)

    def _clearance(self, name: str) -> float:
        place = self.places.get(name)
        if place is not None and place.clearance is not None:
            return place.clearance
        if name in FIXTURES and name not in OBSTACLES:
            return CLEARANCE["bin"]
        return CLEARANCE[name] if name in CLEARANCE else max(CLEARANCE["object"], JAWS + max(_half_extents(name)[:2]))


def _half_extents(name: str) -> tuple[float, float, float]:
    """[m] Of a fixture's base or an object."""
    return FIXTURES[name].parts[0].half_extents if name in FIXTURES else object_type(name).half_extents


def _drawn(place: Place, name: str, draws: Array) -> Array:
    """`[N TRIES 4]` x, y, z, yaw of candidates in a place, from numbers `[N TRIES 4]` in 0..1."""
    half = _half_extents(name)[2]
    low, high = place.height or (half, half)
    ranges = np.array([place.x, place.y, (low, high), place.yaw])
    # Which side is the y draw's first bit, the rest of it says where.
    doubled = 2.0 * draws[..., 1]
    y = doubled % 1.0 if place.either_side else draws[..., 1]
    share = np.stack([draws[..., 0], y, draws[..., 3], draws[..., 2]], axis=-1)
    drawn: Array = ranges[:, 0] + (ranges[:, 1] - ranges[:, 0]) * share
    if place.either_side:
        drawn[..., 1] *= np.where(doubled < 1.0, 1.0, -1.0)
    return drawn


def _in_the_way(candidate: Array, fixture: str, where: Array, room: float) -> Array:
    """`[N TRIES]` whether a hand that opens a fixture at `where` `[N 4]` comes nearer than `room` [m] to candidates."""
    ways, turned = FIXTURES[fixture].ways, quat_from_yaw(where[:, None, 3])
    led = where[:, None, :3] + quat_rotate(turned, np.broadcast_to(ways, (len(where), *ways.shape)))
    apart = np.linalg.norm(candidate[:, :, None, :2] - led[:, None, :, :2], axis=-1)
    return np.asarray((apart < room).any(axis=-1))


def _first_allowed(arm: Arm, name: str, candidate: Array, free: Array) -> Array:
    """`[N]` the first of the candidates `[N TRIES 4]` that is free `[N TRIES]` and in reach; -1 where none is.

    Reach is asked a few tries at a time, as nearly all worlds are content with one of the first.
    """
    found = np.full(len(candidate), -1)
    for start in range(0, TRIES, TRIES_AT_ONCE):
        seeking = np.flatnonzero(found < 0)
        if not len(seeking):
            break
        some = candidate[seeking, start : start + TRIES_AT_ONCE]
        allowed = _in_reach(arm, name, some)
        allowed &= free[seeking, start : start + TRIES_AT_ONCE]
        hit = allowed.any(axis=1)
        found[seeking[hit]] = start + np.argmax(allowed[hit], axis=1)
    return found


def _in_reach(arm: Arm, name: str, candidate: Array) -> Array:
    if name == "target":
        return _within(arm, candidate[..., :3], np.zeros_like(candidate[..., 3]), 0.35)
    if name not in FIXTURES:
        return _graspable(arm, candidate, bin_=name == "bin")
    allowed = np.ones(candidate.shape[:-1], bool)
    turned = quat_from_yaw(candidate[..., 3])
    for point in FIXTURES[name].reach:
        place = candidate[..., :3] + quat_rotate(turned, np.broadcast_to(np.array(point), (*turned.shape[:-1], 3)))
        allowed &= _within(arm, place, np.zeros_like(candidate[..., 3]), 0.35)
    return allowed


def _graspable(arm: Arm, candidate: Array, *, bin_: bool) -> Array:
    """Whether the tool gets there, and above, with little tilt, at the nearest of the four equivalent yaws."""
    quarter = np.pi / 2
    yaw = (
        np.zeros_like(candidate[..., 3])
        if bin_
        else np.remainder(candidate[..., 3] + quarter / 2, quarter) - quarter / 2
    )
    allowed = np.ones(yaw.shape, bool)
    for height in (0.06,) if bin_ else (0.010, 0.035):
        place = np.concatenate([candidate[..., :2], np.full((*yaw.shape, 1), height)], axis=-1)
        allowed &= _within(arm, place, yaw, 0.35 if bin_ else GRASP_TILT)
    return allowed


def _within(arm: Arm, place: Array, yaw: Array, tilt: float) -> Array:
    tool = arm.project(place, yaw)
    return (np.abs(tool.tilt) <= tilt) & (np.linalg.norm(tool.position - place, axis=-1) < 0.003)
