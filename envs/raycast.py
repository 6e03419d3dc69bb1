# ruff: noqa: ANN001, ANN201, ANN202
"""A ray-caster for MuJoCo's primitive geoms, compiled by numba: colour, entities and depth without OpenGL.

First the geoms are drawn into a depth buffer (`envs.depth_buffer`), then each pixel is lit once (`envs.light`).

Kernels release the GIL and start no threads of their own, since numba's thread pools abort the process when two Python
threads, or a forked child, enter them.
"""

import math

import numpy as np

from envs.depth_buffer import FACES, rasterise
from envs.light import KEY, LIGHT, ambient_of, background, put, see, shade, surface
from envs.rays import (
    ALBEDO,
    ALPHA,
    BOX,
    CYLINDER,
    GEOM,
    GLOSS,
    HALF,
    KIND,
    MATRIX,
    PLANE,
    POSITION,
    pack,
    ray_kernel,
)  # fmt: skip

# Columns of a table of faces: linear RGB but for the highlight, the cosine to the key light, the signed distance of the
# face's plane from the eye, the highlight's strength, and 1 for curved or translucent faces, which have none of these.
PAINT, FACING, DISTANCE, SPARK, OTHER, FACE_COLUMNS = 0, 3, 4, 5, 6, 8


@ray_kernel()
def _faces(scene, eye, table):  # type: ignore[no-untyped-def]
    """Fill a table `[FACES * (G + 1) FACE_COLUMNS]` for the faces that the eye sees: all that pixels have in common."""
    for g in range(scene.shape[0]):
        kind = int(scene[g, KIND])
        for face in range(FACES):
            row = table[FACES * (g + 1) + face]
            flat = kind in (PLANE, BOX) or (kind == CYLINDER and face == 1)
            row[OTHER] = 0.0 if flat and scene[g, ALPHA] >= 1.0 else 1.0
            if row[OTHER] > 0.0:
                continue
            axis = face if kind == BOX else 2
            nx, ny, nz = scene[g, MATRIX + axis], scene[g, MATRIX + 3 + axis], scene[g, MATRIX + 6 + axis]
            rx, ry, rz = scene[g, POSITION] - eye[0], scene[g, POSITION + 1] - eye[1], scene[g, POSITION + 2] - eye[2]
            away = nx * rx + ny * ry + nz * rz
            if away > 0.0:
                nx, ny, nz, away = -nx, -ny, -nz, -away
            row[DISTANCE] = away + (0.0 if kind == PLANE else scene[g, HALF + axis])
            row[FACING] = nx * LIGHT[0] + ny * LIGHT[1] + nz * LIGHT[2]
            key, ambient = max(0.0, row[FACING]), ambient_of(nz)
            row[SPARK] = scene[g, GLOSS] * min(1.0, 4.0 * key)
            for i in range(3):
                row[PAINT + i] = scene[g, ALBEDO + i] * (ambient[i] + KEY[i] * key)


@ray_kernel()
def _plain(scene, eye, axes, tan_x, tan_y, tone, column, lengths, half, faces, inverse, owner, rgb):  # type: ignore[no-untyped-def]
    """Colour of a frame of one ray per pixel without shadow and bounce rays; much the same as `see`, in another order.

    A flat face has one normal, so only its highlight differs from pixel to pixel. With `q` the length of the ray to
    unit depth, the cosine to the half vector is (q facing - distance / depth) / sqrt(2 q (q - light . ray)).
    """
    height, width = inverse.shape
    step_x, step_y = 2.0 * tan_x / width, 2.0 * tan_y / height
    eye_x, eye_y, eye_z = eye[0], eye[1], eye[2]
    rx, ry, rz = axes[0, 0], axes[1, 0], axes[2, 0]
    across = rx * LIGHT[0] + ry * LIGHT[1] + rz * LIGHT[2]
    for y in range(height):
        v = tan_y - (y + 0.5) * step_y
        cx, cy, cz = v * axes[0, 1] - axes[0, 2], v * axes[1, 1] - axes[1, 2], v * axes[2, 1] - axes[2, 2]
        towards = cx * LIGHT[0] + cy * LIGHT[1] + cz * LIGHT[2]
        length, near, names, pixels = lengths[y], inverse[y], owner[y], rgb[y]
        for x in range(width):
            u = (column[x] + 0.5) * step_x - tan_x
            q = length[x]
            half[x] = 0.5 / max(q * (q - (towards + u * across)), 1e-12)
        for x in range(width):
            code, w, q = names[x], near[x], length[x]
            face = faces[code]
            if code > 0 and face[OTHER] == 0.0:
                cosine = max(0.0, q * face[FACING] - w * face[DISTANCE])
                p2 = cosine * cosine * half[x]
                p8 = p2 * p2 * p2 * p2
                p16 = p8 * p8
                spark = face[SPARK] * p16 * p16 * p16
                r, g, b = (
                    face[PAINT] + spark * KEY[0],
                    face[PAINT + 1] + spark * KEY[1],
                    face[PAINT + 2] + spark * KEY[2],
                )
            else:
                u = (x + 0.5) * step_x - tan_x
                dx, dy, dz = cx + u * rx, cy + u * ry, cz + u * rz
                scale = 1.0 / q
                if code == 0:
                    r, g, b = background(dz * scale)
                else:
                    row, t = code // FACES - 1, 1.0 / w
                    if scene[row, ALPHA] < 1.0:
                        r, g, b = see(scene, eye, dx * scale, dy * scale, dz * scale, t * q, row, 0, 0, 0.0, 0)
                    else:
                        nx, ny, nz = surface(
                            scene, row, eye_x + t * dx, eye_y + t * dy, eye_z + t * dz, dx, dy, dz, 0.0
                        )
                        key = max(0.0, nx * LIGHT[0] + ny * LIGHT[1] + nz * LIGHT[2])
                        albedo = (scene[row, ALBEDO], scene[row, ALBEDO + 1], scene[row, ALBEDO + 2])
                        r, g, b = shade(
                            nx,
                            ny,
                            nz,
                            dx * scale,
                            dy * scale,
                            dz * scale,
                            key,
                            ambient_of(nz),
                            albedo,
                            scene[row, GLOSS],
                        )
            put(pixels[x], tone, r, g, b)


@ray_kernel(cache=True)
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
    inverse, owner = np.empty((fine_h, fine_w)), np.empty((fine_h, fine_w), np.int32)
    column, half, lengths = np.arange(fine_w) + 0.0, np.empty(fine_w), np.empty((fine_h, fine_w))
    middle, grid = samples // 2, samples * samples
    share, step_x, step_y = 1.0 / grid, 2.0 * tan_x / fine_w, 2.0 * tan_y / fine_h
    for y in range(fine_h):
        for x in range(fine_w):
            u, v = (x + 0.5) * step_x - tan_x, tan_y - (y + 0.5) * step_y
            lengths[y, x] = math.sqrt(u * u + v * v + 1.0)
    faces = np.zeros((FACES * (len(kinds) + 1), FACE_COLUMNS))
    names = np.full(FACES * (len(kinds) + 1), -1, np.int16)
    for n in range(start, stop):
        scene = pack(kinds, sizes[n], position[n], matrix[n], albedo[n], alpha[n], gloss)
        eye, camera = eyes[n], axes[n]
        rasterise(scene, eye, camera, tan_x, tan_y, column, inverse, owner)
        for g in range(scene.shape[0]):
            names[FACES * (g + 1) : FACES * (g + 2)] = entity[int(scene[g, GEOM])]
        for y in range(height):
            for x in range(width):
                entities[n, y, x] = names[owner[y * samples + middle, x * samples + middle]]
            for x in range(width):
                depths[n, y, x] = 1.0 / inverse[y * samples + middle, x * samples + middle]
        if samples == 1 and shadow == 0 and bounce == 0:
            _faces(scene, eye, faces)
            _plain(scene, eye, camera, tan_x, tan_y, tone, column, lengths, half, faces, inverse, owner, rgb[n])
            continue
        for y in range(height):
            for x in range(width):
                # Interleaved gradient noise (Jimenez 2014) sets neighbouring pixels' sample points apart.
                seed = 0.06711056 * x + 0.00583715 * y
                seed = 52.9829189 * (seed - math.floor(seed))
                red, green, blue = 0.0, 0.0, 0.0
                for k in range(grid):
                    fy, fx = y * samples + k // samples, x * samples + k % samples
                    u, v = (fx + 0.5) * step_x - tan_x, tan_y - (fy + 0.5) * step_y
                    scale = 1.0 / lengths[fy, fx]
                    dx = (u * camera[0, 0] + v * camera[0, 1] - camera[0, 2]) * scale
                    dy = (u * camera[1, 0] + v * camera[1, 1] - camera[1, 2]) * scale
                    dz = (u * camera[2, 0] + v * camera[2, 1] - camera[2, 2]) * scale
                    t, hit = lengths[fy, fx] / inverse[fy, fx], owner[fy, fx] // FACES - 1
                    sr, sg, sb = see(scene, eye, dx, dy, dz, t, hit, shadow, bounce, seed, k)
                    red, green, blue = red + sr * share, green + sg * share, blue + sb * share
                put(rgb[n, y, x], tone, red, green, blue)
