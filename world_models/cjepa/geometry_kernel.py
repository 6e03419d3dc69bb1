"""Compiled twin of what `contact_geometry` says of one pair, and how a pose moves.

A pose is a row of 12 numbers: position, then rotation row by row. `no_type_check` keeps the tests' shape checks out of
compiled code, here and in all kernels.
"""

from typing import no_type_check

import numpy as np

from envs.compiled import kernel
from envs.types import Array
from world_models.cjepa.contact_geometry import SCALE, SKIN


@kernel(fastmath=True)
@no_type_check
def separation(a: Array, half_a: Array, b: Array, half_b: Array) -> Array:
    """A lower bound [m] of how far two boxes are apart, negative where they overlap."""
    best = np.float32(-1.0)
    for i in range(3):
        along = np.float32(0.0)
        back = np.float32(0.0)
        reach = half_a[i]
        reach_back = half_b[i]
        for k in range(3):
            d = b[k] - a[k]
            along += d * a[3 + 3 * k + i]
            back += d * b[3 + 3 * k + i]
        for j in range(3):
            own = np.float32(0.0)
            other = np.float32(0.0)
            for k in range(3):
                own += a[3 + 3 * k + i] * b[3 + 3 * k + j]
                other += a[3 + 3 * k + j] * b[3 + 3 * k + i]
            reach += abs(own) * half_b[j]
            reach_back += abs(other) * half_a[j]
        best = max(best, abs(along) - reach, abs(back) - reach_back)
    return best


@kernel(fastmath=True)
@no_type_check
def lowest(pose: Array, core: Array, radius: Array) -> Array:
    """Height of an object's lowest point above the table [m]."""
    low = pose[2] - radius * np.sqrt(max(np.float32(0.0), np.float32(1.0) - pose[11] * pose[11]))
    for i in range(3):
        low -= abs(pose[9 + i]) * core[i]
    return low


@kernel(fastmath=True)
@no_type_check
def relate(a: Array, half_a: Array, b: Array, half_b: Array, across: Array, offset: Array, gaps: Array) -> Array:
    """Fill `across` `[3 3]`, `offset` and `gaps` `[2 3]` as `contact_geometry.relation` does; the largest gap."""
    best = np.float32(-1.0)
    for i in range(3):
        along = np.float32(0.0)
        back = np.float32(0.0)
        for k in range(3):
            d = b[k] - a[k]
            along += d * a[3 + 3 * k + i]
            back -= d * b[3 + 3 * k + i]
        offset[0, i] = along
        offset[1, i] = back
        for j in range(3):
            total = np.float32(0.0)
            for k in range(3):
                total += a[3 + 3 * k + i] * b[3 + 3 * k + j]
            across[i, j] = total
    for i in range(3):
        reach = half_a[i]
        reach_back = half_b[i]
        for j in range(3):
            reach += abs(across[i, j]) * half_b[j]
            reach_back += abs(across[j, i]) * half_a[j]
        gaps[0, i] = abs(offset[0, i]) - reach
        gaps[1, i] = abs(offset[1, i]) - reach_back
        best = max(best, gaps[0, i], gaps[1, i])
    return best


@kernel(fastmath=True)
@no_type_check
def clamped(value: Array) -> Array:
    """A distance [m] as a feature."""
    return min(max(value / np.float32(SCALE), np.float32(-2.0)), np.float32(2.0))


@kernel(fastmath=True)
@no_type_check
def touching(gap: Array) -> Array:
    """How far a gap [m] is closed, 0 to 1."""
    return np.float32(1.0) / (np.float32(1.0) + np.exp(gap / np.float32(SKIN)))


@kernel(fastmath=True)
@no_type_check
def glance(offset: Array, gaps: Array, gap: Array, round_: Array, out: Array) -> None:
    """Fill the features of a relation without points, as `contact_geometry.glance` does."""
    for i in range(3):
        out[i] = offset[0, i] / np.float32(0.05)
        out[3 + i] = clamped(gaps[0, i] - round_)
        out[6 + i] = clamped(gaps[1, i] - round_)
    out[9] = touching(gap - round_)


@kernel(fastmath=True)
@no_type_check
def most_upright(pose: Array) -> int:
    """The axis that is nearest to the vertical."""
    best = 0
    for i in range(1, 3):
        if abs(pose[9 + i]) > abs(pose[9 + best]):
            best = i
    return best


@kernel(fastmath=True)
@no_type_check
def box_distance(point: Array, half: Array) -> Array:
    """Signed distance [m] of a point from a box, in the box's axes."""
    outside = np.float32(1e-10)
    inside = np.float32(-1.0)
    for c in range(3):
        excess = abs(point[c]) - half[c]
        inside = max(inside, excess)
        if excess > 0:
            outside += excess * excess
    return np.sqrt(outside) + min(inside, np.float32(0.0))


@kernel(fastmath=True)
@no_type_check
def way_out(point: Array, half: Array, out: Array) -> None:
    """The unit vector from a box's surface to a point outside, or from a point within to the nearest side."""
    square = np.float32(1e-10)
    deepest = 0
    for i in range(3):
        excess = abs(point[i]) - half[i]
        if excess > 0:
            square += excess * excess
        if excess > abs(point[deepest]) - half[deepest]:
            deepest = i
    outside = abs(point[deepest]) - half[deepest] > 0
    for i in range(3):
        length = np.float32(1.0) if i == deepest else np.float32(0.0)
        if outside:
            length = max(abs(point[i]) - half[i], np.float32(0.0)) / np.sqrt(square)
        out[i] = length if point[i] >= 0 else -length


@kernel(fastmath=True)
@no_type_check
def facing_of(a: Array, half: Array, radius: Array, b: Array) -> tuple[Array, Array]:
    """Cosine and sine of the turn about an object's z that points its x at another one.

    A box turns by quarters, to the side that faces the other; a round one all the way.
    """
    x = np.float32(0.0)
    y = np.float32(0.0)
    for k in range(3):
        x += (b[k] - a[k]) * a[3 + 3 * k]
        y += (b[k] - a[k]) * a[4 + 3 * k]
    zero, one = np.float32(0.0), np.float32(1.0)
    if radius > 0:
        length = np.sqrt(x * x + y * y + np.float32(1e-12))
        return x / length, y / length
    if abs(x) - half[0] >= abs(y) - half[1]:
        return (one if x >= 0 else -one), zero
    return zero, (one if y >= 0 else -one)


@kernel(fastmath=True)
@no_type_check
def relabel(pose: Array, c: Array, s: Array, out: Array) -> None:
    """A pose with axes turned about the object's own z."""
    for i in range(3):
        out[i] = pose[i]
        x, y = pose[3 + 3 * i], pose[4 + 3 * i]
        out[3 + 3 * i] = c * x + s * y
        out[4 + 3 * i] = c * y - s * x
        out[5 + 3 * i] = pose[5 + 3 * i]


@kernel(fastmath=True)
@no_type_check
def turned(own: Array, x: Array, y: Array, z: Array, out: Array) -> None:
    """Rotate the axes in `own[3:12]` by Cayley's map of (x, y, z), into `out[3:12]`."""
    square = x * x + y * y + z * z
    scale = np.float32(4.0) / (np.float32(4.0) + square)
    half = np.float32(0.5)
    for c in range(3):
        a, b, d = own[3 + c], own[6 + c], own[9 + c]
        # v + s (r x v + r x (r x v) / 2)
        i, j, k = y * d - z * b, z * a - x * d, x * b - y * a
        out[3 + c] = a + scale * (i + half * (y * k - z * j))
        out[6 + c] = b + scale * (j + half * (z * i - x * k))
        out[9 + c] = d + scale * (k + half * (x * j - y * i))


@kernel(fastmath=True)
@no_type_check
def move(own: Array, delta: Array, shift: Array, turn: Array, out: Array) -> None:
    """The pose after a change given in the object's own axes."""
    rotate = (np.float32(0.0), np.float32(0.0), np.float32(0.0))
    for i in range(3):
        move = np.float32(0.0)
        spun = np.float32(0.0)
        for k in range(3):
            move += own[3 + 3 * i + k] * delta[k]
            spun += own[3 + 3 * i + k] * delta[3 + k]
        out[i] = own[i] + shift * move
        if i == 0:
            rotate = (turn * spun, rotate[1], rotate[2])
        elif i == 1:
            rotate = (rotate[0], turn * spun, rotate[2])
        else:
            rotate = (rotate[0], rotate[1], turn * spun)
    turned(own, rotate[0], rotate[1], rotate[2], out)
