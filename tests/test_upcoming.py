"""Episodes that were drawn ahead are those that would have been drawn when they begin."""

import numpy as np

from envs.headstart import HeadStart
from envs.tasks import TASKS
from envs.types import Array
from envs.upcoming import Upcoming
from envs.variation import Variation
from envs.worlds import TaskWorlds

WORLDS = 6
VARIATION = Variation(mass=(0.5, 2.0), size=(0.9, 1.1))


def made(**options) -> TaskWorlds:
    return TaskWorlds(TASKS["place"], WORLDS, seed=3, threads=1, **options)


def alone(beginning: tuple[int, ...], **options) -> Array:
    """The row of a world that begins this episode, drawn for it alone."""
    worlds = TaskWorlds(TASKS["place"], 1, threads=1, **options)
    worlds.reset(seeds=[beginning])
    return worlds.simulation.save().rows[0]


def begin(worlds: TaskWorlds, ids: list[int]) -> list[tuple[int, ...]]:
    """Begin anew in some worlds; what they began with, checked to be what they would have begun with alone."""
    worlds.reset(np.array(ids))
    rows = worlds.simulation.save().rows
    options = {"variation": worlds.variation, "head_start": worlds.head_start}
    for world in ids:
        np.testing.assert_array_equal(rows[world], alone(worlds.beginnings[world], **options))
    return [worlds.beginnings[world] for world in ids]


def test_worlds_begin_a_few_at_a_time_as_each_would_alone() -> None:
    worlds = made(variation=VARIATION)
    assert begin(worlds, [1, 4]) == [(3, 1, 1), (3, 4, 1)]
    assert begin(worlds, [4, 0, 2]) == [(3, 4, 2), (3, 0, 1), (3, 2, 1)]


def test_what_decides_beginnings_may_change_at_any_time() -> None:
    worlds = made()
    begin(worlds, [0])
    worlds.variation = VARIATION
    begin(worlds, [1])
    worlds.head_start = HeadStart(held=1.0, hovering=0.0)
    begin(worlds, [2])
    worlds.reseed(range(70, 70 + worlds.worlds))
    assert begin(worlds, [3]) == [(73, 0)]
    worlds.reset(np.array([4]), seeds=[11])
    assert begin(worlds, [4]) == [(74, 1)]
    worlds.reset(np.array([5]), fixed={"mass": 1.5})
    assert (worlds.factors["mass"][5] == 1.5).all()
    begin(worlds, [5])


def test_a_restored_stream_goes_on_where_it_was() -> None:
    worlds = made()
    saved = worlds.state_dict()
    first = begin(worlds, [2])
    begin(worlds, [2])
    worlds.load_state_dict(saved)
    assert begin(worlds, [2]) == first


def test_all_are_drawn_once() -> None:
    upcoming, episode, drawn = Upcoming(4), np.zeros(4, np.int64), []

    def draw(ids: Array) -> tuple[Array, dict[str, Array]]:
        drawn.append(ids.tolist())
        return np.stack([10.0 * ids + episode[ids]], axis=1), {}

    for ids in ([0, 1], [3], [0], [2, 1]):
        rows, _ = upcoming.take(np.array(ids), episode, "", draw)
        np.testing.assert_array_equal(rows[:, 0], 10 * np.array(ids) + episode[ids])
        episode[ids] += 1
    assert drawn == [[0, 1, 2, 3], [0, 1, 3]]
