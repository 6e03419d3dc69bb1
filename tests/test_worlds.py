"""Worlds of a task: streams of episodes, exact continuation, hidden variation."""

import numpy as np
import pytest

from envs.errors import EmbodiedError
from envs.tasks import TASKS
from envs.variation import Variation
from envs.worlds import TaskWorlds


def actions(steps: int, worlds: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (steps, worlds, 5))


def test_continuing_from_a_state_is_bit_identical() -> None:
    first, second = (TaskWorlds(TASKS["place"], 3, seed=7, threads=1) for _ in range(2))
    plan = actions(12, 3)
    for action in plan[:6]:
        first.step(action)
    second.load_state_dict(first.state_dict())
    for action in plan[6:]:
        a, b = first.step(action), second.step(action)
    np.testing.assert_array_equal(a.next_observation.proprioception, b.next_observation.proprioception)
    first.reset()
    second.reset()
    np.testing.assert_array_equal(
        first.observation.objects.position_in_world, second.observation.objects.position_in_world
    )


def test_each_world_has_its_own_stream_of_episodes() -> None:
    worlds = TaskWorlds(TASKS["lift"], 2, seed=1, threads=1)
    start = worlds.observation.objects.position_in_world[:, -1]
    again = worlds.reset(np.array([1])).objects.position_in_world[:, -1]
    np.testing.assert_array_equal(start[0], again[0])
    assert not np.array_equal(start[1], again[1])
    assert not np.array_equal(start[0], start[1])


def test_truncation_comes_at_the_horizon() -> None:
    worlds = TaskWorlds(TASKS["reach"], 2, threads=1)
    ended = [worlds.step(action).truncated.all() for action in actions(worlds.task.horizon, 2)]
    assert ended == [False] * (worlds.task.horizon - 1) + [True]


def test_variation_is_seeded_and_hidden() -> None:
    heavy = Variation(mass=(2.0, 3.0))
    worlds = TaskWorlds(TASKS["lift"], 4, variation=heavy, threads=1)
    worlds.reset(seeds=[1, 2, 3, 4])
    true = worlds.simulation.parameters.mass[:, 0]
    assert (true > 0.05).all()
    assert len(np.unique(true)) == 4
    declared = worlds.observation.objects.mass[:, -1]
    np.testing.assert_allclose(declared, 0.025)
    worlds.reset(seeds=[1, 2, 3, 4])
    np.testing.assert_array_equal(worlds.simulation.parameters.mass[:, 0], true)


def test_seeds_must_match_the_worlds() -> None:
    worlds = TaskWorlds(TASKS["lift"], 2, threads=1)
    with pytest.raises(EmbodiedError, match="3 seeds were given for 2 worlds"):
        worlds.reset(seeds=[1, 2, 3])
