"""Compiled CPU twins of what `Arm` computes of its joints and of the cubes near its tool, row by row.

Poses are rows of 12 numbers and objects rows of 18, as in `world_models.cjepa.motion_kernel`; `no_type_check` keeps
the tests' shape checks out of compiled code.
"""

import math
from typing import no_type_check

import numpy as np

from envs.compiled import kernel
from envs.kinematics_compiled import hand_at
from envs.types import Array


@kernel()
@no_type_check
def _solid(pad: Array, x: float, y: float, z: float, sine: float, cosine: float, out: Array) -> None:
    """The pose of a solid at (x, y, z) in a pad's frame, turned about the pad's z axis."""
    for i in range(3):
        a, b, c = pad[3 + 3 * i], pad[4 + 3 * i], pad[5 + 3 * i]
        out[i] = pad[i] + a * x + b * y + c * z
        out[3 + 3 * i] = a * cosine + b * sine
        out[4 + 3 * i] = b * cosine - a * sine
        out[5 + 3 * i] = c


@kernel()
@no_type_check
def _solids(joints: Array, hand: Array, fixed: Array, moving: Array, bend: float, out: Array) -> None:
    hand_at(joints[0], joints[1], joints[2], joints[3], joints[4], joints[5], hand)
    _solid(hand[1], 0.0, 0.0, 0.0, 0.0, 1.0, out[0])
    _solid(hand[2], 0.0, 0.0, 0.0, 0.0, 1.0, out[1])
    _solid(hand[1], fixed[0], fixed[1], fixed[2], 0.0, 1.0, out[2])
    _solid(hand[2], moving[0], moving[1], moving[2], math.sin(bend), math.cos(bend), out[3])


@kernel()
@no_type_check
def solids(
    position: Array, velocity: Array, fixed: Array, moving: Array, bend: float, instant: float, pose: Array,
    speed: Array, tool: Array,
) -> None:  # fmt: skip
    """Fill `pose` `[R 4 12]`, `speed` `[R 4 3]` and the tool's pose `[R 12]` at joints `[R 6]` with velocities."""
    hand, now, later, joints = np.empty((3, 12)), np.empty((4, 12)), np.empty((4, 12)), np.empty(6)
    for r in range(position.shape[0]):
        for i in range(6):
            joints[i] = position[r, i] + instant * velocity[r, i]
        _solids(joints, hand, fixed, moving, bend, later)
        for i in range(6):
            joints[i] = position[r, i]
        _solids(joints, hand, fixed, moving, bend, now)
        tool[r] = hand[0]
        for s in range(4):
            pose[r, s] = now[s]
            for i in range(3):
                speed[r, s, i] = (later[s, i] - now[s, i]) / instant


@kernel(fastmath=True)
@no_type_check
def overhear(
    tool: Array, gripper: Array, command: Array, state: Array, fixed: Array, far: float, scene: Array, nearness: Array,
    inputs: Array,
) -> int:  # fmt: skip
    """Fill what the cubes within `far` of the tool tell it: of which `scene`, how near, and `inputs` `[. 13]`.

    From tools `[R 12]`, the gripper's opening and command `[R]`, objects `[R N 18]` and their `fixed` rows; returns how
    many rows were filled.
    """
    count = 0
    entities = state.shape[0] // tool.shape[0]
    local = np.empty(3, np.float32)
    axes = np.empty((3, 3), np.float32)
    for r in range(tool.shape[0]):
        for j in range(entities):
            own, rest = state[r * entities + j], fixed[r * entities + j]
            if not rest[9] > 0:
                continue
            square = np.float32(0.0)
            for i in range(3):
                local[i] = np.float32(0.0)
                for k in range(3):
                    local[i] += tool[r, 3 + 3 * k + i] * (own[k] - tool[r, k])
                square += local[i] * local[i]
            near = (np.float32(far) - math.sqrt(square)) / np.float32(0.5 * far)
            if near <= 0.0:
                continue
            for i in range(3):
                for c in range(3):
                    axes[i, c] = np.float32(0.0)
                    for k in range(3):
                        axes[i, c] += tool[r, 3 + 3 * k + i] * own[3 + 3 * k + c]
            turned = 4.0 * math.atan2(axes[1, 0] - axes[0, 1], axes[0, 0] + axes[1, 1] + np.float32(1e-9))
            out = inputs[count]
            for i in range(3):
                out[i] = local[i] / np.float32(0.02)
                out[5 + i] = axes[i, 2]
                out[8 + i] = rest[i] / np.float32(0.014) - np.float32(1.0)
            out[3], out[4] = math.cos(turned), math.sin(turned)
            out[11], out[12] = gripper[r], command[r]
            scene[count] = r
            nearness[count] = min(near, 1.0)
            count += 1
    return count
