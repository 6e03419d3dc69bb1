"""Beginnings at the frontier: drawn where success is as likely as not, of what is possible, and resumed bit for bit."""

import numpy as np
import pytest
from resuming import check_resumes

from embodied.config import AgentConfig
from embodied.training.frontier import Frontier, FrontierWorlds
from embodied.training.policy import PolicyTrainer
from envs.errors import EmbodiedError
from envs.tasks import task
from envs.worlds import TaskWorlds

LINE = np.linspace(0.0, 0.5, 101)[:, None]


def frontier(share: float = 1.0, valid=True, distances=LINE) -> Frontier:
    return Frontier(distances, np.broadcast_to(valid, len(distances)), share, np.random.default_rng(0))


def practised(share: float) -> Frontier:
    """Easy near 0, hopeless near 0.5, even odds half way."""
    found = frontier(share)
    rng = np.random.default_rng(1)
    for _ in range(20):
        which = rng.integers(0, 101, 40)
        found.note(which, rng.random(40) < np.clip(2.5 - 2.0 * which / 40.0, 0.0, 1.0))
    return found


def test_it_draws_where_success_is_as_likely_as_not():
    def middle(share: float) -> float:
        found = practised(share)
        drawn = np.concatenate([found.draw(10) for _ in range(100)])
        return float(np.mean((drawn >= 28) & (drawn < 52)))

    assert abs(middle(0.0) - 0.24) < 0.05
    assert middle(1.0) > 0.5


def test_weights_are_the_expected_chance_of_either_outcome():
    found = frontier(distances=np.array([[0.0], [1.0], [2.0]]))
    found.note(np.array([0, 0, 0, 1]), np.array([True, True, False, False]))
    won, lost = found.evidence()
    np.testing.assert_allclose(won, [2.0, 0.0, 0.0], atol=1e-9)
    np.testing.assert_allclose(lost, [1.0, 1.0, 0.0], atol=1e-9)
    # E[p (1 - p)] of Beta(3, 2), Beta(1, 2) and Beta(1, 1).
    expected = np.array([1.0 / 5.0, 1.0 / 6.0, 1.0 / 6.0])
    counts = np.bincount(np.concatenate([found.draw(1) for _ in range(6000)]), minlength=3)
    np.testing.assert_allclose(counts / 6000, expected / expected.sum(), atol=0.02)


def test_old_outcomes_are_forgotten():
    found = frontier(distances=np.array([[0.0], [1.0]]))
    found.note(np.zeros(600, int), np.zeros(600, bool))
    found.note(np.zeros(512, int), np.ones(512, bool))
    won, lost = found.evidence()
    assert (won[0], lost[0]) == (512.0, 0.0)


def test_only_valid_beginnings_are_drawn_and_near_duplicates_once():
    valid = np.arange(101) % 3 == 0
    assert set(frontier(valid=valid).draw(60)) <= set(np.flatnonzero(valid))
    twice = frontier(distances=np.concatenate([LINE + 5e-4, LINE + 6e-4]))
    assert len(twice.drawable) == 101
    assert len(set(frontier().draw(101))) == 101
    with pytest.raises(EmbodiedError, match="None of 101 beginnings is valid"):
        frontier(valid=False)


class OneSided:
    """Succeeds where the target is on the left, and never elsewhere."""

    def reset(self):
        pass

    def act(self, observation, goal):
        place = observation.objects.position_in_world
        off = place[:, observation.objects.index("target")] - place[:, observation.objects.index("gripper")]
        action = np.concatenate([off / 0.03, np.zeros((len(off), 2))], axis=1)
        left = place[:, observation.objects.index("target"), 1] > 0.0
        return np.clip(np.where(left[:, None], action, -action), -1, 1)


def test_beginnings_that_the_oracle_never_finishes_are_not_proposed():
    worlds = FrontierWorlds(TaskWorlds(task("reach"), 8, threads=1), 1.0, 0, OneSided(), proposed=20)
    for _ in range(4):
        place = worlds.reset().objects
        assert (place.position_in_world[:, place.index("target"), 1] > 0.0).all()
    done = FrontierWorlds(TaskWorlds(task("reach", goal="near(gripper, target, 0.1)"), 8, threads=1), 1.0, 0,
                          proposed=64)  # fmt: skip
    assert not np.asarray(done.task.goal.satisfied(done.observation.objects)).any()
    assert len(done.frontier.drawable) < 50


def test_the_end_of_an_episode_is_noted_and_training_resumes_bit_for_bit(tmp_path):
    def trainer() -> PolicyTrainer:
        worlds = FrontierWorlds(TaskWorlds(task("reach", horizon=4), 4, threads=1), 0.8, 3, proposed=16)
        return PolicyTrainer(worlds, AgentConfig(width=8, batch=8), 0, capacity=20)

    resumed = check_resumes(trainer, 6, 5, tmp_path)
    assert len(resumed.worlds.frontier._which) == 8
