"""`embodied deploy robot=koch` on a twin in lock step: outcomes of the simulation, what is recorded, how it ends."""

import io
from dataclasses import replace

import numpy as np
import pytest
from twins import enabled, start

from embodied.arguments import DeployArguments
from embodied.console import Console
from embodied.data.episodes import EpisodeStore
from embodied.data.lerobot_io import to_lerobot
from embodied.data.rerun import scene_of
from embodied.deploy.command import assigned, carry_out
from embodied.deploy.episodes import absolute
from embodied.evaluation.success import held_out_seeds, success_in
from envs.errors import EmbodiedError
from envs.robot import joint_absolute, joint_range
from envs.types import PROPRIOCEPTION
from envs.worlds import TaskWorlds
from robots.arm.kinds import kind_of

pytest.importorskip("dynamixel_sdk", reason="the extra `dynamixel` is not installed")

POSITION = PROPRIOCEPTION["joint_position"]
LIMITS = kind_of("koch").limits


@pytest.fixture(scope="module")
def twin(tmp_path_factory):
    """One that runs already."""
    folder = tmp_path_factory.mktemp("running") / "twin"
    with start(folder, robot="koch", task="place", clock="reads", packet_time=0.02) as process:
        yield process


def carried_out(folder, twin, steps=None, said=None, **settings):
    """What is said of it, and the episodes."""
    usual = {"run": "expert", "robot": "koch", "task": "place", "clock": "reads", "episodes": 1}
    given = DeployArguments(**{**usual, "port": twin.port, "record": str(folder), **settings})
    found = assigned(given)
    if steps is not None:
        found = replace(found, task=replace(found.task, horizon=steps))
    record = carry_out(given, found, Console(said or io.StringIO()))
    assert not enabled(twin)
    return record, list(EpisodeStore(folder / "episodes"))


@pytest.fixture(scope="module")
def done(twin, tmp_path_factory):
    """Two whole episodes."""
    return carried_out(tmp_path_factory.mktemp("deploy"), twin, episodes=2)


def test_the_expert_places_cubes_as_it_does_in_the_simulation(done):
    record, episodes = done
    found = assigned(DeployArguments(run="expert", robot="koch", task="place"))
    worlds = TaskWorlds(found.task, 2, control=found.control)
    simulated = success_in(worlds, found.policy, held_out_seeds(0, 2)).succeeded
    assert simulated.all()
    assert [each["success"] for each in record["each"]] == simulated.tolist()
    assert (record["fault"], record["loop"]["powered"], record["lost"]) == (None, (), False)
    assert [episode.length for episode in episodes] == [found.task.horizon] * 2


def test_what_is_recorded_is_what_was_executed(done):
    _, episodes = done
    for episode in episodes:
        assert episode.robot.startswith("koch (own, full")
        told = joint_absolute("koch").target(np.zeros(6), episode.action)
        assert np.abs(np.diff(told, axis=0))[:, :5].max() <= 0.1 * LIMITS.velocity + 1e-9
        low, high = joint_range("koch").T
        assert (told >= low + LIMITS.margin - 1e-9).all()
        assert (told <= high - LIMITS.margin + 1e-9).all()
        away = np.abs(told - episode.observation.proprioception[1:, POSITION])[:, :5]
        assert away.max() < LIMITS.astray
        assert np.median(away) < 0.02
        assert episode.success[-1] == episode.goal.satisfied(episode.observation.objects)[-1]


def test_a_recording_is_seen_as_a_koch_and_not_exported_as_another_arm(done, tmp_path, monkeypatch):
    _, episodes = done
    assert scene_of(episodes[0]).config.robot == "koch"

    class Store(list):
        folder = tmp_path

    with pytest.raises(EmbodiedError, match=r"An episode of koch \(own, full.* is in units of its calibration"):
        to_lerobot(Store(episodes), tmp_path / "lerobot")


def test_shadow_moves_nothing(twin, tmp_path):
    before = twin.tell("truth()")["joints"]
    said = io.StringIO()
    record, (episode,) = carried_out(tmp_path, twin, 3, said, mode="shadow")
    assert record["fault"] is None
    assert twin.tell("truth()")["joints"] == pytest.approx(before, abs=2e-3)
    assert sum(" deg" in line for line in said.getvalue().splitlines()) == 3
    reached = episode.observation.proprioception[1:, POSITION]
    np.testing.assert_allclose(episode.action, absolute(reached, "koch"), atol=1e-9)
