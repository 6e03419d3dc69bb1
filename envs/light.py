# ruff: noqa: ANN001, ANN201, ANN202
"""Light on what rays hit: Lambert and Blinn-Phong under a soft key light and the sky, with shadows and one bounce."""

import math

import numpy as np

from envs.rays import (
    ALBEDO,
    ALPHA,
    BOX,
    CAPSULE,
    CYLINDER,
    ELLIPSOID,
    GLOSS,
    KIND,
    PLANE,
    POSITION,
    SIZE,
    nearest,
    ray_kernel,
    to_local,
    to_world,
)  # fmt: skip
from envs.types import Array

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
LIGHT = tuple(float(v) for v in np.array(TOWARDS_LIGHT) / np.linalg.norm(TOWARDS_LIGHT))


@ray_kernel()
def _edge(distance, least, width):  # type: ignore[no-untyped-def]
    """Weight of a face's normal at some distance from it: 1 for the nearest, more than 0 for others within `width`."""
    return max(0.0, 1.0 - (distance - least) / width)


@ray_kernel()
def surface(scene, g, px, py, pz, dx, dy, dz, bevel):  # type: ignore[no-untyped-def]
    """World normal of geom `g` at a world point of its surface, turned against the viewing direction.

    Boxes and cylinders are lit as if their edges were rounded by `bevel` [m].
    """
    kind = int(scene[g, KIND])
    sx, sy, sz = scene[g, SIZE], scene[g, SIZE + 1], scene[g, SIZE + 2]
    x, y, z = to_local(scene, g, px - scene[g, POSITION], py - scene[g, POSITION + 1], pz - scene[g, POSITION + 2])
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
    nx, ny, nz = to_world(scene, g, x, y, z)
    scale = math.copysign(1.0 / math.sqrt(max(x * x + y * y + z * z, 1e-24)), -(nx * dx + ny * dy + nz * dz))
    return nx * scale, ny * scale, nz * scale


@ray_kernel()
def background(up):  # type: ignore[no-untyped-def]
    """Sky: a gradient over the height of a unit direction."""
    w = min(1.0, 1.6 * max(0.0, up))
    return (
        HORIZON[0] + w * (ZENITH[0] - HORIZON[0]),
        HORIZON[1] + w * (ZENITH[1] - HORIZON[1]),
        HORIZON[2] + w * (ZENITH[2] - HORIZON[2]),
    )


@ray_kernel()
def ambient_of(up):  # type: ignore[no-untyped-def]
    """Light of the hemisphere around a unit direction, half sky and half ground where it is level."""
    w = 0.5 + 0.5 * up
    return (
        GROUND[0] + w * (SKY[0] - GROUND[0]),
        GROUND[1] + w * (SKY[1] - GROUND[1]),
        GROUND[2] + w * (SKY[2] - GROUND[2]),
    )


@ray_kernel()
def _basis(nx, ny, nz):  # type: ignore[no-untyped-def]
    """Two unit vectors perpendicular to a unit vector (Duff et al. 2017, JCGT 6(1))."""
    sign = math.copysign(1.0, nz)
    a = -1.0 / (sign + nz)
    b = nx * ny * a
    return 1.0 + sign * nx * nx * a, sign * b, -sign * nx, b, sign + ny * ny * a, -ny


@ray_kernel()
def _point(seed, index):  # type: ignore[no-untyped-def]
    """A point of the R2 sequence (Roberts 2018) in the unit square, shifted by the pixel's seed."""
    u, v = seed + index * 0.7548776662466927, seed * 7.13 + index * 0.5698402909980532
    return u - math.floor(u), v - math.floor(v)


@ray_kernel()
def _shadow(scene, x, y, z, rays, seed, k):  # type: ignore[no-untyped-def]
    """Share of the disc-shaped key light that a point sees."""
    lx, ly, lz = LIGHT
    ux, uy, uz, vx, vy, vz = _basis(lx, ly, lz)
    clear = 0
    for ray in range(rays):
        a, b = _point(seed, k * rays + ray)
        r, phi = LIGHT_RADIUS * math.sqrt(a), 2.0 * math.pi * b
        s, t = r * math.cos(phi), r * math.sin(phi)
        dx, dy, dz = lx + s * ux + t * vx, ly + s * uy + t * vy, lz + s * uz + t * vz
        _, blocker = nearest(scene, 0.5, 0, x, y, z, dx, dy, dz, math.inf, 1)
        clear += blocker < 0
    return clear / rays


@ray_kernel()
def _bounce(scene, x, y, z, nx, ny, nz, rays, seed, k):  # type: ignore[no-untyped-def]
    """Ambient light at a point by rays into the cosine-weighted hemisphere: occlusion and one bounce of colour."""
    lx, ly, lz = LIGHT
    ux, uy, uz, vx, vy, vz = _basis(nx, ny, nz)
    r, g, b = 0.0, 0.0, 0.0
    for ray in range(rays):
        square, turn = _point(seed + 0.37, k * rays + ray)
        phi = 2.0 * math.pi * turn
        s, t, w = math.sqrt(square) * math.cos(phi), math.sqrt(square) * math.sin(phi), math.sqrt(1.0 - square)
        dx, dy, dz = s * ux + t * vx + w * nx, s * uy + t * vy + w * ny, s * uz + t * vz + w * nz
        distance, other = nearest(scene, 0.5, 0, x, y, z, dx, dy, dz, BOUNCE_REACH, 0)
        sr, sg, sb = ambient_of(dz)
        if other >= 0:
            qx, qy, qz = surface(scene, other, x + distance * dx, y + distance * dy, z + distance * dz, dx, dy, dz, 0.0)
            glow = 0.30 + 0.55 * max(0.0, qx * lx + qy * ly + qz * lz)
            near = 1.0 - distance / BOUNCE_REACH
            sr += near * (scene[other, ALBEDO] * glow - sr)
            sg += near * (scene[other, ALBEDO + 1] * glow - sg)
            sb += near * (scene[other, ALBEDO + 2] * glow - sb)
        r, g, b = r + sr, g + sg, b + sb
    return r / rays, g / rays, b / rays


@ray_kernel()
def shade(nx, ny, nz, dx, dy, dz, key, ambient, albedo, gloss):  # type: ignore[no-untyped-def]
    """Linear RGB of a surface against the unit direction of view: Lambert and Blinn-Phong."""
    hx, hy, hz = LIGHT[0] - dx, LIGHT[1] - dy, LIGHT[2] - dz
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


@ray_kernel()
def _light(scene, g, px, py, pz, dx, dy, dz, shadow, bounce, seed, k):  # type: ignore[no-untyped-def]
    """Linear RGB from geom `g` at a world point against the unit direction of view."""
    nx, ny, nz = surface(scene, g, px, py, pz, dx, dy, dz, BEVEL)
    key = max(0.0, nx * LIGHT[0] + ny * LIGHT[1] + nz * LIGHT[2])
    ex, ey, ez = px + 2e-5 * nx, py + 2e-5 * ny, pz + 2e-5 * nz
    if shadow > 0 and key > 0.0:
        key *= _shadow(scene, ex, ey, ez, shadow, seed, k)
    ambient = ambient_of(nz)
    if bounce > 0:
        ambient = _bounce(scene, ex, ey, ez, nx, ny, nz, bounce, seed, k)
    albedo = (scene[g, ALBEDO], scene[g, ALBEDO + 1], scene[g, ALBEDO + 2])
    return shade(nx, ny, nz, dx, dy, dz, key, ambient, albedo, scene[g, GLOSS])


@ray_kernel()
def see(scene, eye, dx, dy, dz, t, g, shadow, bounce, seed, k):  # type: ignore[no-untyped-def]
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
        t, g = nearest(scene, 0.0, 0, px, py, pz, dx, dy, dz, math.inf, 0)
        t += start
    br, bg, bb = background(dz)
    return r + weight * br, green + weight * bg, b + weight * bb


@ray_kernel()
def put(pixel, tone, r, g, b):  # type: ignore[no-untyped-def]
    """Store linear light as display values."""
    pixel[0] = tone[min(4095, int(r * 2047.5 + 0.5))]
    pixel[1] = tone[min(4095, int(g * 2047.5 + 0.5))]
    pixel[2] = tone[min(4095, int(b * 2047.5 + 0.5))]
