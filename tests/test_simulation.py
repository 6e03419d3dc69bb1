"""N worlds stepped together: their contract, snapshots, beginnings, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
from contracts import check_simulation, same
from three_cubes import BLUE, GREEN, RED, SCENE, WORLDS, layout, mid_contact, pushing, simulation

from envs.control import CartesianDelta, JointAbsolute, JointDelta
from envs.errors import EmbodiedError
from envs.interventions import Intervention
from envs.parameters import Parameters
from envs.robot import HOME
from envs.scene import build_scene
from envs.servo import SERVOS
from envs.simulation import Simulation
from envs.variation import Variation
from envs.world_states import SimulationState


@pytest.fixture(scope="module")
def contact():
    """See `mid_contact`."""
    return mid_contact()


def test_contract():
    check_simulation(simulation(), pushing(steps=8))


def test_contract_with_variation_and_absences():
    made = simulation()
    nominal = Parameters.nominal(SCENE, WORLDS)
    varied = Variation(mass=(0.5, 2.0), friction=(0.5, 1.0), size=(0.9, 1.1), servo_gain=(0.8, 1.2), gravity=(0.9, 1.1))
    present = np.array([[True, True, False], [True, False, True], [True, True, True], [True, False, False]])
    made.reset(layout(present=present, parameters=varied.sample(nominal, np.random.default_rng(0))))
    check_simulation(made, pushing(steps=8))


@pytest.mark.parametrize("control", [JointDelta(), JointAbsolute()])
def test_contract_with_other_controllers(control):
    home = np.zeros((6, WORLDS, 6))
    check_simulation(simulation(control=control), home + np.random.default_rng(0).uniform(-0.2, 0.2, home.shape))


def test_delayed_servo_lags_and_replays():
    scene = build_scene(replace(SCENE.config, servo=replace(SERVOS["firm"], delay=0.02)))
    delayed, prompt = simulation(scene=scene), simulation()
    action = np.zeros((WORLDS, 5))
    action[:, 1] = 1.0
    # A fresh world holds still: the history is filled with the start command, not with zeros.
    still = delayed.save()
    held = delayed.step(np.full((WORLDS, 5), [0, 0, 0, 0, 0.7 / 0.45 - 1]))
    assert np.abs(held.proprioception[:, :5] - np.array(HOME)[:5]).max() < 0.01
    delayed.restore(still)
    start = delayed.observe().proprioception[:, 0]
    late, early = delayed.step(action).proprioception[:, 0], prompt.step(action).proprioception[:, 0]
    assert (np.abs(late - start) < 0.8 * np.abs(early - start)).all()
    check_simulation(delayed, pushing(steps=6))


def test_replay_equals_the_factual_branch(contact):
    made, state, actions, factual = contact
    made.restore(state)
    assert all(same(made.step(action), expected) for action, expected in zip(actions, factual, strict=True))


@pytest.mark.parametrize(("worlds", "threads"), [(1, 1), (3, 2)])
def test_state_continues_in_another_simulation(contact, worlds, threads):
    _, state, actions, factual = contact
    other = Simulation(SCENE, worlds, threads)
    other.restore(SimulationState(np.array(state[2].rows.tolist()), state.scene))
    for action, expected in zip(actions, factual, strict=True):
        seen = other.step(np.repeat(action[2:3], worlds, axis=0))
        for world in range(worlds):
            assert same(seen[world : world + 1], expected[2:3])


def test_state_with_other_physics_continues_in_a_nominal_simulation():
    made, actions = simulation(), pushing()
    for text in ("mass(red_cube, 0.1)", "friction(blue_cube, 0.15)", "size(red_cube, x=0.02)", "remove(green_cube)",
                 "gravity(z=-3)"):  # fmt: skip
        made.do(Intervention.parse(text), [1, 3])
    for action in actions[:8]:
        made.step(action)
    state = made.save()
    factual = [made.step(action) for action in actions[8:]]
    other = Simulation(SCENE, WORLDS, 2)
    other.restore(state)
    assert all(same(other.step(action), expected) for action, expected in zip(actions[8:], factual, strict=True))
    # And back: a world restored to nominal physics is as if it had never been varied.
    fresh = simulation()
    nominal = fresh.save()
    expected = [fresh.step(action) for action in actions]
    other.restore(nominal)
    assert all(same(other.step(action), wanted) for action, wanted in zip(actions, expected, strict=True))


def test_threads_do_not_change_bits():
    one, two = simulation(), Simulation(SCENE, WORLDS, threads=2)
    two.reset(layout())
    assert all(same(one.step(action), two.step(action)) for action in pushing(steps=10))


def test_some_worlds_are_observed_as_among_all(contact):
    made, state, _, _ = contact
    made.restore(state)
    made.do(Intervention.parse("remove(green_cube)"), [2])
    made.do(Intervention.parse("mass(red_cube, 0.05)"), [0])
    whole = made.observe()
    assert whole.objects.present[:, GREEN].tolist() == [world != 2 for world in range(WORLDS)]
    assert whole.objects.mass[0, SCENE.index("red_cube")] == 0.05
    for ids in ([2, 0], [3]):
        assert same(made.observe(ids), whole[ids])


@pytest.mark.parametrize("absent", [False, True])
def test_a_step_is_its_parts(absent):
    one, other = simulation(), simulation()
    loose = Variation(backlash=(0.01, 0.03)).sample(Parameters.nominal(SCENE, WORLDS), np.random.default_rng(0))
    present = np.ones((WORLDS, 3), bool)
    present[1, 2] = not absent
    for made in (one, other):
        made.reset(layout(parameters=loose, present=present))
    for action in pushing(steps=10):
        whole, parts = one.step(action), [other.observe() for _ in other.parts(action)]
        assert same(whole, parts[-1])
    np.testing.assert_array_equal(one.save().rows, other.save().rows)


def test_bad_actions_are_named():
    made = simulation(3)
    action = np.zeros((3, 5))
    action[1, 2] = np.nan
    with pytest.raises(EmbodiedError, match="world 1 has z = nan"):
        made.step(action)
    with pytest.raises(EmbodiedError, match=r"\(3, 5\)"):
        made.step(np.zeros((2, 5)))
    assert (made.observe().time == 0).all()


def test_reset_begins_anew_in_the_chosen_worlds():
    made, actions = simulation(), pushing()
    untouched = [made.step(action) for action in actions[:6]]
    made.do(Intervention.parse("mass(red_cube, 1)"))
    made.reset(layout(1, seed=np.array([7])), [2])
    objects = made.observe().objects
    assert made.observe().time[2] == 0.0
    assert objects.mass[2, RED] == 0.025
    assert made.observe().time[1] == untouched[-1].time[1]
    fresh = Simulation(SCENE, 1)
    fresh.reset(layout(1, seed=np.array([7])))
    assert np.array_equal(fresh.save().rows, made.save([2]).rows)
    assert all(same(made.step(action)[2:3], fresh.step(action[2:3])) for action in actions)


def test_varied_sizes_rest_where_nominal_ones_would():
    varied = Variation(size=(0.6, 1.6)).sample(Parameters.nominal(SCENE, WORLDS), np.random.default_rng(0))
    made = simulation()
    made.reset(layout(parameters=varied))
    seen = made.observe().objects
    green = seen.position_in_world[:, GREEN, 2]
    assert np.allclose(green, varied.half_extents[:, 2, 2])
    assert np.array_equal(seen.half_extents[:, GREEN], varied.half_extents[:, 2])
    settled = made.step(np.zeros((WORLDS, 5))).objects.position_in_world[:, GREEN, 2]
    assert np.abs(settled - green).max() < 1.1e-3


def test_hidden_variation_is_not_shown():
    varied = Variation(mass=(2.0, 2.0), friction=(0.5, 0.5)).sample(
        Parameters.nominal(SCENE, WORLDS), np.random.default_rng(0)
    )
    made = simulation()
    made.reset(layout(parameters=varied, mass=np.full((WORLDS, 3), 0.03)))
    seen = made.observe().objects
    assert (seen.mass[:, [RED, BLUE, GREEN]] == 0.03).all()
    assert (seen.friction[:, RED] == 0.2).all()
    assert np.allclose(made.parameters.mass, 0.05)
    # What an intervention declares, it also makes true.
    made.do(Intervention.parse("mass(red_cube, 0.1)"), [1])
    assert made.observe().objects.mass[1, RED] == made.parameters.mass[1, 0] == 0.1


def test_no_worlds_is_no_work():
    made = simulation()
    before = made.save()
    made.reset(layout(0), np.zeros(0, np.int64))
    made.restore(made.save([]), [])
    made.do(Intervention.parse("remove(red_cube)"), [])
    made.settle([])
    assert np.array_equal(made.save().rows, before.rows)


def test_settle_keeps_time():
    made = simulation()
    position = layout().object_position.copy()
    position[:, 2, 2] = 0.03
    made.reset(layout(object_position=position))
    made.settle([0, 1], 0.4)
    seen = made.observe()
    assert (seen.time == 0).all()
    assert seen.objects.position_in_world[0, GREEN, 2] == pytest.approx(0.014, abs=1e-3)
    assert seen.objects.position_in_world[2, GREEN, 2] == pytest.approx(0.03)


def test_world_streams_are_saved():
    made = simulation()
    made.reset(layout(seed=np.arange(WORLDS)))
    first = made.generator(1).random()
    state = made.save()
    second = made.generator(1).random()
    made.restore(state)
    assert made.generator(1).random() == second != first


@pytest.mark.parametrize(("ids", "message"), [([0, 0], "distinct"), ([9], "0..3"), ([0.5], "integers")])
def test_bad_worlds_are_refused(ids, message):
    with pytest.raises(EmbodiedError, match=message):
        simulation().save(ids)


def test_bad_states_and_layouts_are_refused():
    made = simulation()
    state = made.save()
    with pytest.raises(EmbodiedError, match="another scene"):
        made.restore(SimulationState(state.rows, "other"))
    with pytest.raises(EmbodiedError, match="state of shape"):
        made.restore(SimulationState(state.rows[:, 1:]))
    with pytest.raises(EmbodiedError, match="joints has shape"):
        made.reset(layout(), [0])
    with pytest.raises(EmbodiedError, match="joints must be finite"):
        made.reset(layout(joints=np.full((WORLDS, 6), np.nan)))
    with pytest.raises(EmbodiedError, match="length zero"):
        made.reset(layout(object_quaternion=np.zeros((WORLDS, 3, 4))))
    crowded = layout().object_position
    crowded[2, 2] = crowded[2, 0] + (0.01, 0.0, 0.0)
    with pytest.raises(EmbodiedError, match=r"In world 2 .* red_cube and green_cube overlap by 18 mm"):
        made.reset(layout(object_position=crowded))
    made.reset(layout(object_position=crowded, present=np.tile([True, True, False], (WORLDS, 1))))
    with pytest.raises(EmbodiedError, match="at least one"):
        Simulation(SCENE, 0)
    with pytest.raises(EmbodiedError, match="whole number of physics steps"):
        Simulation(SCENE, 1, control=CartesianDelta(rate=7.0))


def test_divergence_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # MuJoCo logs its warning into the working directory
    made = simulation()
    state = made.save()
    state.rows[2, 1] = np.inf
    made.restore(state)
    with pytest.raises(EmbodiedError, match="worlds 2 diverged"):
        made.step(np.zeros((WORLDS, 5)))
