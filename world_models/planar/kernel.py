"""Compiled CPU twin of `geometry.touch_features` and `smallest_gap`: one pass over rows instead of forty calls.

A pose row is centroid x, y and angle. `no_type_check` keeps the tests' shape checks out of compiled code.
"""

import math
from typing import no_type_check

import numpy as np
from numba import njit

from envs.types import Array
from world_models.planar.geometry import LENGTH, SCALE, SKIN, TOUCH


@njit(cache=True, fastmath=True, nogil=True)
@no_type_check
def near(start: Array, end: Array, pose: Array, parts: Array, radius: float, margin: float) -> Array:
    """Rows whose circle, at the start or the end of its way, is nearer to a part than the margin."""
    rows = np.empty(len(pose), np.int64)
    count = 0
    for n in range(len(pose)):
        cosine, sine = math.cos(pose[n, 2]), math.sin(pose[n, 2])
        smallest = np.float32(1e9)
        for k in range(2):
            place = start if k == 0 else end
            x, y = place[n, 0] - pose[n, 0], place[n, 1] - pose[n, 1]
            u, v = cosine * x + sine * y, cosine * y - sine * x
            for p in range(len(parts)):
                a = max(abs(u - parts[p, 0]) - parts[p, 2], np.float32(0.0))
                b = max(abs(v - parts[p, 1]) - parts[p, 3], np.float32(0.0))
                smallest = min(smallest, a * a + b * b)
        if math.sqrt(smallest) - radius < margin:
            rows[count] = n
            count += 1
    return rows[:count].copy()


@njit(cache=True, fastmath=True, nogil=True)
@no_type_check
def touch(start: Array, end: Array, pose: Array, parts: Array, radius: float) -> tuple[Array, Array, Array]:
    """Features `[N P F]`, gap at the end and smaller gap of both ends `[N P]`, as `geometry.touch_features` says."""
    seen = np.empty((len(pose), len(parts), TOUCH), np.float32)
    at_end = np.empty((len(pose), len(parts)), np.float32)
    closest = np.empty((len(pose), len(parts)), np.float32)
    for n in range(len(pose)):
        cosine, sine = math.cos(pose[n, 2]), math.sin(pose[n, 2])
        x, y = (end[n, 0] - start[n, 0]) / SCALE, (end[n, 1] - start[n, 1]) / SCALE
        along, across = cosine * x + sine * y, cosine * y - sine * x
        for p in range(len(parts)):
            for k in range(2):
                place = end if k == 0 else start
                x, y = place[n, 0] - pose[n, 0], place[n, 1] - pose[n, 1]
                u = cosine * x + sine * y - parts[p, 0]
                v = cosine * y - sine * x - parts[p, 1]
                a, b = abs(u) - parts[p, 2], abs(v) - parts[p, 3]
                far_a, far_b = max(a, np.float32(0.0)), max(b, np.float32(0.0))
                far = math.sqrt(far_a * far_a + far_b * far_b + 1e-6)
                deepest = max(a, b)
                if deepest <= 0.0:
                    normal_u, normal_v = (1.0, 0.0) if a >= b else (0.0, 1.0)
                else:
                    normal_u, normal_v = far_a / far, far_b / far
                normal_u, normal_v = normal_u * np.sign(u), normal_v * np.sign(v)
                distance = far + min(deepest, np.float32(0.0))
                gap = distance - radius
                seen[n, p, k] = min(max(gap / SCALE, -2.0), 2.0)
                seen[n, p, 2 + k] = 1.0 / (1.0 + math.exp(min(gap / SKIN, 30.0)))
                seen[n, p, 4 + 2 * k] = normal_u
                seen[n, p, 5 + 2 * k] = normal_v
                seen[n, p, 8 + 2 * k] = (u - distance * normal_u + parts[p, 0]) / LENGTH
                seen[n, p, 9 + 2 * k] = (v - distance * normal_v + parts[p, 1]) / LENGTH
                if k == 0:
                    at_end[n, p] = gap
                    closest[n, p] = gap
                else:
                    closest[n, p] = min(closest[n, p], gap)
            seen[n, p, 12] = along
            seen[n, p, 13] = across
            for i in range(4):
                seen[n, p, 14 + i] = parts[p, i] / LENGTH
    return seen, at_end, closest
