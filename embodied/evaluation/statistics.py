"""Estimates with intervals: Wilson for rates, bootstrap over contexts for everything else, and ranking scores."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from envs.errors import EmbodiedError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A number with an interval, and how many independent units it rests on."""

    value: float
    """NaN where the sample cannot say, e.g. a ranking score without a positive."""
    low: float
    high: float
    count: int
    """Independent units: episodes of a rate, contexts of a bootstrap. Not frames."""

    def figure(self, unit: str, seeds: int) -> dict[str, Any]:
        """The form in which benchmarks print a number; NaN becomes null, which JSON can hold."""
        value, low, high = (None if math.isnan(x) else x for x in (self.value, self.low, self.high))
        return {"value": value, "interval": [low, high], "unit": unit, "seeds": seeds}

    def as_dict(self) -> dict[str, Any]:
        """For a JSON file; `from_dict` is its inverse."""
        figure = self.figure("", 0)
        return {"value": figure["value"], "interval": figure["interval"], "count": self.count}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Raises `KeyError` for a dictionary `as_dict` did not write."""
        value, low, high = (math.nan if x is None else float(x) for x in (values["value"], *values["interval"]))
        return cls(value, low, high, int(values["count"]))


def wilson(successes: int, total: int, level: float = 0.95) -> Estimate:
    """Wilson's score interval of a rate (Wilson 1927, JASA 22, eq. 4); honest at 0 and at 1, unlike Wald's.

    Raises `EmbodiedError` where the counts are impossible.
    """
    if total <= 0 or not 0 <= successes <= total:
        raise EmbodiedError(f"A rate needs 0 <= successes <= total and total > 0, got {successes} of {total}.")
    z = NormalDist().inv_cdf(0.5 + level / 2)
    rate = successes / total
    centre = (rate + z * z / (2 * total)) / (1 + z * z / total)
    spread = z / (1 + z * z / total) * math.sqrt(rate * (1 - rate) / total + z * z / (4 * total * total))
    # Rounding may leave the bound 1e-17 inside the rate itself at 0 and 1.
    return Estimate(rate, min(rate, max(0.0, centre - spread)), max(rate, min(1.0, centre + spread)), total)


def difference(one: Estimate, other: Estimate) -> Estimate:
    """One rate minus another with Newcombe's interval (1998, Stat. Med. 17, method 10), from their Wilson intervals.

    Unlike a bootstrap it is honest where both are 0 or 1. Episodes that both share make it wider than it need be.
    """
    value = one.value - other.value
    low = math.hypot(one.value - one.low, other.high - other.value)
    high = math.hypot(one.high - one.value, other.value - other.low)
    return Estimate(value, value - low, value + high, min(one.count, other.count))


def average(estimates: Sequence[Estimate]) -> Estimate:
    """The mean of independent estimates of one thing, such as those of several training seeds.

    Its interval is as wide as independent errors of theirs make it, and at least as wide as their spread does: they may
    differ by more than each one's own units can tell. A single estimate is its own mean.
    """
    values, lows, highs = (np.array([getattr(each, name) for each in estimates]) for name in ("value", "low", "high"))
    count, value = len(values), float(values.mean())
    spread = NormalDist().inv_cdf(0.975) * float(values.std(ddof=1)) / math.sqrt(count) if count > 1 else 0.0
    below, above = (float(np.sqrt(np.square(side - values).sum())) / count for side in (lows, highs))
    return Estimate(
        value, value - max(below, spread), value + max(above, spread), sum(each.count for each in estimates)
    )


def iqm(
    rates: Sequence[float], episodes: int, generator: np.random.Generator, resamples: int = 2000
) -> tuple[float, tuple[float, float]]:
    """The interquartile mean of the rates of several runs with its 95 % interval (Agarwal et al. 2021).

    Runs are drawn anew, and for each what its rate may be after so many `episodes` (Jeffreys' posterior): runs that
    succeeded always are not certain to.
    """
    values = np.asarray(rates, dtype=np.float64)
    runs = len(values)
    won = episodes * values[generator.integers(0, runs, (resamples, runs))]
    drawn = generator.beta(won + 0.5, episodes - won + 0.5)
    low, high = np.quantile(_interquartile(drawn), [0.025, 0.975])
    value = float(_interquartile(values[None])[0])
    return value, (min(float(low), value), max(float(high), value))


def _interquartile(values: Floats) -> Floats:
    """The mean `[R]` of the middle half of `values` `[R N]`, whose outermost may count in part."""
    ordered = np.sort(values, axis=1)
    count = ordered.shape[1]
    edges = np.arange(count + 1) / count
    weight = np.clip(np.minimum(edges[1:], 0.75) - np.maximum(edges[:-1], 0.25), 0.0, None)
    mean: Floats = ordered @ (weight / weight.sum())
    return mean


BLOCK = 64
"""Resamples that a statistic is asked for at once: more only cost memory."""


def bootstrap(
    statistic: Callable[[Floats], float],
    contexts: int,
    generator: np.random.Generator,
    resamples: int = 1000,
    level: float = 0.95,
) -> Estimate:
    """Percentile bootstrap of whole contexts (Efron 1979): rows of one context share their fate.

    `statistic` takes how often each context was drawn, `[C]` (ones for the sample itself), and gives the number;
    resamples on which it is NaN (a ranking without positives, say) are left out of the interval.
    Raises `EmbodiedError` without contexts.
    """
    return bootstrap_blocks(
        lambda draws: np.array([statistic(draw) for draw in draws], dtype=np.float64),
        contexts, generator, resamples, level,
    )  # fmt: skip


def bootstrap_blocks(
    statistic: Callable[[Floats], Floats],
    contexts: int,
    generator: np.random.Generator,
    resamples: int = 1000,
    level: float = 0.95,
) -> Estimate:
    """`bootstrap` of a statistic that answers many resamples `[R C]` at once, with `[R]` numbers; much faster."""
    if contexts <= 0:
        raise EmbodiedError(f"A bootstrap needs at least one context, got {contexts}.")
    value = float(statistic(np.ones((1, contexts)))[0])
    draws = generator.multinomial(contexts, np.full(contexts, 1 / contexts), size=resamples).astype(np.float64)
    blocks = [statistic(draws[start : start + BLOCK]) for start in range(0, resamples, BLOCK)]
    values = np.concatenate([np.zeros(0), *blocks])
    values = values[np.isfinite(values)]
    if not len(values) or math.isnan(value):
        return Estimate(value, math.nan, math.nan, contexts)
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(value, float(low), float(high), contexts)


def ratio(top: Floats, bottom: Floats) -> Floats:
    """`top / bottom`; NaN where there is nothing to divide by."""
    found: Floats = np.divide(top, bottom, out=np.full(np.shape(top), np.nan), where=bottom > 0)
    return found


def _grouped(score: Floats, label: NDArray[np.bool_], weight: Floats | None) -> tuple[Floats, Floats]:
    """Weight of positives and of negatives per distinct score `[*B G]`, in falling order of score."""
    weight = np.ones(len(score)) if weight is None else weight
    order = np.argsort(-score, kind="stable")
    if not len(order):
        return np.zeros(weight.shape), np.zeros(weight.shape)
    ordered = score[order]
    first = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    positive, negative = (np.add.reduceat((weight * side)[..., order], first, axis=-1) for side in (label, ~label))
    return positive, negative


def auroc(score: Floats, label: NDArray[np.bool_], weight: Floats | None = None) -> Floats:
    """Probability `[*B]` that a positive scores above a negative, ties counting half; NaN without both.

    Scores and labels are `[N]`, weights `[*B N]`, by default one for each.
    """
    positive, negative = _grouped(score, label, weight)
    all_positive, all_negative = positive.sum(-1), negative.sum(-1)
    below = all_negative[..., None] - np.cumsum(negative, axis=-1)
    return ratio((positive * (below + 0.5 * negative)).sum(-1), all_positive * all_negative)


def average_precision(score: Floats, label: NDArray[np.bool_], weight: Floats | None = None) -> Floats:
    """Precision averaged over the recall gained at each distinct score, from the highest; NaN without positives.

    Shapes are as of `auroc`.
    """
    positive, negative = _grouped(score, label, weight)
    hits, drawn = np.cumsum(positive, axis=-1), np.cumsum(positive + negative, axis=-1)
    precision = np.divide(hits, drawn, out=np.zeros_like(hits), where=drawn > 0)
    return ratio((precision * positive).sum(-1), positive.sum(-1))


def ranks(values: Floats) -> Floats:
    """`[N]` ranks from 0, ties sharing the mean of theirs."""
    _, group, count = np.unique(values, return_inverse=True, return_counts=True)
    first = np.cumsum(count) - count
    return np.asarray((first + (count - 1) / 2)[group], dtype=np.float64)


def spearman(said: Floats, truth: Floats) -> float:
    """Rank correlation of `[N]` and `[N]`; 0 where all that is said is equal, NaN where all that is true is."""
    a, b = ranks(said), ranks(truth)
    a, b = a - a.mean(), b - b.mean()
    if not b.any():
        return math.nan
    return float(a @ b / math.sqrt((a @ a) * (b @ b))) if a.any() else 0.0
