"""Minimal spatial pairs: two states apart by the smallest move that flips exactly one literal of a goal.

Models that learn from random negatives are at chance on such pairs; they are what says where a predicate's boundary is.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from envs.geometry import quat_multiply
from envs.goals import Literal, margins
from envs.predicates import GRIPPER, INTERVAL, JAWS
from envs.types import Array, ObjectState

Floats = NDArray[np.float64]
SIZES = np.geomspace(0.001, 0.512, 19)
"""Moves that are tried until one flips the literal [m, rad, or m in `INTERVAL`]."""
HALVINGS = 7
BEYOND = (0.001, 0.012)
"""How far from the boundary the two states are, along the move [m, rad, or m in `INTERVAL`]."""


@dataclass(frozen=True)
class Pairs:
    """N states in which literal l of a goal holds, and N in which it does not; the other literals are alike."""

    better: ObjectState
    """`[N K ...]`."""
    worse: ObjectState
    world: NDArray[np.int64]
    """`[N]` which of the states given each pair came from."""


def minimal_pairs(rng: np.random.Generator, literals: Sequence[Literal], flipped: int, state: ObjectState) -> Pairs:
    """Move, turn or hasten one thing that `literals[flipped]` speaks of, in each of `[B K ...]` states, until it flips.

    Worlds where no tried move flips it, or none flips it alone, give no pair.
    """
    literal = literals[flipped]
    worlds = state.shape[0]
    move = _Move.draw(rng, literal, state)
    before = np.asarray(literal.margin(state)) > 0
    tried = move.applied(state, np.broadcast_to(SIZES[:, None], (len(SIZES), worlds)))
    flips = (np.asarray(literal.margin(tried)) > 0) != before
    found = flips.any(axis=0)
    first = flips.argmax(axis=0)
    low, high = np.where(first > 0, SIZES[first - 1], 0.0), SIZES[first]
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        over = (np.asarray(literal.margin(move.applied(state, middle))) > 0) != before
        low, high = np.where(over, low, middle), np.where(over, middle, high)
    inner = np.maximum(low - rng.uniform(*BEYOND, worlds), 0.0)
    outer = high + rng.uniform(*BEYOND, worlds)
    here, there = move.applied(state, inner), move.applied(state, outer)
    signs = [np.asarray(margins(literals, each)) > 0 for each in (here, there)]
    others = np.arange(len(literals)) != flipped
    alike = (signs[0] == signs[1])[:, others].all(axis=1)
    kept = np.flatnonzero(found & alike & (signs[0][:, flipped] == before) & (signs[1][:, flipped] != before))
    first_is_better = signs[0][:, flipped]

    def chosen(better: bool) -> ObjectState:
        takes_here = first_is_better[kept] == better
        arrays = ObjectState.stack([there[kept], here[kept]])
        return arrays.map(lambda array: array[takes_here.astype(int), np.arange(len(kept))])

    return Pairs(chosen(True), chosen(False), kept)


@dataclass(frozen=True)
class _Move:
    """A direction in which one thing of every world is moved."""

    kind: str
    entities: list[int]
    """The hand's parts move together."""
    direction: Floats
    """`[B 3]` unit vectors."""

    @classmethod
    def draw(cls, rng: np.random.Generator, literal: Literal, state: ObjectState) -> "_Move":
        """A move that matters to a literal."""
        hand = literal.predicate in ("grasped", "released") or GRIPPER in literal.arguments
        named = [*literal.arguments, *([GRIPPER] if hand else [])]
        named = [name for name in dict.fromkeys(named) if name != "table"] or [literal.arguments[0]]
        chosen = named[rng.integers(len(named))]
        parts = (GRIPPER, *JAWS) if chosen == GRIPPER else (chosen,)
        kind = {"upright": "turn", "aligned": "turn", "static": "hasten"}.get(literal.predicate, "shift")
        drawn = rng.normal(size=(state.shape[0], 3))
        if rng.random() < 0.5:
            # Along an axis: what is beside, on or under something mostly leaves it so.
            drawn = np.eye(3)[rng.integers(3, size=len(drawn))] * rng.choice([-1.0, 1.0], (len(drawn), 1))
        if literal.predicate == "aligned":
            drawn = drawn * 1e-9 + [0.0, 0.0, 1.0]
        drawn = drawn / np.linalg.norm(drawn, axis=-1, keepdims=True)
        return cls(kind, [state.index(name) for name in parts if name in state.names], drawn)

    def applied(self, state: ObjectState, size: Floats) -> ObjectState:
        """The states `[*S B K ...]` after moves of so large a size `[*S B]`."""
        step = size[..., None] * self.direction
        field = {"shift": "position_in_world", "turn": "quaternion_in_world", "hasten": "linear_velocity_in_world"}
        name = field[self.kind]
        before = getattr(state, name)
        array: Array = np.broadcast_to(before, (*size.shape, *before.shape[1:])).copy()
        wide = state.map(lambda each: np.broadcast_to(each, (*size.shape, *each.shape[1:])))
        for index in self.entities:
            if self.kind == "turn":
                turn = np.concatenate([np.cos(size / 2)[..., None], np.sin(size / 2)[..., None] * self.direction], -1)
                array[..., index, :] = quat_multiply(turn, array[..., index, :])
            else:
                array[..., index, :] += step / (INTERVAL if self.kind == "hasten" else 1.0)
        return replace(wide, **{name: array})
