"""A world that diverges is named, kept for inspection and begun anew, and its neighbours do not notice."""

import numpy as np
import pytest

from envs.divergence import load
from envs.errors import DivergedError, EmbodiedError
from envs.gym import TabletopVectorEnv
from envs.tasks import TASKS
from envs.worlds import TaskWorlds


def shaken(**options) -> TaskWorlds:
    """Three worlds in the midst of an episode."""
    worlds = TaskWorlds(TASKS["place"], 3, seed=4, threads=1, **options)
    for action in np.random.default_rng(0).uniform(-1, 1, (4, 3, 5)):
        worlds.step(action)
    return worlds


def explode(worlds: TaskWorlds, world: int) -> None:
    """A cube as fast as no number can say after a few steps."""
    dof = worlds.simulation.scene.dof[worlds.simulation.scene.index("red_cube")]
    worlds.simulation.batch.bind("qvel")[world, dof] = 1e200


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # MuJoCo logs its warning into the working directory
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def test_it_is_named_and_begins_anew_and_the_others_do_not_notice():
    worlds, undisturbed = shaken(), shaken()
    before = worlds.observation
    explode(worlds, 1)
    action = np.random.default_rng(1).uniform(-1, 1, (3, 5))
    with pytest.warns(RuntimeWarning, match=r"world 1 of task 'place' diverged after 4 steps; it begins anew"):
        transition = worlds.step(action)
    np.testing.assert_array_equal(transition.truncated, [False, True, False])
    assert not transition.success[1]
    last = transition.next_observation.objects.position_in_world
    np.testing.assert_array_equal(last[1], before.objects.position_in_world[1], "the last that was seen of it")
    np.testing.assert_array_equal(last[[0, 2]], worlds.observation.objects.position_in_world[[0, 2]])
    assert (last[1] != worlds.observation.objects.position_in_world[1]).any()
    np.testing.assert_array_equal(worlds.elapsed, [5, 1, 5])
    np.testing.assert_array_equal(worlds.episode, [1, 2, 1])
    undisturbed.step(action)
    others = np.array([0, 2])
    np.testing.assert_array_equal(worlds.simulation.save(others).rows, undisturbed.simulation.save(others).rows)


@pytest.mark.parametrize("mode", ["SameStep", "NextStep"])
def test_a_learner_sees_the_end_of_the_episode_that_was_lost_and_not_another(mode):
    env = TabletopVectorEnv("place", 3, autoreset_mode=mode)
    env.reset(seed=0)
    seen = env.step(np.full((3, 5), 0.1))[0]
    explode(env.worlds, 1)
    with pytest.warns(RuntimeWarning, match="diverged"):
        after, _, _, truncated, info = env.step(np.full((3, 5), 0.1))
    assert truncated.tolist() == [False, True, False]
    final = info["final_obs"] if mode == "SameStep" else after
    np.testing.assert_array_equal(final["observation"][1], seen["observation"][1])
    assert (final["observation"][[0, 2]] != seen["observation"][[0, 2]]).any(axis=1).all()
    begun = after if mode == "SameStep" else env.step(np.full((3, 5), 0.1))[0]
    assert (begun["desired_goal"][1] != final["desired_goal"][1]).any()
    np.testing.assert_array_equal(begun["desired_goal"][[0, 2]], final["desired_goal"][[0, 2]])


def test_what_is_kept_diverges_again():
    worlds = shaken()
    explode(worlds, 2)
    with pytest.warns(RuntimeWarning) as warned:
        worlds.step(np.full((3, 5), 0.1))
    file = str(warned[0].message).rpartition(" in ")[2].rstrip(".")
    kept = load(file)
    np.testing.assert_array_equal(kept.action, np.full(5, 0.1))
    fresh = TaskWorlds(TASKS["place"], 1, threads=1).simulation
    fresh.restore(kept.state)
    with pytest.raises(DivergedError, match="worlds 0 diverged") as error:
        fresh.step(kept.action[None])
    assert error.value.worlds == (0,)


def test_worlds_that_never_stop_diverging_are_an_error(monkeypatch):
    worlds = shaken()
    reset = worlds.reset

    def reset_badly(*arguments, **options):
        observation = reset(*arguments, **options)
        explode(worlds, 0)
        return observation

    monkeypatch.setattr(worlds, "reset", reset_badly)
    explode(worlds, 0)
    with pytest.warns(RuntimeWarning), pytest.raises(DivergedError, match="worlds 0"):
        worlds.step(np.zeros((3, 5)))


def test_wrong_actions_step_nothing():
    worlds = shaken()
    before = worlds.simulation.save().rows
    for action, sentence in ((np.full((3, 5), np.nan), "has x = nan"), (np.zeros((3, 4)), r"\(3, 4\) was given")):
        with pytest.raises(EmbodiedError, match=sentence):
            worlds.step(action)
    np.testing.assert_array_equal(worlds.simulation.save().rows, before)


def test_steps_can_be_taken_back():
    worlds = shaken()
    before, snapshot = worlds.simulation.save().rows, worlds.simulation.snapshot()
    worlds.simulation.step(np.ones((3, 5)))
    assert not np.array_equal(worlds.simulation.save().rows, before)
    worlds.simulation.undo(snapshot)
    np.testing.assert_array_equal(worlds.simulation.save().rows, before)
