"""Twins in processes of their own and LeRobot's own drivers on them, for the tests."""

import contextlib
from dataclasses import replace
from pathlib import Path

import numpy as np
from lerobot.robots.so_follower import SO101Follower, SO101FollowerConfig
from lerobot.teleoperators.so_leader import SO101Leader, SO101LeaderConfig

from envs.robot import HOME
from robots.arm.kinds import kind_of
from robots.arm.lerobot import ArmConfig, LeRobotArm
from robots.governor.governor import Governor
from robots.governor.guard import Guard
from robots.twin.process import TwinProcess
from robots.twin.server import TwinConfig
from robots.units import JOINTS

PATIENCE = 60_000.0
"""[ms] more than the 50 that LeRobot waits for an answer: a busy machine may not run the twin for that long, and on
the clock of packets it does not matter. Tests of silence ask for `hurry`."""

NAP = 0.002
"""[s] of sleep while waiting, see `patient`."""


def start(folder, **settings):
    """A twin whose time passes with packets, unless told otherwise."""
    return TwinProcess(TwinConfig(folder=str(folder), **({"clock": "packets", "picture": 0.0} | settings)))


def afresh(twin, home=HOME):
    """The twin with new power, without faults, and with its arm above the table, held by a hand."""
    twin.tell("power()")
    twin.tell("clear()")
    twin.tell(f"hand({', '.join(f'{name}={angle}' for name, angle in zip(JOINTS, home, strict=True))})")
    while twin.tell("advance(0.5)")["hand"]:
        pass
    return twin


def enabled(twin):
    """Names of the joints that have torque."""
    return {name for name, on in twin.tell("truth()")["enabled"].items() if on}


def follower(twin, **settings):
    """LeRobot's follower on a twin, with the twin's own calibration file."""
    folder = Path(twin.folder)
    return patient(SO101Follower(SO101FollowerConfig(port=twin.port, id="twin", calibration_dir=folder, **settings)))


def leader(twin):
    """LeRobot's leader on a twin."""
    folder = Path(twin.folder)
    return patient(SO101Leader(SO101LeaderConfig(port=twin.port, id="twin", calibration_dir=folder)))


def patient(device):
    """The device, waiting longer; its `hurry` gives it LeRobot's own patience back."""
    handler = device.bus.port_handler
    own = handler.setPacketTimeout

    def nap():
        # The SDK asks the port without a pause, and would take the processor from the twin that is to answer.
        if handler.ser.timeout == 0:
            handler.ser.timeout = NAP

    def wait(length):
        own(length)
        nap()
        handler.packet_timeout += PATIENCE

    def hurry():
        nap()
        handler.setPacketTimeout = own

    handler.setPacketTimeout, device.hurry = wait, hurry
    return device


def settle(robot, action, ticks=100):
    """Send `action` and read, as a control loop does; the last observation."""
    for _ in range(ticks):
        robot.send_action(action)
        observation = robot.get_observation()
    return observation


@contextlib.contextmanager
def connected(device):
    """The device, connected and let go whatever state it is left in."""
    device.connect(calibrate=False)
    try:
        yield device
    finally:
        if device.bus.is_connected:
            # Not `disconnect`, which fails on the faults that tests leave behind.
            device.bus.port_handler.closePort()


class Ticking:
    """Our side of a twin without processes: an arm under guard, whose seconds pass with its ticks."""

    def __init__(self, twin, rate=50.0, moving=True, model="so101", **limits):
        self.now, self.rate = 0.0, rate
        self.arm = LeRobotArm(ArmConfig(port=twin.port, id="twin", calibration=str(twin.folder), model=model))
        patient(self.arm._robot)
        self.arm.connect(powered=moving)
        governor = Governor(replace(kind_of(model).limits, **limits), self.arm.joint_range, model)
        self.guard = Guard(self.arm, governor, rate, clock=lambda: self.now, moving=moving)

    def tick(self, count=1):
        """Let so many ticks pass; the last report."""
        for _ in range(count):
            self.now += 1 / self.rate
            report = self.guard.tick()
        return report

    def go(self, target, seconds=0.1):
        """Give an order and let it be carried out; the last report."""
        steps = round(seconds * self.rate)
        self.guard.go(np.asarray(target, float), steps)
        return self.tick(steps)

    def lead(self, target, stride=0.08):
        """Lead the arm to a far target as a policy would, or until it stops; the last report."""
        report = self.tick()
        while report.fault is None and np.abs(away := target - report.base).max() > 1e-9:
            report = self.go(report.base + away * min(1.0, stride / np.abs(away).max()))
        return report

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.arm.close()
