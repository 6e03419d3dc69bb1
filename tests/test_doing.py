"""The do-operator on simulated worlds: what an edit changes, feels like, leaves alone and refuses."""

import numpy as np
import pytest
from contracts import same
from three_cubes import GREEN, RED, SCENE, WORLDS, mid_contact, simulation

from envs.errors import EmbodiedError
from envs.interventions import Intervention


@pytest.fixture(scope="module")
def contact():
    """See `mid_contact`."""
    return mid_contact()


@pytest.mark.parametrize("text", [
    "move(red_cube, x=+0)", "move(red_cube, yaw=+0)", "gravity(z=-9.81)", "mass(red_cube, 0.025)",
    "friction(red_cube, 0.2)", "size(red_cube, 0.028)",
])  # fmt: skip
def test_edit_that_changes_nothing_keeps_every_bit(contact, text):
    made, state, actions, factual = contact
    made.restore(state)
    made.do(Intervention.parse(text))
    assert np.array_equal(made.save().rows, state.rows)
    assert all(same(made.step(action), expected) for action, expected in zip(actions, factual, strict=True))


def test_removed_object_is_masked_and_the_rest_does_not_notice(contact):
    made, state, actions, factual = contact
    made.restore(state)
    made.do(Intervention.parse("remove(green_cube)"))
    for action, expected in zip(actions, factual, strict=True):
        seen = made.step(action).objects
        assert not seen.present[:, GREEN].any()
        assert not seen.position_in_world[:, GREEN].any()
        others = [k for k in range(len(SCENE.names)) if k != GREEN]
        # Not to the bit: one solver serves all contacts and stops by their common cost.
        assert np.abs(seen.position_in_world - expected.objects.position_in_world)[:, others].max() < 1e-6
    parked = made.data(0).qpos[SCENE.qpos[GREEN] : SCENE.qpos[GREEN] + 3]
    assert np.abs(parked - SCENE.parking_pose[GREEN, :3]).max() < 1e-6


def test_do_acts_on_the_chosen_worlds_alone(contact):
    made, state, actions, factual = contact
    made.restore(state)
    made.do(Intervention.parse("move(green_cube, x=+0.03, yaw=+0.5)"), [1])
    seen = made.step(actions[0])
    shift = seen.objects.position_in_world[1, GREEN] - factual[0].objects.position_in_world[1, GREEN]
    assert shift == pytest.approx((0.03, 0.0, 0.0), abs=1e-4)
    for world in (0, 2, 3):
        assert same(seen[world : world + 1], factual[0][world : world + 1])


def test_edits_world_by_world_are_edits_at_once(contact):
    made, state, actions, _ = contact
    rows = []
    for turns in ([[0, 2]], [[2], [0]]):
        made.restore(state)
        for worlds in turns:
            made.do(Intervention.parse("remove(green_cube)"), worlds)
        made.step(actions[0])
        rows.append(made.save().rows)
    np.testing.assert_array_equal(*rows)


def test_declared_properties_are_shown_and_felt():
    made = simulation()
    made.do(Intervention.parse("mass(red_cube, 0.5)"), [0])
    made.do(Intervention.parse("friction(red_cube, 0.9)"), [1])
    made.do(Intervention.parse("size(green_cube, 0.04)"), [2])
    objects = made.observe().objects
    assert objects.mass[:, RED].tolist() == [0.5, 0.025, 0.025, 0.025]
    assert objects.friction[:, RED].tolist() == [0.2, 0.9, 0.2, 0.2]
    assert np.allclose(objects.half_extents[2, GREEN], 0.02)
    assert np.isclose(objects.position_in_world[2, GREEN, 2], 0.02)
    models = {world: made.model(world).body_inertia[SCENE.body[RED]].copy() for world in (0, 3)}
    assert np.allclose(models[0], 20.0 * models[3])
    green = made.model(2).body_inertia[SCENE.body[GREEN]]
    assert np.allclose(green, 0.025 / 3 * 2 * 0.02**2)
    for _ in range(5):
        seen = made.step(np.zeros((WORLDS, 5)))
    assert np.isclose(seen.objects.position_in_world[2, GREEN, 2], 0.02, atol=1.1e-3)
    # A sliding cube stops after v^2 / (2 mu g), give or take a control step's discretisation.
    made.do(Intervention.parse("velocity(red_cube, x=0.4)"), [1, 3])
    before = made.observe().objects.position_in_world[:, RED, 0]
    for _ in range(6):
        seen = made.step(np.zeros((WORLDS, 5)))
    slid = seen.objects.position_in_world[:, RED, 0] - before
    assert slid[1] == pytest.approx(0.16 / (2 * 0.9 * 9.81), rel=0.35)
    assert slid[3] == pytest.approx(0.16 / (2 * 0.2 * 9.81), rel=0.35)


def test_velocity_and_gravity():
    made = simulation()
    made.do(Intervention.parse("velocity(green_cube, x=0.1, z=0.5, yaw=2)"), [0])
    objects = made.observe().objects
    assert np.allclose(objects.linear_velocity_in_world[0, GREEN], (0.1, 0.0, 0.5))
    assert np.allclose(objects.angular_velocity_in_world[0, GREEN], (0.0, 0.0, 2.0))
    made.do(Intervention.parse("gravity(z=1)"), [1])
    for _ in range(3):
        seen = made.step(np.zeros((WORLDS, 5)))
    assert seen.objects.position_in_world[1, GREEN, 2] == pytest.approx(0.014 + 0.5 * 0.3**2, abs=0.005)
    assert seen.objects.position_in_world[2, GREEN, 2] == pytest.approx(0.014, abs=1e-3)


@pytest.mark.parametrize(("text", "solid"), [
    ("move(green_cube, to, x=0.22, y=0.02)", "red_cube"),
    ("move(green_cube, z=-0.005)", "table"),
    ("move(bin, to, x=0.22, y=0.02)", "red_cube"),
    ("size(red_cube, 0.05)", "blue_cube"),
])  # fmt: skip
def test_overlap_is_refused_by_name_and_depth(text, solid):
    made = simulation()
    before = made.save()
    with pytest.raises(EmbodiedError, match=rf" mm into {solid} \(world 0\)"):
        made.do(Intervention.parse(text))
    assert np.array_equal(made.save().rows, before.rows)


def test_action_interventions_belong_to_the_plan():
    with pytest.raises(EmbodiedError, match="edit_actions"):
        simulation(1).do(Intervention.parse("action(hold)"))
