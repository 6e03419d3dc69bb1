"""The grasp bench measures what it says: a firm hold lifts, a slippery one does not, and figures carry intervals."""

from dataclasses import replace

import numpy as np
import pytest

from embodied.bench import grasp
from envs.scene import SceneConfig, build_scene
from envs.servo import SERVOS


def test_a_scripted_pick_lifts_and_holds():
    picks = grasp.pick(build_scene(), np.random.default_rng(0), side=3)
    assert picks.lifted.all()
    assert np.nanmax(picks.slip) < 5e-4
    assert np.median(picks.tracking[:, grasp.SETTLED]) < 2e-3
    assert picks.microseconds > 0


def test_a_gripper_without_force_lifts_nothing():
    scene = build_scene(SceneConfig(servo=replace(SERVOS["firm"], gripper_force_limit=1e-3)))
    picks = grasp.pick(scene, np.random.default_rng(0), side=3)
    assert not picks.lifted.any()
    assert np.isnan(picks.slip).all()


def test_figures_pool_rates_and_leave_out_what_was_not_lifted():
    run = {"successes": 9, "tries": 9, "slips": [0.1, 0.3], "tracking": 0.8, "step_time": 200.0}
    none = {"successes": 0, "tries": 9, "slips": [], "tracking": 0.8, "step_time": 220.0}
    figures = grasp.summarise({"discrete_10ms": [run, none]})
    assert figures["discrete_10ms_lift"]["value"] == pytest.approx(50.0)
    assert figures["discrete_10ms_lift"]["interval"][0] < 30.0
    assert figures["discrete_10ms_slip_median"]["value"] == pytest.approx(0.2)
    assert figures["discrete_10ms_slip_median"]["seeds"] == 1
