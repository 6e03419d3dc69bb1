"""What-if skill of world models trained by the demo's recipe, beside what bounds it and what it must beat."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from embodied.bench.demo import configured
from embodied.bench.harness import Figure, figure
from embodied.console import Console
from embodied.evaluation.result import Result
from embodied.evaluation.statistics import Estimate
from embodied.evaluation.suite import ALONE, COPY, MODEL, NUDGED, STILL
from embodied.evaluation.whatif import suite
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
    for source, prefix in ((MODEL, ""), (NUDGED, "nudged_")):
        scores = [result.scores[source] for result in results]
        for kind in ("move", "remove", "action", "spillover"):
            figures[f"{prefix}skill_{kind}"] = over([score.skill[kind] for score in scores], "1")
        figures[f"{prefix}influence_auroc"] = over([score.influence_auroc for score in scores], "1")
        figures[f"{prefix}false_influence_mm"] = over([score.false_influence for score in scores], "mm", 1000)
    # What these two cannot know is 0 by construction: copying has no effects, objects alone no spill-over.
    figures["alone_skill_action"] = over([result.scores[ALONE].skill["action"] for result in results], "1")
    for kind in ("move", "remove", "action"):
        figures[f"gain_{kind}_over_alone"] = over([result.gain[kind] for result in results], "1")
    for source, prefix in (
        (MODEL, ""),
        (NUDGED, "nudged_"),
        (ALONE, "alone_"),
        (COPY, "copy_"),
        (STILL, "persistence_"),
    ):
        scores = [result.scores[source] for result in results]
        figures[f"{prefix}factual_fde_mm"] = over([score.factual_fde for score in scores], "mm", 1000)
        figures[f"{prefix}counterfactual_fde_mm"] = over([score.counterfactual_fde for score in scores], "mm", 1000)
    figures["calm_skill_spillover"] = over([result.calm.skill["spillover"] for result in results], "1")
    figures["calm_share"] = figure(float(np.mean([result.calm_share for result in results])), "1", len(results))
    figures["edge_share"] = figure(float(np.mean([result.strata["edge"] for result in results])), "1", len(results))
    figures["chaos_floor_mm"] = over([result.chaos_median for result in results], "mm", 1000)
    figures["chaos_p90_mm"] = over([result.chaos_p90 for result in results], "mm", 1000)
    return figures


def over(estimates: Sequence[Estimate], unit: str, scale: float = 1.0) -> Figure:
    """The mean of several seeds' estimates, with the interval that spans theirs."""
    value = float(np.mean([estimate.value for estimate in estimates])) * scale
    low, high = min(estimate.low for estimate in estimates), max(estimate.high for estimate in estimates)
    return figure(value, unit, len(estimates), (scale * low, scale * high))
