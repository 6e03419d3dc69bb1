"""The episode store: what goes in comes out, appended shards add up, and a kill leaves whole shards only."""

from dataclasses import fields, replace

import numpy as np
import pytest
from toy_worlds import toy_episodes

import embodied.checkpoint as checkpoint_module
import embodied.data.episodes as episodes_module
from embodied.data.episodes import EpisodeStore
from envs.episode import Episode
from envs.errors import EmbodiedError
from envs.interventions import Intervention


def assert_same(first: Episode, second: Episode) -> None:
    for field in fields(first.observation.objects):
        if field.name != "names":
            a, b = getattr(first.observation.objects, field.name), getattr(second.observation.objects, field.name)
            assert np.asarray(a).dtype == b.dtype
            np.testing.assert_array_equal(a, b)
    assert first.observation.objects.names == second.observation.objects.names
    np.testing.assert_array_equal(first.observation.proprioception, second.observation.proprioception)
    np.testing.assert_array_equal(first.observation.time, second.observation.time)
    assert first.observation.images.keys() == second.observation.images.keys()
    for name in first.observation.images:
        np.testing.assert_array_equal(first.observation.images[name], second.observation.images[name])
    np.testing.assert_array_equal(first.action, second.action)
    np.testing.assert_array_equal(first.success, second.success)
    assert (first.simulator_state is None) == (second.simulator_state is None)
    if first.simulator_state is not None:
        np.testing.assert_array_equal(first.simulator_state, second.simulator_state)
    for name in ("goal", "seed", "task", "robot", "interventions", "versions"):
        assert getattr(first, name) == getattr(second, name)


def rich(episode: Episode, rng: np.random.Generator) -> Episode:
    """With everything an episode can carry, cut to its own length."""
    steps = int(rng.integers(5, episode.length))
    observation = episode.observation[: steps + 1]
    image = rng.integers(0, 255, (steps + 1, 4, 6, 3)).astype(np.uint8)
    return replace(
        episode,
        observation=replace(observation, images={"front": image}),
        action=episode.action[:steps],
        success=episode.success[: steps + 1],
        simulator_state=rng.normal(size=(steps + 1, 7)),
        interventions=(Intervention.parse("remove(red_cube)"),),
        versions={"mujoco": "4.0.0"},
    )


def with_mass(episode: Episode, mass: float) -> Episode:
    objects = episode.observation.objects
    changed = replace(objects, mass=np.full_like(objects.mass, mass))
    return replace(episode, observation=replace(episode.observation, objects=changed))


def test_round_trip_across_shards_and_layouts(tmp_path):
    rng = np.random.default_rng(0)
    plain = toy_episodes(3)
    full = [rich(episode, rng) for episode in plain]
    store = EpisodeStore(tmp_path / "episodes")
    assert len(store) == 0
    store.append(plain[:2] + full)
    store.append(plain[2:])
    for reader in (store, EpisodeStore(tmp_path / "episodes")):
        assert len(reader) == 6
        for given, read in zip(plain[:2] + full + plain[2:], reader, strict=True):
            assert_same(given, read)
        assert reader.lengths.tolist() == [episode.length for episode in reader]
        assert_same(plain[2], reader[-1])
    assert store.heads[2]["interventions"] == ["remove(red_cube)"]


def test_kill_while_writing_leaves_whole_shards(tmp_path, monkeypatch):
    store = EpisodeStore(tmp_path)
    store.append(toy_episodes(2))

    def die(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint_module.os, "replace", die)
    with pytest.raises(KeyboardInterrupt):
        store.append(toy_episodes(1, seed=5))
    monkeypatch.undo()
    assert len(EpisodeStore(tmp_path)) == 2
    again = EpisodeStore(tmp_path)
    again.append(toy_episodes(1, seed=5))
    assert len(EpisodeStore(tmp_path)) == 3
    assert len(list(tmp_path.iterdir())) == 2


def test_fields_that_stand_still_are_written_once(tmp_path):
    store = EpisodeStore(tmp_path)
    given = [with_mass(episode, 0.1 * i) for i, episode in enumerate(toy_episodes(4))]
    store.append(given)
    for i, episode in enumerate(given):
        assert_same(store[i], episode)
    moving = [replace(e, observation=replace(e.observation, time=np.arange(21) * 0.1)) for e in toy_episodes(4)]
    store.append(moving)
    assert np.array_equal(store[5].observation.time, np.arange(21) * 0.1)
    assert np.array_equal(store[1].observation.time, np.zeros(21))


def test_bad_stores_are_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(EmbodiedError, match="must be a folder"):
        EpisodeStore(tmp_path / "file")
    store = EpisodeStore(tmp_path / "store")
    store.append(toy_episodes(1))
    with pytest.raises(EmbodiedError, match="Episode 1 does not exist"):
        store[1]
    with pytest.raises(EmbodiedError, match="rows of 'success', not 21"):
        store.append([replace(toy_episodes(1)[0], success=np.zeros(3, bool))])
    shard = next((tmp_path / "store").glob("shard-*"))
    shard.write_bytes(shard.read_bytes()[:100])
    with pytest.raises(EmbodiedError, match="cannot be read"):
        EpisodeStore(tmp_path / "store")


def test_a_shard_of_another_format_is_refused(tmp_path, monkeypatch):
    EpisodeStore(tmp_path).append(toy_episodes(1))
    monkeypatch.setattr(episodes_module, "FORMAT", 2)
    with pytest.raises(EmbodiedError, match="has format 1; this version reads 2"):
        EpisodeStore(tmp_path)
