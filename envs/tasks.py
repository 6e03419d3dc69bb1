"""The tasks there are, by name."""

from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from typing import Any

from envs.errors import EmbodiedError, unknown
from envs.feasibility import check_feasible
from envs.goals import Goal
from envs.robot import robot_of
from envs.scene import SceneConfig
from envs.suite import NAMES
from envs.task import AIR, ALOFT, PUSH_AREA, Task


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
        _task("place_air", "near(red_cube, target, 0.02)", "red_cube", _RED, "target", aloft=ALOFT),
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
} | {name: import_module(f"envs.suite.{name}").TASK for name in NAMES}  # fmt: skip
"""Every task there is: those above, and one for each module of `envs.suite`."""


def task(name: str, goal: str | None = None, horizon: int | None = None) -> Task:
    """The task of that name, with another goal in text form or another horizon if given.

    Raises `EmbodiedError` for an unknown task, a goal that does not parse or is impossible, and a goal about
    objects that the task has not.
    """
    if name not in TASKS:
        raise unknown("task", name, TASKS)
    chosen = TASKS[name]
    if goal is not None:
        parsed = Goal.parse(goal)
        robot = tuple(part.name for part in robot_of(chosen.scene.robot).parts)
        parsed.check(("table", *robot, *chosen.entities))
        check_feasible(parsed, fixed=("table", *set(chosen.entities) - set(chosen.scene.objects)))
        chosen = replace(chosen, goal=parsed)
    if horizon is not None:
        if horizon < 1:
            raise EmbodiedError(f"A horizon of {horizon} was given; an episode has at least one step.")
        chosen = replace(chosen, horizon=horizon)
    return chosen
