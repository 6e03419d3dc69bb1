"""An arm that cannot be had: one sentence with what to do, and no servo with torque. And one that can."""

import contextlib
import json
import os
import pty
import time

import numpy as np
import pytest
from twins import enabled, patient

from envs.errors import EmbodiedError
from envs.so101 import JOINT_HIGH, JOINT_LOW
from robots.arm import lerobot
from robots.arm.contract import ArmLostError, Robot
from robots.arm.lerobot import ArmConfig, LeRobotArm
from robots.governor.client import hush
from robots.units import GRIPPER_RANGE, JOINTS

PAN = np.eye(6)[0]


def made(twin, **settings):
    return LeRobotArm(ArmConfig(**({"port": twin.port, "id": "twin", "calibration": str(twin.folder)} | settings)))


@contextlib.contextmanager
def had(arm, powered=True):
    """The arm, connected, with patience for a busy machine, and given back."""
    patient(arm._robot)
    try:
        arm.connect(powered)
        yield arm
    finally:
        arm.close()


def test_read_command_limit_and_release(twin):
    with had(made(twin)) as arm:
        assert isinstance(arm, Robot)
        assert enabled(twin) == set(JOINTS)
        first = arm.read()
        truth = twin.tell("truth()")["joints"]
        assert first.position == pytest.approx([truth[name] for name in JOINTS], abs=0.01)
        assert first.health.voltage == pytest.approx(7.4)
        assert first.health.temperature == pytest.approx(25.0)
        assert first.health.errors == ((),) * 6
        target = first.position.copy()
        target[[0, 5]] += [0.3, 0.5]
        last = first
        for _ in range(100):
            arm.command(target)
            assert last.time < (last := arm.read()).time
        assert last.position[[0, 5]] == pytest.approx(target[[0, 5]], abs=0.03)
        arm.limit_torque(0.01)
        arm.command(target - 0.5 * PAN)
        assert twin.tell("advance(0.5)")["joints"]["shoulder_pan"] > target[0] - 0.1, "there is no strength to go"
        assert arm.release() == ()
        assert not enabled(twin)
        limits = arm._bus.sync_read("Torque_Limit", normalize=False)
        assert list(limits.values()) == [1000] * 5 + [500], "the next driver finds an arm of full strength"


def test_the_range_is_that_of_the_calibration(twin):
    found = made(twin).joint_range
    assert found[:4] == pytest.approx(np.stack([JOINT_LOW, JOINT_HIGH], axis=1)[:4], abs=0.01)
    assert found[4] == pytest.approx([-np.pi, np.pi], abs=0.01), "LeRobot gives the wrist a whole turn"
    assert found[5] == pytest.approx(GRIPPER_RANGE)


def test_velocities_add_up_to_the_way_that_was_gone(twin):
    with had(made(twin)) as arm:
        first = arm.read()
        seen = []
        for _ in range(100):
            arm.command(first.position + np.array([0.6, 0, 0, 0, 0, 0.6]))
            seen.append(arm.read())
    # A packet takes the twin 10 ms.
    way = 0.02 * np.sum([each.velocity for each in seen], axis=0)
    gone = seen[-1].position - first.position
    assert way[[0, 5]] == pytest.approx(gone[[0, 5]], rel=0.1)
    assert gone[[0, 5]].min() > 0.4


def test_all_servos_let_go_when_they_are_told_to_at_once(twin):
    with had(made(twin)):
        assert enabled(twin) == set(JOINTS)
    hush(twin.port)
    # Nobody waits for an answer to a broadcast: a busy machine may not have run the twin yet.
    deadline = time.monotonic() + 30.0
    while enabled(twin) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not enabled(twin)
    hush("/dev/ttyACM9")


def test_no_such_port(twin):
    with pytest.raises(
        EmbodiedError, match=r"/dev/ttyACM9 cannot be opened \(No such file or directory\): .*lerobot-find"
    ):
        made(twin, port="/dev/ttyACM9").connect(powered=True)


def test_a_port_in_use(twin):
    with (
        had(made(twin), powered=False),
        pytest.raises(EmbodiedError, match=f"The arm on {twin.port} is driven by another process; stop it"),
    ):
        made(twin).connect(powered=True)
    with had(made(twin), powered=False):
        assert not enabled(twin)


def test_a_port_where_nothing_answers(twin, monkeypatch):
    monkeypatch.setattr(lerobot, "CALM", 0.0)
    own, theirs = pty.openpty()
    with pytest.raises(
        EmbodiedError, match=r"No so101_follower answers on .*: check the arm's power, its cables, and driver="
    ):
        made(twin, port=os.ttyname(theirs)).connect(powered=True)
    os.close(own)
    os.close(theirs)


def test_an_unknown_robot(twin):
    with pytest.raises(EmbodiedError, match=r"Unknown driver 'so101_folower'. Did you mean 'so101_follower'\?"):
        made(twin, robot="so101_folower")


@pytest.mark.parametrize("robot", ["koch_follower", "lekiwi", "reachy2", "bi_so_follower"])
def test_another_kind_of_robot(twin, robot):
    with pytest.raises(EmbodiedError, match=f"LeRobot's {robot} ") as error:
        made(twin, robot=robot)
    assert "\n" not in str(error.value)


def refused(twin, folder):
    """What is said of a calibration folder."""
    with pytest.raises(EmbodiedError) as error, had(made(twin, calibration=str(folder))):
        pass
    assert not enabled(twin)
    return str(error.value)


def test_no_calibration(twin, tmp_path):
    told = refused(twin, tmp_path)
    assert told.startswith(f"There is no calibration {tmp_path}/twin.json of this arm; run lerobot-calibrate")
    words = f"--robot.port={twin.port} --robot.id=twin --robot.calibration_dir={tmp_path}."
    assert told.endswith(f"--robot.type=so101_follower {words}")


def test_the_calibration_of_another_arm(twin, tmp_path):
    values = json.loads((twin.folder / "twin.json").read_text())
    values["elbow_flex"]["homing_offset"] += 40
    (tmp_path / "twin.json").write_text(json.dumps(values))
    told = refused(twin, tmp_path)
    assert "is not the one in the servos: it is of another arm, or older; run lerobot-calibrate" in told


def test_an_arm_that_is_unplugged_says_so(twin):
    with had(made(twin)) as arm:
        twin.tell("unplug()")
        with pytest.raises(ArmLostError, match=f"The arm on {twin.port} is gone: "):
            arm.read()
        with pytest.raises(ArmLostError, match="is gone"):
            arm.command(np.zeros(6))
        assert arm.release() == JOINTS
        twin.tell("clear(unplug)")
        assert arm.close(reopen=True)
        assert arm.release() == ()
        assert not enabled(twin)
