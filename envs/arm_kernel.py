"""Forward and inverse kinematics of a serial arm, compiled row by row; see `envs.arm`."""

import math

import numpy as np

from envs.compiled import kernel
from envs.types import Array

DAMPING = 1e-3
"""[m] Keeps steps small where a direction is hardly in reach."""
YAW_WEIGHT, LEAN_WEIGHT = 0.05, 0.003
"""[m/rad] What an error of heading or of lean counts for, beside a metre of place."""
CONVERGED = 1e-5
"""[rad or m]."""
LONGEST = 0.3
"""[rad] A joint turns no more in one round."""


@kernel()
def tools(joints: Array, place: Array, turn: Array, axis: Array, slides: Array) -> tuple[Array, Array]:
    """The tool's `[N 3]` position and `[N 3 3]` rotation in world, of joints `[N J]`.

    `place` `[J+1 3]` and `turn` `[J+1 3 3]` are of each joint's frame in the one before, and of the tool in the last.
    """
    position, rotation = np.empty((len(joints), 3)), np.empty((len(joints), 3, 3))
    axes, points = np.empty((joints.shape[1], 3)), np.empty((joints.shape[1], 3))
    for n in range(len(joints)):
        _tool(joints[n], place, turn, axis, slides, position[n], rotation[n], axes, points)
    return position, rotation


@kernel()
def search(
    joints: Array, place: Array, turn: Array, axis: Array, slides: Array, low: Array, high: Array,
    wanted: Array, yaw: Array, rounds: int,
) -> None:  # fmt: skip
    """Move joints `[N J]`, in place, until their tools are at `wanted` `[N 3]` and `yaw` `[N]`, as upright as may be.

    Each row by itself: nobody's joints depend on who else is asked for.
    """
    count = joints.shape[1]
    position, rotation = np.empty(3), np.empty((3, 3))
    axes, points = np.empty((count, 3)), np.empty((count, 3))
    jacobian, error, step = np.empty((6, count)), np.empty(6), np.empty(count)
    for n in range(len(joints)):
        for _ in range(rounds):
            _tool(joints[n], place, turn, axis, slides, position, rotation, axes, points)
            for i in range(3):
                error[i] = wanted[n, i] - position[i]
            # The turn that brings the tool's axis back to the vertical has no part about it.
            error[3], error[4] = LEAN_WEIGHT * rotation[1, 2], -LEAN_WEIGHT * rotation[0, 2]
            heading = yaw[n] - math.atan2(rotation[1, 0], rotation[0, 0])
            error[5] = YAW_WEIGHT * ((heading + math.pi) % (2.0 * math.pi) - math.pi)
            for j in range(count):
                x, y, z = axes[j]
                if slides[j]:
                    jacobian[0, j], jacobian[1, j], jacobian[2, j] = x, y, z
                    jacobian[3, j] = jacobian[4, j] = jacobian[5, j] = 0.0
                    continue
                u, v, w = position[0] - points[j, 0], position[1] - points[j, 1], position[2] - points[j, 2]
                jacobian[0, j], jacobian[1, j], jacobian[2, j] = y * w - z * v, z * u - x * w, x * v - y * u
                jacobian[3, j], jacobian[4, j], jacobian[5, j] = LEAN_WEIGHT * x, LEAN_WEIGHT * y, YAW_WEIGHT * z
            _damped(jacobian, error, step)
            # What would go past its end stays, and the others make up for it.
            ended = False
            for j in range(count):
                if (joints[n, j] <= low[j] and step[j] < 0.0) or (joints[n, j] >= high[j] and step[j] > 0.0):
                    jacobian[:, j] = 0.0
                    ended = True
            if ended:
                _damped(jacobian, error, step)
            change = 0.0
            for j in range(count):
                before = joints[n, j]
                joints[n, j] = min(max(before + min(max(step[j], -LONGEST), LONGEST), low[j]), high[j])
                change = max(change, abs(joints[n, j] - before))
            if change < CONVERGED:
                break


@kernel()
def _tool(
    joints: Array, place: Array, turn: Array, axis: Array, slides: Array,
    position: Array, rotation: Array, axes: Array, points: Array,
) -> None:  # fmt: skip
    """The tool's position `[3]` and rotation `[3 3]`, and the joints' axes and places `[J 3]`, in world."""
    position[:] = 0.0
    rotation[:] = np.eye(3)
    spun = np.empty((3, 3))
    for j in range(len(joints) + 1):
        for i in range(3):
            position[i] += rotation[i, 0] * place[j, 0] + rotation[i, 1] * place[j, 1] + rotation[i, 2] * place[j, 2]
        _times(rotation, turn[j])
        if j == len(joints):
            break
        x, y, z = axis[j]
        for i in range(3):
            axes[j, i] = rotation[i, 0] * x + rotation[i, 1] * y + rotation[i, 2] * z
        points[j] = position
        if slides[j]:
            position += joints[j] * axes[j]
            continue
        c, s = math.cos(joints[j]), math.sin(joints[j])
        d = 1.0 - c
        spun[0, 0], spun[0, 1], spun[0, 2] = c + d * x * x, d * x * y - s * z, d * x * z + s * y
        spun[1, 0], spun[1, 1], spun[1, 2] = d * x * y + s * z, c + d * y * y, d * y * z - s * x
        spun[2, 0], spun[2, 1], spun[2, 2] = d * x * z - s * y, d * y * z + s * x, c + d * z * z
        _times(rotation, spun)


@kernel()
def _times(left: Array, right: Array) -> None:
    """`left @ right` `[3 3]`, in the place of `left`."""
    for i in range(3):
        a, b, c = left[i]
        for j in range(3):
            left[i, j] = a * right[0, j] + b * right[1, j] + c * right[2, j]


@kernel()
def _damped(jacobian: Array, error: Array, step: Array) -> None:
    """The step `[J]` towards `error` `[6]` by damped least squares: normal equations, by Cholesky's factors."""
    count = jacobian.shape[1]
    factor = np.zeros((count, count))
    for i in range(count):
        for j in range(i + 1):
            total = DAMPING * DAMPING if i == j else 0.0
            for k in range(6):
                total += jacobian[k, i] * jacobian[k, j]
            for k in range(j):
                total -= factor[i, k] * factor[j, k]
            factor[i, j] = math.sqrt(total) if i == j else total / factor[j, j]
        total = 0.0
        for k in range(6):
            total += jacobian[k, i] * error[k]
        for k in range(i):
            total -= factor[i, k] * step[k]
        step[i] = total / factor[i, i]
    for i in range(count - 1, -1, -1):
        total = step[i]
        for k in range(i + 1, count):
            total -= factor[k, i] * step[k]
        step[i] = total / factor[i, i]
