"""The planning bench: what it counts, and that everything it times and compares runs."""

import io

import numpy as np
import pytest
import torch
from slot_scenes import shaken

from embodied.agents.oracle import Oracle
from embodied.bench import plan
from embodied.bench.whatif import world_config
from embodied.console import Console
from embodied.evaluation.statistics import difference, wilson
from embodied.training.members import model_config
from envs import tasks
from envs.worlds import TaskWorlds
from world_models.cjepa.ensemble import Ensemble
from world_models.cjepa.model import WorldModel


def test_gap_is_what_mujoco_achieves_beyond_the_model():
    row = {"cpu": [1.0, 3.0], "decisions": [0.02, 0.03, 0.5]}
    success = {"mujoco": [True] * 4, "model": [True] * 3 + [False], "realtime": [True, False, False, False]}
    figures = plan.summarise({"boxes": [row], "push": [row | {"success": success}] * 2})
    assert figures["cpu_seconds_full"]["value"] == 2.0
    assert figures["boxes_realtime_ms"]["value"] == pytest.approx(30.0)
    assert figures["cpg_push"]["value"] == 25.0
    assert figures["realtime_push_loss"]["value"] == 50.0
    assert figures["mujoco_push_success"]["value"] == 1.0
    assert figures["cpg_push"]["interval"][0] < 25.0 < figures["cpg_push"]["interval"][1]
    assert figures["cpg_push"]["seeds"] == 2


def test_difference_of_rates_has_newcombes_interval():
    # The first example of his table II.
    apart = difference(wilson(56, 70), wilson(48, 80))
    assert (apart.value, apart.low, apart.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=1e-4)
    certain = difference(wilson(24, 24), wilson(24, 24))
    assert certain.low < -0.1
    assert certain.high > 0.1


def test_mujoco_as_a_model_foresees_exactly_what_happens():
    worlds = TaskWorlds(tasks.task("push"), 2, seed=1, threads=1)
    outlook = Oracle(worlds.simulation, 3, threads=1).begin(worlds.observation.map(lambda array: array[:, None]))
    plans = np.random.default_rng(0).uniform(-1.0, 1.0, (2, 3, 4, 5))
    futures, doubt = outlook(plans)
    assert doubt is None
    for step in range(4):
        seen = worlds.step(plans[:, 1, step]).next_observation.objects
        np.testing.assert_array_equal(futures.position_in_world[:, 1, step + 1], seen.position_in_world)
    # What it has foreseen has changed nothing, and it can be asked about fewer plans than it has copies for.
    again, _ = Oracle(worlds.simulation, 3, threads=1).begin(worlds.observation)(plans[:, :1])
    np.testing.assert_array_equal(again.position_in_world[:, 0, 0], seen.position_in_world)


@pytest.mark.parametrize("part", ["boxes", "push"])
def test_everything_that_is_measured_runs(part):
    config = world_config("boxes" if part == "boxes" else "tabletop", 0, True)
    torch.manual_seed(0)
    model = Ensemble([shaken(WorldModel(model_config(config)), 0)])
    raw = plan.ask(part, model, config, True, Console(io.StringIO()))
    figures = plan.summarise({part: [raw]})
    assert all(np.isfinite(each["value"]) for each in figures.values())
    if part == "push":
        assert {name: len(each) for name, each in raw["success"].items()} == {"mujoco": 2, "model": 2, "realtime": 2}
        assert raw["success"] == plan.ask(part, model, config, True, Console(io.StringIO()))["success"]


def test_the_real_time_preset_is_one_of_the_agents():
    preset = plan.realtime()
    assert preset.candidates * preset.iterations < plan.FULL.candidates
