"""Goals whose words are known and whose combination is not: what a learner has not seen is decided by the goal alone.

Goals of one literal are never held out, so every word of a held-out goal can be learned from others.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

from embodied.data.goals import goals_that_hold
from envs.feasibility import why_impossible
from envs.goals import Goal
from envs.types import Kind, ObjectState

SHARE = 0.2
"""Of all compositions are held out."""
ROUNDS = 8
"""How often goals are drawn for worlds that have none yet."""


def composition(goal: Goal, state: ObjectState) -> str:
    """A goal without its numbers and names: which words, about which kinds, and where they share an object.

    `on(red_cube, bin) & near(blue_cube, red_cube, 0.1)` and the same about two other cubes are one composition, in
    whatever order their literals stand.
    """
    kinds = dict(zip(state.names, (Kind(int(kind)).name.lower() for kind in state.kind), strict=True))
    words = []
    for literal in goal.literals:
        roles = [f"{kinds[name]}:{_shared(goal, name)}" for name in literal.arguments]
        words.append(f"{'~' * literal.negated}{literal.predicate}({','.join(roles)})")
    return " & ".join(sorted(words))


def _shared(goal: Goal, name: str) -> str:
    """Where else an object appears in the goal: the other words' sorted names and places."""
    uses = [f"{one.predicate}{one.arguments.index(name)}" for one in goal.literals if name in one.arguments]
    return "+".join(sorted(uses)) if len(uses) > 1 else ""


def held_out(goal: Goal, state: ObjectState) -> bool:
    """Whether a learner must not have seen the goal's composition; the same on every machine."""
    if len(goal.literals) < 2:
        return False
    digest = hashlib.sha256(composition(goal, state).encode()).digest()
    return int.from_bytes(digest[:4]) < SHARE * 2**32


def draw_goals(
    rng: np.random.Generator, state: ObjectState, literals: int, unseen: bool
) -> tuple[list[Goal], NDArray[np.int64]]:
    """Feasible goals of so many literals, of held-out compositions alone or of the others alone.

    Each holds in the world of `[B K ...]` whose index comes with it, at most one per world: that it can be reached
    needs no other proof. Worlds for which none is found are left out.
    """
    goals: dict[int, Goal] = {}
    for _ in range(ROUNDS):
        for goal, world in zip(*goals_that_hold(rng, state, literals), strict=True):
            if held_out(goal, state) == unseen and why_impossible(goal) is None:
                goals.setdefault(int(world), goal)
        if len(goals) == state.shape[0]:
            break
    return [goals[world] for world in sorted(goals)], np.array(sorted(goals), np.int64)
