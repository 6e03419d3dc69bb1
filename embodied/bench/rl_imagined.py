"""What a world model saves in real environment steps, and how far one gets with none beyond a fixed data set.

The world model learns from play, whose every control step counts as real; the policy then learns in it alone, until it
succeeds there. Its rival, the same learner with the same settings and no demonstrations for either, learns in the
simulator, and is tried every so often. For both, steps are counted until nine of ten unseen episodes end in success.

`offline`: demonstrations and play, and then the world model alone, beside the simulator from the same demonstrations
on, and beside imitating those (`cloned`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from embodied.bench.harness import Figure, figure, over_seeds
from embodied.cli import compose
from embodied.config import Config
from embodied.console import Console
from embodied.evaluation.statistics import wilson
from embodied.run import Run
from embodied.schema import to_dict

TASKS: Mapping[str, tuple[str, int, int]] = {"push": ("push", 200_000, 4000), "place": ("place_air", 250_000, 10_000)}
"""Per task the environment, most steps that a policy learns for, and steps between trials."""
PARTS = (*(f"imagine_{task}" for task in TASKS), "offline")
ARMS: Mapping[str, tuple[tuple[str, ...], int]] = {
    "online": (("agent=td3",), 24_000),
    "offline": (("agent=offline",), 24_000),
    "cloned": (("agent=td3",), 0),
}
"""What learns from demonstrations, and for how many steps, real or imagined."""
ENOUGH, SURE = 0.9, 0.98
"""Success up to which real steps are counted, and at which learning in imagination may end."""
EPISODES = 200
"""Unseen episodes of the final word; a trial has half as many."""
DEMONSTRATIONS, PLAYED = 50, 300
"""Episodes of the data set."""
_QUICK = ("world_model.steps=2", "env.worlds=8", "agent.cloning_steps=2")


def measure(part: str, seed: int, quick: bool, console: Console) -> Mapping[str, Any]:
    """Curves of success over steps and final success, by what learned; control steps of play and demonstrations."""
    import torch

    from embodied.training.train import train

    torch.set_num_threads(1)
    shown, played, episodes = (2, 16, 8) if quick else (DEMONSTRATIONS, PLAYED, EPISODES)
    data = (f"trainer.demonstrations={shown}", f"trainer.model_episodes={played}")
    prepared = _config(seed, quick, "place_air", *data, "agent=planner")
    with Run.open(prepared.run, to_dict(prepared)) as run:
        train(prepared, run, console)
        found: dict[str, Any] = _recorded(run, prepared)
        if part == "offline":
            for name, (words, steps) in ARMS.items():
                config = _config(seed, quick, "place_air", *data, *words)
                limits = (min(steps, 64), 64) if quick else (steps, 8000)
                found[name] = learned(run, name, config, *limits, None, episodes)
                console.say(f"{name}: {found[name]['success']:.0%}")
            return found
        task = part.removeprefix("imagine_")
        env, most, every = TASKS[task]
        for name, enough, words in (("imagined", SURE, ("agent.imagined=1",)), ("real", ENOUGH, ())):
            config = _config(seed, quick, env, "trainer.demonstrations=0", "agent=headstart", *words)
            limits = (64, 64) if quick else (most, every)
            found[name] = learned(run, f"{task}_{name}", config, *limits, enough, episodes)
            console.say(f"{task}, {name}: {found[name]['success']:.0%}")
    return found


def _config(seed: int, quick: bool, env: str, *words: str) -> Config:
    folder = f"runs/bench/rl_runs/imagined{'_quick' if quick else ''}{seed}"
    small = _QUICK if quick else ()
    (config,) = compose("train", [f"env={env}", f"seed={seed}", f"run={folder}", "device=cpu", *small, *words])
    return config


def _recorded(run: Run, config: Config) -> dict[str, Any]:
    """Control steps that the data set took; branches of play show what was before them once more, and count it."""
    from embodied.data.episodes import EpisodeStore
    from embodied.training.collect import DEMONSTRATIONS, PLAY

    parts = {PLAY: config.world_model.parts, DEMONSTRATIONS: 1}
    return {f"{name}_steps": int(EpisodeStore(run.folder / name).lengths.sum()) // each for name, each in parts.items()}


def learned(
    run: Run, name: str, config: Config, most: int, every: int, enough: float | None, episodes: int
) -> dict[str, Any]:
    """How a policy fares in the worlds it learns in, by steps in them, and in the simulator in the end.

    It is tried every so many steps, and learns until it succeeds in `enough` of the trials or for `most` steps. Kept in
    the run at every trial, under `name`, and continued from there.
    """
    from embodied.evaluation.success import held_out_seeds, success, success_in
    from embodied.training.collect import chosen_control, chosen_task
    from embodied.training.train import VALIDATION, policy_trainer, policy_worlds

    trainer = policy_trainer(config, run)
    count = episodes // 2
    tried, seeds = policy_worlds(config, run, count, 0), VALIDATION + config.seed * count + np.arange(count)
    curve: list[dict[str, float]] = []
    if run.has(name):
        state, meta = run.restore(name)
        trainer.load_state_dict(state)
        curve = list(meta["curve"])
    else:
        trainer.clone(config.agent.cloning_steps)
    while trainer.env_steps < most and not (curve and enough is not None and curve[-1]["success"] >= enough):
        until = min(most, trainer.env_steps + every)
        while trainer.env_steps < until:
            trainer.advance(1)
        rate = success_in(tried, trainer.policy, seeds).at_end.value
        curve.append({"steps": trainer.env_steps, "updates": trainer.learner.updates, "success": rate})
        run.save(name, trainer.state_dict(), curve=curve)
    fared = success(trainer.policy, chosen_task(config), held_out_seeds(config.seed, episodes), chosen_control(config))
    return {"curve": curve, "success": fared.at_end.value, "episodes": episodes}


def steps_to(curve: Sequence[Mapping[str, float]], enough: float = ENOUGH) -> float:
    """Steps at which a curve first reaches `enough`, on a straight line between trials; NaN where it does not."""
    before = {"steps": 0.0, "success": 0.0}
    for point in curve:
        if point["success"] >= enough:
            share = (enough - before["success"]) / (point["success"] - before["success"])
            return before["steps"] + share * (point["steps"] - before["steps"])
        before = {"steps": point["steps"], "success": point["success"]}
    return float("nan")


def summarise(samples: Mapping[str, Sequence[Mapping[str, Any]]]) -> Mapping[str, Figure]:
    """Steps with and without imagination and their ratio, that of the less lucky task over all; final success."""
    figures: dict[str, Figure] = {}
    for task in TASKS:
        raws = samples.get(f"imagine_{task}", [])
        if not raws:
            continue
        real = [steps_to(raw["real"]["curve"]) for raw in raws]
        play = [raw["play_steps"] if raw["imagined"]["success"] >= ENOUGH else float("nan") for raw in raws]
        figures[f"real_steps_to_90_{task}"] = over_seeds(real, "steps")
        figures[f"imagined_steps_to_90_{task}"] = over_seeds(play, "steps")
        figures[f"imagined_success_{task}"] = _rate([raw["imagined"] for raw in raws])
        figures[f"imagination_steps_ratio_{task}"] = over_seeds(np.divide(real, play).tolist(), "x")
    ratios = [figures[key] for task in TASKS if (key := f"imagination_steps_ratio_{task}") in figures]
    if len(ratios) == len(TASKS):
        figures["imagination_steps_ratio"] = min(ratios, key=lambda each: each["value"] or 0.0)
    raws = samples.get("offline", [])
    return figures | ({f"{name}_success": _rate([raw[name] for raw in raws]) for name in ARMS} if raws else {})


def _rate(fared: Sequence[Mapping[str, Any]]) -> Figure:
    """Over all episodes of all seeds [%]."""
    total = sum(each["episodes"] for each in fared)
    found = wilson(round(sum(each["success"] * each["episodes"] for each in fared)), total)
    return figure(100 * found.value, "%", len(fared), (100 * found.low, 100 * found.high))
