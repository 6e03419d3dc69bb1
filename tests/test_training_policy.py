"""Training a policy on the toy: it learns, it resumes bit for bit, and it refuses what cannot work."""

from dataclasses import replace

import numpy as np
import pytest
from toy_worlds import ToyExpert, ToyWorlds, toy_episodes

from embodied.checkpoint import load, save
from embodied.config import AgentConfig
from embodied.training.policy import PolicyTrainer
from envs.errors import EmbodiedError

SMALL = AgentConfig(width=16, batch=32, ramp=50, updates_per_step=0.25)


def trainer(config: AgentConfig = SMALL, seed: int = 0, demonstrations: int = 4, worlds: int = 4) -> PolicyTrainer:
    shown = toy_episodes(demonstrations, seed=5, noise=0.15) if demonstrations else []
    return PolicyTrainer(ToyWorlds(worlds, seed=1), config, seed, shown, ToyExpert(), capacity=200)


def success(policy) -> float:
    worlds = ToyWorlds(100, seed=99)
    for _ in range(worlds.task.horizon):
        result = worlds.step(policy.act(worlds.observation, worlds.task.goal)).success
    return float(result.mean())


def test_learns_the_toy_beyond_what_cloning_gives():
    config = AgentConfig(width=32, batch=64, ramp=100, updates_per_step=0.5, learning_rate=3e-3, relabel=0.5)
    learner = trainer(config, demonstrations=10, worlds=8)
    learner.clone(150)
    cloned = success(learner.policy)
    learner.advance(160)
    learned = success(learner.policy)
    assert learned > cloned + 0.1, (cloned, learned)


def test_twenty_steps_are_ten_and_ten_resumed(tmp_path):
    whole = trainer()
    whole.clone(5)
    whole.advance(20)
    half = trainer()
    half.clone(5)
    half.advance(10)
    save(tmp_path / "half.safetensors", half.state_dict())
    resumed = trainer(seed=0)
    resumed.load_state_dict(load(tmp_path / "half.safetensors")[0])
    resumed.advance(10)
    assert_equal(whole.state_dict(), resumed.state_dict())
    assert resumed.env_steps == 80
    assert resumed.cloned == 5


def assert_equal(first, second) -> None:
    assert type(first) is type(second)
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        for name in first:
            assert_equal(first[name], second[name])
    elif isinstance(first, list):
        for one, other in zip(first, second, strict=True):
            assert_equal(one, other)
    else:
        np.testing.assert_array_equal(first, second)


def test_one_seed_one_training_and_another_seed_another():
    runs = []
    for seed in (0, 0, 1):
        learner = trainer(seed=seed)
        learner.advance(5)
        runs.append(learner.state_dict()["learner"]["actor"])
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


def test_without_demonstrations_nothing_is_cloned_and_the_q_term_counts_at_once():
    learner = trainer(demonstrations=0)
    before = learner.learner.actor.flat.clone()
    learner.clone(10)
    assert learner.cloned == 10
    assert (learner.learner.actor.flat == before).all()
    learner.advance(3)
    assert learner.learner.config.q_ramp == 0
    assert learner.metrics()["updates"] == 3
    assert learner.metrics()["clone_loss"] == 0.0


def test_demonstrations_are_labelled_by_the_demonstrator():
    learner = trainer()
    batch = learner.demonstrations.sample(64, np.random.default_rng(0), imitate=True)
    assert not np.allclose(batch.action[:, :3], batch.label[:, :3])
    np.testing.assert_allclose(batch.action[:, 4], batch.label[:, 4])


def test_exploration_is_wider_in_later_worlds_and_stays_in_bounds():
    learner = trainer(replace(SMALL, noise=0.1), worlds=8)
    chosen = np.stack([learner._disturbed(np.zeros((8, 5))) for _ in range(200)])
    spread = chosen.std(axis=0).mean(axis=1)
    np.testing.assert_allclose(spread, 0.1 * np.linspace(0.3, 1.7, 8), rtol=0.15)
    assert np.abs(chosen).max() <= 1.0


def test_refusals():
    with pytest.raises(EmbodiedError, match="less than one update per step; use at least 0.25"):
        trainer(replace(SMALL, updates_per_step=0.01))
    learner = trainer()
    learner.advance(2)
    learner.learner.critics.flat.fill_(float("nan"))
    learner.advance(1)
    with pytest.raises(EmbodiedError, match="critic_loss became nan"):
        learner.metrics()
