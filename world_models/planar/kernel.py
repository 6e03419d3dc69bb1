"""Compiled CPU twin of what surrounds the networks of `model`: a pass over rows instead of a hundred small calls.

A pose row is centroid x, y and angle; a close row is the agent's start and end, the centroid, the angle and the body's
velocity in units, in the world (10 numbers). `no_type_check` keeps the tests' shape checks out of compiled code.
"""

import math
from typing import no_type_check

import numpy as np

from envs.compiled import kernel
from envs.types import Array
from world_models.planar.geometry import LENGTH, SCALE, SKIN, TOUCH, WALL


@kernel(fastmath=True)
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


@kernel(fastmath=True)
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


@kernel(fastmath=True)
@no_type_check
def begin(
    state: Array, action: Array, motion: Array, coast: Array, speed: Array, centroid: Array
) -> tuple[Array, Array]:
    """States after a part of a step in which nothing touches `[N 10]`, and close rows `[N 10]`."""
    after, close = np.empty((len(state), 10), np.float32), np.empty((len(state), 10), np.float32)
    for n in range(len(state)):
        for i in range(2):
            lag = state[n, i] - action[n, i]
            after[n, i] = motion[0, 0] * lag + motion[0, 1] * state[n, 5 + i] + action[n, i]
            after[n, 5 + i] = motion[1, 0] * lag + motion[1, 1] * state[n, 5 + i]
            close[n, i] = state[n, i]
            close[n, 2 + i] = after[n, i]
        for i in range(3):
            close[n, 7 + i] = state[n, 7 + i] / speed[i]
            after[n, 2 + i] = state[n, 2 + i] + coast[i] * close[n, 7 + i]
            after[n, 7 + i] = 0.0
        cosine, sine = math.cos(after[n, 4]), math.sin(after[n, 4])
        close[n, 4] = after[n, 2] + cosine * centroid[0] - sine * centroid[1]
        close[n, 5] = after[n, 3] + sine * centroid[0] + cosine * centroid[1]
        close[n, 6] = after[n, 4]
    return after, close


@kernel(fastmath=True)
@no_type_check
def tentative(close: Array, change: Array, unit: Array) -> Array:
    """Poses `[N 3]` after a change in units."""
    pose = np.empty((len(close), 3), np.float32)
    for n in range(len(close)):
        cosine, sine = math.cos(close[n, 6]), math.sin(close[n, 6])
        x, y = change[n, 0] * unit[0], change[n, 1] * unit[1]
        pose[n, 0] = close[n, 4] + cosine * x - sine * y
        pose[n, 1] = close[n, 5] + sine * x + cosine * y
        pose[n, 2] = close[n, 6] + change[n, 2] * unit[2]
    return pose


@kernel(fastmath=True)
@no_type_check
def look(
    close: Array, change: Array, unit: Array, parts: Array, radius: float, margin: float, scale: float
) -> tuple[Array, Array, Array]:
    """Features, openness and depth of every part `[N P ...]` at the poses after a change."""
    pose = tentative(close, change, unit)
    seen, depth, opened = touch(close[:, 0:2], close[:, 2:4], pose, parts, radius)
    for n in range(len(close)):
        for p in range(len(parts)):
            opened[n, p] = min(max((margin - opened[n, p]) / margin, 0.0), 1.0)
            depth[n, p] = min(max(0.5 - depth[n, p], 0.0), 20.0) / scale
    return seen, opened, depth


@kernel(fastmath=True)
@no_type_check
def gather(said: Array, opened: Array, depth: Array, change: Array) -> Array:
    """Messages `[N W]` summed over the parts; the pushes are added to the change in place."""
    width = said.shape[2] - 6
    message = np.zeros((len(said), width), np.float32)
    for n in range(len(said)):
        for p in range(said.shape[1]):
            for i in range(width):
                message[n, i] += opened[n, p] * said[n, p, i]
            for i in range(3):
                push = 0.1 * opened[n, p] * said[n, p, width + i] + depth[n, p] * said[n, p, width + 3 + i]
                change[n, i] += push
    return message


@kernel(fastmath=True)
@no_type_check
def walls(pose: Array, corners: Array, low: float, high: float, margin: float) -> tuple[Array, Array, Array]:
    """Rows near a wall, their features as `geometry.wall_features` says, and the gaps."""
    row = np.empty(4 * len(pose), np.int64)
    seen = np.empty((4 * len(pose), WALL), np.float32)
    gaps = np.empty(4 * len(pose), np.float32)
    point = np.empty((len(corners), 2), np.float32)
    count = 0
    for n in range(len(pose)):
        cosine, sine = math.cos(pose[n, 2]), math.sin(pose[n, 2])
        for c in range(len(corners)):
            point[c, 0] = pose[n, 0] + cosine * corners[c, 0] - sine * corners[c, 1]
            point[c, 1] = pose[n, 1] + sine * corners[c, 0] + cosine * corners[c, 1]
        for side in range(4):
            axis = side % 2
            first, second = -1, -1
            nearest, next_nearest = np.float32(1e9), np.float32(1e9)
            for c in range(len(corners)):
                gap = point[c, axis] - low if side < 2 else high - point[c, axis]
                if gap < nearest:
                    second, next_nearest = first, nearest
                    first, nearest = c, gap
                elif gap < next_nearest:
                    second, next_nearest = c, gap
            if nearest >= margin:
                continue
            for k in range(2):
                gap, c = (nearest, first) if k == 0 else (next_nearest, second)
                seen[count, k] = min(max(gap / SCALE, -2.0), 2.0)
                seen[count, 2 + k] = 1.0 / (1.0 + math.exp(min(gap / SKIN, 30.0)))
                seen[count, 4 + 2 * k] = corners[c, 0] / LENGTH
                seen[count, 5 + 2 * k] = corners[c, 1] / LENGTH
            sign = 1.0 if side < 2 else -1.0
            seen[count, 8] = sign * (cosine if axis == 0 else sine)
            seen[count, 9] = sign * (-sine if axis == 0 else cosine)
            row[count] = n
            gaps[count] = nearest
            count += 1
    return row[:count], seen[:count], gaps[:count]


@kernel(fastmath=True)
@no_type_check
def gather_walls(
    said: Array, row: Array, gaps: Array, message: Array, change: Array, margin: float, scale: float
) -> None:
    """Add what walls say to the messages `[N W]` and the change, both in place."""
    width = message.shape[1]
    for e in range(len(row)):
        opened = min(max((margin - gaps[e]) / margin, 0.0), 1.0)
        depth = min(max(0.5 - gaps[e], 0.0), 20.0) / scale
        for i in range(width):
            message[row[e], i] += opened * said[e, i]
        for i in range(3):
            change[row[e], i] += 0.1 * opened * said[e, width + i] + depth * said[e, width + 3 + i]


@kernel(fastmath=True)
@no_type_check
def finish(after: Array, rows: Array, close: Array, change: Array, unit: Array, speed: Array, centroid: Array) -> None:
    """Write the change of the close rows into the states `after`, in place."""
    for r in range(len(rows)):
        n, angle = rows[r], close[r, 6]
        cosine, sine = math.cos(angle), math.sin(angle)
        turned = angle + change[r, 2] * unit[2]
        swing_cosine, swing_sine = math.cos(turned) - cosine, math.sin(turned) - sine
        x, y = change[r, 0] * unit[0], change[r, 1] * unit[1]
        after[n, 2] += cosine * x - sine * y - swing_cosine * centroid[0] + swing_sine * centroid[1]
        after[n, 3] += sine * x + cosine * y - swing_sine * centroid[0] - swing_cosine * centroid[1]
        after[n, 4] += change[r, 2] * unit[2]
        after[n, 7] = speed[0] * (cosine * change[r, 3] - sine * change[r, 4])
        after[n, 8] = speed[1] * (sine * change[r, 3] + cosine * change[r, 4])
        after[n, 9] = speed[2] * change[r, 5]
