"""What `Ahead` computes between matrix products, compiled: one pass over rows for all members and plans.

Rows as in `motion_kernel`, R = E B: those of E members follow one another.
"""

import math
from typing import no_type_check

import numpy as np

from envs.compiled import kernel
from envs.types import Array

_SQUARINGS = 14
"""A second eigenvalue a thousandth below the first has vanished after as many."""


@kernel(fastmath=True)
@no_type_check
def lead(
    position: Array, velocity: Array, before: Array, command: Array, rates: float, gain: float, inputs: Array
) -> None:
    """Fill the first 4 J of `inputs` `[R I]` from joints and commands, last and coming, all `[R J]`."""
    rows, joints = position.shape
    for r in range(rows):
        for j in range(joints):
            inputs[r, j] = position[r, j]
            inputs[r, joints + j] = velocity[r, j] / np.float32(rates)
            inputs[r, 2 * joints + j] = np.float32(gain) * (command[r, j] - position[r, j])
            inputs[r, 3 * joints + j] = np.float32(gain) * (before[r, j] - position[r, j])


@kernel(fastmath=True)
@no_type_check
def obey(moved: Array, period: float, rates: float, position: Array, velocity: Array) -> None:
    """Change joints `[R J]` by what `Embodiment` says `[R 2 J]`."""
    joints = position.shape[1]
    scale = np.float32(rates / 3.0)
    for r in range(position.shape[0]):
        for j in range(joints):
            position[r, j] += np.float32(period) * scale * moved[r, j]
            velocity[r, j] += scale * moved[r, joints + j]


@kernel(fastmath=True)
@no_type_check
def tell(scene: Array, nearness: Array, said: Array, start: int, message: Array) -> None:
    """Add what is said `[R M]`, weighted, to columns `start` and on of each scene's row of `message`."""
    for r in range(len(scene)):
        out = message[scene[r], start:]
        for i in range(said.shape[1]):
            out[i] += nearness[r] * said[r, i]


@kernel(fastmath=True)
@no_type_check
def address(receiver: Array, who: Array, ends: Array, from_body: Array, from_known: Array, first: Array) -> None:
    """Add both ends' rows to `first` `[P H]`, as `gather` does for one member.

    `from_body` `[A 2 H]` is an object's as receiver and as sender. `ends` `[E]` say where each member's pairs end; who
    is no object is the robot's, `from_known` `[E S+1 H]`.
    """
    member = 0
    count, size = from_body.shape[0], first.shape[1]
    for p in range(len(receiver)):
        while p >= ends[member]:
            member += 1
        row, a, w = first[p], from_body[receiver[p]], who[p]
        b = from_body[w, size:] if w < count else from_known[member, w - count]
        for i in range(size):
            row[i] += a[i] + b[i]


@kernel()
@no_type_check
def _quaternion(m: Array, q: Array) -> None:
    """Shepperd's method, see `envs.geometry.matrix_to_quat`; `m` are 9 numbers, row by row."""
    trace = m[0] + m[4] + m[8]
    best, largest = 0, trace
    for i in range(3):
        if m[4 * i] > largest:
            best, largest = i + 1, m[4 * i]
    if best == 0:
        q[0], q[1], q[2], q[3] = 1.0 + trace, m[7] - m[5], m[2] - m[6], m[3] - m[1]
    elif best == 1:
        q[0], q[1], q[2], q[3] = m[7] - m[5], 1.0 + m[0] - m[4] - m[8], m[3] + m[1], m[2] + m[6]
    elif best == 2:
        q[0], q[1], q[2], q[3] = m[2] - m[6], m[3] + m[1], 1.0 - m[0] + m[4] - m[8], m[7] + m[5]
    else:
        q[0], q[1], q[2], q[3] = m[3] - m[1], m[2] + m[6], m[7] + m[5], 1.0 - m[0] - m[4] + m[8]
    _normalise(q)


@kernel()
@no_type_check
def _normalise(q: Array) -> None:
    norm = math.sqrt(q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3])
    if q[0] < 0:
        norm = -norm
    for i in range(4):
        q[i] /= norm


@kernel()
@no_type_check
def _nearest(quaternions: Array, q: Array) -> None:
    """The rotation nearest to all `[E 4]` in the least-squares sense of their matrices.

    That is the eigenvector of the largest eigenvalue of the sum of q q^T (Markley et al. 2007): of two, their sum; of
    more, a column of a high power of that matrix, squared again and again.
    """
    members = quaternions.shape[0]
    for i in range(4):
        q[i] = quaternions[0, i]
    if members == 2:
        dot = 0.0
        for i in range(4):
            dot += q[i] * quaternions[1, i]
        for i in range(4):
            q[i] += quaternions[1, i] if dot >= 0 else -quaternions[1, i]
    elif members > 2:
        power, square = np.zeros((4, 4)), np.empty((4, 4))
        for e in range(members):
            for i in range(4):
                for k in range(4):
                    power[i, k] += quaternions[e, i] * quaternions[e, k]
        for _ in range(_SQUARINGS):
            trace = power[0, 0] + power[1, 1] + power[2, 2] + power[3, 3]
            for i in range(4):
                for k in range(4):
                    square[i, k] = 0.0
                    for n in range(4):
                        square[i, k] += power[i, n] * power[n, k] / (trace * trace)
            power[:] = square
        best = 0
        for i in range(1, 4):
            if power[i, i] > power[best, best]:
                best = i
        for i in range(4):
            q[i] = power[i, best]
    _normalise(q)


@kernel()
@no_type_check
def average(
    states: Array, members: int, plan: Array, labels: Array, present: Array, index: Array, time: int, position: Array,
    quaternion: Array, linear: Array, angular: Array, spread: Array,
) -> None:  # fmt: skip
    """The members' mean of objects `[E B N 18]` (as rows) into entities `index` `[N]` of `[B T K ...]` at one time.

    The b-th of a member's rows follows `plan` `[B]`. `labels` `[B N 9]` undo the relabelling of body axes. Absent
    objects stay as they are.
    """
    plans, entities = present.shape
    turned, each, q = np.empty(9), np.empty((members, 4)), np.empty(4)
    for b in range(plans):
        out = plan[b]
        for j in range(entities):
            if not present[b, j] > 0:
                continue
            k = index[j]
            for e in range(members):
                own = states[(e * plans + b) * entities + j]
                for i in range(3):
                    position[out, time, k, i] += own[i] / members
                    linear[out, time, k, i] += own[12 + i] / members
                    angular[out, time, k, i] += own[15 + i] / members
                    for c in range(3):
                        turned[3 * i + c] = 0.0
                        for n in range(3):
                            turned[3 * i + c] += own[3 + 3 * i + n] * labels[b, j, 3 * c + n]
                _quaternion(turned, each[e])
            _nearest(each, q)
            for i in range(4):
                quaternion[out, time, k, i] = q[i]
            square = 0.0
            for e in range(members):
                own = states[(e * plans + b) * entities + j]
                for i in range(3):
                    square += (own[i] - position[out, time, k, i]) ** 2
            spread[out, time, k] = math.sqrt(square / members)


@kernel()
@no_type_check
def trail(
    poses: Array, plan: Array, index: Array, period: float, position: Array, quaternion: Array, linear: Array,
    angular: Array,
) -> None:  # fmt: skip
    """Write the robot's entities `[B T E 12]` from time 1 on, with velocities by difference; see `imagination`.

    The b-th of a member's rows follows `plan` `[B]`.
    """
    plans, times, parts = poses.shape[:3]
    for b in range(plans):
        out = plan[b]
        for t in range(1, times):
            for p in range(parts):
                k, now, before = index[p], poses[b, t, p], poses[b, t - 1, p]
                for i in range(3):
                    position[out, t, k, i] = now[i]
                    linear[out, t, k, i] = (now[i] - before[i]) / period
                    # The axial vector of (now before^T - its transpose) / 2.
                    u, v = (i + 2) % 3, (i + 1) % 3
                    total = 0.0
                    for c in range(3):
                        total += now[3 + 3 * u + c] * before[3 + 3 * v + c] - now[3 + 3 * v + c] * before[3 + 3 * u + c]
                    angular[out, t, k, i] = 0.5 * total / period
                _quaternion(now[3:], quaternion[out, t, k])
