"""A Koch through LeRobot's own driver on the Dynamixel twin: units, guards, a whole deployment, and what is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
from killing import SUPERVISED, kill_policy, kill_supervisor
from lerobot.motors import MotorNormMode
from twins import Ticking, afresh, enabled, patient, start

from envs.errors import EmbodiedError
from envs.robot import arm_of, joint_range, robot_of
from robots.arm.kinds import kind_of
from robots.arm.lerobot import ArmConfig, LeRobotArm
from robots.governor.client import hush
from robots.governor.guard import UNHEARD, State
from robots.governor.supervisor import SupervisorConfig
from robots.twin.servo import RADIANS
from robots.units import JOINTS, units_of

pytest.importorskip("dynamixel_sdk", reason="the extra `dynamixel` is not installed")

HOME, KIND, RANGE = np.array(robot_of("koch").home), kind_of("koch"), joint_range("koch")
POSTURES = (HOME, np.array([0.9, 0.1, -0.7, 1.1, -1.3, 0.1]), np.array([-1.4, -0.2, 0.6, -0.4, 2.1, 1.4]))
PAN, LIFT = np.eye(6)[0], np.eye(6)[1]


@pytest.fixture(scope="module")
def process(tmp_path_factory):
    with start(tmp_path_factory.mktemp("koch") / "twin", robot="koch", task="reach") as running:
        yield running


@pytest.fixture
def twin(process):
    return afresh(process, HOME)


@pytest.fixture
def side(twin):
    """The twin's arm under guard."""
    with Ticking(twin, model="koch", holding=0.1, lowering=0.2) as guarded:
        guarded.tick()
        yield guarded


def made(twin, **settings):
    given = {"port": twin.port, "id": "twin", "calibration": str(twin.folder), "model": "koch"}
    return LeRobotArm(ArmConfig(**{**given, **settings}))


def truth(twin, what="joints"):
    told = twin.tell("truth()")[what]
    return np.array([told[name] for name in JOINTS])


def led(twin, joints):
    """The twin with its arm led there by hand."""
    twin.tell(f"hand({', '.join(f'{name}={angle}' for name, angle in zip(JOINTS, joints, strict=True))})")
    while twin.tell("advance(0.5)")["hand"]:
        pass
    return truth(twin)


@pytest.mark.parametrize("degrees", [False, True])
def test_radians_are_read_and_written_to_a_count_in_whatever_units_the_driver_has(twin, degrees):
    arm = made(twin)
    assert {motor.norm_mode for motor in list(arm._bus.motors.values())[:5]} == {MotorNormMode.RANGE_M100_100}
    if degrees:
        for name in JOINTS[:5]:
            arm._bus.motors[name].norm_mode = MotorNormMode.DEGREES
        arm.units = units_of(arm._bus, RANGE)
    patient(arm._robot)
    arm.connect(powered=False)
    try:
        for posture in POSTURES:
            there = led(twin, posture)
            assert np.abs(there - posture).max() < 0.05, "the hand leads it there"
            assert arm.read().position == pytest.approx(there, abs=1.01 * RADIANS)
            # No servo has torque: a goal is a number, and the twin knows whose.
            arm.command(posture)
            arm.read()
            assert truth(twin, "goal") == pytest.approx(posture, abs=2.01 * RADIANS)
    finally:
        arm.close()


def test_a_joint_whose_zero_is_elsewhere_is_told_by_its_offset(twin):
    twin.tell("zero(wrist_roll, 5)")
    twin.tell("zero(shoulder_lift, -4)")
    there = led(twin, HOME)
    usual = made(twin).units.zero
    slipped = np.deg2rad([0.0, -4.0, 0.0, 0.0, 5.0])
    off, right = np.append(slipped, 0.0), tuple(np.array(usual) - slipped)
    for zeros, error in ((None, off), (right, np.zeros(6))):
        arm = made(twin, zeros=zeros)
        patient(arm._robot)
        arm.connect(powered=False)
        assert arm.read().position - there == pytest.approx(error, abs=1.01 * RADIANS)
        arm.close()


def test_what_servos_sense_and_how_they_are_weakened(twin):
    arm = made(twin)
    patient(arm._robot)
    arm.connect(powered=True)
    try:
        assert enabled(twin) == set(JOINTS)
        seen = []
        for _ in range(60):
            arm.command(HOME + 0.4 * PAN + 0.5 * np.eye(6)[5])
            seen.append(arm.read())
        # A packet takes the twin 10 ms.
        way = 0.02 * np.sum([each.velocity for each in seen], axis=0)
        assert way[[0, 5]] == pytest.approx((seen[-1].position - seen[0].position)[[0, 5]], rel=0.1, abs=0.02)
        health = seen[-1].health
        assert health.voltage == pytest.approx([12, 12, 5, 5, 5, 5])
        assert np.isnan(health.current).tolist() == [True, True, False, False, False, False], "an XL430 tells its load"
        assert health.temperature == pytest.approx(25.0)
        arm.limit_torque(0.01)
        arm.command(HOME - 0.4 * PAN)
        assert twin.tell("advance(0.5)")["joints"]["shoulder_pan"] > 0.3, "there is no strength to go"
        assert np.abs(truth(twin, "torque")).max() < 0.02 * 1.5
        assert np.abs(arm.read().health.load).max() < 0.02
        assert arm.release() == ()
        assert set(arm._bus.sync_read("Goal_PWM", normalize=False).values()) == {885}, "the next finds it whole"
    finally:
        arm.close()
    assert not enabled(twin)


def rest(side, ticks=60):
    """Let the arm come to rest; whether it did."""
    return any(side.tick().state is State.RELEASED for _ in range(ticks))


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ("overload(elbow_flex)", "elbow_flex reports overload"),
        ("heat(wrist_flex, 85)", "wrist_flex reports heat"),
        ("heat(shoulder_pan, 68)", "shoulder_pan is at 68 C"),
        ("sag(4.2)", "shoulder_pan reports voltage"),
        ("sag(9)", "shoulder_pan has no more than 9 V"),
        ("stall(shoulder_pan)", "shoulder_pan "),
    ],
)
def test_a_servo_in_trouble_stops_the_arm_and_no_servo_is_left_powered(side, twin, fault, why):
    twin.tell(fault)
    for _ in range(40):
        side.guard.go(side.tick().base + 0.1 * PAN, 1)
        if side.tick().fault is not None:
            break
    assert why in (side.guard.fault or "")
    assert rest(side)
    assert not enabled(twin)


def test_an_arm_that_is_lost_is_let_go_when_it_answers_again(side, twin):
    side.arm._robot.hurry()
    twin.tell("unplug()")
    for _ in range(20):
        side.guard.go(HOME, 1)
        report = side.tick()
    assert (report.state, report.fault, report.powered) == (State.LOST, UNHEARD, JOINTS)
    assert enabled(twin) == set(JOINTS), "nobody can tell them"
    twin.tell("clear()")
    patient(side.arm._robot)
    assert rest(side, 3)
    assert not enabled(twin)


def driven(side, twin, way, steps=12):
    """What was commanded `[steps 6]`, where the tool was `[steps 3]`, and what was cut while it is driven that way."""
    report, told, tools, cuts = side.tick(), [], [], set()
    for _ in range(steps):
        report = side.go(report.base + 0.6 * way)
        assert report.fault is None
        told.append(report.command)
        cuts |= {why.partition(" of ")[0] for why in report.cut}
        tools.append(arm_of("koch").forward(truth(twin)).position)
        goal = truth(twin, "goal")
        assert ((goal > RANGE[:, 0]) & (goal < RANGE[:, 1])).all()
    assert np.abs(np.diff(told, axis=0)).max() <= 0.1 * KIND.limits.velocity + 1e-9
    side.guard.finish()
    assert rest(side)
    assert not enabled(twin)
    return np.array(told), np.array(tools), cuts


@pytest.mark.parametrize(
    ("way", "cut"),
    [
        (PAN, {"speed", "range"}),
        (-np.eye(6)[4], {"speed", "range"}),
        (-np.eye(6)[2], {"speed", "range"}),
        (LIFT, {"workspace", "collision"}),
    ],
)
def test_no_command_leaves_the_range_is_too_fast_or_meets_the_table(side, twin, way, cut):
    told, tools, cuts = driven(side, twin, way)
    assert cut <= cuts
    assert np.abs(told[-1] - HOME).max() > 0.05, "it goes as far as it may"
    assert tools[:, 2].min() > 0.004


def test_the_tool_stays_in_its_box(twin):
    with Ticking(
        twin, model="koch", holding=0.1, lowering=0.2, workspace=((0.0, 0.3), (-0.08, 0.08), (0.005, 0.3))
    ) as side:
        _, tools, cuts = driven(side, twin, PAN)
    assert "workspace" in cuts
    assert 0.07 < np.abs(tools[:, 1]).max() < 0.083


def test_a_first_command_far_away_stops_it(side, twin):
    side.guard.go(HOME + 1.1 * PAN, 1)
    assert "the first command is 1.10 rad from where shoulder_pan is; 1 is allowed" in side.tick().fault
    assert truth(twin, "goal") == pytest.approx(HOME, abs=0.02)
    assert rest(side)
    assert not enabled(twin)


def test_a_command_that_is_not_a_number_stops_it(side, twin):
    side.guard.go(np.full(6, np.nan), 1)
    report = side.tick(2)
    assert "is not six numbers" in report.fault
    assert truth(twin, "goal") == pytest.approx(HOME, abs=0.02)
    assert rest(side)
    assert not enabled(twin)


def test_shadow_moves_nothing(twin):
    with Ticking(twin, model="koch", moving=False) as side:
        base, before = side.tick().base, truth(twin)
        report = side.go(base + 9.0 * PAN)
        assert {"range", "speed"} <= set(report.cut)
        assert not enabled(twin)
        assert truth(twin) == pytest.approx(before, abs=1e-3)


def test_all_servos_let_go_when_they_are_told_to_at_once(twin):
    arm = made(twin)
    patient(arm._robot)
    arm.connect(powered=True)
    arm.close()
    assert enabled(twin) == set(JOINTS)
    hush(twin.port, KIND.servos)
    # Nobody waits for an answer to a broadcast; a question is answered after it.
    with_answer = made(twin)
    patient(with_answer._robot)
    with_answer._bus.connect()
    with_answer.close()
    assert not enabled(twin)


def supervised(twin):
    arm = {"port": twin.port, "model": "koch", "id": "twin", "calibration": str(twin.folder)}
    return SupervisorConfig(arm=arm, limits=replace(KIND.limits, silence=60.0, holding=0.1, lowering=0.1))


def test_a_killed_policy_leaves_no_torque(twin):
    kill_policy(twin, SUPERVISED.format(config=supervised(twin).as_json()))
    assert not enabled(twin)


def test_a_killed_supervisor_is_stood_in_for(twin):
    kill_supervisor(supervised(twin))
    assert not enabled(twin)


def test_a_servo_that_has_shut_down_does_not_keep_the_others_powered(twin):
    arm = made(twin)
    patient(arm._robot)
    arm.connect(powered=True)
    twin.tell("overload(elbow_flex)")
    twin.tell("advance(0.1)")
    arm.close()
    assert enabled(twin) == set(JOINTS) - {"elbow_flex"}
    with pytest.raises(EmbodiedError, match="servos that a fault has shut down need the power off and on") as error:
        made(twin).connect(powered=False)
    assert "\n" not in str(error.value)
    assert not enabled(twin)


def test_what_does_not_go_with_the_port_is_one_sentence(twin, tmp_path):
    with pytest.raises(EmbodiedError, match="LeRobot's so101_follower has servos sts3215, and a koch has xl330-m288"):
        made(twin, robot="so101_follower")
    with pytest.raises(EmbodiedError, match=f"There is no calibration {tmp_path}/twin.json of this arm; run lerobot-"):
        made(twin, calibration=str(tmp_path)).connect(powered=True)
    values = json.loads((twin.folder / "twin.json").read_text())
    values["elbow_flex"]["homing_offset"] += 40
    (tmp_path / "twin.json").write_text(json.dumps(values))
    with pytest.raises(EmbodiedError, match="is not the one in the servos: it is of another arm, or older; run lerob"):
        made(twin, calibration=str(tmp_path)).connect(powered=True)
    with pytest.raises(EmbodiedError, match="No so101_follower answers on "):
        made(twin, robot=None, model="so101").connect(powered=True)
    assert not enabled(twin)
