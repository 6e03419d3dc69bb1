"""The analytic tier of reward: exact margins of a goal's literals, turned into success and progress.

Where poses are known (a simulator, tracked objects, slots decoded to an `ObjectState`) this tier is exact, and teacher
and judge of any learned one. It says nothing about how sure the poses are.
"""

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from array_api_compat import array_namespace

from envs.errors import EmbodiedError
from envs.goals import Goal, margins
from envs.predicates import Frames
from envs.types import Array, ObjectState, Observation
from world_models.reward.progress import Climb, Scales


@dataclass(frozen=True)
class Score:
    """What a reward model says about `*B` states and one goal of L literals; R counts the rungs of all its ladders."""

    margins: Array
    """`[*B L]` signed, positive where the literal holds [m or rad]."""
    probability: Array
    """`[*B L]` that the literal holds; 0 or 1 where margins are exact."""
    progress: Array
    """`[*B]` in 0..1; 1 exactly where the goal holds, if margins are exact."""
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
    """Margins and rung ladders in closed form, on numpy or torch states; no parameters to learn."""

    scales: Scales = field(default_factory=Scales)

    def score(self, state: ObjectState | Observation, goal: Goal, frames: Frames | None = None) -> Score:
        """Score `*B` states; raises `EmbodiedError` for an entity or a frame that the state does not have."""
        if isinstance(state, Observation):
            state = state.objects
        climb = Climb.of(goal, state, self.scales)
        every = margins(climb.literals, state, frames)
        xp = array_namespace(every)
        progress, done, close = climb.progress(every, xp.astype(every > 0, every.dtype))
        own = every[..., climb.own]
        return Score(
            margins=own,
            probability=xp.astype(own > 0, own.dtype),
            progress=progress,
            success=xp.all(own > 0, axis=-1),
            rungs=climb.rungs,
            rung_done=done > 0.5,
            rung_closeness=close,
        )


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
