"""Worlds of a task: streams of episodes, exact continuation, hidden variation."""

import numpy as np
import pytest

from envs.control import JointDelta
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


def test_factors_are_set_or_frozen_by_name_at_reset() -> None:
    worlds = TaskWorlds(TASKS["lift"], 2, variation=Variation.parse("mass, gravity, servo_delay=0..0.04"), threads=1)
    worlds.reset(seeds=[1, 2])
    free = worlds.simulation.parameters
    before = {name: array.copy() for name, array in worlds.factors.items()}
    worlds.reset(seeds=[1, 2], fixed={"mass": 1.5, "gravity": None})
    now = worlds.simulation.parameters
    np.testing.assert_allclose(now.mass, 1.5 * 0.025)
    np.testing.assert_array_equal(now.gravity[:, 2], [-9.81, -9.81])
    # What is not named stays as the seed has it.
    np.testing.assert_array_equal(now.servo_delay, free.servo_delay)
    assert (worlds.factors["mass"] == 1.5).all()
    assert "gravity" not in worlds.factors
    worlds.reset(seeds=[1, 2])
    for name, array in worlds.factors.items():
        np.testing.assert_array_equal(array, before[name])
    with pytest.raises(EmbodiedError, match="Did you mean 'mass'"):
        worlds.reset(fixed={"mas": 1.0})
    with pytest.raises(EmbodiedError, match=r"servo_delay must be 0 to 0\.04 s"):
        worlds.reset(fixed={"servo_delay": 0.2})


def test_a_layout_is_frozen_alone_and_varied_alone() -> None:
    worlds = TaskWorlds(TASKS["place"], 3, variation=Variation(mass=(0.5, 2.0)), threads=1)
    worlds.reset(seeds=[5, 6, 7])
    mass, seeds = worlds.factors["mass"].copy(), worlds.simulation.seeds
    start = worlds.observation.objects.position_in_world
    worlds.reset(seeds=[5, 6, 7], fixed={"layout": 5})
    frozen = worlds.observation.objects.position_in_world
    np.testing.assert_array_equal(frozen, np.repeat(start[:1], 3, axis=0))
    np.testing.assert_array_equal(worlds.factors["mass"], mass)
    assert len(set(worlds.simulation.seeds)) == len(set(seeds)) == 3
    plain = TaskWorlds(TASKS["place"], 3, threads=1)
    np.testing.assert_array_equal(plain.reset(seeds=[5, 6, 7]).objects.position_in_world, start)


def test_an_episode_begins_again_from_its_beginning() -> None:
    varied = Variation.parse("physical")
    worlds = TaskWorlds(TASKS["push"], 3, seed=4, variation=varied, threads=1)
    worlds.reset(np.array([1]))
    beginning, plan = worlds.beginnings[1], actions(6, 3)
    assert beginning == (4, 1, 1)
    for action in plan:
        worlds.step(action)
    alone = TaskWorlds(TASKS["push"], 1, seed=99, variation=varied, threads=1)
    alone.reset(seeds=[beginning])
    for action in plan:
        alone.step(action[1:2])
    np.testing.assert_array_equal(alone.simulation.save().rows[0], worlds.simulation.save().rows[1])


def test_play_is_taken_up_before_a_joint_follows() -> None:
    worlds = TaskWorlds(TASKS["reach"], 2, control=JointDelta(), threads=1)
    worlds.variation = Variation(backlash=(0.02, 0.02))
    worlds.reset(np.array([1]), seeds=[0])
    worlds.reset(np.array([0]), seeds=[0], fixed={"backlash": None})
    simulation = worlds.simulation
    start = simulation.joint_target
    ahead, back = np.zeros((2, 6)), np.zeros((2, 6))
    ahead[:, 0], back[:, 0] = 1.0, -1.0
    for action in (ahead, ahead * 0, back * 0.1):
        worlds.step(action)
    target, column = simulation.joint_target, simulation.batch.bind("ctrl")[:, 0]
    np.testing.assert_allclose(target[:, 0], start[:, 0] + 0.15 * 0.9)
    # In world 1 the joint stands half the play behind, and a small step back is within it.
    np.testing.assert_allclose(column, start[:, 0] + [0.135, 0.14])
    seen = worlds.observation.proprioception[:, 12:18]
    np.testing.assert_allclose(seen, target)
    copy = TaskWorlds(TASKS["reach"], 2, control=JointDelta(), threads=1)
    copy.simulation.restore(simulation.save())
    copy.simulation.step(back)
    simulation.step(back)
    np.testing.assert_array_equal(copy.simulation.save().rows, simulation.save().rows)
