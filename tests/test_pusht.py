"""Push-T: exact worlds, the published success test, stable collection, and a clear error without the extra."""

import math
import sys

import numpy as np
import pytest
from pusht_extra import needs_pusht

from embodied.data.pusht import FACES, Aimless, Pusher, collect, way_round
from envs import pusht
from envs.errors import EmbodiedError
from envs.pusht import PushT, clearance, corners, outline_inside, random_state, solved, wrap


def pushed(world, rng, steps=30):
    """States and actions of an agent that drives at the block."""
    states, actions = [world.state], []
    for _ in range(steps):
        state = states[-1]
        actions.append(np.clip(state[:2] + np.clip(state[2:4] - state[:2] + rng.normal(0, 40, 2), -100, 100), 0, 512))
        states.append(world.step(actions[-1]))
    return np.stack(states), np.stack(actions)


@needs_pusht
def test_a_restored_state_has_one_future():
    world, other, rng = PushT(), PushT(), np.random.default_rng(0)
    for _ in range(3):
        start = random_state(rng)
        world.restore(start)
        np.testing.assert_allclose(world.state, start, rtol=0, atol=1e-11)
        states, actions = pushed(world, rng)
        assert np.linalg.norm(states[-1, 2:4] - states[0, 2:4]) > 10.0
        np.testing.assert_array_equal(world.rollout(start, actions), states)
        pushed(other, rng, steps=5)
        np.testing.assert_array_equal(other.rollout(start, actions), states)


@needs_pusht
def test_the_published_seven_numbers_are_a_state_at_rest():
    world = PushT()
    world.restore(np.array([100.0, 120.0, 250.0, 260.0, 1.0, 30.0, -20.0]))
    np.testing.assert_allclose(world.state, [100, 120, 250, 260, 1, 30, -20, 0, 0, 0], atol=1e-11)


@needs_pusht
@pytest.mark.parametrize("state", [np.zeros(5), np.full(10, np.nan), np.zeros((2, 10))])
def test_what_is_no_state_is_refused(state):
    with pytest.raises(EmbodiedError, match="7 or 10 finite numbers"):
        PushT().restore(state)


@needs_pusht
def test_stepping_is_gym_pushts_own():
    world, own, rng = PushT(), PushT(), np.random.default_rng(1)
    start = random_state(rng)
    world.restore(start)
    own.restore(start)
    states, actions = pushed(world, rng)
    for state, action in zip(states[1:], actions, strict=True):
        own._env.step(action)
        np.testing.assert_array_equal(own.state, state)


@needs_pusht
def test_targets_off_the_table_are_clipped():
    world, start = PushT(), np.array([60.0, 60.0, 300.0, 300.0, 0.0, 0.0, 0.0])
    far = world.rollout(start, np.full((5, 2), -900.0))
    np.testing.assert_array_equal(far, world.rollout(start, np.zeros((5, 2))))


@needs_pusht
def test_geometry_is_the_simulations():
    world, rng = PushT(), np.random.default_rng(2)
    for _ in range(20):
        state = random_state(rng)
        world.restore(state)
        block = world._env.block
        points = [block.local_to_world(vertex) for shape in block.shapes for vertex in shape.get_vertices()]
        assert {tuple(np.round(point, 6)) for point in points} == {
            tuple(np.round(state[2:4] + pusht_turn(state[4]) @ corner, 6)) for corner in corners()
        }
        agent = rng.uniform(0, 512, 2)
        nearest = min(shape.point_query(tuple(agent)).distance for shape in block.shapes)
        assert clearance(agent, state[2:4], state[4]) == pytest.approx(nearest - 15.0, abs=1e-6)


def pusht_turn(angle):
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


@needs_pusht
def test_pictures_show_where_the_agent_is():
    world = PushT()
    world.restore(np.array([128.0, 384.0, 350.0, 150.0, 0.5, 0.0, 0.0]))
    picture = world.image(96)
    assert picture.shape == (96, 96, 3)
    assert picture.dtype == np.uint8
    assert picture[72, 24, 2] > picture[72, 24, 0] + 80
    assert picture.min() < picture.max()


def test_without_the_extra_the_error_names_the_cure(monkeypatch):
    monkeypatch.setitem(sys.modules, "gym_pusht", None)
    monkeypatch.setitem(sys.modules, "gym_pusht.envs", None)
    monkeypatch.setitem(sys.modules, "gym_pusht.envs.pusht", None)
    with pytest.raises(EmbodiedError, match=r"pip install -e '\.\[pusht\]'.*--no-deps 'gym-pusht"):
        PushT()


GOAL = np.array([100.0, 100.0, 200.0, 200.0, math.pi - 0.1])


@pytest.mark.parametrize(
    ("change", "met"),
    [
        ((0, 0, 0, 0, 0), True),
        ((19.9, 0, 0, 0, 0), True),
        ((20.1, 0, 0, 0, 0), False),
        ((10, 10, 10, 9.9, 0), True),
        # Agent and block share one tolerance: 14.2 and 14.2 px are together 20.1.
        ((0, 14.2, 14.2, 0, 0), False),
        ((0, 0, 0, 0, math.radians(19.9)), True),
        ((0, 0, 0, 0, math.radians(20.1)), False),
        ((0, 0, 0, 0, -math.radians(20.1)), False),
        ((0, 0, 0, 0, 0.2 - 2 * math.pi), True),
        ((0, 0, 0, 0, 6 * math.pi + 0.3), True),
        ((0, 0, 0, 0, 3 * math.pi), False),
    ],
)
def test_the_published_success(change, met):
    assert bool(solved(GOAL + change, GOAL)) is met
    assert bool(solved(GOAL, GOAL + change)) is met


def test_success_is_told_row_by_row():
    states = np.stack([GOAL, GOAL + np.array([30, 0, 0, 0, 0])])
    np.testing.assert_array_equal(solved(states, GOAL), [True, False])


def test_angles_wrap_into_the_half_open_circle():
    np.testing.assert_allclose(
        wrap(np.array([0.0, math.pi, -math.pi, 1.5 * math.pi])), [0, math.pi, math.pi, -math.pi / 2]
    )


def test_faces_are_the_outline():
    rng = np.random.default_rng(0)
    for start, end, normal in FACES:
        for share in rng.uniform(0.0, 1.0, 5):
            point = (1 - share) * np.array(start) + share * np.array(end)
            outside, inside = (clearance(point + step * np.array(normal), np.zeros(2), 0.0) for step in (1e-3, -1e-3))
            assert outside == pytest.approx(-14.999, abs=1e-6)
            assert inside == pytest.approx(-15.001, abs=1e-6)


def test_starts_touch_nothing():
    rng = np.random.default_rng(0)
    for _ in range(100):
        state = random_state(rng)
        assert clearance(state[:2], state[2:4], state[4]) > 1.0
        assert outline_inside(state[2:4], state[4])


def test_the_way_round_does_not_touch():
    state = np.array([256.0, 80.0, 256.0, 200.0, 0.0] + [0.0] * 5)
    goal, place = np.array([256.0, 380.0]), state[:2]
    for _ in range(10):
        heading = way_round(place, goal, state)
        assert (clearance(np.linspace(place, heading, 20), state[2:4], state[4]) > 0.0).all()
        place = heading
        if place is goal:
            break
    assert place is goal


@needs_pusht
def test_collection_is_stable_and_moves_the_block():
    data = collect(4, seed=3, steps=40, weak_share=0.5)
    again = collect(2, seed=3, steps=40, weak_share=0.5)
    np.testing.assert_array_equal(data.states[:2], again.states)
    np.testing.assert_array_equal(data.actions[:2], again.actions)
    np.testing.assert_array_equal(data.weak[:2], again.weak)
    np.testing.assert_array_equal(data.parts[:, :, -1], data.states[:, 1:])
    assert not np.array_equal(data.states, collect(4, seed=4, steps=40).states)
    assert (np.abs(data.actions - data.states[:, :-1, :2]) <= 100.0 + 1e-9).all()
    moved = np.linalg.norm(data.states[:, -1, 2:4] - data.states[:, 0, 2:4], axis=-1)
    assert (moved > 20.0).any()


def test_policies_stay_within_reach_and_table():
    rng = np.random.default_rng(0)
    for policy in (Pusher(rng), Aimless(rng)):
        for _ in range(50):
            state = random_state(rng)
            action = policy.act(state)
            assert ((action >= 0.0) & (action <= pusht.SIDE)).all()
            assert (np.abs(action - state[:2]) <= 100.0 + 1e-9).all()
