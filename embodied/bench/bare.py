"""The limit: the same physics as a simulation's with nothing around it, by two bare loops."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import mujoco
import numpy as np

from envs.simulation import Simulation
from envs.sleeping import wake
from envs.types import Array

STATE = int(mujoco.mjtState.mjSTATE_INTEGRATION)


class Bare:
    """The same physics with nothing around it."""

    def __init__(self, simulation: Simulation, rows: Array, plan: Sequence[Array], threads: int) -> None:
        """`rows` `[N S]` start states, `plan` T + 1 joint targets `[N 6]` from the one before the first step on."""
        self._batch = simulation.engine.batch(simulation.scene.stepped, len(rows), threads)
        self._model = self._batch.model
        # The servos' commands of every control step, each with the physics steps it holds for.
        self._steps = [
            [(new if share == 1.0 else old + share * (new - old), steps) for share, steps in simulation.ramp]
            for old, new in pairwise(plan)
        ]
        size = mujoco.mj_stateSize(self._model, STATE)
        self._rows, self._threads = np.ascontiguousarray(rows[:, :size]), threads
        self._commands = [
            np.concatenate([np.repeat(command[:, None], many, axis=1) for command, many in step], axis=1)
            for step in self._steps
        ]
        self._data = [mujoco.MjData(self._model) for _ in rows]
        self._pool = ThreadPoolExecutor(threads)

    def rewind_batch(self) -> None:
        """Back to the start, untimed."""
        self._batch.state[:] = self._rows
        wake(self._batch, np.arange(len(self._rows)))

    def run_batch(self) -> None:
        """`mujoco.batch`, controls written, nothing read."""
        for commands in self._commands:
            self._batch.rollout(commands.shape[1], commands, record=())

    def rewind_loop(self) -> None:
        """Back to the start, untimed."""
        for data, row in zip(self._data, self._rows, strict=True):
            # Who sleeps is not in the row.
            mujoco.mj_resetData(self._model, data)
            mujoco.mj_setState(self._model, data, row, STATE)

    def run_loop(self) -> None:
        """One C loop of `mj_step` per thread; `mj_step` releases the interpreter's lock."""
        list(self._pool.map(self._run_share, range(self._threads)))

    def check(self, rows: Array, whole: Array) -> None:
        """Raise `AssertionError` unless the last run of both loops ended where ours, in `rows`, did: to the bit.

        Ours are compared in the worlds `whole` `[N]` where nothing is absent: the bare loops let absent cubes fall.
        """
        ends = np.zeros_like(self._rows)
        for data, row in zip(self._data, ends, strict=True):
            mujoco.mj_getState(self._model, data, row, STATE)
        if not np.array_equal(ends, self._batch.state) or not np.array_equal(ends[whole], rows[whole, : ends.shape[1]]):
            raise AssertionError("the bare loops and the simulation ended in different states; ratios mean nothing")

    def _run_share(self, share: int) -> None:
        for step in self._steps:
            for world in range(share, len(self._data), self._threads):
                for command, physics_steps in step:
                    self._data[world].ctrl[:] = command[world]
                    mujoco.mj_step(self._model, self._data[world], nstep=physics_steps)
