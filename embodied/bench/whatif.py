"""What-if skill of world models trained by the demo's recipe, beside what bounds it and what it must beat."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from embodied.bench.demo import configured
from embodied.bench.harness import Figure, figure
from embodied.config import Config, WorldModelConfig
from embodied.console import Console
from embodied.evaluation.abducted import DECLARED, INFERRED, OUTCOME, inferring
from embodied.evaluation.model import imagining, load_ensemble
from embodied.evaluation.monolithic import Monolithic
from embodied.evaluation.questions import FULL
from embodied.evaluation.result import Result
from embodied.evaluation.sources import WhatIfModel
from embodied.evaluation.statistics import Estimate, average
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
from embodied.evaluation.whatif import HeldOut, held_out, suite
from embodied.run import Run
from embodied.schema import to_dict

WORLDS: Mapping[str, str] = {"boxes": "", "more_objects": "more_objects_", "tabletop": "so101_", "chains": "chains_",
                             "hidden": "hidden_"}  # fmt: skip
"""Parts that are worlds, and how their figures begin; `more_objects` asks the model of `boxes` about 6 to 8."""
ABLATIONS: Mapping[str, tuple[str, ...]] = {
    "mask_object": ("world_model=cjepa",),
    "mask_token": ("world_model=token",),
    "mask_tube": ("world_model=tube",),
    "mask_none": ("world_model=unmasked",),
    "one_round": ("world_model.rounds=1",),
    "whole_steps": ("world_model.parts=1", "world_model.rounds=2", "world_model.horizon=5"),
}
"""Parts that train on `boxes` with one thing changed, and the same number of gradient steps."""
PARTS = (*WORLDS, *ABLATIONS)
SEEDS = 5
CONTEXTS = 200
"""Instants per training seed: 400 moves and 400 removals of objects, 200 of each other kind."""
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
    DECLARED: "declared_",
    INFERRED: "inferred_",
    OUTCOME: "outcome_",
}
HEADLINES = ("move", "remove", "physics", "action")


def measure(part: str, seed: int, quick: bool, console: Console) -> Mapping[str, Any]:
    """Train, or continue, the world model of one seed and its monolithic rival, and ask both what-ifs."""
    from embodied.training.train import train

    config = world_config(part, seed, quick)
    count = config.trainer.whatif_pairs if quick else CONTEXTS
    with Run.open(config.run, to_dict(config)) as run:
        train(config, run, console)
        if part == "more_objects":
            return suite(config, run, count, console.say, objects=(6, 8)).as_dict()
        if part in ABLATIONS:
            return suite(config, run, count, console.say).as_dict()
        console.say("training the monolithic baseline")
        rivals, sources = {MONOLITHIC: _rival(config, run).imagine}, None
        if part == "hidden":
            console.say("the model of boxes, which is to infer masses and frictions")
            sources = _inferring(seed, quick, console)
        return suite(config, run, count, console.say, rivals, full=True, sources=sources).as_dict()


def world_config(part: str, seed: int, quick: bool) -> Config:
    """A part's own configuration; a planner needs no policy, so the world model is all that is trained."""
    world = "boxes" if part == "more_objects" or part in ABLATIONS else part
    words = ["agent=planner", "trainer.demonstrations=0", f"env.play={world}", *ABLATIONS.get(part, ())]
    if not quick:
        # The demo is in a hurry.
        words.append(f"world_model.steps={WorldModelConfig().steps}")
    folder = "boxes" if part == "more_objects" else part
    return configured(f"whatif_runs/{folder}", seed, quick, *words)


def _inferring(seed: int, quick: bool, console: Console) -> Callable[[HeldOut], Mapping[str, WhatIfModel]]:
    from embodied.training.train import train

    config = world_config("boxes", seed, quick)
    with Run.open(config.run, to_dict(config)) as run:
        train(config, run, console)
        ensemble = load_ensemble(run, config)
    return lambda held: inferring(
        held.contexts, held.episodes, ensemble, imagining(ensemble, held.simulation.control), seed
    )


def _rival(config: Config, run: Run) -> Monolithic:
    from embodied.data.episodes import EpisodeStore
    from embodied.data.play import at_control_steps
    from embodied.evaluation import monolithic
    from embodied.training.collect import PLAY

    chosen = config.world_model
    recipe = monolithic.Recipe(chosen.steps, chosen.batch, chosen.history, seed=config.seed)
    return monolithic.train([at_control_steps(e, chosen.parts) for e in EpisodeStore(run.folder / PLAY)], recipe)


def export(folder: Path, quick: bool, console: Console) -> None:
    """Write the fixed set of what-ifs that other people's models can be scored on; it needs no model of ours."""
    from embodied.evaluation.export import export as write

    config = world_config("boxes", 0, quick)
    console.say("recording play")
    held = held_out(config, config.trainer.whatif_pairs if quick else EXPORTED)
    console.say(f"asking MuJoCo about {len(held.contexts)} instants")
    known = establish(held.simulation, held.contexts, np.random.default_rng((config.seed, 1)), kinds=FULL)
    spec = held.simulation.control.spec
    console.say(f"written: {write(known, folder, spec.rate, spec.names)}")


def summarise(samples: Mapping[str, Sequence[Mapping[str, Any]]]) -> Mapping[str, Figure]:
    """Figures of every world and ablation measured."""
    figures: dict[str, Figure] = {}
    for part, raws in samples.items():
        results = [Result.from_dict(raw) for raw in raws]
        if part in WORLDS:
            each = _figures(results)
            if part != "boxes":
                each = {key: value for key, value in each.items() if _is_headline(key)}
            figures |= {f"{WORLDS[part]}{key}": value for key, value in each.items()}
            if part in ("more_objects", "hidden"):
                figures[f"{part}_skill"] = each["skill_spillover"]
        else:
            scores = [result.scores[MODEL] for result in results]
            for kind in ("move", "remove", "action", "spillover"):
                _add(figures, f"{part}_skill_{kind}", [score.skill.get(kind) for score in scores])
            _add(figures, f"{part}_influence_auroc", [score.influence_auroc for score in scores])
    return figures


def _is_headline(key: str) -> bool:
    """Whether a figure is shown of worlds other than the first."""
    prefixes = ("", *(PREFIXES[name] for name in (DECLARED, INFERRED, OUTCOME)))
    shown = [f"{prefix}{each}" for prefix in prefixes for each in ("skill", "influence_auroc", "cf_ade_mm")]
    rivals = ("nudged_skill", "alone_skill", "monolithic_skill")
    return key.startswith((*shown, *rivals, "chaos", "coverage90", "surprise_auroc"))


def _figures(results: Sequence[Result]) -> dict[str, Figure]:
    """Means over training seeds, each with instants of its own that its interval is a bootstrap over."""
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
        for branch, short in (("factual", "factual"), ("counterfactual", "cf")):
            for name in ("ade", "fde"):
                each = [getattr(score, f"{branch}_{name}") for score in scores]
                _add(figures, f"{prefix}{short}_{name}_mm", each, "mm", 1000)
            _add(
                figures, f"{prefix}{short}_rotation", [getattr(score, f"{branch}_rotation") for score in scores], "rad"
            )
    for kind in HEADLINES:
        _add(figures, f"calm_skill_{kind}", [result.calm.skill.get(kind) for result in results])
        _add(figures, f"gain_{kind}_over_alone", [result.gain.get(kind) for result in results])
    _add(figures, "calm_skill_spillover", [result.calm.skill["spillover"] for result in results])
    for name in results[0].uncertainty:
        scale, key = (1000, f"{name}_mm") if name.startswith("radius") else (1, name)
        key = key.replace("coverage_", "coverage")
        unit = "mm" if scale > 1 else "steps" if name.startswith("trusted") else "1"
        _add(figures, key, [result.uncertainty.get(name) for result in results], unit, scale)
    for name in results[0].surprise:
        key = "surprise_auroc" if name == "auroc" else f"surprise_{name}_auroc"
        _add(figures, key, [result.surprise.get(name) for result in results])
    for name, scores_of in results[0].readouts.items():
        for score in scores_of:
            _add(figures, f"{name}_influence_{score}", [result.readouts[name].get(score) for result in results])
    for name in results[0].wamprobe:
        figures[f"wamprobe_{name}"] = _share([result.wamprobe[name] for result in results])
    figures["calm_share"] = _share([result.calm_share for result in results])
    for name in sorted(results[0].strata):
        if "/" not in name:
            figures[f"{name}_share"] = _share([result.strata[name] for result in results])
    figures["chaos_floor_mm"] = over([result.chaos_median for result in results], "mm", 1000)
    figures["chaos_p90_mm"] = over([result.chaos_p90 for result in results], "mm", 1000)
    above = [result.scores[MODEL].counterfactual_ade.value / result.chaos_median.value for result in results]
    figures["cf_ade_over_chaos_floor"] = _share(above)
    return figures


def over(estimates: Sequence[Estimate], unit: str, scale: float = 1.0) -> Figure:
    """The mean of several seeds' estimates, see `statistics.average`."""
    mean = average(estimates)
    return figure(scale * mean.value, unit, len(estimates), (scale * mean.low, scale * mean.high))


def _add(
    figures: dict[str, Figure], name: str, estimates: Sequence[Estimate | None], unit: str = "1", scale: float = 1.0
) -> None:
    """Enter a figure that every seed has; what none could answer is entered without a number."""
    known = [estimate for estimate in estimates if estimate is not None]
    if len(known) == len(estimates):
        figures[name] = over(known, unit, scale)


def _share(values: Sequence[float]) -> Figure:
    return figure(float(np.mean(values)), "1", len(values))
