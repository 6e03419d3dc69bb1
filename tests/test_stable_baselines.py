"""Stable-Baselines3, where `make peers` was run, takes our environments as they are: its checker, and SAC with HER."""

import gymnasium
import numpy as np
import pytest

from embodied.bench import peers
from envs import GYM_IDS

peers.borrow()
checker = pytest.importorskip("stable_baselines3.common.env_checker", reason=peers.MISSING)


@pytest.mark.parametrize("gym_id", GYM_IDS)
def test_its_checker_passes(gym_id: str) -> None:
    checker.check_env(gymnasium.make(f"envs:{gym_id}").unwrapped, warn=False)


def test_sac_with_hindsight_learns_to_reach() -> None:
    from stable_baselines3 import SAC, HerReplayBuffer

    env = gymnasium.make("envs:SO101Reach-v0")
    model = SAC(
        "MultiInputPolicy", env, replay_buffer_class=HerReplayBuffer, learning_starts=120, batch_size=64, seed=0,
        policy_kwargs={"net_arch": [64, 64]}, device="cpu",
    )  # fmt: skip
    model.learn(400)
    assert model.replay_buffer.size() >= 360
    rewards = model.replay_buffer.sample(256).rewards.numpy()
    # Goals that were reached later are paid: chance alone is paid next to nothing.
    assert (rewards == 0).mean() > 0.1
    action, _ = model.predict(env.reset(seed=0)[0], deterministic=True)
    assert env.action_space.contains(np.asarray(action, np.float32))
