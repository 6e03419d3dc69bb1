"""What-if skill of world models trained by the demo's recipe, beside what bounds it and what it must beat."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from embodied.bench.demo import configured
from embodied.bench.harness import Figure, figure
from embodied.console import Console
from embodied.evaluation.statistics import Estimate
from embodied.evaluation.suite import ALONE, MODEL, NUDGED, STILL, Result
from embodied.evaluation.whatif import suite
from embodied.evaluation.whatif_metrics import Scores
from embodied.run import Run
from embodied.schema import to_dict

PARTS = ("all",)
SEEDS = 3
CONTEXTS = 600
"""Instants per training seed: 1200 edits of objects."""


def measure(part: str, seed: int, quick: bool, console: Console) -> Mapping[str, Any]:
    """Train, or continue, the world model of one seed and ask it what-ifs."""
    from embodied.training.train import train

    # A planner needs no policy, so the world model is all that is trained.
    config = configured("whatif_runs", seed, quick, "agent=planner")
    with Run.open(config.run, to_dict(config)) as run:
        train(config, run, console)
        return suite(config, run, config.trainer.whatif_pairs if quick else CONTEXTS, console.say).as_dict()


def summarise(samples: Mapping[str, Sequence[Mapping[str, Any]]]) -> Mapping[str, Figure]:
    """Means over training seeds; intervals span those of the single seeds, each a bootstrap over instants."""
    results = [Result.from_dict(raw) for raw in samples.get("all", [])]
    if not results:
        return {}
    figures: dict[str, Figure] = {}
    for source, prefix in ((MODEL, ""), (NUDGED, "nudged_"), (ALONE, "alone_"), (STILL, "persistence_")):
        scores = [result.scores[source] for result in results]
        for kind in ("move", "remove", "action", "spillover"):
            figures[f"{prefix}skill_{kind}"] = over([score.skill[kind] for score in scores], "1")
        figures[f"{prefix}influence_auroc"] = over([score.influence_auroc for score in scores], "1")
        figures |= {f"{prefix}{name}": each for name, each in _errors(scores).items()}
    figures["calm_skill_spillover"] = over([result.calm.skill["spillover"] for result in results], "1")
    figures["calm_share"] = figure(float(np.mean([result.calm_share for result in results])), "1", len(results))
    figures["edge_share"] = figure(float(np.mean([result.strata["edge"] for result in results])), "1", len(results))
    for name, level in (("chaos_floor_mm", 0.5), ("chaos_p90_mm", 0.9)):
        floors = [1000 * float(np.quantile(result.chaos, level)) for result in results]
        figures[name] = figure(float(np.mean(floors)), "mm", len(results), (min(floors), max(floors)))
    return figures


def over(estimates: Sequence[Estimate], unit: str, scale: float = 1.0) -> Figure:
    """The mean of several seeds' estimates, with the interval that spans theirs."""
    value = float(np.mean([estimate.value for estimate in estimates])) * scale
    low, high = min(estimate.low for estimate in estimates), max(estimate.high for estimate in estimates)
    return figure(value, unit, len(estimates), (scale * low, scale * high))


def _errors(scores: Sequence[Scores]) -> dict[str, Figure]:
    named = {
        "factual_fde_mm": [score.factual_fde for score in scores],
        "counterfactual_fde_mm": [score.counterfactual_fde for score in scores],
        "false_influence_mm": [score.false_influence for score in scores],
    }
    return {name: over(estimates, "mm", 1000) for name, estimates in named.items()}
