"""What a what-if is scored by: effects on what was not edited, errors in both branches, and the influence graph.

An *effect* is the counterfactual minus the factual trajectory. Robot parts and edited objects are never scored: they
would make any model look good. Everything is numpy; definitions follow CoPhy (Baradel et al. 2020) and WAMProbe's
bootstrap over contexts.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from embodied.evaluation.statistics import Estimate, Floats, auroc, average_precision, bootstrap
from envs.errors import EmbodiedError

EDGE = 0.005
"""An object counts as influenced where its effect at the horizon is larger than this [m]: above the chaos floor."""
OBJECT_EDITS = ("move", "remove")
"""Kinds whose every effect on another object is spill-over, carried by contact."""


@dataclass(frozen=True)
class Branches:
    """Both branches of M cases as one source tells them (the simulator, a model, a baseline)."""

    factual_position: Floats
    """`[M H+1 K 3]` in the world, of the K movable objects [m]."""
    factual_quaternion: Floats
    """`[M H+1 K 4]` wxyz."""
    counterfactual_position: Floats
    """`[M H+1 K 3]` [m]."""
    counterfactual_quaternion: Floats
    """`[M H+1 K 4]` wxyz."""

    @property
    def effect(self) -> Floats:
        """`[M H+1 K 3]` counterfactual minus factual position [m]."""
        return self.counterfactual_position - self.factual_position

    def __getitem__(self, key: Any) -> Self:
        """Choose cases."""
        return type(self)(*(getattr(self, f.name)[key] for f in fields(self)))


@dataclass(frozen=True)
class Cases:
    """M what-ifs from C contexts, with the truth about them."""

    context: NDArray[np.int64]
    """`[M]` in 0..C-1: the saved instant each case starts from."""
    kind: tuple[str, ...]
    """M kinds of intervention."""
    scored: NDArray[np.bool_]
    """`[M K]` objects that are present and were not edited."""
    truth: Branches

    @property
    def contexts(self) -> int:
        """C."""
        return int(self.context.max()) + 1 if len(self.context) else 0

    def of(self, *kinds: str) -> NDArray[np.bool_]:
        """`[M]` the cases of these kinds."""
        return np.array([kind in kinds for kind in self.kind], dtype=bool)


@dataclass(frozen=True)
class Scores:
    """One source's scores, each with a bootstrap interval over contexts."""

    skill: dict[str, Estimate]
    """Per kind, and `spillover` for move and remove together. 1 is perfect, 0 copies the factual, < 0 harms."""
    influence_auroc: Estimate
    influence_precision: Estimate
    """Average precision; its chance level is `edge_share`."""
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
        rest = {f.name: getattr(self, f.name).as_dict() for f in fields(self) if f.name != "skill"}
        return {"skill": {kind: estimate.as_dict() for kind, estimate in self.skill.items()}, **rest}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Raises `KeyError` for a dictionary `as_dict` did not write."""
        skill = {kind: Estimate.from_dict(estimate) for kind, estimate in values["skill"].items()}
        rest = {f.name: Estimate.from_dict(values[f.name]) for f in fields(cls) if f.name != "skill"}
        return cls(skill=skill, **rest)


def rotation_angle(a: Floats, b: Floats) -> Floats:
    """Geodesic angle between unit quaternions `[*B 4]` wxyz [rad], in 0..pi."""
    # 2 atan2 keeps its precision near 0, where arccos of the dot product loses half of the digits.
    sign = np.where((a * b).sum(-1, keepdims=True) < 0, -1.0, 1.0)
    angle = 2 * np.arctan2(np.linalg.norm(a - sign * b, axis=-1), np.linalg.norm(a + sign * b, axis=-1))
    return np.asarray(2 * angle, dtype=np.float64)


def influenced(branches: Branches) -> Floats:
    """`[M K]` size of the effect at the horizon [m]: the score of the influence graph, and its truth above `EDGE`."""
    return np.asarray(np.linalg.norm(branches.effect[:, -1], axis=-1), dtype=np.float64)


def copy_factual(truth: Branches) -> Branches:
    """Knows what happened, and answers that nothing would have been different."""
    return Branches(truth.factual_position, truth.factual_quaternion, truth.factual_position, truth.factual_quaternion)


def persistence(truth: Branches) -> Branches:
    """Nothing ever moves."""
    return Branches(*(np.broadcast_to(x[:, :1], x.shape) for x in (getattr(truth, f.name) for f in fields(truth))))


def _ratio(
    numerator: Floats, denominator: Floats, context: NDArray[np.int64], contexts: int
) -> Callable[[Floats], float]:
    """A ratio of sums over rows `[N]` as a function of how often each context was drawn."""
    top = np.bincount(context, weights=numerator, minlength=contexts)
    bottom = np.bincount(context, weights=denominator, minlength=contexts)

    def ratio(weight: Floats) -> float:
        total = float(weight @ bottom)
        return float(weight @ top) / total if total > 0 else float("nan")

    return ratio


def score(
    cases: Cases, model: Branches, generator: np.random.Generator, edge: float = EDGE, resamples: int = 1000
) -> Scores:
    """All scores of one source. Raises `EmbodiedError` where nothing is to be scored or a prediction is not finite."""
    if not cases.scored.any():
        raise EmbodiedError("No what-if case has an unedited object to score: give scenes with two objects or more.")
    mask = cases.scored
    if not all(
        np.isfinite(getattr(model, f.name)[mask.nonzero()[0], :, mask.nonzero()[1]]).all() for f in fields(model)
    ):
        raise EmbodiedError("The model's prediction is not finite: its checkpoint is damaged or its training diverged.")
    truth, contexts = cases.truth, cases.contexts
    row_case, row_object = mask.nonzero()
    row_context = cases.context[row_case]

    def estimate(numerator: Floats, denominator: Floats, rows: NDArray[np.bool_] | None = None) -> Estimate:
        rows = np.ones(len(row_case), bool) if rows is None else rows
        ratio = _ratio(numerator[rows], denominator[rows], row_context[rows], contexts)
        return bootstrap(ratio, contexts, generator, resamples)

    def picked(array: Floats) -> Floats:
        return array[row_case, :, row_object]

    effect, imagined = picked(truth.effect)[:, 1:], picked(model.effect)[:, 1:]
    residual, energy = ((imagined - effect) ** 2).sum((1, 2)), (effect**2).sum((1, 2))
    skill = {}
    for name, kinds in {**{kind: (kind,) for kind in sorted(set(cases.kind))}, "spillover": OBJECT_EDITS}.items():
        skill[name] = estimate(energy - residual, energy, cases.of(*kinds)[row_case])
    edited = cases.of(*OBJECT_EDITS)[row_case]
    true_size, imagined_size = influenced(truth)[row_case, row_object], influenced(model)[row_case, row_object]
    label = true_size > edge

    def ranking(measure: Callable[[Floats, NDArray[np.bool_], Floats], float]) -> Estimate:
        rows = (imagined_size[edited], label[edited], row_context[edited])
        return bootstrap(lambda weight: measure(rows[0], rows[1], weight[rows[2]]), contexts, generator, resamples)

    ones = np.ones(len(row_case))

    def distance(name: str) -> Floats:
        difference = picked(getattr(model, name)) - picked(getattr(truth, name))
        return np.asarray(np.linalg.norm(difference, axis=-1)[:, 1:], dtype=np.float64)

    def turned(name: str) -> Floats:
        return rotation_angle(picked(getattr(model, name))[:, -1], picked(getattr(truth, name))[:, -1])

    factual, counterfactual = distance("factual_position"), distance("counterfactual_position")
    return Scores(
        skill=skill,
        influence_auroc=ranking(auroc),
        influence_precision=ranking(average_precision),
        false_influence=estimate(imagined_size, ones, edited & ~label),
        missed_influence=estimate(np.linalg.norm((imagined - effect)[:, -1], axis=-1), ones, edited & label),
        factual_ade=estimate(factual.mean(1), ones),
        factual_fde=estimate(factual[:, -1], ones),
        counterfactual_ade=estimate(counterfactual.mean(1), ones),
        counterfactual_fde=estimate(counterfactual[:, -1], ones),
        factual_rotation=estimate(turned("factual_quaternion"), ones),
        counterfactual_rotation=estimate(turned("counterfactual_quaternion"), ones),
    )


def gain(
    cases: Cases, ours: Branches, theirs: Branches, generator: np.random.Generator, resamples: int = 1000
) -> dict[str, Estimate]:
    """Effect skill of `ours` minus that of `theirs` per kind, on the same cases: contexts are drawn for both at once.

    Two sources that err on the same hard cases differ more surely than their own intervals say.
    """
    row_case, row_object = cases.scored.nonzero()
    context, found = cases.context[row_case], {}

    def picked(branches: Branches) -> Floats:
        return np.asarray(branches.effect[row_case, :, row_object][:, 1:], dtype=np.float64)

    effect = picked(cases.truth)
    saved = ((picked(theirs) - effect) ** 2).sum((1, 2)) - ((picked(ours) - effect) ** 2).sum((1, 2))
    energy = (effect**2).sum((1, 2))
    for kind in sorted(set(cases.kind)):
        rows = cases.of(kind)[row_case]
        ratio = _ratio(saved[rows], energy[rows], context[rows], cases.contexts)
        found[kind] = bootstrap(ratio, cases.contexts, generator, resamples)
    return found


def strata(cases: Cases, edge: float = EDGE) -> dict[str, float]:
    """Shares of the rows (case x unedited object) of object edits: untouched, in between, and truly influenced."""
    size = influenced(cases.truth)[cases.scored & cases.of(*OBJECT_EDITS)[:, None]]
    if not len(size):
        return {"exactly_zero": float("nan"), "below_edge": float("nan"), "edge": float("nan")}
    zero, above = float((size == 0).mean()), float((size > edge).mean())
    return {"exactly_zero": zero, "below_edge": 1 - zero - above, "edge": above}
