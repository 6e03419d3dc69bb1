"""The arms that are driven: what the driver and the governor must know of each that its model does not say."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from envs.errors import unknown
from robots.arm.servos import DYNAMIXEL, FEETECH, Servos
from robots.governor.limits import Limits


@dataclass(frozen=True)
class Kind:
    """One kind of arm. Its joints, their ranges, its solids and its kinematics are those of the model of that name."""

    driver: str
    """LeRobot's name of the robot."""
    servos: Servos
    limits: Limits
    rest: tuple[float, float, float]
    """[m] of the tool, low and beside where objects begin: from here an arm that is let go sinks by little."""
    grip: float = 1.0
    """Share of the gripper's torque that is used, where LeRobot's driver leaves it more than it can hold for long."""


_LIMITS = Limits()

KINDS: Mapping[str, Kind] = {
    "so101": Kind("so101_follower", FEETECH, _LIMITS, (0.16, 0.2, 0.03)),
    # A smaller arm, whose joints turn farther for the same way of the tool: 0.8 rad for 3 cm near the base. Its servos
    # do 6.4 rad/s; the XL330 among them draw 1.47 A when they stall.
    "koch": Kind(
        "koch_follower", DYNAMIXEL,
        replace(_LIMITS, velocity=4.0, first_jump=1.0, workspace=((-0.02, 0.34), (-0.30, 0.30), (0.005, 0.38)),
                current=1.3),
        (0.10, 0.14, 0.04), grip=0.5,
    ),
}  # fmt: skip
"""By the names that `envs.robot.robot_of` takes."""


def kind_of(robot: str) -> Kind:
    """The kind of that name; raises `EmbodiedError` naming those that are driven."""
    if robot not in KINDS:
        raise unknown("robot", robot, KINDS)
    return KINDS[robot]
