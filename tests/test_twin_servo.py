"""The firmware of one servo on a joint that does as it is told, with what it measures and what it protects."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robots.twin.registers import REGISTERS, Error
from robots.twin.servo import AMBIENT, RADIANS, TOP_SPEED, Servo

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
