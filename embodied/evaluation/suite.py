"""The what-if suite: draws contexts and edits, asks MuJoCo and the model, scores both beside the baselines."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodied.checkpoint import write_atomically
from embodied.evaluation.branches import (
    NUDGE,
    Imagine,
    Paths,
    draw_nudges,
    exact,
    imagine,
    paired,
    settle,
    simulate,
)
from embodied.evaluation.contexts import Contexts, draw
from embodied.evaluation.statistics import Estimate, Floats, bootstrap
from embodied.evaluation.whatif_metrics import (
    EDGE,
    Branches,
    Cases,
    Scores,
    copy_factual,
    gain,
    persistence,
    score,
    strata,
)
from envs.errors import EmbodiedError
from envs.interventions import Intervention
from envs.simulation import Simulation

MODEL, NUDGED, ALONE, COPY, STILL = "world model", "nudged simulator", "no interaction", "copy factual", "persistence"
"""Sources that are scored, in the order they are shown from the second on."""


@dataclass(frozen=True)
class WhatIfs:
    """M cases from C contexts: what was asked, what is true, what each source says."""

    contexts: Contexts
    where: NDArray[np.int64]
    """`[M]` context of each case."""
    edits: tuple[Intervention, ...]
    cases: Cases
    factual: Paths
    """`[C ...]` in MuJoCo."""
    truth: Paths
    """`[M ...]` in MuJoCo."""
    imagined_factual: Paths
    """`[C ...]` in the model."""
    imagined: Paths
    """`[M ...]` in the model."""
    sources: Mapping[str, Branches]
    """What each source says of every case."""
    chaos: NDArray[np.float64]
    """Final error of every present object of every context after a nudge [m]."""
    calm: NDArray[np.bool_]
    """`[M K]` where the nudged simulator ends within `EDGE` of itself in both branches: what can be foretold at all."""

    @classmethod
    def single(
        cls,
        contexts: Contexts,
        edit: Intervention,
        factual: Paths,
        truth: Paths,
        imagined_factual: Paths,
        imagined: Paths,
    ) -> "WhatIfs":
        """One case of one context, without baselines and chaos."""
        here, movable = np.zeros(1, dtype=np.int64), contexts.movable
        names = np.array(contexts.history.objects.names)[movable]
        sure = paired(factual, truth, here, movable)
        scored = contexts.present & (names != edit.entity)
        cases = Cases(here, (edit.kind,), scored, sure)
        said = {MODEL: paired(imagined_factual, imagined, here, movable)}
        nothing = np.zeros(0)
        return cls(
            contexts,
            here,
            (edit,),
            cases,
            factual,
            truth,
            imagined_factual,
            imagined,
            said,
            nothing,
            np.ones_like(scored),
        )


@dataclass(frozen=True)
class Result:
    """The suite's numbers."""

    scores: Mapping[str, Scores]
    contexts: int
    cases: Mapping[str, int]
    """Number of cases by kind."""
    strata: Mapping[str, float]
    """Shares of unedited objects untouched, barely and truly influenced by edits of objects."""
    chaos: Sequence[float]
    """[m]."""
    chaos_median: Estimate
    """[m]."""
    chaos_p90: Estimate
    """[m] what nine of ten objects stay below."""
    calm: Scores
    """The model's, where chaos leaves an answer; chosen by the simulator, never by the model."""
    calm_share: float
    """Share of scored objects that are calm."""
    gain: Mapping[str, Estimate]
    """Skill per kind that the model owes to interactions between objects: over itself without, on the same cases."""

    def as_dict(self) -> dict[str, Any]:
        """For a JSON file; `from_dict` is its inverse."""
        return {
            "contexts": self.contexts,
            "cases": dict(self.cases),
            "strata": dict(self.strata),
            "nudge": NUDGE,
            "edge": EDGE,
            "chaos": [round(error, 9) for error in self.chaos],
            "chaos_median": self.chaos_median.as_dict(),
            "chaos_p90": self.chaos_p90.as_dict(),
            "calm": self.calm.as_dict(),
            "calm_share": self.calm_share,
            "gain": {kind: estimate.as_dict() for kind, estimate in self.gain.items()},
            "scores": {name: scores.as_dict() for name, scores in self.scores.items()},
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Result":
        """Raises `KeyError` for a dictionary `as_dict` did not write."""
        scores = {name: Scores.from_dict(each) for name, each in values["scores"].items()}
        return cls(
            scores=scores,
            contexts=values["contexts"],
            cases=values["cases"],
            strata=values["strata"],
            chaos=values["chaos"],
            chaos_median=Estimate.from_dict(values["chaos_median"]),
            chaos_p90=Estimate.from_dict(values["chaos_p90"]),
            calm=Scores.from_dict(values["calm"]),
            calm_share=values["calm_share"],
            gain={kind: Estimate.from_dict(estimate) for kind, estimate in values["gain"].items()},
        )

    def write(self, file: Path) -> None:
        """Save as JSON, whole or not at all."""
        write_atomically(file, (json.dumps(self.as_dict()) + "\n").encode())


def ask(
    simulation: Simulation,
    model: Imagine,
    contexts: Contexts,
    generator: np.random.Generator,
    asked: tuple[NDArray[np.int64], Sequence[Intervention]] | None = None,
) -> WhatIfs:
    """Carry out one edit at a time in MuJoCo and in the model, with the baselines; the edits are drawn unless given.

    Raises `EmbodiedError` where the replay without an edit is not exact, or no edit finds room.
    """
    everywhere = np.arange(len(contexts))
    nothing: list[Intervention | None] = [None] * len(contexts)
    factual = simulate(simulation, contexts, everywhere, nothing)
    exact(simulation, contexts, factual)
    where, edits = settle(simulation, contexts, *(asked or draw(contexts, generator)), generator)
    if not edits:
        raise EmbodiedError("No edit finds room in any context: the scenes are too crowded.")
    truth = simulate(simulation, contexts, where, edits)
    movable = contexts.movable
    sure = paired(factual, truth, where, movable)

    nudges = draw_nudges(contexts, generator)
    nudged_factual = simulate(simulation, contexts, everywhere, nothing, nudges)
    nudged = simulate(simulation, contexts, where, edits, nudges[where])
    off = np.linalg.norm(nudged_factual.position - factual.position, axis=-1)[:, -1][:, movable]
    off_after = np.linalg.norm(nudged.position - truth.position, axis=-1)[:, -1][:, movable]

    imagined_factual = imagine(model, contexts, everywhere, nothing)
    imagined = imagine(model, contexts, where, edits)
    names = np.array(contexts.history.objects.names)[movable]
    edited = np.array([[name == edit.entity for name in names] for edit in edits])
    cases = Cases(where, tuple(edit.kind for edit in edits), contexts.present[where] & ~edited, sure)
    sources = {
        MODEL: paired(imagined_factual, imagined, where, movable),
        NUDGED: paired(nudged_factual, nudged, where, movable),
        ALONE: _alone(model, contexts, where, edits),
        COPY: copy_factual(sure),
        STILL: persistence(sure),
    }
    return WhatIfs(
        contexts,
        where,
        tuple(edits),
        cases,
        factual,
        truth,
        imagined_factual,
        imagined,
        sources,
        off[contexts.present],
        (off[where] < EDGE) & (off_after < EDGE),
    )


def _alone(model: Imagine, contexts: Contexts, where: NDArray[np.int64], edits: Sequence[Intervention]) -> Branches:
    """The model with each object imagined as if no other were there: what it knows without interactions."""
    count, horizon = len(contexts), contexts.horizon
    everywhere = np.arange(count)
    of_action = np.array([edit.kind == "action" for edit in edits])
    shape = (len(contexts.movable), horizon + 1)
    position, quaternion = np.zeros((count, *shape, 3)), np.zeros((count, *shape, 4))
    changed_position, changed_quaternion = np.zeros((len(where), *shape, 3)), np.zeros((len(where), *shape, 4))
    for column, k in enumerate(contexts.movable):
        factual = imagine(model, contexts, everywhere, [None] * count, np.full(count, k))
        position[:, column], quaternion[:, column] = factual.position[:, :, k], factual.quaternion[:, :, k]
        changed_position[:, column], changed_quaternion[:, column] = position[where, column], quaternion[where, column]
        if of_action.any():
            chosen = [edit for edit in edits if edit.kind == "action"]
            acted = imagine(model, contexts, where[of_action], chosen, np.full(len(chosen), k))
            changed_position[of_action, column] = acted.position[:, :, k]
            changed_quaternion[of_action, column] = acted.quaternion[:, :, k]
    parts = (position[where], quaternion[where], changed_position, changed_quaternion)
    return Branches(*(np.moveaxis(part, 1, 2) for part in parts))


def judge(whatifs: WhatIfs, generator: np.random.Generator, resamples: int = 1000) -> Result:
    """Score every source, and the model once more where the simulator agrees with its nudged self."""
    kinds, scored = whatifs.cases.kind, whatifs.cases.scored
    calm = replace(whatifs.cases, scored=scored & whatifs.calm)
    return Result(
        scores={
            name: score(whatifs.cases, said, generator, resamples=resamples) for name, said in whatifs.sources.items()
        },
        contexts=len(whatifs.contexts),
        cases={kind: kinds.count(kind) for kind in dict.fromkeys(kinds)},
        strata=strata(whatifs.cases),
        chaos=[float(error) for error in whatifs.chaos],
        chaos_median=_quantile(whatifs, 0.5, generator, resamples),
        chaos_p90=_quantile(whatifs, 0.9, generator, resamples),
        calm=score(calm, whatifs.sources[MODEL], generator, resamples=resamples),
        calm_share=float(calm.scored.sum() / max(scored.sum(), 1)),
        gain=gain(whatifs.cases, whatifs.sources[MODEL], whatifs.sources[ALONE], generator, resamples),
    )


def _quantile(whatifs: WhatIfs, level: float, generator: np.random.Generator, resamples: int) -> Estimate:
    """A quantile of the chaos, resampled by context."""
    context = whatifs.contexts.present.nonzero()[0]

    def quantile(weight: Floats) -> float:
        return float(np.quantile(np.repeat(whatifs.chaos, weight[context].astype(np.int64)), level))

    return bootstrap(quantile, len(whatifs.contexts), generator, resamples)
