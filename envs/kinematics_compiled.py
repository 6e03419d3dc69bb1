"""Kinematics compiled row by row, for numpy: fast twins of the Cartesian controller's arithmetic and of `body_poses`.

The array code of `envs.kinematics` spends a couple of hundred small numpy calls per control step, several times what
the physics of a single world costs. Formulas and names are the same; a test holds the two together.
"""

import math

import numpy as np

from envs.compiled import kernel
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

_X, _Y, _Z = TCP_IN_GRIPPER
_OUT, _UP = SHOULDER
_DROP = WRIST - _Z
_TOLERANCE = 1e-9
_LOW, _HIGH = np.array(JOINT_LOW), np.array(JOINT_HIGH)


def cartesian_target(previous: Array, action: Array, step: float, turn: float) -> Array:
    """Arm joints `[*B 5]` [rad] after moving the tool of `previous` `[*B 6]` by `action[..., :4]`; float64.

    `step` [m] and `turn` [rad] scale the action's three shifts and its yaw.
    """
    before = np.ascontiguousarray(previous, np.float64).reshape(-1, previous.shape[-1])
    wanted = np.ascontiguousarray(action, np.float64).reshape(-1, action.shape[-1])
    arm = np.empty((len(before), 5))
    _targets(before, wanted, step, turn, arm)
    return arm.reshape(*previous.shape[:-1], 5)


@kernel()
def _between(low: float, high: float, value: float) -> float:
    return min(max(value, low), high)


@kernel()
def _pan(forwards: float, left: float, side: float) -> float:
    radius = math.sqrt(forwards * forwards + left * left)
    return math.asin(_between(-1.0, 1.0, side / max(radius, 1e-6))) - math.atan2(left, forwards)


@kernel()
def _triangle(along: float, height: float, out: float, tilt: float) -> tuple[float, float, float, float]:
    sine, cosine = math.sin(tilt), math.cos(tilt)
    across = along - out * cosine - _DROP * sine - _OUT
    up = height - out * sine + _DROP * cosine - _UP
    bend = (across * across + up * up - UPPER * UPPER - FORE * FORE) / (2.0 * UPPER * FORE)
    inside = _between(-1.0, 1.0, bend)
    beta = math.acos(inside)
    upper = math.atan2(across, up) - math.atan2(FORE * math.sin(beta), UPPER + FORE * inside)
    lift, elbow = upper - UPPER_PITCH, beta + (UPPER_PITCH - FORE_PITCH)
    wrist = 0.5 * math.pi - tilt - lift - elbow
    slack = min(1.0 - abs(bend), _HIGH[1] - abs(lift))
    return lift, elbow, wrist, min(slack, min(_HIGH[2] - abs(elbow), _HIGH[3] - abs(wrist)))


@kernel()
def _least_tilt(along: float, height: float, out: float) -> float:
    across, up, limit = along - _OUT, height - _UP, _HIGH[3]
    distance = max(math.sqrt(across * across + up * up), 1e-6)
    pitch = math.atan2(across, up)
    tool, tool_pitch = math.sqrt(out * out + _DROP * _DROP), math.pi - math.atan2(out, _DROP)
    nearness = (distance * distance + tool * tool - (UPPER + FORE) ** 2) / (2.0 * distance * tool)
    within_reach = tool_pitch - pitch - math.acos(_between(-1.0, 1.0, nearness))
    bend = tool_pitch + (limit - 0.5 * math.pi - FORE_PITCH)
    rigid = math.sqrt(FORE * FORE + tool * tool + 2.0 * FORE * tool * math.cos(bend))
    rigid_pitch = math.atan2(tool * math.sin(bend), FORE + tool * math.cos(bend))
    inside = _between(-1.0, 1.0, (distance * distance - UPPER * UPPER - rigid * rigid) / (2.0 * UPPER * rigid))
    beta = math.acos(inside)
    upper = pitch - math.atan2(rigid * math.sin(beta), UPPER + rigid * inside)
    off_limit = (0.5 * math.pi - limit + FORE_PITCH) - (upper + beta - rigid_pitch)
    if beta < rigid_pitch:
        off_limit = 0.0
    return float(_between(0.0, TILT_LIMIT, max(within_reach, off_limit)))


@kernel()
def _lean(along: float, height: float, out: float) -> tuple[float, float]:
    sine, cosine = math.sin(TILT_LIMIT), math.cos(TILT_LIMIT)
    up = height - out * sine + _DROP * cosine - _UP
    along = min(along, _OUT + out * cosine + _DROP * sine + math.sqrt((UPPER + FORE) ** 2 - up * up))
    tilt = _least_tilt(along, height, out)
    if _triangle(along, height, out, tilt)[3] >= -_TOLERANCE:
        return along, tilt
    outside, inside = along, MIDDLE
    for _ in range(HALVINGS):
        trial = 0.5 * (outside + inside)
        if _triangle(trial, height, out, _least_tilt(trial, height, out))[3] >= -_TOLERANCE:
            inside = trial
        else:
            outside = trial
    return inside, _least_tilt(inside, height, out)


@kernel()
def _targets(previous: Array, action: Array, step: float, turn: float, arm: Array) -> None:
    for n in range(previous.shape[0]):
        joints = previous[n]
        # The commanded tool.
        pan, spin = joints[0], joints[4] - ROLL_OFFSET
        tilt = 0.5 * math.pi - joints[1] - joints[2] - joints[3]
        upper, fore = joints[1] + UPPER_PITCH, joints[1] + joints[2] + FORE_PITCH
        out = _X * math.cos(spin) - _Y * math.sin(spin)
        side = _X * math.sin(spin) + _Y * math.cos(spin) + LATERAL
        sine, cosine = math.sin(tilt), math.cos(tilt)
        along = _OUT + UPPER * math.sin(upper) + FORE * math.sin(fore) + _DROP * sine + out * cosine
        height = _UP + UPPER * math.cos(upper) + FORE * math.cos(fore) - _DROP * cosine + out * sine
        # Shifted, seen from the pan axis.
        x = along * math.cos(pan) + side * math.sin(pan) + step * action[n, 0]
        y = side * math.cos(pan) - along * math.sin(pan) + step * action[n, 1]
        height = _between(TOOL_FLOOR, TOOL_CEILING, height + step * action[n, 2])
        yaw = spin - pan + turn * action[n, 3]
        reached = _projected(x, y, height, yaw)
        arm[n, 0], arm[n, 1], arm[n, 2], arm[n, 3], arm[n, 4] = reached[0:5]


@kernel()
def _projected(
    x: float, y: float, height: float, yaw: float
) -> tuple[float, float, float, float, float, float, float, float]:
    """Pan, lift, elbow, wrist, roll, tilt of the nearest tool pose, seen from the pan axis, and its reach and side."""
    out, side = _X * math.cos(yaw) - _Y * math.sin(yaw), _X * math.sin(yaw) + _Y * math.cos(yaw)
    middle = 0.5 * (_LOW[4] + _HIGH[4])
    full = yaw + _pan(x - out, y - side, LATERAL) + ROLL_OFFSET - middle
    roll = _between(_LOW[4], _HIGH[4], full - 2.0 * math.pi * np.round(full / (2.0 * math.pi)) + middle)
    spin = roll - ROLL_OFFSET
    out, side = _X * math.cos(spin) - _Y * math.sin(spin), _X * math.sin(spin) + _Y * math.cos(spin) + LATERAL
    pan = _between(_LOW[0], _HIGH[0], _pan(x, y, side))
    along, tilt = x * math.cos(pan) - y * math.sin(pan), 0.0
    lift, elbow, wrist, slack = _triangle(along, height, out, tilt)
    if slack < 0.0:
        along, tilt = _lean(along, height, out)
        lift, elbow, wrist, slack = _triangle(along, height, out, tilt)
    return pan, lift, elbow, _between(_LOW[3], _HIGH[3], wrist), roll, tilt, along, side


def projections(position: Array, yaw: Array) -> tuple[Array, Array, Array, Array]:
    """What `project` finds for tools at `position` `[*B 3]` and `yaw` `[*B]`, field by field; float64."""
    places = np.ascontiguousarray(position, np.float64).reshape(-1, 3)
    turns = np.ascontiguousarray(np.broadcast_to(yaw, position.shape[:-1]), np.float64).reshape(-1)
    found = np.empty((len(places), 10))
    _project(places, turns, found)
    shaped = found.reshape(*position.shape[:-1], 10)
    return shaped[..., 0:3], shaped[..., 3], shaped[..., 4], shaped[..., 5:10]


@kernel()
def _project(position: Array, yaw: Array, found: Array) -> None:
    for n in range(position.shape[0]):
        height = _between(TOOL_FLOOR, TOOL_CEILING, position[n, 2])
        pan, lift, elbow, wrist, roll, tilt, along, side = _projected(
            position[n, 0] - PAN_X, position[n, 1], height, yaw[n]
        )
        found[n, 0] = PAN_X + along * math.cos(pan) + side * math.sin(pan)
        found[n, 1], found[n, 2] = side * math.cos(pan) - along * math.sin(pan), height
        found[n, 3], found[n, 4] = roll - ROLL_OFFSET - pan, tilt
        found[n, 5], found[n, 6], found[n, 7], found[n, 8], found[n, 9] = pan, lift, elbow, wrist, roll


def hand_poses(joints: Array) -> Array:
    """Poses `[*B 3 12]` of the entities gripper, fixed_jaw, moving_jaw at `[*B 6]`, as `body_poses`; float64.

    Each is a position [m] and a rotation row by row.
    """
    rows = np.ascontiguousarray(joints, np.float64).reshape(-1, joints.shape[-1])
    poses = np.empty((len(rows), 3, 12))
    _hands(rows, poses)
    return poses.reshape(*joints.shape[:-1], 3, 12)


@kernel()
def _hands(joints: Array, poses: Array) -> None:
    for n in range(joints.shape[0]):
        row = joints[n]
        hand_at(row[0], row[1], row[2], row[3], row[4], row[5], poses[n])


@kernel()
def hand_at(pan: float, lift: float, elbow: float, wrist: float, roll: float, jaw: float, out: Array) -> None:
    """Fill `out` `[3 12]` with the poses of gripper, fixed_jaw and moving_jaw."""
    upper, fore = lift + UPPER_PITCH, lift + elbow + FORE_PITCH
    tilt, spin = 0.5 * math.pi - lift - elbow - wrist, roll - ROLL_OFFSET
    along = _OUT + UPPER * math.sin(upper) + FORE * math.sin(fore)
    height = _UP + UPPER * math.cos(upper) + FORE * math.cos(fore)
    pan_sine, pan_cosine, sine, cosine = math.sin(pan), math.cos(pan), math.sin(tilt), math.cos(tilt)
    turn_sine, turn_cosine = math.sin(spin), math.cos(spin)
    jaw_sine, jaw_cosine = math.sin(jaw), math.cos(jaw)
    x, y, z = MOVING_PAD
    for part in range(3):
        px, py, pz = _X, _Y, _Z
        if part == 1:
            px, py, pz = FIXED_PAD
        elif part == 2:
            px = JAW_ANCHOR[0] + x * jaw_cosine - y * jaw_sine
            py = JAW_ANCHOR[1] - z
            pz = JAW_ANCHOR[2] + x * jaw_sine + y * jaw_cosine
        upright, side = px * turn_cosine - py * turn_sine, px * turn_sine + py * turn_cosine + LATERAL
        reach = along + upright * cosine + (WRIST - pz) * sine
        out[part, 0] = PAN_X + reach * pan_cosine + side * pan_sine
        out[part, 1] = side * pan_cosine - reach * pan_sine
        out[part, 2] = height + upright * sine - (WRIST - pz) * cosine
    # Rz(-pan) Ry(-tilt) Rz(spin); the moving jaw is then turned a quarter about x, and by its own angle.
    turn_sine_pad, turn_cosine_pad = math.sin(jaw + MOVING_PAD_ANGLE), math.cos(jaw + MOVING_PAD_ANGLE)
    for axis in range(3):
        if axis == 0:
            first, second, third = cosine * turn_cosine, turn_sine, sine * turn_cosine
        elif axis == 1:
            first, second, third = -cosine * turn_sine, turn_cosine, -sine * turn_sine
        else:
            first, second, third = -sine, 0.0, cosine
        for part in range(2):
            out[part, 3 + axis] = pan_cosine * first + pan_sine * second
            out[part, 6 + axis] = pan_cosine * second - pan_sine * first
            out[part, 9 + axis] = third
    for i in range(3):
        first, second, third = out[0, 3 + 3 * i], out[0, 4 + 3 * i], out[0, 5 + 3 * i]
        out[2, 3 + 3 * i] = first * turn_cosine_pad + third * turn_sine_pad
        out[2, 4 + 3 * i] = third * turn_cosine_pad - first * turn_sine_pad
        out[2, 5 + 3 * i] = -second
