"""The firmware of one servo on a joint that does as it is told, then six of them on the simulated arm."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.errors import EmbodiedError
from envs.servo import SERVOS
from envs.servo_file import IDENTIFIED, ServoFile
from envs.text import parse_call
from robots.twin.arm import Arm, ArmConfig
from robots.twin.faults import KINDS, Fault, Faults
from robots.twin.gears import DRAG, Gears
from robots.twin.registers import REGISTERS, Error
from robots.twin.servo import AMBIENT, RADIANS, TOP_SPEED, Servo
from robots.units import JOINTS

TICK = 0.005


def write(servo, name, value):
    servo.write(REGISTERS[name].address, REGISTERS[name].encode(value))


def enabled(angle=0.0, **eeprom):
    servo = Servo(2048.0, 3.0, **({"CW_Dead_Zone": 0, "CCW_Dead_Zone": 0} | eeprom))
    servo.start(angle)
    write(servo, "Torque_Enable", 1)
    return servo


def follow(servo, ticks, torque=0.0, voltage=7.4):
    """Goals in counts of a joint that is always where its servo wants it."""
    goals = []
    for _ in range(ticks):
        drive = servo.tick(servo.angle, 0.0, torque, voltage, TICK)
        servo.angle = drive.goal
        goals.append(servo.position)
    return np.array(goals)


@given(st.floats(-3.0, 3.0), st.integers(-2047, 2047))
def test_positions_are_what_the_encoder_says_less_the_homing_offset(angle, offset):
    servo = Servo(2048.0, Homing_Offset=offset)
    servo.tick(angle, 0.0, 0.0, 7.4, TICK)
    actual = 2048 + angle / (2 * math.pi) * 4096
    away = (servo.memory["Present_Position"] - (actual - offset)) % 4096
    assert min(away, 4096 - away) <= 0.5
    assert 0 <= servo.memory["Present_Position"] <= 4095


def test_with_full_angle_feedback_positions_go_below_zero():
    servo = Servo(10.0, Phase=12 | 16)
    servo.tick(-0.5, 0.0, 0.0, 7.4, TICK)
    assert servo.memory["Present_Position"] == round(10 - 0.5 / RADIANS)


def test_without_torque_the_joint_is_limp_and_goals_are_kept_for_later():
    servo = Servo()
    write(servo, "Goal_Position", 3000)
    assert servo.tick(0.3, 0.0, 0.0, 7.4, TICK).limit == 0.0


def test_torque_that_comes_on_holds_the_joint_where_it_is():
    servo = Servo(CW_Dead_Zone=0)
    write(servo, "Goal_Position", 3000)
    servo.tick(0.3, 0.0, 0.0, 7.4, TICK)
    write(servo, "Torque_Enable", 1)
    assert servo.tick(0.3, 0.0, 0.0, 7.4, TICK).goal == pytest.approx(0.3, abs=2 * RADIANS)
    # A goal in the same breath counts.
    write(servo, "Torque_Enable", 0)
    write(servo, "Torque_Enable", 1)
    write(servo, "Goal_Position", 3000)
    assert follow(servo, 400)[-1] == pytest.approx(3000)


@pytest.mark.parametrize(("acceleration", "speed"), [(0, 0), (254, 0), (10, 0), (50, 500), (0, 300)])
def test_goals_are_approached_within_speed_and_acceleration_and_never_overshot(acceleration, speed):
    servo = enabled()
    write(servo, "Acceleration", acceleration)
    write(servo, "Goal_Velocity", speed)
    write(servo, "Goal_Position", 3000)
    goals = follow(servo, 1200)
    velocity = np.diff(goals, prepend=2048.0) / TICK
    assert goals[-1] == pytest.approx(3000, abs=0.01)
    assert goals.max() < 3000.1, "a tenth of a count is what braking in ticks costs"
    assert velocity.max() <= (speed or TOP_SPEED) + 1e-6
    if acceleration:
        assert np.abs(np.diff(velocity)).max() / TICK <= 100 * acceleration + 1e-6
        # And it makes use of what it may: no slower than twice the ideal trapezoid.
        ideal = 952 / (speed or TOP_SPEED) + (speed or TOP_SPEED) / (100 * acceleration)
        assert np.argmax(goals > 2999) * TICK < 2 * ideal


@given(st.integers(-32767, 32767), st.integers(0, 4095), st.integers(0, 4095))
def test_goals_stay_within_the_eeprom_limits(goal, one, other):
    lowest, highest = sorted((one, other))
    servo = enabled(Min_Position_Limit=lowest, Max_Position_Limit=highest)
    write(servo, "Goal_Position", goal)
    reached = follow(servo, 600)[-1]
    if highest > lowest:
        assert reached == pytest.approx(min(max(goal, lowest), highest) % 4096, abs=1e-6)


def test_within_the_dead_zone_nothing_pulls_and_beyond_it_what_is_beyond():
    servo = enabled(CW_Dead_Zone=3, CCW_Dead_Zone=5)
    for away, pull in ((2, 0), (10, 7), (-4, 0), (-10, -5)):
        write(servo, "Goal_Position", 2048 + away)
        for _ in range(20):
            drive = servo.tick(0.0, 0.0, 0.0, 7.4, TICK)
        assert drive.goal / RADIANS == pytest.approx(pull)


def test_gain_and_torque_follow_registers_and_voltage():
    servo = enabled()
    full = servo.tick(0.0, 0.0, 0.0, 7.4, TICK)
    assert (full.stiffness, full.damping, full.limit) == (2.0, 1.0, 3.0)
    write(servo, "P_Coefficient", 16)
    write(servo, "D_Coefficient", 8)
    write(servo, "Torque_Limit", 400)
    half = servo.tick(0.0, 0.0, 0.0, 3.7, TICK)
    assert (half.stiffness, half.damping, half.limit) == pytest.approx((0.5, 0.125, 0.6))
    write(servo, "Max_Torque_Limit", 200)
    assert servo.tick(0.0, 0.0, 0.0, 7.4, TICK).limit == pytest.approx(0.6)
    write(servo, "Operating_Mode", 1)
    assert servo.tick(0.0, 0.0, 0.0, 7.4, TICK).limit == 0.0


def test_sensors_are_in_their_registers():
    servo = enabled()
    servo.tick(0.1, -1.0, -1.5, 6.8, TICK)
    memory = servo.memory
    assert memory["Present_Velocity"] == -652
    assert memory["Present_Load"] == -500
    assert memory["Present_Current"] == round(-1.5 / 1.2116 / 0.0065)
    assert (memory["Present_Voltage"], memory["Present_Temperature"], memory["Moving"]) == (68, 25, 1)
    # On the wire a sign is a bit.
    assert memory.read(60, 2) == (500 | 1 << 10).to_bytes(2, "little")


def test_it_warms_as_measured_and_cools_again():
    servo = enabled()
    for _ in range(6000):
        servo.tick(0.0, 0.0, 1.47, 7.4, 0.1)
    assert servo.temperature - AMBIENT == pytest.approx(15, abs=1)
    for _ in range(30_000):
        servo.tick(0.0, 0.0, 0.0, 7.4, 0.1)
    assert servo.temperature - AMBIENT < 0.5


def test_overload_comes_late_leaves_some_torque_and_ends_on_the_other_side():
    servo = enabled()
    write(servo, "Goal_Position", 2400)

    def blocked(ticks, torque):
        for _ in range(ticks):
            drive = servo.tick(0.0, 0.0, torque, 7.4, TICK)
        return drive

    assert blocked(398, 2.9).limit == 3.0
    assert servo.memory["Status"] == 0
    assert blocked(4, 2.9).limit == pytest.approx(0.6)
    assert servo.memory["Status"] == Error.OVERLOAD
    assert blocked(400, 0.6).limit == pytest.approx(0.6), "less load alone does not end it"
    write(servo, "Torque_Enable", 0)
    assert blocked(2, 0.0).limit == 0.0
    assert servo.memory["Status"] == Error.OVERLOAD
    write(servo, "Torque_Enable", 1)
    write(servo, "Goal_Position", 1800)
    assert blocked(20, 0.0).limit == 3.0
    assert servo.memory["Status"] == 0


def test_overload_that_comes_and_goes_is_none():
    servo = enabled()
    for _ in range(10):
        for _ in range(300):
            servo.tick(0.0, 0.0, 2.9, 7.4, TICK)
        servo.tick(0.0, 0.0, 1.0, 7.4, TICK)
    assert servo.memory["Status"] == 0


def test_too_much_current_lets_go_until_torque_is_enabled_anew():
    servo = enabled(Protection_Current=100, Overload_Torque=200)
    for _ in range(402):
        drive = servo.tick(0.0, 0.0, 1.5, 7.4, TICK)
    assert (drive.limit, servo.memory["Status"]) == (0.0, Error.CURRENT)
    write(servo, "Torque_Enable", 0)
    write(servo, "Torque_Enable", 1)
    assert servo.tick(0.0, 0.0, 0.0, 7.4, TICK).limit == 3.0


@pytest.mark.parametrize(("condition", "limit"), [(44, 0.0), (40, 3.0)])
def test_heat_lets_go_if_it_is_a_reason_to(condition, limit):
    servo = enabled(Unloading_Condition=condition)
    servo.hot = 71.0
    assert servo.tick(0.0, 0.0, 0.0, 7.4, TICK).limit == limit
    assert servo.memory["Status"] == Error.HEAT
    servo.hot = None
    assert servo.tick(0.0, 0.0, 0.0, 7.4, TICK).limit == 3.0
    assert servo.memory["Status"] == 0


def test_low_voltage_is_told():
    servo = enabled()
    servo.tick(0.0, 0.0, 0.0, 3.9, TICK)
    assert servo.memory["Status"] == Error.VOLTAGE


def test_power_that_returns_finds_a_limp_servo_with_its_eeprom():
    servo = enabled()
    write(servo, "Lock", 0)
    write(servo, "Max_Torque_Limit", 300)
    servo.switch(False)
    assert servo.tick(0.7, 0.0, 0.0, 7.4, TICK).limit == 0.0
    servo.switch(True)
    assert (servo.memory["Torque_Enable"], servo.memory["Torque_Limit"]) == (0, 300)
    assert servo.memory["Goal_Position"] == round(2048 + 0.7 / RADIANS)


# The arm.


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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stal(elbow_flex)", "Unknown fault 'stal'. Did you mean 'stall'?"),
        ("stall(elbow)", "Unknown joint 'elbow'. Did you mean 'elbow_flex'?"),
        ("stall()", "'stall()' is not understood: write stall(elbow_flex)."),
        ("drop(2)", "drop(2): a share is between 0 and 1."),
        ("sag(-1)", "sag(-1) must be 0 or more."),
        ("backlash(gripper, -1)", "backlash(gripper, -1) must be 0 or more."),
        ("heat(gripper, warm)", "The number must be a number, got 'warm'"),
        ("delay(nan)", "The number must be finite"),
    ],
)
def test_a_fault_that_there_is_not_is_one_sentence(text, message):
    with pytest.raises(EmbodiedError) as error:
        Fault.parse(text)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    "text",
    ["drop(0.02)", "corrupt(1)", "delay(5)", "overload(gripper)", "heat(elbow_flex, 85)", "sag(5.5)", "power()",
     "stall(wrist_roll)", "backlash(elbow_flex, 1)", "zero(elbow_flex, -5)", "unplug()"],
)  # fmt: skip
def test_faults_print_what_they_parse(text):
    assert str(Fault.parse(text)) == text
    assert Fault.parse(text).kind in KINDS


def test_faults_hold_until_they_are_cleared():
    faults = Faults()
    for text in ("heat(gripper, 80)", "heat(gripper, 90)", "heat(elbow_flex, 85)", "power()"):
        faults.add(Fault.parse(text))
    assert (faults.value("heat", "gripper"), faults.value("power"), faults.value("drop")) == (90, 0, None)
    faults.clear("heat")
    assert [str(fault) for fault in faults] == ["power()"]
    faults.clear()
    assert not list(faults)
    with pytest.raises(EmbodiedError, match="Unknown fault 'heet'"):
        faults.clear("heet")


# Servos with numbers of their own.


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


def steps_until_it_moves(servo, goal=3000):
    write(servo, "Goal_Position", goal)
    for tick in range(100):
        drive = servo.tick(0.0, 0.0, 0.0, 7.4, TICK)
        if drive.goal > 0.0:
            return tick
    raise AssertionError("it never moved")


@pytest.mark.parametrize(("lag", "ticks"), [(0.0, 0), (0.015, 3), (0.0175, 3)])
def test_a_late_goal_reaches_the_motor_that_much_later(lag, ticks):
    servo = enabled()
    servo.lag = lag
    for _ in range(10):
        servo.tick(0.0, 0.0, 0.0, 7.4, TICK)
    assert steps_until_it_moves(servo) == ticks


def test_a_goal_between_ticks_is_interpolated():
    late = {}
    for lag in (0.005, 0.0075, 0.01):
        servo = enabled()
        servo.lag = lag
        write(servo, "Goal_Position", 3000)
        late[lag] = [servo.tick(0.0, 0.0, 0.0, 7.4, TICK).goal for _ in range(10)][-1]
    assert late[0.0075] == pytest.approx((late[0.005] + late[0.01]) / 2)


def test_torque_that_comes_on_forgets_goals_that_are_late():
    servo = enabled()
    servo.lag = 0.1
    write(servo, "Goal_Position", 3000)
    for _ in range(10):
        servo.tick(0.0, 0.0, 0.0, 7.4, TICK)
    write(servo, "Torque_Enable", 0)
    write(servo, "Torque_Enable", 1)
    assert servo.tick(0.0, 0.0, 0.0, 7.4, TICK).goal == pytest.approx(0.0, abs=2 * RADIANS)


@given(st.floats(0.001, 0.1), st.floats(0.05, 3.0))
def test_play_costs_the_time_that_the_motor_needs_to_cross_it(width, torque):
    gears, gap = Gears(1, 1), np.array([[width]])
    gears.lean(np.array([[1.0]]), gap)
    assert gears.engage(np.array([[torque]]), gap, TICK) == 1.0, "it pulls as before"
    shares = [float(gears.engage(np.array([[-torque]]), gap, TICK)[0, 0]) for _ in range(1000)]
    lost = TICK * (1.0 - np.array(shares)).sum()
    assert lost == pytest.approx(min(width * DRAG / torque, 5.0), rel=1e-6)
    assert np.all(np.diff(shares) >= 0), "once across, it stays there"


def test_without_play_nothing_is_lost():
    gears = Gears(1, 6)
    turns = np.array([[1.0, -1.0, 0.2, 0.0, -3.0, 1e-12]])
    for sign in (1, -1, 1):
        share = gears.engage(sign * turns, np.zeros((1, 6)), TICK)
        assert (share == 1.0).all()


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
