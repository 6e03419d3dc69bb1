"""Compiled twin of `edges.see`: what all pairs of a batch see of one another, in one pass."""

from typing import no_type_check

import numpy as np

from envs.compiled import kernel
from envs.types import Array
from world_models.cjepa.contact_geometry import FEATURES, FINE, GLANCE, ORDER, POINTS
from world_models.cjepa.geometry_kernel import (
    box_distance,
    clamped,
    facing_of,
    glance,
    most_upright,
    relabel,
    relate,
    touching,
    way_out,
)


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
        cosine, sine = facing_of(now[r], half[r], radius[r], now[s])
        facing[e, 0] = cosine
        facing[e, 1] = sine
        relabel(now[r], cosine, sine, near_now)
        relabel(after[r], cosine, sine, near_after)
        swapped = abs(sine) > 0.5
        near_half[0] = half[r, 1] if swapped else half[r, 0]
        near_half[1] = half[r, 0] if swapped else half[r, 1]
        near_half[2] = half[r, 2]
        round_ = radius[r] + radius[s]
        size = np.float32(1e-6) + np.float32(0.5) * radius[r] * radius[r]
        for i in range(3):
            size += np.float32(2.0 / 9.0) * near_half[i] * near_half[i]
        gap_now = relate(near_now, near_half, now[s], half[s], across_now, offset_now, gaps)
        glance(offset_now, gaps, gap_now, round_, out)
        gap = relate(near_after, near_half, after[s], half[s], across, offset, gaps)
        glance(offset, gaps, gap, round_, out[GLANCE:])
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
            u = most_upright(after[s] if side == 0 else near_after)
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
                distance[c] = box_distance(local[c], box) - round_
                key[c] = distance[c] + np.float32(ORDER) * place[c, 1]
            for n in range(POINTS):
                best = 0
                for c in range(1, 4):
                    if key[c] < key[best]:
                        best = c
                key[best] = np.float32(1e9)
                for i in range(3):
                    out[at + side * 3 * POINTS + i * POINTS + n] = place[best, i] / np.float32(0.05)
                out[depth_at + side * POINTS + n] = clamped(distance[best])
                out[depth_at + 2 * POINTS + side * POINTS + n] = touching(distance[best])
                fine = distance[best] / np.float32(FINE)
                out[depth_at + 4 * POINTS + side * POINTS + n] = min(max(fine, np.float32(-2.0)), np.float32(2.0))
                wedge = wedges[e, side * POINTS + n]
                drag = wedges[e, 2 * POINTS + side * POINTS + n]
                if distance[best] >= 0:
                    wedge[:] = np.float32(0.0)
                    drag[:] = np.float32(0.0)
                    continue
                way_out(local[best], box, away)
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
