"""What the rest of the house asks of an arm, whatever drives it."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from envs.errors import EmbodiedError
from envs.types import Array


class ArmLostError(EmbodiedError):
    """The arm does not answer: no power, no cable, or nothing but noise on the line."""


@dataclass(frozen=True)
class Health:
    """What the servos say of themselves."""

    load: Array
    """`[6]` torque as a share of stall torque, -1..1."""
    current: Array
    """`[6]` of the motors [A]; NaN of one that cannot tell."""
    temperature: Array
    """`[6]` [C]."""
    voltage: Array
    """`[6]` of the supply [V]."""
    errors: tuple[tuple[str, ...], ...]
    """Per joint the errors that its servo reports: `voltage angle heat current overload encoder shock`."""


@dataclass(frozen=True)
class Reading:
    """What an arm's sensors said at one instant."""

    time: float
    """[s] on the monotonic clock, halfway between question and last answer."""
    position: Array
    """`[6]` of the joints [rad], in the order of `robots.units.JOINTS`."""
    velocity: Array
    """`[6]` [rad/s]."""
    health: Health


@runtime_checkable
class Robot(Protocol):
    """Six joints behind a port, with the gripper as the last.

    Everything that speaks to the arm raises `ArmLostError` where it does not answer.
    """

    @property
    def model(self) -> str:
        """What it is, a name that `envs.robot.robot_of` takes."""
        ...

    @property
    def joint_range(self) -> Array:
        """`[6 2]` to which the arm was calibrated [rad]."""
        ...

    def connect(self, powered: bool) -> None:
        """Open the port; with `powered` the motors then hold the arm where it is, else none has torque.

        Raises `EmbodiedError` for a port that is missing, in use or has another arm, and for a missing or foreign
        calibration; nothing has torque then.
        """
        ...

    def read(self) -> Reading:
        """The sensors, in one exchange."""
        ...

    def command(self, target: Array) -> None:
        """Let the joints go to `target` `[6]` [rad]; finite, and within what `robots.governor` allows."""
        ...

    def limit_torque(self, share: float) -> None:
        """Let no motor give more than this share (0..1) of what it may give."""
        ...

    def release(self) -> tuple[str, ...]:
        """Take the torque off every joint, whatever the others do; names those that may have some still."""
        ...

    def close(self, reopen: bool = False) -> bool:
        """Let go of the port, whatever state it is in; with `reopen`, try to open it anew, and say whether it is."""
        ...
