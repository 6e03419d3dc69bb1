"""Gymnasium's own checker passes for every id, and one engine stands under both faces."""

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from envs import GYM_IDS
from envs.errors import EmbodiedError
from envs.geometry import quat_to_matrix
from envs.gym import TabletopVectorEnv, flatten


@pytest.mark.parametrize("gym_id", GYM_IDS)
def test_gymnasium_checker_passes(gym_id: str) -> None:
    env = gymnasium.make(f"envs:{gym_id}", render_mode="rgb_array")
    check_env(env.unwrapped, skip_render_check=True)
    env.close()


def test_rewards_follow_the_goal_environment_convention() -> None:
    env = gymnasium.make("envs:SO101Place-v0").unwrapped
    observation, _ = env.reset(seed=3)
    for _ in range(5):
        observation, reward, terminated, _, info = env.step(env.action_space.sample() * 0)
        assert not terminated
        assert reward == env.compute_reward(observation["achieved_goal"], observation["desired_goal"], info)
    achieved = np.tile(observation["achieved_goal"], (3, 1))
    goals = achieved + np.array([[0.0, 0, 0], [0.019, 0, 0], [0.021, 0, 0]])
    np.testing.assert_array_equal(env.compute_reward(achieved, goals, [{}] * 3), [0, 0, -1])
    np.testing.assert_array_equal(env.compute_reward(achieved, achieved, [{"others_hold": False}] * 3), [-1] * 3)


def test_vector_environment_is_the_single_one_n_times() -> None:
    single, vector = gymnasium.make("envs:SO101Lift-v0"), gymnasium.make_vec("envs:SO101Lift-v0", num_envs=3)
    batch, _ = vector.reset(seed=11)
    one, _ = single.reset(seed=13)
    actions = np.random.default_rng(0).uniform(-1, 1, (6, 3, 5)).astype(np.float32)
    for action in actions:
        batch, *_ = vector.step(action)
        one, *_ = single.step(action[2])
    np.testing.assert_array_equal(batch["observation"][2], one["observation"])


def test_finished_episodes_restart_in_the_same_step() -> None:
    vector = gymnasium.make_vec("envs:SO101Lift-v0", num_envs=2, horizon=4)
    vector.reset(seed=0)
    for step in range(4):
        observation, _, _, truncated, info = vector.step(np.zeros((2, 5), np.float32))
        assert truncated.all() == (step == 3)
    assert not np.array_equal(info["final_obs"]["observation"], observation["observation"])
    assert vector.observation_space.contains(observation)


def test_cameras_join_the_observation() -> None:
    env = gymnasium.make("envs:SO101Lift-v0", cameras=("front", "wrist"), image_size=32)
    observation, _ = env.reset(seed=0)
    assert observation["front"].shape == observation["wrist"].shape == (32, 32, 3)
    assert observation["front"].std() > 5


def test_a_custom_goal_and_bad_input() -> None:
    env = gymnasium.make("envs:SO101Place-v0", goal="left_of(red_cube, target) & static(red_cube)")
    env.reset(seed=0)
    with pytest.raises(EmbodiedError, match="nan"):
        env.unwrapped.step(np.full(5, np.nan))
    with pytest.raises(EmbodiedError, match="Unknown action mode"):
        gymnasium.make("envs:SO101Place-v0", action="telepathy")


def test_the_flat_observation_is_what_the_module_describes() -> None:
    env = TabletopVectorEnv("place_clutter", 5)
    env.reset(seed=1)
    for _ in range(3):
        observation, *_ = env.step(env.action_space.sample())
    seen = env.worlds.observation
    objects = seen.objects
    objects.linear_velocity_in_world[1, 2] = (-1e6, 1e6, 3.0)
    rotation = quat_to_matrix(objects.quaternion_in_world)
    moving = objects.linear_velocity_in_world, objects.angular_velocity_in_world
    parts = [objects.position_in_world, rotation[..., 0], rotation[..., 1], *moving, objects.present[..., None]]
    entities = np.concatenate(parts, axis=-1)[:, 1:].reshape(5, -1)
    expected = np.clip(np.concatenate([seen.proprioception, entities], axis=1), -100, 100).astype(np.float32)
    np.testing.assert_allclose(flatten(seen, env.task)["observation"], expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(flatten(seen[3], env.task)["observation"], expected[3], rtol=0, atol=1e-6)
    assert observation["observation"].shape == expected.shape
    assert not objects.present.all()
