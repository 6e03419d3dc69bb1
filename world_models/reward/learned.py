"""The learned tier of reward: what the literals of a goal are, judged from poses that are uncertain.

Where poses are exact the analytic tier is exact, and this one is an approximation of it. With noisy poses it says how
likely a literal holds, which closed forms cannot, and how far its members disagree.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from envs.goals import ABSENT_MARGIN, Goal
from envs.predicates import Frames
from envs.types import Array, ObjectState, Observation
from world_models.reward.analytic import Score
from world_models.reward.network import RelationNetwork, knee
from world_models.reward.progress import Climb, Scales
from world_models.reward.relations import Pairs, features, present
from world_models.reward.relations_kernel import features_fast

LOG_VARIANCE = (-6.0, 4.0)
"""Range of the log-variance of a margin on the logarithmic scale."""
_FARTHEST = 6.0
"""Largest margin on that scale: 2 m."""
_REMEMBERED = 64
"""Goals whose tables are kept."""


@dataclass(frozen=True)
class LearnedScore(Score):
    """A score, and how sure it is."""

    variance: Array
    """`[*B L]` of the margins, given what can be seen and by disagreement of the members [m^2 or rad^2]."""
    uncertainty: Array
    """`[*B L]` standard deviation of the probability over the members."""
    goal_probability: Array
    """`[*B]` that all literals hold, pessimistic; `success` compares it with the threshold."""
    unlike: Array
    """`[*B]` bool, some literal's features are unlike those of training; then there is no success."""


@dataclass(frozen=True)
class LearnedConfig:
    """How a trained network is read."""

    pessimism: float = 1.0
    """Standard deviations over members by which margins and probabilities are lowered for progress and success."""
    threshold: float = 0.5
    """Least probability of the goal that counts as success."""
    gated: bool = True
    """Whether features unlike those of training refuse success."""


@dataclass(frozen=True)
class _Tables:
    """What a goal among some entities needs of a network; Q literals, E members."""

    climb: Climb
    pairs: Pairs
    arrays: dict[str, Array]


class LearnedReward:
    """A `RewardModel` from a trained network; takes numpy or torch states, one or many."""

    def __init__(
        self, network: RelationNetwork, config: LearnedConfig | None = None, scales: Scales | None = None
    ) -> None:
        """The network's weights are copied: training it further does not change this reward."""
        self.config = config or LearnedConfig()
        self.scales = scales or Scales()
        self._weights = {name: value.detach().cpu().numpy().copy() for name, value in network.state_dict().items()}
        self._weights["first"] = self._weights["first"] * self._weights["seen"][..., None]
        self._known: dict[Any, _Tables] = {}

    def score(self, state: ObjectState | Observation, goal: Goal, frames: Frames | None = None) -> LearnedScore:
        """Score `*B` states; raises `EmbodiedError` for an entity or a frame that the state does not have."""
        if isinstance(state, Observation):
            state = state.objects
        xp = array_namespace(state.position_in_world)
        tables = self._tables(goal, state, frames, xp)
        climb, pairs, t = tables.climb, tables.pairs, tables.arrays
        numpy = isinstance(state.position_in_world, np.ndarray)
        seen = features_fast(state, pairs, frames) if numpy else features(state, pairs, frames)
        own = climb.own
        rows = xp.moveaxis(xp.astype(xp.reshape(seen, (-1, *seen.shape[-2:])), t["first"].dtype), 1, 0)
        logit, level, log_variance = self._answers(rows, t, xp)
        each = 1.0 / (1.0 + xp.exp(-logit))
        chance, doubt = _mean_and_deviation(each, xp)
        margin, spread = _mean_and_deviation(level, xp)
        noise = xp.mean(xp.exp(log_variance), axis=0)
        there = xp.reshape(present(state, pairs), (-1, len(pairs.a))).T
        k = self.config.pessimism
        lower = xp.where(there, _positive(chance - k * doubt), 0.0)
        low_margin = xp.where(there, _unbent(margin - k * spread, t["knee"], xp), ABSENT_MARGIN)
        batch = state.shape

        def told(array: Array) -> Array:
            return xp.reshape(array.T, (*batch, array.shape[0]))

        progress, done, close = climb.progress(told(low_margin), told(lower))
        goal_probability = xp.prod(told(lower)[..., own], axis=-1)
        unlike = xp.any(told(self._unlike(rows, t, xp, own) & there[own]), axis=-1)
        slope = t["knee"] * xp.exp(abs(margin))
        return LearnedScore(
            margins=told(xp.where(there, _unbent(margin, t["knee"], xp), ABSENT_MARGIN))[..., own],
            probability=told(xp.where(there, chance, 0.0))[..., own],
            progress=progress,
            success=(goal_probability > self.config.threshold) & ~(unlike & self.config.gated),
            rungs=climb.rungs,
            rung_done=done > 0.5,
            rung_closeness=close,
            variance=told((noise + spread**2) * slope**2)[..., own],
            uncertainty=told(xp.where(there, doubt, 0.0))[..., own],
            goal_probability=goal_probability,
            unlike=unlike,
        )

    def _answers(self, rows: Array, t: dict[str, Array], xp: Any) -> tuple[Array, Array, Array]:
        """Logits, margins on the logarithmic scale and their log-variances `[E Q N]` from features `[Q N F]`."""
        literals, worlds, inputs = rows.shape
        members, _, width = t["first"].shape
        h = xp.reshape(xp.reshape(rows, (1, -1, inputs)) @ t["first"], (members, literals, worlds, width))
        h = _positive(h + t["bias"])
        h = xp.reshape(h, (members, -1, width)) @ t["second"] + t["second_bias"]
        h = xp.reshape(_positive(h), (members, literals, worlds, width))
        said = h @ t["heads"] + t["head_bias"]
        level = said[..., 1].clip(-_FARTHEST, _FARTHEST) * t["sign"]
        return said[..., 0] * t["sharpness"], level, said[..., 2].clip(*LOG_VARIANCE)

    def _unlike(self, rows: Array, t: dict[str, Array], xp: Any, own: list[int]) -> Array:
        """Whether the features `[Q N F]` of the goal's own literals are beyond what training saw, `[L N]`."""
        lengths = [xp.sum(((rows[q] - t["centre"][i]) @ t["whitening"][i]) ** 2, axis=-1) for i, q in enumerate(own)]
        return xp.stack(lengths) > t["limit"][:, None]

    def _tables(self, goal: Goal, state: ObjectState, frames: Frames | None, xp: Any) -> _Tables:
        """What a goal needs, kept for the next state like this."""
        kinds = np.asarray(state.kind)
        device = None if isinstance(state.position_in_world, np.ndarray) else state.position_in_world.device
        key = (goal, state.names, kinds.tobytes(), tuple(frames or ()), device)
        if key not in self._known:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            climb = Climb.of(goal, state, self.scales)
            pairs = Pairs.of(climb.literals, state, frames)
            arrays = self._rows(climb, pairs)
            if device is not None:
                arrays = {name: xp.asarray(array, device=device) for name, array in arrays.items()}
            self._known[key] = _Tables(climb, pairs, arrays)
        return self._known[key]

    def _rows(self, climb: Climb, pairs: Pairs) -> dict[str, NDArray[np.float32]]:
        """Weights by literal: biases and outputs of their predicates."""
        w, kind = self._weights, pairs.predicate
        own = kind[climb.own]
        sign = pairs.sign[:, None]
        knees = np.array([[knee(literal)] for literal in climb.literals])
        arrays = {
            "first": w["first"],
            "bias": w["bias"][:, kind, None],
            "second": w["second"],
            "second_bias": w["second_bias"],
            "heads": w["heads"][:, kind],
            "head_bias": w["head_bias"][:, kind, None],
            "sign": sign,
            "sharpness": sign / w["temperature"][kind, None],
            "knee": knees,
            "centre": w["centre"][own],
            "whitening": w["whitening"][own],
            "limit": w["limit"][own],
        }
        return {name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()}


def bent(margin: Array, knee: Array | float) -> Array:
    """A margin on the logarithmic scale: sign(m) log(1 + |m|/knee)."""
    xp = array_namespace(margin)
    return xp.sign(margin) * xp.log1p(abs(margin) / knee)


def _positive(x: Array) -> Array:
    """max(x, 0); ten times as fast on small arrays as `clip`."""
    return x * (x > 0)


def _mean_and_deviation(each: Array, xp: Any) -> tuple[Array, Array]:
    """Over the first axis."""
    mean = xp.sum(each, axis=0) / each.shape[0]
    return mean, (xp.sum((each - mean) ** 2, axis=0) / each.shape[0]) ** 0.5


def _unbent(level: Array, knee: Array, xp: Any) -> Array:
    return xp.sign(level) * knee * xp.expm1(abs(level))
