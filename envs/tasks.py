"""The tasks there are, by name."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from typing import Any

from envs.arguments import Names, names_of, whole
from envs.errors import EmbodiedError, unknown
from envs.feasibility import check_feasible
from envs.fixtures import OBSTACLES
from envs.goals import Goal
from envs.objects import CATALOGUE
from envs.robot import ROBOTS, reaches, robot_file, robot_of
from envs.scene import SceneConfig
from envs.suite import NAMES
from envs.task import AIR, ALOFT, PUSH_AREA, Task


def _task(name: str, goal: str, subject: str, objects: tuple[str, ...], goal_entity: str | None, **more: Any) -> Task:
    scene = SceneConfig(objects=objects, goal_entity=goal_entity)
    return Task(name=name, goal=Goal.parse(goal), scene=scene, subject=subject, **more)


def suite_task(name: str) -> Task:
    """The task in a module of `envs.suite`; raises `EmbodiedError` for a module without, or with another's name."""
    chosen = getattr(import_module(f"envs.suite.{name}"), "TASK", None)
    if not isinstance(chosen, Task):
        raise EmbodiedError(f"envs/suite/{name}.py has no task; give it TASK = Task(name={name!r}, ...).")
    if chosen.name != name:
        raise EmbodiedError(f"envs/suite/{name}.py has a task named {chosen.name!r}; give both the same name.")
    return chosen


MOST_OBJECTS = 8
"""As many find room in the area of the tasks."""

ANY_ARM = ("reach", "push", "lift", "place")
"""Tasks that other arms than their own can do."""

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
} | {name: suite_task(name) for name in NAMES}  # fmt: skip
"""Every task there is: those above, and one for each module of `envs.suite`."""


def task(
    name: str,
    goal: Goal | str | None = None,
    horizon: int | None = None,
    distractors: Names = (),
    obstacles: Names = (),
    robot: str | None = None,
) -> Task:
    """The task of that name, with another goal, in text form or not, or another horizon if given.

    `distractors` are further objects, `obstacles` fixed things in the way, out of `envs.fixtures.OBSTACLES`; worlds
    begin with them anywhere in the task's area, clear of all else. `robot` does the task instead of its own, where its
    file says on which part of the table. Raises `EmbodiedError` for an unknown task, object or obstacle, a goal that
    does not parse or is impossible, a goal about objects that the task has not, and a robot that cannot do the task.
    """
    if name not in TASKS:
        raise unknown("task", name, TASKS)
    chosen = TASKS[name]
    distractors, obstacles = names_of("distractors", distractors), names_of("obstacles", obstacles)
    for obstacle in obstacles:
        if obstacle not in OBSTACLES:
            raise unknown("obstacle", obstacle, OBSTACLES)
        if not chosen.obstacles:
            raise EmbodiedError(
                f"The task {name!r} takes no obstacles, as what is swept cannot climb; {obstacle!r} was given."
            )
    scene = chosen.scene
    objects, fixtures = (*scene.objects, *distractors), (*scene.fixtures, *obstacles)
    if len(objects) > MOST_OBJECTS:
        raise EmbodiedError(f"{len(objects)} objects were asked for, {', '.join(objects)}; {MOST_OBJECTS} are allowed.")
    chosen = replace(chosen, scene=replace(scene, objects=objects, fixtures=fixtures))
    if robot not in (None, scene.robot):
        chosen = _by(chosen, str(robot))
    if goal is not None:
        if not isinstance(goal, Goal | str):
            raise EmbodiedError(f"goal={goal!r} was given; give a Goal, or words such as 'lifted(red_cube, 0.04)'.")
        parsed = goal if isinstance(goal, Goal) else Goal.parse(goal)
        parts = tuple(part.name for part in robot_of(chosen.scene.robot).parts)
        parsed.check(("table", *parts, *chosen.entities))
        fixed = ("table", *set(chosen.entities) - set(chosen.scene.objects))
        check_feasible(parsed, fixed, reaches(chosen.scene.robot))
        chosen = replace(chosen, goal=parsed)
    if horizon is not None:
        chosen = replace(chosen, horizon=whole("horizon", horizon, 1))
    return chosen


def distractors_of(chosen: Task) -> tuple[str, ...]:
    """The objects that a task of `task` has beyond its own."""
    return chosen.scene.objects[len(TASKS[chosen.name].scene.objects) :]


def _by(chosen: Task, robot: str) -> Task:
    """The task for another robot, on its part of the table."""
    if chosen.name not in ANY_ARM:
        raise EmbodiedError(
            f"The task {chosen.name!r} is for {chosen.scene.robot} alone; {', '.join(ANY_ARM)} can be done by other "
            f"arms, too, such as koch."
        )
    if robot in ROBOTS:
        raise EmbodiedError(
            f"The task {chosen.name!r} is done by so101, koch, or the arm of a YAML file that says area and start; "
            f"{robot!r} was given."
        )
    # Files are read by MuJoCo, which who reads the catalogue alone should not load.
    from envs.foreign import workspace

    area, start = workspace(robot_file(robot))
    own = SceneConfig(objects=chosen.scene.objects, goal_entity=chosen.scene.goal_entity, robot=robot,
                      fixtures=chosen.scene.fixtures)  # fmt: skip
    return replace(chosen, scene=own, area=area, start=start)


def task_among(name: str, entities: Sequence[str], robot: str | None = None) -> Task:
    """The task of that name as it was where those were its entities: with the distractors and obstacles among them.

    `robot` did it, or its own.
    """
    if name not in TASKS:
        raise unknown("task", name, TASKS)
    own = TASKS[name].entities
    return task(
        name,
        distractors=[each for each in entities if each in CATALOGUE and each not in own],
        obstacles=[each for each in entities if each in OBSTACLES and each not in own],
        robot=robot,
    )
