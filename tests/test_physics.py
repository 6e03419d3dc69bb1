"""The simulated world is honest: what is held stays held, solids stay apart, nothing gains energy from nowhere, and
servos answer like the published ones. The measurements are those of `embodied bench physics`."""

from dataclasses import replace

import numpy as np
import pytest

from embodied.bench import physics
from envs.servo import SERVOS
from envs.tasks import TASKS
from envs.worlds import TaskWorlds


def test_a_held_cube_slips_less_than_a_millimetre_in_ten_seconds() -> None:
    simulation, slips = physics.hold(6, seed=3)
    assert all(slip is not None and slip < 1e-3 for slip in slips)
    assert physics.deepest(simulation) < 2e-3


def test_piles_do_not_sink_into_each_other() -> None:
    worlds = TaskWorlds(TASKS["clutter"], 8, seed=2, threads=1)
    assert physics.deepest(worlds.simulation) < 2e-3


def test_what_the_arm_presses_on_does_not_sink_in() -> None:
    """A cube under closed jaws that go on down, which at contacts soft all the way sank by 10 mm."""
    simulation = physics.pressed()
    assert simulation.observe().objects.position_in_world[0, simulation.scene.index("red_cube"), 2] > 0.010
    assert physics.deepest(simulation) < 4e-3


@pytest.mark.parametrize("name", physics.SHAPES)
def test_a_thing_that_tumbles_and_bounces_only_loses_energy(name: str) -> None:
    flight, start = physics.throw(name, np.random.default_rng(0))
    assert flight < 1e-6
    assert start < 1e-6


@pytest.mark.parametrize("name", physics.IDENTIFIED)
@pytest.mark.parametrize("step", [0.2, 1.2])
def test_servos_answer_a_step_as_they_were_identified(name: str, step: float) -> None:
    own, theirs = physics.answer(SERVOS[name], step), physics.published(physics.IDENTIFIED[name], step)
    assert np.sqrt(np.mean((own - theirs) ** 2)) < 0.015 * step
    assert physics.rise(own, step) == pytest.approx(physics.rise(theirs, step), abs=0.01)
    # Another servo's answer is told apart.
    other = physics.answer(replace(SERVOS[name], damping=0.3), step)
    assert np.sqrt(np.mean((other - theirs) ** 2)) > 0.05 * step


def test_a_load_leaves_a_servo_short_by_its_gain() -> None:
    firm = SERVOS["firm"]
    assert abs(physics.answer(firm, 0.0, physics.LOAD)[-1]) == pytest.approx(physics.LOAD / firm.kp, rel=1e-3)


def test_figures_keep_the_worst_and_count_what_fell() -> None:
    figures = physics.summarise({
        "hold": [{"slips": [1e-4, 3e-4], "depth": 1e-3}, {"slips": [2e-4, None], "depth": 2e-3}],
        "energy": [{"flight": [-1e-3, -2e-3], "start": [0.0, 1e-3]}],
    })  # fmt: skip
    assert figures["held_10s"]["value"] == pytest.approx(75.0)
    assert figures["slip_10s_largest"]["value"] == pytest.approx(0.3)
    assert figures["depth_held"]["value"] == pytest.approx(2.0)
    assert figures["energy_gain_over_flight"]["value"] == pytest.approx(-0.1)
    assert figures["energy_gain_over_start"]["value"] == pytest.approx(0.1)
