"""The signed distance of two boxes compiled pair by pair, for numpy: `geometry.box_signed_distance`, fast."""

import math

import numpy as np

from envs.compiled import kernel
from envs.types import Array


def box_gaps(boxes_a: tuple[Array, Array, Array], boxes_b: tuple[Array, Array, Array]) -> Array:
    """Signed distances `[*B]` [m] of boxes, each positions `[*B 3]`, quaternions `[*B 4]`, half extents `[*B 3]`."""
    arrays = (*boxes_a, *boxes_b)
    batch = np.broadcast_shapes(*(array.shape[:-1] for array in arrays))
    rows = [
        np.ascontiguousarray(np.broadcast_to(array, (*batch, array.shape[-1])), np.float64).reshape(-1, array.shape[-1])
        for array in arrays
    ]
    gaps = np.empty(len(rows[0]))
    _gaps(*rows, gaps)
    return gaps.reshape(batch)


@kernel()
def _matrix(q: Array, out: Array) -> None:
    w, x, y, z = q[0], q[1], q[2], q[3]
    out[0, 0], out[0, 1], out[0, 2] = 1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y - w * z), 2.0 * (x * z + w * y)
    out[1, 0], out[1, 1], out[1, 2] = 2.0 * (x * y + w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z - w * x)
    out[2, 0], out[2, 1], out[2, 2] = 2.0 * (x * z - w * y), 2.0 * (y * z + w * x), 1.0 - 2.0 * (x * x + y * y)


@kernel()
def _gaps(pa: Array, qa: Array, ha: Array, pb: Array, qb: Array, hb: Array, gaps: Array) -> None:
    a, b, r, s = np.empty((3, 3)), np.empty((3, 3)), np.empty((3, 3)), np.empty((3, 3))
    t, u, back = np.empty(3), np.empty(3), np.empty(3)
    for n in range(gaps.shape[0]):
        _matrix(qa[n], a)
        _matrix(qb[n], b)
        x, y, z = pb[n, 0] - pa[n, 0], pb[n, 1] - pa[n, 1], pb[n, 2] - pa[n, 2]
        for i in range(3):
            t[i] = a[0, i] * x + a[1, i] * y + a[2, i] * z
            u[i] = b[0, i] * x + b[1, i] * y + b[2, i] * z
            back[i] = -u[i]
            for j in range(3):
                # Box b's axes in a's frame, and the other way round.
                r[i, j] = s[j, i] = a[0, i] * b[0, j] + a[1, i] * b[1, j] + a[2, i] * b[2, j]
        gap = max(_edges(t, r, ha[n], hb[n]), max(_faces(t, r, ha[n], hb[n]), _faces(u, s, hb[n], ha[n])))
        ax, ay, az, of_b = _corner(t, r, ha[n], hb[n])
        bx, by, bz, of_a = _corner(back, s, hb[n], ha[n])
        if of_b > of_a:
            ax, ay, az = _turned(r, bx, by, bz)
        length = math.sqrt(min(of_a, of_b))
        if length > 2.3e-16:
            bx, by, bz = _turned(s, ax, ay, az)
            reach = ha[n, 0] * abs(ax) + ha[n, 1] * abs(ay) + ha[n, 2] * abs(az)
            reach += hb[n, 0] * abs(bx) + hb[n, 1] * abs(by) + hb[n, 2] * abs(bz)
            gap = max(gap, (abs(t[0] * ax + t[1] * ay + t[2] * az) - reach) / length)
        gaps[n] = gap


@kernel()
def _turned(r: Array, x: float, y: float, z: float) -> tuple[float, float, float]:
    return (
        r[0, 0] * x + r[0, 1] * y + r[0, 2] * z,
        r[1, 0] * x + r[1, 1] * y + r[1, 2] * z,
        r[2, 0] * x + r[2, 1] * y + r[2, 2] * z,
    )


@kernel()
def _faces(t: Array, r: Array, ha: Array, hb: Array) -> float:
    """The largest gap over the face normals of a box a, with the other's centre `t` and axes `r` in a's frame."""
    best = -math.inf
    for i in range(3):
        reach = ha[i] + abs(r[i, 0]) * hb[0] + abs(r[i, 1]) * hb[1] + abs(r[i, 2]) * hb[2]
        best = max(best, abs(t[i]) - reach)
    return best


@kernel()
def _edges(t: Array, r: Array, ha: Array, hb: Array) -> float:
    """The largest gap over the nine axes a_i x b_j."""
    best = -math.inf
    for i in range(3):
        k, m = (i + 1) % 3, (i + 2) % 3
        for j in range(3):
            f, g = (j + 1) % 3, (j + 2) % 3
            length = math.sqrt(r[k, j] * r[k, j] + r[m, j] * r[m, j])
            if length > 1e-6:
                reach = ha[k] * abs(r[m, j]) + ha[m] * abs(r[k, j]) + hb[f] * abs(r[i, g]) + hb[g] * abs(r[i, f])
                best = max(best, (abs(t[m] * r[k, j] - t[k] * r[m, j]) - reach) / length)
    return best


@kernel()
def _corner(t: Array, r: Array, ha: Array, hb: Array) -> tuple[float, float, float, float]:
    """From box a to the nearest corner of the other, in a's frame, and the square of how far that is."""
    nx, ny, nz, least = 0.0, 0.0, 0.0, math.inf
    for corner in range(8):
        x, y, z = _turned(
            r, (hb[0] if corner & 1 else -hb[0]), (hb[1] if corner & 2 else -hb[1]), (hb[2] if corner & 4 else -hb[2])
        )
        x, y, z = x + t[0], y + t[1], z + t[2]
        # What remains of a corner once its projection onto the box is taken off is the vector between the two.
        x, y, z = x - min(max(x, -ha[0]), ha[0]), y - min(max(y, -ha[1]), ha[1]), z - min(max(z, -ha[2]), ha[2])
        square = x * x + y * y + z * z
        if square < least:
            nx, ny, nz, least = x, y, z, square
    return nx, ny, nz, least
