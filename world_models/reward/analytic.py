"""The analytic tier of reward: exact margins of a goal's literals, turned into success and progress.

Where poses are known (a simulator, tracked objects, slots decoded to an `ObjectState`) this tier is exact, and teacher
and judge of any learned one. It says nothing about how sure the poses are.
"""

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from array_api_compat import array_namespace

from envs.errors import EmbodiedError
from envs.goals import Goal, Literal, margins
from envs.predicates import Frames
from envs.types import Array, ObjectState, Observation
from world_models.reward.ladder import Ladder, ladders

_SHORT_RANGE = ("grasped", "released", "touching", "static")


@dataclass(frozen=True)
class Score:
    """What a reward model says about `*B` states and one goal of L literals; R counts the rungs of all its ladders."""

    margins: Array
    """`[*B L]` signed, positive where the literal holds [m or rad]."""
    probability: Array
    """`[*B L]` that the literal holds; 0 or 1 where margins are exact."""
    progress: Array
    """`[*B]` in 0..1; 1 exactly where the goal holds."""
    success: Array
    """`[*B]` bool, the goal holds in this one state; see `confirmed` for more than one."""
    rungs: tuple[str, ...]
    """R names, ladder after ladder."""
    rung_done: Array
    """`[*B R]` bool, whether all literals of the rung hold."""
    rung_closeness: Array
    """`[*B R]` in 0..1, exp(-distance/scale) of the rung's own literals."""


@runtime_checkable
class RewardModel(Protocol):
    """Judges states against goals."""

    def score(self, state: ObjectState | Observation, goal: Goal, frames: Frames | None = None) -> Score:
        """Score `*B` states; raises `EmbodiedError` for an entity or a frame that the state does not have."""
        ...


@dataclass(frozen=True)
class AnalyticReward:
    """Margins and rung ladders in closed form, on numpy or torch states; no parameters to learn.

    Progress of one ladder with rungs r = 1..n, done c_r in {0, 1}, closeness rho_r = exp(-max(0, -margin_r)/scale):

        C_r = max(c_q for q >= r),  reached_r = max(C_r, rho_r),
        progress = 1/n sum_r [C_r + (1 - C_r) rho_r prod(reached_q for q < r)].

    A rung counts as far as those before it are reached. Reached, not done: progress then has no step where an early
    rung is only just lost, as when a pushed object slips a millimetre out of reach. A goal's progress is the mean over
    its ladders.
    """

    distance_scale: float = 0.08
    """Of margins in metres [m]."""
    contact_scale: float = 0.02
    """Of margins of grasped, released, touching and static, whose range is millimetres [m]."""
    angle_scale: float = math.radians(15.0)
    """Of margins in radians [rad]."""

    def __post_init__(self) -> None:
        if min(self.distance_scale, self.contact_scale, self.angle_scale) <= 0:
            raise EmbodiedError(f"The scales of a reward must be positive, got {self}.")

    def score(self, state: ObjectState | Observation, goal: Goal, frames: Frames | None = None) -> Score:
        """Score `*B` states; raises `EmbodiedError` for an entity or a frame that the state does not have."""
        if isinstance(state, Observation):
            state = state.objects
        climbed = ladders(goal, state)
        literals = list(dict.fromkeys((*goal.literals, *(o for a in climbed for r in a.rungs for o in r.literals))))
        column = {literal: index for index, literal in enumerate(literals)}
        every = margins(literals, state, frames)
        xp = array_namespace(every)
        closeness = self._closeness(every, literals)
        done, close, progress = [], [], xp.zeros_like(every[..., 0])
        for ladder in climbed:
            c, rho = _climb(every, closeness, ladder, column)
            done += c
            close += rho
            progress = progress + _progress(c, rho) / len(climbed)
        own = every[..., [column[literal] for literal in goal.literals]]
        return Score(
            margins=own,
            probability=xp.astype(own > 0, own.dtype),
            progress=progress,
            success=xp.all(own > 0, axis=-1),
            rungs=tuple(rung.name for ladder in climbed for rung in ladder.rungs),
            rung_done=xp.stack(done, axis=-1),
            rung_closeness=xp.stack(close, axis=-1),
        )

    def _closeness(self, every: Array, literals: list[Literal]) -> Array:
        xp = array_namespace(every)
        scales = xp.ones_like(every)
        for index, literal in enumerate(literals):
            scales[..., index] = self._scale(literal)
        return xp.exp(xp.where(every < 0, every / scales, 0.0))

    def _scale(self, literal: Literal) -> float:
        if literal.predicate in _SHORT_RANGE:
            return self.contact_scale
        return self.angle_scale if literal.meaning.unit == "rad" else self.distance_scale


def _climb(
    every: Array, closeness: Array, ladder: Ladder, column: dict[Literal, int]
) -> tuple[list[Array], list[Array]]:
    """Per rung of a ladder: done `[*B]` bool, and closeness `[*B]`."""
    xp = array_namespace(every)
    done, close = [], []
    for rung in ladder.rungs:
        done.append(xp.all(every[..., [column[literal] for literal in rung.literals]] > 0, axis=-1))
        close.append(xp.min(closeness[..., [column[literal] for literal in rung.guide]], axis=-1))
    return done, close


def _progress(done: list[Array], close: list[Array]) -> Array:
    """Progress `[*B]` of one ladder; later rungs imply earlier ones."""
    xp = array_namespace(close[0])
    implied: list[Array] = []
    later = xp.zeros_like(done[0])
    for c in reversed(done):
        later = later | c
        implied.insert(0, later)
    total, reached = xp.zeros_like(close[0]), xp.ones_like(close[0])
    for c, rho in zip(implied, close, strict=True):
        total = total + xp.where(c, 1.0, rho * reached)
        reached = reached * xp.where(c, 1.0, rho)
    return total / len(done)


def confirmed(success: Array, window: int) -> Array:
    """Whether the goal has held for `window` consecutive steps, `[*B T]` bool from `[*B T]` bool.

    One frame of success can be luck or a glitch of perception: a cube flying through the target. Raises `EmbodiedError`
    for a window below 1.
    """
    if window < 1:
        raise EmbodiedError(f"A confirmation window has at least 1 step, got {window}.")
    xp = array_namespace(success)
    held = success
    for lag in range(1, min(window, success.shape[-1])):
        before = xp.concat([xp.zeros_like(success[..., :lag]), success[..., :-lag]], axis=-1)
        held = held & before
    return held if window <= success.shape[-1] else xp.zeros_like(success)
