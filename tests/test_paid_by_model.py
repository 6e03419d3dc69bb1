"""Policies paid by a reward model: what it claims is what is learned, and audits stop it where it is wrong."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from resuming import assert_equal, check_resumes
from test_training_policy import SMALL
from toy_worlds import ToyExpert, ToyWorlds, toy_episodes

from embodied.config import Config, RewardConfig
from embodied.evaluation.learned_from import SeenWorlds, demonstrated, judged, learn_from
from embodied.training.policy import PolicyTrainer
from embodied.training.shaped import judge_of
from embodied.training.train import drifted
from envs.errors import EmbodiedError
from envs.tasks import TASKS
from envs.worlds import TaskWorlds
from world_models.reward.analytic import AnalyticReward
from world_models.reward.audit import Audit, AuditConfig


def exactly(state, goal):
    return np.asarray(goal.satisfied(state))


def always(state, goal):
    return np.ones(state.shape[0], bool)


def never(state, goal):
    return np.zeros(state.shape[0], bool)


def paid(judge=None, audit=None, worlds=4):
    shown = toy_episodes(4, seed=5, noise=0.15)
    return PolicyTrainer(
        ToyWorlds(worlds, seed=1), SMALL, 0, shown, ToyExpert(), capacity=200, judge=judge, audit=audit
    )


def audit(share=1.0, every=5):
    return Audit(AuditConfig(share=share, every=every), np.random.default_rng(3))


def test_a_judge_that_knows_the_truth_changes_nothing():
    plain, by_judge = paid(), paid(exactly)
    for trainer in (plain, by_judge):
        trainer.clone(5)
        trainer.advance(25)
    assert_equal(plain.state_dict()["learner"], by_judge.state_dict()["learner"])


@pytest.mark.parametrize(("judge", "reward"), [(always, 0.0), (never, -1.0)])
def test_the_judge_alone_pays(judge, reward):
    trainer = paid(judge)
    trainer.advance(3)
    for replay in (trainer.replay, trainer.demonstrations):
        batch = replay.sample(64, np.random.default_rng(0), imitate=True)
        assert (batch.reward == reward).all()
        assert batch.clone.any() == (judge is always)


def test_false_claims_freeze_learning_and_true_ones_do_not():
    lying, honest = paid(always, audit(), worlds=8), paid(exactly, audit(), worlds=8)
    for trainer in (lying, honest):
        trainer.advance(60)
    # Eight claims in the first step of every episode, nearly all of them false: found at once.
    assert lying.frozen
    assert lying.audit.wrong > 0
    assert lying.learner.updates < honest.learner.updates
    assert not honest.frozen
    assert honest.audit.wrong == 0
    before = lying.learner.updates
    config = Config(reward=RewardConfig(network="runs/reward"))
    assert f"{lying.audit.wrong} of {lying.audit.audited} audited" in str(drifted(config, lying))
    lying.advance(10)
    assert lying.learner.updates == before
    assert lying.steps == 70


def test_an_episode_is_audited_once():
    trainer = paid(always, audit(every=1000), worlds=8)
    trainer.advance(60)
    assert trainer.audit.audited == 8 * 3


def test_audits_resume_bit_for_bit(tmp_path):
    resumed = check_resumes(lambda: paid(always, audit(share=0.5, every=1000)), 13, 17, tmp_path)
    assert resumed.audit.audited > 0


def test_exact_margins_need_no_audit():
    with pytest.raises(EmbodiedError, match="audit"):
        paid(None, audit())


def test_what_is_seen_is_noisy_and_what_is_called_success_is_true():
    worlds = SeenWorlds(TaskWorlds(TASKS["push"], 3, 0, threads=1), 0.005, 0)
    exact = SeenWorlds(TaskWorlds(TASKS["push"], 3, 0, threads=1), 0.0, 0)
    action = np.zeros((3, worlds.spec.size))
    transition, plain = worlds.step(action), exact.step(action)
    off = transition.next_observation.objects.position_in_world - worlds.truth.position_in_world
    index = worlds.truth.index("red_cube")
    assert 0.0005 < abs(off[:, index]).max() < 0.03
    np.testing.assert_array_equal(plain.next_observation.objects.position_in_world, exact.truth.position_in_world)
    np.testing.assert_array_equal(exact.truth.position_in_world, worlds.truth.position_in_world)
    np.testing.assert_array_equal(transition.success, TASKS["push"].goal.satisfied(worlds.truth))


def test_learning_is_judged_by_the_truth():
    trainer = learn_from(AnalyticReward(), "push", 0, 64, 0.0, 2, replace(SMALL, cloning_steps=20))
    assert trainer.learner.updates > 0
    exact = judged(trainer.policy, AnalyticReward(), "push", 0, 6, 0.0, window=1)
    assert not (exact.claimed & (exact.violation >= 0)).any()

    class Liar:
        def score(self, state, goal, frames=None):
            return SimpleNamespace(success=np.ones(state.shape[0], bool))

    lied = judged(trainer.policy, Liar(), "push", 0, 6, 0.0, window=2)
    assert lied.claimed.all()
    assert (lied.violation >= 0).sum() >= 5
    assert judge_of(Liar())(trainer.worlds.truth, trainer.worlds.task.goal).all()


def test_demonstrations_truly_succeed():
    worlds = SeenWorlds(TaskWorlds(TASKS["push"], 8, 0, threads=1), 0.005, 0)
    shown = demonstrated(worlds, 3, 0)
    assert len(shown) == 3
    assert all(episode.success[-1] for episode in shown)
    assert not any(episode.success[0] for episode in shown)
