"""The catalogue of robots: what a scene must know of each. An arm of any MJCF file joins by a few lines of YAML."""

from collections.abc import Mapping
from importlib import resources
from typing import TYPE_CHECKING

import numpy as np

from envs import pusher
from envs.control import OWN, CartesianDelta, Controller, JointAbsolute, JointDelta, PlanarDelta, TwoArms, controller
from envs.errors import unknown
from envs.feasibility import REACH, Circle
from envs.kinematics import SO101, Arm
from envs.physics import PUSHING, Physics
from envs.robot_spec import GRIPPER_HALF_EXTENTS, JAW_COLOUR, Robot, RobotPart
from envs.servo import PUSHER_SERVO
from envs.so101 import JOINT_HIGH, JOINT_LOW, JOINTS, TCP_IN_GRIPPER
from envs.two_arms import BASE, HALF_TURN, OTHER
from envs.types import Array, Kind

if TYPE_CHECKING:
    import mujoco

_EACH_OTHER = 8
"""The bit by which one of two arms meets the other."""
PUSHER_TYPE, PUSHER_AFFINITY = 4, 1
"""Contact bits of a pusher: it meets objects alone."""

HOME = (-0.00249, -0.29752, 0.24951, 1.61880, 0.04619, 0.6)
"""[rad] Joints of an SO-101 with the tool vertical above (0.21, 0, 0.085), jaws half open and in line with the arm."""


def _so101(physics: Physics) -> "mujoco.MjSpec":
    import mujoco

    text = resources.files("assets").joinpath("so101.xml").read_text(encoding="utf-8")
    spec = mujoco.MjSpec.from_string(text)
    for name in ("fixed_jaw_pad", "moving_jaw_pad"):
        spec.geom(name).friction = (physics.pad_friction, 0.005, 0.0001)
    return spec


def _two_so101(physics: Physics) -> "mujoco.MjSpec":
    spec, other = _so101(physics), _so101(physics)
    for arm, bits in ((spec, (0, _EACH_OTHER)), (other, (_EACH_OTHER, 0))):
        for geom in arm.geoms:
            if geom.contype:
                geom.contype, geom.conaffinity = geom.contype | bits[0], geom.conaffinity | bits[1]
    spec.attach(other, prefix=OTHER, frame=spec.worldbody.add_frame(pos=BASE, quat=HALF_TURN))
    return spec


def _pusher(physics: Physics) -> "mujoco.MjSpec":
    import mujoco

    spec = mujoco.MjSpec()
    pusher.add_pusher(spec, physics.pad_friction, PUSHER_TYPE, PUSHER_AFFINITY)
    return spec


_SO101_PARTS = (
    RobotPart("gripper", Kind.GRIPPER, "gripper", ("palm_box", "fixed_finger_box", "moving_finger_box"),
              GRIPPER_HALF_EXTENTS, TCP_IN_GRIPPER, whole_body=True),
    RobotPart("fixed_jaw", Kind.JAW, "gripper", ("fixed_jaw_pad",), colour=JAW_COLOUR),
    RobotPart("moving_jaw", Kind.JAW, "moving_jaw", ("moving_jaw_pad",), colour=JAW_COLOUR, whole_body=True),
)  # fmt: skip

ROBOTS: Mapping[str, Robot] = {
    "so101": Robot(JOINTS, HOME, _SO101_PARTS, _so101),
    "two_so101": Robot(
        (*JOINTS, *(OTHER + name for name in JOINTS)), HOME + HOME,
        (*_SO101_PARTS, *(part.prefixed(OTHER) for part in _SO101_PARTS)), _two_so101,
        table=((0.5 * BASE[0], 0.0, -0.02), (0.5 * BASE[0] + 0.25, 0.45, 0.02)),
    ),
    "pusher": Robot(
        pusher.JOINTS, pusher.HOME,
        (RobotPart("pusher", Kind.PUSHER, "pusher", ("pusher",), pusher.HALF_EXTENTS, colour=pusher.COLOUR),),
        _pusher, PUSHING, PUSHER_SERVO, flat=True,
    ),
}  # fmt: skip


ARMS = ("cartesian_delta", "joint_delta", "joint_absolute")
"""Names of the actions of an arm."""
FILES = ("omx", "koch")
"""Robots of YAML files that are shipped in `assets`: an OpenMANIPULATOR-X and a Koch arm."""


def robot_of(name: str) -> Robot:
    """The robot of that name, or of the YAML file at that path; raises `EmbodiedError` naming those there are."""
    if name in ROBOTS:
        return ROBOTS[name]
    # Files are read by MuJoCo, which who wants the catalogue or a controller alone should not load.
    from envs.foreign import load_robot

    return load_robot(robot_file(name))


def robot_file(name: str) -> str:
    """The path of the YAML file that says what a robot is; raises `EmbodiedError` where there is none."""
    if name in FILES:
        return str(resources.files("assets").joinpath(f"{name}.yaml"))
    if not name.endswith((".yaml", ".yml")):
        raise unknown("robot", name, (*ROBOTS, *FILES, "PATH.yaml"))
    return name


def arm_of(name: str) -> Arm:
    """The kinematics of the robot's arm, of two the first one's."""
    if name in ("so101", "two_so101"):
        return SO101
    from envs.foreign import arm_of_file

    return arm_of_file(robot_file(name))


def reaches(name: str) -> tuple[Circle, ...]:
    """Beyond these circles the tools of the robot never get."""
    own = (0.0, 0.0, REACH)
    if name in ROBOTS:
        return (own, (*BASE[:2], REACH)) if name == "two_so101" else (own,)
    return (arm_of(name).reach,)  # type: ignore[attr-defined]


def joint_range(name: str) -> Array:
    """`[J 2]` ends of the range of each joint of an arm [rad, of slides m]."""
    if name == "so101":
        return np.stack([JOINT_LOW, JOINT_HIGH], axis=1)
    from envs.foreign import joint_control

    own = joint_control(robot_file(name))
    return np.stack([own.low, own.high], axis=1)


def joint_absolute(name: str, rate: float = 10.0) -> JointAbsolute:
    """Positions of the joints of an arm as actions, within their ranges."""
    low, high = joint_range(name).T.tolist()
    return JointAbsolute(rate, robot_of(name).joints, tuple(low), tuple(high))


def named_control(robot: str, name: str, rate: float = 10.0) -> Controller:
    """What actions of that name mean to that robot, see `envs.control.CONTROLLERS`; `own` are its default.

    Raises `EmbodiedError` for what it does not take, naming what it does.
    """
    if robot == "so101" and name in ARMS:
        return controller(name, rate)
    if robot not in ROBOTS and name in ("joint_delta", "joint_absolute"):
        from envs.foreign import joint_control

        return joint_absolute(robot, rate) if name == "joint_absolute" else joint_control(robot_file(robot), rate)
    own = default_control(robot, rate)
    allowed = {"so101": ARMS, "two_so101": ARMS[:1], "pusher": ("planar_delta",)}.get(robot, ARMS)
    if isinstance(own, JointDelta):
        # A file that says nothing of tasks has no tool that could be led.
        allowed = ARMS[1:]
    if name not in (*allowed, OWN):
        raise unknown(f"action mode of {robot}", name, allowed)
    return own


def default_control(robot: str, rate: float = 10.0) -> Controller:
    """What actions mean unless said otherwise: deltas of the tools, of a pusher in the plane, or of the joints.

    Of the joints where a robot file says nothing of tasks, which its arm could do.
    """
    tool = CartesianDelta(rate=rate)
    own: Mapping[str, Controller] = {"so101": tool, "two_so101": TwoArms(tool), "pusher": PlanarDelta(rate=rate)}
    if robot in own:
        return own[robot]
    from envs.foreign import own_control

    return own_control(robot_file(robot), rate)
