"""Action chunks: played out before the next look, fine-tuned on-policy, corrected for their collector's age."""

import numpy as np
import pytest
import torch
from resuming import check_resumes
from toy_worlds import ToyTask, ToyWorlds, toy_episodes

from embodied.agents.chunks import ChunkActor, ChunkPolicy
from embodied.agents.diversity import CAP, bonus, distinctness
from embodied.agents.staleness import CLIP, coefficients, effective_share
from embodied.config import AgentConfig
from embodied.training.onpolicy import OnPolicyTrainer
from envs.errors import EmbodiedError
from envs.goals import Goal

REACH = ToyTask(Goal.parse("near(gripper, target, 0.04)"), horizon=12)
SMALL = AgentConfig(
    name="chunks", width=32, batch=64, chunk=3, rollouts=4, updates_per_episode=4, noise=0.3, learning_rate=3e-3
)


class SeededToys(ToyWorlds):
    """Toys whose beginnings are functions of seeds, as those of `TaskWorlds` are."""

    def reset(self, seeds=None):
        if seeds is None:
            return super().reset()
        drawn = np.stack([np.random.default_rng(seed).random(3) for seed in seeds])
        super().reset()
        low, high = np.array([0.16, -0.08, 0.014]), np.array([0.30, 0.08, 0.014])
        self.target, self.tool = low + (high - low) * drawn, np.tile([0.21, 0.0, 0.06], (self.worlds, 1))
        self.cube = np.tile([0.3, 0.1, 0.014], (self.worlds, 1))
        self.load_state_dict(self.state_dict())
        return self.observation


def trainer(worlds: int = 16, demonstrations: int = 0, **changes) -> OnPolicyTrainer:
    config = AgentConfig(**{**vars(SMALL), **changes})
    return OnPolicyTrainer(SeededToys(worlds, 0, REACH), config, 0, toy_episodes(demonstrations, task=REACH)
                           if demonstrations else ())  # fmt: skip


def test_the_clip_is_ppo_s():
    generator = torch.Generator().manual_seed(0)
    old = torch.randn(200, 4, generator=generator)
    new = (old + 0.3 * torch.randn(200, 4, generator=generator)).requires_grad_()
    gain = torch.randn(200, generator=generator)
    ratio = (new - old).exp()
    surrogate = torch.minimum(ratio * gain[:, None], ratio.clamp(1 - CLIP, 1 + CLIP) * gain[:, None]).sum()
    (expected,) = torch.autograd.grad(surrogate, new)
    found = coefficients((new - old).detach(), gain, "clip") * gain[:, None]
    torch.testing.assert_close(found, expected)


def test_kernels_have_the_published_values():
    def phi(ratio: float, gain: float, correction: str, steps: int = 1, exponent: float = 1.0) -> float:
        logs = torch.full((1, steps), np.log(ratio) / steps)
        return float(coefficients(logs, torch.tensor([gain]), correction, exponent)[0, 0])

    for correction in ("none", "clip", "gipo", "vespo"):
        assert phi(1.0, 1.0, correction) == phi(1.0, -1.0, correction) == pytest.approx(1.0)
    assert phi(2.0, 1.0, "vespo") == pytest.approx(4.0 * np.exp(-3.0), rel=1e-5)
    assert phi(0.3, -1.0, "vespo") == pytest.approx(0.027 * np.exp(1.4), rel=1e-5)
    assert phi(2.0, 1.0, "gipo") == pytest.approx(2.0 * np.exp(-0.5 * np.log(2.0) ** 2), rel=1e-5)
    # A chunk's ratio counts as its steps' geometric mean with exponent 1, and whole with 0.
    assert phi(16.0, 1.0, "vespo", 4, 1.0) == pytest.approx(phi(2.0, 1.0, "vespo"), rel=1e-5)
    assert phi(2.0, 1.0, "vespo", 4, 0.0) == pytest.approx(phi(2.0, 1.0, "vespo"), rel=1e-5)
    assert float(effective_share(torch.ones(7))) == pytest.approx(1.0)
    assert float(effective_share(torch.tensor([1.0, 0.0, 0.0, 0.0]))) == pytest.approx(0.25)


def test_a_gradient_step_is_that_of_the_weighted_likelihood():
    actor = ChunkActor(5, 2, 3, 8, 1e-3, 0.5, 0)
    rng = np.random.default_rng(0)
    state, chunk, gain = rng.normal(size=(6, 5)), rng.normal(size=(6, 6)), rng.normal(size=6)
    mean = torch.tensor(actor.act(state))
    normal = torch.distributions.Normal(mean, 0.5)
    wanted = normal.log_prob(torch.tensor(chunk, dtype=torch.float32)).view(6, 3, 2).sum(-1)
    found = actor.log_density(mean, torch.tensor(chunk, dtype=torch.float32))
    torch.testing.assert_close(found - found[0, 0], wanted - wanted[0, 0], rtol=1e-4, atol=1e-4)
    before = actor.mean.flat.clone()
    old = found.numpy()
    actor.update(state, chunk, old, gain, "clip", 1.0)
    first = actor.mean.gradient.clone()
    actor.mean.flat.copy_(before)
    actor.update(state, chunk, old, -gain, "clip", 1.0)
    torch.testing.assert_close(actor.mean.gradient, -first)
    assert first.abs().max() > 1e-4
    with pytest.raises(EmbodiedError, match="loss became nan"):
        actor.update(state, chunk, old, gain * np.nan, "none", 1.0)


class Counter:
    """An actor whose chunk says which look it comes from, and which step of it."""

    looks = 0

    def act(self, state):
        self.looks += 1
        steps = np.arange(3)[:, None] * 0.1 + np.zeros((1, 5))
        return np.tile((self.looks + steps).reshape(-1), (len(state), 1))


def test_a_chunk_is_played_out_before_the_next_look():
    worlds = SeededToys(2, 0, REACH)
    policy = ChunkPolicy(Counter(), 3)
    played = [policy.act(worlds.observation, REACH.goal)[0, 0] for _ in range(5)]
    np.testing.assert_allclose(played, [1.0, 1.1, 1.2, 2.0, 2.1])
    with pytest.raises(EmbodiedError, match=r"for \(2,\) worlds is being played, got \(1,\)"):
        policy.act(worlds.observation[:1], REACH.goal)
    policy.reset()
    assert policy.act(worlds.observation[:1], REACH.goal)[0, 0] == 3.0


def test_rollouts_of_a_group_begin_alike_and_are_judged_against_each_other():
    learner = trainer(worlds=8, learning_rate=0.0)
    learner.advance(12)
    episode = learner._episode
    np.testing.assert_array_equal(episode["path"][0, 0], episode["path"][3, 0])
    first = episode["state"].reshape(2, 4, 4, -1)[:, :, 0]
    np.testing.assert_array_equal(first[:, 0], first[:, 3])
    assert np.abs(first[0, 0] - first[1, 0]).max() > 0.01
    rng = np.random.default_rng(0)
    episode["success"][:] = rng.random((8, 12)) < 0.4
    expected = np.zeros((8, 4))
    for world in range(8):
        others = [w for w in range(world // 4 * 4, world // 4 * 4 + 4) if w != world]
        for at in range(4):
            rest = [episode["success"][w, 3 * at :].sum() / 12 for w in (world, *others)]
            expected[world, at] = rest[0] - np.mean(rest[1:])
    np.testing.assert_allclose(learner.advantage() * expected.std(), expected, atol=1e-4)


def test_the_collector_is_as_many_updates_old_as_it_is_told():
    learner = trainer(worlds=8, lag=6)
    weights = [learner.learner.mean.flat.clone()]
    update = learner.learner.update

    def noting(*arguments):
        result = update(*arguments)
        weights.append(learner.learner.mean.flat.clone())
        return result

    learner.learner.update = noting
    learner.advance(3 * 12)
    learner._begin()
    assert len(weights) == 13
    assert torch.equal(learner._collector.flat, weights[-1 - 6])


@pytest.mark.parametrize("correction", ["clip", "vespo"])
def test_it_learns_beyond_what_cloning_gives(correction):
    learner = trainer(worlds=32, demonstrations=2, correction=correction, updates_per_episode=8, lag=4)
    learner.clone(10)
    returns = []
    for _ in range(25):
        learner.advance(12)
        returns.append(learner.metrics()["return"])
    assert np.mean(returns[-5:]) > np.mean(returns[:2]) + 0.15, returns


def test_training_resumes_bit_for_bit_within_an_episode(tmp_path):
    check_resumes(lambda: trainer(worlds=8, lag=3, diversity=0.5), 17, 14, tmp_path)


def test_uneven_chunks_and_groups_are_refused():
    for changes in ({"chunk": 5}, {"rollouts": 3}):
        with pytest.raises(EmbodiedError, match="a whole number of chunks"):
            trainer(**changes)


def arcs(sides) -> np.ndarray:
    """`[1 G 20 3]` half circles of 10 cm to either side, walked at uneven speeds."""
    angle = np.pi * np.linspace(0.0, 1.0, 20) ** np.arange(1, len(sides) + 1)[:, None]
    return np.stack([np.cos(angle), np.asarray(sides)[:, None] * np.sin(angle), 0 * angle], axis=-1)[None] * 0.1


def test_distinct_successes_earn_more_and_failures_nothing():
    path = arcs([1, 1, 1, -1])
    won = np.array([[True, True, True, True]])
    apart = distinctness(path, won)
    assert apart[0, 3] > 2.0 * apart[0, :3].max() > 0.1, apart
    # What is alike in shape is alike whatever its pace.
    np.testing.assert_allclose(distinctness(path[:, :3], won[:, :3]), 0.0, atol=0.02)
    lost = np.array([[True, True, True, False]])
    np.testing.assert_allclose(bonus(path, lost, 1.0), 0.0, atol=0.02)
    assert bonus(path, lost, 1.0)[0, 3] == 0.0
    assert bonus(path, won, 100.0).max() == CAP
    assert not bonus(np.zeros((1, 4, 20, 3)), won, 1.0).any()


def test_the_bonus_is_part_of_what_is_learned_from():
    plain, diverse = (trainer(worlds=8, learning_rate=0.0, diversity=weight) for weight in (0.0, 0.1))
    for learner in (plain, diverse):
        learner.advance(12)
        learner._episode["success"][:] = True
    assert np.abs(plain.advantage()).max() == 0.0
    assert np.abs(diverse.advantage()).max() > 0.5
