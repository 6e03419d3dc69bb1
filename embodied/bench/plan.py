"""Planning over the world model: what a search costs on one thread, and what it brings about in the world.

Cost. The full search is that of the published predictors: 300 candidates, 30 iterations, 5 blocks, a block being one
control step of 0.1 s that the model goes through in five. `realtime` is the preset `agent=realtime`. Parts are the
worlds: `boxes` (a pusher among up to five objects) and `tabletop` (the arm among up to three cubes) from instants of
play in which objects move, and the tasks `push` and `place` (the arm and one cube) from instants of an episode that the
real-time planner acts in; figures without a prefix are of `push`.

Success. On the tasks, the same search is made over MuJoCo itself and over the world model, from the same beginnings and
towards the same progress (`embodied.training.policies.progress`); nothing is demonstrated. The
counterfactual planning gap `cpg` is the success with MuJoCo as the model minus that with ours, in points. MuJoCo as the
model knows more than any could: the exact state and all masses. Ours is what `embodied bench whatif part=tabletop`
trains; play is all it has seen. Both goals say where the cube ends, not how it gets there: what a planner places it has
mostly pushed.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from embodied.agents.oracle import Oracle
from embodied.agents.planner import Begin, Planner, PlannerConfig
from embodied.bench.harness import Figure, figure, over_seeds
from embodied.bench.whatif import world_config
from embodied.cli import compose
from embodied.config import Config
from embodied.console import Console
from embodied.evaluation.model import load_ensemble
from embodied.evaluation.statistics import difference, wilson
from embodied.evaluation.success import held_out_seeds, success_in
from embodied.evaluation.whatif import held_out
from embodied.run import Run
from embodied.schema import to_dict
from embodied.training.collect import play_control
from embodied.training.policies import progress, search
from envs.control import Controller
from envs.goals import Goal
from envs.robot import default_control
from envs.tasks import task
from envs.types import Array, Observation
from envs.worlds import TaskWorlds
from world_models.cjepa.ahead import Ahead
from world_models.cjepa.ensemble import Ensemble

TASKS = ("push", "place")
PARTS = ("boxes", "tabletop", *TASKS)
SEEDS = 3
FULL = PlannerConfig(horizon=5, candidates=300, elites=30, iterations=30)
COMPARED = PlannerConfig(horizon=6, candidates=48, elites=6, iterations=2, spread=0.8)
"""What MuJoCo and the world model are compared with: a search with which MuJoCo nearly always succeeds."""
EPISODES = 24
"""Beginnings per task and seed."""
INSTANTS = 4
"""From which full searches are timed."""
PLAY_GOAL = Goal.parse("left_of(red_cube, blue_cube)")


def measure(part: str, seed: int, quick: bool, console: Console) -> Mapping[str, Any]:
    """Train, or continue, one seed's world model; time searches over it, and of a task count what they achieve."""
    from embodied.training.train import train

    config = world_config(part if part == "boxes" else "tabletop", seed, quick)
    with Run.open(config.run, to_dict(config)) as run:
        train(config, run, console)
        ensemble = load_ensemble(run, config)
    return ask(part, ensemble, config, quick, console)


def ask(part: str, ensemble: Ensemble, config: Config, quick: bool, console: Console) -> Mapping[str, Any]:
    """The raw figures of one world model: seconds of searches, and of a task the successes."""
    console.say("timing searches")
    full = replace(FULL, candidates=30, elites=3, iterations=2) if quick else FULL
    if part not in TASKS:
        control = play_control(config)
        seen = held_out(config, 4).contexts.history[: 1 if quick else INSTANTS]
        watched = [[seen[i : i + 1, t] for t in range(config.world_model.history)] for i in range(len(seen.time))]
        begin = Ahead(ensemble, control).begin
        decisions = []
        for frames in watched:
            quickly = _planner(begin, control, realtime(), config)
            # The first decision has no plan to start from.
            decisions += [_decide(quickly, observation, PLAY_GOAL)[1] for observation in frames][1:]
        return _times(begin, control, watched, PLAY_GOAL, full, config) | {"decisions": decisions}
    chosen, control = task(part, horizon=6 if quick else None), default_control("so101")
    begin = Ahead(ensemble, control).begin
    worlds = TaskWorlds(chosen, 1, control=control, threads=1)
    observations, decisions = [worlds.reset(seeds=held_out_seeds(config.seed, 1))], []
    quickly = _planner(begin, control, realtime(), config)
    for _ in range(chosen.horizon):
        action, seconds = _decide(quickly, observations[-1], chosen.goal)
        decisions.append(seconds)
        observations.append(worlds.step(action).next_observation)
    width = config.world_model.history
    starts = np.linspace(0, len(observations) // 2 - width, 1 if quick else INSTANTS).astype(int)
    watched = [observations[start : start + width] for start in starts]
    times = _times(begin, control, watched, chosen.goal, full, config) | {"decisions": decisions[1:]}
    return times | {"success": successes(part, ensemble, config, quick, console)}


def successes(
    part: str, ensemble: Ensemble, config: Config, quick: bool, console: Console
) -> Mapping[str, Sequence[bool]]:
    """Whether each beginning's goal holds at the end: MuJoCo as the model, ours, and ours in real time."""
    chosen, control = task(part, horizon=6 if quick else None), default_control("so101")
    compared = replace(COMPARED, candidates=8, elites=2) if quick else COMPARED
    episodes = 2 if quick else EPISODES
    worlds = TaskWorlds(chosen, episodes, control=control, threads=config.env.threads)
    ours = Ahead(ensemble, control).begin
    oracle = Oracle(worlds.simulation, compared.candidates, config.env.threads).begin
    ways: Mapping[str, tuple[Begin, PlannerConfig]] = {
        "mujoco": (oracle, compared),
        "model": (ours, compared),
        "realtime": (ours, realtime()),
    }
    found = {}
    for name, (begin, sizes) in ways.items():
        console.say(f"{part}: planning with {name}")
        result = success_in(worlds, _planner(begin, control, sizes, config), held_out_seeds(config.seed, episodes))
        found[name] = result.succeeded.tolist()
    return found


def realtime() -> PlannerConfig:
    """The preset `agent=realtime`."""
    (config,) = compose("train", ["agent=realtime"])
    return search(config.agent)


def _planner(begin: Begin, control: Controller, sizes: PlannerConfig, config: Config) -> Planner:
    """With the same random numbers, whatever the model."""
    rng = np.random.default_rng((config.seed, 5))
    return Planner(begin, progress, control.spec, rng, sizes, config.world_model.history)


def _decide(planner: Planner, observation: Observation, goal: Goal) -> tuple[Array, float]:
    """An action, and the wall seconds that it took on one thread."""
    with _one_thread():
        started = time.perf_counter()
        action = planner.act(observation, goal)
        return action, time.perf_counter() - started


def _times(
    begin: Begin, control: Controller, watched: Sequence[Sequence[Observation]], goal: Goal, full: PlannerConfig,
    config: Config,
) -> dict[str, Any]:  # fmt: skip
    """CPU and wall seconds of one full search on one thread after each of some successions of observations."""
    cpu, wall = [], []
    for frames in watched:
        planner = _planner(begin, control, replace(full, candidates=8, elites=2, iterations=1), config)
        for observation in frames[:-1]:
            planner.act(observation, goal)
        planner.config = full
        with _one_thread():
            started, spent = time.perf_counter(), time.process_time()
            planner.plan(frames[-1], goal)
            cpu.append(time.process_time() - spent)
            wall.append(time.perf_counter() - started)
    return {"cpu": cpu, "wall": wall}


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def summarise(samples: Mapping[str, Sequence[Mapping[str, Any]]]) -> Mapping[str, Figure]:
    """Seconds of a full search, milliseconds of a decision in real time, successes and gaps.

    In an episode of a task, decisions after the cube has come to where it should are the cheapest: beside the median
    stands the 95th percentile.
    """
    figures: dict[str, Figure] = {}
    for part, rows in samples.items():
        prefix = "" if part == "push" else f"{part}_"
        figures[f"{prefix}cpu_seconds_full"] = over_seeds([float(np.mean(row["cpu"])) for row in rows], "s")
        for name, share in (("realtime_ms", 0.5), ("realtime_p95_ms", 0.95)):
            taken = [1000 * float(np.quantile(row["decisions"], share)) for row in rows]
            figures[f"{prefix}{name}"] = over_seeds(taken, "ms")
        if part in TASKS:
            figures |= _gaps(part, [row["success"] for row in rows])
    return figures


def _gaps(part: str, rows: Sequence[Mapping[str, Sequence[bool]]]) -> dict[str, Figure]:
    """Over the episodes of all seeds."""
    rates = {name: wilson(sum(sum(row[name]) for row in rows), sum(len(row[name]) for row in rows)) for name in rows[0]}
    gap = difference(rates["mujoco"], rates["model"])
    loss = difference(rates["model"], rates["realtime"])
    points = [(100 * each.value, (100 * each.low, 100 * each.high)) for each in (gap, loss)]
    return {
        f"cpg_{part}": figure(points[0][0], "points", len(rows), points[0][1]),
        f"mujoco_{part}_success": rates["mujoco"].figure("1", len(rows)),
        f"model_{part}_success": rates["model"].figure("1", len(rows)),
        f"realtime_{part}_success": rates["realtime"].figure("1", len(rows)),
        f"realtime_{part}_loss": figure(points[1][0], "points", len(rows), points[1][1]),
    }
