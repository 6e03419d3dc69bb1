"""Eased beginnings: held objects stay held, the rest begins as ever, and one world's draw is its own."""

import numpy as np
import pytest

from envs.control import GRIPPER_RANGE
from envs.errors import EmbodiedError
from envs.experts import CLOSED
from envs.headstart import HOVER, HeadStart
from envs.tasks import TASKS, task
from envs.worlds import TaskWorlds


def layouts(head_start: HeadStart, count: int = 60):
    generators = [[np.random.default_rng((7, world)) for world in range(count)] for _ in range(2)]
    plain = TASKS["place_air"].layout(generators[0])
    return plain, head_start.apply(TASKS["place_air"].layout(generators[1]), 0, generators[1])


def distance(worlds: TaskWorlds):
    objects = worlds.observation.objects
    position = objects.position_in_world
    return position[:, objects.index("gripper")] - position[:, objects.index("red_cube")]


def test_a_held_cube_stays_in_jaws_that_stay_closed_and_comes_along():
    worlds = TaskWorlds(task("place_air"), 16, threads=1, head_start=HeadStart(1.0, 0.0))
    before = worlds.observation.objects.position_in_world[:, worlds.observation.objects.index("red_cube"), 2]
    low, high = GRIPPER_RANGE
    action = np.zeros((16, 5))
    action[:, 2], action[:, 4] = 0.8, 2.0 * (CLOSED - low) / (high - low) - 1.0
    for _ in range(3):
        worlds.step(action)
    after = worlds.observation.objects.position_in_world[:, worlds.observation.objects.index("red_cube"), 2]
    assert np.linalg.norm(distance(worlds), axis=1).max() < 0.008
    assert (after - before).min() > 0.02


def test_a_hovering_hand_is_over_the_cube():
    worlds = TaskWorlds(task("place_air"), 32, threads=1, head_start=HeadStart(0.0, 1.0))
    apart = distance(worlds)
    assert np.abs(apart[:, :2]).max() < 0.008
    assert apart[:, 2].min() > -0.001
    assert apart[:, 2].max() < HOVER + 0.001
    assert np.ptp(apart[:, 2]) > 0.02


def test_shares_are_kept_and_the_others_begin_as_the_task_says():
    plain, eased = layouts(HeadStart(0.3, 0.2))
    moved = (plain.object_position != eased.object_position).any(axis=(1, 2))
    changed = (plain.joints != eased.joints).any(axis=1)
    assert 0.15 < moved.mean() < 0.45
    assert 0.35 < changed.mean() < 0.65
    assert changed[moved].all()
    np.testing.assert_array_equal(plain.goal_position, eased.goal_position)
    alone = [np.random.default_rng((7, 5))]
    only = HeadStart(0.3, 0.2).apply(TASKS["place_air"].layout(alone), 0, alone)
    np.testing.assert_array_equal(only.joints[0], eased.joints[5])


def test_refusals():
    with pytest.raises(EmbodiedError, match="within 0 and 1 together"):
        layouts(HeadStart(0.8, 0.4))
    with pytest.raises(EmbodiedError, match="'reach' moves no object"):
        TaskWorlds(task("reach"), 1, threads=1, head_start=HeadStart())
