"""Every fault that the stock driver swallows or makes worse, once with it alone, which fails, and once with ours."""

import contextlib
import math
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from twins import Ticking, connected, follower, start

from envs.robot import HOME
from robots.arm.contract import ArmLostError
from robots.governor.client import SupervisedArm
from robots.governor.guard import State
from robots.governor.limits import Limits
from robots.governor.supervisor import SupervisorConfig
from robots.units import JOINTS, Units, from_features, to_features

STOCK = pytest.param("stock", marks=pytest.mark.xfail(strict=True, reason="LeRobot's driver alone"))


class Stock:
    """LeRobot's driver as its own loops use it: read, send, and disconnect when something raises."""

    def __init__(self, twin):
        self.robot = follower(twin)
        self.robot.connect(calibrate=False)
        self.robot.hurry()
        self.detected = False
        self.goal = Units().to_radians(from_features(self.robot.get_observation()))

    def run(self, ticks, move=0.01):
        with contextlib.suppress(Exception):
            for _ in range(ticks):
                self.goal[0] += move
                try:
                    self.robot.send_action(to_features(Units().to_lerobot(self.goal)))
                    self.robot.get_observation()
                except Exception:
                    self.detected = True
                    self.robot.disconnect()
                    raise

    def end(self):
        with contextlib.suppress(Exception):
            self.robot.disconnect()
        self.robot.bus.port_handler.closePort()


class Ours:
    """The guard, told the same."""

    def __init__(self, twin):
        self.side = Ticking(twin)
        self.goal = self.side.tick().base

    def run(self, ticks, move=0.01):
        for _ in range(ticks):
            self.goal = self.goal + move * np.eye(6)[0]
            self.side.guard.go(self.goal, 1)
            self.side.tick()

    @property
    def detected(self):
        return self.side.guard.fault is not None

    def end(self):
        self.side.tick(200)
        self.side.arm.close()


SIDES = {"stock": Stock, "ours": Ours}


@pytest.fixture(scope="module")
def process(tmp_path_factory):
    with start(tmp_path_factory.mktemp("faults") / "twin") as twin:
        yield twin


@pytest.fixture
def twin(process):
    """One twin for all, with new power, no fault, and the arm above the table, for each."""
    process.tell("clear()")
    process.tell("power()")
    process.tell("clear()")
    process.tell(f"hand({', '.join(f'{name}={angle}' for name, angle in zip(JOINTS, HOME, strict=True))})")
    while process.tell("advance(0.5)")["hand"]:
        pass
    return process


def enabled(twin):
    return {name for name, on in twin.tell("truth()")["enabled"].items() if on}


@pytest.mark.parametrize("side", [STOCK, "ours"])
@pytest.mark.parametrize("fault", ["overload(elbow_flex)", "heat(wrist_flex, 85)", "sag(4.5)", "stall(shoulder_pan)"])
def test_a_servo_in_trouble_is_noticed_and_no_servo_keeps_torque(twin, side, fault):
    driver = SIDES[side](twin)
    driver.run(5)
    twin.tell(fault)
    driver.run(25, move=0.05 if "stall" in fault else 0.0)
    noticed = driver.detected
    driver.end()
    assert noticed
    assert not enabled(twin)


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
@pytest.mark.parametrize("joint", ["shoulder_pan", "shoulder_lift"])
def test_a_goal_of_500_degrees_is_not_sent(twin, side, joint):
    driver, number = SIDES[side](twin), JOINTS.index(joint)
    driver.run(2)
    driver.goal = driver.goal + math.radians(500) * np.eye(6)[number]
    sent = []
    for _ in range(30):
        driver.run(1, move=0.0)
        sent.append(twin.tell("truth()")["goal"][joint])
    driver.end()
    assert np.abs(sent).max() < 1.93


@pytest.mark.parametrize("side", [STOCK, "ours"])
def test_a_command_that_is_not_a_number_leaves_a_held_arm_that_is_let_go(twin, side):
    driver = SIDES[side](twin)
    driver.run(2)
    before = twin.tell("truth()")["joints"]
    driver.goal = np.full(6, np.nan)
    # Left to itself, the loop of the stock driver ends with an exception, here as in LeRobot's own commands.
    for _ in range(10):
        driver.side.guard.go(driver.goal, 1) if side == "ours" else driver.robot.send_action(to_features(driver.goal))
        driver.side.tick()
    after = twin.tell("truth()")["joints"]
    assert "not six numbers" in driver.side.guard.fault
    assert list(before.values()) == pytest.approx(list(after.values()), abs=0.05)
    driver.end()
    assert not enabled(twin)


def test_power_loss_is_told_even_though_sending_succeeds(twin):
    side = Ticking(twin)
    target = side.tick().base
    side.arm._robot.hurry()
    twin.tell("power()")
    for _ in range(20):
        side.guard.go(target, 1)
        report = side.tick()
    assert report.state is State.LOST
    assert report.fault == "the servos do not answer"
    assert report.powered == JOINTS, "nobody says that they have none"
    twin.tell("clear(power)")
    assert side.tick(2).state is State.RELEASED
    side.arm.close()


@pytest.mark.parametrize("fault", ["corrupt(0.02)", "drop(0.01)"])
def test_a_bad_line_stops_nothing(twin, fault):
    with Ticking(twin) as side:
        side.tick()
        side.arm._robot.hurry()
        twin.tell(fault)
        silent = sum(side.tick().reading is None for _ in range(200))
        assert silent <= 2
        assert side.guard.fault is None


def test_a_warm_servo_slows_the_arm_down(twin):
    with Ticking(twin) as side:
        base = side.tick().base
        speeds = []
        for heat in (40, 60):
            twin.tell(f"heat(elbow_flex, {heat})")
            side.lead(base)
            side.guard.go(base + 0.5 * np.eye(6)[0], 1)
            report = side.tick(8)
            speeds.append(report.command[0] - base[0])
        assert report.warning == "elbow_flex is warm"
        assert 0.02 < speeds[1] < 0.75 * speeds[0]


def test_jaws_that_hold_something_are_no_overload(twin):
    with Ticking(twin) as side:
        side.tick()
        twin.tell("overload(gripper)")
        assert side.tick(50).fault is None


PROGRAM = """
import sys, time
import numpy as np
sys.path.insert(0, {tests!r})
from robots.governor.client import SupervisedArm
from robots.governor.supervisor import SupervisorConfig
from robots.units import from_features
if {stock!r}:
    from lerobot.robots.so_follower import SO101Follower, SO101FollowerConfig
    from pathlib import Path
    robot = SO101Follower(SO101FollowerConfig(port={port!r}, id="twin", calibration_dir=Path({folder!r})))
    robot.connect(calibrate=False)
else:
    robot = SupervisedArm(SupervisorConfig.from_json({config!r}))
print("up", flush=True)
while True:
    if {stock!r}:
        robot.send_action(robot.get_observation())
    elif not {silent!r}:
        robot.go(robot.ready().base, 5)
    time.sleep(0.02)
"""


def supervised(twin, **limits):
    """Configuration of a supervisor that is patient with a busy machine unless told otherwise."""
    arm = {"port": twin.port, "id": "twin", "calibration": str(twin.folder)}
    return SupervisorConfig(arm=arm, limits=Limits(**{"silence": 60.0, "holding": 0.1, "lowering": 0.1} | limits))


def started(twin, stock=False, silent=False, **limits):
    program = PROGRAM.format(
        tests=os.path.dirname(__file__), stock=stock, silent=silent, port=twin.port, folder=str(twin.folder),
        config=supervised(twin, **limits).as_json(),
    )  # fmt: skip
    policy = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert policy.stdout.readline() == "up\n"
    return policy


@pytest.mark.parametrize("side", [STOCK, "ours"])
def test_a_killed_policy_leaves_no_torque(twin, side):
    with started(twin, stock=side == "stock") as policy:
        assert enabled(twin) == set(JOINTS)
        policy.send_signal(signal.SIGKILL)
        policy.wait()
        # As many seconds of the arm's as it takes; a driver that is gone does nothing in any.
        for _ in range(600):
            if not enabled(twin):
                break
            subprocess.run(["sleep", "0.05"], check=True) if side == "ours" else twin.tell("advance(0.05)")
    assert not enabled(twin)


def test_a_stalled_policy_is_not_waited_for(twin):
    with SupervisedArm(supervised(twin, silence=2.0)) as arm:
        report = arm.ready()
        arm.go(report.base, 5)
        while report.state is not State.RELEASED:
            report = arm.report()
        assert "the policy has been silent for" in report.fault
        assert not enabled(twin)
        assert arm.finish()["powered"] == []


def test_a_policy_that_rests_is_waited_for(twin):
    with SupervisedArm(supervised(twin, silence=1.0)) as arm:
        arm.go(arm.ready().base, 5)
        arm.ready()
        arm.rest()
        for _ in range(100):
            assert arm.report().fault is None


def test_a_killed_supervisor_is_stood_in_for(twin):
    with SupervisedArm(supervised(twin)) as arm:
        arm.ready()
        os.kill(arm.supervisor, signal.SIGKILL)
        with pytest.raises(ArmLostError, match="has died; the arm was let go"):
            next(report for _ in iter(int, 1) if (report := arm.report()) is None)
    assert not enabled(twin)


def test_shadow_leaves_the_arm_limp_and_says_what_would_be_cut(twin):
    before = twin.tell("truth()")["joints"]
    with Ticking(twin, moving=False) as side:
        base = side.tick().base
        report = side.go(base + 9.0 * np.eye(6)[0])
        assert "range" in report.cut
        assert "speed" in report.cut
        assert not enabled(twin)
    assert twin.tell("truth()")["joints"]["shoulder_pan"] == pytest.approx(before["shoulder_pan"], abs=0.02)


def test_what_is_left_of_the_stock_driver_still_connects(twin):
    with connected(follower(twin)):
        assert enabled(twin) == set(JOINTS)
