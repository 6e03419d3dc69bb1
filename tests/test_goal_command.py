"""`embodied goal`: recorded episodes say what was wanted."""

from dataclasses import replace

import numpy as np
from tabletop import HOME, NAMES, tabletop
from toy_worlds import toy_episodes

from embodied.cli import compose, main
from embodied.data.episodes import EpisodeStore
from embodied.goal import arrival
from embodied.training.collect import collect_demonstrations
from envs.types import ObjectState


def test_the_goal_of_demonstrations_is_told(tmp_path, capsys):
    (config,) = compose("train", ["env=place_bin", "env.worlds=12", "trainer.demonstrations=12", f"run={tmp_path}"])
    collect_demonstrations(config, tmp_path, lambda done, of: None)
    assert main(["goal", f"episodes={tmp_path / 'demonstrations'}"]) == 0
    told = capsys.readouterr().out
    assert "goal       in(red_cube, bin)" in told
    assert "12 ends of episodes" in told
    assert main(["goal", f"episodes={tmp_path / 'demonstrations'}", "examples=5"]) == 0
    assert "5 ends of episodes" in capsys.readouterr().out


def moving(name, places):
    """States in which one entity is at one place after another."""
    return ObjectState.stack([tabletop(**{name: place}) for place in places])


def test_success_begins_when_what_was_moved_has_arrived():
    start, step = HOME[NAMES.index("red_cube")], np.array([0.05, 0.0, 0.0])
    away, there = start + step, start + 2 * step
    assert arrival(moving("red_cube", [start, away, there, there + step / 50, there])) == 2
    # Where nothing else moves, the hand is what arrives; where nothing does, one state is before.
    assert arrival(moving("gripper", [start, away, away])) == 1
    assert arrival(moving("gripper", [start, start, away])) == 2
    assert arrival(moving("red_cube", [start] * 3)) == 1


def test_folders_without_a_common_goal_are_refused(tmp_path, capsys):
    assert main(["goal", f"episodes={tmp_path / 'none'}"]) == 2
    assert "There are no episodes in" in capsys.readouterr().err
    store, (episode,) = EpisodeStore(tmp_path / "two"), toy_episodes(1)
    objects = episode.observation.objects
    names = tuple(name.replace("red", "blue") for name in objects.names)
    other = replace(episode, observation=replace(episode.observation, objects=replace(objects, names=names)))
    store.append([episode])
    store.append([other])
    assert main(["goal", f"episodes={tmp_path / 'two'}"]) == 2
    assert "are of different things" in capsys.readouterr().err
    still = episode.observation[np.zeros(episode.length + 1, int)]
    EpisodeStore(tmp_path / "still").append([replace(episode, observation=still)])
    assert main(["goal", f"episodes={tmp_path / 'still'}"]) == 2
    assert "they look alike" in capsys.readouterr().err


def test_counts_below_none_are_refused(capsys):
    assert main(["goal", "examples=-1"]) == 2
    assert "examples must be 0 or more" in capsys.readouterr().err
