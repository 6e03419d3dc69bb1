"""Interventions: their text, the identities of the do-operator, and one meaning on every back end."""

from dataclasses import fields

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tabletop import KINDS, NAMES, random_tabletop, tabletop

from envs.errors import EmbodiedError
from envs.geometry import half_height, quat_multiply, yaw_of
from envs.interventions import KINDS as WORDS
from envs.interventions import Intervention, apply_to_state, edit_actions

RED, BLUE = NAMES.index("red_cube"), NAMES.index("blue_cube")
ARRAYS = [field.name for field in fields(tabletop()) if field.name not in ("names", "kind")]
any_float = st.floats(-5, 5, allow_subnormal=False)
positive = st.floats(0.001, 5)


def some(names, value):
    return st.dictionaries(st.sampled_from(names), value, min_size=1)


def edits(entity, kinds=("move", "to", "remove", "mass", "friction", "size", "velocity")):
    """A strategy for interventions on an entity's state."""
    made = {
        "move": st.builds(Intervention, st.just("move"), st.just(entity), some(("x", "y", "z", "yaw"), any_float)),
        "to": some(("x", "y", "z", "yaw"), any_float).map(lambda v: Intervention("move", entity, v, mode="to")),
        "remove": st.just(Intervention("remove", entity)),
        "mass": positive.map(lambda v: Intervention("mass", entity, {"value": v})),
        "friction": positive.map(lambda v: Intervention("friction", entity, {"value": v})),
        "size": some(("x", "y", "z"), positive).map(lambda v: Intervention("size", entity, v)),
        "velocity": some(("x", "y", "z", "yaw"), any_float).map(lambda v: Intervention("velocity", entity, v)),
    }
    return st.one_of(*(made[kind] for kind in kinds))


anything = st.one_of(
    edits("red_cube"),
    st.integers(0, 30).map(lambda t: Intervention("move", "bin", {"x": 0.1}, t)),
    some(("x", "y", "z"), any_float).map(lambda v: Intervention("gravity", None, v)),
    positive.map(lambda v: Intervention("gain", None, {"factor": v})),
    st.integers(0, 30).map(lambda t: Intervention("action", None, step=t, mode="hold")),
    st.integers(1, 30).map(lambda n: Intervention("action", None, {"steps": n}, mode="delay")),
    any_float.map(lambda v: Intervention("action", None, {"factor": v}, mode="scale")),
    st.just(Intervention("action", mode="mirror")),
)
seeds = st.integers(0, 2**32 - 1)


def same(a, b, but=None, exact=True):
    """Whether two states agree in every field, perhaps except on one entity."""
    keep = [i for i in range(len(NAMES)) if i != but]
    for name in ARRAYS:
        x, y = (np.asarray(getattr(s, name)) for s in (a, b))
        axis = x.ndim - 2 if x.shape[-2:-1] == (len(NAMES),) else x.ndim - 1
        x, y = np.take(x, keep, axis), np.take(y, keep, axis)
        if exact:
            np.testing.assert_array_equal(x, y, err_msg=name)
        elif name == "quaternion_in_world":
            # q and -q are the same orientation.
            turned = np.where((x * y).sum(-1, keepdims=True) < 0.0, -y, y)
            np.testing.assert_allclose(x, turned, atol=1e-12, err_msg=name)
        else:
            np.testing.assert_allclose(x, y, atol=1e-12, err_msg=name)


@settings(max_examples=200, deadline=None)
@given(anything)
def test_text_comes_back(edit):
    assert Intervention.parse(str(edit)) == edit
    assert hash(Intervention.parse(str(edit))) == hash(edit)


@pytest.mark.parametrize(
    "text",
    [
        "move(red_cube, x=+0.05)",
        "move(red_cube, x=+0.05, y=-0.01, yaw=+0.3, t=4)",
        "move(red_cube, to, x=0.2, y=-0.1)",
        "remove(blue_cube)",
        "mass(red_cube, 0.3)",
        "friction(table, 0)",
        "size(red_cube, 0.04)",
        "size(red_cube, x=0.04, z=0.02)",
        "velocity(red_cube, x=0.2, yaw=1)",
        "gravity(z=-1.62)",
        "gain(0.5, t=2)",
        "action(hold, t=10)",
        "action(delay, 3)",
        "action(scale, 0.5)",
        "action(mirror)",
    ],
)
def test_canonical_text_is_kept(text):
    assert str(Intervention.parse(text)) == text


def test_order_of_arguments_does_not_matter():
    assert Intervention.parse("action(t=10, hold)") == Intervention("action", step=10, mode="hold")
    assert Intervention.parse("move(red_cube, y=+1, x=+2)") == Intervention("move", "red_cube", {"x": 2, "y": 1})
    assert Intervention("gravity", None, {"z": -1.62}).gravity == (0.0, 0.0, -1.62)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mov(red_cube, x=+1)", "Unknown intervention 'mov'. Did you mean 'move'?"),
        ("move(red_cube)", "'move' is incomplete or has an object too many: write move(red_cube, x=+0.05)"),
        ("move(red_cube, x=0.1)", "write x=+0.1 to shift by it, or move(..., to, x=0.1) to put it there"),
        ("move(red_cube, over, x=+0.1)", "Unknown kind of 'move' 'over'. Allowed: by, to"),
        ("move(x=+1)", "write move(red_cube, x=+0.05)"),
        ("move(red_cube, q=+1)", "'move' does not take 'q'; it takes x, y, z, yaw"),
        ("move(red_cube, x=+inf)", "'x' must be finite"),
        ("remove()", "write remove(red_cube)"),
        ("remove(red_cube, blue_cube)", "'remove' takes no word 'blue_cube': write remove(red_cube)"),
        ("remove(red_cube, 1)", "Too many arguments"),
        ("mass(red_cube)", "write mass(red_cube, 0.3)"),
        ("mass(red_cube, 0)", "'mass' needs a positive number"),
        ("friction(red_cube, -0.1)", "'friction' needs a positive number"),
        ("size(red_cube, 0)", "'size' needs a positive number"),
        ("gravity(red_cube, z=1)", "'gravity' takes no word 'red_cube'"),
        ("gravity(3)", "write gravity(z=-1.62)"),
        ("action()", "Allowed: delay, hold, mirror, scale"),
        ("action(delay, 1.5)", "A delay is a whole number of steps, got 1.5"),
        ("remove(red_cube, t=-1)", "must not be negative, got -1"),
        ("remove(red_cube, t=0.5)", "must be a whole number, got 0.5"),
        ("remove(red_cube", "a `)` is missing"),
        ("hold", "Expected a call with parentheses"),
    ],
)
def test_bad_text_is_told_off_in_one_sentence(text, message):
    with pytest.raises(EmbodiedError) as error:
        Intervention.parse(text)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_only_what_can_be_changed_is_changed():
    for text in ("move(gripper, x=+0.1)", "remove(table)", "mass(bin, 1)", "friction(gripper, 0.1)"):
        with pytest.raises(EmbodiedError, match="cannot act on"):
            apply_to_state(Intervention.parse(text), tabletop())
    with pytest.raises(EmbodiedError, match="Unknown object 'green_cube'"):
        Intervention.parse("remove(green_cube)").check(NAMES, KINDS)
    with pytest.raises(EmbodiedError, match="must be finite"):
        Intervention("move", "red_cube", {"x": float("nan")})
    Intervention.parse("friction(table, 0.1)").check(NAMES, KINDS)


@settings(max_examples=60, deadline=None)
@given(edits("red_cube"), seeds)
def test_other_entities_keep_their_bits(edit, seed):
    before = random_tabletop(np.random.default_rng(seed), 3)
    copy = before.map(np.copy)
    after = apply_to_state(edit, before)
    same(before, after, but=RED)
    same(before, copy)


@settings(max_examples=30, deadline=None)
@given(some(("x", "y", "z", "yaw"), any_float), seeds)
def test_moving_there_and_back_is_nothing(shift, seed):
    before = random_tabletop(np.random.default_rng(seed), 3)
    there = apply_to_state(Intervention("move", "red_cube", shift), before)
    back = apply_to_state(Intervention("move", "red_cube", {k: -v for k, v in shift.items()}), there)
    same(before, back, exact=False)


@settings(max_examples=30, deadline=None)
@given(edits("red_cube", ("to", "remove", "mass", "friction", "size", "velocity")), seeds)
def test_setting_twice_is_setting_once(edit, seed):
    once = apply_to_state(edit, random_tabletop(np.random.default_rng(seed), 3))
    same(once, apply_to_state(edit, once), exact=False)


@settings(max_examples=30, deadline=None)
@given(edits("red_cube"), edits("blue_cube"), seeds)
def test_edits_of_different_entities_commute(red, blue, seed):
    state = random_tabletop(np.random.default_rng(seed), 3)
    same(apply_to_state(blue, apply_to_state(red, state)), apply_to_state(red, apply_to_state(blue, state)))


@settings(max_examples=60, deadline=None)
@given(edits("red_cube"), seeds, st.sampled_from([None, 0, 1, -1]))
def test_torch_equals_numpy(edit, seed, time_axis):
    state = random_tabletop(np.random.default_rng(seed), 2, 4)
    after = apply_to_state(edit, state, time_axis)
    as_torch = apply_to_state(edit, state.map(torch.as_tensor), time_axis)
    same(after, as_torch, exact=False)
    assert as_torch.position_in_world.dtype == torch.float64


def present(seed, *batch):
    state = random_tabletop(np.random.default_rng(seed), *batch)
    state.present[...] = True
    return state


@settings(max_examples=30, deadline=None)
@given(edits("red_cube", ("move", "to")), seeds)
def test_a_history_is_moved_as_one(edit, seed):
    before = present(seed, 2, 5)
    after = apply_to_state(edit, before, time_axis=1)
    shift = (after.position_in_world - before.position_in_world)[..., RED, :]
    np.testing.assert_allclose(shift, np.broadcast_to(shift[:, :1], shift.shape), atol=1e-12)
    same_turn = [yaw_of(s.quaternion_in_world[..., RED, :]) for s in (before, after)]
    np.testing.assert_array_equal(before.linear_velocity_in_world, after.linear_velocity_in_world)
    if edit.mode == "to":
        values = edit.values
        for axis, name in enumerate("xyz"):
            if name in values:
                np.testing.assert_allclose(after.position_in_world[:, -1, RED, axis], values[name], atol=1e-12)
        if "yaw" in values:
            difference = same_turn[1][:, -1] - values["yaw"]
            np.testing.assert_allclose(np.sin(difference / 2), 0, atol=1e-9)
    turns = quat_multiply(after.quaternion_in_world, before.quaternion_in_world * [1, -1, -1, -1])[..., RED, :]
    np.testing.assert_allclose(turns, np.broadcast_to(turns[:, :1], turns.shape), atol=1e-12)


def test_absolute_moves_differ_per_frame_without_a_time_axis():
    after = apply_to_state(Intervention.parse("move(red_cube, to, x=0.3)"), present(0, 5))
    np.testing.assert_allclose(after.position_in_world[:, RED, 0], 0.3)


def test_a_turn_takes_the_spin_along_and_leaves_the_velocity():
    state = present(5)
    state.angular_velocity_in_world[RED] = (1.0, 0, 0.5)
    after = apply_to_state(Intervention("move", "red_cube", {"yaw": np.pi / 2}), state)
    np.testing.assert_allclose(after.angular_velocity_in_world[RED], (0, 1.0, 0.5), atol=1e-15)
    np.testing.assert_array_equal(after.linear_velocity_in_world, state.linear_velocity_in_world)


def test_removed_entities_leave_nothing():
    after = apply_to_state(Intervention("remove", "red_cube"), present(0, 3))
    for name in set(ARRAYS) - {"quaternion_in_world"}:
        assert not getattr(after, name)[:, RED].any(), name
    np.testing.assert_array_equal(after.quaternion_in_world[:, RED], [[1.0, 0, 0, 0]] * 3)
    assert after.present.dtype == bool
    moved = apply_to_state(Intervention.parse("move(red_cube, x=+1)"), after)
    same(after, moved)


def test_a_resized_box_stands_where_it_stood():
    before = present(3, 6)
    after = apply_to_state(Intervention.parse("size(red_cube, 0.05)"), before)
    np.testing.assert_array_equal(after.half_extents[:, RED], np.full((6, 3), 0.025))
    bottom = [
        s.position_in_world[:, RED, 2] - half_height(s.quaternion_in_world[:, RED], s.half_extents[:, RED])
        for s in (before, after)
    ]
    np.testing.assert_allclose(*bottom, atol=1e-14)


def test_declared_mass_friction_and_velocity_are_set():
    state = present(4, 2)
    assert (apply_to_state(Intervention.parse("mass(red_cube, 0.3)"), state).mass[:, RED] == 0.3).all()
    assert (apply_to_state(Intervention.parse("friction(table, 0.2)"), state).friction[:, 0] == 0.2).all()
    moving = apply_to_state(Intervention.parse("velocity(red_cube, y=0.2, yaw=1)"), state)
    np.testing.assert_array_equal(moving.linear_velocity_in_world[:, RED, 1], 0.2)
    np.testing.assert_array_equal(moving.angular_velocity_in_world[:, RED, 2], 1.0)
    kept = moving.linear_velocity_in_world[:, RED, 0]
    np.testing.assert_array_equal(kept, state.linear_velocity_in_world[:, RED, 0])


@settings(max_examples=40, deadline=None)
@given(anything, seeds)
def test_actions_before_the_step_and_other_kinds_keep_their_bits(edit, seed):
    actions = np.random.default_rng(seed).uniform(-1, 1, (2, 12, 5))
    edited = edit_actions(edit, actions)
    assert edited.shape == actions.shape
    np.testing.assert_array_equal(edited[:, : edit.step], actions[:, : edit.step])
    assert (np.abs(edited) <= 1).all()
    np.testing.assert_array_equal(edit_actions(edit, torch.as_tensor(actions)).numpy(), edited)
    if edit.kind != "action":
        np.testing.assert_array_equal(edited, actions)


def test_what_each_edit_of_actions_does():
    actions = np.arange(1, 31).reshape(6, 5) / 40.0
    still = np.zeros((6, 4))
    hold = edit_actions(Intervention.parse("action(hold, t=2)"), actions)
    np.testing.assert_array_equal(hold[2:, :4], still[2:])
    np.testing.assert_array_equal(hold[2:, 4], actions[1, 4])
    late = edit_actions(Intervention.parse("action(delay, 2, t=1)"), actions)
    np.testing.assert_array_equal(late[3:], actions[1:4])
    np.testing.assert_array_equal(late[1:3], [[0, 0, 0, 0, actions[0, 4]]] * 2)
    never = edit_actions(Intervention.parse("action(delay, 99)"), actions)
    np.testing.assert_array_equal(never[:, :4], still)
    half = edit_actions(Intervention.parse("action(scale, 0.5)"), actions)
    np.testing.assert_array_equal(half, actions * [0.5, 0.5, 0.5, 0.5, 1])
    mirrored = edit_actions(Intervention.parse("action(mirror)"), actions)
    np.testing.assert_array_equal(mirrored, actions * [1, -1, 1, -1, 1])


def test_what_each_edit_of_planar_actions_does():
    actions = np.arange(1, 13).reshape(6, 2) / 20.0
    hold = edit_actions(Intervention.parse("action(hold, t=2)"), actions)
    np.testing.assert_array_equal(hold[2:], 0.0)
    late = edit_actions(Intervention.parse("action(delay, 2, t=1)"), actions)
    np.testing.assert_array_equal(late[1:], [[0, 0], [0, 0], *actions[1:4]])
    np.testing.assert_array_equal(edit_actions(Intervention.parse("action(scale, 0.5)"), actions), actions / 2)
    np.testing.assert_array_equal(edit_actions(Intervention.parse("action(mirror)"), actions), actions * [1, -1])


def test_a_hold_from_the_start_keeps_the_previous_gripper():
    actions, previous = np.ones((3, 4, 5)), np.full((3, 5), 0.25)
    held = edit_actions(Intervention.parse("action(hold)"), actions, previous)
    np.testing.assert_array_equal(held[..., :4], 0.0)
    np.testing.assert_array_equal(held[..., 4], 0.25)
    alone = edit_actions(Intervention.parse("action(hold)"), actions)
    np.testing.assert_array_equal(alone[..., 4], 1.0)


def test_every_kind_is_tried_here():
    assert set(WORDS) == {"move", "remove", "mass", "friction", "size", "velocity", "action", "gravity", "gain"}
