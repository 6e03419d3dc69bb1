"""The deployment bench: what it counts, that it runs, and that twin and simulation draw the same physics."""

import io
from dataclasses import fields, replace

import numpy as np
import pytest

from embodied.bench import deploy
from embodied.console import Console
from envs.servo import SERVOS
from envs.tasks import task
from envs.variation import Variation
from envs.worlds import TaskWorlds
from robots.twin.arm import Arm, ArmConfig
from robots.twin.servo import USUAL_GAIN


def test_what_a_stopped_twin_did_not_come_to_has_failed():
    row = {"simulation": [True] * 4, "stops": [], "cut": {"speed": 10, "range": 20}, "steps": 150}
    rows = [row | {"twin": [True, True, True, False]}, row | {"twin": [True, True], "stops": ["hot"]}]
    figures = deploy.summarise({"nominal": rows, "randomised": rows[:1]})
    assert figures["twin_success"]["value"] == 5 / 8
    assert figures["sim_success"]["value"] == 1.0
    assert figures["gap"]["value"] == pytest.approx(37.5)
    assert figures["twin_randomised_success"]["value"] == 0.75
    assert figures["stops"]["value"] == 1
    assert figures["stops_randomised"]["value"] == 0
    assert figures["cut"]["value"] == 0.2
    assert figures["cut"]["seeds"] == 2
    assert set(figures) == {f"{name}{part}" for part in ("", "_randomised") for name in ("gap", "cut", "stops")} | {
        f"{side}{part}_success" for part in ("", "_randomised") for side in ("twin", "sim")
    }


def test_twin_and_simulation_draw_the_same_physics():
    arm = Arm(ArmConfig(variation=1.5))
    chosen = task("place")
    chosen = replace(chosen, scene=replace(chosen.scene, servo=SERVOS["firm"]))
    spread = (1 / 1.5, 1.5)
    worlds = TaskWorlds(chosen, 2, variation=Variation(mass=spread, friction=spread, servo_gain=spread))
    seeds = [2**31 + 3, 2**31 + 4]
    worlds.reset(seeds=seeds)
    for world, seed in enumerate(seeds):
        arm.lay(seed)
        truth, own = worlds.simulation.parameters, arm.simulation.parameters
        for field in fields(own):
            np.testing.assert_array_equal(getattr(own, field.name)[0], getattr(truth, field.name)[world])
        assert own.servo_gain.min() < 0.95
        arm.servos[0].memory["P_Coefficient"] = USUAL_GAIN
        arm.servos[0].write(40, b"\x01")
        arm.advance()
        # The emulated firmware drives the joints with the gains that were drawn.
        gain = arm.simulation.batch.expand("actuator_gainprm")[0, arm.simulation.scene.actuator, 0]
        assert gain[0] == pytest.approx(arm._drives.gain[0] * own.servo_gain[0, 0], rel=1e-6)


def test_the_expert_is_compared_from_the_same_beginnings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = deploy.compare("expert", 1.5, 1, 0, Console(io.StringIO()))
    assert found["simulation"] == [True]
    assert found["twin"] == [True]
    assert found["steps"] == 50
    assert found["stops"] == []


def test_after_a_stop_the_next_episode_begins(monkeypatch):
    begun = []

    def stopped(arguments, assignment, console):
        begun.append((arguments.first, arguments.episodes))
        over = len(begun) == 3
        count = arguments.episodes if over else 2
        each = [{"success": True, "steps": 50}] * (count - 1) + [{"success": over, "steps": 5}]
        return {"each": each, "fault": None if over else "it presses", "cut": {"range": 1}}

    monkeypatch.setattr(deploy, "carry_out", stopped)
    found = deploy.compare("expert", 1.0, 6, 0, Console(io.StringIO()))
    assert begun == [(0, 6), (2, 4), (4, 2)]
    assert found["twin"] == [True, False, True, False, True, True]
    assert found["stops"] == ["it presses"] * 2
    assert found["cut"] == {"range": 3}
