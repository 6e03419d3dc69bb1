"""How close stepping worlds comes to bare MuJoCo: the same model, start, joint targets and cores, and nothing else.

The limit is the faster of two bare loops that see the same physics, bit for bit: `mujoco.batch` with precomputed
controls and nothing read back, and one `mj_step(nstep)` loop per thread over `MjData`. All are timed in turn within one
run, since the speed of a shared machine drifts; a ratio is formed within a repeat, and its median taken over repeats.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import mujoco
import numpy as np
from mujoco.batch import Batch

from embodied.bench.harness import Figure, figure
from embodied.console import Console
from embodied.evaluation.statistics import bootstrap
from envs.control import targets
from envs.gym import TabletopVectorEnv
from envs.simulation import Simulation
from envs.types import Array

PARTS = ("engine", "one_thread", "one_world", "vector_env", "clutter")
SEEDS = 3
WORLDS = 256
STEPS = 12
REPEATS = 15


def measure(part: str, seed: int, quick: bool, console: Console) -> Mapping[str, Any]:
    """Seconds per repeat of ours and of both bare loops, for one part and seed; see `PARTS`."""
    worlds = 1 if part == "one_world" else 32 if quick else WORLDS
    threads = 1 if part in ("one_thread", "one_world") else len(os.sched_getaffinity(0))
    steps = 8 if quick else STEPS * (40 if part == "one_world" else 1)
    env = TabletopVectorEnv("place_clutter" if part == "clutter" else "place", worlds, horizon=steps, threads=threads)
    env.reset(seed=seed)
    simulation = env.worlds.simulation
    start = simulation.save()
    actions = np.random.default_rng(seed).uniform(-1.0, 1.0, (steps, worlds, simulation.control.spec.size))
    before = simulation.joint_target
    plan = [before, *np.moveaxis(targets(simulation.control, before, np.moveaxis(actions, 0, 1)), 1, 0)]
    bare = _Bare(simulation, start.rows, plan, threads)

    def ours() -> None:
        for action in actions:
            if part == "vector_env":
                env.step(action)
            else:
                simulation.step(action)

    def rewind() -> None:
        simulation.restore(start)
        env.worlds.elapsed[:] = 0
        env.worlds.observation = simulation.observe()

    runs: dict[str, tuple[Callable[[], None], Callable[[], None]]] = {
        "ours": (rewind, ours),
        "batch": (bare.rewind_batch, bare.run_batch),
        "loop": (bare.rewind_loop, bare.run_loop),
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    # The first repeat warms caches and is left out.
    for repeat in range(1 + (3 if quick else REPEATS)):
        for name, (before, run) in runs.items():
            before()
            began = time.perf_counter()
            run()
            if repeat:
                seconds[name].append(time.perf_counter() - began)
    if part != "vector_env":
        bare.check(simulation.save().rows, simulation.present.all(axis=1))
    return {"seconds": seconds, "env_steps": steps * worlds, "substeps": simulation.substeps}


def summarise(samples: Mapping[str, Sequence[Mapping[str, Any]]]) -> Mapping[str, Figure]:
    """Ratios to bare physics (1: nothing lost) and rates, medians over the repeats of all seeds."""
    figures: dict[str, Figure] = {}
    for part, raws in samples.items():
        prefix = "" if part == "engine" else f"{part}_"
        ratios, rates = [], []
        for raw in raws:
            ours, batch, loop = (np.array(raw["seconds"][name]) for name in ("ours", "batch", "loop"))
            ratios.append(np.minimum(batch, loop) / ours)
            rates.append(raw["env_steps"] / ours)
        figures[f"{prefix}ratio_to_raw"] = _median(np.concatenate(ratios), "1", len(raws))
        figures[f"{prefix}env_steps_per_s"] = _median(np.concatenate(rates), "1/s", len(raws))
        substeps = raws[0]["substeps"]
        figures[f"{prefix}physics_steps_per_s"] = _median(substeps * np.concatenate(rates), "1/s", len(raws))
    return figures


class _Bare:
    """The same physics with nothing around it."""

    def __init__(self, simulation: Simulation, rows: Array, plan: Sequence[Array], threads: int) -> None:
        """`rows` `[N S]` start states, `plan` T + 1 joint targets `[N 6]` from the one before the first step on."""
        self._model = simulation.scene.model
        # The servos' commands of every control step, each with the physics steps it holds for.
        self._steps = [
            [(new if share == 1.0 else old + share * (new - old), steps) for share, steps in simulation.ramp]
            for old, new in pairwise(plan)
        ]
        size = mujoco.mj_stateSize(self._model, _STATE)
        self._rows, self._threads = np.ascontiguousarray(rows[:, :size]), threads
        self._batch = Batch(self._model, len(rows), threads)
        self._ctrl = self._batch.bind("ctrl")
        self._data = [mujoco.MjData(self._model) for _ in rows]
        self._pool = ThreadPoolExecutor(threads)

    def rewind_batch(self) -> None:
        """Back to the start, untimed."""
        self._batch.state[:] = self._rows

    def run_batch(self) -> None:
        """`mujoco.batch`, controls written, nothing read."""
        for step in self._steps:
            for command, physics_steps in step:
                self._ctrl[:] = command
                self._batch.step(nstep=physics_steps)

    def rewind_loop(self) -> None:
        """Back to the start, untimed."""
        for data, row in zip(self._data, self._rows, strict=True):
            mujoco.mj_setState(self._model, data, row, _STATE)

    def run_loop(self) -> None:
        """One C loop of `mj_step` per thread; `mj_step` releases the interpreter's lock."""
        list(self._pool.map(self._run_share, range(self._threads)))

    def check(self, rows: Array, whole: Array) -> None:
        """Raise `AssertionError` unless the last run of both loops ended where ours, in `rows`, did: to the bit.

        Ours are compared in the worlds `whole` `[N]` where nothing is absent: the bare loops let absent cubes fall.
        """
        ends = np.zeros_like(self._rows)
        for data, row in zip(self._data, ends, strict=True):
            mujoco.mj_getState(self._model, data, row, _STATE)
        if not np.array_equal(ends, self._batch.state) or not np.array_equal(ends[whole], rows[whole, : ends.shape[1]]):
            raise AssertionError("the bare loops and the simulation ended in different states; ratios mean nothing")

    def _run_share(self, share: int) -> None:
        for step in self._steps:
            for world in range(share, len(self._data), self._threads):
                for command, physics_steps in step:
                    self._data[world].ctrl[:] = command[world]
                    mujoco.mj_step(self._model, self._data[world], nstep=physics_steps)


_STATE = int(mujoco.mjtState.mjSTATE_INTEGRATION)


def _median(values: Array, unit: str, seeds: int) -> Figure:
    estimate = bootstrap(
        lambda drawn: float(np.median(np.repeat(values, drawn.astype(np.int64)))), len(values), np.random.default_rng(0)
    )
    return figure(estimate.value, unit, seeds, (estimate.low, estimate.high))
