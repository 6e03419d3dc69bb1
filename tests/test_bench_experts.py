"""The bench of experts counts episodes of its own seeds, pools them, and pairs finer time steps with nominal ones."""

import io
from dataclasses import replace

import numpy as np
import pytest

from embodied.bench import experts
from embodied.console import Console
from envs.tasks import TASKS


def test_episodes_are_counted_over_their_own_seeds() -> None:
    assert experts.succeeded(TASKS["reach"], np.arange(700, 708)).all()


def test_an_expert_without_time_fails() -> None:
    hurried = replace(TASKS["reach"], horizon=1)
    assert not experts.succeeded(hurried, np.arange(8)).all()


def test_there_is_one_figure_per_task() -> None:
    figures = experts.summarise({part: [{"tries": 100, "failed": [3]}] for part in experts.RATES})
    assert {*TASKS, "place_obstacles", "koch_push"} < set(figures) == set(experts.RATES)
    assert figures["lift"]["value"] == pytest.approx(99.0)
    assert figures["lift"]["interval"][0] < 97.0


def test_finer_steps_are_set_against_the_same_resets() -> None:
    samples = {"place": [{"tries": 100, "failed": [3]}], "place_half_step": [{"tries": 100, "failed": [3, 5, 8]}]}
    assert experts.summarise(samples)["place_half_step_gain"]["value"] == pytest.approx(-2.0)
    assert set(experts.summarise({"place_half_step": samples["place_half_step"]})) == set()
    halved = experts.at_finer_step(TASKS["place"], 2)
    assert halved.scene.physics.timestep == TASKS["place"].scene.physics.timestep / 2
    raw = experts.measure("place_half_step", 1, quick=True, console=Console(io.StringIO()))
    assert raw == {"tries": 6, "failed": []}


def test_parts_put_obstacles_and_other_arms_into_the_same_tasks() -> None:
    assert {"wall", "post"} <= set(experts.RATES["insert_obstacles"]().scene.fixtures)
    assert experts.RATES["koch_lift"]().scene.robot == "koch"
    assert "sweep_obstacles" not in experts.PARTS
    raw = experts.measure("drawer_obstacles", 0, quick=True, console=Console(io.StringIO()))
    assert raw == {"tries": 6, "failed": []}
