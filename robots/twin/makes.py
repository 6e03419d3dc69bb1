"""The arms that the twin can be on the wire: which servos, of which IDs, calibrated how, in which protocol."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from envs.types import Array
from robots.twin import bus as feetech
from robots.twin import protocol as feetech_protocol
from robots.twin.calibration import MIDDLE, MOUNTS, calibrated, homed
from robots.twin.dynamixel import bus as dynamixel
from robots.twin.dynamixel import protocol as dynamixel_protocol
from robots.twin.dynamixel.servo import XServo
from robots.twin.memory import Memory
from robots.twin.servo import Drive, Servo
from robots.units import JOINTS

MEGABAUD = 3
"""`Baud_Rate` of X-series servos that LeRobot has set up."""
GAINS: Mapping[str, int] = {"elbow_flex": 1500}
"""`Position_P_Gain` that LeRobot writes to a Koch and an OMX; all others stay as from the factory."""
_KOCH = ("xl430-w250", "xl430-w250", "xl330-m288", "xl330-m288", "xl330-m288", "xl330-m288")
_OMX = ("xl430-w250", "xl430-w250", "xl430-w250", "xl330-m288", "xl330-m288", "xl330-m288")


class Firmware(Protocol):
    """One emulated servo, see `robots.twin.servo.Servo`."""

    memory: Memory
    mount: float
    stall: float
    powered: bool
    overloaded: bool
    hot: float | None
    slip: float
    lag: float

    @property
    def goal(self) -> float:
        """See `Servo.goal`."""
        ...

    def supply(self, sag: float | None) -> float:
        """See `Servo.supply`."""
        ...

    def start(self, angle: float) -> None:
        """See `Servo.start`."""
        ...

    def write(self, address: int, data: bytes) -> int | None:
        """See `Servo.write`."""
        ...

    def switch(self, powered: bool) -> None:
        """See `Servo.switch`."""
        ...

    def tick(self, angle: float, velocity: float, torque: float, voltage: float, seconds: float) -> Drive:
        """See `Servo.tick`."""
        ...


@dataclass(frozen=True)
class Make:
    """One arm on the wire."""

    driver: str
    """LeRobot's name of it."""
    robot: str
    """What it moves, a name that `envs.robot.robot_of` knows."""
    first: int
    """ID of the first joint's servo; the others follow."""
    mounts: Mapping[str, float]
    """Encoder counts at the joints' zeros."""
    eeprom: Callable[[Array], dict[str, dict[str, int]]]
    """What LeRobot's calibration leaves in the servos, by joint, for the joints' limits `[6 2]` [rad]."""
    servo: Callable[..., Any]
    """From a joint's name, its mount, its stall torque and register values to its firmware."""
    bus: Callable[[Sequence[Any]], Any]
    parser: Callable[[], Any]


def _sts(joint: str, mount: float, stall: float, **eeprom: int) -> Servo:
    # LeRobot halves the gripper's torque; the named servos' limit is what is left.
    return Servo(mount, 2 * stall if joint == "gripper" else stall, **eeprom)


def _x_series(models: Sequence[str]) -> Callable[..., XServo]:
    def made(joint: str, mount: float, stall: float, **eeprom: int) -> XServo:
        model = models[JOINTS.index(joint)]
        return XServo(model, mount, stall, GAINS.get(joint), **({"Baud_Rate": MEGABAUD} | eeprom))

    return made


def _as_built(limits: Array) -> dict[str, dict[str, int]]:
    """The OMX has its horns where they belong: LeRobot writes no offsets, and whole turns."""
    return {name: {"Homing_Offset": 0, "Min_Position_Limit": 0, "Max_Position_Limit": 4095} for name in JOINTS}


MAKES: Mapping[str, Make] = {
    "so101": Make(
        "so101_follower", "so101", 1, MOUNTS, calibrated,
        _sts,
        feetech.Bus, feetech_protocol.Parser,
    ),
    "koch": Make(
        "koch_follower", "koch", 1, MOUNTS, homed, _x_series(_KOCH), dynamixel.Bus, dynamixel_protocol.Parser
    ),
    # The OMX of LeRobot has six joints, which the catalogue's OpenMANIPULATOR-X has not.
    "omx": Make(
        "omx_follower", "so101", 11, dict.fromkeys(JOINTS, MIDDLE), _as_built, _x_series(_OMX), dynamixel.Bus,
        dynamixel_protocol.Parser,
    ),
}  # fmt: skip
"""By name."""
