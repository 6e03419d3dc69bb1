"""Training on the handover: what two arms see and do is one policy's, and it learns from demonstrations and alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from embodied.cli import compose
from embodied.config import Config
from embodied.run import Run
from embodied.schema import to_dict
from embodied.training.collect import chosen_control, collect_demonstrations, task_worlds
from embodied.training.train import policy_trainer
from envs.control import TwoArms
from envs.errors import EmbodiedError
from envs.features import OBSERVATION_SIZE, observation_features
from envs.headstart import HeadStart
from envs.two_arms import of_first, seen_by_other

WORDS = [
    "env=handover", "env.worlds=2", "env.threads=1", "device=cpu", "trainer.demonstrations=1",
    "agent.width=8", "agent.batch=8", "agent.updates_per_step=0.5",
]  # fmt: skip


@pytest.fixture(scope="module")
def config() -> Config:
    (composed,) = compose("train", WORDS)
    return composed


def test_the_action_space_is_that_of_both_arms(config: Config) -> None:
    control = chosen_control(config)
    assert isinstance(control, TwoArms)
    assert control.spec.size == 10
    with pytest.raises(EmbodiedError, match=r"action mode of two_so101.*joint_delta.*cartesian_delta"):
        chosen_control(replace(config, env=replace(config.env, action="joint_delta")))
    with pytest.raises(EmbodiedError, match=r"Head starts are for a lone SO-101; the task 'handover' is for two_so101"):
        task_worlds(config, 2, 0, HeadStart())


def test_a_policy_sees_what_each_arm_sees(config: Config) -> None:
    seen = task_worlds(config, 2, 0).observation
    both = observation_features(seen, "blue_rod")
    assert both.shape == (2, 2 * OBSERVATION_SIZE)
    other = seen_by_other(seen)
    np.testing.assert_array_equal(
        both[:, :OBSERVATION_SIZE], observation_features(of_first(replaced(seen)), "blue_rod")
    )
    np.testing.assert_array_equal(
        both[:, OBSERVATION_SIZE:], observation_features(of_first(replaced(other)), "blue_rod")
    )


def replaced(observation):
    """The observation without the second arm's parts, as a lone arm has it."""
    objects = observation.objects
    own = [k for k, name in enumerate(objects.names) if not name.startswith("other_")]
    kept = replace(objects.map(lambda array: array[:, own]), names=tuple(objects.names[k] for k in own))
    return replace(observation, objects=replace(kept, kind=objects.kind[own]))


def test_updates_run_and_change_what_both_arms_do(config: Config, tmp_path: Path) -> None:
    with Run.open(tmp_path / "run", to_dict(config)) as run:
        assert collect_demonstrations(config, run.folder, lambda done, wanted: None) <= 8
        trainer = policy_trainer(config, run)
    seen = trainer.worlds.observation
    before = trainer.policy.act(seen, trainer.worlds.task.goal)
    assert before.shape == (2, 10)
    trainer.clone(3)
    cloned = trainer.policy.act(seen, trainer.worlds.task.goal)
    trainer.advance(60)
    after = trainer.policy.act(seen, trainer.worlds.task.goal)
    assert trainer.learner.updates > 3
    assert np.isfinite(after).all()
    for arm in (slice(0, 5), slice(5, 10)):
        assert np.abs(cloned - before)[:, arm].max() > 0.0
        assert np.abs(after - cloned)[:, arm].max() > 0.0
