"""Twins in processes of their own and LeRobot's own drivers on them, for the tests."""

import contextlib
from pathlib import Path

from lerobot.robots.so_follower import SO101Follower, SO101FollowerConfig
from lerobot.teleoperators.so_leader import SO101Leader, SO101LeaderConfig

from robots.twin.process import TwinProcess
from robots.twin.server import TwinConfig

PATIENCE = 60_000.0
"""[ms] more than the 50 that LeRobot waits for an answer: a busy machine may not run the twin for that long, and on
the clock of packets it does not matter. Tests of silence ask for `hurry`."""


def start(folder, **settings):
    """A twin whose time passes with packets, unless told otherwise."""
    return TwinProcess(TwinConfig(folder=str(folder), **({"clock": "packets", "picture": 0.0} | settings)))


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

    def wait(length):
        own(length)
        handler.packet_timeout += PATIENCE

    def hurry():
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
