"""The demo's own claims over training seeds: what the learned policy and chance achieve, and how long it takes."""

from collections.abc import Mapping, Sequence
from typing import Any

from embodied.bench.harness import Figure, figure
from embodied.cli import compose
from embodied.config import Config
from embodied.console import Console
from embodied.evaluation.evaluate import measure as measure_success
from embodied.evaluation.statistics import wilson
from embodied.run import Run
from embodied.schema import to_dict

PARTS = ("all",)
SEEDS = 3
EPISODES = 200
"""Unseen resets per training seed."""


def configured(name: str, seed: int, quick: bool, *words: str) -> Config:
    """The demo's configuration for one seed, in a run folder of the bench's own."""
    folder = f"runs/bench/{name}{'_quick' if quick else ''}/seed{seed}"
    (config,) = compose("demo", [f"quick={str(quick).lower()}", f"seed={seed}", f"run={folder}", *words])
    return config


def measure(part: str, seed: int, quick: bool, console: Console) -> Mapping[str, Any]:
    """Run, or continue, the demo of one seed and count successes on unseen resets."""
    from embodied.training.demo import demo

    config = configured("demo_runs", seed, quick)
    with Run.open(config.run, to_dict(config)) as run:
        demo(config, run, console)
        measured = measure_success(run, config, 32 if quick else EPISODES, seed)
        seconds = {name: stage["seconds"] for name, stage in run.stages().items()}
    policies = measured["policies"]
    return {
        "episodes": measured["episodes"],
        "rates": {name: each["at_end"]["value"] for name, each in policies.items()},
        "seconds": seconds,
    }


def summarise(samples: Mapping[str, Sequence[Mapping[str, Any]]]) -> Mapping[str, Figure]:
    """Rates over all resets of all seeds, with Wilson's interval, and the stages' time."""
    rows = samples.get("all", [])
    if not rows:
        return {}
    figures: dict[str, Figure] = {}
    for name, key in (("learned", "place_success"), ("random", "place_random"), ("expert", "place_expert")):
        total = sum(row["episodes"] for row in rows)
        estimate = wilson(sum(round(row["rates"][name] * row["episodes"]) for row in rows), total)
        figures[key] = estimate.figure("1", len(rows))
    worst = min(row["rates"]["learned"] for row in rows)
    figures["place_success_worst_seed"] = figure(worst, "1", len(rows))
    figures["demo_minutes"] = figure(max(sum(row["seconds"].values()) for row in rows) / 60, "min", len(rows))
    return figures
