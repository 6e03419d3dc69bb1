# ruff: noqa: ANN001, ANN201, ANN202
"""Which face of which geom every pixel of a camera shows, and how far off: a depth buffer over primitive geoms.

The buffer holds inverse depth, for along a row of pixels the inverse distance of a plane is linear, and of a quadric
around the eye a root over a constant: nothing is divided but once per visible pixel, at the end. Each geom is drawn
within the rectangle that its bounding box covers on the screen, in loops without branches that the compiler turns into
SIMD. What stands still is drawn again for every frame: a cache of it would cost as much to copy.
"""

import math

import numpy as np

from envs.rays import (
    BOX,
    CAPSULE,
    CYLINDER,
    ELLIPSOID,
    HALF,
    KIND,
    PLANE,
    POSITION,
    SIZE,
    SPHERE,
    ray_kernel,
    to_local,
)  # fmt: skip

FACES = 3
"""Faces of a geom that a camera can show at once; of a box: across x, y, z; of a cylinder: 0 its side, 1 a cap."""
NEVER = 1e30
"""Inverse depth [1/m] of an entry that lies behind the eye, which is past it: no bound on the others."""


@ray_kernel()
def _reciprocal(x):  # type: ignore[no-untyped-def]
    return 1.0 / math.copysign(max(abs(x), 1e-12), x)


@ray_kernel()
def _slab(s, o):  # type: ignore[no-untyped-def]
    """The slab `|z| <= s` seen from `o`, in factors of a direction's z.

    The inverse distance of the entry is the second (`NEVER` for an eye within) plus the first times z, that of the exit
    the larger of the third and the fourth times z.
    """
    up, down = _reciprocal(s - o), _reciprocal(-s - o)
    if abs(o) < s:
        return 0.0, NEVER, up, down
    near, far = (up, down) if o > 0.0 else (down, up)
    return near, 0.0, far, far


@ray_kernel()
def _fill_box(inverse, owner, code, box, column, half, eye, base, across, down):  # type: ignore[no-untyped-def]
    nx, lx, px, qx = _slab(half[0], eye[0])
    ny, ly, py, qy = _slab(half[1], eye[1])
    nz, lz, pz, qz = _slab(half[2], eye[2])
    if lx + ly + lz > 2.5 * NEVER:
        return
    x0, x1, y0, y1 = box
    for y in range(y0, y1):
        bx, by, bz = base[0] + y * down[0], base[1] + y * down[1], base[2] + y * down[2]
        row, names, u = inverse[y, x0:x1], owner[y, x0:x1], column[x0:x1]
        # Counting from 0 spares numba's test for negative indices, which would stop SIMD.
        for x in range(x1 - x0):
            dx, dy, dz = bx + u[x] * across[0], by + u[x] * across[1], bz + u[x] * across[2]
            ax, ay, az = lx + nx * dx, ly + ny * dy, lz + nz * dz
            enter = min(ax, min(ay, az))
            leave = max(max(max(px * dx, qx * dx), max(py * dy, qy * dy)), max(pz * dz, qz * dz))
            nearer = (leave <= enter) & (enter > row[x])
            face = code if ax == enter else (code + 1 if ay == enter else code + 2)
            row[x] = enter if nearer else row[x]
            names[x] = face if nearer else names[x]


@ray_kernel()
def _tube(factor, lift, c, ox, oy, near, raised, p, q, dx, dy, dz):  # type: ignore[no-untyped-def]
    """Inverse distances where a ray enters a cylinder's side and caps (their least), and its cap; 0 for a miss.

    `c` is the squared distance of the eye from the side's surface, `factor` its reciprocal, the rest as from `_slab`.
    """
    a, b = dx * dx + dy * dy, -(ox * dx + oy * dy)
    inside = b * b - a * c
    root = math.sqrt(max(inside, 0.0))
    cap = raised + near * dz
    enter = min(lift + (b + root) * factor, cap)
    leave = max((b - root) * factor, max(p * dz, q * dz))
    return (enter if (inside >= 1e-15 * a) & (leave <= enter) else 0.0), cap


@ray_kernel()
def _fill_cylinder(inverse, owner, code, box, column, half, eye, base, across, down):  # type: ignore[no-untyped-def]
    ox, oy = eye[0], eye[1]
    c = ox * ox + oy * oy - half[0] * half[0]
    factor, lift = _reciprocal(c), (NEVER if c < 0.0 else 0.0)
    near, raised, p, q = _slab(half[1], eye[2])
    if lift + raised > 1.5 * NEVER:
        return
    x0, x1, y0, y1 = box
    for y in range(y0, y1):
        bx, by, bz = base[0] + y * down[0], base[1] + y * down[1], base[2] + y * down[2]
        row, names, u = inverse[y, x0:x1], owner[y, x0:x1], column[x0:x1]
        for x in range(x1 - x0):
            dx, dy, dz = bx + u[x] * across[0], by + u[x] * across[1], bz + u[x] * across[2]
            enter, cap = _tube(factor, lift, c, ox, oy, near, raised, p, q, dx, dy, dz)
            nearer = enter > row[x]
            face = code + 1 if cap == enter else code
            row[x] = enter if nearer else row[x]
            names[x] = face if nearer else names[x]


@ray_kernel()
def _ball(c, ox, oy, oz, dx, dy, dz):  # type: ignore[no-untyped-def]
    """Inverse distance where a ray enters a ball, 0 or less for a miss; `c` the eye's squared distance from it."""
    a, b = dx * dx + dy * dy + dz * dz, -(ox * dx + oy * dy + oz * dz)
    inside = b * b - a * c
    return (b + math.sqrt(max(inside, 0.0))) / c if inside >= 1e-15 * a else 0.0


@ray_kernel()
def _fill_capsule(inverse, owner, code, box, column, half, eye, base, across, down):  # type: ignore[no-untyped-def]
    """The union of a cylinder and two balls."""
    ox, oy, oz = eye
    c = ox * ox + oy * oy - half[0] * half[0]
    up, under = oz - half[1], oz + half[1]
    top, bottom = c + up * up, c + under * under
    if (c <= 0.0 and abs(oz) <= half[1]) or top <= 0.0 or bottom <= 0.0:
        return
    factor, lift = _reciprocal(c), (NEVER if c < 0.0 else 0.0)
    near, raised, p, q = _slab(half[1], oz)
    x0, x1, y0, y1 = box
    for y in range(y0, y1):
        bx, by, bz = base[0] + y * down[0], base[1] + y * down[1], base[2] + y * down[2]
        row, names, u = inverse[y, x0:x1], owner[y, x0:x1], column[x0:x1]
        for x in range(x1 - x0):
            dx, dy, dz = bx + u[x] * across[0], by + u[x] * across[1], bz + u[x] * across[2]
            enter, _ = _tube(factor, lift, c, ox, oy, near, raised, p, q, dx, dy, dz)
            enter = max(enter, max(_ball(top, ox, oy, up, dx, dy, dz), _ball(bottom, ox, oy, under, dx, dy, dz)))
            nearer = enter > row[x]
            row[x] = enter if nearer else row[x]
            names[x] = code if nearer else names[x]


@ray_kernel()
def _fill_ellipsoid(inverse, owner, code, box, column, half, eye, base, across, down):  # type: ignore[no-untyped-def]
    fx, fy, fz = 1.0 / half[0], 1.0 / half[1], 1.0 / half[2]
    ox, oy, oz = eye[0] * fx, eye[1] * fy, eye[2] * fz
    c = ox * ox + oy * oy + oz * oz - 1.0
    if c <= 0.0:
        return
    x0, x1, y0, y1 = box
    for y in range(y0, y1):
        bx, by, bz = base[0] + y * down[0], base[1] + y * down[1], base[2] + y * down[2]
        row, names, u = inverse[y, x0:x1], owner[y, x0:x1], column[x0:x1]
        for x in range(x1 - x0):
            dx, dy, dz = bx + u[x] * across[0], by + u[x] * across[1], bz + u[x] * across[2]
            enter = _ball(c, ox, oy, oz, dx * fx, dy * fy, dz * fz)
            nearer = enter > row[x]
            row[x] = enter if nearer else row[x]
            names[x] = code if nearer else names[x]


@ray_kernel()
def _fill_plane(inverse, owner, code, box, column, half, eye, base, across, down):  # type: ignore[no-untyped-def]
    """Seen from above only; sizes of 0 are infinite."""
    ox, oy, oz = eye
    if oz <= 0.0:
        return
    sx, sy = (half[0] if half[0] > 0.0 else NEVER), (half[1] if half[1] > 0.0 else NEVER)
    x0, x1, y0, y1 = box
    for y in range(y0, y1):
        bx, by, bz = base[0] + y * down[0], base[1] + y * down[1], base[2] + y * down[2]
        row, names, u = inverse[y, x0:x1], owner[y, x0:x1], column[x0:x1]
        for x in range(x1 - x0):
            dx, dy, dz = bx + u[x] * across[0], by + u[x] * across[1], bz + u[x] * across[2]
            enter = -dz / oz
            there = (abs(ox * enter + dx) <= sx * enter) & (abs(oy * enter + dy) <= sy * enter)
            nearer = there & (enter > row[x])
            row[x] = enter if nearer else row[x]
            names[x] = code if nearer else names[x]


@ray_kernel()
def _rectangle(scene, g, box, ex, ey, ez, axes, tan_x, tan_y, width, height):  # type: ignore[no-untyped-def]
    """Pixels (x0, x1, y0, y1) that the geom can cover: the bounds of its bounding box, cut at the camera's plane.

    `ex ey ez` is the eye in the geom's axes, `box` room for `[4 3]` numbers.
    """
    hx, hy, hz = scene[g, HALF], scene[g, HALF + 1], scene[g, HALF + 2]
    # The box in the camera's axes: its middle and half edges, each a row (right, up, forward).
    for i in range(3):
        sign = -1.0 if i == 2 else 1.0
        ax, ay, az = to_local(scene, g, sign * axes[0, i], sign * axes[1, i], sign * axes[2, i])
        box[0, i] = -(ax * ex + ay * ey + az * ez)
        box[1, i], box[2, i], box[3, i] = ax * hx, ay * hy, az * hz
    near = 1e-5
    low_x, high_x, low_y, high_y = math.inf, -math.inf, math.inf, -math.inf
    for edge in range(12):
        along = edge // 4
        s = 1.0 if edge & 1 else -1.0
        t = 1.0 if edge & 2 else -1.0
        second, third = 1 + (along + 1) % 3, 1 + (along + 2) % 3
        x = box[0, 0] + s * box[second, 0] + t * box[third, 0]
        y = box[0, 1] + s * box[second, 1] + t * box[third, 1]
        z = box[0, 2] + s * box[second, 2] + t * box[third, 2]
        dx, dy, dz = box[1 + along, 0], box[1 + along, 1], box[1 + along, 2]
        first, last = -1.0, 1.0
        if abs(dz) > z - near:
            if z + abs(dz) <= near:
                continue
            cut = (near - z) / dz
            first, last = (cut, 1.0) if dz > 0.0 else (-1.0, cut)
        for end in (first, last):
            inverse = 1.0 / (z + end * dz)
            u, v = (x + end * dx) * inverse / tan_x, (y + end * dy) * inverse / tan_y
            low_x, high_x = min(low_x, u), max(high_x, u)
            low_y, high_y = min(low_y, v), max(high_y, v)
    if high_x < low_x:
        return 0, 0, 0, 0
    # One pixel of margin covers rounding; clip in floats, as far-off corners overflow integers.
    x0 = max(0.0, math.floor((low_x + 1.0) * 0.5 * width - 1.0))
    x1 = min(float(width), math.ceil((high_x + 1.0) * 0.5 * width + 1.0))
    y0 = max(0.0, math.floor((1.0 - high_y) * 0.5 * height - 1.0))
    y1 = min(float(height), math.ceil((1.0 - low_y) * 0.5 * height + 1.0))
    return int(min(x0, x1)), int(x1), int(min(y0, y1)), int(y1)


@ray_kernel()
def rasterise(scene, eye, axes, tan_x, tan_y, column, inverse, owner):  # type: ignore[no-untyped-def]
    """The nearest visible face of every pixel.

    `inverse` `[h w]` is one over depth along the optical axis [1/m], 0 for none; `owner` `[h w]` int32 is `FACES` times
    one more than the row of the scene, plus the face, 0 for none. `column` `[w]` counts 0, 1, ... in floats, as there
    are no SIMD instructions that convert integers of 64 bits.
    """
    height, width = inverse.shape
    inverse[:] = 0.0
    owner[:] = 0
    px, py = 2.0 * tan_x / width, -2.0 * tan_y / height
    cx, cy = 0.5 * px - tan_x, 0.5 * py + tan_y
    room = np.empty((4, 3))
    for g in range(scene.shape[0]):
        kind = int(scene[g, KIND])
        ox, oy, oz = to_local(
            scene, g, eye[0] - scene[g, POSITION], eye[1] - scene[g, POSITION + 1], eye[2] - scene[g, POSITION + 2]
        )
        box = (0, width, 0, height)
        if kind != PLANE:
            box = _rectangle(scene, g, room, ox, oy, oz, axes, tan_x, tan_y, width, height)
        if box[0] >= box[1] or box[2] >= box[3]:
            continue
        rx, ry, rz = to_local(scene, g, axes[0, 0], axes[1, 0], axes[2, 0])
        ux, uy, uz = to_local(scene, g, axes[0, 1], axes[1, 1], axes[2, 1])
        bx, by, bz = to_local(scene, g, axes[0, 2], axes[1, 2], axes[2, 2])
        base = (rx * cx + ux * cy - bx, ry * cx + uy * cy - by, rz * cx + uz * cy - bz)
        across, down = (rx * px, ry * px, rz * px), (ux * py, uy * py, uz * py)
        half, at, code = (scene[g, SIZE], scene[g, SIZE + 1], scene[g, SIZE + 2]), (ox, oy, oz), FACES * (g + 1)
        if kind == BOX:
            _fill_box(inverse, owner, code, box, column, half, at, base, across, down)
        elif kind == CYLINDER:
            _fill_cylinder(inverse, owner, code, box, column, half, at, base, across, down)
        elif kind == CAPSULE:
            _fill_capsule(inverse, owner, code, box, column, half, at, base, across, down)
        elif kind in (SPHERE, ELLIPSOID):
            half = (half[0], half[0], half[0]) if kind == SPHERE else half
            _fill_ellipsoid(inverse, owner, code, box, column, half, at, base, across, down)
        else:
            _fill_plane(inverse, owner, code, box, column, half, at, base, across, down)
