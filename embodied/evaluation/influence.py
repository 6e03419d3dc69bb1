"""The influence graph, recovered by intervention: who moves whom, ranked, and cut at a threshold fixed beforehand."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embodied.evaluation.effects import EDGE, Cases, influenced
from embodied.evaluation.statistics import Estimate, Floats, auroc, average_precision, bootstrap_blocks, ratio


@dataclass(frozen=True)
class Edges:
    """Possible edges, one per case and scored object of moves and removals: edited object to watched object."""

    context: NDArray[np.int64]
    """`[E]` the context whose graph an edge belongs to."""
    label: NDArray[np.bool_]
    """`[E]` whether the simulator has it: the effect at the horizon exceeds the edge's size."""
    score: Floats
    """`[E]` how strong the source says the edge is; of imagined effects, their size at the horizon [m]."""
    validation: NDArray[np.bool_]
    """`[C]` contexts that the threshold is fixed on."""

    @classmethod
    def of(cls, cases: Cases, score: Floats, edge: float = EDGE) -> "Edges":
        """The edges that the cases ask about, from what is said `[M K]` of the edited object's edge to each other."""
        case, entity = (cases.scored & cases.of("spillover")[:, None]).nonzero()
        half = np.arange(cases.contexts) % 2 == 0 if cases.validation is None else cases.validation
        label = influenced(cases.truth)[case, entity] > edge
        return cls(cases.context[case], label, score[case, entity], half)

    @property
    def threshold(self) -> float:
        """[m] The score above which an edge is said to be there: that with the best F1 on the validation half."""
        known = self.validation[self.context]
        score, label = self.score[known], self.label[known]
        if not label.any():
            return EDGE
        order = np.argsort(-score, kind="stable")
        score, hits = score[order], np.cumsum(label[order])
        f1 = 2 * hits / (np.arange(1, len(score) + 1) + label.sum())
        # Equal scores stand or fall together.
        last = np.append(score[1:] != score[:-1], True)
        best = int(np.argmax(np.where(last, f1, -1.0)))
        below = score[best + 1] if best + 1 < len(score) else 0.0
        return float((score[best] + below) / 2)


def recovered(edges: Edges, generator: np.random.Generator, resamples: int) -> dict[str, Estimate]:
    """How well the graph is recovered, with bootstrap over contexts.

    `auroc` and `precision` (average precision) rank all edges. `f1` (over all edges) and `shd` (structural Hamming
    distance: edges missing or in excess, per context and its asked edges) are of the half of the contexts that the
    threshold was not fixed on. NaN where there is no edge, or no context, to judge by.
    """
    contexts = len(edges.validation)

    def ranking(measure: Callable[[Floats, NDArray[np.bool_], Floats], Floats]) -> Estimate:
        return bootstrap_blocks(
            lambda weight: measure(edges.score, edges.label, weight[:, edges.context]), contexts, generator, resamples
        )

    threshold = edges.threshold
    test = ~edges.validation[edges.context]
    said = edges.score > threshold

    def count(chosen: NDArray[np.bool_]) -> Floats:
        return np.bincount(edges.context[test & chosen], minlength=contexts).astype(np.float64)

    hit, false, missed = count(edges.label & said), count(~edges.label & said), count(edges.label & ~said)
    asked = (count(np.ones(len(said), bool)) > 0).astype(np.float64)
    return {
        "auroc": ranking(auroc),
        "precision": ranking(average_precision),
        "f1": bootstrap_blocks(
            lambda weight: ratio(2 * weight @ hit, weight @ (2 * hit + false + missed)), contexts, generator, resamples
        ),
        "shd": bootstrap_blocks(
            lambda weight: ratio(weight @ (false + missed), weight @ asked), contexts, generator, resamples
        ),
    }
