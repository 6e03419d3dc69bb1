"""The stages of `embodied train`: what demonstrations can teach, and a record that interruptions leave no trace in."""

from pathlib import Path

import pytest

from embodied.cli import compose
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
