"""Training a policy on the toy: it learns, it resumes bit for bit, and it refuses what cannot work."""

from dataclasses import replace

import numpy as np
import pytest
from resuming import assert_equal, check_resumes
from toy_worlds import ToyExpert, ToyWorlds, toy_episodes, toy_observation, toy_step

from embodied.checkpoint import load, save
from embodied.config import AgentConfig, Config
from embodied.data.replay import Replay
from embodied.run import Run
from embodied.schema import to_dict
from embodied.training.imagined import Imagined, ImaginedConfig
from embodied.training.policy import DivergedError, PolicyTrainer
from embodied.training.train import _advanced
from envs.episode import Rollout
from envs.errors import EmbodiedError
from world_models.reward.analytic import AnalyticReward

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
    learner.advance(4)  # nothing is there to learn from during the first step
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
    chosen = np.stack([learner._disturbed(np.zeros((8, 5)), learner._spread) for _ in range(200)])
    spread = chosen.std(axis=0).mean(axis=1)
    np.testing.assert_allclose(spread, 0.1 * np.linspace(0.3, 1.7, 8), rtol=0.15)
    assert np.abs(chosen).max() <= 1.0


def dream(history, policy, goal, horizon):
    """The toy as its own world model, unsure wherever the cube is beyond y = 0."""
    now = history[:, -1]
    assert history.objects.shape[1] == 3
    frames, actions = [now], []
    for _ in range(horizon):
        position = frames[-1].objects.position_in_world
        action = np.clip(policy.act(frames[-1], goal), -1, 1)
        opening = frames[-1].proprioception[:, 5]
        tool, opening, cube = toy_step(position[:, 1], opening, position[:, 5], action)
        frames.append(toy_observation(tool, opening, position[:, 4], cube))
        actions.append(action)
    position = np.stack([frame.objects.position_in_world for frame in frames], axis=1)
    openings = np.stack([frame.proprioception[:, 5] for frame in frames], axis=1)
    observation = toy_observation(position[:, :, 1], openings, position[:, :, 4], position[:, :, 5])
    unsure = np.where(position[..., 1] > 0.0, 1.0, 0.0)
    return Rollout("model", observation, np.stack(actions, axis=1), uncertainty=unsure)


def test_imagined_transitions_are_mixed_in_and_end_where_the_model_is_unsure():
    config = replace(SMALL, imagined=0.25, imagined_horizon=3)
    learner = PolicyTrainer(ToyWorlds(4, seed=1), config, 0, toy_episodes(4), ToyExpert(), capacity=50, imagine=dream)
    learner.advance(24)
    assert len(learner.imagined.replay) == 0
    learner.advance(2)
    replay = learner.imagined.replay
    lengths = replay._length[:256]
    cube = replay.observation(np.arange(256), np.zeros(256, int)).objects.position_in_world[:, 5]
    assert set(np.unique(lengths)) <= {0, 1, 2, 3}
    assert lengths[cube[:, 1] < -0.035].mean() > 2.9
    assert lengths[cube[:, 1] > 0.1].sum() == 0
    batches = list(learner._batches(3))
    assert [batch.state.shape for batch in batches] == [(32, 39)] * 3
    assert not any(batch.clone[:8].any() for batch in batches)
    assert any(batch.clone[8:].any() for batch in batches)
    step = replay.sample(64, np.random.default_rng(0))
    tool = step.state[:, :3] / 10.0
    followed = step.next_state[:, :3] / 10.0
    inside = np.all(np.abs(followed - np.array([0.0, 0.0, 0.025])) < [0.119, 0.149, 0.054], axis=1)
    np.testing.assert_allclose((followed - tool)[inside], 0.03 * step.action[inside, :3], atol=1e-5)


def test_a_rollout_is_over_once_the_model_was_unsure_though_it_recovers():
    worlds = ToyWorlds(2, seed=1)
    real = Replay(4, 20, worlds.task.goal, worlds.observation, 5)
    real.extend(real.begin(worlds.observation), np.zeros((2, 5)), worlds.observation)

    def dreamt(history, policy, goal, horizon):
        rollout = dream(history, policy, goal, horizon)
        uncertainty = np.zeros_like(rollout.uncertainty)
        uncertainty[:, 2, 5] = 0.011
        uncertainty[:, 3, 0] = 9.0
        return replace(rollout, uncertainty=uncertainty)

    imagined = Imagined(dreamt, ImaginedConfig(horizon=4, starts=8, trusted=0.01), real)
    imagined.renew(ToyExpert(), np.random.default_rng(0))
    assert imagined.trusted_steps == 1.0
    assert len(imagined.replay) == 8


def test_resuming_covers_what_was_imagined(tmp_path):
    def make() -> PolicyTrainer:
        config = replace(SMALL, imagined=0.25, imagined_horizon=2)
        return PolicyTrainer(ToyWorlds(4, seed=1), config, 0, toy_episodes(4), ToyExpert(), capacity=50, imagine=dream)

    check_resumes(make, 30, 22, tmp_path)


def test_shaping_adds_the_discounted_gain_of_potential():
    worlds, model, config = ToyWorlds(4, seed=1), AnalyticReward(), replace(SMALL, relabel=0.0)
    plain, shaped = (
        PolicyTrainer(worlds, config, 0, toy_episodes(4), ToyExpert(), capacity=50, reward=model, shaping=weight)
        for weight in (0.0, 2.0)
    )
    assert shaped.learner.config.value_high == 2.0
    one, other = (learner.demonstrations.sample(64, np.random.default_rng(0)) for learner in (plain, shaped))
    replay = plain.demonstrations
    slot, step = replay.draw(64, np.random.default_rng(0))
    now, following = (
        model.score(replay.observation(slot, at).objects, worlds.task.goal).progress - 1.0 for at in (step, step + 1)
    )
    np.testing.assert_allclose(other.reward, one.reward + 2.0 * (0.97 * following - now), atol=1e-5)
    assert np.ptp(other.reward) > 0.5
    shaped.advance(3)
    assert shaped.metrics()["updates"] == 2


def test_refusals():
    with pytest.raises(EmbodiedError, match=r"less than one update per step; use at least 0\.25"):
        trainer(replace(SMALL, updates_per_step=0.01))
    with pytest.raises(EmbodiedError, match="a trained world model"):
        trainer(replace(SMALL, imagined=0.5))


def test_a_loss_that_is_not_finite_stops_learning_and_shows_its_batch():
    learner = trainer()
    learner.advance(2)
    learner.replay._rows[:, 0, 3] = np.nan
    with pytest.raises(DivergedError, match="Of the batch it was made of, the state is not finite") as caught:
        learner.advance(19)
    assert np.isnan(caught.value.batch.state).any(axis=1).sum() >= 1
    assert np.isfinite(caught.value.batch.next_state).all()
    assert caught.value.update <= learner.learner.updates
    learner = trainer()
    learner.advance(2)
    learner.learner.critics.flat.fill_(float("nan"))
    with pytest.raises(DivergedError, match=r"at update 2\. .* all is finite; try a smaller agent\.learning_rate"):
        learner.advance(1)


def test_the_batch_of_a_learner_that_diverges_is_in_the_run(tmp_path):
    learner = trainer()
    learner.advance(2)
    learner.replay._action[:] = np.inf
    with Run.open(tmp_path / "run", to_dict(Config())) as run:
        with pytest.raises(EmbodiedError, match="the same command goes on from the last checkpoint"):
            _advanced(learner, run)
        arrays, meta = run.restore("diverged")
    assert np.isinf(arrays["action"]).any()
    assert np.isfinite(arrays["state"]).all()
    assert meta["update"] == 2


def test_what_is_learned_does_not_depend_on_how_long_the_worlds_take(monkeypatch):
    plain, slow = trainer(), trainer()
    plain.advance(6)
    step = slow.worlds.step

    def waiting(action):
        while not slow.learner.updates >= slow.steps - 1:
            pass
        return step(action)

    monkeypatch.setattr(slow.worlds, "step", waiting)
    slow.advance(6)
    assert_equal(plain.state_dict(), slow.state_dict())
