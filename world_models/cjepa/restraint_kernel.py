"""Compiled twin of `restraint.restrained`."""

from typing import no_type_check

import numpy as np

from envs.compiled import kernel
from envs.types import Array
from world_models.cjepa.contact_geometry import GRAVITY
from world_models.cjepa.geometry_kernel import lowest, turned
from world_models.cjepa.restraint import CHAIN, LEVER, SLACK


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
        turned(own, moved[1, 0], moved[1, 1], moved[1, 2], after)
        moved[0, 2] += max(-bottom - lowest(after, rest[3:6], rest[6]), zero)
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
