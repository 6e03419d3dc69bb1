"""Tasks on the SO-101's table: what holds when it is done, how worlds begin, how long there is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from envs.errors import EmbodiedError, unknown
from envs.goals import Goal
from envs.kinematics import project
from envs.layout import Layout
from envs.scene import BIN_HALF_EXTENTS, CUBE_HALF_EXTENT, SceneConfig
from envs.types import Array

AREA = ((0.14, 0.34), (-0.10, 0.10))
"""[m] x and y of everything that is placed at random: where a grasp needs almost no tilt, whatever the yaw."""
PUSH_AREA = ((0.18, 0.30), (-0.09, 0.09))
"""[m] Smaller, so that the closed jaws find room behind the cube on every side."""
START = ((0.18, 0.24), (-0.04, 0.04), (0.065, 0.105))
"""[m] x, y and z of the tool at reset."""
START_GRIPPER = 0.6
"""[rad]."""
AIR = (0.03, 0.10)
"""[m] height of a `reach` target."""
GRASP_TILT = 0.15
"""[rad] the most tilt a start position may demand of a grasp."""
CLEARANCE = {"object": 0.062, "bin": 0.115, "target": 0.05}
"""[m] least distance of an object's centre from what is already placed: the open jaws fit between."""
TRIES = 64
"""Candidate places drawn per entity and reset."""
TRIES_AT_ONCE = 8
"""Candidates whose reach is computed together."""


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
    area: tuple[tuple[float, float], tuple[float, float]] = AREA
    """[m] x and y of everything that is placed at random."""
    distractor_probability: float = 1.0
    """Each object but the subject is on the table with this probability."""

    @property
    def goal_entity(self) -> str | None:
        """The entity that says where: `target`, `bin`, or None."""
        return self.scene.goal_entity

    def layout(self, generators: Sequence[np.random.Generator]) -> Layout:
        """Draw one beginning per generator; a world's beginning depends on its own generator alone."""
        movable = ([self.goal_entity] if self.goal_entity else []) + list(self.scene.objects)
        # One block of numbers per world and one vectorised pass over worlds, however many tries it takes.
        draws = np.stack([generator.random((len(movable) + 1, TRIES, 4)) for generator in generators])
        worlds = len(generators)
        placed: list[tuple[str, Array]] = []
        low, high = np.array(START)[:, 0], np.array(START)[:, 1]
        tool = low + (high - low) * draws[:, -1, TRIES // 2, :3]
        position, quaternion = np.zeros((worlds, len(movable), 3)), np.zeros((worlds, len(movable), 4))
        for index, name in enumerate(movable):
            candidate = self._candidates(name, draws[:, index])
            free = np.ones(candidate.shape[:2], bool)
            if self.subject == "gripper":
                free &= np.linalg.norm(candidate[..., :3] - tool[:, None], axis=-1) > CLEARANCE["target"]
            for other, where in placed:
                apart = np.linalg.norm(candidate[..., :2] - where[:, None, :2], axis=-1)
                free &= apart > max(_clearance(name), _clearance(other))
            found = _first_allowed(name, candidate, free)
            if (found < 0).any():
                raise EmbodiedError(
                    f"Task {self.name!r} found no room for {name!r} in {TRIES} tries; use fewer objects."
                )
            chosen = candidate[np.arange(worlds), found]
            placed.append((name, chosen))
            position[:, index] = chosen[:, :3]
            quaternion[:, index, 0], quaternion[:, index, 3] = np.cos(chosen[:, 3] / 2), np.sin(chosen[:, 3] / 2)
        first = len(movable) - len(self.scene.objects)
        present = draws[:, -1, 0 : len(self.scene.objects), 3] < self.distractor_probability
        if self.subject in self.scene.objects:
            present[:, self.scene.objects.index(self.subject)] = True
        arm = project(tool, np.zeros(worlds)).joints
        joints = np.concatenate([arm, np.full((worlds, 1), START_GRIPPER)], axis=1)
        return Layout(
            joints=joints,
            object_position=position[:, first:],
            object_quaternion=quaternion[:, first:],
            present=present,
            goal_position=position[:, 0] if first else None,
            goal_quaternion=quaternion[:, 0] if first else None,
            seed=np.array([generator.integers(2**52) for generator in generators]),
        )

    def _candidates(self, name: str, draws: Array) -> Array:
        """`[N TRIES 4]` x, y, z, yaw."""
        (x_low, x_high), (y_low, y_high) = self.area
        x = x_low + (x_high - x_low) * draws[..., 0]
        y = y_low + (y_high - y_low) * draws[..., 1]
        yaw = 2 * np.pi * (draws[..., 2] - 0.5)
        if name == "bin":
            z, yaw = np.full_like(x, BIN_HALF_EXTENTS[2]), yaw / 8
        elif name == "target":
            z = self.goal_height[0] + (self.goal_height[1] - self.goal_height[0]) * draws[..., 3]
            yaw = np.zeros_like(x)
        else:
            z = np.full_like(x, CUBE_HALF_EXTENT)
        return np.stack([x, y, z, yaw], axis=-1)


def _clearance(name: str) -> float:
    return CLEARANCE.get(name, CLEARANCE["object"])


def _first_allowed(name: str, candidate: Array, free: Array) -> Array:
    """`[N]` the first of the candidates `[N TRIES 4]` that is free `[N TRIES]` and in reach; -1 where none is.

    Reach is asked a few tries at a time, as nearly all worlds are content with one of the first.
    """
    found = np.full(len(candidate), -1)
    for start in range(0, TRIES, TRIES_AT_ONCE):
        seeking = np.flatnonzero(found < 0)
        if not len(seeking):
            break
        some = candidate[seeking, start : start + TRIES_AT_ONCE]
        allowed = _reachable(some) if name == "target" else _graspable(some, bin_=name == "bin")
        allowed &= free[seeking, start : start + TRIES_AT_ONCE]
        hit = allowed.any(axis=1)
        found[seeking[hit]] = start + np.argmax(allowed[hit], axis=1)
    return found


def _graspable(candidate: Array, *, bin_: bool) -> Array:
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
        allowed &= _within(place, yaw, 0.35 if bin_ else GRASP_TILT)
    return allowed


def _reachable(candidate: Array) -> Array:
    return _within(candidate[..., :3], np.zeros_like(candidate[..., 3]), 0.35)


def _within(place: Array, yaw: Array, tilt: float) -> Array:
    tool = project(place, yaw)
    return (np.abs(tool.tilt) <= tilt) & (np.linalg.norm(tool.position - place, axis=-1) < 0.003)


def _task(name: str, goal: str, subject: str, objects: tuple[str, ...], goal_entity: str | None, **more: Any) -> Task:
    scene = SceneConfig(objects=objects, goal_entity=goal_entity)
    return Task(name=name, goal=Goal.parse(goal), scene=scene, subject=subject, **more)


_RED, _ALL = ("red_cube",), ("red_cube", "blue_cube", "green_cube")

TASKS: Mapping[str, Task] = {
    task.name: task
    for task in (
        _task("reach", "near(gripper, target, 0.02)", "gripper", (), "target", goal_height=AIR, horizon=30),
        _task(
            "push", "near(red_cube, target, 0.03) & on(red_cube, table)", "red_cube", _RED, "target", horizon=80,
            area=PUSH_AREA,
        ),
        _task("lift", "lifted(red_cube, 0.04) & grasped(red_cube)", "red_cube", _RED, None),
        _task("place", "near(red_cube, target, 0.02) & released(red_cube)", "red_cube", _RED, "target"),
        _task("place_bin", "in(red_cube, bin) & released(red_cube)", "red_cube", _RED, "bin"),
        _task(
            "place_clutter", "near(red_cube, target, 0.02) & released(red_cube)", "red_cube", _ALL, "target",
            distractor_probability=0.67,
        ),
        _task(
            "stack", "on(red_cube, blue_cube) & released(red_cube) & static(red_cube)", "red_cube",
            ("red_cube", "blue_cube"), None,
        ),
    )
}  # fmt: skip


def task(name: str, goal: str | None = None, horizon: int | None = None) -> Task:
    """The task of that name, with another goal in text form or another horizon if given.

    Raises `EmbodiedError` for an unknown task, a goal that does not parse, and a goal about objects the task has not.
    """
    if name not in TASKS:
        raise unknown("task", name, TASKS)
    chosen = TASKS[name]
    if goal is not None:
        parsed = Goal.parse(goal)
        parsed.check(("table", "gripper", "fixed_jaw", "moving_jaw", *_entities(chosen)))
        chosen = replace(chosen, goal=parsed)
    if horizon is not None:
        if horizon < 1:
            raise EmbodiedError(f"A horizon of {horizon} was given; an episode has at least one step.")
        chosen = replace(chosen, horizon=horizon)
    return chosen


def _entities(chosen: Task) -> tuple[str, ...]:
    return ((chosen.goal_entity,) if chosen.goal_entity else ()) + chosen.scene.objects
