"""What LeRobot's unmodified driver makes of faults: most it swallows, some it raises on, and what it leaves behind."""

import termios

import numpy as np
import pytest
from twins import connected, follower, patient, settle

from robots.twin.registers import Error
from robots.units import JOINTS


@pytest.fixture
def robot(twin):
    with connected(follower(twin)) as device:
        yield device


GONE = (OSError, termios.error)
"""What LeRobot lets through of a port that has vanished, from pyserial and below."""


def stretched(twin, robot):
    """The shoulder's angle [degree] with the arm held out, where it weighs most."""
    settle(robot, {"shoulder_lift.pos": -60.0, "elbow_flex.pos": -60.0, "wrist_flex.pos": 0.0})
    settle(robot, {"shoulder_lift.pos": 60.0, "elbow_flex.pos": -60.0, "wrist_flex.pos": 0.0})
    held = angle(twin, "shoulder_lift")
    assert held == pytest.approx(60, abs=1)
    return held


def torque(robot):
    return {name: robot.bus.read("Torque_Enable", name) for name in JOINTS}


def status(robot):
    return robot.bus.sync_read("Status", normalize=False)


def angle(twin, joint):
    return np.rad2deg(twin.tell("truth()")["joints"][joint])


def test_overload_is_swallowed_by_the_loop_and_breaks_disconnect(twin, robot):
    rest = robot.get_observation()
    twin.tell("overload(elbow_flex)")
    assert set(robot.get_observation()) == set(rest)
    robot.send_action(rest)
    assert status(robot)["elbow_flex"] == Error.OVERLOAD
    with pytest.raises(RuntimeError, match="Overload error!"):
        robot.bus.read("Present_Position", "elbow_flex")
    with pytest.raises(RuntimeError, match="Overload error!"):
        robot.disconnect()
    assert robot.is_connected
    twin.tell("clear()")
    robot.send_action(rest)
    assert torque(robot) == {name: int(name not in JOINTS[:3]) for name in JOINTS}, "the last three were left powered"


def test_an_overloaded_joint_sags_under_its_load(twin, robot):
    held = stretched(twin, robot)
    twin.tell("overload(shoulder_lift)")
    twin.tell("advance(1)")
    assert angle(twin, "shoulder_lift") > held + 5


def test_heat_turns_one_motor_off_and_nobody_is_told(twin, robot):
    rest = robot.get_observation()
    settle(robot, {**rest, "wrist_flex.pos": 0.0})
    twin.tell("heat(wrist_flex, 85)")
    settle(robot, {**rest, "wrist_flex.pos": 0.0})
    assert twin.tell("truth()")["torque"]["wrist_flex"] == 0.0
    assert abs(angle(twin, "wrist_flex")) > 3
    assert robot.bus.sync_read("Present_Temperature")["wrist_flex"] == 85
    assert status(robot)["wrist_flex"] == Error.HEAT
    assert robot.bus.read("Torque_Enable", "shoulder_pan") == 1
    with pytest.raises(RuntimeError, match="Overheat error!"):
        robot.bus.read("Torque_Enable", "wrist_flex")


def test_a_voltage_that_sags_weakens_the_arm_and_stops_connecting(twin):
    with connected(follower(twin)) as robot:
        held = stretched(twin, robot)
        twin.tell("sag(3.7)")
        twin.tell("advance(1)")
        assert angle(twin, "shoulder_lift") > held + 0.05, "half the voltage is half the gain"
        robot.get_observation()
        assert robot.bus.sync_read("Present_Voltage") == dict.fromkeys(JOINTS, 37)
        assert set(status(robot).values()) == {Error.VOLTAGE}
    again = follower(twin)
    with pytest.raises(RuntimeError, match="Missing motor IDs"):
        again.connect()
    again.bus.port_handler.closePort()


def test_power_loss_is_seen_by_reading_alone(twin, robot):
    action = {**robot.get_observation(), "shoulder_pan.pos": 40.0}
    twin.tell("power()")
    assert robot.send_action(action) == action
    robot.hurry()
    with pytest.raises(ConnectionError, match="There is no status packet!"):
        robot.get_observation()
    before = angle(twin, "shoulder_pan")
    twin.tell("clear()")
    patient(robot)
    robot.send_action(action)
    robot.get_observation()
    assert torque(robot) == dict.fromkeys(JOINTS, 0), "what returns is limp, and nobody enables it"
    twin.tell("advance(1)")
    assert angle(twin, "shoulder_pan") == pytest.approx(before, abs=3)


def test_a_seized_joint_shows_in_load_and_position_alone(twin, robot):
    rest = robot.get_observation()
    twin.tell("stall(shoulder_pan)")
    settle(robot, {**rest, "shoulder_pan.pos": rest["shoulder_pan.pos"] + 40}, 150)
    assert robot.get_observation()["shoulder_pan.pos"] == pytest.approx(rest["shoulder_pan.pos"], abs=0.5)
    assert status(robot)["shoulder_pan"] == Error.OVERLOAD
    assert robot.bus.sync_read("Present_Load")["shoulder_pan"] == 200


def test_an_unplugged_cable_raises_and_leaves_the_motors_on(twin):
    robot = follower(twin)
    robot.connect()
    rest = robot.get_observation()
    twin.tell("unplug()")
    with pytest.raises(GONE):
        robot.get_observation()
    with pytest.raises(GONE):
        robot.disconnect()
    robot.bus.port_handler.closePort()
    with pytest.raises(ConnectionError, match="Could not connect on port"):
        follower(twin).connect()
    twin.tell("clear()")
    # Connecting the robot would turn torque off and on, so the bus is asked.
    again = follower(twin)
    again.bus.connect()
    assert torque(again) == dict.fromkeys(JOINTS, 1)
    assert again.get_observation() == pytest.approx(rest, abs=1)
    again.bus.port_handler.closePort()


@pytest.mark.parametrize(("fault", "least"), [("corrupt(0.02)", 195), ("drop(0.01)", 190)])
def test_lost_and_corrupted_packets_are_asked_for_again(twin, robot, fault, least):
    robot.hurry()
    twin.tell(fault)
    good = 0
    for _ in range(200):
        try:
            robot.get_observation()
            good += 1
        except ConnectionError:
            pass
    assert least <= good


def test_without_retries_they_raise(twin):
    with connected(follower(twin, num_read_retries=0)) as robot:
        robot.hurry()
        twin.tell("corrupt(0.5)")
        failed = 0
        for _ in range(30):
            try:
                robot.get_observation()
            except ConnectionError as error:
                failed += "status packet" in str(error)
        assert failed > 20


def test_a_line_that_is_all_noise_is_an_error(twin, robot):
    robot.hurry()
    twin.tell("drop(1)")
    with pytest.raises(ConnectionError, match="There is no status packet!"):
        robot.get_observation()


def test_answers_that_come_late_count_until_the_timeout(twin, robot):
    twin.tell("delay(10)")
    assert set(robot.get_observation()) == {f"{name}.pos" for name in JOINTS}
    robot.hurry()
    twin.tell("delay(1000)")
    with pytest.raises(ConnectionError):
        robot.get_observation()
    twin.tell("clear(delay)")
    assert robot.is_calibrated, "what came too late is not taken for a later answer"


def test_a_slipped_horn_is_not_seen_at_all(twin, robot):
    rest = robot.get_observation()
    settle(robot, {**rest, "shoulder_pan.pos": 0.0})
    twin.tell("zero(shoulder_pan, 5)")
    settle(robot, {**rest, "shoulder_pan.pos": 0.0})
    assert robot.get_observation()["shoulder_pan.pos"] == pytest.approx(0, abs=0.3)
    assert angle(twin, "shoulder_pan") == pytest.approx(-5, abs=0.3)
    assert robot.is_calibrated
