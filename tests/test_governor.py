"""What the governor rules, and how the guard brings an arm to rest, on an arm that goes where it is told at once."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.errors import EmbodiedError
from envs.kinematics import JOINT_HIGH, JOINT_LOW, forward
from envs.mirror import Mirror
from envs.robot import HOME
from envs.scene import SceneConfig
from robots.arm.contract import ArmLostError, Health, Reading, Robot
from robots.governor.governor import Governor
from robots.governor.guard import UNHEARD, Guard, State
from robots.governor.limits import Limits
from robots.governor.watch import SLOW, Watch
from robots.units import JOINTS

RANGE = np.stack([JOINT_LOW, JOINT_HIGH], axis=1)
START = np.array([*HOME[:5], 0.3])
TICK = 0.02
LIMITS = Limits()


def reading(position=START, velocity=0.0, **health):
    """Six joints that have an easy time; `health` by name, one value for all or six."""
    easy = {"load": 0.0, "current": 0.0, "temperature": 30.0, "voltage": 7.4}
    values = {name: np.broadcast_to(np.asarray(value, float), 6) for name, value in (easy | health).items()}
    return Reading(0.0, np.array(position, float), np.broadcast_to(velocity, 6), Health(errors=((),) * 6, **values))


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


ELBOW = np.eye(6)[2]
BLOCKED = START - 0.1 * ELBOW


@pytest.mark.parametrize(
    ("trouble", "why"),
    [
        ({"temperature": 30 + 40 * ELBOW}, "elbow_flex is at 70 C"),
        ({"load": 0.9 * ELBOW, "position": BLOCKED}, "elbow_flex strains with a load of 0.9 of its stall torque"),
        ({"current": 2.6 * ELBOW, "position": BLOCKED}, "elbow_flex draws 2.6 A"),
        ({"position": START - 0.5 * ELBOW}, "elbow_flex is off its command by 0.5 rad"),
        ({"voltage": 7.4 - 2 * ELBOW}, "elbow_flex has no more than 5.4 V"),
    ],
)
def test_servos_in_trouble_stop_the_arm(trouble, why):
    watch = Watch(LIMITS)
    assert watch.look(reading(), START, TICK).fault is None
    found = [watch.look(reading(**trouble), START, TICK).fault for _ in range(15)]
    assert found[-1] == why
    assert sum(fault is None for fault in found) <= round(LIMITS.patience / TICK)


@pytest.mark.parametrize("trouble", [{"load": 0.9 * ELBOW}, {"current": 2.6 * ELBOW}])
def test_a_hand_may_press_for_a_while(trouble):
    watch = Watch(LIMITS)
    found = [watch.look(reading(**trouble), START, TICK).fault for _ in range(60)]
    assert abs(sum(fault is None for fault in found) - LIMITS.pressing / TICK) <= 1
    assert found[-1].startswith("elbow_flex strains with a load of ")


@pytest.mark.parametrize("trouble", [{"load": 0.9}, {"current": 2.6}])
def test_a_joint_that_moves_may_give_all_it_has(trouble):
    watch = Watch(LIMITS)
    assert all(watch.look(reading(velocity=1.0, **trouble), START, TICK).fault is None for _ in range(50))


def test_a_warm_arm_is_slower():
    found = Watch(LIMITS).look(reading(temperature=30.0 + 30.0 * ELBOW), START, TICK)
    assert found.fault is None
    assert found.speed == SLOW
    assert found.warning == "elbow_flex is warm"


def test_what_a_servo_reports_stops_the_arm_but_for_jaws_that_hold_something():
    for number, fault in ((2, "elbow_flex reports overload"), (5, None)):
        told = reading()
        errors = tuple(("overload",) if j == number else () for j in range(6))
        told = replace(told, health=replace(told.health, errors=errors))
        assert Watch(LIMITS).look(told, START, TICK).fault == fault


class Obedient:
    """An arm that is where it was told to be, while it answers."""

    joint_range = RANGE

    def __init__(self):
        self.position, self.shares, self.powered, self.answers, self.reopened = START.copy(), [], True, True, 0

    def connect(self, powered):
        self.powered = powered

    def read(self):
        if not self.answers:
            raise ArmLostError("silence")
        return reading(self.position)

    def command(self, target):
        self.position = target.copy()

    def limit_torque(self, share):
        self.shares.append(share)

    def release(self):
        self.powered = self.powered and not self.answers
        return JOINTS if not self.answers else ()

    def close(self, reopen=False):
        self.reopened += reopen
        return reopen


class Stuck(Obedient):
    """Its elbow does not get beyond a wall, while there is one, and strains with what is asked of it."""

    wall = START[2]

    def read(self):
        free = self.position.copy()
        free[2] = min(free[2], self.wall)
        return reading(free, load=np.clip(20 * (self.position - free), -1, 1))


class Clocked:
    """A guard whose seconds pass with its ticks."""

    def __init__(self, moving=True, arm=None, **limits):
        self.now, self.arm = 0.0, arm or Obedient()
        governor = Governor(Limits(**limits), RANGE)
        self.guard = Guard(self.arm, governor, 1 / TICK, clock=lambda: self.now, moving=moving)
        self.tick()

    def tick(self, count=1):
        for _ in range(count):
            self.now += TICK
            report = self.guard.tick()
        return report


def test_the_stand_in_is_a_robot():
    assert isinstance(Obedient(), Robot)


def test_an_order_is_carried_out_in_equal_parts():
    side = Clocked()
    side.guard.go(START + 0.1 * ELBOW, 10, serial=7)
    report = side.tick(5)
    assert report.wanted == pytest.approx(START + 0.05 * ELBOW)
    assert (report.serial, report.remaining, report.state) == (7, 5, State.FOLLOWING)
    report = side.tick(20)
    assert report.remaining == 0
    assert side.arm.position == pytest.approx(START + 0.1 * ELBOW, abs=1e-3)


def pressed(side, ticks, target=0.3):
    """Reports while the elbow is sent into a wall at 0.75 rad/s, a step of 0.1 s at a time from where it is allowed."""
    found = []
    for tick in range(ticks):
        if tick % 5 == 0 and side.guard.fault is None:
            base = side.guard.tick().base if tick == 0 else found[-1].base
            side.guard.go(np.where(ELBOW > 0, np.minimum(base + 0.075, START + target), START), 5)
        found.append(side.tick())
    return found


PATIENT = 2.0
"""[s] of pressing, to look at how it gives way."""


def test_a_joint_that_presses_gives_way():
    side = Clocked(arm=Stuck(), pressing=PATIENT)
    found = pressed(side, 40)
    load = np.array([report.reading.health.load[2] for report in found])
    assert load.max() >= LIMITS.strained
    assert load[15:].max() < 1.1 * LIMITS.strained
    assert load[15:].mean() > 0.3, "it presses on, though"
    assert all(report.fault is None for report in found)
    assert "load" in found[-1].cut
    assert np.abs(found[-1].base[2] - START[2]) < 0.05, "the next order is counted from where it is allowed to be"


def test_a_joint_that_is_free_again_goes_on_where_it_was_sent():
    side = Clocked(arm=Stuck(), pressing=PATIENT)
    assert "load" in pressed(side, 30)[-1].cut
    side.arm.wall = np.inf
    found = pressed(side, 60, target=0.2)
    assert found[-1].fault is None
    assert found[-1].cut == ()
    assert found[-1].reading.position[2] == pytest.approx(START[2] + 0.2, abs=1e-3)


def test_a_joint_that_is_called_back_comes_at_once():
    side = Clocked(arm=Stuck(), pressing=PATIENT)
    pressed(side, 30)
    side.guard.go(START - 0.1 * ELBOW, 5)
    side.tick(6)
    assert side.arm.position[2] < START[2] - 0.05


def test_jaws_hold_on():
    side = Clocked(silence=60.0)
    side.arm.read = lambda: reading(START, load=0.7 * np.eye(6)[5])
    side.guard.go(START + 0.2 * np.eye(6)[5], 5)
    report = side.tick(80)
    assert (report.fault, report.cut) == (None, ())
    assert report.command[5] == pytest.approx(START[5] + 0.2)


def test_what_is_pressed_on_for_long_stops_the_arm():
    side = Clocked(arm=Stuck())
    found = pressed(side, 100)
    when = next(k for k, report in enumerate(found) if report.fault is not None)
    assert found[-1].fault == "elbow_flex has pressed on something for 0.35 s"
    assert when * TICK == pytest.approx(LIMITS.pressing, abs=0.2)
    assert found[-1].reading.health.load[2] < LIMITS.strained


def test_pressing_again_and_again_is_pressing():
    side = Clocked(arm=Stuck())
    for ticks in range(60):
        side.guard.go(START + (-0.05 if ticks % 6 == 5 else 0.1) * ELBOW, 5)
        report = side.tick(5)
        if report.fault is not None:
            break
    assert report.fault == "elbow_flex has pressed on something for 0.35 s"


def test_what_is_held_off_from_where_it_should_be_stops_the_arm():
    side = Clocked(arm=Stuck(), pressing=PATIENT)
    for k in range(60):
        side.guard.go(START + 0.012 * k * ELBOW, 1)
        report = side.tick()
        if report.fault is not None:
            break
    assert report.fault == "elbow_flex is held off from where it should be"
    assert k * 0.012 == pytest.approx(LIMITS.astray, abs=0.15)


def test_what_is_run_into_at_full_speed_is_pressed_on_no_more_within_a_fifth_of_a_second():
    side = Clocked(arm=Stuck(), silence=60.0)
    side.guard.go(START + 0.6 * ELBOW, 10)
    load = np.array([side.tick().reading.health.load[2] for _ in range(30)])
    assert load.max() == 1.0
    assert (load >= LIMITS.strained).sum() * TICK < 0.2
    assert (load[-20:] < LIMITS.strained).all()
    assert side.guard.state is State.HOLDING


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


def test_an_order_may_be_told_sooner_than_the_next_is_due():
    side = Clocked()
    side.guard.go(START + 0.1 * ELBOW, 10, ramp=1)
    report = side.tick()
    assert report.wanted == pytest.approx(START + 0.1 * ELBOW)
    assert report.command[2] < START[2] + 0.05, "no faster than the limits let it"
    report = side.tick(6)
    assert report.command == pytest.approx(START + 0.1 * ELBOW)
    assert (report.remaining, report.cut) == (3, ())


def test_a_silent_policy_is_held_lowered_and_let_go():
    side = Clocked(silence=0.2, holding=0.3, lowering=0.4)
    side.guard.go(START, 1)
    states = []
    while side.guard.state is not State.RELEASED:
        states.append((side.tick().state, side.now))
    when = {state: next(now for each, now in states if each is state) for state, _ in states}
    assert list(when) == [State.FOLLOWING, State.HOLDING, State.LOWERING, State.RELEASED]
    assert when[State.HOLDING] == pytest.approx(0.2, abs=3 * TICK)
    assert when[State.LOWERING] - when[State.HOLDING] == pytest.approx(0.3, abs=2 * TICK)
    assert when[State.RELEASED] - when[State.LOWERING] == pytest.approx(0.4, abs=2 * TICK)
    assert "the policy has been silent for 0.2" in side.guard.fault
    assert side.arm.shares == sorted(side.arm.shares, reverse=True)
    assert side.arm.shares[-1] < 0.1
    assert not side.arm.powered


def test_a_policy_that_rests_or_has_not_begun_is_waited_for():
    side = Clocked(silence=0.2)
    assert side.tick(50).fault is None
    side.guard.go(START, 1)
    side.tick()
    side.guard.rest()
    assert side.tick(50).state is State.READY


def test_a_first_jump_and_a_command_that_is_no_number_stop_the_arm_where_it_is():
    for target, why in ((START + ELBOW, "the first command is"), (np.full(6, np.nan), "is not six numbers")):
        side = Clocked()
        side.guard.go(target, 1)
        report = side.tick(3)
        assert report.state is State.HOLDING
        assert why in report.fault
        assert side.arm.position == pytest.approx(START)
        side.guard.go(START, 1)
        assert side.tick().state is State.HOLDING, "nothing is followed any more"


def test_servos_that_answer_again_are_let_go():
    side = Clocked(silence=0.1)
    side.guard.go(START, 1)
    side.tick()
    side.arm.answers = False
    report = side.tick(10)
    assert (report.state, report.powered, report.reading) == (State.LOST, JOINTS, None)
    assert side.arm.reopened > 1
    side.arm.answers = True
    report = side.tick()
    assert (report.state, report.powered) == (State.RELEASED, ())
    assert report.fault == UNHEARD


def test_an_arm_that_is_only_watched_is_never_told_anything_and_let_go_at_once():
    side = Clocked(moving=False, silence=0.2)
    side.guard.go(START + 0.3 * ELBOW, 5)
    assert side.tick(5).state is State.FOLLOWING
    assert np.array_equal(side.arm.position, START)
    assert side.tick(10).state is State.RELEASED
    assert "has been silent" in side.guard.fault
    assert side.arm.shares == []


def test_a_few_answers_that_are_lost_stop_nothing():
    side = Clocked(silence=0.1)
    for _ in range(10):
        side.arm.answers = False
        side.tick(3)
        side.arm.answers = True
        assert side.tick().fault is None
