"""Recording as it happens: what a process that is killed leaves, and what the next one makes of it."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_episodes import assert_same
from toy_worlds import toy_episodes

from embodied.data.episodes import EpisodeStore
from embodied.data.journal import NAME, Journal, Told
from envs.episode import Origin
from envs.errors import EmbodiedError


@pytest.fixture
def episode():
    (episode,) = toy_episodes(1)
    pictures = np.arange((episode.length + 1) * 24, dtype=np.uint8).reshape(-1, 2, 4, 3)
    return replace(episode, observation=replace(episode.observation, images={"front": pictures}))


def told(episode):
    return Told(episode.goal, episode.seed, episode.task, episode.robot, {"mujoco": "4.0.0"})


def record(journal, episode, steps):
    journal.begin(told(episode), episode.observation[0], bool(episode.success[0]))
    for t in range(steps):
        journal.add(episode.action[t], episode.observation[t + 1], bool(episode.success[t + 1]))


@pytest.fixture
def four(tmp_path, episode):
    """What lies on the disk after four steps of an episode."""
    with Journal(EpisodeStore(tmp_path / "whole")) as journal:
        record(journal, episode, 4)
        return (tmp_path / "whole" / NAME).read_bytes()


def cut(episode, steps, versions):
    return replace(
        episode, observation=episode.observation[: steps + 1], action=episode.action[:steps],
        success=episode.success[: steps + 1], simulator_state=None, versions=versions,
    )  # fmt: skip


def test_where_it_began_is_read_back(tmp_path, episode):
    began = Origin((7,), "joint_absolute", 10.0, variation="mass=0.5..2", factors={"mass": np.array([[1.7]])})
    with Journal(EpisodeStore(tmp_path)) as journal:
        journal.begin(replace(told(episode), origin=began), episode.observation[0], False)
        journal.add(episode.action[0], episode.observation[1], False)
    (read,) = EpisodeStore(tmp_path)
    assert replace(read.origin, factors={}) == replace(began, factors={})
    np.testing.assert_array_equal(read.origin.factors["mass"], began.factors["mass"])


def test_what_is_recorded_is_read_back(tmp_path, episode):
    with Journal(EpisodeStore(tmp_path)) as journal:
        record(journal, episode, episode.length)
        journal.end()
        record(journal, episode, 3)
    first, second = EpisodeStore(tmp_path)
    assert_same(first, cut(episode, episode.length, first.versions))
    assert_same(second, cut(episode, 3, second.versions))
    assert first.versions["mujoco"] == "4.0.0"
    assert not (tmp_path / NAME).exists()


def test_a_journal_torn_anywhere_keeps_its_whole_steps(tmp_path, episode, four):
    lengths = set()
    for number, size in enumerate(np.linspace(0, len(four), 23).astype(int)):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / NAME).write_bytes(four[:size])
        with Journal(EpisodeStore(folder)) as after:
            stored = list(EpisodeStore(folder))
            assert sum(each.length for each in stored) == after.recovered
        for each in stored:
            assert_same(each, cut(episode, each.length, each.versions))
        lengths.add(after.recovered)
    assert lengths == {0, 1, 2, 3, 4}


def test_a_damaged_byte_ends_what_is_kept(tmp_path, four):
    (tmp_path / NAME).write_bytes(four[:-5] + bytes((four[-5] ^ 1,)) + four[-4:])
    with Journal(EpisodeStore(tmp_path)) as after:
        assert after.recovered == 3


def test_a_kill_between_shard_and_journal_stores_nothing_twice(tmp_path, four):
    (tmp_path / "whole" / NAME).write_bytes(four)
    with Journal(EpisodeStore(tmp_path / "whole")) as after:
        assert after.recovered == 0
    assert len(EpisodeStore(tmp_path / "whole")) == 1


PROGRAM = """
import sys
sys.path.insert(0, {tests!r})
from toy_worlds import toy_episodes
from test_journal import record
from embodied.data.episodes import EpisodeStore
from embodied.data.journal import Journal
(episode,) = toy_episodes(1)
journal = Journal(EpisodeStore({folder!r}))
record(journal, episode, 2)
journal.end()
record(journal, episode, 3)
t = 3
while True:
    print(t, flush=True)
    journal.add(episode.action[t % episode.length], episode.observation[t % episode.length], False)
    t += 1
"""


def test_a_process_killed_while_it_records_loses_no_step_that_was_done(tmp_path):
    program = PROGRAM.format(tests=str(Path(__file__).parent), folder=str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        said = [process.stdout.readline() for _ in range(40)]
        with pytest.raises(EmbodiedError, match=r"Another process records into .*; wait, or name another folder"):
            Journal(EpisodeStore(tmp_path))
        process.kill()
        said += process.stdout.readlines()
    done = int([line for line in said if line.endswith("\n")][-1])
    with Journal(EpisodeStore(tmp_path)) as after:
        assert done <= after.recovered <= done + 1
    assert list(EpisodeStore(tmp_path).lengths) == [2, after.recovered]


def test_episodes_do_not_overlap(tmp_path, episode):
    with Journal(EpisodeStore(tmp_path)) as journal:
        with pytest.raises(EmbodiedError, match="No episode is being recorded"):
            journal.add(episode.action[0], episode.observation[1], False)
        record(journal, episode, 1)
        with pytest.raises(EmbodiedError, match="An episode is being recorded"):
            record(journal, episode, 1)
