"""Gymnasium's own checker passes for every id, and one engine stands under both faces."""

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

from envs import GYM_IDS
from envs.errors import EmbodiedError
from envs.experts import expert
from envs.geometry import quat_to_matrix
from envs.goal_dictionary import flatten
from envs.gym import TabletopEnv, TabletopVectorEnv
from envs.sensors import JointSensor, ObjectSensor, SensorConfig
from envs.tasks import TASKS


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


@pytest.mark.parametrize("name", TASKS)
def test_what_is_achieved_is_paid_as_it_is_on_the_way(name: str) -> None:
    env, demonstrator = TabletopVectorEnv(name, 3), expert(name)
    env.reset(seed=0)
    paid = []
    for _ in range(env.task.horizon):
        seen, reward, _, truncated, info = env.step(demonstrator.act(env.worlds.truth, env.task.goal))
        if truncated.any():
            seen, info = info["final_obs"], info["final_info"]
        others = [{"others_hold": each} for each in info["others_hold"]]
        again = env.compute_reward(seen["achieved_goal"], seen["desired_goal"], others)
        np.testing.assert_array_equal(again, reward)
        # Whatever was achieved is a goal that was achieved.
        relabelled = env.compute_reward(seen["achieved_goal"], seen["achieved_goal"], [{}] * 3)
        np.testing.assert_array_equal(relabelled, np.zeros(3))
        paid.append(reward)
    assert (np.max(paid, axis=0) == 0).all()
    assert np.min(paid) == -1


def test_a_seed_decides_all_episodes_and_none_decides_nothing() -> None:
    def beginnings(seed, before: int = 0) -> list[np.ndarray]:
        env = TabletopVectorEnv("reach", 2, horizon=2)
        for _ in range(before):
            env.reset()
        first, still = env.reset(seed=seed)[0]["observation"], np.zeros((2, 5), np.float32)
        return [first, *(env.step(still)[0]["observation"] for _ in range(4))][::2]

    first, again, later, other = beginnings(1), beginnings(1), beginnings(1, before=2), beginnings(2)
    for i in range(3):
        np.testing.assert_array_equal(first[i], again[i])
        np.testing.assert_array_equal(first[i], later[i])
        np.testing.assert_array_equal(first[i][1], other[i][0])
        assert (first[i] != other[i]).any(axis=1).all()
        assert not any(np.array_equal(first[i], first[j]) for j in range(i))
    assert not np.array_equal(beginnings(None)[0], beginnings(None)[0])
    np.testing.assert_array_equal(beginnings(np.int64(1))[2], first[2])
    for wrong in (1.5, -1, [3, "4"]):
        with pytest.raises(EmbodiedError, match="seed"):
            beginnings(wrong)


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


def test_episodes_may_begin_anew_in_the_next_step() -> None:
    """As Gymnasium's own vector environment of single ones does it, but for whose turn the seeds are."""
    same = gymnasium.make_vec("envs:SO101Push-v0", num_envs=2, horizon=3)
    after = gymnasium.make_vec("envs:SO101Push-v0", num_envs=2, horizon=3, autoreset_mode="NextStep")
    assert after.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP
    assert same.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP
    same.reset(seed=1)
    after.reset(seed=1)
    for step, action in enumerate(np.random.default_rng(0).uniform(-1, 1, (7, 2, 5)).astype(np.float32)):
        observation, reward, _, truncated, info = after.step(action)
        # The fourth call begins the second episode, and does nothing else.
        assert truncated.tolist() == [step in (2, 6)] * 2
        if step < 3:
            before, paid, _, ended, told = same.step(action)
            last = told["final_obs"] if step == 2 else before
            np.testing.assert_array_equal(observation["observation"], last["observation"])
            np.testing.assert_array_equal(reward, paid)
            assert ended.tolist() == truncated.tolist()
        if step == 3:
            np.testing.assert_array_equal(observation["observation"], before["observation"])
            assert (reward == 0).all()
            assert "final_obs" not in info
    assert told["_final_info"].all()
    with pytest.raises(EmbodiedError, match=r"Unknown autoreset mode 'Never'.*NextStep, SameStep"):
        gymnasium.make_vec("envs:SO101Push-v0", num_envs=2, autoreset_mode="Never")


def test_render_modes() -> None:
    shapes = {"rgb_array": [(480, 640, 3)], "depth_array": [(480, 640)], "rgbd_tuple": [(480, 640, 3), (480, 640)]}
    for mode, shape in shapes.items():
        env = gymnasium.make("envs:SO101Lift-v0", render_mode=mode)
        env.reset(seed=0)
        picture = env.render()
        assert [part.shape for part in (picture if mode == "rgbd_tuple" else [picture])] == shape
        vector = gymnasium.make_vec("envs:SO101Lift-v0", num_envs=2, render_mode=mode)
        vector.reset(seed=0)
        assert len(vector.render()) == 2
    assert gymnasium.make("envs:SO101Lift-v0").unwrapped.render() is None
    with pytest.raises(EmbodiedError, match="Unknown render mode 'human'"):
        TabletopEnv("lift", render_mode="human")


def test_factors_are_set_at_reset_by_options() -> None:
    env = gymnasium.make("envs:SO101Lift-v0", variation="mass=0.5..2, table_colour").unwrapped
    env.reset(seed=3, options={"variation": {"mass": 1.5, "table_colour": None}})
    assert {name: value.item() for name, value in env.worlds.factors.items()} == {"mass": 1.5}
    env.reset(seed=3)
    assert env.worlds.factors["mass"].item() != 1.5
    assert set(env.worlds.factors) == {"mass", "table_colour"}
    vector = gymnasium.make_vec("envs:SO101Lift-v0", num_envs=2, horizon=2, variation="mass=0.5..2")
    vector.reset(seed=0, options={"variation": {"mass": 1.25}})
    for _ in range(3):
        vector.step(np.zeros((2, 5), np.float32))
    assert vector.worlds.episode.tolist() == [2, 2]
    assert (vector.worlds.factors["mass"] == 1.25).all()
    with pytest.raises(EmbodiedError, match="Unknown factor 'wind'"):
        env.reset(options={"variation": {"wind": 1.0}})


def test_sensors_images_and_an_instruction_join_the_observation() -> None:
    sensors = SensorConfig(objects=ObjectSensor(position_noise=0.01), joints=JointSensor(delay=0.1))
    arguments = {"cameras": ("top",), "images": ("rgb", "depth", "segmentation"), "image_size": 24, "language": True,
                 "sensors": sensors, "rate": 20.0}  # fmt: skip
    env = gymnasium.make("envs:SO101PlaceBin-v0", **arguments)
    check_env(env.unwrapped, skip_render_check=True)
    observation, _ = env.reset(seed=0)
    assert observation["instruction"] == "Put the red cube in the bin and let go of it."
    assert observation["top_depth"].dtype == np.float32
    assert observation["top_segmentation"].max() > 3
    assert env.observation_space.contains(observation)
    truth = env.unwrapped.worlds.truth.objects
    off = env.unwrapped.worlds.observation.objects.position_in_world[0] - truth.position_in_world[0]
    off = off[truth.index("red_cube")]
    assert 0.001 < np.abs(off).max() < 0.05
    vector = gymnasium.make_vec("envs:SO101PlaceBin-v0", num_envs=2, **arguments)
    batch, _ = vector.reset(seed=0)
    assert vector.observation_space.contains(batch)
    np.testing.assert_array_equal(batch["top"][0], observation["top"])
    np.testing.assert_array_equal(batch["observation"][0], observation["observation"])


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
