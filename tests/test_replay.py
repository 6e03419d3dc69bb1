"""Replay: uniform draws, honest relabelling, and a ring that survives saving in the middle of episodes."""

from dataclasses import replace

import numpy as np
import pytest
from toy_worlds import NAMES, ToyTask, ToyWorlds, toy_episodes

from embodied.data.replay import Replay
from envs.errors import EmbodiedError
from envs.features import GOAL_SIZE, goal_features, observation_features
from envs.goals import Goal
from envs.types import Kind

GOAL = ToyTask().goal
TARGET, CUBE = NAMES.index("target"), NAMES.index("red_cube")


def filled(relabel: float = 0.8, goal: Goal = GOAL, episodes: int = 6, capacity: int = 8) -> Replay:
    shown = toy_episodes(episodes, noise=0.3)
    replay = Replay(capacity, 20, goal, shown[0].observation[0:1], 5, relabel)
    for episode in shown:
        replay.add(episode)
    return replay


def goal_points(batch_state: np.ndarray) -> np.ndarray:
    """The goal points that went into the features, recovered from them."""
    return batch_state[:, -GOAL_SIZE : -GOAL_SIZE + 3] / 10.0 + np.array([0.24, 0.0, 0.04])


def test_without_relabelling_samples_are_the_recorded_transitions():
    replay, shown = filled(relabel=0.0), toy_episodes(6, noise=0.3)
    batch = replay.sample(400, np.random.default_rng(0), imitate=True)
    expected = {}
    for episode in shown:
        objects = episode.observation.objects
        features = observation_features(episode.observation, "red_cube")
        to_goal = goal_features(objects.position_in_world[:, TARGET], objects.position_in_world[:, CUBE])
        states = np.concatenate([features, to_goal], axis=1).astype(np.float32)
        for t in range(20):
            key = states[t].round(3).tobytes()
            expected[key] = (states[t + 1], episode.action[t], 0.0 if episode.success[t + 1] else -1.0)
    for i in range(400):
        following, action, reward = expected[batch.state[i].round(3).tobytes()]
        np.testing.assert_allclose(batch.next_state[i], following, atol=1e-4)
        np.testing.assert_allclose(batch.action[i], action, atol=1e-6)
        assert batch.reward[i] == reward
    assert batch.clone.any()
    assert batch.discount.all()


def test_every_transition_is_equally_likely():
    replay = filled(episodes=3, capacity=3)
    replay._length[1] = 5
    replay._edges = None
    slot, step = replay.draw(45_000, np.random.default_rng(0))
    counts = np.zeros((3, 20))
    np.add.at(counts, (slot, step), 1)
    assert counts[1, 5:].sum() == 0
    held = np.concatenate([counts[0], counts[1, :5], counts[2]])
    assert abs(held - 1000).max() < 150


def test_relabelled_goals_are_places_the_cube_reached_later_and_rewards_follow():
    replay = filled(relabel=1.0)
    rng = np.random.default_rng(0)
    state_before = rng.bit_generator.state
    batch = replay.sample(500, rng)
    rng.bit_generator.state = state_before
    slot, step = replay.draw(500, rng)
    cube = replay.observation(np.repeat(slot, 21), np.tile(np.arange(21), 500)).objects.position_in_world[:, CUBE]
    cube = cube.reshape(500, 21, 3)
    goals = goal_points(batch.state)
    later = np.arange(21) > step[:, None]
    distance = np.where(later, np.linalg.norm(cube - goals[:, None], axis=-1), np.inf)
    assert distance.min(axis=1).max() < 1e-5
    after = cube[np.arange(500), step + 1]
    near = np.linalg.norm(after - goals, axis=1)
    clear = abs(near - 0.02) > 1e-5
    np.testing.assert_array_equal(batch.reward[clear], np.where(near < 0.02, 0.0, -1.0)[clear])
    assert not replay.sample(50, rng, imitate=True).clone.any()
    assert 0.05 < (batch.reward == 0).mean() < 0.95


def test_fast_success_equals_the_goal_evaluated_on_moved_states():
    goal = Goal.parse("near(red_cube, target, 0.03) & lifted(red_cube, 0.001) & ~near(gripper, target, 0.01)")
    replay = filled(relabel=1.0, goal=goal)
    rng = np.random.default_rng(3)
    state_before = rng.bit_generator.state
    batch = replay.sample(300, rng)
    rng.bit_generator.state = state_before
    slot, step = replay.draw(300, rng)
    objects = replay.observation(slot, step + 1).objects
    position = np.array(objects.position_in_world)
    position[:, TARGET] = goal_points(batch.next_state)
    margin = goal.margin(replace(objects, position_in_world=position))
    clear = abs(margin) > 1e-5
    np.testing.assert_array_equal((batch.reward == 0)[clear], (margin > 0)[clear])
    assert (batch.reward == 0).any()


def test_only_outcomes_that_could_have_been_a_success_become_goals():
    goal = Goal.parse("near(red_cube, target, 0.02) & lifted(red_cube, 0.004)")
    replay = filled(relabel=1.0, goal=goal)
    slot, step = replay.draw(400, np.random.default_rng(1))
    later, chosen = replay._choose_later(slot, step, np.random.default_rng(2))
    height = replay.observation(slot, later).objects.position_in_world[:, CUBE, 2]
    assert 0 < chosen.mean() < 1
    assert np.all(height[chosen] > 0.018)
    assert np.all(later[chosen] > step[chosen])


def test_a_bin_is_never_moved_in_hindsight():
    shown = toy_episodes(2)
    kinds = np.array(shown[0].observation.objects.kind)
    kinds[TARGET] = Kind.BIN
    example = shown[0].observation[0:1]
    example = replace(example, objects=replace(example.objects, kind=kinds))
    assert not Replay(2, 20, GOAL, example, 5).can_relabel
    lift = Replay(2, 20, Goal.parse("lifted(red_cube, 0.03)"), shown[0].observation[0:1], 5)
    lift.add(shown[0])
    assert not lift.can_relabel
    assert lift.sample(16, np.random.default_rng(0)).reward.max() == -1.0


def test_only_successes_are_imitated():
    shown = [replace(episode, action=0.0 * episode.action + i) for i, episode in enumerate(toy_episodes(2))]
    objects = shown[1].observation.objects
    position = np.array(objects.position_in_world)
    position[-1, CUBE] += 0.1
    dropped = replace(shown[1].observation, objects=replace(objects, position_in_world=position))
    replay = Replay(2, 20, GOAL, shown[0].observation[0:1], 5, relabel=0.0)
    replay.add(shown[0])
    replay.add(replace(shown[1], observation=dropped))
    batch = replay.sample(64, np.random.default_rng(0), imitate=True)
    np.testing.assert_array_equal(batch.clone, 1.0 - batch.action[:, 0])
    assert not replay.sample(64, np.random.default_rng(0)).clone.any()


def test_growing_ring_overwrites_the_oldest_and_continues_after_saving():
    def grow(replay: Replay, worlds: ToyWorlds, slots: np.ndarray, steps: range) -> np.ndarray:
        for step in steps:
            if step % 20 == 0:
                slots = replay.begin(worlds.reset())
            action = np.full((2, 5), 0.1 * (step % 7) - 0.3)
            replay.extend(slots, action, worlds.step(action).next_observation)
        return slots

    worlds = ToyWorlds(2, seed=0)
    whole = Replay(6, 20, GOAL, worlds.observation, 5)
    slots = grow(whole, worlds, np.arange(2), range(33))
    assert len(whole) == 2 * 33
    half = Replay(6, 20, GOAL, worlds.observation, 5)
    half.load_state_dict(whole.state_dict())
    saved = worlds.state_dict()
    grow(whole, worlds, slots, range(33, 90))
    worlds.load_state_dict(saved)
    grow(half, worlds, slots, range(33, 90))
    assert len(whole) == len(half) == 2 * (20 + 20 + 10)
    one, other = (r.sample(64, np.random.default_rng(0)) for r in (whole, half))
    np.testing.assert_array_equal(one.pack(), other.pack())


def test_labels_of_the_demonstrator_are_kept_apart_from_actions():
    episode = toy_episodes(1)[0]
    replay = Replay(1, 20, GOAL, episode.observation[0:1], 5, relabel=0.0)
    replay.add(episode, label=episode.action * 0.5)
    batch = replay.sample(50, np.random.default_rng(0), imitate=True)
    np.testing.assert_allclose(batch.label, batch.action * 0.5, atol=1e-6)


def test_refusals():
    worlds = ToyWorlds(3)
    replay = Replay(3, 2, GOAL, worlds.observation, 5)
    with pytest.raises(EmbodiedError, match="no transitions yet"):
        replay.sample(4, np.random.default_rng(0))
    slots = replay.begin(worlds.observation)
    for _ in range(2):
        replay.extend(slots, np.zeros((3, 5)), worlds.observation)
    with pytest.raises(EmbodiedError, match="longer than the replay's horizon of 2"):
        replay.extend(slots, np.zeros((3, 5)), worlds.observation)
    worlds.tool[1, 0] = np.nan
    worlds.step(np.zeros((3, 5)))
    with pytest.raises(EmbodiedError, match="world 1 is not finite"):
        replay.begin(worlds.observation)
    with pytest.raises(EmbodiedError, match="3 worlds need a replay of at least 3 episodes; it has 1"):
        Replay(1, 2, GOAL, worlds.observation, 5).begin(worlds.observation)
    with pytest.raises(EmbodiedError, match="this configuration holds up to 3"):
        replay.load_state_dict(filled().state_dict())
