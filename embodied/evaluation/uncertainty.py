"""How far a model's doubt can be relied on: conformal radii from its ensemble's spread, and whether they hold.

Split conformal prediction: radii are fitted on factual rollouts of one half of the contexts (Vovk et al. 2005, ch. 2;
Mondrian bins: ch. 4; scores scaled by spread: Lei et al. 2018, JASA 113, sec. 5.2) and checked on the other half, and
the other way round (cross-conformal: Vovk 2015, Ann. Math. Artif. Intell. 74). One way alone says as much about how
hard the half was that the radii happen to be from: objects of an instant share their fate, so a hundred instants tell
a 90 % radius to some 4 % of coverage, and what one half gains, the other loses. Exchangeability holds for factual
rollouts; for what-ifs coverage is measured, not promised.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from embodied.evaluation.statistics import Estimate, Floats, bootstrap, bootstrap_blocks, ratio, spearman
from envs.errors import EmbodiedError

LEVELS = (0.5, 0.9)
TOLERANCE = 0.02
"""[m] A radius beyond this is no longer trusted: the tolerance of `place`."""
BINS = 3
"""Of spread, per step, of Mondrian radii."""
SLACK = 0.02
"""How much less than nominal a method may cover on a held-out part of the calibration data, and still be chosen."""


@dataclass(frozen=True)
class Forecast:
    """N rollouts with their errors; arrays start one step after the instant."""

    error: Floats
    """`[N H K]` distance between imagined and true position [m]."""
    spread: Floats
    """`[N H K]` what the model says of its own doubt [m]."""
    mask: NDArray[np.bool_]
    """`[N K]` objects that count."""
    context: NDArray[np.int64]
    """`[N]` the context of each: rollouts of one share their fate."""

    def __getitem__(self, key: NDArray[np.bool_] | NDArray[np.int64]) -> "Forecast":
        """Some of the rollouts."""
        return Forecast(self.error[key], self.spread[key], self.mask[key], self.context[key])

    @classmethod
    def join(cls, parts: Sequence["Forecast"]) -> Self:
        """One after the other."""
        return cls(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)))


class Radii(Protocol):
    """Radii in which the truth lies with a given probability."""

    def radius(self, spread: Floats, level: float) -> Floats:
        """`[N H K]` [m] for spreads `[N H K]`; infinite where too little was seen to promise anything."""
        ...


def conformal_quantile(scores: Floats, level: float) -> float:
    """The smallest score that a further one stays below with probability `level`; infinite for too few scores."""
    rank = int(np.ceil((len(scores) + 1) * level))
    return float(np.partition(scores, rank - 1)[rank - 1]) if 0 < rank <= len(scores) else float("inf")


@dataclass(frozen=True)
class Mondrian:
    """A radius per step and bin of spread."""

    edges: Floats
    """`[H BINS-1]` [m]."""
    quantiles: dict[float, Floats]
    """Per level `[H BINS]` [m]."""

    @classmethod
    def fit(cls, seen: Forecast, levels: Sequence[float] = LEVELS) -> Self:
        """From factual rollouts."""
        steps, parts = seen.error.shape[1], np.linspace(0, 1, BINS + 1)[1:-1]
        edges = np.stack([np.quantile(seen.spread[:, step][seen.mask], parts) for step in range(steps)])
        quantiles: dict[float, Floats] = {level: np.full((steps, BINS), np.inf) for level in levels}
        for step in range(steps):
            error = seen.error[:, step][seen.mask]
            part = np.searchsorted(edges[step], seen.spread[:, step][seen.mask], side="right")
            for level, table in quantiles.items():
                table[step] = [conformal_quantile(error[part == b], level) for b in range(BINS)]
        return cls(edges, quantiles)

    def radius(self, spread: Floats, level: float) -> Floats:
        """See `Radii.radius`."""
        part = (spread[..., None] >= self.edges[:, None, :]).sum(-1)
        return np.asarray(self.quantiles[level][np.arange(spread.shape[-2])[:, None], part])


@dataclass(frozen=True)
class Scaled:
    """A radius in proportion to the spread on top of what is usual that far ahead."""

    usual: Floats
    """`[H]` [m]: members that agree may be wrong together."""
    factors: dict[float, Floats]
    """Per level `[H]`."""

    @classmethod
    def fit(cls, seen: Forecast, levels: Sequence[float] = LEVELS) -> Self:
        """From factual rollouts."""
        steps = range(seen.error.shape[1])
        usual = np.array([max(float(seen.error[:, step][seen.mask].mean()), 1e-9) for step in steps])
        scores = [(seen.error[:, step] / (seen.spread[:, step] + usual[step]))[seen.mask] for step in steps]
        return cls(usual, {level: np.array([conformal_quantile(s, level) for s in scores]) for level in levels})

    def radius(self, spread: Floats, level: float) -> Floats:
        """See `Radii.radius`."""
        return np.asarray(self.factors[level][:, None] * (spread + self.usual[:, None]))


def fit(seen: Forecast, levels: Sequence[float] = LEVELS) -> Radii:
    """The sharper of the two kinds of radii among those that cover, by a split of the calibration data itself.

    Raises `EmbodiedError` where there are fewer than two contexts to calibrate on, or an error is not finite.
    """
    known = np.unique(seen.context)
    if len(known) < 2 or not seen.mask.any():
        raise EmbodiedError(f"Radii need two or more contexts to be fitted on, got {len(known)}.")
    checked = seen.mask[:, None] & np.ones(seen.error.shape, bool)
    if not (np.isfinite(seen.error[checked]).all() and np.isfinite(seen.spread[checked]).all()):
        raise EmbodiedError("An error or a spread is not finite: the model's prediction has diverged.")
    first = np.isin(seen.context, known[::2])
    half, rest = seen[first], seen[~first]
    if not (half.mask.any() and rest.mask.any()):
        return Scaled.fit(seen, levels)
    level, ranked = max(levels), []
    for kind in (Scaled, Mondrian):
        radius = kind.fit(half, levels).radius(rest.spread, level)
        shown = rest.mask[:, None] & np.ones(radius.shape, bool)
        lacking = level - SLACK - float((rest.error <= radius)[shown].mean())
        ranked.append((max(lacking, 0.0), float(radius[shown].mean()), kind.__name__, kind))
    return min(ranked)[-1].fit(seen, levels)


def trusted_horizon(radius: Floats, tolerance: float = TOLERANCE) -> NDArray[np.int64]:
    """`[...]` the first step, from 1, at which a radius `[... H]` exceeds the tolerance [m]; H+1 where none does."""
    above = radius > tolerance
    return np.where(above.any(-1), above.argmax(-1) + 1, radius.shape[-1] + 1).astype(np.int64)


def sparsification_error(error: Floats, spread: Floats) -> float:
    """AUSE (Ilg et al. 2018): mean excess of what error is left when the most doubtful go first, over the worst first.

    `[N]`, `[N]`; in units of the mean error: 0 is a perfect ranking. NaN without errors.
    """
    mean = error.mean() if len(error) else 0.0
    if not mean > 0:
        return float("nan")

    def left(order: NDArray[np.int64]) -> Floats:
        return np.cumsum(error[order]) / np.arange(1, len(error) + 1)

    return float((left(np.argsort(spread, kind="stable")) - left(np.argsort(error, kind="stable"))).mean() / mean)


@dataclass(frozen=True)
class Fold:
    """Radii, and rollouts that they were not fitted on."""

    radii: Radii
    factual: Forecast
    counterfactual: Forecast


def assess(folds: Sequence[Fold], generator: np.random.Generator, resamples: int = 1000) -> dict[str, Estimate]:
    """Coverage and mean radius [m] at each level on factual and counterfactual rollouts, with bootstrap over contexts.

    Besides, at the horizon: `ause` and `spearman` of error and spread; and `trusted_horizon` in steps, averaged.
    """
    branches = {
        "factual": [fold.factual for fold in folds],
        "counterfactual": [fold.counterfactual for fold in folds],
    }
    contexts = max(int(one.context.max(initial=0)) for each in branches.values() for one in each) + 1
    present = np.bincount(Forecast.join(branches["factual"]).context, minlength=contexts) > 0
    compact = np.cumsum(present) - 1
    found: dict[str, Estimate] = {}
    for name, each in branches.items():
        one = Forecast.join(each)
        row, entity = one.mask.nonzero()
        owner, total = compact[one.context[row]], int(present.sum())

        def mean(values: Floats, owner: NDArray[np.int64] = owner, total: int = total) -> Estimate:
            top, count = np.bincount(owner, values, total), np.bincount(owner, minlength=total)

            # Where too little was seen, radii have no end: their mean over contexts not drawn, 0 * inf, is NaN.
            with np.errstate(invalid="ignore"):
                return bootstrap_blocks(lambda weight: ratio(weight @ top, weight @ count), total, generator, resamples)

        error, spread = one.error[row, :, entity], one.spread[row, :, entity]
        for level in LEVELS:
            said = [fold.radii.radius(part.spread, level) for fold, part in zip(folds, each, strict=True)]
            radius = np.concatenate(said)[row, :, entity]
            found[f"coverage_{100 * level:.0f}_{name}"] = mean((error <= radius).mean(1))
            found[f"radius_{100 * level:.0f}_{name}"] = mean(radius.mean(1))
        found[f"trusted_horizon_{name}"] = mean(trusted_horizon(radius).astype(np.float64))
        found[f"ause_{name}"] = _ranked(sparsification_error, error, spread, owner, total, generator, resamples)
        found[f"spearman_{name}"] = _ranked(spearman, error, spread, owner, total, generator, resamples)
    return found


def _ranked(
    measure: Callable[[Floats, Floats], float],
    error: Floats,
    spread: Floats,
    owner: NDArray[np.int64],
    contexts: int,
    generator: np.random.Generator,
    resamples: int,
) -> Estimate:
    def statistic(weight: Floats) -> float:
        rows = np.repeat(np.arange(len(owner)), weight[owner].astype(np.int64))
        return measure(error[rows, -1], spread[rows, -1]) if len(rows) else float("nan")

    return bootstrap(statistic, contexts, generator, resamples)
