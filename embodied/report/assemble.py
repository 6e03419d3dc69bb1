"""`embodied report`: gathers what a run folder holds into a page; what is not there is left out."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from embodied.arguments import ReportArguments
from embodied.config import Config
from embodied.console import Console
from embodied.evaluation import evaluate, whatif
from embodied.evaluation.branches import NUDGE
from embodied.evaluation.model import load_model
from embodied.evaluation.result import Result
from embodied.evaluation.statistics import Estimate, wilson
from embodied.evaluation.success import held_out_seeds
from embodied.evaluation.suite import ALONE, COPY, MODEL, NUDGED, STILL
from embodied.report import film, page
from embodied.report.data import (
    ChaosFloor,
    Chart,
    Clip,
    InfluenceGraph,
    ReportData,
    Role,
    Series,
    SkillRow,
    WhatIfCase,
)
from embodied.run import Run
from embodied.schema import from_dict
from embodied.training.collect import chosen_control, chosen_task
from embodied.training.policies import load_policy
from embodied.training.train import VALIDATION_EPISODES
from envs.episode import Policy
from envs.errors import EmbodiedError
from envs.types import Observation
from envs.worlds import TaskWorlds

FILE = "report.html"
EPISODES = 64
"""Unseen episodes behind the film: half calibrate its trusted horizon, one of the others is shown."""
_ROWS: tuple[tuple[str, str, str, Role], ...] = (
    (NUDGED, "MuJoCo, nudged {nudge:g} mm", "the simulator itself, started a hair off: near the ceiling", "reference"),
    (MODEL, "World model", "{members}, trained in this run", "main"),
    (ALONE, "No interaction", "the same model, each object imagined alone", "baseline"),
    (COPY, "Copy the factual", "nothing would have been different", "baseline"),
    (STILL, "Persistence", "nothing ever moves", "baseline"),
)
_LIMITS = (
    "Everything here is simulation: no camera, no real servo, no real friction. Poses and identities of objects are "
    "given, not perceived.",
    "Objects are cubes of nearly one size and weight on one table; goals and edits come from the same distributions "
    "in training and test, with other seeds.",
    "One training seed. The intervals are over test starts and instants, not over trainings.",
    "What-ifs reach 1.2 s ahead. Further on, contact chaos decides, and the model's own uncertainty should say so.",
    "Influence is measured by editing and watching, in this scene; not a claim to have found causes in general.",
)


def report(arguments: ReportArguments, console: Console) -> None:
    """Write the page of a run. Raises `EmbodiedError` where there is no run or what it holds is damaged."""
    run = Run.load(arguments.run)
    file = Path(arguments.page) if arguments.page else run.folder / FILE
    page.write(gather(run, from_dict(Config, run.config)), file)
    console.say(f"page: {file} ({file.stat().st_size / 1e6:.1f} MB); it opens in any browser, offline")


def gather(run: Run, config: Config) -> ReportData:
    """Read, draw and film everything that the run has."""
    measured = _read(run.folder / evaluate.FILE)
    policies = measured["policies"] if measured else {}
    rates = {name: Estimate.from_dict(policies[name]["at_end"]) for name in policies}
    scores = _read(run.folder / whatif.SCORES)
    shown = _read(run.folder / whatif.GALLERY)
    result = Result.from_dict(scores) if scores else None
    hero = _hero(run, config) if run.has("policy") else None
    return ReportData(
        title=f"Embodied What-If: {config.env.task}",
        task=phrase(config.env.task, config.env.goal),
        run=str(run.folder),
        success=rates.get("learned"),
        success_expert=rates.get("expert"),
        success_random=rates.get("random"),
        hero=hero,
        hero_alt="The arm on its table, holding the object over its goal in the middle of an unseen episode.",
        clip=_clip(run, config) if result else None,
        skill=_rows(result, config) if result else (),
        contexts=result.contexts if result else 0,
        gain=result.gain if result else {},
        calm=(result.calm.skill["spillover"], result.calm_share) if result else None,
        gallery=tuple(WhatIfCase.from_dict(case) for case in shown["gallery"]) if shown else (),
        graph=InfluenceGraph.from_dict(shown["graph"]) if shown else None,
        chaos=ChaosFloor(NUDGE, list(result.chaos)) if result else None,
        curves=_curves(run, config, rates),
        limits=_LIMITS,
        command=_command(run),
        facts=_facts(run, config),
    )


def phrase(task: str, goal: str | None) -> str:
    """What the robot was to do, to follow `Asked to`."""
    phrases = {
        "reach": "reach a point",
        "push": "push a cube onto its target",
        "lift": "lift a cube",
        "place": "put a cube on its target",
        "place_air": "bring a cube to its target, in the air or on the table",
        "place_bin": "put a cube into the bin",
        "place_clutter": "put the red cube on its target among others",
        "stack": "put the red cube on the blue one",
    }
    return f"bring about {goal}" if goal else phrases.get(task, f"do {task}")


def _read(file: Path) -> dict[str, Any] | None:
    if not file.exists():
        return None
    try:
        values: dict[str, Any] = json.loads(file.read_text())
    except ValueError as error:
        raise EmbodiedError(f"{file} is damaged ({error}); delete it and run the same command again.") from error
    return values


def _rows(result: Result, config: Config) -> tuple[SkillRow, ...]:
    members = config.world_model.members
    words = {"nudge": 1000 * NUDGE, "members": f"{members} member{'s' * (members > 1)}"}
    return tuple(
        SkillRow(
            title.format(**words),
            note.format(**words),
            role,
            scores.skill,
            scores.influence_auroc,
            scores.factual_fde,
            scores.counterfactual_fde,
        )
        for source, title, note, role in _ROWS
        if (scores := result.scores.get(source)) is not None
    )


def _curves(run: Run, config: Config, rates: Mapping[str, Estimate]) -> tuple[Chart, ...]:
    charts = []
    lines = list(run.metrics("policy"))
    if lines:
        steps = [line["env_steps"] for line in lines]
        count = min(VALIDATION_EPISODES, 4 * config.trainer.evaluation_episodes)
        estimates = [wilson(round(line["success"] * count), count) for line in lines]
        series = [
            Series("policy", steps, [e.value for e in estimates], "main", [e.low for e in estimates],
                   [e.high for e in estimates])
        ]  # fmt: skip
        roles: dict[str, Role] = {"expert": "reference", "random": "baseline"}
        series += [Series(name, [0], [rates[name].value], role) for name, role in roles.items() if name in rates]
        charts.append(Chart("The policy", "environment steps", f"success in {count} starts kept for validation",
                            tuple(series), percent=True))  # fmt: skip
    lines = list(run.metrics("world model"))
    if lines:
        members = sorted({line["member"] for line in lines})
        series = []
        for member in members:
            own = [line for line in lines if line["member"] == member]
            x, y = [line["step"] for line in own], _smooth([line["position"] for line in own])
            series.append(Series(f"member {member + 1}", x, y, "main" if member == 0 else "reference"))
        charts.append(Chart("The world model", "gradient steps", "training loss of position over short rollouts",
                            tuple(series[:2]), logarithmic=True))  # fmt: skip
    return tuple(charts)


def _smooth(values: list[float], width: int = 9) -> list[float]:
    """Running median: single batches are noisy, and a mean would follow their outliers."""
    half = width // 2
    return [float(np.median(values[max(0, i - half) : i + half + 1])) for i in range(len(values))]


def _clip(run: Run, config: Config) -> Clip:
    count = 16 if config.quick else EPISODES
    held = whatif.held_out(config, count)
    control = held.simulation.control
    model = load_model(run, config, control)
    return film.clip(held.simulation.scene, model, held.episodes[:count], control.spec.rate, config.world_model.history)


def _hero(run: Run, config: Config) -> bytes:
    """A moment of an unseen episode in which the learned policy has its object in the air or nearest to its goal."""
    task = chosen_task(config)
    worlds = TaskWorlds(task, 4, control=chosen_control(config), threads=config.env.threads)
    policy: Policy = load_policy(run, config)
    observation = worlds.reset(seeds=held_out_seeds(0, 4))
    best: tuple[float, Observation] = (-np.inf, observation[0])
    subject = observation.objects.index(task.subject)
    for step in range(task.horizon):
        observation = worlds.step(policy.act(observation, task.goal)).next_observation
        height = np.asarray(observation.objects.position_in_world)[:, subject, 2]
        # Of equally good moments the later one, nearer to the goal.
        value = np.minimum(height, 0.05) + 1e-5 * step
        world = int(np.argmax(value))
        if value[world] > best[0]:
            best = (float(value[world]), observation[world])
    return film.portrait(worlds.simulation.scene, best[1])


def _command(run: Run) -> str:
    versions = _read(run.folder / "versions.json")
    starts = versions["starts"] if versions else []
    return str(starts[0]["command"]) if starts else ""


def _facts(run: Run, config: Config) -> dict[str, str]:
    record = (_read(run.folder / "versions.json") or {"starts": [{}]})["starts"][0]
    facts = {"Run": str(run.folder), "Seed": str(config.seed)}
    packages = record.get("versions", {})
    kept = ("python", "embodied-whatif", "mujoco", "torch", "numpy")
    facts["Versions"] = ", ".join(f"{name} {packages[name]}" for name in kept if name in packages)
    machine = record.get("machine", {})
    units = {"cores": " cores", "memory_gib": " GiB"}
    facts["Machine"] = ", ".join(f"{value}{units.get(key, '')}" for key, value in machine.items() if value)
    facts["Begun"] = str(record.get("time", "")).replace("T", " ").replace("+00:00", " UTC")
    git = record.get("git") or {}
    if git.get("commit"):
        facts["Source"] = f"commit {str(git['commit'])[:12]}{' with local changes' if git.get('changed') else ''}"
    stages = run.stages()
    if stages:
        facts["Time"] = ", ".join(f"{name} {each['seconds']:.0f} s" for name, each in stages.items())
    return {key: value for key, value in facts.items() if value}
