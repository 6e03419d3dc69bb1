"""The what-if suite: draws contexts and edits, asks MuJoCo and every source, scores all of them alike."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from embodied.evaluation.branches import Disturbance, Imagine, Paths, context_of, exact, settle, simulate, unedited
from embodied.evaluation.contexts import Contexts
from embodied.evaluation.effects import (
    EDGE,
    PHYSICS,
    Branches,
    Cases,
    copy_factual,
    influenced,
    paired,
    persistence,
)
from embodied.evaluation.questions import DEFAULT, Question, draw, kinds_of
from embodied.evaluation.result import Result
from embodied.evaluation.scoring import gain, score
from embodied.evaluation.sources import Alone, Disturbed, Imagined, WhatIfModel, mean_of, nudges
from embodied.evaluation.statistics import Estimate, Floats, bootstrap
from embodied.evaluation.strata import shares, stratify
from envs.errors import EmbodiedError
from envs.simulation import Simulation

MODEL, NUDGED, ALONE, COPY, STILL = "world model", "nudged simulator", "no interaction", "copy factual", "persistence"
"""Sources that are scored, in the order they are shown from the second on."""
NUDGED_MEAN, WRONG_MASS, MONOLITHIC = "nudged simulator, mean", "simulator, wrong masses", "monolithic"
"""More sources, of the full benchmark: two ceilings and a trained baseline."""
COPIES = 4
"""Nudged simulators behind `NUDGED_MEAN`, of which `NUDGED` is the first."""
WRONG = 1.5
"""Factor on all masses in `WRONG_MASS`."""


@dataclass(frozen=True)
class WhatIfs:
    """M cases from C contexts: what was asked, what is true, what each source says."""

    contexts: Contexts
    questions: tuple[Question, ...]
    """M."""
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
    chaos: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    """Final error of every present object of every context after a nudge [m]."""
    calm: NDArray[np.bool_] | None = None
    """`[M K]` where the nudged simulator ends within `EDGE` of itself in both branches: what can be foretold at all.
    None was not measured."""

    @property
    def where(self) -> NDArray[np.int64]:
        """`[M]` context of each case."""
        return context_of(self.questions)


def posed(contexts: Contexts, questions: Sequence[Question], factual: Paths, truth: Paths) -> Cases:
    """The cases and the truth about them: who is scored, and, where the simulator told contacts, the strata."""
    where, names = context_of(questions), np.array(contexts.names)
    sure = paired(factual, truth, where, contexts.movable)
    edited = np.array([[name in question.entities for name in names] for question in questions])
    physical = np.array([set(question.parts) <= set(PHYSICS) for question in questions])
    present = contexts.present[where]
    stratum = None
    if truth.touching is not None:
        stratum = stratify(contexts, questions, influenced(sure), factual, truth)
    return Cases(
        where,
        tuple(question.kind for question in questions),
        present & ~edited,
        sure,
        own=present & edited & physical[:, None],
        stratum=stratum,
        validation=contexts.validation,
    )


def single(simulation: Simulation, model: Imagine, contexts: Contexts, question: Question) -> WhatIfs:
    """One case of one context, without baselines, contacts and chaos.

    Raises `EmbodiedError` for a question the model cannot be shown, or an edit that MuJoCo refuses.
    """
    if not question.answerable:
        raise EmbodiedError(f"{question}: the world model has only ever seen one gravity and one servo.")
    factual = simulate(simulation, contexts, unedited(contexts))
    truth = simulate(simulation, contexts, [question])
    imagined = Imagined(model).paths(contexts, [question])
    said = Imagined.branches(contexts, [question], *imagined)
    cases = posed(contexts, [question], factual, truth)
    return WhatIfs(contexts, (question,), cases, factual, truth, *imagined, {MODEL: said})


@dataclass(frozen=True)
class Established:
    """What the simulator says of M questions, before any model is asked."""

    contexts: Contexts
    questions: tuple[Question, ...]
    cases: Cases
    factual: Paths
    """`[C ...]` with contacts."""
    truth: Paths
    """`[M ...]` with contacts."""
    copies: tuple[tuple[Paths, Paths], ...]
    """The same of nudged simulators, factual and what-if."""

    @property
    def nudged(self) -> list[Branches]:
        """What each copy says."""
        where, movable = context_of(self.questions), self.contexts.movable
        return [paired(*paths, where, movable) for paths in self.copies]


def establish(
    simulation: Simulation,
    contexts: Contexts,
    generator: np.random.Generator,
    questions: Sequence[Question] | None = None,
    kinds: Mapping[str, int] = DEFAULT,
    copies: int = 1,
) -> Established:
    """Draw questions by `kinds` unless they are given, and carry them out in MuJoCo and in nudged copies of it.

    Raises `EmbodiedError` where the replay without an edit is not exact, or no edit finds room.
    """
    factual = simulate(simulation, contexts, unedited(contexts), contacts=True)
    exact(contexts, factual)
    drawn = draw(contexts, generator, kinds) if questions is None else questions
    asked = settle(simulation, contexts, drawn, generator)
    if not asked:
        raise EmbodiedError("No edit finds room in any context: the scenes are too crowded.")
    truth = simulate(simulation, contexts, asked, contacts=True)
    disturbed = Disturbed(simulation, nudges(contexts, generator, copies))
    paths = tuple(disturbed.paths(contexts, asked, disturbance) for disturbance in disturbed.disturbances)
    return Established(contexts, tuple(asked), posed(contexts, asked, factual, truth), factual, truth, paths)


def ask(
    simulation: Simulation,
    model: Imagine,
    contexts: Contexts,
    generator: np.random.Generator,
    questions: Sequence[Question] | None = None,
    kinds: Mapping[str, int] = DEFAULT,
    ceilings: bool = False,
    others: Mapping[str, WhatIfModel] | None = None,
) -> WhatIfs:
    """Carry out every question in MuJoCo and in the model, with the baselines.

    Args:
        simulation: of the scene the contexts were recorded in.
        model: the world model.
        contexts: the instants.
        generator: of questions and nudges.
        questions: what to ask; drawn by `kinds` if None.
        kinds: how many questions of each kind per context.
        ceilings: whether to ask `NUDGED_MEAN` and `WRONG_MASS`, too; four more simulations of everything.
        others: more sources, by name.

    Raises:
        EmbodiedError: where the replay without an edit is not exact, or no edit finds room.
    """
    known = establish(simulation, contexts, generator, questions, kinds, COPIES if ceilings else 1)
    asked, cases, movable = known.questions, known.cases, contexts.movable
    off, off_after = (
        np.linalg.norm(after.position - before.position, axis=-1)[:, -1][:, movable]
        for before, after in zip((known.factual, known.truth), known.copies[0], strict=True)
    )
    imagined_factual, imagined = Imagined(model).paths(contexts, asked)
    nudged = known.nudged
    sources = {
        MODEL: Imagined.branches(contexts, asked, imagined_factual, imagined),
        NUDGED: nudged[0],
        ALONE: Alone(model).answer(contexts, asked),
        COPY: copy_factual(cases.truth),
        STILL: persistence(cases.truth),
    }
    if ceilings:
        sources[NUDGED_MEAN] = mean_of(nudged)
        sources[WRONG_MASS] = Disturbed(simulation, [Disturbance(mass=WRONG)]).answer(contexts, asked)
    for name, other in (others or {}).items():
        sources[name] = other.answer(contexts, asked)
    calm = (off[context_of(asked)] < EDGE) & (off_after < EDGE)
    return WhatIfs(
        contexts,
        asked,
        cases,
        known.factual,
        known.truth,
        imagined_factual,
        imagined,
        sources,
        off[contexts.present],
        calm,
    )


def judge(whatifs: WhatIfs, generator: np.random.Generator, resamples: int = 1000) -> Result:
    """Score every source, and the model once more where the simulator agrees with its nudged self."""
    scored = whatifs.cases.scored
    calm = replace(whatifs.cases, scored=scored & (True if whatifs.calm is None else whatifs.calm))
    return Result(
        scores={
            name: score(whatifs.cases, said, generator, resamples=resamples) for name, said in whatifs.sources.items()
        },
        contexts=len(whatifs.contexts),
        cases=kinds_of(whatifs.questions),
        strata=shares(whatifs.cases),
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
