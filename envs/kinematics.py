"""Closed-form kinematics of the SO-101, one code for numpy and torch, exact to the table behind `assets/so101.xml`.

The arm is a pan about -z, a planar chain of shoulder lift, elbow and wrist, and a roll about the tool's own axis. So a
tool pose is its point in space plus two angles, `yaw` and `tilt`, and inverting it needs one `atan2` for the pan and
one triangle for the plane. At tilt 0 the tool points straight down; a positive tilt leans its tip away from the base.
At yaw 0 the moving jaw points along the world's x: yaw = wrist_roll - shoulder_pan - `ROLL_OFFSET`.

Distances in metres, angles in radians. Everything works on any leading batch shape `*B`.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from array_api_compat import array_namespace

from envs.so101 import (
    FIXED_PAD,
    FORE,
    FORE_PITCH,
    HALVINGS,
    JAW_ANCHOR,
    JOINT_HIGH,
    JOINT_LOW,
    LATERAL,
    MIDDLE,
    MOVING_PAD,
    MOVING_PAD_ANGLE,
    PAN_X,
    ROLL_OFFSET,
    SHOULDER,
    TCP_IN_GRIPPER,
    TILT_LIMIT,
    TOOL_CEILING,
    TOOL_FLOOR,
    UPPER,
    UPPER_PITCH,
    WRIST,
)
from envs.types import Array


@dataclass(frozen=True)
class ToolPose:
    """Where the tool is."""

    position: Array
    """`[*B 3]` tool centre point in the world [m]."""
    yaw: Array
    """`[*B]` direction of the gripper's x axis about the vertical, once uprighted [rad]; not wrapped."""
    tilt: Array
    """`[*B]` lean of the tool in the arm's plane, tip outwards [rad]; 0 is straight down."""


@dataclass(frozen=True)
class Projection(ToolPose):
    """A reachable tool pose and the joints that give it."""

    joints: Array
    """`[*B 5]` the arm's joints without the gripper [rad]."""


class Arm(Protocol):
    """An arm that points its tool down at things."""

    def forward(self, joints: Array) -> ToolPose:
        """The tool pose of joints `[*B J]`; further ones are left out."""
        ...

    def project(self, position: Array, yaw: Array, start: Array | None = None) -> Projection:
        """The tool pose nearest to `position` `[*B 3]` and `yaw` `[*B]` that can be reached, with little tilt.

        `start` `[*B J]` are joints near which to look, where that matters.
        """
        ...


class So101:
    """The SO-101 as an `Arm`, in closed form."""

    def forward(self, joints: Array) -> ToolPose:
        """See `forward`."""
        return forward(joints)

    def project(self, position: Array, yaw: Array, start: Array | None = None) -> Projection:
        """See `project`."""
        return project(position, yaw)


SO101 = So101()


def forward(joints: Array) -> ToolPose:
    """The tool pose of joints `[*B 5]` or `[*B 6]` [rad]."""
    xp = array_namespace(joints)
    pan, tilt, spin = joints[..., 0], _tilt(joints), joints[..., 4] - ROLL_OFFSET
    out, side, up = _tool_offset(xp, spin)
    along, height = _wrist(xp, joints)
    sine, cosine = xp.sin(tilt), xp.cos(tilt)
    along = along + WRIST * sine + out * cosine - up * sine
    height = height - WRIST * cosine + out * sine + up * cosine
    return ToolPose(_to_world(xp, pan, along, side + LATERAL, height), spin - pan, tilt)


def inverse(position: Array, yaw: Array, tilt: Array, gripper: Array) -> tuple[Array, Array]:
    """Joints `[*B 6]` that put the tool at `position` `[*B 3]`, `yaw` and `tilt` `[*B]`, and which can be reached.

    Elbow up, roll within half a turn of its middle. Where `reachable` `[*B]` is false (out of reach, or past a joint's
    range) the joints are finite but do not give the pose.
    """
    xp = array_namespace(position)
    pan, roll = _turns(xp, position, yaw)
    out, _, _ = _tool_offset(xp, roll - ROLL_OFFSET)
    lift, elbow, wrist, slack = _triangle(xp, _along(xp, position, pan), position[..., 2], out, tilt)
    joints = xp.stack([pan, lift, elbow, wrist, roll, gripper + 0.0 * pan], axis=-1)
    return joints, (slack >= 0.0) & _within(joints, 0) & _within(joints, 4) & _within(joints, 5)


def project(position: Array, yaw: Array) -> Projection:
    """The tool pose nearest to `position` `[*B 3]` and `yaw` `[*B]` that can be reached, with the least tilt.

    The tool stays vertical wherever it can. Else it leans outwards as little as it must, up to `TILT_LIMIT`. Where no
    lean helps, the height is kept (within what the arm can do) and the tool is drawn towards the middle of the arm's
    plane; clipping the joints instead would throw the tool up by centimetres at the rim. Pan and roll are clipped to
    their ranges. A pose that can be reached upright comes back as it is.
    """
    if isinstance(position, np.ndarray) and position.dtype == np.float64:
        # Its compiled twin; imported here, as who only reads names and limits should not load numba.
        from envs.kinematics_compiled import projections

        return Projection(*projections(position, yaw))
    xp = array_namespace(position)
    _, roll = _turns(xp, position, yaw)
    roll = _clip(xp, roll, JOINT_LOW[4], JOINT_HIGH[4])
    out, side, _ = _tool_offset(xp, roll - ROLL_OFFSET)
    pan = _clip(xp, _pan(xp, position[..., 0] - PAN_X, position[..., 1], LATERAL + side), JOINT_LOW[0], JOINT_HIGH[0])
    along, height = _along(xp, position, pan), _clip(xp, position[..., 2], TOOL_FLOOR, TOOL_CEILING)
    tilt = xp.zeros_like(along)
    lift, elbow, wrist, slack = _triangle(xp, along, height, out, tilt)
    leaning = slack < 0.0
    if bool(xp.any(leaning)):
        along, tilt = xp.asarray(along, copy=True), xp.asarray(tilt, copy=True)
        along[leaning], tilt[leaning] = _lean(xp, along[leaning], height[leaning], out[leaning])
        lift, elbow, wrist, _ = _triangle(xp, along, height, out, tilt)
    wrist = _clip(xp, wrist, JOINT_LOW[3], JOINT_HIGH[3])  # beyond by rounding, where it is at its limit
    arm = xp.stack([pan, lift, elbow, wrist, roll], axis=-1)
    return Projection(_to_world(xp, pan, along, side + LATERAL, height), roll - ROLL_OFFSET - pan, tilt, arm)


def body_poses(joints: Array) -> tuple[Array, Array]:
    """Positions `[*B 3 3]` and quaternions `[*B 3 4]` of the entities gripper, fixed_jaw, moving_jaw at `[*B 6]`."""
    xp = array_namespace(joints)
    pan, tilt, spin, jaw = joints[..., 0], _tilt(joints), joints[..., 4] - ROLL_OFFSET, joints[..., 5]
    along, height = _wrist(xp, joints)
    sine, cosine = xp.sin(jaw), xp.cos(jaw)
    x, y, z = MOVING_PAD
    # The jaw's frame is the gripper's, turned a quarter about x.
    moving = (JAW_ANCHOR[0] + x * cosine - y * sine, JAW_ANCHOR[1] - z + 0.0 * jaw,
              JAW_ANCHOR[2] + x * sine + y * cosine)  # fmt: skip
    turn_sine, turn_cosine, lean_sine, lean_cosine = xp.sin(spin), xp.cos(spin), xp.sin(tilt), xp.cos(tilt)
    points = []
    for px, py, pz in (TCP_IN_GRIPPER, FIXED_PAD, moving):
        upright, side = px * turn_cosine - py * turn_sine, px * turn_sine + py * turn_cosine
        out = along + upright * lean_cosine + (WRIST - pz) * lean_sine
        up = height + upright * lean_sine - (WRIST - pz) * lean_cosine
        points.append(_to_world(xp, pan, out, side + LATERAL, up))
    # Rz(-pan) Ry(-tilt) Rz(spin), multiplied out.
    total, difference = 0.5 * (spin - pan), 0.5 * (spin + pan)
    half_sine, half_cosine = -xp.sin(0.5 * tilt), xp.cos(0.5 * tilt)
    gripper = (half_cosine * xp.cos(total), half_sine * xp.sin(difference),
               half_sine * xp.cos(difference), half_cosine * xp.sin(total))  # fmt: skip
    turn = 0.5 * (jaw + MOVING_PAD_ANGLE)
    half = math.sqrt(0.5)
    pad = (half * xp.cos(turn), half * xp.cos(turn), -half * xp.sin(turn), half * xp.sin(turn))
    quaternions = [xp.stack(q, axis=-1) for q in (gripper, gripper, _multiply(gripper, pad))]
    return xp.stack(points, axis=-2), xp.stack(quaternions, axis=-2)


def _tilt(joints: Array) -> Array:
    return 0.5 * math.pi - joints[..., 1] - joints[..., 2] - joints[..., 3]


def _wrist(xp: Array, joints: Array) -> tuple[Array, Array]:
    """The wrist_flex axis in the arm's plane: outwards from the pan axis, and up."""
    upper, fore = joints[..., 1] + UPPER_PITCH, joints[..., 1] + joints[..., 2] + FORE_PITCH
    along = SHOULDER[0] + UPPER * xp.sin(upper) + FORE * xp.sin(fore)
    return along, SHOULDER[1] + UPPER * xp.cos(upper) + FORE * xp.cos(fore)


def _tool_offset(xp: Array, spin: Array) -> tuple[Array, Array, float]:
    """Gripper origin to tool centre point of an upright tool: outwards, sideways, up."""
    x, y, z = TCP_IN_GRIPPER
    return x * xp.cos(spin) - y * xp.sin(spin), x * xp.sin(spin) + y * xp.cos(spin), z


def _to_world(xp: Array, pan: Array, along: Array, side: Array, height: Array) -> Array:
    sine, cosine = xp.sin(pan), xp.cos(pan)
    return xp.stack([PAN_X + along * cosine + side * sine, side * cosine - along * sine, height], axis=-1)


def _pan(xp: Array, forwards: Array, left: Array, side: Array | float) -> Array:
    """The pan that leaves the point `side` to the left of the arm's plane, the point given from the pan axis."""
    radius = xp.sqrt(forwards**2 + left**2)
    # Nearer to the axis than `side` there is no such pan, and at the axis no direction at all: any will do.
    return xp.asin(_clip(xp, side / xp.maximum(radius, 1e-6), -1.0, 1.0)) - xp.atan2(left, forwards)


def _along(xp: Array, position: Array, pan: Array) -> Array:
    """How far out from the pan axis a point is, in the arm's plane."""
    return (position[..., 0] - PAN_X) * xp.cos(pan) - position[..., 1] * xp.sin(pan)


def _turns(xp: Array, position: Array, yaw: Array) -> tuple[Array, Array]:
    """Pan and roll. Tilting happens within the arm's plane, so they follow from position and yaw alone."""
    out, side, _ = _tool_offset(xp, yaw)
    pan = _pan(xp, position[..., 0] - PAN_X - out, position[..., 1] - side, LATERAL)
    # The roll's range is less than a turn: of the equivalent angles take the one nearest to its middle.
    middle = 0.5 * (JOINT_LOW[4] + JOINT_HIGH[4])
    turn = yaw + pan + ROLL_OFFSET - middle
    return pan, turn - 2.0 * math.pi * xp.round(turn / (2.0 * math.pi)) + middle


def _triangle(xp: Array, along: Array, height: Array, out: Array, tilt: Array) -> tuple[Array, Array, Array, Array]:
    """Lift, elbow, wrist_flex of the plane's tool point, and a slack that is negative where it cannot be reached."""
    sine, cosine = xp.sin(tilt), xp.cos(tilt)
    drop = WRIST - TCP_IN_GRIPPER[2]
    across = along - out * cosine - drop * sine - SHOULDER[0]
    up = height - out * sine + drop * cosine - SHOULDER[1]
    bend = (across**2 + up**2 - UPPER**2 - FORE**2) / (2.0 * UPPER * FORE)
    inside = _clip(xp, bend, -1.0, 1.0)
    beta = xp.acos(inside)
    upper = xp.atan2(across, up) - xp.atan2(FORE * xp.sin(beta), UPPER + FORE * inside)
    lift, elbow = upper - UPPER_PITCH, beta + (UPPER_PITCH - FORE_PITCH)
    wrist = 0.5 * math.pi - tilt - lift - elbow
    slack = 1.0 - xp.abs(bend)
    for joint, angle in ((1, lift), (2, elbow), (3, wrist)):
        slack = xp.minimum(slack, JOINT_HIGH[joint] - xp.abs(angle))
    return lift, elbow, wrist, slack


def _least_tilt(xp: Array, along: Array, height: Array, out: Array) -> Array:
    """The least tilt outwards that brings the wrist within reach and takes wrist_flex off its upper limit.

    Pitches are measured from the vertical. With wrist_flex at its limit, forearm and tool are one rigid link, so the
    tilt at which that happens is a triangle as well.
    """
    across, up = along - SHOULDER[0], height - SHOULDER[1]
    drop, limit = WRIST - TCP_IN_GRIPPER[2], JOINT_HIGH[3]
    distance = xp.maximum(xp.sqrt(across**2 + up**2), 1e-6)
    pitch = xp.atan2(across, up)
    tool, tool_pitch = xp.sqrt(out**2 + drop**2), math.pi - xp.atan2(out, drop + 0.0 * out)
    nearness = (distance**2 + tool**2 - (UPPER + FORE) ** 2) / (2.0 * distance * tool)
    within_reach = tool_pitch - pitch - xp.acos(_clip(xp, nearness, -1.0, 1.0))
    bend = tool_pitch + (limit - 0.5 * math.pi - FORE_PITCH)
    rigid = xp.sqrt(FORE**2 + tool**2 + 2.0 * FORE * tool * xp.cos(bend))
    rigid_pitch = xp.atan2(tool * xp.sin(bend), FORE + tool * xp.cos(bend))
    inside = _clip(xp, (distance**2 - UPPER**2 - rigid**2) / (2.0 * UPPER * rigid), -1.0, 1.0)
    beta = xp.acos(inside)
    upper = pitch - xp.atan2(rigid * xp.sin(beta), UPPER + rigid * inside)
    off_limit = (0.5 * math.pi - limit + FORE_PITCH) - (upper + beta - rigid_pitch)
    # Where that triangle has its elbow down, or does not close, wrist_flex is off its limit at any tilt.
    off_limit = xp.where(beta < rigid_pitch, xp.zeros_like(off_limit), off_limit)
    return _clip(xp, xp.maximum(within_reach, off_limit), 0.0, TILT_LIMIT)


def _lean(xp: Array, along: Array, height: Array, out: Array) -> tuple[Array, Array]:
    """Distance and least tilt for points `[M]` that an upright tool does not reach."""
    sine, cosine = math.sin(TILT_LIMIT), math.cos(TILT_LIMIT)
    drop = WRIST - TCP_IN_GRIPPER[2]
    up = height - out * sine + drop * cosine - SHOULDER[1]
    rim = SHOULDER[0] + out * cosine + drop * sine + xp.sqrt((UPPER + FORE) ** 2 - up**2)
    along = xp.minimum(along, rim)
    tilt = _least_tilt(xp, along, height, out)
    # A pose at the very edge may come out beyond it by rounding.
    tolerance = max(1e-9, 100.0 * float(xp.finfo(along.dtype).eps))
    stuck = _triangle(xp, along, height, out, tilt)[3] < -tolerance
    if bool(xp.any(stuck)):
        rows = (height[stuck], out[stuck])
        outside, inside = along[stuck], xp.full_like(along[stuck], MIDDLE)
        for _ in range(HALVINGS):
            trial = 0.5 * (outside + inside)
            reached = _triangle(xp, trial, *rows, _least_tilt(xp, trial, *rows))[3] >= -tolerance
            inside, outside = xp.where(reached, trial, inside), xp.where(reached, outside, trial)
        along[stuck], tilt[stuck] = inside, _least_tilt(xp, inside, *rows)
    return along, tilt


def _clip(xp: Array, values: Array, low: float, high: float) -> Array:
    """`xp.clip` of array_api_compat 1.x costs numpy several times the work."""
    return xp.minimum(xp.maximum(values, low), high)


def _within(joints: Array, joint: int) -> Array:
    return (joints[..., joint] >= JOINT_LOW[joint]) & (joints[..., joint] <= JOINT_HIGH[joint])


def _multiply(a: tuple[Array, ...], b: tuple[Array, ...]) -> tuple[Array, ...]:
    return (
        a[0] * b[0] - a[1] * b[1] - a[2] * b[2] - a[3] * b[3],
        a[0] * b[1] + a[1] * b[0] + a[2] * b[3] - a[3] * b[2],
        a[0] * b[2] - a[1] * b[3] + a[2] * b[0] + a[3] * b[1],
        a[0] * b[3] + a[1] * b[2] - a[2] * b[1] + a[3] * b[0],
    )
