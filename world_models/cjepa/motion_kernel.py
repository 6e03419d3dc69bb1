"""What an object is told of itself, where a change would take it and how it would stand there, and where it gets.

A state is a row of 18 numbers: pose, linear and angular velocity.
"""

from typing import no_type_check

import numpy as np

from envs.compiled import kernel
from envs.types import Array
from world_models.cjepa.contact_geometry import FEET, FINE, RIM, SUNK, TREADS
from world_models.cjepa.geometry_kernel import clamped, lowest, most_upright, move, touching


@kernel(fastmath=True)
@no_type_check
def _height(height: Array, out: Array) -> None:
    out[0] = clamped(height)
    out[1] = touching(height)


@kernel(fastmath=True)
@no_type_check
def describe(state: Array, fixed: Array, awake: Array, nodes: Array, drift: Array) -> None:
    """Fill `nodes` `[A F]` and `drift` `[A 12]` of the awake objects.

    `fixed` `[M 10]` holds half extents, core, radius, logarithms of mass and friction over nominal, present.
    """
    for a in range(len(awake)):
        own, rest, out = state[awake[a]], fixed[awake[a]], nodes[a]
        for i in range(3):
            linear = np.float32(0.0)
            angular = np.float32(0.0)
            for k in range(3):
                linear += own[12 + k] * own[3 + 3 * k + i]
                angular += own[15 + k] * own[3 + 3 * k + i]
            drift[a, i] = linear / np.float32(0.2)
            drift[a, 3 + i] = angular / np.float32(2.0)
            drift[a, 6 + i] = np.float32(0.0)
            drift[a, 9 + i] = np.float32(0.0)
            out[i] = linear / np.float32(0.3)
            out[3 + i] = angular / np.float32(3.0)
            out[6 + i] = own[9 + i]
            out[9 + i] = rest[i] / np.float32(0.014) - np.float32(1.0)
        out[12] = rest[6] / np.float32(0.014)
        out[13] = own[2] / np.float32(0.05)
        height = lowest(own, rest[3:6], rest[6])
        _height(height, out[14:])
        _height(height - np.float32(0.028), out[16:])
        out[18] = rest[7]
        out[19] = rest[8]
        out[20] = rest[9]


@kernel(fastmath=True)
@no_type_check
def tentative(
    state: Array, fixed: Array, awake: Array, row: Array, delta: Array, shift: float, turn: float, after: Array,
    standing: Array, treads: Array,
) -> None:  # fmt: skip
    """Write where the awake objects would be into their rows of `after`, and how they would stand there.

    That is `standing` `[A F]` and `treads` `[A T 6]` of `contact_geometry.footing`, these in units of shift and turn.
    """
    for a in range(len(awake)):
        own, rest = state[awake[a]], fixed[awake[a]]
        move(own, delta[a], np.float32(shift), np.float32(turn), after[row[a]])
        _stand(own, after[row[a]], rest[3:6], rest[6], np.float32(shift), np.float32(turn), standing[a], treads[a])


@kernel(fastmath=True)
@no_type_check
def _stand(
    now: Array, after: Array, core: Array, radius: Array, shift: Array, turn: Array, seen: Array, treads: Array
) -> None:
    u = most_upright(after)
    v, w = (u + 1) % 3, (u + 2) % 3
    size = np.float32(1e-6) + np.float32(0.5) * radius * radius
    for i in range(3):
        size += np.float32(2.0 / 9.0) * core[i] * core[i]
    rim = np.float32(RIM) * radius
    down = -core[u] if after[9 + u] >= 0 else core[u]
    zero = np.float32(0.0)
    for n in range(FEET):
        x = core[v] + rim if n & 2 else -core[v] - rim
        y = core[w] + rim if n & 1 else -core[w] - rim
        p = after[3 + u] * down + after[3 + v] * x + after[3 + w] * y
        q = after[6 + u] * down + after[6 + v] * x + after[6 + w] * y
        r = after[9 + u] * down + after[9 + v] * x + after[9 + w] * y
        height = r + after[2]
        seen[n] = clamped(height)
        seen[FEET + n] = min(max(height / np.float32(FINE), np.float32(-2.0)), np.float32(2.0))
        push, drag = treads[n], treads[FEET + n]
        if height >= 0:
            push[:] = zero
            drag[:] = zero
            continue
        a = p + after[0] - now[0] - (now[3 + u] * down + now[3 + v] * x + now[3 + w] * y)
        b = q + after[1] - now[1] - (now[6 + u] * down + now[6 + v] * x + now[6 + w] * y)
        up = min(-height, np.float32(SUNK))
        allowed = min(up / np.sqrt(a * a + b * b + np.float32(1e-12)), np.float32(1.0))
        a, b = -a * allowed, -b * allowed
        for i in range(3):
            # A push straight up at (p, q, r) turns by (q, -p, 0) of it, a drag (a, b, 0) by (-r b, r a, p b - q a).
            i0, i1, i2 = now[3 + i], now[6 + i], now[9 + i]
            push[i] = up * i2 / shift
            push[3 + i] = up * (q * i0 - p * i1) / size / turn
            drag[i] = (a * i0 + b * i1) / shift
            drag[3 + i] = (-r * b * i0 + r * a * i1 + (p * b - q * a) * i2) / size / turn


@kernel(fastmath=True)
@no_type_check
def tread(said: Array, treads: Array, start: int, delta: Array) -> None:
    """Add to `delta` `[A 12]` of each object's `treads` `[A T 6]` what columns `start` and on of `said` say."""
    for a in range(delta.shape[0]):
        for part in range(4):
            at = 3 * (part % 2)
            x = y = z = np.float32(0.0)
            for k in range(TREADS):
                share = said[a, start + 4 * k + part]
                x += share * treads[a, k, at]
                y += share * treads[a, k, at + 1]
                z += share * treads[a, k, at + 2]
            delta[a, 3 * part] += x
            delta[a, 3 * part + 1] += y
            delta[a, 3 * part + 2] += z


@kernel(fastmath=True)
@no_type_check
def advance(
    state: Array, awake: Array, delta: Array, shift: float, turn: float, faster: float, spin: float, out: Array
) -> None:
    """Fill `out` `[M 18]` with the state a step later."""
    out[:] = state
    for a in range(len(awake)):
        own, new = state[awake[a]], out[awake[a]]
        move(own, delta[a], np.float32(shift), np.float32(turn), new)
        for i in range(3):
            linear = np.float32(0.0)
            angular = np.float32(0.0)
            for k in range(3):
                linear += own[3 + 3 * i + k] * delta[a, 6 + k]
                angular += own[3 + 3 * i + k] * delta[a, 9 + k]
            new[12 + i] = own[12 + i] + np.float32(faster) * linear
            new[15 + i] = own[15 + i] + np.float32(spin) * angular
