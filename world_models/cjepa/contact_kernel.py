"""Compiled CPU twin of `contact_geometry` and `edges.see`: all pairs of a batch in one pass over rows of numbers.

Rows: a pose is position and rotation row by row (12), a velocity is linear, angular and
linear at the end of the step (9). Row `b (N + 4) + j` is box
j of scene b for j < N, then the hand's four. `no_type_check` keeps the tests' shape checks out of compiled code.
"""

from typing import no_type_check

import numpy as np
from numba import njit

from envs.types import Array
from world_models.cjepa.contact_geometry import CORNERS, FEATURES, GLANCE, SCALE, SKIN
from world_models.cjepa.hand import HAND_BOXES

REACH = 0.02
"""[m] messages fade to zero as the gap of two boxes, now and at the step's end, grows from half of this to this."""
BODY_MARGIN, HAND_MARGIN = 0.03, 0.015
"""[m] pairs this much further apart than `REACH` are not looked at: a box moves at most 3 cm in a step, and where the
hand will be is known."""


@njit(cache=True, fastmath=True, nogil=True)
@no_type_check
def _gap(a: Array, half_a: Array, b: Array, half_b: Array) -> Array:
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


@njit(cache=True, fastmath=True, nogil=True)
@no_type_check
def near(now: Array, after: Array, half: Array, present: Array, between_bodies: bool) -> tuple[Array, Array]:
    """Receivers `b N + i` and senders `b (N + 4) + j` of all pairs that may touch within the step."""
    batch, entities = present.shape
    senders = entities + HAND_BOXES
    receiver = np.empty(batch * entities * senders, np.int64)
    sender = np.empty(batch * entities * senders, np.int64)
    count = 0
    for b in range(batch):
        for i in range(entities):
            if not present[b, i] > 0:
                continue
            row = b * senders + i
            for j in range(senders):
                is_hand = j >= entities
                if j == i or (not is_hand and (not between_bodies or not present[b, j] > 0)):
                    continue
                other = b * senders + j
                gap = _gap(now[row], half[row], now[other], half[other])
                if is_hand:
                    gap = min(gap, _gap(now[row], half[row], after[other], half[other]))
                if gap < REACH + (HAND_MARGIN if is_hand else BODY_MARGIN):
                    receiver[count] = b * entities + i
                    sender[count] = other
                    count += 1
    return receiver[:count].copy(), sender[:count].copy()


@njit(cache=True, fastmath=True, nogil=True)
@no_type_check
def _relate(a: Array, half_a: Array, b: Array, half_b: Array, across: Array, offset: Array, gaps: Array) -> Array:
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


@njit(cache=True, fastmath=True, nogil=True)
@no_type_check
def _clamped(value: Array) -> Array:
    return min(max(value / np.float32(SCALE), np.float32(-2.0)), np.float32(2.0))


@njit(cache=True, fastmath=True, nogil=True)
@no_type_check
def _touching(gap: Array) -> Array:
    return np.float32(1.0) / (np.float32(1.0) + np.exp(gap / np.float32(SKIN)))


@njit(cache=True, fastmath=True, nogil=True)
@no_type_check
def _glance(offset: Array, gaps: Array, gap: Array, out: Array) -> None:
    for i in range(3):
        out[i] = offset[0, i] / np.float32(0.05)
        out[3 + i] = _clamped(gaps[0, i])
        out[6 + i] = _clamped(gaps[1, i])
    out[9] = _touching(gap)


@njit(cache=True, fastmath=True, nogil=True)
@no_type_check
def _box_distance(point: Array, half: Array) -> Array:
    outside = np.float32(1e-10)
    inside = np.float32(-1.0)
    for c in range(3):
        excess = abs(point[c]) - half[c]
        inside = max(inside, excess)
        if excess > 0:
            outside += excess * excess
    return np.sqrt(outside) + min(inside, np.float32(0.0))


@njit(cache=True, fastmath=True, nogil=True)
@no_type_check
def _facing(a: Array, half: Array, b: Array) -> Array:
    """Which of a box's sides x, y, -x, -y faces another box: 0, 1, 2, 3."""
    x = np.float32(0.0)
    y = np.float32(0.0)
    for k in range(3):
        x += (b[k] - a[k]) * a[3 + 3 * k]
        y += (b[k] - a[k]) * a[4 + 3 * k]
    if abs(x) - half[0] >= abs(y) - half[1]:
        return 0 if x >= 0 else 2
    return 1 if y >= 0 else 3


@njit(cache=True, fastmath=True, nogil=True)
@no_type_check
def _relabel(pose: Array, k: Array, out: Array) -> None:
    """A pose with axes turned by k quarters about the box's own z."""
    for i in range(3):
        out[i] = pose[i]
        x, y = pose[3 + 3 * i], pose[4 + 3 * i]
        out[3 + 3 * i] = x if k == 0 else (y if k == 1 else (-x if k == 2 else -y))
        out[4 + 3 * i] = y if k == 0 else (-x if k == 1 else (-y if k == 2 else x))
        out[5 + 3 * i] = pose[5 + 3 * i]


@njit(cache=True, fastmath=True, nogil=True)
@no_type_check
def see(
    now: Array,
    after: Array,
    half: Array,
    velocity: Array,
    receiver: Array,
    sender: Array,
    seen: Array,
    weight: Array,
    quarter: Array,
) -> None:
    """Fill `seen` `[E S]`, `weight` and `quarter` `[E]`; receivers are rows like senders."""
    across = np.empty((3, 3), np.float32)
    offset = np.empty((2, 3), np.float32)
    gaps = np.empty((2, 3), np.float32)
    corner = np.empty((8, 3), np.float32)
    distance = np.empty(8, np.float32)
    key = np.empty(8, np.float32)
    local = np.empty(3, np.float32)
    twist = np.empty((3, 3), np.float32)
    vectors = np.empty((5, 3), np.float32)
    near_now, near_after, near_half = np.empty(12, np.float32), np.empty(12, np.float32), np.empty(3, np.float32)
    for e in range(len(receiver)):
        r, s = receiver[e], sender[e]
        out = seen[e]
        k = _facing(now[r], half[r], now[s])
        quarter[e] = k
        _relabel(now[r], k, near_now)
        _relabel(after[r], k, near_after)
        near_half[0] = half[r, k % 2]
        near_half[1] = half[r, 1 - k % 2]
        near_half[2] = half[r, 2]
        gap_now = _relate(near_now, near_half, now[s], half[s], across, offset, gaps)
        _glance(offset, gaps, gap_now, out)
        gap = _relate(near_after, near_half, after[s], half[s], across, offset, gaps)
        _glance(offset, gaps, gap, out[GLANCE:])
        at = 2 * GLANCE
        for i in range(3):
            for j in range(3):
                out[at + 3 * i + j] = across[i, j]
        at += 9
        depth_at = at + 2 * CORNERS * 3
        for side in range(2):
            for c in range(8):
                for i in range(3):
                    x = near_half[0] if side else half[s, 0]
                    y = near_half[1] if side else half[s, 1]
                    z = near_half[2] if side else half[s, 2]
                    x = x if c & 4 else -x
                    y = y if c & 2 else -y
                    z = z if c & 1 else -z
                    if side == 0:
                        local[i] = offset[0, i] + across[i, 0] * x + across[i, 1] * y + across[i, 2] * z
                        corner[c, i] = local[i]
                    else:
                        local[i] = offset[1, i] + across[0, i] * x + across[1, i] * y + across[2, i] * z
                        corner[c, i] = x if i == 0 else (y if i == 1 else z)
                distance[c] = _box_distance(local, near_half if side == 0 else half[s])
                key[c] = distance[c] + np.float32(0.05) * corner[c, 2]
            for n in range(CORNERS):
                best = 0
                for c in range(1, 8):
                    if key[c] < key[best]:
                        best = c
                key[best] = np.float32(1e9)
                for i in range(3):
                    out[at + side * 3 * CORNERS + i * CORNERS + n] = corner[best, i] / np.float32(0.05)
                out[depth_at + side * CORNERS + n] = _clamped(distance[best])
                out[depth_at + 2 * CORNERS + side * CORNERS + n] = _touching(distance[best])
        for i in range(3):
            for j in range(3):
                total = np.float32(0.0)
                for k in range(3):
                    total += after[s, 3 + 3 * i + k] * now[s, 3 + 3 * j + k]
                twist[i, j] = total
        for i in range(3):
            shift = after[s, i] - now[r, i]
            for j in range(3):
                shift += twist[i, j] * (now[r, j] - now[s, j])
            vectors[0, i] = shift / np.float32(0.02)
            vectors[2, i] = (velocity[s, i] - velocity[r, i]) / np.float32(0.3)
            vectors[3, i] = velocity[s, 3 + i] / np.float32(3.0)
            vectors[4, i] = velocity[s, 6 + i] / np.float32(0.3)
        vectors[1, 0] = np.float32(0.5) * (twist[2, 1] - twist[1, 2]) / np.float32(0.2)
        vectors[1, 1] = np.float32(0.5) * (twist[0, 2] - twist[2, 0]) / np.float32(0.2)
        vectors[1, 2] = np.float32(0.5) * (twist[1, 0] - twist[0, 1]) / np.float32(0.2)
        at = GLANCE + FEATURES
        for v in range(5):
            for i in range(3):
                total = np.float32(0.0)
                for k in range(3):
                    total += vectors[v, k] * near_now[3 + 3 * k + i]
                out[at + 3 * v + i] = total
        fading = (np.float32(REACH) - min(gap, gap_now)) / np.float32(0.5 * REACH)
        weight[e] = min(max(fading, np.float32(0.0)), np.float32(1.0))
