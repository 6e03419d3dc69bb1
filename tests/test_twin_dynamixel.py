"""Dynamixel's protocol 2.0 as ROBOTIS documents it, X-series servos on one wire, and a Koch on the twin's port."""

import os
import select
import termios
import time
import tty

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lerobot.motors.dynamixel import tables
from twins import start

from envs.robot import joint_range
from robots.twin.arm import Arm, ArmConfig
from robots.twin.dynamixel.bus import Bus
from robots.twin.dynamixel.protocol import BROADCAST, HEADER, Instruction, Packet, Parser, Refusal, status
from robots.twin.dynamixel.registers import BAUD_RATES, MODELS, TABLE, Hardware, Mode
from robots.twin.dynamixel.servo import XServo
from robots.twin.faults import Fault
from robots.twin.registers import COUNTS
from robots.twin.servo import RADIANS
from robots.units import JOINTS

TICK = 0.005


def at(name):
    return TABLE.registers[name].address


def number(value, size):
    return value.to_bytes(size, "little", signed=value < 0)


def reading(name):
    return number(at(name), 2) + number(TABLE.registers[name].size, 2)


def writing(name, value):
    return number(at(name), 2) + TABLE.registers[name].encode(value)


def ask(wire, identity, code, parameters=b"", baud_rate=None):
    return Parser().feed(b"".join(wire.answer(Packet(identity, code, parameters), baud_rate)))


def wire():
    return Bus([XServo("xl330-m288", ID=identity) for identity in (1, 2, 3)])


# Packets.


@pytest.mark.parametrize(
    ("packet", "wanted"),
    [
        (Packet(1, Instruction.PING), "FF FF FD 00 01 03 00 01 19 4E"),
        (Packet(1, Instruction.READ, bytes((0x84, 0, 4, 0))), "FF FF FD 00 01 07 00 02 84 00 04 00 1D 15"),
        (
            Packet(1, Instruction.WRITE, bytes((0x74, 0, 0, 2, 0, 0))),
            "FF FF FD 00 01 09 00 03 74 00 00 02 00 00 CA 89",
        ),
        (
            Packet(0xFE, Instruction.SYNC_READ, bytes((0x84, 0, 4, 0, 1, 2))),
            "FF FF FD 00 FE 09 00 82 84 00 04 00 01 02 CE FA",
        ),
    ],
)
def test_packets_are_those_of_the_manual(packet, wanted):
    assert packet.encode() == bytes.fromhex(wanted)
    assert Parser().feed(bytes.fromhex(wanted)) == [packet]


def test_an_answer_is_that_of_the_manual():
    assert status(1, 0, bytes((6, 4, 0x26))) == bytes.fromhex("FF FF FD 00 01 07 00 55 00 06 04 26 65 5D")


@given(
    st.lists(st.binary(max_size=20).map(lambda data: data.replace(b"\x00", HEADER[:3])), max_size=4),
    st.integers(1, 9),
    st.binary(max_size=5),
)
def test_packets_survive_headers_within_noise_before_and_any_cut(contents, cut, noise):
    packets = [Packet(1, Instruction.WRITE, b"\x40" + data) for data in contents]
    stream = noise.replace(b"\xff", b"\x01") + b"".join(packet.encode() for packet in packets)
    parser, found = Parser(), []
    for place in range(0, len(stream), cut):
        found += parser.feed(stream[place : place + cut])
    assert found == packets
    assert all(HEADER not in packet.encode()[4:] for packet in packets)


@given(st.integers(0, 15), st.integers(1, 255))
def test_a_wrong_byte_is_noticed_and_the_next_packet_is_not_lost(place, error):
    sound = Packet(2, Instruction.PING).encode()
    broken = bytearray(Packet(1, Instruction.WRITE, bytes((0x74, 0, 0, 2, 0, 0))).encode())
    broken[place] ^= error
    parser = Parser()
    found = parser.feed(bytes(broken) + sound)
    assert Packet(1, Instruction.WRITE, bytes((0x74, 0, 0, 2, 0, 0))) not in found
    # A length that was made longer waits for what will not come.
    parser.clear()
    assert parser.feed(sound) == [Packet(2, Instruction.PING)]


# Registers.


@pytest.mark.parametrize("model", MODELS)
def test_registers_are_those_of_lerobot(model):
    """Which has one table for the whole series: what a model lacks of it is named."""
    own, series = MODELS[model].table.registers, tables.MODEL_CONTROL_TABLE[model]
    lacks = {"Acceleration_Limit"} | {name for name in MODELS[model].lacks if name in series}
    assert set(series) - set(own) == lacks
    assert {name: (own[name].address, own[name].size) for name in series if name in own} == {
        name: where for name, where in series.items() if name not in lacks
    }
    signed = {name: size for name, size in tables.MODEL_ENCODING_TABLE[model].items() if name not in lacks}
    assert {name: own[name].size for name in signed} == signed
    assert all(own[name].span[0] < 0 for name in signed)
    assert {rate: place for place, rate in enumerate(BAUD_RATES)} == tables.MODEL_BAUDRATE_TABLE[model]
    assert MODELS[model].number == tables.MODEL_NUMBER_TABLE[model] == XServo(model).memory["Model_Number"]
    assert list(MODELS[model].modes) == tables.MODEL_OPERATING_MODES[model]
    assert tables.MODEL_RESOLUTION[model] == COUNTS
    places = [entry.address + k for entry in own.values() for k in range(entry.size)]
    assert len(set(places)) == len(places)
    assert max(places) < TABLE.size


def test_a_model_without_a_current_sensor_has_no_register_and_no_mode_for_it():
    """ROBOTIS' e-Manual, XL430-W250: nothing at 38 and 102, load at 126, shutdown for 52."""
    sensing, plain = XServo("xl330-m288"), XServo("xl430-w250")
    for name, value, refusal in (
        ("Operating_Mode", Mode.CURRENT_POSITION, Refusal.LIMIT),
        ("Current_Limit", 300, Refusal.ACCESS),
        ("Goal_Current", 300, Refusal.ACCESS),
    ):
        data = TABLE.registers[name].encode(value)
        assert sensing.write(at(name), data) == Refusal.NONE, name
        assert plain.write(at(name), data) == refusal, name
    assert (sensing.memory["Shutdown"], plain.memory["Shutdown"]) == (53, 52)


# The wire.


def test_all_who_hear_a_ping_say_who_they_are():
    bus = wire()
    assert [(p.id, p.parameters) for p in ask(bus, BROADCAST, Instruction.PING)] == [
        (identity, b"\0" + number(1200, 2) + b"\x34") for identity in (1, 2, 3)
    ]
    assert [p.id for p in ask(bus, 2, Instruction.PING)] == [2]
    assert ask(bus, 9, Instruction.PING) == []
    assert ask(bus, 2, Instruction.PING, baud_rate=1_000_000) == [], "57,600 as from the factory"
    assert len(ask(bus, 2, Instruction.PING, baud_rate=57_600)) == 1


def test_what_is_written_is_read_and_what_may_not_be_is_refused():
    bus = wire()
    assert ask(bus, 1, Instruction.WRITE, writing("Homing_Offset", -300))[0].parameters == b"\0"
    assert ask(bus, 1, Instruction.READ, reading("Homing_Offset"))[0].parameters == b"\0" + number(-300, 4)
    for name, value, error in (
        ("Present_Position", 5, Refusal.ACCESS),
        ("Goal_Position", 5000, Refusal.LIMIT),
        ("Goal_Current", 1751, Refusal.LIMIT),
    ):
        before = bus.servos[0].memory[name]
        assert ask(bus, 1, Instruction.WRITE, writing(name, value))[0].parameters == bytes((error,)), name
        assert bus.servos[0].memory[name] == before
    assert ask(bus, 1, Instruction.READ, number(140, 2) + number(10, 2))[0].parameters == bytes((Refusal.RANGE,))
    assert ask(bus, 1, Instruction.READ, b"\1")[0].parameters == bytes((Refusal.LENGTH,))
    assert ask(bus, 1, 0x77)[0].parameters == bytes((Refusal.INSTRUCTION,))


def test_the_eeprom_is_closed_while_there_is_torque():
    bus = wire()
    ask(bus, 1, Instruction.WRITE, writing("Torque_Enable", 1))
    assert ask(bus, 1, Instruction.WRITE, writing("Operating_Mode", 4))[0].parameters == bytes((Refusal.ACCESS,))
    ask(bus, 1, Instruction.WRITE, writing("Torque_Enable", 0))
    assert ask(bus, 1, Instruction.WRITE, writing("Operating_Mode", 4))[0].parameters == b"\0"


def test_many_are_read_and_written_at_once():
    bus = wire()
    goals = {1: 100, 3: 4000}
    data = (
        number(at("Goal_Position"), 2) + number(4, 2) + b"".join(bytes((i,)) + number(v, 4) for i, v in goals.items())
    )
    assert ask(bus, BROADCAST, Instruction.SYNC_WRITE, data) == []
    answers = ask(bus, BROADCAST, Instruction.SYNC_READ, reading("Goal_Position") + bytes((3, 1, 8)))
    assert [(p.id, p.parameters) for p in answers] == [(3, b"\0" + number(4000, 4)), (1, b"\0" + number(100, 4))]


def test_a_registered_write_waits_for_action():
    bus = wire()
    ask(bus, 1, Instruction.REG_WRITE, writing("Goal_Position", 700))
    assert bus.servos[0].memory["Goal_Position"] == 0
    ask(bus, BROADCAST, Instruction.ACTION)
    assert bus.servos[0].memory["Goal_Position"] == 700


def test_a_servo_answers_as_much_as_it_is_told_to():
    bus = wire()
    for level, answers in ((2, (1, 1, 1)), (1, (1, 1, 0)), (0, (1, 0, 0))):
        ask(bus, 1, Instruction.WRITE, writing("Status_Return_Level", level))
        asked = (
            (Instruction.PING, b""),
            (Instruction.READ, reading("ID")),
            (Instruction.WRITE, writing("LED", 1)),
        )
        assert tuple(len(ask(bus, 1, *each)) for each in asked) == answers


# One servo.


def held(**eeprom):
    servo = XServo("xl330-m288", 2048.0, 3.0, **({"Operating_Mode": Mode.EXTENDED_POSITION} | eeprom))
    servo.start(0.0)
    servo.write(at("Torque_Enable"), b"\1")
    return servo


def tick(servo, angle=0.0, torque=0.0, voltage=5.0, ticks=1):
    for _ in range(ticks):
        drive = servo.tick(angle, 0.0, torque, voltage, TICK)
    return drive


@given(st.floats(-3, 3), st.integers(-2000, 2000), st.integers(0, 1))
def test_homing_offsets_are_added_and_the_drive_mode_turns_the_way(angle, offset, inverted):
    servo = XServo("xl430-w250", 2048.0, Homing_Offset=offset, Drive_Mode=inverted,
                   Operating_Mode=Mode.EXTENDED_POSITION)  # fmt: skip
    tick(servo, angle, voltage=12.0)
    way = -1 if inverted else 1
    assert servo.memory["Present_Position"] == round(way * (2048 + angle / RADIANS) + offset)
    servo.write(at("Goal_Position"), number(servo.memory["Present_Position"] + 100, 4))
    assert servo.goal == pytest.approx(angle + way * 100 * RADIANS, abs=RADIANS)


def test_a_goal_gain_and_current_reach_the_motor():
    servo = held()
    servo.write(at("Goal_Position"), number(2348, 4))
    assert tick(servo).goal == pytest.approx(300 * RADIANS), "without a profile at once"
    servo.write(at("Position_P_Gain"), number(800, 2))
    assert (tick(servo).stiffness, tick(servo, voltage=4.0).limit) == (2.0, pytest.approx(2.4))
    servo.write(at("Torque_Enable"), b"\0")
    assert tick(servo).limit == 0.0
    servo.write(at("Operating_Mode"), bytes((Mode.CURRENT_POSITION,)))
    servo.write(at("Torque_Enable"), b"\1")
    servo.write(at("Goal_Current"), number(875, 2))
    assert tick(servo).limit == pytest.approx(1.5)
    servo.write(at("Torque_Enable"), b"\0")
    servo.write(at("Operating_Mode"), b"\1")
    servo.write(at("Torque_Enable"), b"\1")
    assert tick(servo).limit == 0.0, "no position is held in velocity mode"


def test_a_profile_limits_the_way_to_the_goal():
    servo = held()
    servo.write(at("Profile_Velocity"), number(50, 4))
    servo.write(at("Goal_Position"), number(4000, 4))
    per_tick = (tick(servo, ticks=2).goal - tick(held()).goal) / 2 / RADIANS
    assert per_tick / TICK == pytest.approx(50 * 0.229 / 60 * 4096)


@pytest.mark.parametrize(
    ("fail", "bit"),
    [
        (lambda servo: setattr(servo, "hot", 71.0), Hardware.HEAT),
        (lambda servo: setattr(servo, "overloaded", True), Hardware.OVERLOAD),
    ],
)
def test_an_error_shuts_down_until_a_reboot_and_every_answer_says_so(fail, bit):
    servo = held()
    bus = Bus([servo])
    fail(servo)
    assert tick(servo).limit == 0.0
    assert servo.memory["Hardware_Error_Status"] == bit
    answer = ask(bus, 1, Instruction.WRITE, writing("Torque_Enable", 1))[0]
    assert answer.parameters == bytes((Refusal.ALERT | Refusal.ACCESS,))
    servo.hot, servo.overloaded = None, False
    assert tick(servo).limit == 0.0, "it stays shut when the cause is gone"
    ask(bus, 1, Instruction.REBOOT)
    assert ask(bus, 1, Instruction.WRITE, writing("Torque_Enable", 1))[0].parameters == b"\0"
    assert tick(servo).limit == 3.0
    assert servo.memory["Operating_Mode"] == Mode.EXTENDED_POSITION, "the EEPROM outlives it"


def test_goal_pwm_limits_the_torque_in_every_mode_and_comes_back_with_the_power():
    servo = held(PWM_Limit=600)
    servo.reboot()
    assert servo.memory["Goal_PWM"] == 600
    servo.write(at("Torque_Enable"), b"\1")
    assert tick(servo).limit == pytest.approx(3.0 * 600 / 885)
    assert servo.write(at("Goal_PWM"), number(300, 2)) == Refusal.NONE
    assert tick(servo).limit == pytest.approx(3.0 * 300 / 885)
    assert servo.write(at("Goal_PWM"), number(700, 2)) == Refusal.LIMIT


def test_a_load_that_lasts_is_an_overload():
    servo = held()
    assert tick(servo, torque=2.9, ticks=399).limit == 3.0
    assert tick(servo, torque=2.9, ticks=2).limit == 0.0
    assert servo.memory["Present_Current"] == round(1470 * 2.9 / 3)


# Six of them.


MIDDLES = joint_range("koch").mean(axis=1)[:5]
"""[rad] Where LeRobot says 0 of a Koch's joints."""


@pytest.mark.parametrize(("robot", "first", "zeros"), [("koch", 1, MIDDLES), ("omx", 11, np.zeros(5))])
def test_a_calibrated_arm_reads_the_models_angles_and_goes_where_it_is_told(robot, first, zeros):
    arm = Arm(ArmConfig(robot=robot))
    assert [servo.memory["ID"] for servo in arm.servos] == list(range(first, first + 6))
    # As LeRobot's Koch and OMX drivers configure it.
    for name, servo in zip(JOINTS, arm.servos, strict=True):
        mode = Mode.CURRENT_POSITION if name == "gripper" else Mode.EXTENDED_POSITION
        assert servo.write(at("Operating_Mode"), bytes((mode,))) == Refusal.NONE
        assert servo.write(at("Torque_Enable"), b"\1") == Refusal.NONE
    arm.advance()
    read = [(servo.memory["Present_Position"] - 2047.5) * RADIANS for servo in arm.servos]
    assert np.allclose(read[:5] + zeros, arm.angles[:5], atol=2 * RADIANS)
    goal = np.deg2rad([20, -30, 30, 60, -30])
    for servo, angle in zip(arm.servos, goal - zeros, strict=False):
        servo.write(at("Goal_Position"), number(round(2047.5 + angle / RADIANS), 4))
    arm.advance(300)
    assert np.allclose(arm.angles[:5], goal, atol=np.deg2rad(0.5))


def test_faults_reach_them():
    arm = Arm(ArmConfig(robot="koch"))
    for text in ("heat(gripper, 85)", "sag(4)", "zero(wrist_roll, 5)"):
        arm.faults.add(Fault.parse(text))
    before = arm.servos[4].memory["Present_Position"]
    arm.refresh()
    arm.advance(2)
    errors = [servo.memory["Hardware_Error_Status"] for servo in arm.servos]
    assert errors == [Hardware.VOLTAGE] * 2 + [0] * 3 + [Hardware.HEAT], "XL330 run on 5 V, and down to 3.5"
    assert arm.servos[4].memory["Present_Position"] == pytest.approx(before + np.deg2rad(5) / RADIANS, abs=5)


def test_a_koch_answers_on_the_port(tmp_path):
    with start(tmp_path / "twin", robot="koch") as twin:
        line = os.open(twin.port, os.O_RDWR | os.O_NOCTTY)
        try:
            tty.setraw(line)
            # A pseudo-terminal comes with 38,400, and LeRobot has set these servos to a million.
            settings = termios.tcgetattr(line)
            settings[4] = settings[5] = termios.B1000000
            termios.tcsetattr(line, termios.TCSANOW, settings)
            os.write(
                line,
                Packet(BROADCAST, Instruction.SYNC_READ, reading("Present_Position") + bytes(range(1, 7))).encode(),
            )
            parser, answers, until = Parser(), [], time.monotonic() + 30
            while len(answers) < 6 and select.select([line], [], [], max(until - time.monotonic(), 0))[0]:
                answers += parser.feed(os.read(line, 4096))
        finally:
            os.close(line)
        joints = twin.tell("truth()")["joints"]
    assert [answer.id for answer in answers] == list(range(1, 7))
    read = [(int.from_bytes(a.parameters[1:], "little", signed=True) - 2047.5) * RADIANS for a in answers]
    assert np.allclose(read[:5] + MIDDLES, [joints[name] for name in JOINTS[:5]], atol=0.02)


def test_lerobots_own_koch_driver_moves_it(tmp_path):
    pytest.importorskip("dynamixel_sdk", reason="LeRobot's extra `dynamixel` is not installed")
    from lerobot.robots.koch_follower import KochFollower, KochFollowerConfig
    from twins import connected, patient, settle

    with start(tmp_path / "twin", robot="koch") as twin:
        config = KochFollowerConfig(port=twin.port, id="twin", calibration_dir=tmp_path / "twin", use_degrees=True)
        with connected(patient(KochFollower(config))) as robot:
            rest = robot.get_observation()
            reached = settle(robot, {**rest, "shoulder_pan.pos": 20.0, "elbow_flex.pos": 30.0})
            assert reached["shoulder_pan.pos"] == pytest.approx(20, abs=1)
            assert reached["elbow_flex.pos"] == pytest.approx(30, abs=1)
            robot.disconnect()
