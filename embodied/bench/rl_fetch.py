"""Our learner and Stable-Baselines3's on the Fetch tasks of gymnasium-robotics: CPU time and steps to 90 % success.

Both learn in the very environments, and are judged in them off the clock, at the last step of episodes. A run ends
when it gets there or when its budget is spent. Where the peer did not get there, what it had spent by then stands in
for what it needs, and the ratio is a lower bound.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from embodied.bench import peers
from embodied.bench.harness import Figure, figure, over_seeds
from embodied.config import AgentConfig
from embodied.data.goal_replay import GoalObservation
from envs.types import Array

TASKS = {"fetch_reach": "FetchReach-v4", "fetch_push": "FetchPush-v4", "fetch_pick": "FetchPickAndPlace-v4"}
PARTS = tuple(f"{part}{whose}" for part in TASKS for whose in ("", "_sb3"))
BUDGET = {
    "fetch_reach": 3.0,
    "fetch_push": 20.0,
    "fetch_pick": 40.0,
    "fetch_reach_sb3": 12.0,
    "fetch_push_sb3": 80.0,
    "fetch_pick_sb3": 160.0,
}
"""CPU-minutes."""
ENOUGH = 0.9
EPISODES = 100
_BETWEEN = 1.15
"""Ratio of one time of judging to the one before."""
_FIRST = 0.15
"""[min] of the first."""
_JUDGED = 10**6
"""Beginnings are judged from this seed on."""
WORLDS = 16
AGENT = AgentConfig(updates_per_step=0.5, noise=0.2, relabel=0.8, squash_penalty=0.01)
"""Relabelling and noise of `agent=headstart`, which learns without demonstrations as well."""


class FetchWorlds:
    """`GoalWorlds` of a worker."""

    def __init__(self, worker: peers.Worker, task: str, worlds: int, seed: int) -> None:
        told = worker.ask("make", name=task, worlds=worlds, seed=seed)
        self.worlds, self.horizon, self.action_size = worlds, int(told["horizon"]), int(told["action_size"])
        self.tolerance = float(told["tolerance"])
        self._worker = worker

    def reset(self) -> GoalObservation:
        """See `GoalWorlds`."""
        return _read(self._worker.ask("reset"))

    def step(self, action: Array) -> Callable[[], GoalObservation]:
        """See `GoalWorlds`."""
        answer = self._worker.tell("step", action=np.asarray(action, np.float64).round(6).tolist())
        return lambda: _read(answer())

    def reached(self, achieved: Array, desired: Array) -> Array:
        """Whether goals `[B 3]` are within the task's tolerance."""
        return np.asarray(np.linalg.norm(achieved - desired, axis=-1) < self.tolerance)


def _read(answer: Mapping[str, Any]) -> GoalObservation:
    return GoalObservation(**{name: np.array(rows, np.float32) for name, rows in answer.items()})


def measure(part: str, seed: int, quick: bool) -> Mapping[str, Any]:
    """The learning curve of one run. To be called in a process of its own, whose CPU time counts from its start."""
    budget, episodes = (_FIRST, 10) if quick else (BUDGET[part], EPISODES)
    course = _peer if part.endswith("_sb3") else _ours
    return {"budget": budget, "curve": course(TASKS[part.removesuffix("_sb3")], seed, _marks(budget), episodes)}


def _marks(budget: float) -> list[float]:
    """CPU-minutes at which success is judged."""
    count = int(np.floor(np.log(budget / _FIRST) / np.log(_BETWEEN)))
    return [*(_FIRST * _BETWEEN**i for i in range(count)), budget]


def _ours(task: str, seed: int, marks: Sequence[float], episodes: int) -> list[dict[str, float]]:
    import torch

    from embodied.training.goal_conditioned import GoalTrainer

    torch.set_num_threads(1)
    curve: list[dict[str, float]] = []
    off, wall = 0.0, time.perf_counter()
    with peers.Worker("fetch.py") as worker, peers.Worker("fetch.py") as other:
        worlds = FetchWorlds(worker, task, WORLDS, seed)
        judge = FetchWorlds(other, task, 10, _JUDGED)
        trainer = GoalTrainer(worlds, AGENT, seed, worlds.reached)
        for mark in marks:
            # The judge is a child that has not ended, and so not on this clock.
            while (spent := time.process_time() + worker.ask("cpu_seconds") - off) < 60.0 * mark:
                trainer.advance()
            began = time.process_time()
            success = _success(trainer.act, judge, episodes)
            off += time.process_time() - began
            trainer.metrics()
            point = {"cpu": spent, "steps": trainer.env_steps, "updates": trainer.learner.updates, "success": success}
            curve.append(point | {"wall": time.perf_counter() - wall})
            if success >= ENOUGH:
                break
    return curve


def _success(act: Callable[[GoalObservation], Array], judge: FetchWorlds, episodes: int) -> float:
    successes = []
    for _ in range(episodes // judge.worlds):
        seen = judge.reset()
        for _ in range(judge.horizon):
            seen = judge.step(act(seen))()
        successes.append(judge.reached(seen.achieved, seen.desired))
    return float(np.mean(successes))


def _peer(task: str, seed: int, marks: Sequence[float], episodes: int) -> list[dict[str, float]]:
    curve: list[dict[str, float]] = []
    wall = time.perf_counter()
    with peers.Worker("fetch_sb3.py") as worker:
        worker.ask("make", name=task, seed=seed, judged=_JUDGED)
        for mark in marks:
            point = worker.ask("learn", minutes=mark)
            point["success"] = worker.ask("success", episodes=episodes)
            curve.append(point | {"wall": time.perf_counter() - wall})
            if point["success"] >= ENOUGH:
                break
    return curve


def summarise(samples: Mapping[str, Sequence[Mapping[str, Any]]]) -> Mapping[str, Figure]:
    """CPU time and steps to 90 %, what was reached, and the peer's over ours."""
    figures: dict[str, Figure] = {}
    for task in TASKS:
        ours, theirs = ([raw for raw in samples.get(f"{task}{whose}", []) if raw] for whose in ("", "_sb3"))
        for name, raws in ((task, ours), (f"{task}_sb3", theirs)):
            if raws:
                figures |= _alone(name, raws)
        pairs = list(zip(ours, theirs, strict=False))
        for what, key in (("cpu", "cpu_ratio"), ("steps", "steps_ratio")):
            if pairs:
                figures[f"{task}_{key}"] = _ratio(pairs, what)
    return figures


def _alone(name: str, raws: Sequence[Mapping[str, Any]]) -> dict[str, Figure]:
    last = [raw["curve"][-1] for raw in raws]
    return {
        f"{name}_success": over_seeds([100.0 * point["success"] for point in last], "%"),
        f"{name}_cpumin": over_seeds([point["cpu"] / 60.0 for point in last], "min"),
        f"{name}_steps": over_seeds([point["steps"] for point in last], "steps"),
        f"{name}_budget": figure(raws[0]["budget"], "min", len(raws)),
    }


def _ratio(pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]], what: str) -> Figure:
    """The peer's over ours, a lower bound where the peer's budget ended first; unknown where ours did not get there."""
    ends = [(ours["curve"][-1], theirs["curve"][-1]) for ours, theirs in pairs]
    ratios = [theirs[what] / ours[what] if ours["success"] >= ENOUGH else float("nan") for ours, theirs in ends]
    bound = any(theirs["success"] < ENOUGH for _, theirs in ends)
    return over_seeds(ratios, "x at least" if bound else "x")
