"""Rotations and boxes on numpy arrays and torch tensors alike, over any leading batch shape `*B`.

Quaternions are `wxyz` and of unit length; vectors and half extents are in metres, angles in radians. A box is a centre,
an orientation and its half extents along its own axes.
"""

from typing import Any

import numpy as np
from array_api_compat import array_namespace

from envs.types import Array

_NEXT = [1, 2, 0]
_AFTER_NEXT = [2, 0, 1]


def quat_multiply(a: Array, b: Array) -> Array:
    """The Hamilton product `a b` of `[*B 4]`: rotates by `b` first, then by `a`."""
    xp = array_namespace(a, b)
    aw, ax, ay, az = (a[..., i] for i in range(4))
    bw, bx, by, bz = (b[..., i] for i in range(4))
    return xp.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        axis=-1,
    )


def quat_conjugate(q: Array) -> Array:
    """The inverse of a unit quaternion `[*B 4]`."""
    xp = array_namespace(q)
    return xp.concat([q[..., :1], -q[..., 1:]], axis=-1)


def quat_rotate(q: Array, v: Array) -> Array:
    """`v` `[*B 3]` rotated by `q` `[*B 4]`: v + 2 w (u x v) + 2 u x (u x v) with q = (w, u)."""
    w, u = q[..., :1], q[..., 1:]
    twice = 2.0 * _cross(u, v)
    return v + w * twice + _cross(u, twice)


def quat_to_matrix(q: Array) -> Array:
    """The rotation matrix `[*B 3 3]` of `q` `[*B 4]`; its columns are the rotated axes."""
    xp = array_namespace(q)
    rows = _matrix_entries(q)
    return xp.stack([xp.stack(row, axis=-1) for row in rows], axis=-2)


def matrix_to_quat(m: Array) -> Array:
    """The unit quaternion `[*B 4]`, with w >= 0, of a rotation matrix `[*B 3 3]`.

    Shepperd's method: of four formulas the one with the largest divisor, so that no rotation loses precision.
    """
    xp = array_namespace(m)
    xx, yy, zz = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    a, b, c = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    d, e, f = m[..., 1, 0] + m[..., 0, 1], m[..., 0, 2] + m[..., 2, 0], m[..., 2, 1] + m[..., 1, 2]
    # Row i is 4 q_i q: each row is the quaternion up to length, and the longest row is the best conditioned.
    rows = xp.stack(
        [
            xp.stack([1.0 + xx + yy + zz, a, b, c], axis=-1),
            xp.stack([a, 1.0 + xx - yy - zz, d, e], axis=-1),
            xp.stack([b, d, 1.0 - xx + yy - zz, f], axis=-1),
            xp.stack([c, e, f, 1.0 - xx - yy + zz], axis=-1),
        ],
        axis=-2,
    )
    squared = xp.sum(rows * rows, axis=-1)
    best = rows[..., 0, :]
    best_squared = squared[..., 0]
    for i in range(1, 4):
        longer = squared[..., i] > best_squared
        best = xp.where(longer[..., None], rows[..., i, :], best)
        best_squared = xp.where(longer, squared[..., i], best_squared)
    q = best / xp.sqrt(best_squared)[..., None]
    return xp.where(q[..., :1] < 0, -q, q)


def quat_from_yaw(yaw: Array) -> Array:
    """The quaternion `[*B 4]` of a turn by `yaw` `[*B]` [rad] about world z."""
    xp = array_namespace(yaw)
    zero = xp.zeros_like(yaw)
    return xp.stack([xp.cos(yaw / 2), zero, zero, xp.sin(yaw / 2)], axis=-1)


def yaw_of(q: Array) -> Array:
    """The heading `[*B]` in (-pi, pi] of the rotated x axis, seen from above [rad]."""
    xp = array_namespace(q)
    w, x, y, z = (q[..., i] for i in range(4))
    return xp.atan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z))


def half_height(quaternion: Array, half: Array) -> Array:
    """How far a box reaches above and below its centre, along world z `[*B]` [m]."""
    w, x, y, z = (quaternion[..., i] for i in range(4))
    xp = array_namespace(quaternion, half)
    return (
        xp.abs(2.0 * (x * z - w * y)) * half[..., 0]
        + xp.abs(2.0 * (y * z + w * x)) * half[..., 1]
        + xp.abs(1.0 - 2.0 * (x * x + y * y)) * half[..., 2]
    )


def point_box_distance(point: Array, position: Array, quaternion: Array, half: Array) -> Array:
    """Signed distance `[*B]` from a point `[*B 3]` to a box's surface, negative inside [m]."""
    xp = array_namespace(point, position)
    excess = xp.abs(quat_rotate(quat_conjugate(quaternion), point - position)) - half
    outside = xp.clip(excess, 0.0, None)
    inside = xp.clip(xp.max(excess, axis=-1), None, 0.0)
    return xp.sqrt(xp.sum(outside * outside, axis=-1)) + inside


def box_signed_distance(
    pos_a: Array, quat_a: Array, half_a: Array, pos_b: Array, quat_b: Array, half_b: Array
) -> Array:
    """The exact signed distance `[*B]` of two boxes [m]: their separation, or minus the depth of penetration.

    Arguments broadcast. Any unit direction n gives a lower bound, the gap between the boxes' shadows on n; the signed
    distance is the largest of these. The largest is reached at one of the 15 separating axes (3 + 3 face normals, 9
    products of edges), unless the nearest points include a corner; then at the direction from that corner to the other
    box, and corner-to-box distances are closed form. So 15 axes and one corner direction suffice: no search over pairs
    of edges, no iteration, no branch. (Separating axes: Gottschalk et al., OBBTree, 1996.)

    Edges that are parallel to within 1e-6 rad (float64) or 1e-3 rad (float32) give no axis; this and rounding bound the
    error at about 1e-8 m and 1e-5 m for boxes of centimetres.
    """
    arrays = (pos_a, quat_a, half_a, pos_b, quat_b, half_b)
    if all(isinstance(array, np.ndarray) and array.dtype == np.float64 for array in arrays):
        # Its compiled twin; imported here, as who only turns quaternions should not load numba.
        from envs.box_gaps import box_gaps

        return box_gaps(arrays[:3], arrays[3:])
    xp = array_namespace(pos_a, quat_a, pos_b, quat_b)
    batch = xp.broadcast_shapes(*(tuple(x.shape[:-1]) for x in arrays))
    # From here on one flat batch comes last ([3 n], [3 3 n]): with short inner axes everything is several times slower.
    pa, qa, ha, pb, qb, hb = (_components_first(xp, x, batch) for x in arrays)
    axes_a, axes_b = _axes(xp, qa), _axes(xp, qb)
    offset = pb - pa
    t = xp.sum(axes_a * offset[:, None], axis=0)
    u = xp.sum(axes_b * offset[:, None], axis=0)
    r = xp.sum(axes_a[:, :, None] * axes_b[:, None, :], axis=0)
    size = xp.abs(r)
    faces_a = xp.abs(t) - ha - xp.sum(size * hb[None], axis=1)
    faces_b = xp.abs(u) - hb - xp.sum(size * ha[:, None], axis=0)
    best = xp.maximum(xp.max(faces_a, axis=0), xp.max(faces_b, axis=0))
    best = xp.maximum(best, _edge_axes(xp, t, r, size, ha, hb))
    return xp.reshape(xp.maximum(best, _corner_direction(xp, t, u, r, ha, hb)), batch)


def _edge_axes(xp: Any, t: Array, r: Array, size: Array, ha: Array, hb: Array) -> Array:
    """The largest gap over the nine axes a_i x b_j."""
    # Repeating the first two rows or columns turns "the next axis, and the one after" into views.
    rows = xp.concat([r, r[:2]], axis=0)
    sizes, columns = xp.abs(rows), xp.concat([size, size[:, :2]], axis=1)
    reach_a = ha[_NEXT][:, None] * sizes[2:] + ha[_AFTER_NEXT][:, None] * sizes[1:4]
    reach_b = hb[_NEXT][None] * columns[:, 2:] + hb[_AFTER_NEXT][None] * columns[:, 1:4]
    gap = xp.abs(t[_AFTER_NEXT][:, None] * rows[1:4] - t[_NEXT][:, None] * rows[2:]) - reach_a - reach_b
    length = xp.sqrt(rows[1:4] ** 2 + rows[2:] ** 2)
    usable = length > (1e-6 if xp.finfo(t.dtype).eps < 1e-12 else 1e-3)
    gap = xp.where(usable, gap / xp.where(usable, length, 1.0), -xp.inf)
    return xp.max(xp.reshape(gap, (9, -1)), axis=0)


def _corner_direction(xp: Any, t: Array, u: Array, r: Array, ha: Array, hb: Array) -> Array:
    """The gap along the way from the nearest of the sixteen corners to the other box; -inf if one is inside.

    Two sides are worked on at once: corners of b in a's frame, and corners of a in b's frame.
    """
    edges = xp.stack([xp.moveaxis(r, 1, 0) * hb[:, None], r * ha[:, None]], axis=1)
    centre, half = xp.stack([t, -u]), xp.stack([ha, hb])
    corners = xp.stack([centre - edges[0], centre + edges[0]])
    corners = xp.concat([corners - edges[1], corners + edges[1]])
    corners = xp.concat([corners - edges[2], corners + edges[2]])
    # What remains of a corner once its projection onto the box is taken off is the vector between the two.
    vector = corners - xp.minimum(xp.maximum(corners, -half), half)
    squared = vector[:, :, 0] ** 2 + vector[:, :, 1] ** 2 + vector[:, :, 2] ** 2
    while squared.shape[0] > 1:
        middle = squared.shape[0] // 2
        nearer = squared[:middle] <= squared[middle:]
        vector = xp.where(nearer[:, :, None], vector[:middle], vector[middle:])
        squared = xp.minimum(squared[:middle], squared[middle:])
    of_b, of_a = vector[0, 0], xp.sum(r * vector[0, 1], axis=1)
    normal = xp.where(squared[0, 0] <= squared[0, 1], of_b, of_a)
    length = xp.sqrt(xp.minimum(squared[0, 0], squared[0, 1]))
    usable = length > float(xp.finfo(t.dtype).eps)
    across = xp.sum(r * normal[:, None], axis=0)
    reach = xp.sum(ha * xp.abs(normal), axis=0) + xp.sum(hb * xp.abs(across), axis=0)
    gap = xp.abs(xp.sum(t * normal, axis=0)) - reach
    return xp.where(usable, gap / xp.where(usable, length, 1.0), -xp.inf)


def _axes(xp: Any, q: Array) -> Array:
    """`[3 3 *B]` from `[4 *B]`: first index the component, second the axis."""
    return xp.stack([xp.stack(row, axis=0) for row in _entries(*(q[i] for i in range(4)))], axis=0)


def _matrix_entries(q: Array) -> list[list[Array]]:
    return _entries(*(q[..., i] for i in range(4)))


def _entries(w: Array, x: Array, y: Array, z: Array) -> list[list[Array]]:
    xx, yy, zz, xy, xz, yz = x * x, y * y, z * z, x * y, x * z, y * z
    wx, wy, wz = w * x, w * y, w * z
    return [
        [1.0 - 2.0 * (yy + zz), 2.0 * (xy - wz), 2.0 * (xz + wy)],
        [2.0 * (xy + wz), 1.0 - 2.0 * (xx + zz), 2.0 * (yz - wx)],
        [2.0 * (xz - wy), 2.0 * (yz + wx), 1.0 - 2.0 * (xx + yy)],
    ]


def _cross(a: Array, b: Array) -> Array:
    xp = array_namespace(a, b)
    ax, ay, az = a[..., 0], a[..., 1], a[..., 2]
    bx, by, bz = b[..., 0], b[..., 1], b[..., 2]
    return xp.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], axis=-1)


def _components_first(xp: Any, x: Array, batch: tuple[int, ...]) -> Array:
    """`[c n]`, contiguous, from `[... c]` broadcast to the batch shape."""
    size = x.shape[-1]
    flat = xp.reshape(xp.broadcast_to(x, (*batch, size)), (-1, size))
    return xp.stack([flat[:, i] for i in range(size)])
