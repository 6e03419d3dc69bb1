"""What a scene must know of a robot: its joints, its parts that are entities, and how it is built."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from envs.physics import Physics
from envs.servo import SERVOS, Servo
from envs.types import Kind

if TYPE_CHECKING:
    import mujoco

ARM_TYPE, ARM_AFFINITY = 2, 4
"""Contact bits of an arm: it meets objects, table and fixtures, never itself."""
GRIPPER_HALF_EXTENTS = (0.002, 0.002, 0.002)
"""[m] The box of the entity `gripper` is a mere marker of the tool centre point: what touches are the jaws."""
GRIPPER_COLOUR, JAW_COLOUR = (0.98, 0.66, 0.13), (0.22, 0.22, 0.24)


@dataclass(frozen=True)
class RobotPart:
    """One entity of a robot."""

    name: str
    kind: Kind
    body: str
    geoms: tuple[str, ...]
    """What it collides with."""
    half_extents: tuple[float, float, float] | None = None
    """[m] None takes pose and size of its one geom."""
    position: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """[m] of its frame in its body's."""
    quaternion: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 0.0)
    colour: tuple[float, float, float] = GRIPPER_COLOUR
    whole_body: bool = False
    """Pictures and masks show all of its body as this entity, not its geoms alone."""

    def prefixed(self, prefix: str) -> "RobotPart":
        """The same part of a robot whose every name has a prefix."""
        names = {"name": prefix + self.name, "body": prefix + self.body}
        return RobotPart(**{**vars(self), **names, "geoms": tuple(prefix + geom for geom in self.geoms)})


@dataclass(frozen=True)
class Robot:
    """A robot as scenes take it."""

    joints: tuple[str, ...]
    """J names, which proprioception, commands and servos follow; an arm's gripper is its last."""
    home: tuple[float, ...]
    """`[J]` [rad, of slides m]."""
    parts: tuple[RobotPart, ...]
    """Its entities, which follow the table in every scene."""
    build: "Callable[[Physics], mujoco.MjSpec]"
    """A spec with the robot alone in it."""
    physics: Physics = Physics()  # noqa: RUF009
    servo: Servo = SERVOS["firm"]
    followers: tuple[tuple[str, str], ...] = ()
    """Joints that are tied to another one: `(follower, leader)`."""
    flat: bool = False
    """Things are only slid over its table."""
    table: tuple[tuple[float, float, float], tuple[float, float, float]] = ((0.15, 0.0, -0.02), (0.40, 0.45, 0.02))
    """[m] Centre and half extents of the slab it stands on, whose top is z = 0."""
