"""`embodied deploy` on twins in lock step: every mode, what is recorded, and how it ends."""

import io
import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from reacher import reacher
from twins import start

from embodied.arguments import DeployArguments
from embodied.console import Console
from embodied.data.episodes import EpisodeStore
from embodied.data.journal import NAME
from embodied.data.lerobot_io import to_lerobot
from embodied.deploy import command
from embodied.deploy.command import assigned, carry_out, deploy
from embodied.deploy.episodes import absolute
from envs.control import JointAbsolute
from envs.errors import EmbodiedError
from envs.so101 import JOINT_HIGH
from envs.types import PROPRIOCEPTION
from robots.governor.limits import Limits
from robots.units import JOINTS, Units

ROOT = Path(__file__).resolve().parent.parent
BODY = PROPRIOCEPTION


def arguments(folder, **settings):
    return DeployArguments(**{"run": "expert", "clock": "reads", "record": str(folder), "episodes": 1} | settings)


def short(folder, steps, policy=None, said=None, **settings):
    """A few steps of an episode; its record and its episodes."""
    given = arguments(folder, **settings)
    found = assigned(given)
    found = replace(found, task=replace(found.task, horizon=steps), policy=policy or found.policy)
    record = carry_out(given, found, Console(said or io.StringIO()))
    return record, list(EpisodeStore(folder / "episodes"))


def commands(episode):
    """`[T 6]` [rad] as recorded."""
    return JointAbsolute().target(np.zeros(6), episode.action)


def enabled(twin):
    return {name for name, on in twin.tell("truth()")["enabled"].items() if on}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Two whole episodes."""
    folder, said = tmp_path_factory.mktemp("deploy"), io.StringIO()
    code = deploy(arguments(folder, episodes=2), Console(said))
    return folder, code, said.getvalue()


@pytest.fixture(scope="module")
def twin(tmp_path_factory):
    """One that runs already."""
    with start(tmp_path_factory.mktemp("running") / "twin", clock="reads", packet_time=0.02) as process:
        yield process


def test_the_expert_places_cubes_through_the_driver(done):
    folder, code, said = done
    record = json.loads((folder / "deploy.json").read_text())
    assert code == 0
    assert [each["success"] for each in record["each"]] == [True, True]
    assert record["fault"] is None
    assert record["perception"] == "the twin's truth"
    assert record["loop"]["powered"] == []
    assert "success  100.0 %" in said
    assert record["twin_late_s"] == 0.0
    assert "late" not in said


def test_a_twin_that_was_not_run_in_time_is_said(done):
    said = io.StringIO()
    record = json.loads((done[0] / "deploy.json").read_text()) | {"twin_late_s": 1.25}
    command._say(record, arguments(done[0]), Console(said))
    assert "twin     1.2 s late: this machine is too busy" in said.getvalue()


def test_what_is_recorded_is_what_was_executed(done):
    folder, _, _ = done
    store = EpisodeStore(folder / "episodes")
    assert list(store.lengths) == [50, 50]
    for episode in store:
        assert (episode.origin.beginning, episode.origin.servo) == ((episode.seed,), "firm")
        told, body = commands(episode), episode.observation.proprioception
        # The policy wants more of the wrist than there is; the governor keeps a margin.
        wrist, margin = JOINTS.index("wrist_flex"), Limits().margin
        assert told[:, wrist].max() == pytest.approx(JOINT_HIGH[wrist] - margin, abs=1e-3)
        moved = np.abs(np.diff(told, axis=0))[:, :5] / 0.1
        assert moved.max() <= Limits().velocity + 1e-9
        # The arm follows its commands within what it lags, and comes to where they end.
        away = np.abs(told - body[1:, BODY["joint_position"]])[:, :5]
        assert away.max() < 0.35
        assert np.median(away) < 0.02
        assert np.diff(episode.observation.time) == pytest.approx(0.1)
        assert bool(episode.success[-1]) == bool(episode.goal.satisfied(episode.observation.objects)[-1])


def test_the_same_command_gives_the_same_episode(done, tmp_path):
    first = EpisodeStore(done[0] / "episodes")[0]
    _, (again,) = short(tmp_path, 25)
    np.testing.assert_array_equal(first.action[:25], again.action)
    np.testing.assert_array_equal(first.observation.proprioception[:26], again.observation.proprioception)
    np.testing.assert_array_equal(
        first.observation.objects.position_in_world[:26], again.observation.objects.position_in_world
    )


def test_what_was_recorded_opens_as_a_lerobot_dataset(done, tmp_path):
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    store = EpisodeStore(done[0] / "episodes")
    assert to_lerobot(store, tmp_path / "lerobot") == 100
    opened = LeRobotDataset("embodied/recorded", root=tmp_path / "lerobot")
    assert (opened.num_episodes, len(opened), opened.fps) == (2, 100, 10)
    assert opened.features["action"]["names"] == [f"{joint}.pos" for joint in JOINTS]
    episode, row = store[1], opened[50 + 7]
    seen = episode.observation.proprioception[7, BODY["joint_position"]]
    assert row["observation.state"].numpy() == pytest.approx(Units().to_lerobot(seen), abs=1e-3)
    assert row["action"].numpy() == pytest.approx(Units().to_lerobot(commands(episode)[7]), abs=1e-3)
    assert row["task"] == str(episode.goal)
    assert bool(opened[99]["next.success"]) == bool(episode.success[-1])
    with pytest.raises(EmbodiedError, match="exists already"):
        to_lerobot(store, tmp_path / "lerobot")
    with pytest.raises(EmbodiedError, match="has 10 frames per second, not 2: give fps="):
        to_lerobot(store, tmp_path / "other", fps=2)
    with pytest.raises(EmbodiedError, match="There are no episodes in"):
        to_lerobot(EpisodeStore(tmp_path / "none"), tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_what_the_run_had_beside_it_lies_before_the_twin(twin, tmp_path):
    run = reacher(tmp_path / "run", distractors=("green_l",))
    given = arguments(tmp_path / "record", run=str(run))
    record = carry_out(given, assigned(given), Console(io.StringIO()))
    assert record["fault"] is None
    (episode,) = EpisodeStore(tmp_path / "record" / "episodes")
    objects = episode.observation.objects
    seen = objects.present[:, objects.index("green_l")]
    (laid,) = assigned(given).task.layout([np.random.default_rng(episode.seed)]).present
    assert seen.tolist() == [bool(laid[0])] * len(seen)
    assert laid[0]
    with pytest.raises(EmbodiedError, match=r"has no green_l, .* embodied twin task=reach distractors=\[green_l\], or"):
        carry_out(replace(given, port=twin.port), assigned(given), Console(io.StringIO()))


def test_shadow_says_what_it_would_do_and_leaves_the_arm_limp(twin, tmp_path):
    said = io.StringIO()
    before = twin.tell("truth()")["joints"]
    twin.tell("hand(wrist_roll=0.5)")
    record, (episode,) = short(tmp_path, 4, said=said, mode="shadow", port=twin.port)
    assert not enabled(twin)
    assert twin.tell("hand()")["joints"]["shoulder_pan"] == pytest.approx(before["shoulder_pan"], abs=0.05)
    lines = [line for line in said.getvalue().splitlines() if " deg" in line]
    assert len(lines) == 4
    assert all(name in lines[0] for name in JOINTS)
    assert record["cut"]
    assert "cut: " in said.getvalue()
    # Nothing was commanded: the record says where the arm was led.
    reached = episode.observation.proprioception[1:, BODY["joint_position"]]
    np.testing.assert_allclose(episode.action, absolute(reached), atol=1e-9)


def test_slow_asks_first_and_keeps_to_a_fifth_of_the_speed(twin, tmp_path, monkeypatch):
    said = io.StringIO()
    monkeypatch.setattr("sys.stdin", io.StringIO("\nq\n"))
    record, (episode,) = short(tmp_path, 6, said=said, mode="slow", port=twin.port, episodes=3)
    assert record["episodes"] == 1
    assert record["fault"] is None
    assert said.getvalue().count("next episode? [enter], or q to stop") == 2
    assert np.diff(episode.observation.time) == pytest.approx(0.5, abs=0.021)
    speed = np.abs(np.diff(commands(episode), axis=0))[:, :5] / 0.5
    assert 0.05 < speed.max() <= 0.2 * Limits().velocity


def test_slow_takes_silence_for_a_no(twin, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    record, episodes = short(tmp_path, 2, mode="slow", port=twin.port)
    assert (record["episodes"], record["success"], episodes) == (0, None, [])


def test_pixels_find_what_truth_knows(tmp_path, twin):
    short(tmp_path, 2, port=twin.port, perception="pixels")
    (episode,) = EpisodeStore(tmp_path / "episodes")
    true = twin.tell("truth()")["objects"]
    objects = episode.observation.objects
    cube, target = objects.index("red_cube"), objects.index("target")
    assert objects.position_in_world[-1, cube] == pytest.approx(true["red_cube"][:3], abs=0.012)
    assert objects.position_in_world[-1, target] == pytest.approx(true["target"][:3], abs=1e-6)
    assert all(picture.shape[0] == 3 and picture.std() > 5 for picture in episode.observation.images.values())
    assert episode.observation.images


class Impatient:
    """Somebody who presses ctrl-C amid the second episode."""

    def __init__(self, policy):
        self.policy, self.begun, self.steps = policy, 0, 0

    def reset(self):
        self.begun, self.steps = self.begun + 1, 0
        self.policy.reset()

    def act(self, observation, goal):
        self.steps += 1
        if (self.begun, self.steps) == (2, 3):
            raise KeyboardInterrupt
        return self.policy.act(observation, goal)


def kept(folder):
    return json.loads((folder / "deploy.json").read_text())


def test_what_was_done_is_kept_after_ctrl_c_and_continued(twin, tmp_path):
    said = io.StringIO()
    policy = Impatient(assigned(arguments(tmp_path)).policy)
    with pytest.raises(KeyboardInterrupt):
        short(tmp_path, 4, policy, said, port=twin.port, episodes=3)
    assert not enabled(twin)
    assert f"recorded 1 whole episodes in {tmp_path}; first=1 goes on after them" in said.getvalue()
    first = kept(tmp_path)
    assert (first["interrupted"], first["episodes"], first["loop"]) == (True, 1, None)
    told, _ = short(tmp_path, 4, port=twin.port, first=1, episodes=2)
    second = kept(tmp_path)
    assert told["episodes"] == 2
    assert second["episodes"] == 3
    assert second["each"] == first["each"] + told["each"]
    assert second["success"]["value"] == sum(one["success"] for one in second["each"]) / 3
    assert sum(second["cut"].values()) == sum(first["cut"].values()) + sum(told["cut"].values())
    # The last one once more, which replaces it.
    short(tmp_path, 4, port=twin.port, first=2, episodes=1)
    assert [one["seed"] for one in kept(tmp_path)["each"]] == [one["seed"] for one in second["each"]]
    # An interrupt before the first is over takes nothing away.
    policy.begun = 1
    with pytest.raises(KeyboardInterrupt):
        short(tmp_path, 4, policy, port=twin.port)
    assert kept(tmp_path)["episodes"] == 3
    # Another mode is another record.
    short(tmp_path, 4, port=twin.port, mode="shadow", first=2, episodes=1)
    assert kept(tmp_path)["episodes"] == 1


class Wrecker:
    """Another policy that says something to a twin at its third step."""

    def __init__(self, policy, twin, word):
        self.policy, self.twin, self.word, self.steps = policy, twin, word, 0

    def reset(self):
        self.policy.reset()

    def act(self, observation, goal):
        self.steps += 1
        if self.steps == 3:
            self.twin.tell(self.word)
        return self.policy.act(observation, goal)


@pytest.mark.parametrize(
    ("word", "fault"),
    [
        ("heat(elbow_flex, 85)", "elbow_flex reports heat"),
        ("unplug()", "the servos do not answer: check the arm's cable and power"),
    ],
)
def test_a_fault_ends_it_and_what_was_recorded_stays(twin, tmp_path, word, fault, monkeypatch):
    monkeypatch.setattr(command, "WAIT", 0.5)
    policy = Wrecker(assigned(arguments(tmp_path)).policy, twin, word)
    try:
        record, (episode,) = short(tmp_path, 9, policy, port=twin.port, episodes=2)
    finally:
        twin.tell("clear()")
        # Nobody asks a question before it is connected to, and its time passes with those.
        twin.tell("advance(0.1)")
    assert record["fault"] == fault
    assert record["episodes"] == 1
    assert 2 <= episode.length <= 3
    if "unplug" in word:
        assert record["lost"]
        assert tuple(record["loop"]["powered"]) == JOINTS, "nobody could tell them"
    else:
        assert not enabled(twin)
    # As a person does next, once it is mended.
    record, episodes = short(tmp_path, 2, port=twin.port)
    assert record["fault"] is None
    assert len(episodes) == 2
    assert not enabled(twin)


class Mender(io.StringIO):
    """Somebody who reads what is said, and plugs the cable in again."""

    def __init__(self, twin):
        super().__init__()
        self.twin = twin

    def write(self, text):
        if "LOST" in text:
            assert enabled(self.twin) == set(JOINTS), "as it says"
            self.twin.tell("clear(unplug)")
        return super().write(text)


def test_a_cable_that_is_plugged_in_again_takes_the_torque_off(twin, tmp_path, monkeypatch):
    said, given = Mender(twin), arguments(tmp_path, port=twin.port)
    monkeypatch.setattr(command, "assigned", lambda _: replace(found, policy=Wrecker(found.policy, twin, "unplug()")))
    found = assigned(given)
    assert deploy(given, Console(said)) == 1
    assert not enabled(twin)
    assert "LOST     the servos do not answer: check the arm's cable and power" in said.getvalue()
    assert "let go   the servos answered again, and none has torque" in said.getvalue()
    assert "POWERED" not in said.getvalue()
    assert "stopped  the servos do not answer" in said.getvalue()


def test_a_command_killed_while_it_records_is_continued(tmp_path):
    words = ("run=expert", "clock=reads", "episodes=9", f"record={tmp_path}")
    with subprocess.Popen([sys.executable, "-m", "embodied", "deploy", *words], cwd=ROOT) as process:
        journal = tmp_path / "episodes" / NAME
        size = 0
        while process.poll() is None and size < 20_000:
            size = journal.stat().st_size if journal.exists() else 0
            time.sleep(0.01)
        process.kill()
    before = len(EpisodeStore(tmp_path / "episodes"))
    said = io.StringIO()
    _, episodes = short(tmp_path, 2, said=said)
    assert "steps of an episode that was not ended" in said.getvalue()
    assert len(episodes) == before + 2
    assert episodes[before].length >= 5
    assert episodes[-1].length == 2
