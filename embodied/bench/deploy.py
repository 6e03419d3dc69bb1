"""A policy trained in simulation, on the twin through LeRobot's driver and the governor, beside the simulation itself.

Each seed trains a policy for `place` as `embodied demo` does, without a world model. It then acts from the same unseen
beginnings on the twin, in lock step, and in the simulation that it was trained in, with the same servo parameters;
and on both once more with masses, frictions and every servo's gain drawn per beginning, from 1/1.5 to 1.5 times
nominal. Twin and simulation draw the same. `koch` is the first of these with a Koch arm, trained and deployed. Where
the governor stops the arm (`stops`), that episode has failed, and the next begins with the arm let down and powered
anew, as somebody beside it would do. Objects come from the twin's truth, so that what is measured is the way from
action to motion: driver, bus, firmware, governor and servos. No physical arm is involved.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from embodied.arguments import DeployArguments
from embodied.bench.demo import configured
from embodied.bench.harness import Figure, figure
from embodied.console import Console
from embodied.deploy.command import assigned, carry_out
from embodied.evaluation.statistics import difference, wilson
from embodied.evaluation.success import held_out_seeds, success_in
from embodied.run import Run
from embodied.schema import to_dict
from envs.variation import Variation
from envs.worlds import TaskWorlds

PARTS = ("nominal", "randomised", "koch")
RANDOMISED = 1.5
"""The factor within which physics is drawn there."""
SEEDS = 1
EPISODES = 50
Arm = Literal["so101", "koch"]


def measure(part: str, seed: int, quick: bool, console: Console) -> Mapping[str, Any]:
    """Whether each beginning's goal holds at the end, on the twin and in the simulation."""
    from embodied.training.train import train

    robot: Arm = "koch" if part == "koch" else "so101"
    words = ("robot=koch",) if part == "koch" else ("trainer.model_episodes=0",)
    config = configured(f"deploy_runs_{robot}", seed, quick, *words)
    with Run.open(config.run, to_dict(config)) as run:
        train(config, run, console)
    variation = RANDOMISED if part == "randomised" else 1.0
    return compare(config.run, variation, 2 if quick else EPISODES, seed, console, robot)


def compare(
    run: str, variation: float, episodes: int, seed: int, console: Console, robot: Arm = "so101"
) -> Mapping[str, Any]:
    """A run's policy on the twin and in the simulation, from the same beginnings under the same physics."""
    record = Path(run) / f"deployed_{variation:g}"
    arguments = DeployArguments(
        run=run, robot=robot, episodes=episodes, seed=seed, clock="reads", variation=variation, record=str(record)
    )
    chosen = assigned(arguments)
    each: list[Mapping[str, Any]] = []
    stops: list[str] = []
    cut: Counter[str] = Counter()
    while len(each) < episodes:
        left = replace(arguments, first=len(each), episodes=episodes - len(each))
        deployed = carry_out(left, chosen, console)
        each += deployed["each"]
        cut.update(deployed["cut"])
        if deployed["fault"] is None or not deployed["each"]:
            break
        stops.append(deployed["fault"])
    spread = (1.0 / variation, variation)
    drawn = Variation(mass=spread, friction=spread, servo_gain=spread) if variation > 1 else None
    worlds = TaskWorlds(chosen.task, episodes, control=chosen.control, variation=drawn)
    simulated = success_in(worlds, chosen.policy, held_out_seeds(seed, episodes))
    return {
        "twin": [one["success"] for one in each],
        "simulation": simulated.succeeded.tolist(),
        "stops": stops,
        "cut": dict(cut),
        "steps": sum(one["steps"] for one in each),
    }


def summarise(samples: Mapping[str, Sequence[Mapping[str, Any]]]) -> Mapping[str, Figure]:
    """Rates over the beginnings of all seeds; the episode in which the governor stopped the arm has failed."""
    figures: dict[str, Figure] = {}
    for part, rows in samples.items():
        suffix = "" if part == "nominal" else f"_{part}"
        total = sum(len(row["simulation"]) for row in rows)
        twin, simulation = (wilson(sum(sum(row[side]) for row in rows), total) for side in ("twin", "simulation"))
        figures[f"twin{suffix}_success"] = twin.figure("1", len(rows))
        figures[f"sim{suffix}_success"] = simulation.figure("1", len(rows))
        gap = difference(simulation, twin)
        figures[f"gap{suffix}"] = figure(100 * gap.value, "points", len(rows), (100 * gap.low, 100 * gap.high))
        steps, cut = sum(row["steps"] for row in rows), sum(sum(row["cut"].values()) for row in rows)
        figures[f"stops{suffix}"] = figure(sum(len(row["stops"]) for row in rows), "1", len(rows))
        figures[f"cut{suffix}"] = figure(cut / max(steps, 1), "1", len(rows))
    return figures
