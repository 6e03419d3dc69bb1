"""How well goals are read off examples: what a mined goal says of episodes it was not mined from."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embodied.data.arrangements import perturb
from embodied.data.lessons import expert_states
from envs.errors import EmbodiedError
from envs.goals import Goal
from envs.tasks import TASKS
from envs.types import ObjectState
from world_models.reward.mining import mine

TASKS_MINED = ("push", "lift", "place", "place_bin", "place_clutter", "stack")
_TRIES = 8


@dataclass(frozen=True)
class Read:
    """A mined goal against the one that was meant, on states of held-out episodes."""

    goal: Goal
    recall: float
    """Share of true successes that it calls so."""
    false: float
    """Share of what it calls success that is none."""


def read_off(name: str, examples: int, seed: int, worlds: int, spread: float = 0.0) -> Read:
    """Mine the goal of a task from so many of its expert's episodes, seen with so noisy poses [m].

    Examples are last states of successful episodes; no successes are all states of theirs before. Raises
    `EmbodiedError` where the expert does not succeed so often.
    """
    rng = np.random.default_rng((seed, 15))
    goal = TASKS[name].goal
    parts: list[ObjectState] = []
    for attempt in range(_TRIES):
        states = expert_states(name, _TRIES * seed + attempt, worlds)
        holds = np.asarray(goal.satisfied(states))
        good = np.flatnonzero(holds[:, -1] & ~holds[:, 0])
        parts += [states[int(world)] for world in good]
        if len(parts) >= examples:
            break
    if len(parts) < examples:
        raise EmbodiedError(f"The expert of {name!r} succeeded {len(parts)} times, {examples} examples were asked for.")
    shown = [_seen(rng, part, spread) for part in parts[:examples]]
    before = [seen[~np.asarray(goal.satisfied(part))] for seen, part in zip(shown, parts, strict=False)]
    mined = mine(ObjectState.stack([seen[-1] for seen in shown]), ObjectState.concat(before)).goal
    unseen = expert_states(name, 2**20 + seed, worlds)
    said, true = (np.asarray(each.satisfied(unseen)) for each in (mined, goal))
    return Read(mined, _share(said & true, true), _share(said & ~true, said))


def _seen(rng: np.random.Generator, states: ObjectState, spread: float) -> ObjectState:
    return states if not spread else perturb(rng, states, np.full(states.shape[0], spread))


def _share(some: NDArray[np.bool_], of: NDArray[np.bool_]) -> float:
    return float(some.sum() / max(1, of.sum()))
