"""The reward written by hand: it climbs along what experts do, and only the goal itself is all of it."""

from itertools import pairwise

import numpy as np
import pytest

from embodied.evaluation.staged_reward import BRING, GRASP, OPEN, REACH, StagedReward, stages
from embodied.evaluation.statistics import spearman
from envs.experts import expert
from envs.tasks import TASKS
from envs.types import ObjectState
from envs.worlds import TaskWorlds
from world_models.reward.analytic import AnalyticReward


@pytest.fixture(scope="module", params=["place", "stack"])
def lived(request) -> tuple[str, ObjectState]:
    """States `[N T]` of expert episodes that succeeded."""
    worlds = TaskWorlds(TASKS[request.param], 6, 3, threads=1)
    demonstrator, seen = expert(request.param), [worlds.observation.objects]
    for _ in range(worlds.task.horizon):
        action = demonstrator.act(worlds.observation, worlds.task.goal)
        seen.append(worlds.step(action).next_observation.objects)
    return request.param, ObjectState.stack(seen, axis=1)[worlds.task.goal.satisfied(seen[-1])]


def test_it_climbs_along_what_experts_do(lived):
    task, states = lived
    goal = TASKS[task].goal
    score = StagedReward().score(states, goal)
    for progress, success in zip(score.progress, score.success, strict=True):
        until = int(np.argmax(success)) + 1
        assert spearman(progress[:until], np.arange(until)) > 0.8
    np.testing.assert_array_equal(score.progress == 1.0, score.success)
    np.testing.assert_array_equal(score.success, AnalyticReward().score(states, goal).success)
    assert score.progress.min() >= 0.0


def test_every_stage_is_gone_through_in_its_order(lived):
    task, states = lived
    along = stages(states, TASKS[task].goal)
    edges = (0.0, REACH, REACH + GRASP, REACH + GRASP + BRING - 1e-9, 1.0 + 1e-9)
    reached = [np.argmax((along >= low) & (along < high), axis=1) for low, high in pairwise(edges)]
    assert (reached[0] == 0).all()
    assert (reached[2] > 2).all()
    assert (reached[3] > reached[2]).all()
    assert along.max() == pytest.approx(REACH + GRASP + BRING + OPEN) == 1.0
