"""How often the scripted experts succeed, and whether that depends on the time step of the simulation.

One figure per task: the share of resets whose goal holds at the horizon. Some tasks are measured at a half and a
quarter of the time step, too, from the same resets: what succeeds thanks to the step size succeeds in no real world.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from embodied.bench.harness import Figure, figure
from embodied.console import Console
from embodied.evaluation.statistics import wilson
from envs.experts import expert
from envs.task import Task
from envs.tasks import TASKS
from envs.types import Array
from envs.worlds import TaskWorlds

RESETS = 100
"""Per seed; 6 where quick."""
FINER: Mapping[str, int] = {"half_step": 2, "quarter_step": 4}
CONVERGED = ("push", "place", "insert")
"""What slides, what is held, and what fits with 1 mm to spare."""
PARTS = (*TASKS, *(f"{name}_{step}" for name in CONVERGED for step in FINER))
SEEDS = 5


def measure(part: str, seed: int, quick: bool, console: Console) -> Mapping[str, Any]:
    """Episodes of one task's expert; `failed` are the seeds of those that ended without the goal."""
    resets = 6 if quick else RESETS
    seeds = np.arange(resets) + RESETS * seed
    name, _, step = part.partition("_") if part not in TASKS else (part, "", "")
    task = TASKS[name] if not step else at_finer_step(TASKS[name], FINER[step])
    return {"tries": resets, "failed": seeds[~succeeded(task, seeds)].tolist()}


def summarise(samples: Mapping[str, Sequence[Mapping[str, Any]]]) -> Mapping[str, Figure]:
    """Per task the pooled success with its Wilson interval; of finer steps, by how many points it differs."""
    figures: dict[str, Figure] = {}
    for part, runs in samples.items():
        tries = sum(run["tries"] for run in runs)
        failures = sum(len(run["failed"]) for run in runs)
        if part in TASKS:
            rate = wilson(tries - failures, tries)
            figures[part] = figure(100.0 * rate.value, "%", len(runs), (100.0 * rate.low, 100.0 * rate.high))
            continue
        nominal = samples.get(part.partition("_")[0], ())
        if len(nominal) == len(runs):
            lost = failures - sum(len(run["failed"]) for run in nominal)
            figures[f"{part}_gain"] = figure(100.0 * -lost / tries, "points", len(runs))
    return figures


def at_finer_step(task: Task, times: int) -> Task:
    """The task with so many more physics steps in the same time."""
    physics = task.scene.physics
    return replace(task, scene=replace(task.scene, physics=replace(physics, timestep=physics.timestep / times)))


def succeeded(task: Task, seeds: Array) -> Array:
    """`[N]` whether the expert's episode from each of the seeds ends with the goal reached."""
    worlds = TaskWorlds(task, len(seeds))
    worlds.reset(seeds=seeds)
    demonstrator = expert(task.name, task.scene.robot)
    success: Array = np.zeros(len(seeds), bool)
    for _ in range(task.horizon):
        success = np.asarray(worlds.step(demonstrator.act(worlds.observation, task.goal)).success)
    return success
