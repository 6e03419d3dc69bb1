"""How often the scripted experts succeed: in each task, among obstacles, with another arm, at finer time steps.

One figure per task: the share of resets whose goal holds at the horizon. Some tasks are measured at a half and a
quarter of the time step, too, from the same resets: what succeeds thanks to the step size succeeds in no real world.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from embodied.bench.harness import Figure, figure
from embodied.console import Console
from embodied.evaluation.statistics import wilson
from envs.experts import expert
from envs.task import Task
from envs.tasks import ANY_ARM, TASKS, task
from envs.types import Array
from envs.worlds import TaskWorlds

RESETS = 100
"""Per seed; 6 where quick."""
FINER: Mapping[str, int] = {"half_step": 2, "quarter_step": 4}
CONVERGED = ("push", "place", "insert")
"""What slides, what is held, and what fits with 1 mm to spare."""
OBSTACLES = ("wall", "post")
RATES: Mapping[str, Callable[[], Task]] = {
    **{name: partial(task, name) for name in TASKS},
    **{f"{name}_obstacles": partial(task, name, obstacles=OBSTACLES) for name in TASKS if TASKS[name].obstacles},
    **{f"koch_{name}": partial(task, name, robot="koch") for name in ANY_ARM},
}
"""What success is told of, by part."""
PARTS = (*RATES, *(f"{name}_{step}" for name in CONVERGED for step in FINER))
SEEDS = 5


def measure(part: str, seed: int, quick: bool, console: Console) -> Mapping[str, Any]:
    """Episodes of one task's expert; `failed` are the seeds of those that ended without the goal."""
    resets = 6 if quick else RESETS
    seeds = np.arange(resets) + RESETS * seed
    if part in RATES:
        chosen = RATES[part]()
    else:
        name, _, step = part.partition("_")
        chosen = at_finer_step(TASKS[name], FINER[step])
    return {"tries": resets, "failed": seeds[~succeeded(chosen, seeds)].tolist()}


def summarise(samples: Mapping[str, Sequence[Mapping[str, Any]]]) -> Mapping[str, Figure]:
    """Per task the pooled success with its Wilson interval; of finer steps, by how many points it differs."""
    figures: dict[str, Figure] = {}
    for part, runs in samples.items():
        tries = sum(run["tries"] for run in runs)
        failures = sum(len(run["failed"]) for run in runs)
        if part in RATES:
            rate = wilson(tries - failures, tries)
            figures[part] = figure(100.0 * rate.value, "%", len(runs), (100.0 * rate.low, 100.0 * rate.high))
            continue
        nominal = samples.get(part.partition("_")[0], ())
        if len(nominal) == len(runs):
            lost = failures - sum(len(run["failed"]) for run in nominal)
            figures[f"{part}_gain"] = figure(100.0 * -lost / tries, "points", len(runs))
    return figures


def at_finer_step(nominal: Task, times: int) -> Task:
    """The task with so many more physics steps in the same time."""
    physics = nominal.scene.physics
    return replace(nominal, scene=replace(nominal.scene, physics=replace(physics, timestep=physics.timestep / times)))


def succeeded(chosen: Task, seeds: Array) -> Array:
    """`[N]` whether the expert's episode from each of the seeds ends with the goal reached."""
    worlds = TaskWorlds(chosen, len(seeds))
    worlds.reset(seeds=seeds)
    demonstrator = expert(chosen.name, chosen.scene.robot)
    success: Array = np.zeros(len(seeds), bool)
    for _ in range(chosen.horizon):
        success = np.asarray(worlds.step(demonstrator.act(worlds.observation, chosen.goal)).success)
    return success
