"""The published Push-T benchmark on gym-pusht's physics: our contact model and search, from states.

Every seed collects its own training and held-out trajectories, trains its own model, and asks its own questions. What
differs from the published protocol (DINO-WM, LeWM, C-JEPA): trajectories come from our scripted pushers, not from human
demonstrations; the T is gym-pusht's (scale 30); actions are absolute targets; the model is trained on states every
20 ms; the search starts from simple pushes (see `embodied.agents.pusht`), and `replanning` plans again every 3 steps.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from embodied.agents.pusht import REPLANNING, STRICT, Planner, Protocol
from embodied.bench.harness import Figure, figure, over_seeds
from embodied.console import Console
from embodied.data.pusht import Aimless, collect
from embodied.evaluation.pusht import Attempt, Policy, Question, Replay, Still, attempt, passes, questions
from embodied.evaluation.statistics import wilson
from embodied.training.planar import FitConfig, errors, fit
from envs.pusht import HORIZON, PushT
from world_models.planar.model import PlanarModel

PARTS = ("state",)
SEEDS = 5
EPISODES = 250
"""Questions per seed."""
TRAIN, HELD_OUT = 1000, 340
"""Trajectories of 100 env steps; a quarter of them aimless."""
PROTOCOLS: Mapping[str, Protocol] = {"strict": STRICT, "replanning": REPLANNING}


def measure(part: str, seed: int, quick: bool, console: Console) -> Mapping[str, Any]:
    """Successes of planning from states, and of what does without a model."""
    count = 10 if quick else EPISODES
    begin = time.process_time()
    data = collect(40 if quick else TRAIN, seed=2 * seed)
    held_out = collect(60 if quick else HELD_OUT, seed=2 * seed + 1)
    collected = time.process_time()
    config = FitConfig(part_steps=200, rollout_steps=5) if quick else FitConfig()
    model = fit(data, config, seed, console.say)
    trained = time.process_time()
    asked = questions(held_out, count, seed)
    aimless = questions(held_out, 5 if quick else 80, seed, weak=True)
    raw: dict[str, Any] = {
        "collect_seconds": collected - begin,
        "train_seconds": trained - collected,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "far": sum(each.far for each in asked),
        "errors": {str(steps): errors(model, held_out, steps) for steps in (1, HORIZON)},
        "tries": count,
    }
    for name, protocol in PROTOCOLS.items():
        attempts, plans, seconds = planned(model, asked, protocol, seed)
        raw[name] = {"successes": passes(attempts), "at_end": sum(each.at_end for each in attempts)}
        raw[name] |= {"far": sum(a.passed is not None and q.far for a, q in zip(attempts, asked, strict=True))}
        raw[name] |= {"plans": plans, "plan_seconds": seconds / plans, "attempt_seconds": seconds / count}
        console.say(f"{name}: {raw[name]}")
    attempts, _, _ = planned(model, aimless, STRICT, seed)
    raw["aimless_goals"] = {"successes": passes(attempts), "tries": len(aimless)}
    rng = np.random.default_rng(seed)
    raw["replay"] = _without(asked, [Replay(each.actions) for each in asked])
    raw["random"] = _without(asked, [Aimless(rng)] * count)
    raw["still"] = _without(asked, [Still()] * count)
    return raw


def planned(
    model: PlanarModel, asked: Sequence[Question], protocol: Protocol, seed: int
) -> tuple[list[Attempt], int, float]:
    """Attempts by planning, how many plans they took, and the processor time of all of them."""
    world, attempts, plans = PushT(), [], 0
    for index, question in enumerate(asked):
        planner = Planner(model.step, question.goal, protocol, seed=10_000 * seed + index)
        attempts.append(attempt(world, question, planner, stop_early=protocol.execute < HORIZON))
        plans += len(planner.found)
    return attempts, plans, sum(each.seconds for each in attempts)


def _without(asked: Sequence[Question], policies: Sequence[Policy]) -> int:
    """Successes of policies that do not plan."""
    world = PushT()
    return passes([attempt(world, *pair, stop_early=True) for pair in zip(asked, policies, strict=True)])


def summarise(samples: Mapping[str, Sequence[Mapping[str, Any]]]) -> Mapping[str, Figure]:
    """Rates pooled over seeds with Wilson intervals; seconds and errors as means over seeds."""
    runs = samples.get("state", [])
    if not runs:
        return {}
    total = sum(run["tries"] for run in runs)
    far = sum(run["far"] for run in runs)

    def rate(successes: int, tries: int) -> Figure:
        estimate = wilson(successes, tries)
        return figure(100.0 * estimate.value, "%", len(runs), (100.0 * estimate.low, 100.0 * estimate.high))

    def mean(values: Sequence[float], unit: str) -> Figure:
        return over_seeds(values, unit)

    figures = {
        "state_success": rate(sum(run["strict"]["successes"] for run in runs), total),
        "state_success_at_end": rate(sum(run["strict"]["at_end"] for run in runs), total),
        "state_success_replanning": rate(sum(run["replanning"]["successes"] for run in runs), total),
    }
    if far:
        figures["state_success_far"] = rate(sum(run["strict"]["far"] for run in runs), far)
        figures["state_success_far_replanning"] = rate(sum(run["replanning"]["far"] for run in runs), far)
    aimless = sum(run["aimless_goals"]["tries"] for run in runs)
    figures["state_success_aimless_goals"] = rate(sum(run["aimless_goals"]["successes"] for run in runs), aimless)
    for name in ("replay", "random", "still"):
        figures[f"{name}_success"] = rate(sum(run[name] for run in runs), total)
    figures |= {
        "plan_seconds": mean([run["strict"]["plan_seconds"] for run in runs], "s"),
        "plan_seconds_replanning": mean([run["replanning"]["plan_seconds"] for run in runs], "s"),
        "plans_per_attempt": mean([run["strict"]["plans"] / run["tries"] for run in runs], ""),
        "plans_per_attempt_replanning": mean([run["replanning"]["plans"] / run["tries"] for run in runs], ""),
        "collect_seconds": mean([run["collect_seconds"] for run in runs], "s"),
        "train_seconds": mean([run["train_seconds"] for run in runs], "s"),
        "parameters": figure(runs[0]["parameters"], "", len(runs)),
        "questions": figure(total, "", len(runs)),
    }
    for steps in ("1", str(HORIZON)):
        found = [run["errors"][steps] for run in runs]
        figures |= {
            f"error_{steps}_median": mean([each["position_median"] for each in found], "px"),
            f"error_{steps}_p90": mean([each["position_p90"] for each in found], "px"),
            f"angle_error_{steps}_median": mean([each["angle_median"] for each in found], "deg"),
            f"angle_error_{steps}_p90": mean([each["angle_p90"] for each in found], "deg"),
        }
    return figures
