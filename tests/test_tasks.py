"""Every task is valid, its resets are seed-stable, and bad names are told what is allowed."""

import numpy as np
import pytest

from envs import GYM_IDS
from envs.errors import EmbodiedError
from envs.experts import expert
from envs.suite import NAMES
from envs.tasks import TASKS, task
from envs.validation import validate


@pytest.mark.parametrize("name", TASKS)
def test_task_is_valid(name: str) -> None:
    # Two failures in 40 are allowed to an expert that succeeds at 98 %; `embodied bench experts` measures it closely.
    # The suite's episodes are long, and of more things: fewer of them, and one failure.
    suite = name in NAMES
    validate(TASKS[name], resets=6 if suite else 40, seed=5000, threads=1).check(expert=0.8 if suite else 0.95)


def test_validation_names_what_is_wrong() -> None:
    trivial = task("place", goal="near(red_cube, target, 1.0)")
    with pytest.raises(EmbodiedError, match=r"already done at 100\.0%.*standing still succeeds"):
        validate(trivial, resets=4, threads=1).check()


@pytest.mark.parametrize("name", TASKS)
def test_layout_depends_on_its_own_seed_alone(name: str) -> None:
    together = TASKS[name].layout([np.random.default_rng(seed) for seed in (3, 4, 5)])
    alone = TASKS[name].layout([np.random.default_rng(4)])
    np.testing.assert_array_equal(together.object_position[1], alone.object_position[0])
    np.testing.assert_array_equal(together.joints[1], alone.joints[0])
    other = TASKS[name].layout([np.random.default_rng(6)])
    assert not np.array_equal(alone.joints, other.joints)


def test_distractors_come_and_go() -> None:
    layout = TASKS["place_clutter"].layout([np.random.default_rng(seed) for seed in range(64)])
    assert layout.present is not None
    assert layout.present[:, 0].all()
    assert 0.5 < layout.present[:, 1:].mean() < 0.85
    apart = np.linalg.norm(layout.object_position[:, 0] - layout.object_position[:, 1], axis=-1)
    assert apart.min() > 0.06


def test_half_of_the_goals_are_aloft_as_high_as_the_arm_reaches() -> None:
    layout = TASKS["place_air"].layout([np.random.default_rng(seed) for seed in range(400)])
    assert layout.goal_position is not None
    height = layout.goal_position[:, 2]
    aloft = height > 0.02
    assert 0.42 < aloft.mean() < 0.58
    np.testing.assert_allclose(height[~aloft], 0.014)
    assert height[aloft].min() >= 0.04
    assert 0.14 < height.max() < 0.15


def test_every_task_has_a_gymnasium_id() -> None:
    assert set(GYM_IDS.values()) == set(TASKS)


def test_bad_names_are_told_what_is_allowed() -> None:
    with pytest.raises(EmbodiedError, match=r"Unknown task 'plce'\. Did you mean 'place'\?"):
        task("plce")
    with pytest.raises(EmbodiedError, match=r"Unknown object 'purple_cube'.*red_cube"):
        task("place", goal="near(purple_cube, target, 0.02)")
    with pytest.raises(EmbodiedError, match=r"horizon=0 was given; a whole number from 1 on is needed\."):
        task("place", horizon=0)
    with pytest.raises(EmbodiedError, match="Unknown task 'juggle'"):
        expert("juggle")
