"""The whole what-if benchmark of one model: effects, decisions, doubt and surprise, of the same instants."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from embodied.evaluation import decision, surprise, uncertainty
from embodied.evaluation.branches import Disturbance, Imagine, Paths, draw_nudges, imagine, simulate, unedited
from embodied.evaluation.contexts import Contexts
from embodied.evaluation.questions import FULL
from embodied.evaluation.result import Result
from embodied.evaluation.sources import Imagined
from embodied.evaluation.statistics import Estimate
from embodied.evaluation.suite import COPY, MODEL, NUDGED, WhatIfs, ask, judge
from envs.simulation import Simulation

DECISIONS = 150
"""Contexts that plans are ranked in: each takes as many branches as there are candidates."""


def measure(
    simulation: Simulation,
    model: Imagine,
    contexts: Contexts,
    generator: np.random.Generator,
    kinds: Mapping[str, int] = FULL,
    others: Mapping[str, Imagine] | None = None,
    resamples: int = 1000,
    progress: Callable[[str], None] | None = None,
) -> tuple[WhatIfs, Result]:
    """Everything, with all ceilings and baselines; `others` are more models, by name.

    What cannot be measured is left empty: doubt without an ensemble's spread, surprise and decisions where the
    contexts are too few. Raises `EmbodiedError` as `suite.ask` and `suite.judge` do.
    """
    say = progress or (lambda text: None)
    models = {MODEL: model, **(others or {})}
    say(f"asking {len(contexts)} instants")
    sources = {name: Imagined(other) for name, other in models.items() if name != MODEL}
    whatifs = ask(simulation, model, contexts, generator, kinds=kinds, ceilings=True, others=sources)
    say("scoring")
    result = judge(whatifs, generator, resamples)
    say("ranking plans")
    ranked = decisions(simulation, models, contexts[: min(DECISIONS, len(contexts))], generator, resamples)
    say("looking for doubt and surprise")
    half = contexts.validation
    split = half.any() and not half.all()
    shaken = surprise.measure(simulation, model, contexts, generator, resamples) if split else {}
    return whatifs, replace(
        result, decision=ranked, uncertainty=doubt(whatifs, generator, resamples) if split else {}, surprise=shaken
    )


def decisions(
    simulation: Simulation,
    models: Mapping[str, Imagine],
    contexts: Contexts,
    generator: np.random.Generator,
    resamples: int = 1000,
) -> dict[str, dict[str, Estimate]]:
    """How each model, and the nudged simulator, ranks candidate plans; `COPY` expects every plan to do the same."""
    plans = decision.candidates(contexts, generator)
    asked, movable = unedited(plans.contexts), contexts.movable
    truth = plans.returns(simulate(simulation, plans.contexts, asked).position[:, :, movable])
    # One nudge for all plans of a context: they start from the same, slightly wrong, belief.
    nudged = Disturbance(np.repeat(draw_nudges(contexts, generator), plans.count, axis=0))
    said = {NUDGED: simulate(simulation, plans.contexts, asked, nudged).position}
    said |= {name: imagine(model, plans.contexts, asked).position for name, model in models.items()}
    returns = {name: plans.returns(position[:, :, movable]) for name, position in said.items()}
    returns[COPY] = np.repeat(truth[:, :1], truth.shape[1], axis=1)
    return {name: decision.decide(truth, each, generator, resamples) for name, each in returns.items()}


def doubt(whatifs: WhatIfs, generator: np.random.Generator, resamples: int = 1000) -> dict[str, Estimate]:
    """Radii fitted on the factual rollouts of one half of the contexts, checked on both branches of the other half.

    Empty where the model has no spread.
    """
    if whatifs.imagined.uncertainty is None or whatifs.imagined_factual.uncertainty is None:
        return {}
    contexts, where = whatifs.contexts, whatifs.where
    half = contexts.validation
    everywhere = np.arange(len(contexts))
    factual = _forecast(whatifs, whatifs.factual, whatifs.imagined_factual, contexts.present, everywhere)
    shown = np.array([question.answerable for question in whatifs.questions])
    changed = _forecast(whatifs, whatifs.truth, whatifs.imagined, whatifs.cases.scored, where)
    radii = uncertainty.fit(factual[half])
    return uncertainty.assess(radii, factual[~half], changed[shown & ~half[where]], generator, resamples)


def _forecast(
    whatifs: WhatIfs, truth: Paths, said: Paths, mask: NDArray[np.bool_], context: NDArray[np.int64]
) -> uncertainty.Forecast:
    movable = whatifs.contexts.movable
    error = np.linalg.norm(said.position - truth.position, axis=-1)[:, 1:, movable]
    return uncertainty.Forecast(error, np.asarray(said.uncertainty)[:, 1:, movable], mask, context)
