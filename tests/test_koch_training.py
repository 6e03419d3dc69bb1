"""Training on a Koch arm: its own actions and servos, demonstrations that live again, and what is refused."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from embodied.cli import compose, main
from embodied.config import Config
from embodied.data.episodes import EpisodeStore
from embodied.evaluation.evaluate import measure
from embodied.replay import lived_again
from embodied.run import Run
from embodied.training.collect import DEMONSTRATIONS, chosen_control, chosen_task, task_worlds
from envs.control import CartesianDelta, JointAbsolute, JointDelta
from envs.errors import EmbodiedError
from envs.robot import joint_range, named_control, robot_of

WORDS = [
    "env=place", "robot=koch", "env.horizon=80", "env.worlds=2", "env.threads=1", "device=cpu",
    "trainer.demonstrations=2", "trainer.env_steps=8", "trainer.evaluation_episodes=1",
    "agent.width=8", "agent.batch=8", "agent.updates_per_step=0.5", "agent.cloning_steps=4",
]  # fmt: skip


def composed(*words: str) -> Config:
    (config,) = compose("train", [*WORDS, *words])
    return config


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of seconds."""
    folder = tmp_path_factory.mktemp("koch") / "run"
    assert main(["train", *WORDS, f"run={folder}"]) == 0
    return folder


def test_worlds_have_the_arm_its_servos_and_its_actions() -> None:
    config = composed("trainer=quick")
    scene = chosen_task(config).scene
    assert (scene.robot, scene.servo) == ("koch", robot_of("koch").servo)
    assert config.trainer.model_episodes == 0
    control = task_worlds(config, 2, 0).simulation.control
    assert control == chosen_control(config)
    assert isinstance(control, CartesianDelta)
    assert control.joints == robot_of("koch").joints
    assert chosen_task(composed("robot.servo=lerobot")).scene.servo != scene.servo


def test_joint_actions_are_of_its_own_joints() -> None:
    low, high = joint_range("koch").T
    absolute, delta = (named_control("koch", f"joint_{name}", rate=20.0) for name in ("absolute", "delta"))
    assert isinstance(absolute, JointAbsolute)
    assert isinstance(delta, JointDelta)
    np.testing.assert_allclose(absolute.target(np.zeros(6), np.ones(6)), high)
    np.testing.assert_allclose(absolute.target(np.zeros(6), -np.ones(6)), low)
    np.testing.assert_allclose((delta.low, delta.high), (low, high))
    assert absolute.spec.rate == delta.spec.rate == 20.0
    assert chosen_control(composed("env.action=joint_delta")) == named_control("koch", "joint_delta")
    for robot, name in (("koch", "planar_delta"), ("so101", "planar_delta"), ("pusher", "joint_delta"),
                        ("omx", "cartesian_delta")):  # fmt: skip
        with pytest.raises(EmbodiedError, match=f"action mode of {robot} '{name}'"):
            named_control(robot, name)


def test_demonstrations_say_whose_they_are_and_live_again_to_the_bit(folder: Path) -> None:
    episodes = list(EpisodeStore(folder / DEMONSTRATIONS))
    assert len(episodes) == 2
    for episode in episodes:
        assert episode.robot == "koch (own)"
        assert episode.origin is not None
        assert episode.origin.servo == "own"
        assert lived_again(episode) == {"seed": True}


def test_a_run_has_a_policy_no_world_model_and_is_evaluated_on_its_arm(folder: Path) -> None:
    run, config = Run.load(folder), composed()
    assert set(run.stages()) == {"collect", "policy"}
    found = measure(run, replace(config, env=replace(config.env, horizon=3)), 2)
    assert set(found["policies"]) == {"learned", "expert", "random"}


def test_a_run_is_deployed_on_its_arm(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("dynamixel_sdk", reason="the extra `dynamixel` is not installed")
    words = ("deploy", f"run={folder}", "robot=koch", "clock=reads", "episodes=1", f"record={tmp_path}")
    ended = main(list(words))
    record = json.loads((tmp_path / "deploy.json").read_text())
    (episode,) = EpisodeStore(tmp_path / "episodes")
    assert ended == (record["fault"] is not None)
    assert episode.robot == "koch (own, full, on a twin)"
    assert episode.length == 80 or record["fault"]


def test_what_is_for_an_so101_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, told in (
        (("export", f"run={folder}"), f"It runs here: embodied deploy run={folder} robot=koch"),
        (("deploy", f"run={folder}"), "The policy of place moves koch by x, y, z, yaw, gripper; one so101 with"),
        (("deploy", f"run={folder}"), "Say robot=koch, or run=expert."),
        (("whatif", f"run={folder}"), "There is no checkpoint"),
        (("train", *WORDS, "trainer.model_episodes=4"), "an SO-101's hand alone; robot.name=koch was given"),
        (("train", *WORDS, "agent=planner"), "agent.name=planner needs a world model, and trainer.model_episodes=0"),
        (("train", *WORDS, "agent.imagined=0.5"), "agent.imagined=0.5 needs a world model"),
        (("train", *WORDS, "agent=headstart"), "Head starts are for a lone SO-101"),
        (("train", *WORDS, "env=stack"), "The task 'stack' is for so101 alone; reach, push, lift, place can be done"),
        (("train", *WORDS, "robot.name=so101"), "robot.servo=null are another arm's own servos"),
        (("train", *WORDS, "robot.name=panda"), "Unknown robot 'panda'"),
    ):
        assert main([*words, *([f"run={folder}_refused"] if words[0] == "train" else [])]) == 2
        assert told in capsys.readouterr().err
