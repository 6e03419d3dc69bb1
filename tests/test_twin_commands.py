"""LeRobot's own commands over twins, as a person would run them: calibrate, teleoperate, record, replay."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from twins import start

from robots.units import JOINTS

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def command(tmp_path):
    """Starts one of LeRobot's commands, with nothing of this machine's home and no network."""
    environment = os.environ | {
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_OFFLINE": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": str(ROOT),
    }

    started = []

    def run(name, *words):
        program = Path(sys.executable).parent / f"lerobot-{name}"
        process = subprocess.Popen(
            [str(program), *words], cwd=tmp_path, env=environment, text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

        started.append(process)
        return process

    yield run
    for process in started:
        with process:
            process.kill()


def device(kind, twin, name="twin"):
    role = "teleop" if kind == "leader" else "robot"
    return (f"--{role}.type=so101_{kind}", f"--{role}.port={twin.port}", f"--{role}.id={name}",
            f"--{role}.calibration_dir={twin.folder}")  # fmt: skip


def finished(process):
    """What a command printed; fails unless it did its job."""
    printed, _ = process.communicate(timeout=300)
    assert process.returncode == 0, printed
    return printed


def finished_in_time(begin, tries=3):
    """What a command printed; begun again where LeRobot lost patience, which lasts 50 ms, as on a busy machine."""
    for _ in range(tries):
        process = begin()
        printed, _ = process.communicate(timeout=300)
        if "There is no status packet" not in printed:
            break
    assert process.returncode == 0, printed
    return printed


def wait_for(process, text):
    printed = ""
    while text not in printed:
        line = process.stdout.read(1)
        assert line, printed
        printed += line


def angles(twin):
    return np.array([twin.tell("truth()")["joints"][name] for name in JOINTS])


def test_calibrate_finds_what_the_arm_is(tmp_path, command):
    with start(tmp_path / "twin", calibrated=False, packet_time=0.0) as twin:
        process = command("calibrate", *device("follower", twin, "mine"))
        wait_for(process, "to the middle of its range of motion and press ENTER")
        twin.tell("hand(middle)")
        while twin.tell("advance(0.5)")["hand"]:
            pass
        process.stdin.write("\n")
        process.stdin.flush()
        wait_for(process, "Press ENTER to stop")
        twin.tell("hand(sweep)")
        wait_for(process, "MAX")
        while twin.tell("advance(0.1)")["hand"]:
            # Two tables, as the first may have been read from the servos before.
            wait_for(process, "gripper")
            wait_for(process, "gripper")
        process.stdin.write("\n")
        process.stdin.flush()
        assert "Calibration saved to" in finished(process)
        found = json.loads((twin.folder / "mine.json").read_text())
        true = json.loads((twin.folder / "twin.json").read_text())
        for name in JOINTS:
            for key in ("homing_offset", "range_min", "range_max"):
                # A person's middle of the gripper is where the hand put it, not half way.
                slack = 30 if name == "gripper" else 8
                assert found[name][key] == pytest.approx(true[name][key], abs=slack), (name, key)


def test_teleoperate_leads_the_follower(tmp_path, command):
    with start(tmp_path / "leader") as leader, start(tmp_path / "follower", seed=1) as follower:
        leader.tell("hand(shoulder_pan=0.5, shoulder_lift=-0.8, elbow_flex=0.3, wrist_flex=0.6, gripper=1.2)")
        leader.tell("advance(2)")
        assert np.abs(angles(leader) - angles(follower)).max() > 0.3
        words = (*device("leader", leader), *device("follower", follower), "--teleop_time_s=4")
        finished_in_time(lambda: command("teleoperate", *words))
        assert np.allclose(angles(follower)[:1], angles(leader)[:1], atol=0.03)


def test_what_is_recorded_is_replayed(tmp_path, command):
    dataset = ("--dataset.repo_id=local/twin", f"--dataset.root={tmp_path / 'data'}")
    with start(tmp_path / "leader") as leader, start(tmp_path / "follower") as follower:
        leader.tell("hand(shoulder_pan=-0.6)")
        finished(
            command(
                "record", *device("leader", leader), *device("follower", follower), *dataset,
                "--dataset.single_task=turn", "--dataset.num_episodes=1", "--dataset.episode_time_s=3",
                "--dataset.reset_time_s=0.1", "--dataset.fps=30", "--dataset.push_to_hub=false", "--play_sounds=false",
            )
        )  # fmt: skip
    info = json.loads((tmp_path / "data" / "meta" / "info.json").read_text())
    assert info["total_episodes"] == 1
    assert info["total_frames"] == pytest.approx(90, abs=45)
    with start(tmp_path / "again", seed=2) as again:
        assert angles(again)[0] > -0.3
        words = (*device("follower", again), *dataset, "--dataset.episode=0", "--play_sounds=false")
        finished_in_time(lambda: command("replay", *words))
        assert angles(again)[0] == pytest.approx(-0.6, abs=0.05)
