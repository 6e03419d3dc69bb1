"""All scores of one source of what-ifs, each with a bootstrap interval over contexts."""

from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from embodied.evaluation.effects import EDGE, GROUPS, Branches, Cases, checked, influenced, rotation_angle
from embodied.evaluation.influence import Edges, recovered
from embodied.evaluation.questions import UNSHOWN
from embodied.evaluation.statistics import Estimate, Floats, bootstrap, bootstrap_blocks, ratio
from embodied.evaluation.strata import STRATA


@dataclass(frozen=True)
class Scores:
    """One source's scores."""

    skill: dict[str, Estimate]
    """Effect skill on unedited objects per kind, and per group: `spillover` (move and remove), `physics`, `action`.
    1 - sum |imagined effect - effect|^2 / sum |effect|^2: 1 is perfect, 0 copies the factual, < 0 harms."""
    stratum: dict[str, Estimate]
    """The same by how the effect got there, as `kind/stratum`, and as `stratum` over all kinds but `questions.UNSHOWN`,
    which distances leave out, too; see `strata.STRATA`."""
    own: dict[str, Estimate]
    """The same on the edited object itself, per kind of edit of its physics, and `physics` for mass and friction."""
    answered: dict[str, float]
    """Share of each kind's cases that the source can answer at all; a kind with none has a skill of NaN."""
    effect_correlation: Estimate
    """Pearson's, of the coordinates of effects at the horizon; like the next two, of moves and removals."""
    effect_cosine: Estimate
    """Mean cosine between imagined and true effect, over true ones above `EDGE`; 0 where none is imagined."""
    effect_slope: Estimate
    """Least squares of the true effect on the imagined one, through 0: below 1 the source over-reacts."""
    influence_auroc: Estimate
    influence_precision: Estimate
    """Average precision; its chance level is the `edge` share."""
    influence_f1: Estimate
    influence_shd: Estimate
    """Wrong edges per context, of those asked about."""
    threshold: float
    """[m] of the imagined effect, behind F1 and SHD."""
    false_influence: Estimate
    """Mean imagined effect on objects that truly felt nothing [m]."""
    missed_influence: Estimate
    """Mean error of the effect on objects that truly felt something [m]."""
    factual_ade: Estimate
    """Mean distance over all steps [m]."""
    factual_fde: Estimate
    """Distance at the horizon [m]."""
    counterfactual_ade: Estimate
    counterfactual_fde: Estimate
    factual_rotation: Estimate
    """Geodesic angle at the horizon [rad]."""
    counterfactual_rotation: Estimate

    def as_dict(self) -> dict[str, Any]:
        """For a JSON file; `from_dict` is its inverse."""
        return {f.name: _plain(getattr(self, f.name)) for f in fields(self)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Raises `KeyError` for a dictionary `as_dict` did not write."""
        tables: dict[str, Any] = {name: estimates(values[name]) for name in ("skill", "stratum", "own")}
        tables |= {"answered": dict(values["answered"]), "threshold": float(values["threshold"])}
        tables |= {f.name: Estimate.from_dict(values[f.name]) for f in fields(cls) if f.name not in tables}
        return cls(**tables)


def estimates(values: dict[str, Any]) -> dict[str, Estimate]:
    """Estimates by name, from a JSON file."""
    return {name: Estimate.from_dict(value) for name, value in values.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Estimate):
        return value.as_dict()
    return {name: _plain(each) for name, each in value.items()} if isinstance(value, dict) else value


@dataclass(frozen=True)
class Rows:
    """Cases x objects as rows: squared effects and squared errors of imagined ones, summed over the steps."""

    case: NDArray[np.int64]
    """`[R]`."""
    context: NDArray[np.int64]
    """`[R]`."""
    contexts: int
    energy: Floats
    """`[R]` [m^2]."""
    residual: Floats
    """`[R]` [m^2]."""

    @classmethod
    def of(cls, cases: Cases, said: Branches, mask: NDArray[np.bool_]) -> "Rows":
        """The rows that `mask` `[M K]` chooses."""
        case, entity = mask.nonzero()
        effect, imagined = cases.truth.effect[case, 1:, entity], said.effect[case, 1:, entity]
        residual = ((imagined - effect) ** 2).sum((1, 2))
        return cls(case, cases.context[case], cases.contexts, (effect**2).sum((1, 2)), residual)

    def mean(
        self, top: Floats, bottom: Floats, chosen: NDArray[np.bool_], generator: np.random.Generator, resamples: int
    ) -> Estimate:
        """A ratio of sums over the chosen rows, resampled by context."""
        context = self.context[chosen]
        above = np.bincount(context, weights=top[chosen], minlength=self.contexts)
        below = np.bincount(context, weights=bottom[chosen], minlength=self.contexts)
        return bootstrap_blocks(
            lambda weight: ratio(weight @ above, weight @ below), self.contexts, generator, resamples
        )

    def skill(self, chosen: NDArray[np.bool_], generator: np.random.Generator, resamples: int) -> Estimate:
        """Effect skill over the chosen rows; NaN where nothing is felt."""
        return self.mean(self.energy - self.residual, self.energy, chosen, generator, resamples)


def score(
    cases: Cases, said: Branches, generator: np.random.Generator, edge: float = EDGE, resamples: int = 1000
) -> Scores:
    """All scores of one source. Raises `EmbodiedError` where nothing is to be scored or a prediction is not finite."""
    said = checked(cases, said)
    rows = Rows.of(cases, said, cases.scored)
    case, entity = cases.scored.nonzero()
    kinds = sorted(set(cases.kind))
    groups = [name for name, parts in GROUPS.items() if set(parts) & set(kinds)]
    answered = np.ones(len(cases.kind)) if said.answered is None else said.answered.astype(np.float64)
    shares = {kind: float(answered[cases.of(kind)].mean()) for kind in (*kinds, *groups)}

    def skill(among: Rows, chosen: NDArray[np.bool_], share: float = 1.0) -> Estimate:
        if share == 0:
            return Estimate(np.nan, np.nan, np.nan, among.contexts)
        return among.skill(chosen, generator, resamples)

    # Edits that a world model cannot be shown would make models and simulators incomparable where kinds are pooled.
    shown = ~cases.of(*UNSHOWN)[rows.case]
    by_kind = {kind: cases.of(kind)[rows.case] for kind in (*kinds, *groups)}
    by_stratum: dict[str, Estimate] = {}
    if cases.stratum is not None:
        row_stratum = cases.stratum[case, entity]
        for index, name in enumerate(STRATA):
            here = row_stratum == index
            if name in ("none", "faint") or not here.any():
                # There is no skill in foretelling nothing: `false_influence` says how much is imagined there.
                continue
            by_stratum[name] = skill(rows, here & shown)
            for kind, chosen in by_kind.items():
                if (here & chosen).any():
                    by_stratum[f"{kind}/{name}"] = skill(rows, here & chosen, shares[kind])

    spilled = by_kind.get("spillover", np.zeros(len(case), bool))
    effect, imagined = cases.truth.effect[case, -1, entity], said.effect[case, -1, entity]
    size, imagined_size = influenced(cases.truth)[case, entity], influenced(said)[case, entity]
    label, ones = size > edge, np.ones(len(case))
    dot = (effect * imagined).sum(-1)
    product = size * imagined_size
    cosine = np.divide(dot, product, out=np.zeros_like(dot), where=product > 0)

    def mean(top: Floats, chosen: NDArray[np.bool_] | None = None, bottom: Floats = ones) -> Estimate:
        return rows.mean(top, bottom, shown if chosen is None else chosen, generator, resamples)

    def distance(name: str) -> Floats:
        difference = (getattr(said, name) - getattr(cases.truth, name))[case, 1:, entity]
        return np.asarray(np.linalg.norm(difference, axis=-1), dtype=np.float64)

    def turned(name: str) -> Floats:
        return rotation_angle(getattr(said, name)[case, -1, entity], getattr(cases.truth, name)[case, -1, entity])

    edges = Edges.of(cases, influenced(said), edge)
    graph = recovered(edges, generator, resamples)
    factual, counterfactual = distance("factual_position"), distance("counterfactual_position")
    return Scores(
        skill={kind: skill(rows, chosen, shares[kind]) for kind, chosen in by_kind.items()},
        stratum=by_stratum,
        own=_own(cases, said, shares, generator, resamples),
        answered=shares,
        effect_correlation=_correlation(rows, effect, imagined, spilled, generator, resamples),
        effect_cosine=mean(cosine, spilled & label),
        effect_slope=mean(dot, spilled, imagined_size**2),
        influence_auroc=graph["auroc"],
        influence_precision=graph["precision"],
        influence_f1=graph["f1"],
        influence_shd=graph["shd"],
        threshold=edges.threshold,
        false_influence=mean(imagined_size, spilled & ~label),
        missed_influence=mean(np.linalg.norm(imagined - effect, axis=-1), spilled & label),
        factual_ade=mean(factual.mean(1)),
        factual_fde=mean(factual[:, -1]),
        counterfactual_ade=mean(counterfactual.mean(1)),
        counterfactual_fde=mean(counterfactual[:, -1]),
        factual_rotation=mean(turned("factual_quaternion")),
        counterfactual_rotation=mean(turned("counterfactual_quaternion")),
    )


def _own(
    cases: Cases, said: Branches, answered: dict[str, float], generator: np.random.Generator, resamples: int
) -> dict[str, Estimate]:
    if cases.own is None or not cases.own.any():
        return {}
    rows = Rows.of(cases, said, cases.own)
    chosen = {kind: cases.of(kind)[rows.case] for kind in answered}
    return {kind: rows.skill(here, generator, resamples) for kind, here in chosen.items() if here.any()}


def _correlation(
    rows: Rows,
    effect: Floats,
    imagined: Floats,
    chosen: NDArray[np.bool_],
    generator: np.random.Generator,
    resamples: int,
) -> Estimate:
    """Pearson's correlation of coordinates `[R 3]`, from sums per context."""
    x, y, context = imagined[chosen], effect[chosen], rows.context[chosen]
    terms = (np.ones(len(x)) * 3, x.sum(1), y.sum(1), (x * x).sum(1), (y * y).sum(1), (x * y).sum(1))
    sums = np.stack([np.bincount(context, weights=term, minlength=rows.contexts) for term in terms])

    def correlation(weight: Floats) -> float:
        count, sx, sy, sxx, syy, sxy = sums @ weight
        if count == 0:
            return float("nan")
        varied = (sxx - sx * sx / count) * (syy - sy * sy / count)
        # A source that imagines no effect correlates with nothing.
        return float((sxy - sx * sy / count) / np.sqrt(varied)) if varied > 1e-24 else 0.0

    return bootstrap(correlation, rows.contexts, generator, resamples)


def gain(
    cases: Cases, ours: Branches, theirs: Branches, generator: np.random.Generator, resamples: int = 1000
) -> dict[str, Estimate]:
    """Effect skill of `ours` minus that of `theirs` per kind, on the same cases: contexts are drawn for both at once.

    Two sources that err on the same hard cases differ more surely than their own intervals say.
    """
    first, second = (Rows.of(cases, checked(cases, said), cases.scored) for said in (ours, theirs))
    kinds = [*sorted(set(cases.kind)), *(name for name, parts in GROUPS.items() if set(parts) & set(cases.kind))]
    saved = second.residual - first.residual
    return {kind: first.mean(saved, first.energy, cases.of(kind)[first.case], generator, resamples) for kind in kinds}
