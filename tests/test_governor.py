"""What the governor rules on an arm that goes where it is told at once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from obedient import LIMITS, RANGE, START, TICK, reading

from envs.errors import EmbodiedError
from envs.kinematics import forward
from envs.mirror import Mirror
from envs.scene import SceneConfig
from envs.so101 import JOINT_HIGH
from robots.governor.governor import Governor
from robots.governor.limits import Limits
from robots.governor.watch import SLOW


def lead(governor, wanted, ticks=100, speed=1.0):
    """Commands `[ticks + 1, 6]` from the start on, and everything that was cut."""
    commands, cut = [governor.command.copy()], []
    for _ in range(ticks):
        ruling = governor.rule(wanted, reading(commands[-1]), TICK, speed)
        commands.append(ruling.command)
        cut += ruling.cut
    return np.array(commands), cut


@pytest.fixture(scope="module")
def mirror():
    return Mirror(SceneConfig(objects=(), goal_entity="bin"))


def apart(mirror, joints, objects=None):
    """The nearest solids [m], and which."""
    mirror.show(joints, np.zeros(6), joints, objects or {})
    found = mirror.nearest()
    return found.distance, found.pair


def begun(limits=LIMITS, position=START):
    governor = Governor(limits, RANGE)
    governor.begin(reading(position))
    return governor


@pytest.mark.parametrize("joint", range(6))
@pytest.mark.parametrize("way", [-9.0, 9.0])
def test_no_command_leaves_the_range(joint, way):
    commands, cut = lead(begun(), START + way * np.eye(6)[joint])
    assert "range" in cut
    assert (commands >= RANGE[:, 0] + LIMITS.margin - 1e-9).all()
    assert (commands <= RANGE[:, 1] - LIMITS.margin + 1e-9).all()
    assert np.abs(commands[-1] - START)[joint] > 0.02


def test_an_arm_of_shorter_range_keeps_to_its_own():
    governor = Governor(LIMITS, RANGE * np.array([[0.2]] + 5 * [[1.0]]))
    governor.begin(reading())
    commands, _ = lead(governor, START + 9.0 * np.eye(6)[0])
    assert commands[-1, 0] == pytest.approx(0.2 * JOINT_HIGH[0] - LIMITS.margin)


@pytest.mark.parametrize("speed", [1.0, 0.25])
def test_speed_and_acceleration_are_limited_and_the_goal_is_reached_without_overshoot(speed):
    target = START + np.array([1.2, 0.0, 0.0, 0.0, -0.8, 0.9])
    commands, cut = lead(begun(Limits(speed=speed)), target, 200)
    assert "speed" in cut
    pace = np.diff(commands, axis=0) / TICK
    assert np.abs(pace[:, :5]).max() == pytest.approx(speed * LIMITS.velocity)
    assert np.abs(pace[:, 5]).max() <= speed * LIMITS.gripper_velocity + 1e-9
    assert np.abs(np.diff(pace, axis=0)).max() / TICK <= LIMITS.acceleration + 1e-6
    assert commands[-1] == pytest.approx(target, abs=1e-6)
    assert (np.abs(commands - START) <= np.abs(target - START) + 1e-9).all()


@pytest.fixture(scope="module")
def governor():
    return Governor(LIMITS, RANGE)


@given(st.integers(0, 2**32 - 1).map(np.random.default_rng))
@settings(max_examples=30)
def test_no_limit_is_passed_whatever_is_ordered_in_mid_course(governor, rng):
    governor.begin(reading())
    low, high = RANGE[:, 0] + LIMITS.margin, RANGE[:, 1] - LIMITS.margin
    commands, paces = [], [np.zeros(6)]
    for _ in range(40):
        # Half of the joints are sent to an end of their range, some stay.
        target = np.where(rng.random(6) < 0.5, np.where(rng.random(6) < 0.5, low, high), rng.uniform(low, high))
        target = np.where(rng.random(6) < 0.2, governor.command, target)
        for _ in range(rng.integers(1, 20)):
            governor.command, governor._speed = governor._smooth(target, TICK, 1.0)
            commands.append(governor.command)
            paces.append(governor._speed)
    top = np.append(np.full(5, LIMITS.velocity), LIMITS.gripper_velocity)
    assert (np.abs(paces) <= top + 1e-9).all()
    assert np.abs(np.diff(paces, axis=0)).max() <= LIMITS.acceleration * TICK + 1e-9
    assert (np.array(commands) >= low - 1e-9).all()
    assert (np.array(commands) <= high + 1e-9).all()


def test_a_slower_arm_is_slower():
    usual, _ = lead(begun(), START + np.eye(6)[0], 10)
    slow, _ = lead(begun(), START + np.eye(6)[0], 10, speed=SLOW)
    assert 0.3 < (slow[-1, 0] - START[0]) / (usual[-1, 0] - START[0]) < 0.7


def test_the_arm_stays_off_the_table(mirror):
    down = START + np.array([0.0, 1.2, 0.3, 0.0, 0.0, 0.0])
    assert apart(mirror, down)[0] < 0.0, "it would be in the table"
    commands, cut = lead(begun(), down)
    assert "workspace" in cut or any("table" in why for why in cut)
    assert min(apart(mirror, joints)[0] for joints in commands) > 0.0
    assert commands[-1, 1] - START[1] > 0.2, "it goes down as far as it can"


def test_the_tool_stays_in_the_workspace():
    box = ((0.05, 0.30), (-0.15, 0.15), (0.02, 0.40))
    commands, cut = lead(begun(Limits(workspace=box)), START + 1.5 * np.eye(6)[0])
    tools = np.array([forward(joints).position for joints in commands])
    assert "workspace" in cut
    assert np.abs(tools[:, 1]).max() < 0.15 + 1e-3
    assert np.abs(tools[:, 1]).max() > 0.13


def colliding(mirror, count=3):
    """Postures above the table in which the arm meets itself."""
    random = np.random.default_rng(0)
    found = []
    while len(found) < count:
        joints = random.uniform(RANGE[:, 0] + 0.05, RANGE[:, 1] - 0.05)
        distance, pair = apart(mirror, joints)
        if distance < -0.005 and "table" not in pair:
            found.append(joints)
    return found


def test_the_arm_is_stopped_before_it_meets_itself(mirror):
    met = 0
    for joints in colliding(mirror):
        commands, cut = lead(begun(), joints, 150)
        met += any(why.startswith("collision of ") for why in cut)
        assert min(apart(mirror, command)[0] for command in commands) > 0.0
    assert met


def test_the_arm_is_stopped_before_it_meets_a_bin(mirror):
    governor = begun()
    away = START + 1.0 * np.eye(6)[0]
    tool = forward(START + 0.5 * np.eye(6)[0]).position
    pose = np.array([tool[0], tool[1], tool[2] + 0.03, 1.0, 0.0, 0.0, 0.0])
    free, _ = lead(begun(), away)
    assert free[-1] == pytest.approx(away, abs=1e-6)
    governor.place_bin(pose)
    commands, cut = lead(governor, away)
    assert any("bin" in why for why in cut)
    objects = {"bin": np.append(pose, np.zeros(6))}
    assert min(apart(mirror, joints, objects)[0] for joints in commands) > 0.0
    assert apart(mirror, START + 0.5 * np.eye(6)[0], objects)[0] < 0.0


@pytest.mark.parametrize("wanted", [np.full(6, np.nan), np.array([np.inf, 0, 0, 0, 0, 0]), np.zeros(5)])
def test_what_is_not_six_numbers_is_a_fault(wanted):
    governor = begun()
    ruling = governor.rule(wanted, reading(), TICK)
    assert "is not six numbers" in ruling.fault
    assert np.array_equal(ruling.command, START)


def test_a_first_command_far_away_is_named():
    governor = begun()
    assert governor.jump(START + 0.4, reading()) is None
    assert "1.00 rad from where shoulder_pan is; 0.7 is allowed" in governor.jump(START + np.eye(6)[0], reading())
    assert governor.jump(START + 1.2 * np.eye(6)[5], reading()) is None, "jaws may"


def test_no_limit_can_be_off():
    for value in (0.0, -1.0, np.inf, np.nan):
        with pytest.raises(EmbodiedError, match=r"velocity=.* cannot be off"):
            Limits(velocity=value)
    with pytest.raises(EmbodiedError, match="is empty: every axis needs low < high"):
        Limits(workspace=((0.0, 0.4), (0.1, -0.1), (0.0, 0.4)))
    with pytest.raises(EmbodiedError, match="No range is left of elbow_flex"):
        Governor(LIMITS, RANGE * np.array([[1.0], [1.0], [0.001], [1.0], [1.0], [1.0]]))


def test_joints_arrive_together():
    way = np.array([0.02, -0.3, 0.5, -0.1, -0.2, 0.0])
    commands, _ = lead(begun(), START + way, 60)
    gone = commands - START
    assert gone == pytest.approx(np.outer(gone @ way / (way @ way), way), abs=1e-9)
    assert gone[-1] == pytest.approx(way, abs=1e-9)
    assert np.abs(np.diff(gone, axis=0)).max() == pytest.approx(LIMITS.velocity * TICK)


def test_jaws_close_where_the_arm_may_not_go_on(mirror):
    governor = begun()
    down = START + np.array([0.0, 1.2, 0.3, 0.0, 0.0, 0.0])
    commands, _ = lead(governor, down)
    closed = np.array([*down[:5], 0.1])
    ruling = governor.rule(closed, reading(commands[-1]), TICK)
    assert any(why.startswith(("collision", "workspace")) for why in ruling.cut)
    for _ in range(30):
        ruling = governor.rule(closed, reading(governor.command), TICK)
    assert ruling.command[5] == pytest.approx(0.1, abs=1e-3)
    assert apart(mirror, ruling.command)[0] > 0.0
