"""Rotations and box distances: algebra, invariances, slow twins, and MuJoCo as the oracle."""

import itertools

import mujoco
import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from envs.geometry import (
    box_signed_distance,
    half_height,
    matrix_to_quat,
    quat_conjugate,
    quat_from_yaw,
    quat_multiply,
    quat_rotate,
    quat_to_matrix,
    yaw_of,
)

rngs = st.integers(0, 2**32 - 1).map(np.random.default_rng)
few = settings(max_examples=25, deadline=None)


def rotations(rng, *shape):
    q = rng.normal(size=(*shape, 4))
    return q / np.linalg.norm(q, axis=-1, keepdims=True)


def boxes(rng, count, spread=0.06):
    """Two lists of boxes (position, quaternion, half); a quarter share an axis, as on a table, half of these two."""
    a = [rng.uniform(-spread, spread, (count, 3)), rotations(rng, count), rng.uniform(0.002, 0.03, (count, 3))]
    b = [rng.uniform(-spread, spread, (count, 3)), rotations(rng, count), rng.uniform(0.002, 0.03, (count, 3))]
    quarter, eighth = count // 4, count // 8
    b[1][:quarter] = quat_multiply(a[1][:quarter], quat_from_yaw(rng.uniform(-4, 4, quarter)))
    b[1][:eighth] = a[1][:eighth]
    return a, b


def box_corners(position, quaternion, half):
    """The eight corners `[*B 8 3]` of a box."""
    signs = np.array(list(itertools.product((-1.0, 1.0), repeat=3)))
    return position[..., None, :] + quat_rotate(quaternion[..., None, :], signs * half[..., None, :])


def point_box_distance(point, position, quaternion, half):
    """From a point to a box's surface, negative inside."""
    excess = np.abs(quat_rotate(quat_conjugate(quaternion), point - position)) - half
    return np.linalg.norm(np.clip(excess, 0.0, None), axis=-1) + np.clip(excess.max(axis=-1), None, 0.0)


def scalar_gap(a, b):
    """Signed distance of two boxes the slow way: every corner, every pair of edges; or SAT where they overlap."""
    turn_a, turn_b = (np.array(quat_to_matrix(q)) for q in (a[1], b[1]))
    axes = [*turn_a.T, *turn_b.T]
    for x, y in itertools.product(turn_a.T, turn_b.T):
        n = np.cross(x, y)
        if np.linalg.norm(n) > 1e-6:
            axes.append(n / np.linalg.norm(n))
    sat = max(abs(n @ (b[0] - a[0])) - abs(turn_a.T @ n) @ a[2] - abs(turn_b.T @ n) @ b[2] for n in axes)
    if sat <= 0:
        return sat
    corners = [np.array(box_corners(*box)) for box in (a, b)]
    best = min(float(point_box_distance(p, *b)) for p in corners[0])
    best = min(best, *(float(point_box_distance(p, *a)) for p in corners[1]))
    for p, q in itertools.product(edges(corners[0]), edges(corners[1])):
        best = min(best, segment_gap(*p, *q))
    return best


def edges(corners):
    pairs = itertools.combinations(range(8), 2)
    return [(corners[i], corners[j]) for i, j in pairs if (i ^ j) in (1, 2, 4)]


def segment_gap(p0, p1, q0, q1):
    """Distance of two segments, inf where it is not reached inside both (a corner is then nearer)."""
    u, v, w = p1 - p0, q1 - q0, p0 - q0
    uu, uv, vv, uw, vw = u @ u, u @ v, v @ v, u @ w, v @ w
    det = uu * vv - uv * uv
    if det < 1e-14 * uu * vv:
        return np.inf
    s, t = (uv * vw - vv * uw) / det, (uu * vw - uv * uw) / det
    return float(np.linalg.norm(w + s * u - t * v)) if 0 <= s <= 1 and 0 <= t <= 1 else np.inf


@few
@given(rngs)
def test_quaternion_algebra(rng):
    p, q, r = rotations(rng, 3, 5)
    v = rng.normal(size=(5, 3))
    np.testing.assert_allclose(quat_multiply(quat_multiply(p, q), r), quat_multiply(p, quat_multiply(q, r)), atol=1e-14)
    np.testing.assert_allclose(quat_multiply(q, quat_conjugate(q)), np.tile([1.0, 0, 0, 0], (5, 1)), atol=1e-14)
    np.testing.assert_allclose(quat_rotate(quat_multiply(p, q), v), quat_rotate(p, quat_rotate(q, v)), atol=1e-13)
    np.testing.assert_allclose(quat_rotate(q, v), (quat_to_matrix(q) @ v[..., None])[..., 0], atol=1e-13)
    np.testing.assert_allclose(quat_to_matrix(matrix_to_quat(quat_to_matrix(q))), quat_to_matrix(q), atol=1e-13)


@pytest.mark.parametrize("axis", [0, 1, 2, 3])
def test_matrix_to_quat_survives_half_turns(axis):
    q = np.zeros(4)
    q[axis] = 1.0
    np.testing.assert_allclose(np.abs(matrix_to_quat(quat_to_matrix(q))), q, atol=1e-15)


@few
@given(rngs)
def test_quaternions_turn_as_mujoco_turns(rng):
    q, v, product, turned = rotations(rng), rng.normal(size=3), np.zeros(4), np.zeros(3)
    other = rotations(rng)
    mujoco.mju_mulQuat(product, q, other)
    mujoco.mju_rotVecQuat(turned, v, q)
    np.testing.assert_allclose(quat_multiply(q, other), product, atol=1e-14)
    np.testing.assert_allclose(quat_rotate(q, v), turned, atol=1e-14)


@given(st.floats(-3.14, 3.14))
def test_yaw_comes_back(yaw):
    assert yaw_of(quat_from_yaw(np.array(yaw))) == pytest.approx(yaw, abs=1e-12)


@few
@given(rngs)
def test_half_height_is_the_highest_corner(rng):
    q, half = rotations(rng, 6), rng.uniform(0.01, 1, (6, 3))
    top = box_corners(np.zeros((6, 3)), q, half)[..., 2].max(axis=-1)
    np.testing.assert_allclose(half_height(q, half), top, atol=1e-14)


@few
@given(rngs)
def test_distance_is_blind_to_the_frame_and_to_the_order(rng):
    a, b = boxes(rng, 64)
    gap = box_signed_distance(*a, *b)
    np.testing.assert_allclose(box_signed_distance(*b, *a), gap, atol=1e-13)
    turn, shift = rotations(rng), rng.normal(size=3)
    moved = [(quat_rotate(turn, p) + shift, quat_multiply(turn[None], q), half) for p, q, half in (a, b)]
    np.testing.assert_allclose(box_signed_distance(*moved[0], *moved[1]), gap, atol=1e-12)


@settings(max_examples=3, deadline=None)
@given(rngs)
def test_distance_equals_the_slow_twin(rng):
    a, b = boxes(rng, 24, spread=0.04)
    slow = [scalar_gap(tuple(x[i] for x in a), tuple(x[i] for x in b)) for i in range(24)]
    np.testing.assert_allclose(box_signed_distance(*a, *b), slow, atol=1e-9)


def test_distance_equals_mujoco():
    model = mujoco.MjModel.from_xml_string(
        """<mujoco><worldbody>
        <body><freejoint/><geom name="a" type="box" size=".1 .1 .1"/></body>
        <body><freejoint/><geom name="b" type="box" size=".1 .1 .1"/></body>
        </worldbody></mujoco>"""
    )
    model.opt.ccd_tolerance, model.opt.ccd_iterations = 1e-10, 200
    data = mujoco.MjData(model)
    a, b = boxes(np.random.default_rng(0), 1500)
    gap = box_signed_distance(*a, *b)
    truth = []
    for i in range(1500):
        model.geom_size[0], model.geom_size[1] = a[2][i], b[2][i]
        data.qpos[:] = np.concatenate([a[0][i], a[1][i], b[0][i], b[1][i]])
        mujoco.mj_kinematics(model, data)
        truth.append(mujoco.mj_geomDistance(model, data, 0, 1, 1.0, None))
    assert (gap > 0).sum() > 500
    assert (gap < 0).sum() > 100
    np.testing.assert_allclose(gap, truth, atol=1e-9)


def test_face_to_face_edge_to_edge_and_corner_to_corner():
    cube, flat = np.full(3, 0.5), np.array([1.0, 0, 0, 0])
    origin = np.zeros(3)
    for offset, gap in [((1.5, 0.3, 0.0), 0.5), ((1.5, 1.5, 0.2), 0.5**0.5), ((1.3, 1.4, 1.0 + 0.5), 0.5**0.5)]:
        found = box_signed_distance(origin, flat, cube, np.array(offset), flat, cube)
        assert found == pytest.approx(gap), offset
    assert box_signed_distance(origin, flat, cube, np.array([0.9, 0, 0]), flat, cube) == pytest.approx(-0.1)


@few
@example(1.3, 0.1, np.pi / 4)
@given(st.floats(-0.9, 0.9), st.floats(0.01, 1.0), st.floats(0.0, 3.1))
def test_bar_lying_across_a_face_beyond_all_corners(aside, height, turn):
    # A long bar on its edge crosses the cube's top face, perhaps over one corner: no corner of either box is nearest.
    cube, flat = np.full(3, 0.5), np.array([1.0, 0, 0, 0])
    on_edge = np.array([np.cos(np.pi / 8), np.sin(np.pi / 8), 0.0, 0.0])
    bar = quat_multiply(quat_from_yaw(np.array(turn)), on_edge)
    half = np.array([5.0, 0.1, 0.1])
    middle = np.array([-np.sin(turn) * aside, np.cos(turn) * aside, 0.0]) * 0.5
    position = middle + np.array([0, 0, 0.5 + height + 0.1 * 2**0.5])
    assert box_signed_distance(np.zeros(3), flat, cube, position, bar, half) == pytest.approx(height, abs=1e-9)


def test_torch_equals_numpy_and_shapes_broadcast():
    a, b = boxes(np.random.default_rng(1), 256)
    gap = box_signed_distance(*a, *b)
    as_torch = [torch.as_tensor(x) for x in (*a, *b)]
    np.testing.assert_allclose(box_signed_distance(*as_torch).numpy(), gap, atol=1e-13)
    single = box_signed_distance(*(x.float() for x in as_torch))
    assert single.dtype == torch.float32
    np.testing.assert_allclose(single.numpy(), gap, atol=1e-5)
    one = [x[0] for x in b]
    many = box_signed_distance(*(x.reshape(4, 64, -1) for x in a), *one)
    np.testing.assert_array_equal(many[1, 2], box_signed_distance(*(x[66] for x in a), *one))
    np.testing.assert_array_equal(quat_to_matrix(as_torch[1]).numpy(), quat_to_matrix(a[1]))
    np.testing.assert_allclose(matrix_to_quat(quat_to_matrix(as_torch[1])), matrix_to_quat(quat_to_matrix(a[1])))
