"""The whole what-if benchmark of one model: effects, graphs, decisions, doubt and surprise, of the same instants."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from embodied.evaluation import decision, readouts, surprise, uncertainty, wamprobe
from embodied.evaluation.branches import Disturbance, Imagine, Paths, draw_nudges, imagine, simulate, unedited
from embodied.evaluation.contexts import Contexts
from embodied.evaluation.decision import Candidates
from embodied.evaluation.questions import FULL
from embodied.evaluation.result import Result
from embodied.evaluation.sources import Imagined, WhatIfModel
from embodied.evaluation.statistics import Estimate, Floats
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
    sources: Mapping[str, WhatIfModel] | None = None,
) -> tuple[WhatIfs, Result]:
    """Everything, with all ceilings and baselines; `others` are more models, `sources` what only answers, by name.

    What cannot be measured is left empty: doubt without an ensemble's spread, surprise and decisions where the
    contexts are too few. Raises `EmbodiedError` as `suite.ask` and `suite.judge` do.
    """
    say = progress or (lambda text: None)
    models = {MODEL: model, **(others or {})}
    say(f"asking {len(contexts)} instants")
    asked = {**{name: Imagined(other) for name, other in models.items() if name != MODEL}, **(sources or {})}
    whatifs = ask(simulation, model, contexts, generator, kinds=kinds, ceilings=True, others=asked)
    say("scoring")
    result = judge(whatifs, generator, resamples)
    say("ranking plans")
    plans = decision.candidates(contexts[: min(DECISIONS, len(contexts))], generator)
    truth, said = outcomes(simulation, models, plans, generator)
    if not wamprobe.installed():
        say(wamprobe.MISSING)
    probed = wamprobe.probe(plans, truth, said[MODEL], MODEL) if wamprobe.installed() else {}
    say("looking for doubt and surprise")
    half = contexts.validation
    split = half.any() and not half.all()
    return whatifs, replace(
        result,
        decision=decisions(plans, truth, said, generator, resamples),
        uncertainty=doubt(whatifs, generator, resamples) if split else {},
        surprise=surprise.measure(simulation, model, contexts, generator, resamples) if split else {},
        readouts=readouts.measure(model, whatifs, generator, resamples),
        wamprobe=probed,
    )


def outcomes(
    simulation: Simulation, models: Mapping[str, Imagine], plans: Candidates, generator: np.random.Generator
) -> tuple[Floats, dict[str, Floats]]:
    """`[C*N H+1 K 3]` what candidate plans lead to, in truth, and as each model and the nudged simulator say."""
    contexts, movable = plans.contexts, plans.contexts.movable
    asked = unedited(contexts)
    truth = simulate(simulation, contexts, asked).position
    # One nudge for all plans of a context: they start from the same, slightly wrong, belief.
    first = contexts[np.arange(0, len(contexts), plans.count)]
    nudges = np.repeat(draw_nudges(first, generator), plans.count, axis=0)
    said = {NUDGED: simulate(simulation, contexts, asked, Disturbance(nudges)).position}
    said |= {name: imagine(model, contexts, asked).position for name, model in models.items()}
    return truth[:, :, movable], {name: position[:, :, movable] for name, position in said.items()}


def decisions(
    plans: Candidates, truth: Floats, said: Mapping[str, Floats], generator: np.random.Generator, resamples: int = 1000
) -> dict[str, dict[str, Estimate]]:
    """How each source ranks the plans, from `outcomes`; `COPY` expects every plan to do what the recorded one did."""
    best = plans.returns(truth)
    returns = {name: plans.returns(position) for name, position in said.items()}
    returns[COPY] = np.repeat(best[:, :1], best.shape[1], axis=1)
    return {name: decision.decide(best, each, generator, resamples) for name, each in returns.items()}


def doubt(whatifs: WhatIfs, generator: np.random.Generator, resamples: int = 1000) -> dict[str, Estimate]:
    """Radii fitted on the factual rollouts of each half of the contexts, checked on both branches of the other half.

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
    folds = [
        uncertainty.Fold(uncertainty.fit(factual[~other]), factual[other], changed[shown & other[where]])
        for other in (~half, half)
    ]
    return uncertainty.assess(folds, generator, resamples)


def _forecast(
    whatifs: WhatIfs, truth: Paths, said: Paths, mask: NDArray[np.bool_], context: NDArray[np.int64]
) -> uncertainty.Forecast:
    movable = whatifs.contexts.movable
    error = np.linalg.norm(said.position - truth.position, axis=-1)[:, 1:, movable]
    return uncertainty.Forecast(error, np.asarray(said.uncertainty)[:, 1:, movable], mask, context)
