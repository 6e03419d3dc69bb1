"""How far the ladders of a goal are climbed, from what is known of their literals: exact margins, or probabilities.

Progress of one ladder with rungs r = 1..n, done c_r in 0..1, closeness rho_r = exp(-max(0, -margin_r)/scale):

    C_r = max(c_q for q >= r),  reached_r = max(C_r, rho_r),
    progress = 1/n sum_r [C_r + (1 - C_r) rho_r prod(reached_q for q < r)].

A rung counts as far as those before it are reached. Reached, not done: progress then has no step where an early rung is
only just lost, as when a pushed object slips a millimetre out of reach. A goal's progress is the mean over its ladders.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from envs.errors import EmbodiedError
from envs.goals import Goal, Literal
from envs.types import Array, ObjectState
from world_models.reward.ladder import ladders

_SHORT_RANGE = ("grasped", "released", "touching", "static")


@dataclass(frozen=True)
class Scales:
    """Shortfalls at which closeness has fallen to 1/e."""

    distance: float = 0.08
    """Of margins in metres [m]."""
    contact: float = 0.02
    """Of margins of grasped, released, touching and static, whose range is millimetres [m]."""
    angle: float = math.radians(15.0)
    """Of margins in radians [rad]."""

    def __post_init__(self) -> None:
        if min(self.distance, self.contact, self.angle) <= 0:
            raise EmbodiedError(f"The scales of a reward must be positive, got {self}.")

    def of(self, literal: Literal) -> float:
        """The scale of a literal's margin [m or rad]."""
        if literal.predicate in _SHORT_RANGE:
            return self.contact
        return self.angle if literal.meaning.unit == "rad" else self.distance


@dataclass(frozen=True)
class Climb:
    """The ladders of one goal as tables: Q literals, R rungs, A ladders."""

    literals: tuple[Literal, ...]
    """Q, those of the goal and of all rungs, each once."""
    own: list[int]
    """`[L]` where the goal's own literals are among them."""
    rungs: tuple[str, ...]
    """R names, ladder after ladder."""
    scales: NDArray[np.float64]
    """`[Q]` of closeness [m or rad]."""
    needed: NDArray[np.int64]
    """`[R W]` literals that must hold for each rung, filled up with Q."""
    guiding: NDArray[np.int64]
    """`[R V]` literals whose closeness is the rung's, filled up with Q."""
    order: NDArray[np.int64]
    """`[A n]` rungs of each ladder, filled up with R."""
    lengths: NDArray[np.float64]
    """`[A]` rungs of each ladder."""

    @classmethod
    def of(cls, goal: Goal, state: ObjectState, scales: Scales) -> "Climb":
        """The ladders of a goal among the entities of `state`; raises `EmbodiedError` for an unknown entity."""
        climbed = ladders(goal, state)
        rungs = [rung for ladder in climbed for rung in ladder.rungs]
        literals = tuple(dict.fromkeys((*goal.literals, *(one for rung in rungs for one in rung.literals))))
        column = {literal: index for index, literal in enumerate(literals)}
        ends = np.cumsum([len(ladder.rungs) for ladder in climbed])
        places = [list(range(end - len(ladder.rungs), end)) for ladder, end in zip(climbed, ends, strict=True)]
        return cls(
            literals=literals,
            own=[column[literal] for literal in goal.literals],
            rungs=tuple(rung.name for rung in rungs),
            scales=np.array([scales.of(literal) for literal in literals]),
            needed=_table([[column[one] for one in rung.literals] for rung in rungs], len(literals)),
            guiding=_table([[column[one] for one in rung.guide] for rung in rungs], len(literals)),
            order=_table(places, len(rungs)),
            lengths=np.array([float(len(ladder.rungs)) for ladder in climbed]),
        )

    def progress(self, margins: Array, holds: Array) -> tuple[Array, Array, Array]:
        """Progress `[*B]`, and per rung how surely it is done `[*B R]` and how close it is `[*B R]`.

        Args:
            margins: of the Q literals, `[*B Q]` [m or rad].
            holds: whether they hold, `[*B Q]` in 0..1.
        """
        xp = array_namespace(margins)
        one = xp.ones_like(margins[..., :1])
        scales = xp.asarray(self.scales, dtype=margins.dtype) if xp is not np else self.scales
        near = xp.exp(xp.where(margins < 0, margins / scales, 0.0))
        done = xp.prod(xp.concat([holds, one], axis=-1)[..., self.needed], axis=-1)
        close = xp.min(xp.concat([near, one], axis=-1)[..., self.guiding], axis=-1)
        nothing = xp.zeros_like(one)
        c = xp.concat([done, nothing], axis=-1)[..., self.order]
        rho = xp.concat([close, nothing], axis=-1)[..., self.order]
        implied = [c[..., -1]]
        for rung in range(c.shape[-1] - 2, -1, -1):
            implied.insert(0, xp.maximum(implied[0], c[..., rung]))
        total, reached = xp.zeros_like(implied[0]), xp.ones_like(implied[0])
        for rung, sure in enumerate(implied):
            total = total + sure + (1.0 - sure) * rho[..., rung] * reached
            reached = reached * xp.maximum(sure, rho[..., rung])
        lengths = xp.asarray(self.lengths, dtype=margins.dtype) if xp is not np else self.lengths
        return xp.mean(total / lengths, axis=-1), done, close


def _table(rows: Sequence[Sequence[int]], filling: int) -> NDArray[np.int64]:
    """Rows of different lengths as one array."""
    table = np.full((len(rows), max(map(len, rows))), filling, np.int64)
    for index, row in enumerate(rows):
        table[index, : len(row)] = row
    return table
