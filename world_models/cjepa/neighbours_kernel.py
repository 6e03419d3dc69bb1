"""Who is near whom: objects and the effector's solids as rows of numbers, and the pairs that may touch.

A velocity is a row of 9: linear, angular, and linear at the end of the step. Row `b (N + S) + j` is object j of scene b
for j < N, then the effector's S solids.
"""

from typing import no_type_check

import numpy as np

from envs.compiled import kernel
from envs.types import Array
from world_models.cjepa.geometry_kernel import lowest, separation

SLOW, TURNING, AIRBORNE = 5e-3, 5e-2, 2e-3
"""[m/s], [rad/s], [m] an object below these rests on the table, and stays where it is while nothing near it moves. A
cube this slow slides a hundredth of a millimetre."""


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
            stirred = _moves(motion[row]) or lowest(now[row], half[row], radius[row]) > AIRBORNE
            for j in range(senders):
                known = j >= entities
                if j == i or (not known and (not between_bodies or not present[b, j] > 0)):
                    continue
                other = b * senders + j
                round_ = radius[row] + radius[other]
                gap = separation(now[row], half[row], now[other], half[other])
                if known:
                    gap = min(gap, separation(now[row], half[row], after[other], half[other]))
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
