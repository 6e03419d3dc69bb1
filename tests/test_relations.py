"""What the reward network sees of a pair: the compiled features against their slow twin, and what must not matter."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tabletop import NAMES, random_tabletop, tabletop

from envs.errors import EmbodiedError
from envs.geometry import quat_from_yaw, quat_multiply, quat_rotate
from envs.goals import Goal
from world_models.reward.relations import FEATURES, MEASURES, Pairs, features, present
from world_models.reward.relations import NAMES as PREDICATES
from world_models.reward.relations_kernel import features_fast

EVERY = Goal.parse(
    "at(red_cube, 0.2, 0.1, 0.05) & at(red_cube, 0.01, 0.02, 0.03, frame=bin) & near(red_cube, target)"
    " & on(red_cube, blue_cube) & in(red_cube, bin) & above(red_cube, bin) & below(blue_cube, red_cube)"
    " & left_of(red_cube, blue_cube, frame=bin) & right_of(gripper, blue_cube)"
    " & in_front_of(red_cube, bin, frame=camera) & behind(red_cube, bin) & touching(gripper, red_cube)"
    " & touching(red_cube, bin) & grasped(blue_cube)"
    " & lifted(red_cube) & aligned(red_cube, blue_cube) & upright(red_cube) & static(blue_cube) & ~released(red_cube)"
).literals
CAMERA = {"camera": np.array([0.3, -0.2, 0.4, 0.9, 0.1, -0.3, 0.2]) / np.array([1, 1, 1, *[np.sqrt(0.95)] * 4])}
seeds = st.integers(0, 2**32 - 1)


@settings(max_examples=15)
@given(seeds)
def test_compiled_features_are_those_of_the_slow_twin(seed):
    rng = np.random.default_rng(seed)
    state = random_tabletop(rng, 2, 3)
    frames = {"camera": np.broadcast_to(CAMERA["camera"], (2, 3, 7))}
    pairs = Pairs.of(EVERY, state, frames)
    slow = features(state, pairs, frames)
    assert slow.shape == (2, 3, len(EVERY), len(FEATURES))
    assert np.isfinite(slow).all()
    np.testing.assert_allclose(features_fast(state, pairs, frames), slow, atol=2e-5)
    as_torch = features(state.map(torch.as_tensor), pairs, {"camera": torch.as_tensor(frames["camera"].copy())})
    np.testing.assert_allclose(as_torch.numpy(), slow, atol=1e-9)


@settings(max_examples=10)
@given(seeds)
def test_others_and_their_order_do_not_matter(seed):
    rng = np.random.default_rng(seed)
    state = random_tabletop(rng, 4)
    order = rng.permutation(len(NAMES))
    shuffled = replace(
        state.map(lambda array: array[:, order]), names=tuple(NAMES[i] for i in order), kind=state.kind[order]
    )
    literals = [one for one in EVERY if one.frame != "camera"]
    told = [features_fast(each, Pairs.of(literals, each)) for each in (state, shuffled)]
    np.testing.assert_array_equal(*told)
    about = Goal.parse("on(red_cube, blue_cube)").literals
    position = state.position_in_world.copy()
    position[:, NAMES.index("bin")] += 0.3
    moved = replace(state, position_in_world=position)
    np.testing.assert_array_equal(
        features_fast(state, Pairs.of(about, state)), features_fast(moved, Pairs.of(about, state))
    )


def test_a_turned_world_looks_the_same_in_a_frame_that_turns_with_it():
    state = random_tabletop(np.random.default_rng(0), 5)
    turn = np.broadcast_to(quat_from_yaw(np.asarray(0.7)), (5, len(NAMES), 4))
    turned = replace(
        state,
        position_in_world=quat_rotate(turn, state.position_in_world),
        quaternion_in_world=quat_multiply(turn, state.quaternion_in_world),
        linear_velocity_in_world=quat_rotate(turn, state.linear_velocity_in_world),
        angular_velocity_in_world=quat_rotate(turn, state.angular_velocity_in_world),
    )
    literals = Goal.parse("left_of(red_cube, blue_cube, frame=bin) & grasped(red_cube) & on(red_cube, bin)").literals
    pairs = Pairs.of(literals, state)
    before, after = features_fast(state, pairs), features_fast(turned, pairs)
    framed = [FEATURES.index(f"coarse_{name}") for name in MEASURES if name[:6] in ("offset", "shadow")]
    np.testing.assert_allclose(before[:, 0], after[:, 0], atol=1e-4)
    others = [i for i in range(len(FEATURES)) if FEATURES[i].partition("_")[2][:6] not in ("offset", "shadow")]
    np.testing.assert_allclose(before[..., others], after[..., others], atol=1e-4)
    assert abs(before[:, 1:, framed] - after[:, 1:, framed]).max() > 0.1, "the world's own axes do not turn with it"


def test_words_that_say_the_same_are_seen_the_same():
    state = random_tabletop(np.random.default_rng(1), 5)
    for one, other in (
        ("below(blue_cube, bin)", "above(bin, blue_cube)"),
        ("right_of(red_cube, bin, frame=blue_cube)", "left_of(bin, red_cube, frame=blue_cube)"),
        ("behind(red_cube, bin)", "in_front_of(bin, red_cube)"),
    ):
        pairs = [Pairs.of(Goal.parse(text).literals, state) for text in (one, other)]
        assert pairs[0].predicate == pairs[1].predicate
        np.testing.assert_array_equal(*(features_fast(state, each) for each in pairs))
    assert len(PREDICATES) == 14


def test_measures_by_hand():
    # 40 mm beside each other, cubes of 28 mm: 12 mm between faces; 0.1 m is 1 in the coarse view.
    state = tabletop(red_cube=(0.2, 0.04, 0.014), blue_cube=(0.2, 0.0, 0.014))
    (row,) = features(state, Pairs.of(Goal.parse("near(red_cube, blue_cube, 0.03)").literals, state))
    value = dict(zip(FEATURES, row, strict=True))
    expected = {"distance": 0.4, "gap": 0.12, "offset_y": 0.4, "shadow_y": 0.12, "bottom": 0.0, "tilt": 0.0}
    for name, number in expected.items():
        assert value[f"coarse_{name}"] == pytest.approx(number, abs=1e-9), name
    assert value["limit_distance"] == pytest.approx(np.tanh(-0.01 / 0.004))
    assert value["confidence_a"] == 1.0


def test_what_is_missing_is_told():
    state = tabletop()
    with pytest.raises(EmbodiedError, match="Unknown object 'green_cube'"):
        Pairs.of(Goal.parse("lifted(green_cube)").literals, state)
    with pytest.raises(EmbodiedError, match="Unknown frame 'camera'"):
        Pairs.of(Goal.parse("left_of(red_cube, bin, frame=camera)").literals, state)
    bare = replace(state.map(lambda array: array[4:]), names=NAMES[4:], kind=state.kind[4:])
    with pytest.raises(EmbodiedError, match="gripper with jaws"):
        Pairs.of(Goal.parse("touching(red_cube, bin) & grasped(red_cube)").literals, bare)
    away = replace(state, present=state.present & (np.arange(len(NAMES)) != NAMES.index("bin")))
    literals = Goal.parse("on(red_cube, bin) & lifted(red_cube) & left_of(red_cube, blue_cube, frame=bin)").literals
    np.testing.assert_array_equal(present(away, Pairs.of(literals, away)), [False, True, False])
