"""The published Push-T benchmark on gym-pusht's physics: our contact model and search, from states and from pictures.

Every seed collects its own training and held-out trajectories, trains its own model, and asks its own questions. What
differs from the published protocol (DINO-WM, LeWM, C-JEPA): trajectories come from our scripted pushers, not from human
demonstrations; the T is gym-pusht's (scale 30); actions are absolute targets; the contact model is trained on states
every 20 ms; the search begins from simple pushes (`embodied.agents.pusht`); `replanning` plans again every 3 steps; the
eye of `pixels` is trained on the simulator's poses, sees one 96 x 96 frame and no proprioception.
"""

import functools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from embodied.agents.pusht import KNOWN, REPLANNING, SEEN, STRICT, Planner, Protocol, Seeing, seen
from embodied.bench.harness import Figure, figure, over_seeds
from embodied.console import Console
from embodied.data.pusht import Aimless, Trajectories, collect
from embodied.evaluation.pusht import Attempt, Policy, Question, Replay, Still, attempt, passes, questions
from embodied.evaluation.statistics import wilson
from embodied.training.planar import FitConfig, errors, fit
from embodied.training.sight import SightConfig, fit_sight, sight_errors
from envs.pusht import HORIZON, PushT
from world_models.planar.model import PlanarModel
from world_models.planar.sight import PoseNet

PARTS = ("state", "pixels")
SEEDS = 5
EPISODES = 250
"""Questions per seed."""
REPLANNED = 60
"""How many of them are also asked with new plans all the time, which takes ten times as many."""
TRAIN, HELD_OUT = 1000, 440
"""Trajectories of 100 env steps; a quarter of them aimless."""
PROTOCOLS: Mapping[str, Protocol] = {"strict": STRICT, "replanning": REPLANNING}


@dataclass(frozen=True)
class Prepared:
    """What both parts of one seed stand on."""

    data: Trajectories
    held_out: Trajectories
    model: PlanarModel
    collect_seconds: float
    train_seconds: float


@functools.cache
def prepared(seed: int, quick: bool, console: Console) -> Prepared:
    """Trajectories and the contact model of one seed."""
    begin = time.process_time()
    data = collect(40 if quick else TRAIN, seed=2 * seed)
    held_out = collect(60 if quick else HELD_OUT, seed=2 * seed + 1)
    collected = time.process_time()
    config = FitConfig(part_steps=600, rollout_steps=10) if quick else FitConfig()
    model = fit(data, config, seed, console.say)
    return Prepared(data, held_out, model, collected - begin, time.process_time() - collected)


def measure(part: str, seed: int, quick: bool, console: Console) -> Mapping[str, Any]:
    """Successes of one way of knowing the state; with `state`, also of what does without a model."""
    ready, count = prepared(seed, quick, console), 3 if quick else EPISODES
    asked = questions(ready.held_out, count, seed)
    if part == "pixels":
        return _measure_pixels(ready, asked, seed, quick, console)
    aimless = questions(ready.held_out, 2 if quick else 80, seed, weak=True)
    raw: dict[str, Any] = {
        "collect_seconds": ready.collect_seconds,
        "train_seconds": ready.train_seconds,
        "parameters": sum(parameter.numel() for parameter in ready.model.parameters()),
        "errors": {str(steps): errors(ready.model, ready.held_out, steps) for steps in (1, HORIZON)},
        "tries": count,
    }
    for name, protocol in PROTOCOLS.items():
        some = asked if protocol == STRICT else asked[:REPLANNED]
        attempts, plans = planned(ready.model, some, protocol, seed)
        raw[name] = _told(attempts, some, plans)
        console.say(f"{name}: {raw[name]}")
    attempts, _ = planned(ready.model, aimless, STRICT, seed)
    raw["aimless_goals"] = {"successes": passes(attempts), "tries": len(aimless)}
    raw["replay"] = _without(asked, [Replay(each.actions) for each in asked])
    raw["random"] = _without(asked, [Aimless(np.random.default_rng(seed))] * count)
    raw["still"] = _without(asked, [Still()] * count)
    return raw


def _measure_pixels(
    ready: Prepared, asked: Sequence[Question], seed: int, quick: bool, console: Console
) -> Mapping[str, Any]:
    config, begin = SightConfig(pictures=200, steps=20) if quick else SightConfig(), time.process_time()
    eye = fit_sight(ready.data, config, seed, console.say)
    raw: dict[str, Any] = {"train_seconds": time.process_time() - begin, "tries": len(asked)}
    raw["parameters"] = sum(parameter.numel() for parameter in eye.parameters())
    raw["errors"] = sight_errors(eye, ready.held_out, 100 if quick else 1000, config.size)
    for name, protocol in PROTOCOLS.items():
        some = asked if protocol == STRICT else asked[:REPLANNED]
        attempts, plans = planned(ready.model, some, protocol, seed, eye, config.size)
        raw[name] = _told(attempts, some, plans)
        console.say(f"{name} from pictures: {raw[name]}")
    return raw


def planned(
    model: PlanarModel,
    asked: Sequence[Question],
    protocol: Protocol,
    seed: int,
    eye: PoseNet | None = None,
    size: int = 96,
) -> tuple[list[Attempt], int]:
    """Attempts by planning, and how many plans they took; with an eye, start, goal and all between are only seen."""
    world, attempts, plans = PushT(), [], 0
    for index, question in enumerate(asked):
        goal = question.goal
        if eye is not None:
            world.restore(goal)
            goal = seen(eye, world.image(size))
        doubt = KNOWN if eye is None else SEEN
        planner = Planner(model.step, goal, protocol, seed=10_000 * seed + index, doubt=doubt)
        stop_early = protocol.execute < HORIZON
        if eye is None:
            attempts.append(attempt(world, question, planner, stop_early))
        else:
            picture = functools.partial(PushT.image, size=size)
            attempts.append(attempt(world, question, Seeing(eye, model.step, planner), stop_early, picture))
        plans += len(planner.found)
    return attempts, plans


def _told(attempts: Sequence[Attempt], asked: Sequence[Question], plans: int) -> dict[str, float]:
    seconds = sum(each.seconds for each in attempts)
    return {
        "successes": passes(attempts),
        "at_end": sum(each.at_end for each in attempts),
        "tries": len(asked),
        "far_tries": sum(question.far for question in asked),
        "far": sum(each.passed is not None and question.far for each, question in zip(attempts, asked, strict=True)),
        "plans": plans,
        "plan_seconds": seconds / plans,
    }


def _without(asked: Sequence[Question], policies: Sequence[Policy]) -> int:
    """Successes of policies that do not plan."""
    world = PushT()
    return passes([attempt(world, *pair, stop_early=True) for pair in zip(asked, policies, strict=True)])


def summarise(samples: Mapping[str, Sequence[Mapping[str, Any]]]) -> Mapping[str, Figure]:
    """Rates pooled over seeds with Wilson intervals; seconds and errors as means over seeds."""
    figures: dict[str, Figure] = {}
    for part, prefix in (("state", "state"), ("pixels", "pixel")):
        runs = samples.get(part, [])
        if not runs:
            continue
        tries = [run["tries"] for run in runs]
        for name, suffix in (("strict", ""), ("replanning", "_replanning")):
            figures[f"{prefix}_success{suffix}"] = _share([run[name] for run in runs], "successes", "tries")
        figures[f"{prefix}_success_at_end"] = _rate([run["strict"]["at_end"] for run in runs], tries)
        figures[f"{prefix}_train_seconds"] = _mean(runs, "train_seconds", "s")
        figures[f"{prefix}_parameters"] = figure(runs[0]["parameters"], "", len(runs))
        figures |= {"state": _of_states, "pixels": _of_pixels}[part](runs)
    return figures


def _of_states(runs: Sequence[Mapping[str, Any]]) -> Mapping[str, Figure]:
    tries = [run["tries"] for run in runs]
    strict, again = [run["strict"] for run in runs], [run["replanning"] for run in runs]
    aimless = [run["aimless_goals"] for run in runs]
    figures = {
        "state_success_far": _share(strict, "far", "far_tries"),
        "state_success_far_replanning": _share(again, "far", "far_tries"),
        "state_success_aimless_goals": _share(aimless, "successes", "tries"),
        **{f"{name}_success": _rate([run[name] for run in runs], tries) for name in ("replay", "random", "still")},
        "plan_seconds": _mean(strict, "plan_seconds", "s"),
        "plan_seconds_replanning": _mean(again, "plan_seconds", "s"),
        "plans_per_attempt": over_seeds([run["plans"] / run["tries"] for run in strict], ""),
        "plans_per_attempt_replanning": over_seeds([run["plans"] / run["tries"] for run in again], ""),
        "collect_seconds": _mean(runs, "collect_seconds", "s"),
        "questions": figure(sum(tries), "", len(runs)),
    }
    for steps in ("1", str(HORIZON)):
        found = [run["errors"][steps] for run in runs]
        for share in ("median", "p90"):
            figures[f"position_error_{steps}_{share}"] = _mean(found, f"position_{share}", "px")
            figures[f"angle_error_{steps}_{share}"] = _mean(found, f"angle_{share}", "deg")
    return figures


def _of_pixels(runs: Sequence[Mapping[str, Any]]) -> Mapping[str, Figure]:
    found = [run["errors"] for run in runs]
    units = {"agent": "px", "block": "px", "angle": "deg"}
    return {
        f"seen_{name}_{share}": _mean(found, f"{name}_{share}", unit)
        for name, unit in units.items()
        for share in ("median", "p90", "p99")
    }


def _share(runs: Sequence[Mapping[str, Any]], successes: str, tries: str) -> Figure:
    return _rate([run[successes] for run in runs], [run[tries] for run in runs])


def _rate(successes: Sequence[int], tries: Sequence[int]) -> Figure:
    """Pooled over seeds, in per cent; without a value where nothing was tried."""
    if not sum(tries):
        return figure(float("nan"), "%", len(tries))
    estimate = wilson(sum(successes), sum(tries))
    return figure(100.0 * estimate.value, "%", len(tries), (100.0 * estimate.low, 100.0 * estimate.high))


def _mean(runs: Sequence[Mapping[str, Any]], key: str, unit: str) -> Figure:
    return over_seeds([run[key] for run in runs], unit)
