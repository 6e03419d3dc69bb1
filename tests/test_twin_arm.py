"""Six servos on the simulated arm: as calibrated, as told, as led by hand, and each with numbers of its own."""

from dataclasses import replace

import numpy as np
import pytest

from envs.errors import EmbodiedError
from envs.servo import SERVOS
from envs.servo_file import IDENTIFIED, ServoFile
from envs.text import parse_call
from robots.twin.arm import Arm, ArmConfig
from robots.twin.faults import Fault
from robots.twin.registers import REGISTERS, Error
from robots.twin.servo import RADIANS
from robots.units import JOINTS


def write(servo, name, value):
    servo.write(REGISTERS[name].address, REGISTERS[name].encode(value))


@pytest.fixture(scope="module")
def arm():
    return Arm(ArmConfig())


@pytest.fixture
def fresh():
    return Arm(ArmConfig())


def goals(arm, **degrees):
    for name, value in degrees.items():
        servo = arm.servos[JOINTS.index(name)]
        write(servo, "Torque_Enable", 1)
        write(servo, "P_Coefficient", 16)
        write(servo, "Goal_Position", round(2047.5 + np.deg2rad(value) / RADIANS))


def test_calibrated_servos_read_the_models_angles(arm):
    angles = np.array([(servo.memory["Present_Position"] - 2047.5) * RADIANS for servo in arm.servos])
    assert np.allclose(angles[:5], arm.angles[:5], atol=RADIANS)
    jaw = arm.eeprom["gripper"]
    share = (arm.servos[5].memory["Present_Position"] - jaw["Min_Position_Limit"]) / (
        jaw["Max_Position_Limit"] - jaw["Min_Position_Limit"]
    )
    assert -0.17453 + share * 1.91986 == pytest.approx(arm.angles[5], abs=2 * RADIANS)


def test_servos_hold_move_and_let_go(fresh):
    goals(fresh, shoulder_pan=20, shoulder_lift=-40, elbow_flex=30, wrist_flex=60, wrist_roll=-30)
    fresh.advance(300)
    reached = np.rad2deg(fresh.angles[:5])
    assert np.allclose(reached, [20, -40, 30, 60, -30], atol=0.5)
    for servo in fresh.servos:
        write(servo, "Torque_Enable", 0)
    fresh.advance(400)
    fallen = np.rad2deg(fresh.angles[:5])
    assert fallen[1] < -41 or fallen[2] > 40, "gravity takes a limp arm"
    assert set(fresh.truth()["torque"].values()) == {0.0}


def test_the_gain_register_changes_how_far_the_arm_droops(fresh):
    droop = {}
    for gain in (16, 8):
        goals(fresh, shoulder_lift=60, elbow_flex=-60, wrist_flex=0)
        for servo in fresh.servos:
            write(servo, "P_Coefficient", gain)
        fresh.advance(400)
        droop[gain] = np.rad2deg(fresh.angles[1]) - 60
    assert droop[16] > 0.05
    assert droop[8] / droop[16] == pytest.approx(2, rel=0.3)


def test_hand_leads_limp_joints_to_their_stops_and_no_others(fresh):
    goals(fresh, wrist_roll=10)
    fresh.hand.lead(parse_call("hand(sweep)"), fresh.angles)
    seen = []
    while fresh.hand.busy:
        fresh.advance(4)
        seen.append([servo.memory["Present_Position"] for servo in fresh.servos])
        assert len(seen) < 2000
    lowest, highest = np.min(seen, axis=0), np.max(seen, axis=0)
    for j, name in enumerate(JOINTS):
        if name != "wrist_roll":
            assert lowest[j] == pytest.approx(fresh.eeprom[name]["Min_Position_Limit"], abs=6), name
            assert highest[j] == pytest.approx(fresh.eeprom[name]["Max_Position_Limit"], abs=6), name
    assert np.rad2deg(fresh.angles[4]) == pytest.approx(10, abs=1)
    assert all(servo.memory["Present_Load"] == 0 for servo in fresh.servos[:4]), "a hand is no load of the motor"


def test_a_seized_joint_overloads_its_servo_and_the_others_move(fresh):
    goals(fresh, shoulder_pan=0, elbow_flex=20, wrist_roll=0)
    fresh.advance(200)
    fresh.faults.add(Fault("stall", "elbow_flex"))
    fresh.refresh()
    before = fresh.angles
    goals(fresh, shoulder_pan=20, elbow_flex=-20)
    fresh.advance(600)
    assert abs(np.rad2deg(fresh.angles[2] - before[2])) < 0.2
    assert np.rad2deg(fresh.angles[0]) == pytest.approx(20, abs=0.5)
    assert [servo.memory["Status"] for servo in fresh.servos] == [0, 0, Error.OVERLOAD, 0, 0, 0]
    fresh.faults.clear()
    fresh.refresh()
    goals(fresh, elbow_flex=40)
    fresh.advance(300)
    assert np.rad2deg(fresh.angles[2]) == pytest.approx(40, abs=0.5)
    assert fresh.servos[2].memory["Status"] == 0


def test_a_slipped_horn_moves_the_joint_by_what_it_slipped(fresh):
    goals(fresh, shoulder_pan=10)
    fresh.advance(200)
    fresh.faults.add(Fault("zero", "shoulder_pan", 5.0))
    fresh.refresh()
    fresh.advance(200)
    assert np.rad2deg(fresh.angles[0]) == pytest.approx(5, abs=0.3)
    assert fresh.servos[0].memory["Present_Position"] == pytest.approx(2047.5 + np.deg2rad(10) / RADIANS, abs=2)


def test_the_table_is_laid_anew_under_the_arm_as_it_is(fresh):
    before, cube = fresh.angles, fresh.truth()["objects"]["red_cube"]
    fresh.lay(3, keep_arm=True)
    assert np.array_equal(fresh.angles, before)
    assert fresh.truth()["objects"]["red_cube"][:2] != cube[:2]
    assert fresh.truth()["objects"] == Arm(ArmConfig(seed=3)).truth()["objects"]


def test_the_same_ticks_give_the_same_arm():
    ends = []
    for _ in range(2):
        arm = Arm(ArmConfig(task="push", seed=4))
        goals(arm, shoulder_pan=-30, elbow_flex=50, gripper=-20)
        arm.advance(150)
        ends.append(arm.simulation.save().rows)
    assert np.array_equal(*ends)


def robot_file(path, **joints):
    """A robot file of the servos as LeRobot configures them, but for the fields of some joints."""
    servos = tuple(replace(SERVOS["lerobot"], **joints.get(name, {})) for name in JOINTS)
    none = {name: dict.fromkeys(JOINTS, 0.0) for name in IDENTIFIED}
    ranges = {
        name: {joint: (getattr(servo, name),) * 2 for joint, servo in zip(JOINTS, servos, strict=True)}
        for name in IDENTIFIED
    }
    ServoFile(servos, none, ranges).save(path)
    return str(path)


def turned_back(arm):
    """How far the roll has come 120 ms after it was sent back a little [degree]."""
    goals(arm, wrist_roll=15)
    arm.advance(80)
    goals(arm, wrist_roll=20)
    arm.advance(80)
    before = arm.angles[4]
    goals(arm, wrist_roll=16)
    arm.advance(24)
    return np.rad2deg(before - arm.angles[4])


def test_backlash_from_a_fault_and_from_a_robot_file_are_the_same_and_slow_a_turn(tmp_path):
    tight = Arm(ArmConfig(servo="lerobot"))
    loose = Arm(ArmConfig(servo="lerobot"))
    loose.faults.add(Fault.parse("backlash(wrist_roll, 3)"))
    loose.refresh()
    own = Arm(ArmConfig(servo=robot_file(tmp_path / "robot.yaml", wrist_roll={"backlash": np.deg2rad(3)})))
    come = [turned_back(arm) for arm in (tight, loose, own)]
    assert come[1] < 0.8 * come[0]
    assert come[2] == pytest.approx(come[1], rel=1e-3)
    loose.faults.clear("backlash")
    loose.refresh()
    assert turned_back(loose) == pytest.approx(turned_back(tight), rel=0.05)


def test_servos_of_a_robot_file_are_each_their_own(tmp_path):
    path = robot_file(tmp_path / "robot.yaml", shoulder_pan={"kp": 4.0}, wrist_roll={"delay": 0.05})
    arm, plain = Arm(ArmConfig(servo=path)), Arm(ArmConfig(servo="lerobot"))
    turned = []
    for each in (arm, plain):
        start = each.angles
        goals(each, shoulder_pan=15, wrist_flex=60, wrist_roll=20)
        each.advance(14)
        turned.append(each.angles - start)
    pan, flex, roll = (JOINTS.index(name) for name in ("shoulder_pan", "wrist_flex", "wrist_roll"))
    (soft, late), (plain_pan, plain_roll) = turned[0][[pan, roll]], turned[1][[pan, roll]]
    assert 0.0 < soft < 0.7 * plain_pan
    assert late < 0.5 * plain_roll
    assert turned[0][flex] == pytest.approx(turned[1][flex], abs=0.02)


def test_a_servo_that_there_is_not_is_one_sentence(tmp_path):
    with pytest.raises(EmbodiedError, match=r"Unknown servo .frim.\. Did you mean .firm."):
        Arm(ArmConfig(servo="frim"))
    with pytest.raises(EmbodiedError, match=r"gone\.yaml is no robot file"):
        Arm(ArmConfig(servo=str(tmp_path / "gone.yaml")))
