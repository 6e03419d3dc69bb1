# ruff: noqa: ANN001, ANN201, ANN202
"""Single rays against MuJoCo's primitive geoms, compiled by numba.

Every primitive is convex, so a ray `origin + t * direction` meets it in one interval `[t_in, t_out]`. Cameras hit it at
`t_in` and see nothing of a geom they are inside of, as in OpenGL; single rays leave it at `t_out`, as in `mj_ray`.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from envs.compiled import kernel

PLANE, SPHERE, CAPSULE, ELLIPSOID, CYLINDER, BOX = 0, 2, 3, 4, 5, 6
"""Values of `mjtGeom`."""

# Columns of a scene: one row of float64 per visible geom. One array keeps calls cheap, and compiling short.
KIND, SIZE, POSITION, MATRIX, ALBEDO, ALPHA, GLOSS, HALF, RADIUS, GEOM = 0, 1, 4, 7, 16, 19, 20, 21, 24, 25
BLOCK, BLOCK_RADIUS, BLOCK_END, COLUMNS = 26, 29, 30, 31
BLOCK_SIZE, LARGE = 6, 0.2
"""Geoms in a block, which share a bounding sphere; geoms of a radius from `LARGE` [m] on are in none."""


def ray_kernel(cache: bool = False) -> Callable[[Callable[..., Any]], Any]:
    """A kernel with our options; those that Python calls hold all others, and alone are kept on disk."""
    return kernel(cache, error_model="numpy", fastmath={"contract", "nsz", "arcp"})


@ray_kernel()
def _quadratic(a, b, c):  # type: ignore[no-untyped-def]
    """The interval where `a t^2 + 2 b t + c <= 0`, a >= 0; empty is `(inf, -inf)`."""
    a = max(a, 1e-30)
    det = b * b - a * c
    root = math.sqrt(max(det, 0.0))
    t_in = (-b - root) / a
    t_out = (-b + root) / a
    miss = det < 1e-15 * a
    return (math.inf if miss else t_in), (-math.inf if miss else t_out)


@ray_kernel()
def _slab(s, o, d):  # type: ignore[no-untyped-def]
    """The interval where `|o + t d| <= s`."""
    d = 1e-30 if abs(d) < 1e-30 else d
    a = (-s - o) / d
    b = (s - o) / d
    return min(a, b), max(a, b)


@ray_kernel()
def _hit_box(sx, sy, sz, ox, oy, oz, dx, dy, dz):  # type: ignore[no-untyped-def]
    ax, bx = _slab(sx, ox, dx)
    ay, by = _slab(sy, oy, dy)
    az, bz = _slab(sz, oz, dz)
    return max(max(ax, ay), az), min(min(bx, by), bz)


@ray_kernel()
def _hit_ellipsoid(sx, sy, sz, ox, oy, oz, dx, dy, dz):  # type: ignore[no-untyped-def]
    ox, oy, oz, dx, dy, dz = ox / sx, oy / sy, oz / sz, dx / sx, dy / sy, dz / sz
    return _quadratic(dx * dx + dy * dy + dz * dz, ox * dx + oy * dy + oz * dz, ox * ox + oy * oy + oz * oz - 1.0)


@ray_kernel()
def _hit_cylinder(sx, sy, sz, ox, oy, oz, dx, dy, dz):  # type: ignore[no-untyped-def]
    """Size: radius, half length."""
    a, b = _quadratic(dx * dx + dy * dy, ox * dx + oy * dy, ox * ox + oy * oy - sx * sx)
    az, bz = _slab(sy, oz, dz)
    return max(a, az), min(b, bz)


@ray_kernel()
def _hit_capsule(sx, sy, sz, ox, oy, oz, dx, dy, dz):  # type: ignore[no-untyped-def]
    """Size: radius, half length of the straight part. The union of a cylinder and two balls."""
    a, b = _hit_cylinder(sx, sy, sz, ox, oy, oz, dx, dy, dz)
    empty = b < a
    a = math.inf if empty else a
    b = -math.inf if empty else b
    square = dx * dx + dy * dy + dz * dz
    along = ox * dx + oy * dy
    rest = ox * ox + oy * oy - sx * sx
    up, down = oz - sy, oz + sy
    at, bt = _quadratic(square, along + up * dz, rest + up * up)
    ab, bb = _quadratic(square, along + down * dz, rest + down * down)
    return min(a, min(at, ab)), max(b, max(bt, bb))


@ray_kernel()
def _hit_plane(sx, sy, sz, ox, oy, oz, dx, dy, dz):  # type: ignore[no-untyped-def]
    """Seen from above only; sizes of 0 are infinite."""
    t = -oz / min(dz, -1e-15)
    miss = (dz > -1e-15) | (t < 0.0) | ((sx > 0.0) & (abs(ox + t * dx) > sx)) | ((sy > 0.0) & (abs(oy + t * dy) > sy))
    return (math.inf if miss else t), (-math.inf if miss else math.inf)


@ray_kernel()
def _hit(kind, inside, sx, sy, sz, ox, oy, oz, dx, dy, dz):  # type: ignore[no-untyped-def]
    """Distance of the nearest hit at t >= 0, in lengths of the direction; inf for none.

    A ray that starts in the geom hits it on the way out if `inside`, else not at all.
    """
    if kind == BOX:
        a, b = _hit_box(sx, sy, sz, ox, oy, oz, dx, dy, dz)
    elif kind == CYLINDER:
        a, b = _hit_cylinder(sx, sy, sz, ox, oy, oz, dx, dy, dz)
    elif kind == CAPSULE:
        a, b = _hit_capsule(sx, sy, sz, ox, oy, oz, dx, dy, dz)
    elif kind == SPHERE:
        a, b = _hit_ellipsoid(sx, sx, sx, ox, oy, oz, dx, dy, dz)
    elif kind == ELLIPSOID:
        a, b = _hit_ellipsoid(sx, sy, sz, ox, oy, oz, dx, dy, dz)
    else:
        a, b = _hit_plane(sx, sy, sz, ox, oy, oz, dx, dy, dz)
    if b < a or b < 0.0 or (a < 0.0 and inside == 0):
        return math.inf
    return a if a >= 0.0 else b


# Columns of a scene: one row of float64 per visible geom. One array keeps calls cheap, and compiling short.


@ray_kernel()
def pack(kinds, sizes, position, matrix, albedo, alpha, gloss):  # type: ignore[no-untyped-def]
    """A scene `[G COLUMNS]` of the visible geoms, large ones first, the others in blocks.

    HALF are the half sizes of the bounding box, RADIUS the square of its half diagonal. The first row of a block holds
    the block's sphere (centre, squared radius) and the row after its last.
    """
    scene = np.zeros((kinds.shape[0], COLUMNS))
    count, blocks = 0, 0
    for large in (True, False):
        for g in range(kinds.shape[0]):
            kind = kinds[g]
            hx, hy, hz = sizes[g, 0], sizes[g, 1], sizes[g, 2]
            if kind in (SPHERE, CAPSULE, CYLINDER):
                hy, hz = hx, (hx if kind == SPHERE else hy + (hx if kind == CAPSULE else 0.0))
            radius = math.inf if kind == PLANE else hx * hx + hy * hy + hz * hz
            if alpha[g] <= 0.0 or (radius >= LARGE * LARGE) != large:
                continue
            row = scene[count]
            row[KIND], row[ALPHA], row[GLOSS], row[RADIUS], row[GEOM] = kind, alpha[g], gloss[g], radius, g
            row[HALF], row[HALF + 1], row[HALF + 2] = hx, hy, hz
            for i in range(3):
                row[SIZE + i], row[POSITION + i], row[ALBEDO + i] = sizes[g, i], position[g, i], albedo[g, i]
                for j in range(3):
                    row[MATRIX + 3 * i + j] = matrix[g, i, j]
            count += 1
        blocks = count if large else blocks
    for first in range(blocks, count, BLOCK_SIZE):
        row, end = scene[first], min(first + BLOCK_SIZE, count)
        for g in range(first, end):
            for i in range(3):
                row[BLOCK + i] += scene[g, POSITION + i] / (end - first)
        reach = 0.0
        for g in range(first, end):
            square = 0.0
            for i in range(3):
                square += (scene[g, POSITION + i] - row[BLOCK + i]) ** 2
            reach = max(reach, math.sqrt(square) + math.sqrt(scene[g, RADIUS]))
        row[BLOCK_RADIUS], row[BLOCK_END] = reach * reach, end
    return scene[:count]


@ray_kernel()
def to_local(scene, g, x, y, z):  # type: ignore[no-untyped-def]
    """A world direction in the axes of geom `g`."""
    return (
        scene[g, MATRIX] * x + scene[g, MATRIX + 3] * y + scene[g, MATRIX + 6] * z,
        scene[g, MATRIX + 1] * x + scene[g, MATRIX + 4] * y + scene[g, MATRIX + 7] * z,
        scene[g, MATRIX + 2] * x + scene[g, MATRIX + 5] * y + scene[g, MATRIX + 8] * z,
    )


@ray_kernel()
def to_world(scene, g, x, y, z):  # type: ignore[no-untyped-def]
    """A direction in the axes of geom `g` in world axes."""
    return (
        scene[g, MATRIX] * x + scene[g, MATRIX + 1] * y + scene[g, MATRIX + 2] * z,
        scene[g, MATRIX + 3] * x + scene[g, MATRIX + 4] * y + scene[g, MATRIX + 5] * z,
        scene[g, MATRIX + 6] * x + scene[g, MATRIX + 7] * y + scene[g, MATRIX + 8] * z,
    )


@ray_kernel()
def nearest(scene, threshold, inside, ox, oy, oz, dx, dy, dz, limit, first):  # type: ignore[no-untyped-def]
    """Nearest geom on a ray among those with alpha > `threshold`: (t, row) or (limit, -1). Stops early if `first`.

    `inside`: 1 if rays that start inside a geom hit it where they leave it (integers: numba would compile one copy for
    every constant truth value).
    """
    best, found = limit, -1
    square = dx * dx + dy * dy + dz * dz
    g = 0
    while g < scene.shape[0]:
        if scene[g, BLOCK_END] > 0.0:
            rx, ry, rz = ox - scene[g, BLOCK], oy - scene[g, BLOCK + 1], oz - scene[g, BLOCK + 2]
            along = rx * dx + ry * dy + rz * dz
            outside = rx * rx + ry * ry + rz * rz - scene[g, BLOCK_RADIUS]
            if outside > 0.0 and (along > 0.0 or along * along < outside * square):
                g = int(scene[g, BLOCK_END])
                continue
        rx, ry, rz = ox - scene[g, POSITION], oy - scene[g, POSITION + 1], oz - scene[g, POSITION + 2]
        along = rx * dx + ry * dy + rz * dz
        outside = rx * rx + ry * ry + rz * rz - scene[g, RADIUS]
        if scene[g, ALPHA] > threshold and (outside <= 0.0 or (along <= 0.0 and along * along >= outside * square)):
            lx, ly, lz = to_local(scene, g, rx, ry, rz)
            ex, ey, ez = to_local(scene, g, dx, dy, dz)
            sx, sy, sz = scene[g, SIZE], scene[g, SIZE + 1], scene[g, SIZE + 2]
            t = _hit(int(scene[g, KIND]), inside, sx, sy, sz, lx, ly, lz, ex, ey, ez)
            if t < best:
                best, found = t, g
                if first != 0:
                    break
        g += 1
    return best, found


@ray_kernel(cache=True)
def cast(kinds, sizes, alpha, position, matrix, origins, directions, distance, geom):  # type: ignore[no-untyped-def]
    """Single rays through one world, the plain twin of `draw`: origins, directions `[R 3]` -> distance, geom `[R]`.

    kinds `[G]`, sizes `[G 3]`, alpha `[G]`, position `[G 3]`, matrix `[G 3 3]`. As `mj_ray`: distances are in lengths
    of the direction, -1 with geom -1 for no hit.
    """
    scene = pack(kinds, sizes, position, matrix, sizes, alpha, alpha)
    for i in range(origins.shape[0]):
        o, d = origins[i], directions[i]
        t, g = nearest(scene, 0.0, 1, o[0], o[1], o[2], d[0], d[1], d[2], math.inf, 0)
        distance[i], geom[i] = (t, int(scene[g, GEOM])) if g >= 0 else (-1.0, -1)
