"""What-if skill of world models trained by the demo's recipe, beside what bounds it and what it must beat."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from embodied.bench.demo import configured
from embodied.bench.harness import Figure, figure
from embodied.console import Console
from embodied.evaluation.questions import FULL
from embodied.evaluation.result import Result
from embodied.evaluation.statistics import Estimate
from embodied.evaluation.suite import (
    ALONE,
    COPY,
    MODEL,
    MONOLITHIC,
    NUDGED,
    NUDGED_MEAN,
    STILL,
    WRONG_MASS,
    establish,
)
from embodied.evaluation.whatif import held_out, suite
from embodied.run import Run
from embodied.schema import to_dict

PARTS = ("all",)
SEEDS = 3
CONTEXTS = 600
"""Instants per training seed: 1200 moves and 1200 removals of objects, 600 of each other kind."""
EXPORTED = 300
"""Instants of the fixed set."""
PREFIXES: Mapping[str, str] = {
    MODEL: "",
    NUDGED: "nudged_",
    NUDGED_MEAN: "nudged_mean_",
    WRONG_MASS: "wrong_mass_",
    ALONE: "alone_",
    MONOLITHIC: "monolithic_",
    COPY: "copy_",
    STILL: "persistence_",
}
HEADLINES = ("move", "remove", "physics", "action")


def measure(part: str, seed: int, quick: bool, console: Console) -> Mapping[str, Any]:
    """Train, or continue, the world model of one seed and its monolithic rival, and ask both what-ifs."""
    from embodied.data.episodes import EpisodeStore
    from embodied.evaluation import monolithic
    from embodied.training.collect import PLAY
    from embodied.training.train import train

    # A planner needs no policy, so the world model is all that is trained.
    config = configured("whatif_runs", seed, quick, "agent=planner")
    with Run.open(config.run, to_dict(config)) as run:
        train(config, run, console)
        store = EpisodeStore(run.folder / PLAY)
        console.say("training the monolithic baseline")
        chosen = config.world_model
        recipe = monolithic.Recipe(chosen.steps, chosen.batch, chosen.history, seed=config.seed)
        rival = monolithic.train(list(store), recipe)
        count = config.trainer.whatif_pairs if quick else CONTEXTS
        return suite(config, run, count, console.say, {MONOLITHIC: rival.imagine}, full=True).as_dict()


def export(folder: Path, quick: bool, console: Console) -> None:
    """Write the fixed set of what-ifs that other people's models can be scored on; it needs no model of ours."""
    from embodied.evaluation.export import export as write

    config = configured("whatif_runs", 0, quick, "agent=planner")
    console.say("recording play")
    held = held_out(config, config.trainer.whatif_pairs if quick else EXPORTED)
    console.say(f"asking MuJoCo about {len(held.contexts)} instants")
    known = establish(held.simulation, held.contexts, np.random.default_rng((config.seed, 1)), kinds=FULL)
    spec = held.simulation.control.spec
    console.say(f"written: {write(known, folder, spec.rate, spec.names)}")


def summarise(samples: Mapping[str, Sequence[Mapping[str, Any]]]) -> Mapping[str, Figure]:
    """Means over training seeds; intervals span those of the single seeds, each a bootstrap over instants."""
    results = [Result.from_dict(raw) for raw in samples.get("all", [])]
    if not results:
        return {}
    figures: dict[str, Figure] = {}
    for source, prefix in PREFIXES.items():
        scores = [result.scores[source] for result in results if source in result.scores]
        if not scores:
            continue
        if source not in (COPY, STILL):
            # What these two cannot know is 0 by construction.
            for kind in dict.fromkeys((*HEADLINES, "spillover", *(scores[0].skill if source == MODEL else ()))):
                _add(figures, f"{prefix}skill_{kind}", [score.skill.get(kind) for score in scores])
            _add(figures, f"{prefix}skill_physics_own", [score.own.get("physics") for score in scores])
            for stratum in ("direct", "spillover", "multi_hop"):
                _add(figures, f"{prefix}stratum_{stratum}", [score.stratum.get(stratum) for score in scores])
            for name in ("auroc", "precision", "f1", "shd"):
                _add(figures, f"{prefix}influence_{name}", [getattr(score, f"influence_{name}") for score in scores])
            for name in ("correlation", "cosine", "slope"):
                _add(figures, f"{prefix}effect_{name}", [getattr(score, f"effect_{name}") for score in scores])
            _add(figures, f"{prefix}false_influence_mm", [score.false_influence for score in scores], "mm", 1000)
            _add(figures, f"{prefix}decision_spearman", [r.decision.get(source, {}).get("spearman") for r in results])
            _add(figures, f"{prefix}decision_value", [r.decision.get(source, {}).get("value") for r in results])
        for branch in ("factual", "counterfactual"):
            for name in ("ade", "fde"):
                each = [getattr(score, f"{branch}_{name}") for score in scores]
                _add(figures, f"{prefix}{branch}_{name}_mm", each, "mm", 1000)
            _add(
                figures, f"{prefix}{branch}_rotation", [getattr(score, f"{branch}_rotation") for score in scores], "rad"
            )
    for kind in HEADLINES:
        _add(figures, f"calm_skill_{kind}", [result.calm.skill.get(kind) for result in results])
        _add(figures, f"gain_{kind}_over_alone", [result.gain.get(kind) for result in results])
    _add(figures, "calm_skill_spillover", [result.calm.skill["spillover"] for result in results])
    for name in results[0].uncertainty:
        scale, key = (1000, f"{name}_mm") if name.startswith("radius") else (1, name)
        unit = "mm" if scale > 1 else "steps" if name.startswith("trusted") else "1"
        _add(figures, key, [result.uncertainty.get(name) for result in results], unit, scale)
    for name in results[0].surprise:
        key = "surprise_auroc" if name == "auroc" else f"surprise_{name}_auroc"
        _add(figures, key, [result.surprise.get(name) for result in results])
    for name in results[0].wamprobe:
        figures[f"wamprobe_{name}"] = _share([result.wamprobe[name] for result in results])
    figures["calm_share"] = _share([result.calm_share for result in results])
    for name in sorted(results[0].strata):
        if "/" not in name:
            figures[f"{name}_share"] = _share([result.strata[name] for result in results])
    figures["chaos_floor_mm"] = over([result.chaos_median for result in results], "mm", 1000)
    figures["chaos_p90_mm"] = over([result.chaos_p90 for result in results], "mm", 1000)
    above = [result.scores[MODEL].counterfactual_ade.value / result.chaos_median.value for result in results]
    figures["counterfactual_ade_over_chaos_floor"] = _share(above)
    return figures


def over(estimates: Sequence[Estimate], unit: str, scale: float = 1.0) -> Figure:
    """The mean of several seeds' estimates, with the interval that spans theirs."""
    value = float(np.mean([estimate.value for estimate in estimates])) * scale
    low, high = min(estimate.low for estimate in estimates), max(estimate.high for estimate in estimates)
    return figure(value, unit, len(estimates), (scale * low, scale * high))


def _add(
    figures: dict[str, Figure], name: str, estimates: Sequence[Estimate | None], unit: str = "1", scale: float = 1.0
) -> None:
    """Enter a figure that every seed has; what none could answer is entered without a number."""
    known = [estimate for estimate in estimates if estimate is not None]
    if len(known) == len(estimates):
        figures[name] = over(known, unit, scale)


def _share(values: Sequence[float]) -> Figure:
    return figure(float(np.mean(values)), "1", len(values))
