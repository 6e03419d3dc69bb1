"""The published Push-T question: from a state of a held-out trajectory, reach the state 25 env steps later.

Source: the protocol shared by DINO-WM (arXiv 2411.04983), LeWM (2603.19312) and C-JEPA (2602.11389): a budget of 50 env
steps, success by `envs.pusht.solved`. DINO-WM looks at the ends of plans only, stable-worldmodel after every env step;
both are counted.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from embodied.data.pusht import Trajectories
from envs.errors import EmbodiedError
from envs.pusht import BUDGET, HORIZON, PushT, solved
from envs.types import Array


@dataclass(frozen=True)
class Question:
    """One start and goal."""

    start: Array
    """`[10]`."""
    goal: Array
    """`[10]`."""
    actions: Array
    """`[25 2]` what led from one to the other."""

    @property
    def far(self) -> bool:
        """Whether the block alone is too far off to pass: waiting, or moving the agent, cannot solve it."""
        goal = np.concatenate([self.start[:2], self.goal[2:]])
        return not bool(solved(self.start, goal))


class Policy(Protocol):
    """Whatever chooses targets."""

    def act(self, observed: Array, /) -> Array:
        """The next target `[2]` [px] from what is observed: a state `[10]`, or a picture."""
        ...


@dataclass(frozen=True)
class Attempt:
    """What came of one question."""

    passed: int | None
    """The first env step after which the goal was met."""
    at_end: bool
    """Whether it was met at an end of 25 steps."""
    seconds: float
    """Processor time that the policy took."""


def questions(data: Trajectories, count: int, seed: int, weak: bool = False) -> list[Question]:
    """One question from each of `count` trajectories, at a random instant; those that start solved are dropped.

    Raises `EmbodiedError` where there are too few trajectories of the kind.
    """
    rng = np.random.default_rng(seed)
    found: list[Question] = []
    for episode in np.flatnonzero(data.weak == weak):
        states, actions = data.states[episode], data.actions[episode]
        for first in rng.permutation(len(actions) - HORIZON + 1):
            start, goal = states[first], states[first + HORIZON]
            if not solved(start, goal):
                found.append(Question(start, goal, actions[first : first + HORIZON]))
                break
        if len(found) == count:
            return found
    raise EmbodiedError(f"{count} questions asked of {len(found)} usable trajectories; collect more.")


def attempt(
    world: PushT,
    question: Question,
    policy: Policy,
    stop_early: bool,
    observe: Callable[[PushT], Array] = lambda world: world.state,
) -> Attempt:
    """Let a policy try.

    Args:
        world: to try in.
        question: what is asked.
        policy: made for this question.
        stop_early: stop as soon as the goal is met; else only at an end of 25 steps, as open-loop plans do.
        observe: what the policy is shown.
    """
    world.restore(question.start)
    passed, at_end, seconds = None, False, 0.0
    for step in range(1, BUDGET + 1):
        observed = observe(world)
        begin = time.process_time()
        action = policy.act(observed)
        seconds += time.process_time() - begin
        met = bool(solved(world.step(action), question.goal))
        if met and passed is None:
            passed = step
        at_end = at_end or (met and step % HORIZON == 0)
        if at_end or (met and stop_early):
            break
    return Attempt(passed, at_end, seconds)


class Replay:
    """The held-out actions themselves, then standing still: what restoring a state costs."""

    def __init__(self, actions: Array) -> None:
        self._actions = list(actions)

    def act(self, state: Array) -> Array:
        """The next recorded target."""
        return np.asarray(self._actions.pop(0) if self._actions else state[:2])


class Still:
    """Never moves: what starts give away."""

    def act(self, state: Array) -> Array:
        """Where the agent is."""
        return np.array(state[:2])


def passes(attempts: Sequence[Attempt]) -> int:
    """How many met the goal after any env step."""
    return sum(each.passed is not None for each in attempts)
