"""Compiled CPU twin of `contact_geometry` and `edges.see`: all pairs of a batch in one pass over rows of numbers.

Rows: a pose is position and rotation row by row (12), a velocity is linear, angular and linear at the end of the step
(9). Row `b (N + S) + j` is object j of scene b for j < N, then the effector's S solids. `no_type_check` keeps the
tests' shape checks out of compiled code.
"""

from typing import no_type_check

import numpy as np

from envs.compiled import kernel
from envs.types import Array
from world_models.cjepa.contact_geometry import (
    FEATURES,
    FEET,
    FINE,
    GLANCE,
    GRAVITY,
    ORDER,
    POINTS,
    RIM,
    SCALE,
    SKIN,
    SUNK,
    TREADS,
    WEDGES,
)

SLACK, LEVER, CHAIN = 0.03, 2.0, 2
"""[m/s], factor and number: an object's impetus, that is the speed that has its kinetic energy without spin, may exceed
by so much that of objects near it, or so many times the speed of an effector that squeezes it, or both through a chain
of so many others. Of 27,000 steps of moving objects in play, 1 in 2,000 exceeds that, by 33 mm/s."""
SLOW, TURNING, AIRBORNE = 5e-3, 5e-2, 2e-3
"""[m/s], [rad/s], [m] an object below these rests on the table, and stays where it is while nothing near it moves. A
cube this slow slides a hundredth of a millimetre."""


@kernel(fastmath=True)
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


@kernel(fastmath=True)
@no_type_check
def _lowest(pose: Array, core: Array, radius: Array) -> Array:
    low = pose[2] - radius * np.sqrt(max(np.float32(0.0), np.float32(1.0) - pose[11] * pose[11]))
    for i in range(3):
        low -= abs(pose[9 + i]) * core[i]
    return low


@kernel(fastmath=True)
@no_type_check
def _moves(motion: Array) -> bool:
    """Whether a solid moves now or at the end of the step."""
    speed = np.float32(0.0)
    spin = np.float32(0.0)
    final = np.float32(0.0)
    for i in range(3):
        speed += motion[i] * motion[i]
        spin += motion[3 + i] * motion[3 + i]
        final += motion[6 + i] * motion[6 + i]
    return speed > SLOW * SLOW or spin > TURNING * TURNING or final > SLOW * SLOW


@kernel(fastmath=True)
@no_type_check
def near(
    now: Array,
    after: Array,
    half: Array,
    radius: Array,
    motion: Array,
    present: Array,
    between_bodies: bool,
    reach: float,
    margin: float,
    known_margin: float,
) -> tuple[Array, Array, Array, Array]:
    """Who may move within the step, and of whom each may feel something.

    Objects `b N + i` that are awake, for they or a solid near them moves, or they are in the air; of every pair the
    receiver as an index into those, the sender as a row and as an index into the awake ones followed by the effector's
    solids and one for all that sleep.
    """
    batch, entities = present.shape
    senders = now.shape[0] // batch
    awake = np.empty(batch * entities, np.int64)
    index = np.full(batch * entities, -1, np.int64)
    receiver = np.empty(batch * entities * senders, np.int64)
    sender = np.empty(batch * entities * senders, np.int64)
    count = 0
    pairs = 0
    for b in range(batch):
        for i in range(entities):
            if not present[b, i] > 0:
                continue
            row = b * senders + i
            first = pairs
            stirred = _moves(motion[row]) or _lowest(now[row], half[row], radius[row]) > AIRBORNE
            for j in range(senders):
                known = j >= entities
                if j == i or (not known and (not between_bodies or not present[b, j] > 0)):
                    continue
                other = b * senders + j
                round_ = radius[row] + radius[other]
                gap = _gap(now[row], half[row], now[other], half[other])
                if known:
                    gap = min(gap, _gap(now[row], half[row], after[other], half[other]))
                if gap - round_ < reach + (known_margin if known else margin):
                    receiver[pairs] = count
                    sender[pairs] = other
                    pairs += 1
                    stirred = stirred or _moves(motion[other])
            if stirred:
                awake[count] = b * entities + i
                index[b * entities + i] = count
                count += 1
            else:
                pairs = first
    who = np.empty(pairs, np.int64)
    for e in range(pairs):
        b, j = sender[e] // senders, sender[e] % senders
        if j >= entities:
            who[e] = count + j - entities
        else:
            other = index[b * entities + j]
            who[e] = other if other >= 0 else count + senders - entities
    return awake[:count].copy(), receiver[:pairs].copy(), sender[:pairs].copy(), who


@kernel(fastmath=True)
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


@kernel(fastmath=True)
@no_type_check
def _clamped(value: Array) -> Array:
    return min(max(value / np.float32(SCALE), np.float32(-2.0)), np.float32(2.0))


@kernel(fastmath=True)
@no_type_check
def _touching(gap: Array) -> Array:
    return np.float32(1.0) / (np.float32(1.0) + np.exp(gap / np.float32(SKIN)))


@kernel(fastmath=True)
@no_type_check
def _glance(offset: Array, gaps: Array, gap: Array, round_: Array, out: Array) -> None:
    for i in range(3):
        out[i] = offset[0, i] / np.float32(0.05)
        out[3 + i] = _clamped(gaps[0, i] - round_)
        out[6 + i] = _clamped(gaps[1, i] - round_)
    out[9] = _touching(gap - round_)


@kernel(fastmath=True)
@no_type_check
def _most_upright(pose: Array) -> int:
    best = 0
    for i in range(1, 3):
        if abs(pose[9 + i]) > abs(pose[9 + best]):
            best = i
    return best


@kernel(fastmath=True)
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


@kernel(fastmath=True)
@no_type_check
def _way_out(point: Array, half: Array, out: Array) -> None:
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
def _facing(a: Array, half: Array, radius: Array, b: Array) -> tuple[Array, Array]:
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
def _relabel(pose: Array, c: Array, s: Array, out: Array) -> None:
    """A pose with axes turned about the object's own z."""
    for i in range(3):
        out[i] = pose[i]
        x, y = pose[3 + 3 * i], pose[4 + 3 * i]
        out[3 + 3 * i] = c * x + s * y
        out[4 + 3 * i] = c * y - s * x
        out[5 + 3 * i] = pose[5 + 3 * i]


@kernel(fastmath=True)
@no_type_check
def see(
    now: Array,
    after: Array,
    half: Array,
    radius: Array,
    velocity: Array,
    receiver: Array,
    sender: Array,
    reach: float,
    shift_unit: float,
    turn_unit: float,
    seen: Array,
    wedges: Array,
    weight: Array,
    facing: Array,
) -> None:
    """Fill `seen` `[E S]`, `wedges` `[E C 6]`, `weight` `[E]` and `facing` `[E 2]`; receivers are rows like senders."""
    across = np.empty((3, 3), np.float32)
    offset = np.empty((2, 3), np.float32)
    gaps = np.empty((2, 3), np.float32)
    place = np.empty((4, 3), np.float32)
    distance = np.empty(4, np.float32)
    key = np.empty(4, np.float32)
    local = np.empty((4, 3), np.float32)
    away = np.empty(3, np.float32)
    box, own_half = np.empty(3, np.float32), np.empty(3, np.float32)
    into = np.empty((3, 3), np.float32)
    meeting, other = np.empty(3, np.float32), np.empty(3, np.float32)
    slip = np.empty(3, np.float32)
    across_now, offset_now = np.empty((3, 3), np.float32), np.empty((2, 3), np.float32)
    normal = np.empty(3, np.float32)
    twist = np.empty((3, 3), np.float32)
    vectors = np.empty((5, 3), np.float32)
    near_now, near_after, near_half = np.empty(12, np.float32), np.empty(12, np.float32), np.empty(3, np.float32)
    shift_scale, turn_scale = np.float32(shift_unit), np.float32(0.5 / turn_unit)
    for e in range(len(receiver)):
        r, s = receiver[e], sender[e]
        out = seen[e]
        cosine, sine = _facing(now[r], half[r], radius[r], now[s])
        facing[e, 0] = cosine
        facing[e, 1] = sine
        _relabel(now[r], cosine, sine, near_now)
        _relabel(after[r], cosine, sine, near_after)
        swapped = abs(sine) > 0.5
        near_half[0] = half[r, 1] if swapped else half[r, 0]
        near_half[1] = half[r, 0] if swapped else half[r, 1]
        near_half[2] = half[r, 2]
        round_ = radius[r] + radius[s]
        size = np.float32(1e-6) + np.float32(0.5) * radius[r] * radius[r]
        for i in range(3):
            size += np.float32(2.0 / 9.0) * near_half[i] * near_half[i]
        gap_now = _relate(near_now, near_half, now[s], half[s], across_now, offset_now, gaps)
        _glance(offset_now, gaps, gap_now, round_, out)
        gap = _relate(near_after, near_half, after[s], half[s], across, offset, gaps)
        _glance(offset, gaps, gap, round_, out[GLANCE:])
        at = 2 * GLANCE
        for i in range(3):
            for j in range(3):
                out[at + 3 * i + j] = across[i, j]
        at += 9
        depth_at = at + 2 * POINTS * 3
        for side in range(2):
            for i in range(3):
                box[i] = near_half[i] if side == 0 else half[s, i]
                own_half[i] = half[s, i] if side == 0 else near_half[i]
            u = _most_upright(after[s] if side == 0 else near_after)
            v, w = (u + 1) % 3, (u + 2) % 3
            for i in range(3):
                for j in range(3):
                    into[i, j] = across[i, j] if side == 0 else across[j, i]
            for c in range(4):
                x = own_half[v] if c & 2 else -own_half[v]
                y = own_half[w] if c & 1 else -own_half[w]
                height = np.float32(0.0)
                for i in range(3):
                    local[c, i] = offset[side, i] + into[i, v] * x + into[i, w] * y
                    height -= local[c, i] * into[i, u]
                height = min(max(height, -own_half[u]), own_half[u])
                for i in range(3):
                    local[c, i] += into[i, u] * height
                    place[c, i] = local[c, i]
                if side == 1:
                    place[c, u], place[c, v], place[c, w] = height, x, y
                distance[c] = _box_distance(local[c], box) - round_
                key[c] = distance[c] + np.float32(ORDER) * place[c, 1]
            for n in range(POINTS):
                best = 0
                for c in range(1, 4):
                    if key[c] < key[best]:
                        best = c
                key[best] = np.float32(1e9)
                for i in range(3):
                    out[at + side * 3 * POINTS + i * POINTS + n] = place[best, i] / np.float32(0.05)
                out[depth_at + side * POINTS + n] = _clamped(distance[best])
                out[depth_at + 2 * POINTS + side * POINTS + n] = _touching(distance[best])
                fine = distance[best] / np.float32(FINE)
                out[depth_at + 4 * POINTS + side * POINTS + n] = min(max(fine, np.float32(-2.0)), np.float32(2.0))
                wedge = wedges[e, side * POINTS + n]
                drag = wedges[e, 2 * POINTS + side * POINTS + n]
                if distance[best] >= 0:
                    wedge[:] = np.float32(0.0)
                    drag[:] = np.float32(0.0)
                    continue
                _way_out(local[best], box, away)
                for i in range(3):
                    if side == 0:
                        normal[i] = -away[i]
                    else:
                        normal[i] = across[i, 0] * away[0] + across[i, 1] * away[1] + across[i, 2] * away[2]
                for i in range(3):
                    u, v = (i + 1) % 3, (i + 2) % 3
                    arm = place[best, u] * normal[v] - place[best, v] * normal[u]
                    wedge[i] = -distance[best] * normal[i] / shift_scale
                    wedge[3 + i] = -distance[best] * arm / size / np.float32(turn_unit)
                surface = radius[s] if side == 0 else -radius[r]
                for i in range(3):
                    meeting[i] = place[best, i] + surface * normal[i]
                for i in range(3):
                    other[i] = np.float32(0.0)
                    for j in range(3):
                        other[i] += across[j, i] * (meeting[j] - offset[0, j])
                along = np.float32(0.0)
                for i in range(3):
                    slip[i] = meeting[i] - offset_now[0, i]
                    for j in range(3):
                        slip[i] -= across_now[i, j] * other[j]
                    along += slip[i] * normal[i]
                square = np.float32(1e-12)
                for i in range(3):
                    slip[i] -= along * normal[i]
                    square += slip[i] * slip[i]
                shared = min(-distance[best] / np.sqrt(square), np.float32(1.0))
                for i in range(3):
                    slip[i] *= shared
                for i in range(3):
                    u, v = (i + 1) % 3, (i + 2) % 3
                    arm = meeting[u] * slip[v] - meeting[v] * slip[u]
                    drag[i] = slip[i] / shift_scale
                    drag[3 + i] = arm / size / np.float32(turn_unit)
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
            vectors[0, i] = shift / shift_scale
            vectors[2, i] = (velocity[s, i] - velocity[r, i]) / np.float32(0.3)
            vectors[3, i] = velocity[s, 3 + i] / np.float32(3.0)
            vectors[4, i] = velocity[s, 6 + i] / np.float32(0.3)
        vectors[1, 0] = turn_scale * (twist[2, 1] - twist[1, 2])
        vectors[1, 1] = turn_scale * (twist[0, 2] - twist[2, 0])
        vectors[1, 2] = turn_scale * (twist[1, 0] - twist[0, 1])
        at = GLANCE + FEATURES
        for v in range(5):
            for i in range(3):
                total = np.float32(0.0)
                for k in range(3):
                    total += vectors[v, k] * near_now[3 + 3 * k + i]
                out[at + 3 * v + i] = total
        fading = (np.float32(reach) - (min(gap, gap_now) - round_)) / np.float32(0.5 * reach)
        weight[e] = min(max(fading, np.float32(0.0)), np.float32(1.0))


@kernel(fastmath=True)
@no_type_check
def lay_out(
    state: Array, solid: Array, solid_after: Array, velocity: Array, velocity_after: Array, period: float,
    entities: int, now: Array, after: Array, motion: Array,
) -> None:  # fmt: skip
    """Fill the rows `now`, `after` `[M 12]` and `motion` `[M 9]`.

    From objects `state` `[B N 18]` (pose, velocities) and the effector's solids `[B S 12]` with their velocities
    `[B S 3]`, at both ends of the step.
    """
    batch, solids = solid.shape[:2]
    senders = entities + solids
    for b in range(batch):
        for j in range(entities):
            row, own = b * senders + j, state[b * entities + j]
            for i in range(12):
                now[row, i] = own[i]
                after[row, i] = own[i]
            for i in range(6):
                motion[row, i] = own[12 + i]
            for i in range(3):
                motion[row, 6 + i] = own[12 + i]
        for j in range(solids):
            row = b * senders + entities + j
            for i in range(12):
                now[row, i] = solid[b, j, i]
                after[row, i] = solid_after[b, j, i]
            for i in range(3):
                motion[row, i] = velocity[b, j, i]
                motion[row, 6 + i] = velocity_after[b, j, i]
            for i in range(3):
                # The axial vector of (after now^T - its transpose) / 2.
                u, v = (i + 2) % 3, (i + 1) % 3
                total = np.float32(0.0)
                for k in range(3):
                    total += after[row, 3 + 3 * u + k] * now[row, 3 + 3 * v + k]
                    total -= after[row, 3 + 3 * v + k] * now[row, 3 + 3 * u + k]
                motion[row, 3 + i] = np.float32(0.5) * total / np.float32(period)


@kernel(fastmath=True)
@no_type_check
def _height(height: Array, out: Array) -> None:
    out[0] = _clamped(height)
    out[1] = _touching(height)


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
        height = _lowest(own, rest[3:6], rest[6])
        _height(height, out[14:])
        _height(height - np.float32(0.028), out[16:])
        out[18] = rest[7]
        out[19] = rest[8]
        out[20] = rest[9]


@kernel(fastmath=True)
@no_type_check
def _turned(own: Array, x: Array, y: Array, z: Array, out: Array) -> None:
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
def _move(own: Array, delta: Array, shift: Array, turn: Array, out: Array) -> None:
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
    _turned(own, rotate[0], rotate[1], rotate[2], out)


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
        _move(own, delta[a], np.float32(shift), np.float32(turn), after[row[a]])
        _stand(own, after[row[a]], rest[3:6], rest[6], np.float32(shift), np.float32(turn), standing[a], treads[a])


@kernel(fastmath=True)
@no_type_check
def _stand(
    now: Array, after: Array, core: Array, radius: Array, shift: Array, turn: Array, seen: Array, treads: Array
) -> None:
    u = _most_upright(after)
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
        seen[n] = _clamped(height)
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
def _gyration(core: Array, radius: Array) -> Array:
    size = np.float32(1e-6) + np.float32(0.5) * radius * radius
    for i in range(3):
        size += np.float32(2.0 / 9.0) * core[i] * core[i]
    return np.sqrt(size)


@kernel(fastmath=True)
@no_type_check
def _norm(vector: Array) -> Array:
    return np.sqrt(vector[0] * vector[0] + vector[1] * vector[1] + vector[2] * vector[2])


@kernel(fastmath=True)
@no_type_check
def _impetus(velocity: Array, spin: Array, gyration: Array) -> Array:
    linear, angular = _norm(velocity), gyration * _norm(spin)
    return np.sqrt(linear * linear + angular * angular)


@kernel(fastmath=True)
@no_type_check
def _after_fall(speed: Array, fall: Array, falling: Array) -> Array:
    """What a speed becomes by a fall, which counts as far as free fall is possible."""
    height = min(max(fall, np.float32(0.0)), falling)
    return np.sqrt(speed * speed + np.float32(2.0 * GRAVITY) * height)


@kernel(fastmath=True)
@no_type_check
def restrain(
    state: Array, fixed: Array, awake: Array, row: Array, receiver: Array, sender: Array, who: Array, motion: Array,
    half: Array, radius: Array, period: float, deep: float, units: tuple[float, float, float, float], delta: Array,
) -> None:  # fmt: skip
    """Make `delta` `[A 12]` possible, as `ContactModel._restrained` does; `units` are its four."""
    step, bottom = np.float32(period), np.float32(deep)
    zero, one = np.float32(0.0), np.float32(1.0)
    most = np.empty(len(awake), np.float32)
    moved, after = np.empty((4, 3), np.float32), np.empty(12, np.float32)
    for a in range(len(awake)):
        own = motion[row[a]]
        most[a] = _impetus(own, own[3:6], _gyration(half[row[a]], radius[row[a]]))
    for e in range(len(receiver)):
        s = sender[e]
        other = motion[s]
        if who[e] >= len(awake):
            speed = max(_norm(other), _norm(other[6:])) + _norm(other[3:6]) * (_norm(half[s]) + radius[s])
            most[receiver[e]] = max(most[receiver[e]], np.float32(LEVER) * speed)
    for _ in range(CHAIN):
        before = most.copy()
        for e in range(len(receiver)):
            if who[e] < len(awake):
                most[receiver[e]] = max(most[receiver[e]], before[who[e]])
    for a in range(len(awake)):
        own, rest = state[awake[a]], fixed[awake[a]]
        for part in range(4):
            for i in range(3):
                total = zero
                for k in range(3):
                    total += own[3 + 3 * i + k] * delta[a, 3 * part + k]
                moved[part, i] = np.float32(units[part]) * total
        falling = max(-own[14], zero) * step + np.float32(0.5 * GRAVITY) * step * step
        fastest = most[a] + np.float32(SLACK)
        allowed = _after_fall(fastest, -moved[0, 2], falling)
        size = _gyration(rest[3:6], rest[6])
        far = min(step * allowed / max(_impetus(moved[0], moved[1], size), np.float32(1e-9)), one)
        for i in range(3):
            moved[0, i] *= far
            moved[1, i] *= far
            moved[2, i] += own[12 + i]
            moved[3, i] += own[15 + i]
            after[i] = own[i] + moved[0, i]
        _turned(own, moved[1, 0], moved[1, 1], moved[1, 2], after)
        moved[0, 2] += max(-bottom - _lowest(after, rest[3:6], rest[6]), zero)
        allowed = _after_fall(fastest, -moved[0, 2], falling)
        share = min(allowed / max(_impetus(moved[2], moved[3], size), np.float32(1e-9)), one)
        for i in range(3):
            moved[2, i] = share * moved[2, i] - own[12 + i]
            moved[3, i] = share * moved[3, i] - own[15 + i]
        for part in range(4):
            for i in range(3):
                total = zero
                for k in range(3):
                    total += own[3 + 3 * k + i] * moved[part, k]
                delta[a, 3 * part + i] = total / np.float32(units[part])


@kernel(fastmath=True)
@no_type_check
def advance(
    state: Array, awake: Array, delta: Array, shift: float, turn: float, faster: float, spin: float, out: Array
) -> None:
    """Fill `out` `[M 18]` with the state a step later."""
    out[:] = state
    for a in range(len(awake)):
        own, new = state[awake[a]], out[awake[a]]
        _move(own, delta[a], np.float32(shift), np.float32(turn), new)
        for i in range(3):
            linear = np.float32(0.0)
            angular = np.float32(0.0)
            for k in range(3):
                linear += own[3 + 3 * i + k] * delta[a, 6 + k]
                angular += own[3 + 3 * i + k] * delta[a, 9 + k]
            new[12 + i] = own[12 + i] + np.float32(faster) * linear
            new[15 + i] = own[15 + i] + np.float32(spin) * angular


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
def gather(receiver: Array, who: Array, from_receiver: Array, from_sender: Array, first: Array) -> None:
    """Add both ends' rows to `first` `[E H]`."""
    for e in range(len(receiver)):
        row, a, b = first[e], from_receiver[receiver[e]], from_sender[who[e]]
        for i in range(row.shape[0]):
            row[i] += a[i] + b[i]


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
def collect(
    said: Array, seen: Array, wedges: Array, weight: Array, facing: Array, receiver: Array, width: int, total: Array
) -> None:
    """Sum what is said to each receiver into `total` `[A W+12]`, its vectors turned into the receiver's axes."""
    carried = GLANCE + FEATURES
    for e in range(len(receiver)):
        row, out, w = said[e], total[receiver[e]], weight[e]
        for i in range(width):
            out[i] += w * row[i]
        c, s = facing[e, 0], facing[e, 1]
        for part in range(4):
            at = width + 2 + 4 * WEDGES + 3 * part
            x, y, z = row[at], row[at + 1], row[at + 2]
            for k in range(WEDGES):
                share = row[width + 2 + 4 * k + part]
                x += share * wedges[e, k, 3 * (part % 2)]
                y += share * wedges[e, k, 3 * (part % 2) + 1]
                z += share * wedges[e, k, 3 * (part % 2) + 2]
            if part < 2:
                gate = row[width + part]
                x += gate * seen[e, carried + 3 * part]
                y += gate * seen[e, carried + 3 * part + 1]
                z += gate * seen[e, carried + 3 * part + 2]
            at = width + 3 * part
            out[at] += w * (c * x - s * y)
            out[at + 1] += w * (s * x + c * y)
            out[at + 2] += w * z


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
