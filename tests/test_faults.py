"""Every fault that the stock driver swallows or makes worse, once with it alone, which fails, and once with ours."""

import contextlib
import math
from types import SimpleNamespace

import numpy as np
import pytest
from twins import Ticking, connected, enabled, follower

from robots import stock
from robots.governor.guard import UNHEARD, State
from robots.units import JOINTS, Units, from_features, to_features

STOCK = pytest.param(
    "stock", marks=pytest.mark.xfail(raises=AssertionError, strict=True, reason="LeRobot's driver alone")
)
PAN = np.eye(6)[0]


class Stock:
    """LeRobot's driver as its own loops use it: read, send, and disconnect when something raises."""

    def __init__(self, twin):
        self.robot = follower(twin)
        self.robot.connect(calibrate=False)
        self.robot.hurry()
        self.detected = False
        self.goal = Units().to_radians(from_features(self.robot.get_observation()))

    def run(self, ticks, move=0.0):
        for _ in range(ticks):
            if self.detected:
                break
            self.goal = self.goal + move * PAN
            try:
                self.robot.send_action(to_features(Units().to_lerobot(self.goal)))
                self.robot.get_observation()
            except Exception:
                self.detected = True
                with contextlib.suppress(Exception):
                    self.robot.disconnect()

    def end(self, ticks=0):
        """Let the arm go; whether the port was given back."""
        with contextlib.suppress(Exception):
            self.robot.disconnect()
        given_back = not self.robot.is_connected
        self.robot.bus.port_handler.closePort()
        return given_back


class Ours:
    """The guard, told the same."""

    def __init__(self, twin):
        self.side = Ticking(twin, holding=0.1, lowering=0.1)
        self.goal = self.side.tick().base

    def run(self, ticks, move=0.0):
        for _ in range(ticks):
            self.goal = self.goal + move * PAN
            self.side.guard.go(self.goal, 1)
            self.side.tick()

    @property
    def detected(self):
        return self.side.guard.fault is not None

    def end(self, ticks=30):
        """Let the arm go; whether the port was given back."""
        self.side.guard.finish()
        for _ in range(ticks):
            if self.side.tick().state is State.RELEASED:
                break
        self.side.arm.close()
        return self.side.arm._lock is None


SIDES = {"stock": Stock, "ours": Ours}


@pytest.mark.parametrize("side", [STOCK, "ours"])
@pytest.mark.parametrize("fault", ["overload(elbow_flex)", "heat(wrist_flex, 85)", "sag(4.5)", "stall(shoulder_pan)"])
def test_a_servo_in_trouble_is_noticed(twin, side, fault):
    driver = SIDES[side](twin)
    driver.run(2)
    twin.tell(fault)
    driver.run(25, move=0.05 if "stall" in fault else 0.0)
    noticed = driver.detected
    driver.end()
    assert noticed


@pytest.mark.parametrize("side", [STOCK, "ours"])
def test_one_servo_in_trouble_does_not_keep_the_others_powered(twin, side):
    driver = SIDES[side](twin)
    driver.run(2)
    twin.tell("overload(elbow_flex)")
    assert driver.end()
    assert not enabled(twin)


@pytest.mark.parametrize("side", [STOCK, "ours"])
def test_an_arm_without_power_is_noticed_and_its_port_given_back(twin, side):
    driver = SIDES[side](twin)
    if side == "ours":
        driver.side.arm._robot.hurry()
    driver.run(2)
    twin.tell("power()")
    driver.run(15)
    assert driver.detected
    assert driver.end(ticks=1)


@pytest.mark.parametrize("side", [STOCK, "ours"])
def test_an_unplugged_arm_is_let_go_when_the_cable_is_back(twin, side):
    driver = SIDES[side](twin)
    driver.run(5)
    twin.tell("unplug()")
    driver.run(25)
    assert driver.detected
    assert enabled(twin) == set(JOINTS), "nobody can tell them anything now"
    twin.tell("clear(unplug)")
    driver.end()
    assert not enabled(twin)


@pytest.mark.parametrize("side", [STOCK, "ours"])
def test_a_goal_of_500_degrees_is_not_sent(twin, side):
    driver = SIDES[side](twin)
    driver.run(2)
    driver.goal = driver.goal + math.radians(500) * PAN
    sent = []
    for _ in range(30):
        driver.run(1)
        sent.append(twin.tell("truth()")["goal"]["shoulder_pan"])
    driver.end()
    assert np.abs(sent).max() < 1.93


@pytest.mark.parametrize("side", [STOCK, "ours"])
def test_a_command_that_is_not_a_number_leaves_an_arm_that_is_held(twin, side):
    driver = SIDES[side](twin)
    driver.run(2)
    driver.goal = np.full(6, np.nan)
    driver.run(3)
    held = enabled(twin)
    driver.end()
    assert driver.detected
    assert held == set(JOINTS), "it was dropped"
    assert not enabled(twin)


@pytest.mark.parametrize("side", [STOCK, "ours"])
def test_what_is_recorded_is_what_was_carried_out(twin, side):
    if side == "ours":
        with Ticking(twin) as ours:
            report = ours.go(ours.tick().base + PAN)
            recorded = report.command[0]
            executed = twin.tell("truth()")["goal"]["shoulder_pan"]
    else:
        frames = []
        dataset = SimpleNamespace(fps=50, features=stock.features(), add_frame=frames.append)
        with connected(follower(twin, max_relative_target=5.0)) as robot:
            base = Units().to_radians(from_features(robot.get_observation()))
            stock.loop(robot, lambda: base + PAN, 0.05, 50, dataset)
            recorded = Units().to_radians(frames[-1]["action"].astype(float))[0]
            executed = twin.tell("truth()")["goal"]["shoulder_pan"]
    assert recorded == pytest.approx(executed, abs=0.002)


def test_what_the_servos_do_not_answer_is_told_until_they_do(twin):
    with Ticking(twin) as side:
        target = side.tick().base
        side.arm._robot.hurry()
        twin.tell("power()")
        for _ in range(15):
            side.guard.go(target, 1)
            report = side.tick()
        assert report.state is State.LOST
        assert report.fault == UNHEARD
        assert report.powered == JOINTS, "nobody says that they have none"
        twin.tell("clear(power)")
        assert side.tick(2).state is State.RELEASED
        assert report.fault == side.guard.fault


@pytest.mark.parametrize("fault", ["corrupt(0.02)", "drop(0.01)"])
def test_a_bad_line_stops_nothing(twin, fault):
    with Ticking(twin) as side:
        side.tick()
        side.arm._robot.hurry()
        twin.tell(fault)
        silent = sum(side.tick().reading is None for _ in range(100))
        assert silent <= 2
        assert side.guard.fault is None


def test_jaws_that_hold_something_are_no_overload(twin):
    with Ticking(twin) as side:
        side.tick()
        twin.tell("overload(gripper)")
        assert side.tick(25).fault is None


def test_an_arm_that_stops_is_held_then_lowered_then_let_go(twin):
    with Ticking(twin, holding=0.1, lowering=1.0) as side:
        side.tick()
        twin.tell("hand()")
        side.guard.stop("enough")
        states, torques = [], []
        while side.guard.state is not State.RELEASED:
            torques.append(abs(twin.tell("truth()")["torque"]["shoulder_lift"]))
            states.append(side.tick().state)
        assert list(dict.fromkeys(states)) == [State.HOLDING, State.LOWERING, State.RELEASED]
        assert not enabled(twin)
        assert torques[10] > 0.2, "it holds its own weight"
        assert torques[-1] < 0.1
        assert np.diff(torques[10:]).min() > -0.1, "torque goes down in small steps"


def test_shadow_leaves_the_arm_limp_and_says_what_would_be_cut(twin):
    before = twin.tell("truth()")["joints"]
    with Ticking(twin, moving=False) as side:
        base = side.tick().base
        report = side.go(base + 9.0 * PAN)
        assert "range" in report.cut
        assert "speed" in report.cut
        assert not enabled(twin)
    assert twin.tell("truth()")["joints"]["shoulder_pan"] == pytest.approx(before["shoulder_pan"], abs=0.02)
