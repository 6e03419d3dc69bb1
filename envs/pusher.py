"""The pusher: an upright capsule on two slides, the robot of worlds in which things are only pushed over the table.

A capsule because it is smooth: with a cylinder a box's path depends on the ninth digit of where it lay.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import mujoco

JOINTS = ("pusher_x", "pusher_y")
"""Slides along the world's axes; a joint's position is the pusher's place [m]."""
JOINT_LOW, JOINT_HIGH = (0.05, -0.22), (0.45, 0.22)
"""[m] Where it can go."""
HOME = (0.10, 0.0)
"""[m]."""

RADIUS, HALF_LENGTH = 0.020, 0.004
"""[m] of the capsule, the half length without its caps."""
HEIGHT = 0.024
"""[m] of its centre: boxes of half height 0.018 to 0.03 meet its straight part, and it never touches the table."""
HALF_EXTENTS = (RADIUS, RADIUS, RADIUS + HALF_LENGTH)
MASS = 0.2
"""[kg]."""
COLOUR = (0.98, 0.66, 0.13)


def add_pusher(spec: "mujoco.MjSpec", friction: float, contype: int, conaffinity: int) -> None:
    """Add its body to the world; its place is the origin's where both joints are 0."""
    # Who wants the ranges alone should not load MuJoCo.
    import mujoco

    body = spec.worldbody.add_body(name="pusher", pos=(0.0, 0.0, HEIGHT), gravcomp=1.0)
    for name, axis, low, high in zip(JOINTS, ((1, 0, 0), (0, 1, 0)), JOINT_LOW, JOINT_HIGH, strict=True):
        body.add_joint(name=name, type=mujoco.mjtJoint.mjJNT_SLIDE, axis=axis, range=(low, high), limited=True)
    body.add_geom(name="pusher", type=mujoco.mjtGeom.mjGEOM_CAPSULE, size=(RADIUS, HALF_LENGTH, 0.0), mass=MASS,
                  rgba=(*COLOUR, 1.0), contype=contype, conaffinity=conaffinity, condim=3,
                  friction=(friction, 0.005, 0.0001), priority=1)  # fmt: skip
