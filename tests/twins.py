"""Twins in processes of their own and LeRobot's own drivers on them, for the tests."""

import contextlib
from pathlib import Path

from lerobot.robots.so_follower import SO101Follower, SO101FollowerConfig
from lerobot.teleoperators.so_leader import SO101Leader, SO101LeaderConfig

from robots.twin.process import TwinProcess
from robots.twin.server import TwinConfig

RETRIES = 20
"""LeRobot waits 50 ms for an answer, and while it connects it gives up on the first that is late. A busy machine may
not run the twin for that long."""


def start(folder, **settings):
    """A twin whose time passes with packets, unless told otherwise."""
    return TwinProcess(TwinConfig(folder=str(folder), **({"clock": "packets", "picture": 0.0} | settings)))


def follower(twin, retries=RETRIES):
    """LeRobot's follower on a twin, with the twin's own calibration file."""
    folder = Path(twin.folder)
    return SO101Follower(
        SO101FollowerConfig(port=twin.port, id="twin", calibration_dir=folder, num_read_retries=retries)
    )


def leader(twin):
    """LeRobot's leader on a twin."""
    folder = Path(twin.folder)
    return SO101Leader(SO101LeaderConfig(port=twin.port, id="twin", calibration_dir=folder, num_read_retries=RETRIES))


def settle(robot, action, ticks=100):
    """Send `action` and read, as a control loop does; the last observation.

    On the clock of packets, a host that writes without reading runs ahead of the twin.
    """
    for _ in range(ticks):
        robot.send_action(action)
        observation = robot.get_observation()
    return observation


def connect(device):
    """Connect, however busy the machine is."""
    for left in reversed(range(RETRIES)):
        try:
            device.connect(calibrate=False)
            return
        except (ConnectionError, RuntimeError):
            device.bus.port_handler.closePort()
            if not left:
                raise


@contextlib.contextmanager
def connected(device):
    """The device, connected and let go whatever state it is left in."""
    connect(device)
    try:
        yield device
    finally:
        if device.bus.is_connected:
            # Not `disconnect`, which fails on the faults that tests leave behind.
            device.bus.port_handler.closePort()
