"""The stages of `embodied train`: what demonstrations can teach, and a record that interruptions leave no trace in."""

import io
from pathlib import Path
from typing import Any

import pytest

from embodied.cli import compose
from embodied.config import Config
from embodied.console import Console
from embodied.run import Run
from embodied.schema import to_dict
from embodied.training import members, train
from embodied.training.collect import collect_demonstrations
from envs.errors import EmbodiedError


def demonstrate(folder: Path, *words: str) -> int:
    (config,) = compose("train", ["env.worlds=2", "trainer.demonstrations=2", *words])
    return collect_demonstrations(config, folder, lambda done, wanted: None)


def test_a_goal_that_the_expert_does_not_satisfy_is_refused_with_ways_out(tmp_path: Path) -> None:
    with pytest.raises(EmbodiedError) as refused:
        demonstrate(tmp_path, "env.goal=lifted(red_cube, 0.3)", "env.horizon=2")
    assert str(refused.value) == (
        "The expert of 'place' satisfies 'lifted(red_cube, 0.3)' at the end of 0 of 80 episodes (0.0%), too few to "
        "learn from. Choose a goal that follows from what it works towards, near(red_cube, target, 0.02) & "
        "released(red_cube) (a part of it, say, or a wider tolerance), or learn without demonstrations: "
        "trainer.demonstrations=0."
    )
    with pytest.raises(EmbodiedError, match=r"too few to learn from\. Raise env\.horizon \(now 2\), or learn"):
        demonstrate(tmp_path, "env.horizon=2")


def test_a_goal_that_the_expert_satisfies_is_demonstrated(tmp_path: Path) -> None:
    goal = "near(red_cube, target, 0.03) & upright(red_cube) & released(red_cube)"
    assert demonstrate(tmp_path, f"env.goal={goal}") <= 8


TINY = [
    "env=reach", "env.horizon=4", "env.worlds=2", "env.threads=1", "device=cpu",
    "trainer.demonstrations=0", "trainer.model_episodes=8", "trainer.checkpoint_every=4",
    "trainer.env_steps=8", "trainer.evaluation_episodes=1",
    "world_model.width=8", "world_model.hidden=8", "world_model.steps=8", "world_model.batch=4",
    "agent.width=8", "agent.batch=8", "agent.updates_per_step=0.5", "agent.cloning_steps=0",
]  # fmt: skip


class KilledError(Exception):
    """The process ends here."""


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Config:
    """A training of seconds whose members take turns in this process, a report at every other step."""

    def in_turns(assignments: list[members.Assignment], report: members.Report) -> None:
        for one in assignments:
            members._train(one, lambda step, losses, member=one.member: report(member, step, losses))  # type: ignore[misc]

    monkeypatch.setattr(train, "train_members", in_turns)
    monkeypatch.setattr(members, "REPORT_EVERY", 2)
    (config,) = compose("train", TINY)
    return config


def start(config: Config, folder: Path, monkeypatch: pytest.MonkeyPatch, until: int | None = None) -> None:
    """Train; with `until`, the process is killed when that many lines have been logged by this start."""
    log, lines = Run.log, 0

    def logged(run: Run, stage: str, step: int, **values: float) -> None:
        nonlocal lines
        log(run, stage, step, **values)
        lines += 1
        if lines == until:
            raise KilledError

    with monkeypatch.context() as patch, Run.open(folder, to_dict(config)) as run:
        patch.setattr(Run, "log", logged)
        train.train(config, run, Console(io.StringIO()))


def record(folder: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The metrics, and the results of each stage."""
    run = Run.load(folder)
    return list(run.metrics()), {name: done["results"] for name, done in run.stages().items()}


def test_an_interrupted_training_leaves_the_record_of_a_straight_one(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(tiny, tmp_path / "straight", monkeypatch)
    lines, results = record(tmp_path / "straight")
    steps = [(line["stage"], line.get("member"), line["step"]) for line in lines]
    model = [("world model", member, step) for member in (0, 1) for step in (2, 4, 6, 8)]
    assert steps == model + [("policy", None, step) for step in range(5)]

    # Logged but not yet saved: in member 0, in member 1 with 0 finished, at the policy's first step and further on.
    for until in (3, 5, 3, 3):
        with pytest.raises(KilledError):
            start(tiny, tmp_path / "broken", monkeypatch, until)
    start(tiny, tmp_path / "broken", monkeypatch)
    assert record(tmp_path / "broken") == (lines, results)


def test_a_policy_is_learned_from_another_runs_data_without_a_step_in_the_simulator(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first,) = compose("train", [*TINY, "agent=planner"])
    start(first, tmp_path / "first", monkeypatch)
    (offline,) = compose("train", [*TINY, "agent=offline", f"trainer.data={tmp_path / 'first'}"])
    with monkeypatch.context() as patch:
        patch.setattr("envs.worlds.TaskWorlds.step", None)
        patch.setattr("envs.simulation.Simulation.step", None)
        start(offline, tmp_path / "offline", monkeypatch)
    _, results = record(tmp_path / "offline")
    assert results["collect"]["play"] == 8
    # One step of all imagined worlds.
    assert results["policy"]["env_steps"] == 128
    state, _ = Run.load(tmp_path / "offline").restore("policy")
    assert state["updates"] == 0
    (missing,) = compose("train", [*TINY, "agent=offline", f"trainer.data={tmp_path / 'nowhere'}"])
    with pytest.raises(EmbodiedError, match=r"has no folder 'play'; .* trainer\.model_episodes=0\."):
        start(missing, tmp_path / "missing", monkeypatch)
