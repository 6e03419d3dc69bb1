"""LeRobot's unmodified SO-101 drivers over the twin: what they read, what they move, what they leave behind."""

import json
import os
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import numpy as np
import pytest
from lerobot.motors import MotorCalibration
from lerobot.motors.feetech import FeetechMotorsBus
from twins import connected, follower, leader, settle, start

from embodied.cli import main
from envs.errors import EmbodiedError
from robots.twin.process import tell
from robots.twin.protocol import BROADCAST, Instruction, Packet
from robots.units import JOINTS, Units, from_features, to_features

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def twin(tmp_path):
    with start(tmp_path / "twin") as process:
        yield process


def angles(twin):
    return np.array([twin.tell("truth()")["joints"][name] for name in JOINTS])


def test_connect_observe_act_disconnect(twin):
    robot = follower(twin)
    robot.connect()
    assert robot.is_connected
    assert robot.is_calibrated
    observed = Units().to_radians(from_features(robot.get_observation()))
    assert np.allclose(observed, angles(twin), atol=0.01)
    goal = np.array([0.3, -0.5, 0.4, 0.9, -0.6, 0.9])
    observation = settle(robot, to_features(Units().to_lerobot(goal)))
    assert np.allclose(Units().to_radians(from_features(observation)), goal, atol=0.02)
    assert np.allclose(angles(twin), goal, atol=0.02)
    robot.disconnect()
    assert not robot.is_connected
    before = angles(twin)
    twin.tell("advance(2)")
    assert set(twin.tell("truth()")["torque"].values()) == {0.0}
    assert np.abs(angles(twin) - before).max() > 0.02, "a limp arm falls"
    # And the same port serves the next driver.
    with connected(follower(twin)) as again:
        assert np.allclose(Units().to_radians(from_features(again.get_observation())), angles(twin), atol=0.01)


def test_what_lerobot_configures_reaches_the_servos(twin):
    with connected(follower(twin)) as robot:
        bus = robot.bus
        names = ("P_Coefficient", "D_Coefficient", "Acceleration", "Return_Delay_Time", "Torque_Enable", "Lock")
        assert [bus.read(name, "elbow_flex", normalize=False) for name in names] == [16, 32, 254, 0, 1, 1]
        assert bus.read("Max_Torque_Limit", "gripper", normalize=False) == 500
        assert bus.read("Present_Voltage", "gripper", normalize=False) == 74
        assert bus.read("Model_Number", "gripper", normalize=False) == 777


def test_a_calibration_is_written_read_back_and_kept_without_power(twin):
    robot = follower(twin)
    robot.bus.connect()
    bus = robot.bus
    mine = {
        name: MotorCalibration(id=number, drive_mode=0, homing_offset=-100 * number, range_min=900, range_max=3000)
        for number, name in enumerate(JOINTS, 1)
    }
    # Somebody holds the limp arm.
    twin.tell("hand(wrist_roll=0.1)")
    twin.tell("advance(2)")
    before = bus.sync_read("Present_Position", normalize=False)
    old = bus.read_calibration()
    bus.disable_torque()
    bus.write_calibration(mine)
    assert bus.read_calibration() == mine
    assert bus.is_calibrated
    after = bus.sync_read("Present_Position", normalize=False)
    for name in JOINTS:
        shift = (after[name] - before[name] - old[name].homing_offset + mine[name].homing_offset) % 4096
        assert min(shift, 4096 - shift) <= 1, name
    twin.tell("power()")
    twin.tell("clear()")
    assert bus.read_calibration() == mine
    bus.enable_torque()
    bus.write("Homing_Offset", "gripper", 5)
    twin.tell("power()")
    twin.tell("clear()")
    assert bus.read("Homing_Offset", "gripper") == mine["gripper"].homing_offset, "it was locked"
    bus.disconnect()


def test_goals_beyond_the_calibrated_range_are_held_back_by_the_servo_alone(twin):
    with connected(follower(twin)) as robot:
        rest = robot.get_observation()
        assert robot.send_action({**rest, "shoulder_pan.pos": 500.0})["shoulder_pan.pos"] == 500.0
        observation = settle(robot, {**rest, "shoulder_pan.pos": 500.0}, 150)
        assert observation["shoulder_pan.pos"] == pytest.approx(110, abs=1)


def test_a_leader_led_by_hand_and_a_follower_that_follows(tmp_path):
    with (
        start(tmp_path / "leader") as led,
        start(tmp_path / "follower") as following,
        connected(leader(led)) as teleoperator,
        connected(follower(following)) as robot,
    ):
        led.tell("hand(shoulder_pan=0.4, shoulder_lift=-0.7, elbow_flex=0.2, gripper=1.0)")
        for _ in range(250):
            robot.send_action(teleoperator.get_action())
            robot.get_observation()
        assert angles(led)[0] == pytest.approx(0.4, abs=0.02)
        assert np.allclose(angles(following), angles(led), atol=0.03)


def test_lock_step_repeats_itself_to_the_bit(tmp_path):
    runs = []
    for number in range(2):
        with start(tmp_path / str(number)) as twin, connected(follower(twin)) as robot:
            runs.append([settle(robot, {"elbow_flex.pos": 10.0, "gripper.pos": 70.0}, 40), twin.tell("truth()")])
    assert runs[0] == runs[1]
    assert runs[0][0]["gripper.pos"] == pytest.approx(70, abs=2)


def test_the_same_packets_are_lost_every_time(tmp_path):
    question = Packet(BROADCAST, Instruction.SYNC_READ, bytes((56, 2, 1, 2, 3, 4, 5, 6))).encode()
    heard = []
    for number in range(2):
        with start(tmp_path / str(number), faults="drop(0.1); corrupt(0.1)") as twin:
            line = os.open(twin.port, os.O_RDWR | os.O_NOCTTY)
            mode = termios.tcgetattr(line)
            mode[4] = mode[5] = termios.B1000000
            termios.tcsetattr(line, termios.TCSANOW, mode)
            os.write(line, 20 * question)
            while twin.tell("truth()")["time"] < 0.2 - 1e-6:
                pass
            heard.append(os.read(line, 4096))
            os.close(line)
    assert heard[0] == heard[1]
    assert len(heard[0]) < 20 * 6 * 8


def test_servos_are_found_at_their_baud_rate_and_get_ids_as_lerobot_sets_them(twin):
    bus = FeetechMotorsBus(twin.port, {})
    bus._connect(handshake=False)
    assert bus.broadcast_ping() == dict.fromkeys(range(1, 7), 777)
    bus.set_baudrate(57_600)
    assert not bus.broadcast_ping()
    bus.set_baudrate(1_000_000)
    bus._disable_torque(6, "sts3215")
    bus._write(5, 1, 6, 9)
    assert bus.ping(9) == 777
    assert bus.ping(6) is None
    bus.port_handler.closePort()


def test_on_the_clock_of_the_wall_time_passes_by_itself(tmp_path):
    with start(tmp_path / "twin", clock="wall") as twin, connected(follower(twin)) as robot:
        rest = robot.get_observation()
        robot.send_action({**rest, "shoulder_pan.pos": 30.0})
        started = twin.tell("truth()")["time"]
        while robot.get_observation()["shoulder_pan.pos"] < 29:
            assert twin.tell("truth()")["time"] < started + 10


def test_the_command_serves_draws_and_stops_when_told(tmp_path):
    folder = tmp_path / "twin"
    command = [sys.executable, "-m", "embodied", "twin", f"folder={folder}", "calibrated=false", "picture=0.1"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path, env=environment) as process:
        printed = ""
        while "ctrl-C" not in printed:
            line = process.stdout.readline()
            assert line, printed
            printed += line
        assert f"--robot.port={folder}/port" in printed
        robot = follower(type("Twin", (), {"port": f"{folder}/port", "folder": folder}))
        robot.bus.connect()
        assert not robot.is_calibrated
        robot.bus.port_handler.closePort()
        first = (folder / "scene.png").stat().st_mtime_ns
        deadline = time.monotonic() + 60
        while (folder / "scene.png").stat().st_mtime_ns == first:
            assert time.monotonic() < deadline
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert not (folder / "port").is_symlink()
    assert not (folder / "control").exists()
    assert set(json.loads((folder / "twin.json").read_text())) == set(JOINTS)


def test_mistakes_are_one_sentence(twin, tmp_path, capsys):
    for word, message in (
        ("jump()", "Unknown command 'jump'"),
        ("stall(elbow)", "Unknown joint 'elbow'. Did you mean 'elbow_flex'?"),
        ("hand(high)", "Unknown way of the hand 'high'"),
        ("hand(elbow_flx=1)", "Unknown joint 'elbow_flx'"),
        ("lay(-1)", "'lay(-1)': the number must be 0 or more."),
        ("lay(1.5)", "'lay(1.5)': beginnings have whole numbers below 9007199254740992, e.g. lay(3)."),
        ("lay(1e30)", "'lay(1e30)': beginnings have whole numbers below"),
        ("advance()", "'advance()' has 0 values; it takes 1."),
        ("truth", "Expected a call with parentheses"),
    ):
        with pytest.raises(EmbodiedError) as error:
            twin.tell(word)
        assert str(error.value).startswith(message)
    (tmp_path / "file").write_text("")
    assert main(["twin", f"folder={tmp_path / 'file'}"]) == 2
    assert capsys.readouterr().err == (
        f"embodied: The folder {tmp_path / 'file'} cannot be made (a file is there); choose another.\n"
    )
    with pytest.raises(EmbodiedError, match="A twin is running in"):
        start(twin.folder)
    with pytest.raises(EmbodiedError, match="No twin runs in"):
        tell(tmp_path, "truth()")
    assert main(["twin", "task=plase", f"folder={tmp_path / 'other'}"]) == 2
    assert main(["twin", "faults=stall(elbow)", f"folder={tmp_path / 'other'}"]) == 2
    told = capsys.readouterr().err.splitlines()
    assert told[0].startswith("embodied: Unknown task 'plase'. Did you mean 'place'?")
    assert told[1].startswith("embodied: Unknown joint 'elbow'.")
    # The folder that was refused is free.
    with start(tmp_path / "other"):
        pass
