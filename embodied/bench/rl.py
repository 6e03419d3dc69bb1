"""What a policy has learned after so many CPU-minutes of all processes together, from a cold start.

Every run is a process of its own, whose clock counts what it and its children used since they were started: imports,
collection of demonstrations, physics, learning. Success is measured afterwards, off the clock, on beginnings that no
training sees, at the last step of an episode. `embodied.bench.rl_imagined` counts environment steps instead.
"""

import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from embodied.bench import peers, rl_fetch, rl_imagined, rl_updates
from embodied.bench.harness import Figure, figure
from embodied.cli import compose
from embodied.config import Config
from embodied.console import Console
from embodied.evaluation.statistics import iqm, wilson
from embodied.run import Run
from embodied.schema import to_dict
from envs.errors import EmbodiedError

COURSES: Mapping[str, tuple[tuple[str, ...], tuple[float, ...]]] = {
    "place_demo": (("env=place_air", "trainer.demonstrations=50"), (0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0)),
    "place_nodemo": (
        ("env=place_air", "trainer.demonstrations=0", "agent=headstart"),
        (1.0, 2.0, 3.0, 4.0, 6.0, 8.0),
    ),
    "stack": (("env=stack", "trainer.demonstrations=50"), (1.0, 2.0, 4.0, 6.0, 8.0, 10.0)),
}
"""Settings, and the CPU-minutes at which success is measured."""
FIGURES = {
    "place_demo_success_2cpumin": ("place_demo", 2.0),
    "place_demo_success_5cpumin": ("place_demo", 5.0),
    "place_nodemo_success_8cpumin": ("place_nodemo", 8.0),
    "stack_success_10cpumin": ("stack", 10.0),
    "sb3_place_success_6cpumin": ("sb3", 6.0),
}
SB3_MINUTES = (2.0, 4.0, 6.0)
PARTS = (*COURSES, "sb3", "updates", *rl_imagined.PARTS, *rl_fetch.PARTS)
SEEDS = 5
EPISODES = 200
_QUICK = 0.1
"""CPU-minutes of the only measurement of a quick run."""


def measure(part: str, seed: int, quick: bool, console: Console) -> Mapping[str, Any]:
    """The learning curve of one run, or the rates of updates."""
    if part == "updates":
        return rl_updates.measure(20 if quick else 300, 3 if quick else 7)
    if part in ("sb3", *rl_fetch.PARTS) and not peers.installed():
        console.say(peers.MISSING)
        return {}
    if part in rl_fetch.PARTS:
        console.say(f"up to {rl_fetch.BUDGET[part]:g} CPU-minutes, less where 90 % success comes sooner")
        return apart(rl_fetch.measure, part, seed, quick)
    if part in rl_imagined.PARTS:
        return rl_imagined.measure(part, seed, quick, console)
    episodes = 16 if quick else EPISODES
    if part == "sb3":
        return apart(_peer, seed, (_QUICK,) if quick else SB3_MINUTES, episodes)
    words, minutes = COURSES[part]
    return apart(course, seed, (_QUICK,) if quick else minutes, episodes, words)


def summarise(samples: Mapping[str, Sequence[Mapping[str, Any]]]) -> Mapping[str, Figure]:
    """Success at the promised times, the wall clock then, and ratios of update rates."""
    figures: dict[str, Figure] = {}
    for key, (part, minutes) in FIGURES.items():
        points = [
            point for row in samples.get(part, []) for point in row.get("curve", []) if point["minutes"] == minutes
        ]
        if not points:
            continue
        rates, episodes = [point["success"] for point in points], points[0]["episodes"]
        if len(rates) == 1:
            estimate = wilson(round(rates[0] * episodes), episodes)
            value, interval = estimate.value, (estimate.low, estimate.high)
        else:
            value, interval = iqm(rates, episodes, np.random.default_rng(0))
        figures[key] = figure(100.0 * value, "%", len(points), (100.0 * interval[0], 100.0 * interval[1]))
        wall = float(np.median([point["wall"] for point in points]))
        figures[key.replace("_success_", "_wall_")] = figure(wall / 60.0, "min", len(points))
    figures |= rl_updates.summarise(samples.get("updates", []))
    return {**figures, **rl_imagined.summarise(samples), **rl_fetch.summarise(samples)}


def cpu_seconds() -> float:
    """Of this process since its start, and of its children that have ended [s]."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


class Clock:
    """Calls a policy's state to be kept each time the CPU clock has passed another mark."""

    def __init__(self, minutes: Sequence[float]) -> None:
        self._left = sorted(minutes)
        self._began = time.perf_counter()
        self.kept: list[dict[str, Any]] = []

    def note(self, state: Callable[[], dict[str, Any]]) -> bool:
        """Keep `state()` where a mark has been passed; returns whether marks are left."""
        while self._left and cpu_seconds() >= 60.0 * self._left[0]:
            wall = time.perf_counter() - self._began
            self.kept.append({"minutes": self._left.pop(0), "cpu": cpu_seconds(), "wall": wall, **state()})
        return bool(self._left)


def apart(work: Callable[..., Any], *arguments: Any) -> Mapping[str, Any]:
    """What `work(*arguments)` returns, from a fresh process; raises `EmbodiedError` where that dies."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(there, work, arguments))
    process.start()
    there.close()
    try:
        answer: Mapping[str, Any] = here.recv()
    except EOFError as error:
        process.join()
        raise EmbodiedError(f"The measuring process died with exit code {process.exitcode}.") from error
    process.join()
    return answer


def _answer(connection: Connection, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    connection.send(work(*arguments))


def course(seed: int, minutes: Sequence[float], episodes: int, words: Sequence[str]) -> dict[str, Any]:
    """Train as `embodied train` does, by the clock instead of by steps."""
    import torch

    from embodied.agents.policies import ActorPolicy, NumpyActor
    from embodied.training.collect import collect_demonstrations
    from embodied.training.train import policy_trainer

    clock = Clock(minutes)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        (config,) = compose("train", [*words, f"seed={seed}", f"run={folder}/run", "device=cpu"])
        with Run.open(Path(folder) / "run", to_dict(config)) as run:
            if config.trainer.demonstrations:
                collect_demonstrations(config, run.folder, lambda done, of: None)
            collected = cpu_seconds()
            trainer = policy_trainer(config, run)

    def state() -> dict[str, Any]:
        return {"steps": trainer.env_steps, "updates": trainer.learner.updates, "state": trainer.learner.state_dict()}

    while trainer.cloned < config.agent.cloning_steps and clock.note(state):
        trainer.clone(25)
    cloned = cpu_seconds()
    while clock.note(state):
        trainer.advance(1)
    curve = []
    for point in clock.kept:
        policy = ActorPolicy(NumpyActor(point.pop("state")), trainer.distractors)
        curve.append(point | _success(policy, config, seed, episodes))
    return {"curve": curve, "collected": collected, "cloned": cloned, "cores": len(os.sched_getaffinity(0))}


def _peer(seed: int, minutes: Sequence[float], episodes: int) -> dict[str, Any]:
    """Stable-Baselines3's SAC with HER on the same task."""
    from embodied.bench import rl_peer

    clock = Clock(minutes)
    (config,) = compose("train", ["env=place_air"])
    rl_peer.learn(config.env.task, seed, clock.note)
    curve = [point | _success(point.pop("policy"), config, seed, episodes) for point in clock.kept]
    return {"curve": curve}


def _success(policy: Any, config: Config, seed: int, episodes: int) -> dict[str, Any]:
    from embodied.evaluation.success import held_out_seeds, success
    from embodied.training.collect import chosen_control, chosen_task

    fared = success(policy, chosen_task(config), held_out_seeds(seed, episodes), chosen_control(config))
    return {"success": fared.at_end.value, "ever": fared.ever.value, "episodes": episodes}
