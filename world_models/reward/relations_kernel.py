"""The features of `world_models.reward.relations` on numpy states, one pair at a time in compiled code.

Sixty array operations cost a millisecond for one state, a loop over pairs a few microseconds. `features` is the slow
twin that this is held to. `no_type_check` keeps the tests' shape checks out of compiled code.
"""

import math
from typing import no_type_check

import numpy as np
from numpy.typing import NDArray

from envs.compiled import kernel
from envs.geometry import quat_to_matrix
from envs.predicates import BIN_WALL, INTERVAL, SQUARE, Frames
from envs.types import Array, ObjectState
from world_models.reward.relations import (
    ANGLE,
    ANGLES,
    COARSE,
    FARTHEST,
    FEATURES,
    FINE,
    LIMIT,
    LIMITED_AT,
    MEASURES,
    STEP,
    Pairs,
)

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
_M, _TURNS = len(MEASURES), len(ANGLES)


def features_fast(state: ObjectState, pairs: Pairs, frames: Frames | None = None) -> NDArray[np.float32]:
    """`[*B L F]` of a numpy state, see `relations.features`."""
    batch, count = state.shape, len(state.names)
    poses = [np.broadcast_to((frames or {})[name], (*batch, 7)).reshape(-1, 7) for name in pairs.frames]
    position = np.asarray(state.position_in_world, np.float64).reshape(-1, count, 3)
    rotation = quat_to_matrix(np.asarray(state.quaternion_in_world, np.float64)).reshape(-1, count, 3, 3)
    far = [np.zeros((len(position), 1, 3)), *(pose[:, None, :3] for pose in poses)]
    identity = np.broadcast_to(np.eye(3), (len(position), 1, 3, 3))
    turned = [identity, *(quat_to_matrix(pose[:, None, 3:]) for pose in poses)]
    rows = _rows(
        np.concatenate([position, *far], axis=1),
        np.concatenate([rotation, *turned], axis=1),
        _flat(state.half_extents, count),
        _flat(state.linear_velocity_in_world, count),
        _flat(state.angular_velocity_in_world, count),
        np.ascontiguousarray(state.confidence, np.float64).reshape(-1, count),
        pairs.a, pairs.b, pairs.frame, pairs.point, pairs.extended[:, 0], pairs.wall, pairs.number,
        pairs.about_hand, pairs.jaws, pairs.gripper,
    )  # fmt: skip
    return np.asarray(rows.reshape(*batch, len(pairs.a), len(FEATURES)), np.float32)


def _flat(array: Array, count: int) -> Floats:
    """`[B K 3]`."""
    return np.ascontiguousarray(array, np.float64).reshape(-1, count, 3)


@kernel()
@no_type_check
def _rows(
    position: Floats, rotation: Floats, half: Floats, v: Floats, w: Floats, sure: Floats, a_of: Indices, b_of: Indices,
    frame_of: Indices, point: Floats, extended: Floats, wall: Floats, number: Floats, about_hand: NDArray[np.bool_],
    jaws: Indices, gripper: int,
) -> NDArray[np.float32]:  # fmt: skip
    """`[B L F]`."""
    worlds, rows, entities = len(position), len(a_of), half.shape[1]
    out = np.zeros((worlds, rows, len(FEATURES)), np.float32)
    m, none = np.zeros(_M), np.zeros(3)
    for n in range(worlds):
        for row in range(rows):
            a, b, f = a_of[row], b_of[row], frame_of[row]
            ra, rb, rf = rotation[n, a], rotation[n, b], rotation[n, f]
            ha, hb = half[n, a], half[n, b] if b < entities and extended[row] > 0 else none
            d0, d1, d2 = position[n, a, 0], position[n, a, 1], position[n, a, 2]
            c = np.empty(3)
            for i in range(3):
                c[i] = position[n, b, i]
                for j in range(3):
                    c[i] += rb[i, j] * point[row, j]
            d0, d1, d2 = d0 - c[0], d1 - c[1], d2 - c[2]
            for i in range(3):
                in_f = rf[0, i] * d0 + rf[1, i] * d1 + rf[2, i] * d2
                in_b = abs(rb[0, i] * d0 + rb[1, i] * d1 + rb[2, i] * d2)
                in_a = abs(ra[0, i] * d0 + ra[1, i] * d1 + ra[2, i] * d2)
                m[i] = in_f
                m[3 + i] = abs(in_f)
                m[6 + i] = hb[i] - wall[row] - in_b
                m[9 + i] = in_b - hb[i]
                m[12 + i] = in_a - ha[i]
                for j in range(3):
                    of_a = abs(rf[0, i] * ra[0, j] + rf[1, i] * ra[1, j] + rf[2, i] * ra[2, j])
                    of_b = abs(rf[0, i] * rb[0, j] + rf[1, i] * rb[1, j] + rf[2, i] * rb[2, j])
                    m[3 + i] -= of_a * ha[j] + of_b * hb[j]
                    m[9 + i] -= abs(rb[0, i] * ra[0, j] + rb[1, i] * ra[1, j] + rb[2, i] * ra[2, j]) * ha[j]
                    m[12 + i] -= abs(ra[0, i] * rb[0, j] + ra[1, i] * rb[1, j] + ra[2, i] * rb[2, j]) * hb[j]
            tallest = max(abs(rb[2, 0]), abs(rb[2, 1]), abs(rb[2, 2]))
            lateral, high_a, high_b = 1.0, 0.0, 0.0
            for i in range(3):
                if abs(rb[2, i]) < tallest:
                    lateral = min(lateral, m[6 + i])
                high_a += abs(ra[2, i]) * ha[i]
                high_b += abs(rb[2, i]) * hb[i]
            bottom = position[n, a, 2] - high_a
            m[15] = lateral
            m[16] = hb[2] - (rb[0, 2] * d0 + rb[1, 2] * d1 + rb[2, 2] * d2)
            m[17] = _gap(m[12], m[13], m[14], m[9], m[10], m[11])
            m[18] = math.sqrt(d0 * d0 + d1 * d1 + d2 * d2)
            m[19] = bottom - (c[2] + (wall[row] - high_b if wall[row] > 0 else high_b))
            m[20] = bottom
            m[21] = INTERVAL * (_norm(v[n, a]) + _norm(w[n, a]) * _norm(half[n, a]))
            if about_hand[row]:
                nearer, farther = math.inf, -math.inf
                for jaw in jaws:
                    gap = _jaw_gap(position[n, a], ra, ha, position[n, jaw], rotation[n, jaw], half[n, jaw])
                    nearer, farther = min(nearer, gap), max(farther, gap)
                m[22], m[23] = nearer, farther
                x, y, z = position[n, a] - position[n, gripper]
                s = w[n, gripper]
                u = v[n, a] - v[n, gripper]
                u[0] -= s[1] * z - s[2] * y
                u[1] -= s[2] * x - s[0] * z
                u[2] -= s[0] * y - s[1] * x
                m[24] = INTERVAL * _norm(u)
            else:
                m[22] = m[23] = m[24] = 0.0
            m[25] = min(abs(ha[0] - ha[1]), abs(hb[0] - hb[1]))
            apart = math.atan2(ra[1, 0], ra[0, 0]) - math.atan2(rb[1, 0], rb[0, 0])
            m[27] = abs(apart - math.pi / 2 * np.round(apart / (math.pi / 2)))
            m[28] = abs(apart - math.pi * np.round(apart / math.pi))
            m[26] = m[27] if m[25] < SQUARE else m[28]
            m[29] = math.atan2(math.sqrt(ra[0, 2] ** 2 + ra[1, 2] ** 2), ra[2, 2])
            _encode(m, number[row], out[n, row])
            k = 2 * _M + len(LIMITED_AT)
            out[n, row, k] = number[row] / 0.05
            for i in range(3):
                out[n, row, k + 1 + i] = ha[i] / 0.02
                out[n, row, k + 4 + i] = hb[i] / 0.02
            out[n, row, k + 7] = wall[row] / BIN_WALL
            out[n, row, k + 8] = sure[n, a]
            out[n, row, k + 9] = sure[n, b] if b < entities else 1.0
            out[n, row, k + 10] = sure[n, f] if f < entities else 1.0
            for i in range(k, k + 11):
                out[n, row, i] = min(max(out[n, row, i], -10.0), 10.0)
    return out


@kernel()
@no_type_check
def _encode(m: Floats, number: float, out: NDArray[np.float32]) -> None:
    """The three views of the measures."""
    for i in range(_M):
        length = m[i] / ANGLE if i >= _M - _TURNS else m[i]
        out[i] = min(max(length / COARSE, -FARTHEST), FARTHEST)
        out[_M + i] = math.tanh(length / FINE)
    for index in range(len(LIMITED_AT)):
        i = LIMITED_AT[index]
        unit = ANGLE if i >= _M - _TURNS else 1.0
        length = abs(m[i]) if i == STEP else m[i]
        out[2 * _M + index] = math.tanh((number - length) / unit / LIMIT)


@kernel()
@no_type_check
def _norm(x: Floats) -> float:
    return math.sqrt(x[0] * x[0] + x[1] * x[1] + x[2] * x[2])


@kernel()
@no_type_check
def _gap(a0: float, a1: float, a2: float, b0: float, b1: float, b2: float) -> float:
    of_a = max(a0, 0.0) ** 2 + max(a1, 0.0) ** 2 + max(a2, 0.0) ** 2
    of_b = max(b0, 0.0) ** 2 + max(b1, 0.0) ** 2 + max(b2, 0.0) ** 2
    return math.sqrt(max(of_a, of_b)) + min(max(a0, a1, a2, b0, b1, b2), 0.0)


@kernel()
@no_type_check
def _jaw_gap(pa: Floats, ra: Floats, ha: Floats, pj: Floats, rj: Floats, hj: Floats) -> float:
    """Of an object and a jaw."""
    of_a, of_j = np.zeros(3), np.zeros(3)
    d = pa - pj
    for i in range(3):
        of_a[i] = abs(ra[0, i] * d[0] + ra[1, i] * d[1] + ra[2, i] * d[2]) - ha[i]
        of_j[i] = abs(rj[0, i] * d[0] + rj[1, i] * d[1] + rj[2, i] * d[2]) - hj[i]
        for j in range(3):
            of_a[i] -= abs(ra[0, i] * rj[0, j] + ra[1, i] * rj[1, j] + ra[2, i] * rj[2, j]) * hj[j]
            of_j[i] -= abs(rj[0, i] * ra[0, j] + rj[1, i] * ra[1, j] + rj[2, i] * ra[2, j]) * ha[j]
    return _gap(of_a[0], of_a[1], of_a[2], of_j[0], of_j[1], of_j[2])
