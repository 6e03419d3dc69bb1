"""Success of a policy on a task: fixed unseen beginnings, all worlds at once, with intervals."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from embodied.evaluation.statistics import Estimate, wilson
from envs.control import CartesianDelta, Controller
from envs.engine import BATCH, Engine
from envs.episode import Policy, Transition
from envs.errors import EmbodiedError
from envs.sensors import SensorConfig
from envs.task import Task
from envs.types import Array, Observation
from envs.variation import Variation
from envs.worlds import HELD_OUT, TaskWorlds

_PER_SEED = 2**14


@dataclass(frozen=True)
class Success:
    """How one policy fared."""

    at_end: Estimate
    """The goal holds at the last step: the number we report."""
    ever: Estimate
    """The goal held at some step."""
    succeeded: NDArray[np.bool_]
    """`[N]` per beginning, at the end."""
    steps: float
    """Median number of steps to the first success; NaN without one."""


def held_out_seeds(seed: int, count: int) -> NDArray[np.int64]:
    """`count` seeds of unseen beginnings; those of different `seed`s do not overlap.

    Raises `EmbodiedError` for more than there are.
    """
    if not 0 < count <= _PER_SEED or seed < 0:
        raise EmbodiedError(f"Episodes must be 1 to {_PER_SEED} and the seed not negative, got {count} and {seed}.")
    return HELD_OUT + seed * _PER_SEED + np.arange(count, dtype=np.int64)


def success(
    policy: Policy,
    task: Task,
    seeds: NDArray[np.int64],
    control: Controller | None = None,
    threads: int = 0,
    variation: Variation | None = None,
    sensors: SensorConfig | None = None,
    engine: Engine = BATCH,
) -> Success:
    """Run one whole episode from each beginning, the same for every policy and every variation.

    The policy sees what `sensors` say; success is what is.

    Raises `EmbodiedError` without seeds or where the policy's action is not finite.
    """
    if not len(seeds):
        raise EmbodiedError("Success needs at least one beginning.")
    control = control or CartesianDelta()
    worlds = TaskWorlds(task, len(seeds), 0, control, threads, variation, sensors, engine=engine)
    return success_in(worlds, policy, seeds)


class Tried(Protocol):
    """Worlds of one task that a policy is tried in; `TaskWorlds` is one."""

    @property
    def task(self) -> Task:
        """The task of every world."""
        ...

    def reset(self, *, seeds: Array | None = None) -> Observation:
        """Begin the episodes that `seeds` give."""
        ...

    def step(self, action: Array) -> Transition:
        """One control step under actions `[N A]`."""
        ...


def success_in(worlds: Tried, policy: Policy, seeds: NDArray[np.int64]) -> Success:
    """Run one whole episode in each world, from the beginning that its seed gives.

    Nothing is reset early: a policy that drops what it had placed has failed. Raises `EmbodiedError` for another number
    of seeds than worlds.
    """
    task = worlds.task
    observation = worlds.reset(seeds=seeds)
    policy.reset()
    holds = np.zeros((task.horizon, len(seeds)), dtype=bool)
    for step in range(task.horizon):
        transition = worlds.step(policy.act(observation, task.goal))
        observation, holds[step] = transition.next_observation, transition.success
    reached = holds.any(axis=0)
    first = np.argmax(holds, axis=0)[reached] + 1
    count = len(seeds)
    return Success(
        at_end=wilson(int(holds[-1].sum()), count),
        ever=wilson(int(reached.sum()), count),
        succeeded=holds[-1],
        steps=float(np.median(first)) if len(first) else float("nan"),
    )
