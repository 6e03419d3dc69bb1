# ruff: noqa: ANN001, ANN201, ANN202
"""A ray-caster for MuJoCo's primitive geoms, compiled by numba: colour, entities and depth without OpenGL.

Every primitive is convex, so a ray `origin + t * direction` meets it in one interval `[t_in, t_out]`. Cameras hit it at
`t_in` and see nothing of a geom they are inside of, as in OpenGL; single rays leave it at `t_out`, as in `mj_ray`.
First the geoms are drawn into a depth buffer, each within the rectangle its bounding box covers on the screen, in
branch-free loops that the compiler turns into SIMD; then each pixel is lit once.

Kernels release the GIL and start no threads of their own, since numba's thread pools abort the process when two Python
threads, or a forked child, enter them.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from envs.compiled import kernel
from envs.types import Array

PLANE, SPHERE, CAPSULE, ELLIPSOID, CYLINDER, BOX = 0, 2, 3, 4, 5, 6
"""Values of `mjtGeom`."""

TOWARDS_LIGHT = (0.42, 0.38, 0.82)
"""Direction from the scene to the middle of the key light, in world axes; not normalised."""
LIGHT_RADIUS = 0.16
"""Radius of the light's disc at unit distance: the softness of shadows."""
KEY = (1.00, 0.96, 0.89)
"""Radiance of the key light, linear RGB, slightly warm."""
SKY = (0.60, 0.65, 0.74)
"""Light from above, linear RGB, slightly cool."""
GROUND = (0.30, 0.28, 0.26)
"""Light reflected from below."""
HORIZON = (0.80, 0.83, 0.87)
ZENITH = (0.40, 0.50, 0.64)
"""Background colours, linear RGB."""
BOUNCE_REACH = 0.25
"""How far indirect light and ambient occlusion look [m]."""
BEVEL = 0.0012
"""Boxes are lit as if their edges were rounded by this [m]: real plastic has no sharp edges."""


def _tone_table() -> Array:
    """`[4096]` uint8: linear light 0..2 to display values, sRGB's curve after a shoulder that keeps highlights."""
    linear = np.linspace(0.0, 2.0, 4096)
    knee = 0.72
    soft = np.where(linear < knee, linear, knee + (1 - knee) * (1 - np.exp(-(linear - knee) / (1 - knee))))
    display = np.where(soft <= 0.0031308, 12.92 * soft, 1.055 * soft ** (1 / 2.4) - 0.055)
    return np.clip(np.rint(255 * display), 0, 255).astype(np.uint8)


TONE = _tone_table()
_LIGHT = tuple(float(v) for v in np.array(TOWARDS_LIGHT) / np.linalg.norm(TOWARDS_LIGHT))


def _kernel(cache: bool = False) -> Callable[[Callable[..., Any]], Any]:
    """A kernel with our options; `draw` and `cast` hold all others, and alone are kept on disk."""
    return kernel(cache, error_model="numpy", fastmath={"contract", "nsz", "arcp"})


@_kernel()
def _quadratic(a, b, c):  # type: ignore[no-untyped-def]
    """The interval where `a t^2 + 2 b t + c <= 0`, a >= 0; empty is `(inf, -inf)`."""
    a = max(a, 1e-30)
    det = b * b - a * c
    root = math.sqrt(max(det, 0.0))
    t_in = (-b - root) / a
    t_out = (-b + root) / a
    miss = det < 1e-15 * a
    return (math.inf if miss else t_in), (-math.inf if miss else t_out)


@_kernel()
def _slab(s, o, d):  # type: ignore[no-untyped-def]
    """The interval where `|o + t d| <= s`."""
    d = 1e-30 if abs(d) < 1e-30 else d
    a = (-s - o) / d
    b = (s - o) / d
    return min(a, b), max(a, b)


@_kernel()
def _hit_box(sx, sy, sz, ox, oy, oz, dx, dy, dz):  # type: ignore[no-untyped-def]
    ax, bx = _slab(sx, ox, dx)
    ay, by = _slab(sy, oy, dy)
    az, bz = _slab(sz, oz, dz)
    return max(max(ax, ay), az), min(min(bx, by), bz)


@_kernel()
def _hit_ellipsoid(sx, sy, sz, ox, oy, oz, dx, dy, dz):  # type: ignore[no-untyped-def]
    ox, oy, oz, dx, dy, dz = ox / sx, oy / sy, oz / sz, dx / sx, dy / sy, dz / sz
    return _quadratic(dx * dx + dy * dy + dz * dz, ox * dx + oy * dy + oz * dz, ox * ox + oy * oy + oz * oz - 1.0)


@_kernel()
def _hit_cylinder(sx, sy, sz, ox, oy, oz, dx, dy, dz):  # type: ignore[no-untyped-def]
    """Size: radius, half length."""
    a, b = _quadratic(dx * dx + dy * dy, ox * dx + oy * dy, ox * ox + oy * oy - sx * sx)
    az, bz = _slab(sy, oz, dz)
    return max(a, az), min(b, bz)


@_kernel()
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


@_kernel()
def _hit_plane(sx, sy, sz, ox, oy, oz, dx, dy, dz):  # type: ignore[no-untyped-def]
    """Seen from above only; sizes of 0 are infinite."""
    t = -oz / min(dz, -1e-15)
    miss = (dz > -1e-15) | (t < 0.0) | ((sx > 0.0) & (abs(ox + t * dx) > sx)) | ((sy > 0.0) & (abs(oy + t * dy) > sy))
    return (math.inf if miss else t), (-math.inf if miss else math.inf)


@_kernel()
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
KIND, SIZE, POSITION, MATRIX, ALBEDO, ALPHA, GLOSS, HALF, RADIUS, GEOM = 0, 1, 4, 7, 16, 19, 20, 21, 24, 25
BLOCK, BLOCK_RADIUS, BLOCK_END, COLUMNS = 26, 29, 30, 31
BLOCK_SIZE, LARGE = 6, 0.2
"""Geoms in a block, which share a bounding sphere; geoms of a radius from `LARGE` [m] on are in none."""


@_kernel()
def _pack(kinds, sizes, position, matrix, albedo, alpha, gloss):  # type: ignore[no-untyped-def]
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


@_kernel()
def _to_local(scene, g, x, y, z):  # type: ignore[no-untyped-def]
    """A world direction in the axes of geom `g`."""
    return (
        scene[g, MATRIX] * x + scene[g, MATRIX + 3] * y + scene[g, MATRIX + 6] * z,
        scene[g, MATRIX + 1] * x + scene[g, MATRIX + 4] * y + scene[g, MATRIX + 7] * z,
        scene[g, MATRIX + 2] * x + scene[g, MATRIX + 5] * y + scene[g, MATRIX + 8] * z,
    )


@_kernel()
def _to_world(scene, g, x, y, z):  # type: ignore[no-untyped-def]
    """A direction in the axes of geom `g` in world axes."""
    return (
        scene[g, MATRIX] * x + scene[g, MATRIX + 1] * y + scene[g, MATRIX + 2] * z,
        scene[g, MATRIX + 3] * x + scene[g, MATRIX + 4] * y + scene[g, MATRIX + 5] * z,
        scene[g, MATRIX + 6] * x + scene[g, MATRIX + 7] * y + scene[g, MATRIX + 8] * z,
    )


@_kernel()
def _nearest(scene, threshold, inside, ox, oy, oz, dx, dy, dz, limit, first):  # type: ignore[no-untyped-def]
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
            lx, ly, lz = _to_local(scene, g, rx, ry, rz)
            ex, ey, ez = _to_local(scene, g, dx, dy, dz)
            sx, sy, sz = scene[g, SIZE], scene[g, SIZE + 1], scene[g, SIZE + 2]
            t = _hit(int(scene[g, KIND]), inside, sx, sy, sz, lx, ly, lz, ex, ey, ez)
            if t < best:
                best, found = t, g
                if first != 0:
                    break
        g += 1
    return best, found


def _filler(hit: Any) -> Any:
    """The function that draws one geom of the kind that `hit` intersects into a rectangle of the depth buffer."""

    @_kernel()
    def fill(depth, owner, g, box, sx, sy, sz, ox, oy, oz, base, across, down):  # type: ignore[no-untyped-def]
        x0, x1, y0, y1 = box
        for y in range(y0, y1):
            bx = base[0] + y * down[0] + x0 * across[0]
            by = base[1] + y * down[1] + x0 * across[1]
            bz = base[2] + y * down[2] + x0 * across[2]
            row, names = depth[y, x0:x1], owner[y, x0:x1]
            # Counting from 0 spares numba's test for negative indices, which would stop SIMD.
            for x in range(x1 - x0):
                a, b = hit(sx, sy, sz, ox, oy, oz, bx + x * across[0], by + x * across[1], bz + x * across[2])
                nearer = (b >= a) & (a >= 0.0) & (a < row[x])
                row[x] = a if nearer else row[x]
                names[x] = g if nearer else names[x]

    return fill


_fill_box, _fill_cylinder, _fill_capsule = _filler(_hit_box), _filler(_hit_cylinder), _filler(_hit_capsule)
_fill_ellipsoid, _fill_plane = _filler(_hit_ellipsoid), _filler(_hit_plane)


@_kernel()
def _rectangle(scene, g, eye, axes, tan_x, tan_y, width, height):  # type: ignore[no-untyped-def]
    """Pixels (x0, x1, y0, y1) that the geom can cover: the bounds of its bounding box, cut at the camera's plane."""
    ex, ey, ez = _to_local(
        scene, g, eye[0] - scene[g, POSITION], eye[1] - scene[g, POSITION + 1], eye[2] - scene[g, POSITION + 2]
    )
    hx, hy, hz = scene[g, HALF], scene[g, HALF + 1], scene[g, HALF + 2]
    if scene[g, KIND] == BOX and abs(ex) < hx and abs(ey) < hy and abs(ez) < hz:
        return 0, 0, 0, 0
    # The box in the camera's axes: its middle and half edges, each a row (right, up, forward).
    box = np.empty((4, 3))
    for i in range(3):
        sign = -1.0 if i == 2 else 1.0
        ax, ay, az = _to_local(scene, g, sign * axes[0, i], sign * axes[1, i], sign * axes[2, i])
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


@_kernel()
def _rasterise(scene, eye, axes, tan_x, tan_y, depth, owner):  # type: ignore[no-untyped-def]
    """Nearest visible geom of every pixel: depth along the optical axis `[h w]` [m] (inf for none), geom `[h w]`."""
    height, width = depth.shape
    depth[:] = math.inf
    owner[:] = -1
    px, py = 2.0 * tan_x / width, -2.0 * tan_y / height
    cx, cy = 0.5 * px - tan_x, 0.5 * py + tan_y
    for g in range(scene.shape[0]):
        kind = int(scene[g, KIND])
        box = (0, width, 0, height)
        if kind != PLANE:
            box = _rectangle(scene, g, eye, axes, tan_x, tan_y, width, height)
        if box[0] >= box[1] or box[2] >= box[3]:
            continue
        ox, oy, oz = _to_local(
            scene, g, eye[0] - scene[g, POSITION], eye[1] - scene[g, POSITION + 1], eye[2] - scene[g, POSITION + 2]
        )
        rx, ry, rz = _to_local(scene, g, axes[0, 0], axes[1, 0], axes[2, 0])
        ux, uy, uz = _to_local(scene, g, axes[0, 1], axes[1, 1], axes[2, 1])
        bx, by, bz = _to_local(scene, g, axes[0, 2], axes[1, 2], axes[2, 2])
        base = (rx * cx + ux * cy - bx, ry * cx + uy * cy - by, rz * cx + uz * cy - bz)
        across, down = (rx * px, ry * px, rz * px), (ux * py, uy * py, uz * py)
        sx, sy, sz = scene[g, SIZE], scene[g, SIZE + 1], scene[g, SIZE + 2]
        if kind == BOX:
            _fill_box(depth, owner, g, box, sx, sy, sz, ox, oy, oz, base, across, down)
        elif kind == CYLINDER:
            _fill_cylinder(depth, owner, g, box, sx, sy, sz, ox, oy, oz, base, across, down)
        elif kind == CAPSULE:
            _fill_capsule(depth, owner, g, box, sx, sy, sz, ox, oy, oz, base, across, down)
        elif kind in (SPHERE, ELLIPSOID):
            sy, sz = (sx, sx) if kind == SPHERE else (sy, sz)
            _fill_ellipsoid(depth, owner, g, box, sx, sy, sz, ox, oy, oz, base, across, down)
        else:
            _fill_plane(depth, owner, g, box, sx, sy, sz, ox, oy, oz, base, across, down)


@_kernel()
def _edge(distance, least, width):  # type: ignore[no-untyped-def]
    """Weight of a face's normal at some distance from it: 1 for the nearest, more than 0 for others within `width`."""
    return max(0.0, 1.0 - (distance - least) / width)


@_kernel()
def _surface(scene, g, px, py, pz, dx, dy, dz, bevel):  # type: ignore[no-untyped-def]
    """World normal of geom `g` at a world point of its surface, turned against the viewing direction.

    Boxes and cylinders are lit as if their edges were rounded by `bevel` [m].
    """
    kind = int(scene[g, KIND])
    sx, sy, sz = scene[g, SIZE], scene[g, SIZE + 1], scene[g, SIZE + 2]
    x, y, z = _to_local(scene, g, px - scene[g, POSITION], py - scene[g, POSITION + 1], pz - scene[g, POSITION + 2])
    if kind == BOX:
        ex, ey, ez = sx - abs(x), sy - abs(y), sz - abs(z)
        least = min(ex, min(ey, ez))
        if bevel > 0.0:
            width = min(bevel, 0.2 * min(sx, min(sy, sz)))
            x = math.copysign(_edge(ex, least, width), x)
            y = math.copysign(_edge(ey, least, width), y)
            z = math.copysign(_edge(ez, least, width), z)
        else:
            x, y, z = (x, 0.0, 0.0) if ex == least else ((0.0, y, 0.0) if ey == least else (0.0, 0.0, z))
    elif kind == CYLINDER:
        radius = math.sqrt(x * x + y * y)
        er, ez = sx - radius, sy - abs(z)
        least = min(er, ez)
        width = min(max(bevel, 1e-9), 0.2 * min(sx, sy))
        side = _edge(er, least, width) / max(radius, 1e-12)
        x, y, z = x * side, y * side, math.copysign(_edge(ez, least, width), z)
    elif kind == CAPSULE:
        z -= min(max(z, -sy), sy)
    elif kind == ELLIPSOID:
        x, y, z = x / (sx * sx), y / (sy * sy), z / (sz * sz)
    elif kind == PLANE:
        x, y, z = 0.0, 0.0, 1.0
    nx, ny, nz = _to_world(scene, g, x, y, z)
    scale = math.copysign(1.0 / math.sqrt(max(x * x + y * y + z * z, 1e-24)), -(nx * dx + ny * dy + nz * dz))
    return nx * scale, ny * scale, nz * scale


@_kernel()
def _background(up):  # type: ignore[no-untyped-def]
    """Sky: a gradient over the height of a unit direction."""
    w = min(1.0, 1.6 * max(0.0, up))
    return (
        HORIZON[0] + w * (ZENITH[0] - HORIZON[0]),
        HORIZON[1] + w * (ZENITH[1] - HORIZON[1]),
        HORIZON[2] + w * (ZENITH[2] - HORIZON[2]),
    )


@_kernel()
def _ambient(up):  # type: ignore[no-untyped-def]
    """Light of the hemisphere around a unit direction, half sky and half ground where it is level."""
    w = 0.5 + 0.5 * up
    return (
        GROUND[0] + w * (SKY[0] - GROUND[0]),
        GROUND[1] + w * (SKY[1] - GROUND[1]),
        GROUND[2] + w * (SKY[2] - GROUND[2]),
    )


@_kernel()
def _basis(nx, ny, nz):  # type: ignore[no-untyped-def]
    """Two unit vectors perpendicular to a unit vector (Duff et al. 2017, JCGT 6(1))."""
    sign = math.copysign(1.0, nz)
    a = -1.0 / (sign + nz)
    b = nx * ny * a
    return 1.0 + sign * nx * nx * a, sign * b, -sign * nx, b, sign + ny * ny * a, -ny


@_kernel()
def _point(seed, index):  # type: ignore[no-untyped-def]
    """A point of the R2 sequence (Roberts 2018) in the unit square, shifted by the pixel's seed."""
    u, v = seed + index * 0.7548776662466927, seed * 7.13 + index * 0.5698402909980532
    return u - math.floor(u), v - math.floor(v)


@_kernel()
def _shadow(scene, x, y, z, rays, seed, k):  # type: ignore[no-untyped-def]
    """Share of the disc-shaped key light that a point sees."""
    lx, ly, lz = _LIGHT
    ux, uy, uz, vx, vy, vz = _basis(lx, ly, lz)
    clear = 0
    for ray in range(rays):
        a, b = _point(seed, k * rays + ray)
        r, phi = LIGHT_RADIUS * math.sqrt(a), 2.0 * math.pi * b
        s, t = r * math.cos(phi), r * math.sin(phi)
        dx, dy, dz = lx + s * ux + t * vx, ly + s * uy + t * vy, lz + s * uz + t * vz
        _, blocker = _nearest(scene, 0.5, 0, x, y, z, dx, dy, dz, math.inf, 1)
        clear += blocker < 0
    return clear / rays


@_kernel()
def _bounce(scene, x, y, z, nx, ny, nz, rays, seed, k):  # type: ignore[no-untyped-def]
    """Ambient light at a point by rays into the cosine-weighted hemisphere: occlusion and one bounce of colour."""
    lx, ly, lz = _LIGHT
    ux, uy, uz, vx, vy, vz = _basis(nx, ny, nz)
    r, g, b = 0.0, 0.0, 0.0
    for ray in range(rays):
        square, turn = _point(seed + 0.37, k * rays + ray)
        phi = 2.0 * math.pi * turn
        s, t, w = math.sqrt(square) * math.cos(phi), math.sqrt(square) * math.sin(phi), math.sqrt(1.0 - square)
        dx, dy, dz = s * ux + t * vx + w * nx, s * uy + t * vy + w * ny, s * uz + t * vz + w * nz
        distance, other = _nearest(scene, 0.5, 0, x, y, z, dx, dy, dz, BOUNCE_REACH, 0)
        sr, sg, sb = _ambient(dz)
        if other >= 0:
            qx, qy, qz = _surface(
                scene, other, x + distance * dx, y + distance * dy, z + distance * dz, dx, dy, dz, 0.0
            )
            glow = 0.30 + 0.55 * max(0.0, qx * lx + qy * ly + qz * lz)
            near = 1.0 - distance / BOUNCE_REACH
            sr += near * (scene[other, ALBEDO] * glow - sr)
            sg += near * (scene[other, ALBEDO + 1] * glow - sg)
            sb += near * (scene[other, ALBEDO + 2] * glow - sb)
        r, g, b = r + sr, g + sg, b + sb
    return r / rays, g / rays, b / rays


@_kernel()
def _shade(nx, ny, nz, dx, dy, dz, key, ambient, albedo, gloss):  # type: ignore[no-untyped-def]
    """Linear RGB of a surface against the unit direction of view: Lambert and Blinn-Phong."""
    hx, hy, hz = _LIGHT[0] - dx, _LIGHT[1] - dy, _LIGHT[2] - dz
    # Squared, the cosine to the half vector needs no root; its 48th power is the sheen of printed plastic.
    cosine = max(0.0, nx * hx + ny * hy + nz * hz)
    p2 = cosine * cosine / max(hx * hx + hy * hy + hz * hz, 1e-12)
    p8 = p2 * p2 * p2 * p2
    p16 = p8 * p8
    spark = gloss * p16 * p16 * p16 * min(1.0, 4.0 * key)
    return (
        albedo[0] * (ambient[0] + KEY[0] * key) + spark * KEY[0],
        albedo[1] * (ambient[1] + KEY[1] * key) + spark * KEY[1],
        albedo[2] * (ambient[2] + KEY[2] * key) + spark * KEY[2],
    )


@_kernel()
def _light(scene, g, px, py, pz, dx, dy, dz, shadow, bounce, seed, k):  # type: ignore[no-untyped-def]
    """Linear RGB from geom `g` at a world point against the unit direction of view."""
    nx, ny, nz = _surface(scene, g, px, py, pz, dx, dy, dz, BEVEL)
    key = max(0.0, nx * _LIGHT[0] + ny * _LIGHT[1] + nz * _LIGHT[2])
    ex, ey, ez = px + 2e-5 * nx, py + 2e-5 * ny, pz + 2e-5 * nz
    if shadow > 0 and key > 0.0:
        key *= _shadow(scene, ex, ey, ez, shadow, seed, k)
    ambient = _ambient(nz)
    if bounce > 0:
        ambient = _bounce(scene, ex, ey, ez, nx, ny, nz, bounce, seed, k)
    albedo = (scene[g, ALBEDO], scene[g, ALBEDO + 1], scene[g, ALBEDO + 2])
    return _shade(nx, ny, nz, dx, dy, dz, key, ambient, albedo, scene[g, GLOSS])


@_kernel()
def _see(scene, eye, dx, dy, dz, t, g, shadow, bounce, seed, k):  # type: ignore[no-untyped-def]
    """Linear RGB along a unit ray whose first hit is geom `g` at `t`; translucent geoms let what is behind through."""
    r, green, b, weight = 0.0, 0.0, 0.0, 1.0
    while g >= 0:
        px, py, pz = eye[0] + t * dx, eye[1] + t * dy, eye[2] + t * dz
        lr, lg, lb = _light(scene, g, px, py, pz, dx, dy, dz, shadow, bounce, seed, k)
        part = weight * min(1.0, scene[g, ALPHA])
        r, green, b, weight = r + part * lr, green + part * lg, b + part * lb, weight - part
        if weight < 0.01:
            return r, green, b
        start = t + 1e-6
        px, py, pz = eye[0] + start * dx, eye[1] + start * dy, eye[2] + start * dz
        t, g = _nearest(scene, 0.0, 0, px, py, pz, dx, dy, dz, math.inf, 0)
        t += start
    br, bg, bb = _background(dz)
    return r + weight * br, green + weight * bg, b + weight * bb


@_kernel()
def _put(pixel, tone, r, g, b):  # type: ignore[no-untyped-def]
    """Store linear light as display values."""
    pixel[0] = tone[min(4095, int(r * 2047.5 + 0.5))]
    pixel[1] = tone[min(4095, int(g * 2047.5 + 0.5))]
    pixel[2] = tone[min(4095, int(b * 2047.5 + 0.5))]


@_kernel()
def _plain(scene, eye, axes, tan_x, tan_y, tone, depth, owner, rgb):  # type: ignore[no-untyped-def]
    """Colour of a frame of one ray per pixel without shadow and bounce rays; much the same as `_see`, in another order.

    Row by row: normals and paints first, then the light of all pixels in one loop without branches, for SIMD.
    """
    height, width = depth.shape
    step_x, step_y = 2.0 * tan_x / width, 2.0 * tan_y / height
    eye_x, eye_y, eye_z = eye[0], eye[1], eye[2]
    rx, ry, rz = axes[0, 0], axes[1, 0], axes[2, 0]
    normal_x, normal_y, normal_z = np.empty(width), np.empty(width), np.empty(width)
    paint_r, paint_g, paint_b = np.empty(width), np.empty(width), np.empty(width)
    gloss, glow = np.empty(width), np.empty(width)
    for y in range(height):
        v = tan_y - (y + 0.5) * step_y
        cx, cy, cz = v * axes[0, 1] - axes[0, 2], v * axes[1, 1] - axes[1, 2], v * axes[2, 1] - axes[2, 2]
        for x in range(width):
            g = int(owner[y, x])
            u, t = (x + 0.5) * step_x - tan_x, depth[y, x]
            dx, dy, dz = cx + u * rx, cy + u * ry, cz + u * rz
            nx, ny, nz = 0.0, 0.0, 0.0
            if g < 0 or scene[g, ALPHA] < 1.0:
                scale = 1.0 / math.sqrt(1.0 + u * u + v * v)
                light = _see(scene, eye, dx * scale, dy * scale, dz * scale, t / scale, g, 0, 0, 0.0, 0)
                paint_r[x], paint_g[x], paint_b[x], gloss[x], glow[x] = light[0], light[1], light[2], 0.0, 1.0
            else:
                nx, ny, nz = _surface(scene, g, eye_x + t * dx, eye_y + t * dy, eye_z + t * dz, dx, dy, dz, 0.0)
                paint_r[x], paint_g[x], paint_b[x] = scene[g, ALBEDO], scene[g, ALBEDO + 1], scene[g, ALBEDO + 2]
                gloss[x], glow[x] = scene[g, GLOSS], 0.0
            normal_x[x], normal_y[x], normal_z[x] = nx, ny, nz
        for x in range(width):
            u = (x + 0.5) * step_x - tan_x
            scale = 1.0 / math.sqrt(1.0 + u * u + v * v)
            dx, dy, dz = (cx + u * rx) * scale, (cy + u * ry) * scale, (cz + u * rz) * scale
            nx, ny, nz = normal_x[x], normal_y[x], normal_z[x]
            key = max(0.0, nx * _LIGHT[0] + ny * _LIGHT[1] + nz * _LIGHT[2])
            own = glow[x]
            ar, ag, ab = _ambient(nz)
            # What glows by itself (sky, translucent geoms, lit already) has no normal, so no key light either.
            ambient = (ar + own * (1.0 - ar), ag + own * (1.0 - ag), ab + own * (1.0 - ab))
            paint = (paint_r[x], paint_g[x], paint_b[x])
            paint_r[x], paint_g[x], paint_b[x] = _shade(nx, ny, nz, dx, dy, dz, key, ambient, paint, gloss[x])
        for x in range(width):
            _put(rgb[y, x], tone, paint_r[x], paint_g[x], paint_b[x])


@_kernel(cache=True)
def draw(  # type: ignore[no-untyped-def]
    kinds, sizes, albedo, alpha, gloss, entity, position, matrix, eyes, axes, tan_y, tone, samples, shadow, bounce,
    rgb, entities, depths, start, stop,
):  # fmt: skip
    """Draw frames `start..stop` of N.

    kinds `[G]` int64, sizes `[N G 3]` [m], albedo `[N G 3]` linear, alpha `[N G]` (0 hides), gloss `[G]`, entity `[G]`
    int16; position `[N G 3]`, matrix `[N G 3 3]` of geoms, eyes `[N 3]`, axes `[N 3 3]` of cameras (MuJoCo's: x right,
    y up, looking along -z), all float64; tan_y the tangent of half the vertical field of view; tone is `TONE`.
    `samples` (odd) is the side of the grid of rays in a pixel, each with so many `shadow` and `bounce` rays; entity and
    depth are those of the middle. Outputs: rgb `[N h w 3]` uint8, entities `[N h w]` int16 (-1 for none), depths
    `[N h w]` float32 [m] along the optical axis (inf for none).
    """
    height, width = depths.shape[1], depths.shape[2]
    tan_x = tan_y * width / height
    fine_h, fine_w = height * samples, width * samples
    buffer, owner = np.empty((fine_h, fine_w)), np.empty((fine_h, fine_w), np.int32)
    middle, grid = samples // 2, samples * samples
    share, step_x, step_y = 1.0 / grid, 2.0 * tan_x / fine_w, 2.0 * tan_y / fine_h
    for n in range(start, stop):
        scene = _pack(kinds, sizes[n], position[n], matrix[n], albedo[n], alpha[n], gloss)
        eye, camera = eyes[n], axes[n]
        _rasterise(scene, eye, camera, tan_x, tan_y, buffer, owner)
        for y in range(height):
            for x in range(width):
                hit = owner[y * samples + middle, x * samples + middle]
                entities[n, y, x] = entity[int(scene[hit, GEOM])] if hit >= 0 else -1
                depths[n, y, x] = buffer[y * samples + middle, x * samples + middle]
        if samples == 1 and shadow == 0 and bounce == 0:
            _plain(scene, eye, camera, tan_x, tan_y, tone, buffer, owner, rgb[n])
            continue
        for y in range(height):
            for x in range(width):
                # Interleaved gradient noise (Jimenez 2014) sets neighbouring pixels' sample points apart.
                seed = 0.06711056 * x + 0.00583715 * y
                seed = 52.9829189 * (seed - math.floor(seed))
                r, g, b = 0.0, 0.0, 0.0
                for k in range(grid):
                    row, column = (0, 0) if samples == 1 else (k // samples, k % samples)
                    fy, fx = y * samples + row, x * samples + column
                    u, v = (fx + 0.5) * step_x - tan_x, tan_y - (fy + 0.5) * step_y
                    length = math.sqrt(u * u + v * v + 1.0)
                    inverse = 1.0 / length
                    dx = (u * camera[0, 0] + v * camera[0, 1] - camera[0, 2]) * inverse
                    dy = (u * camera[1, 0] + v * camera[1, 1] - camera[1, 2]) * inverse
                    dz = (u * camera[2, 0] + v * camera[2, 1] - camera[2, 2]) * inverse
                    t = buffer[fy, fx] * length
                    sr, sg, sb = _see(scene, eye, dx, dy, dz, t, owner[fy, fx], shadow, bounce, seed, k)
                    r, g, b = r + sr * share, g + sg * share, b + sb * share
                _put(rgb[n, y, x], tone, r, g, b)


@_kernel(cache=True)
def cast(kinds, sizes, alpha, position, matrix, origins, directions, distance, geom):  # type: ignore[no-untyped-def]
    """Single rays through one world, the plain twin of `draw`: origins, directions `[R 3]` -> distance, geom `[R]`.

    kinds `[G]`, sizes `[G 3]`, alpha `[G]`, position `[G 3]`, matrix `[G 3 3]`. As `mj_ray`: distances are in lengths
    of the direction, -1 with geom -1 for no hit.
    """
    scene = _pack(kinds, sizes, position, matrix, sizes, alpha, alpha)
    for i in range(origins.shape[0]):
        o, d = origins[i], directions[i]
        t, g = _nearest(scene, 0.0, 1, o[0], o[1], o[2], d[0], d[1], d[2], math.inf, 0)
        distance[i], geom[i] = (t, int(scene[g, GEOM])) if g >= 0 else (-1.0, -1)
