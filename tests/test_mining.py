"""Goals read off examples: which literals are found, and what tells them from others that hold as well."""

from dataclasses import replace

import numpy as np
import pytest
from tabletop import NAMES, held, tabletop

from embodied.evaluation.mined import read_off_pictures
from embodied.training.pixels import shipped_encoder
from envs.errors import EmbodiedError
from envs.goals import Goal
from envs.types import ObjectState
from world_models.reward.mining import mine

ON = np.array([0, 0, 0.028])
AWAY = {"gripper": (0.1, -0.2, 0.2), "fixed_jaw": (0.07, -0.2, 0.2), "moving_jaw": (0.13, -0.2, 0.2)}


def beginnings(rng, count=20):
    """The hand away, both cubes anywhere on the table, a bin and a target anywhere else."""
    states = []
    for _ in range(count):
        places = {name: (*rng.uniform((0.1, -0.3), (0.35, -0.05)), 0.014) for name in ("red_cube", "blue_cube")}
        states.append(tabletop(**AWAY, **places, target=(*rng.uniform((0.1, 0.0), (0.35, 0.08)), 0.014),
                               bin=(*rng.uniform((0.1, 0.16), (0.35, 0.3)), 0.022)))  # fmt: skip
    return ObjectState.stack(states)


def with_cube(states, name, place):
    """The same with a cube at `place` `[N 3]`."""
    position = states.position_in_world.copy()
    position[:, NAMES.index(name)] = place
    return replace(states, position_in_world=position)


def of(states, name):
    return states.position_in_world[:, NAMES.index(name)]


def jitter(rng, states, spread):
    return rng.normal(0, spread, (states.shape[0], 3)) * [1, 1, 0]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def literals(mined):
    return {str(one) for one in mined.goal.literals}


def test_support_is_found_and_not_what_comes_with_it(rng):
    starts = beginnings(rng)
    ends = with_cube(starts, "red_cube", of(starts, "blue_cube") + ON + jitter(rng, starts, 0.004))
    mined = mine(ends, starts)
    assert literals(mined) == {"on(red_cube, blue_cube)"}
    assert mined.explained == 1.0


def test_every_moved_object_is_spoken_of(rng):
    # Both literals fail in every beginning: one of them alone would tell successes from beginnings.
    starts = beginnings(rng)
    ends = with_cube(starts, "red_cube", of(starts, "bin") * [1, 1, 0] + [0, 0, 0.018] + jitter(rng, starts, 0.01))
    ends = with_cube(ends, "blue_cube", of(starts, "target") + jitter(rng, starts, 0.005))
    found = mine(ends, starts).goal
    assert {one.predicate for one in found.literals} >= {"near"}
    assert {one.arguments for one in found.literals} == {("red_cube", "bin"), ("blue_cube", "target")}
    for name in ("red_cube", "blue_cube"):
        back = with_cube(ends, name, of(starts, name))
        assert not np.asarray(found.satisfied(back)).any()
    assert np.asarray(found.satisfied(ends)).all()


def test_states_on_the_way_tell_that_letting_go_belongs_to_it(rng):
    ends = ObjectState.stack([tabletop(**AWAY, red_cube=(0.3, 0.1 + x, 0.014)) for x in rng.uniform(-0.01, 0.01, 8)])
    begun = ObjectState.stack([tabletop(red_cube=(*rng.uniform((0.1, -0.2), (0.2, 0.0)), 0.014)) for _ in range(8)])
    there = held(0.014)
    shift = np.zeros((len(NAMES), 3))
    shift[[NAMES.index(name) for name in ("gripper", "fixed_jaw", "moving_jaw", "red_cube")]] = [0.1, 0.1, 0.0]
    there = replace(there, position_in_world=there.position_in_world + shift)
    way = ObjectState.concat([begun, ObjectState.stack([there] * 4)])
    assert mine(ends, begun).goal.satisfied(there)
    assert not mine(ends, way).goal.satisfied(there)
    assert "released(red_cube)" in literals(mine(ends, way))
    assert mine(ends, way).explained == 1.0


def test_numbers_are_no_tighter_than_what_was_ruled_out(rng):
    near = ObjectState.stack([tabletop(**AWAY, red_cube=(0.3 + x, 0.1, 0.014)) for x in (0.002, 0.006, 0.008)])
    far = [tabletop(**AWAY, red_cube=(0.3 + x, 0.1, 0.014)) for x in (0.2, 0.1, 0.05, 0.0295)]
    assert literals(mine(near, ObjectState.stack(far[:3]))) == {"near(red_cube, target, 0.03)"}
    assert literals(mine(near, ObjectState.stack(far))) == {"near(red_cube, target, 0.02)"}


def test_one_example_of_twenty_may_be_wrong(rng):
    starts = beginnings(rng)
    ends = with_cube(starts, "red_cube", of(starts, "blue_cube") + ON)
    wrong = of(ends, "red_cube").copy()
    wrong[0] += [0.1, 0, 0]
    assert "on(red_cube, blue_cube)" in literals(mine(with_cube(ends, "red_cube", wrong), starts))


def test_where_the_hand_happened_to_stay_is_not_what_was_meant(rng):
    starts = beginnings(rng)
    there = of(starts, "target") + np.array([0.0295, 0, 0])
    ends = with_cube(with_cube(starts, "red_cube", there), "gripper", there)
    assert {one.arguments for one in mine(ends, starts).goal.literals} == {("red_cube", "target")}


def test_one_picture_of_the_end_says_what_is_asked_for():
    for read in read_off_pictures("place_bin", 3, 4, shipped_encoder()):
        assert str(read.goal) == "in(red_cube, bin)"
        assert read.recall == 1.0


def test_what_looks_alike_is_refused(rng):
    starts = beginnings(rng, 3)
    with pytest.raises(EmbodiedError, match="look alike"):
        mine(starts, starts)
    other = replace(starts, names=tuple(f"{name}_2" for name in NAMES))
    with pytest.raises(EmbodiedError, match="the same entities"):
        mine(starts, other)


def test_goals_print_and_parse(rng):
    starts = beginnings(rng)
    goal = mine(with_cube(starts, "red_cube", of(starts, "target")), starts).goal
    assert Goal.parse(str(goal)) == goal
