"""The way back through the kernels of motion and messages: what automatic differentiation would take a tape for."""

from typing import no_type_check

import numpy as np

from envs.compiled import kernel
from envs.types import Array
from world_models.cjepa.contact_geometry import FEATURES, GLANCE, TREADS, WEDGES


@kernel(fastmath=True)
@no_type_check
def tread_back(grad_delta: Array, treads: Array, start: int, grad_said: Array) -> None:
    """Fill columns `start` and on of the gradient of `said` from that of `delta`."""
    for a in range(grad_delta.shape[0]):
        for part in range(4):
            at = 3 * (part % 2)
            x, y, z = grad_delta[a, 3 * part], grad_delta[a, 3 * part + 1], grad_delta[a, 3 * part + 2]
            for k in range(TREADS):
                grad_said[a, start + 4 * k + part] = (
                    x * treads[a, k, at] + y * treads[a, k, at + 1] + z * treads[a, k, at + 2]
                )


@kernel(fastmath=True)
@no_type_check
def advance_back(
    state: Array, new: Array, awake: Array, delta: Array, shift: float, turn: float, faster: float, spin: float,
    grad: Array, grad_delta: Array,
) -> None:  # fmt: skip
    """From the gradient of the state a step later, `grad_delta` `[A 12]`; `grad` `[M 18]` becomes that of the state.

    The axes that changes are given in are taken as fixed: only the pose itself passes gradients on.
    """
    rotate = np.empty(3, np.float32)
    pull = np.empty(3, np.float32)
    back = np.empty(9, np.float32)
    for a in range(len(awake)):
        own, after, g = state[awake[a]], new[awake[a]], grad[awake[a]]
        square = np.float32(0.0)
        for i in range(3):
            spun = np.float32(0.0)
            for k in range(3):
                spun += own[3 + 3 * i + k] * delta[a, 3 + k]
            rotate[i] = np.float32(turn) * spun
            square += rotate[i] * rotate[i]
            u, v = (i + 1) % 3, (i + 2) % 3
            total = np.float32(0.0)
            for c in range(3):
                total += after[3 + 3 * u + c] * g[3 + 3 * v + c] - after[3 + 3 * v + c] * g[3 + 3 * u + c]
            pull[i] = total
        scale = np.float32(4.0) / (np.float32(4.0) + square)
        x, y, z = pull
        half = np.float32(0.5)
        pull[0] = scale * (x - half * (rotate[1] * z - rotate[2] * y))
        pull[1] = scale * (y - half * (rotate[2] * x - rotate[0] * z))
        pull[2] = scale * (z - half * (rotate[0] * y - rotate[1] * x))
        for i in range(3):
            move = np.float32(0.0)
            spun = np.float32(0.0)
            linear = np.float32(0.0)
            angular = np.float32(0.0)
            for k in range(3):
                axis = own[3 + 3 * k + i]
                move += axis * g[k]
                spun += axis * pull[k]
                linear += axis * g[12 + k]
                angular += axis * g[15 + k]
            grad_delta[a, i] = np.float32(shift) * move
            grad_delta[a, 3 + i] = np.float32(turn) * spun
            grad_delta[a, 6 + i] = np.float32(faster) * linear
            grad_delta[a, 9 + i] = np.float32(spin) * angular
        # The former axes, turned: R = T^T R', so its gradient is T^T g with T = R' R^T.
        for i in range(3):
            for c in range(3):
                total = np.float32(0.0)
                for k in range(3):
                    mixed = np.float32(0.0)
                    for n in range(3):
                        mixed += own[3 + 3 * i + n] * after[3 + 3 * k + n]
                    total += mixed * g[3 + 3 * k + c]
                back[3 * i + c] = total
        for i in range(9):
            g[3 + i] = back[i]


@kernel(fastmath=True)
@no_type_check
def drift_back(state: Array, awake: Array, grad_delta: Array, grad: Array) -> None:
    """Add to `grad` `[M 18]` what a gradient of `drift` says about the velocities."""
    for a in range(len(awake)):
        own, g = state[awake[a]], grad[awake[a]]
        for i in range(3):
            linear = np.float32(0.0)
            angular = np.float32(0.0)
            for k in range(3):
                linear += own[3 + 3 * i + k] * grad_delta[a, k]
                angular += own[3 + 3 * i + k] * grad_delta[a, 3 + k]
            g[12 + i] += linear / np.float32(0.2)
            g[15 + i] += angular / np.float32(2.0)


@kernel(fastmath=True)
@no_type_check
def scatter(receiver: Array, who: Array, grad: Array, to_receiver: Array, to_sender: Array) -> None:
    """The gradients of `gather`'s rows; both start at zero."""
    for e in range(len(receiver)):
        row, a, b = grad[e], to_receiver[receiver[e]], to_sender[who[e]]
        for i in range(row.shape[0]):
            a[i] += row[i]
            b[i] += row[i]


@kernel(fastmath=True)
@no_type_check
def collect_back(
    grad_total: Array, seen: Array, wedges: Array, weight: Array, facing: Array, receiver: Array, width: int,
    grad_said: Array,
) -> None:  # fmt: skip
    """Fill the gradient of `said` from that of `total`."""
    carried = GLANCE + FEATURES
    for e in range(len(receiver)):
        g, out, w = grad_total[receiver[e]], grad_said[e], weight[e]
        for i in range(width):
            out[i] = w * g[i]
        c, s = facing[e, 0], facing[e, 1]
        for part in range(4):
            at = width + 3 * part
            x, y, z = w * (c * g[at] + s * g[at + 1]), w * (c * g[at + 1] - s * g[at]), w * g[at + 2]
            if part < 2:
                out[width + part] = (
                    x * seen[e, carried + 3 * part] + y * seen[e, carried + 3 * part + 1]
                    + z * seen[e, carried + 3 * part + 2]
                )  # fmt: skip
            for k in range(WEDGES):
                out[width + 2 + 4 * k + part] = (
                    x * wedges[e, k, 3 * (part % 2)] + y * wedges[e, k, 3 * (part % 2) + 1]
                    + z * wedges[e, k, 3 * (part % 2) + 2]
                )  # fmt: skip
            at = width + 2 + 4 * WEDGES + 3 * part
            out[at], out[at + 1], out[at + 2] = x, y, z
