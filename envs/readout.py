"""Entities' poses and velocities straight from state rows, for all worlds in one compiled pass.

`mujoco.batch` leaves derived fields one substep behind after a step, and asking for current ones costs a further
half step of physics including collisions. Positions and velocities alone need neither: free bodies carry theirs in the
row, and the arm is a chain of six hinges. The slow twin in the tests is `mj_forward`.
"""

from dataclasses import dataclass

import mujoco
import numpy as np
from numba import njit

from envs.types import Array

HINGE = int(mujoco.mjtJoint.mjJNT_HINGE)
FREE = int(mujoco.mjtJoint.mjJNT_FREE)


@dataclass(frozen=True)
class Chain:
    """The bodies that entities hang on, parents first, and where each entity sits on its body."""

    parent: Array
    """`[M]` index into the chain of the body's parent; -1 where that is the world."""
    joint: Array
    """`[M]` 0 for a body without a joint, 1 hinge, 2 free, 3 mocap."""
    address: Array
    """`[M 2]` columns of position and velocity in a state row (mocap: position and quaternion)."""
    pose: Array
    """`[M 7]` body frame in its parent's, position and quaternion [m, 1]."""
    hinge: Array
    """`[M 7]` hinge anchor and axis in the body's frame and the joint's reference angle [m, 1, rad]."""
    body: Array
    """`[K]` the chain body of every entity."""
    local: Array
    """`[K 7]` entity frame in its body's."""


def chain_of(model: mujoco.MjModel, bodies: Array, local: Array) -> Chain:
    """The chain for entities on `bodies` `[K]` at `local` `[K 7]`; each body has one hinge, one free joint or none."""
    needed: set[int] = set()
    for body in (int(b) for b in bodies):
        while body not in needed:
            needed.add(body)
            body = int(model.body_parentid[body])
    order = sorted(needed)
    index = {body: position for position, body in enumerate(order)}
    count = len(order)
    parent, joint = np.full(count, -1, np.int64), np.zeros(count, np.int64)
    address, pose, hinge = np.zeros((count, 2), np.int64), np.zeros((count, 7)), np.zeros((count, 7))
    qpos, qvel, mocap_position, mocap_quaternion = (
        _column(model, component)
        for component in (
            mujoco.mjtState.mjSTATE_QPOS,
            mujoco.mjtState.mjSTATE_QVEL,
            mujoco.mjtState.mjSTATE_MOCAP_POS,
            mujoco.mjtState.mjSTATE_MOCAP_QUAT,
        )
    )
    for body, i in index.items():
        if body:
            parent[i] = index[int(model.body_parentid[body])]
        pose[i] = np.concatenate([model.body_pos[body], model.body_quat[body]])
        if model.body_mocapid[body] >= 0:
            mocap = int(model.body_mocapid[body])
            joint[i], address[i] = 3, (mocap_position + 3 * mocap, mocap_quaternion + 4 * mocap)
        elif model.body_jntnum[body]:
            j = int(model.body_jntadr[body])
            if model.body_jntnum[body] > 1 or int(model.jnt_type[j]) not in (HINGE, FREE):
                raise ValueError(f"body {model.body(body).name} must have one hinge or one free joint")
            address[i] = (qpos + model.jnt_qposadr[j], qvel + model.jnt_dofadr[j])
            joint[i] = 1 if int(model.jnt_type[j]) == HINGE else 2
            hinge[i] = np.concatenate([model.jnt_pos[j], model.jnt_axis[j], model.qpos0[model.jnt_qposadr[j], None]])
    entity = np.array([index[int(b)] for b in bodies], np.int64)
    return Chain(parent, joint, address, pose, hinge, entity, np.ascontiguousarray(local, np.float64))


def read_poses(
    chain: Chain, rows: Array, present: Array
) -> tuple[Array, Array, Array, Array]:
    """Positions `[N K 3]`, quaternions `[N K 4]`, linear and angular velocities `[N K 3]` in the world's axes.

    `rows` `[N S]` are `mjSTATE_INTEGRATION` rows. Entities not in `present` `[N K]` come out as zeros with the identity
    quaternion.
    """
    shape = present.shape
    position, quaternion = np.zeros((*shape, 3)), np.zeros((*shape, 4))
    linear, angular = np.zeros((*shape, 3)), np.zeros((*shape, 3))
    _read(
        rows, present, chain.parent, chain.joint, chain.address, chain.pose, chain.hinge, chain.body, chain.local,
        position, quaternion, linear, angular,
    )  # fmt: skip
    return position, quaternion, linear, angular


def _column(model: mujoco.MjModel, component: mujoco.mjtState) -> int:
    """The first column of a component in a full integration row: components follow the order of their bits."""
    before = int(mujoco.mjtState.mjSTATE_INTEGRATION) & (int(component) - 1)
    return int(mujoco.mj_stateSize(model, before))


@njit(cache=True, nogil=True)
def _rotate(q: Array, v: Array, out: Array) -> None:
    tx = 2.0 * (q[2] * v[2] - q[3] * v[1])
    ty = 2.0 * (q[3] * v[0] - q[1] * v[2])
    tz = 2.0 * (q[1] * v[1] - q[2] * v[0])
    out[0] = v[0] + q[0] * tx + q[2] * tz - q[3] * ty
    out[1] = v[1] + q[0] * ty + q[3] * tx - q[1] * tz
    out[2] = v[2] + q[0] * tz + q[1] * ty - q[2] * tx


@njit(cache=True, nogil=True)
def _multiply(a: Array, b: Array, out: Array) -> None:
    w = a[0] * b[0] - a[1] * b[1] - a[2] * b[2] - a[3] * b[3]
    x = a[0] * b[1] + a[1] * b[0] + a[2] * b[3] - a[3] * b[2]
    y = a[0] * b[2] - a[1] * b[3] + a[2] * b[0] + a[3] * b[1]
    z = a[0] * b[3] + a[1] * b[2] - a[2] * b[1] + a[3] * b[0]
    out[0], out[1], out[2], out[3] = w, x, y, z


@njit(cache=True, nogil=True)
def _read(
    rows: Array, present: Array, parent: Array, joint: Array, address: Array, pose: Array, hinge: Array, body: Array,
    local: Array, position: Array, quaternion: Array, linear: Array, angular: Array,
) -> None:  # fmt: skip
    count = parent.shape[0]
    p, q = np.zeros((count, 3)), np.zeros((count, 4))
    v, w = np.zeros((count, 3)), np.zeros((count, 3))
    r, axis, turn = np.zeros(3), np.zeros(3), np.zeros(4)
    for n in range(rows.shape[0]):
        row = rows[n]
        for i in range(count):
            up, a, b = parent[i], address[i, 0], address[i, 1]
            if up < 0 or joint[i] >= 2:
                for c in range(3):
                    p[i, c], v[i, c], w[i, c] = pose[i, c], 0.0, 0.0
                q[i] = pose[i, 3:7]
                if joint[i] == 2:
                    p[i], q[i] = row[a : a + 3], row[a + 3 : a + 7]
                    v[i] = row[b : b + 3]
                    _rotate(q[i], row[b + 3 : b + 6], w[i])
                elif joint[i] == 3:
                    p[i], q[i] = row[a : a + 3], row[b : b + 4]
                norm = np.sqrt(q[i, 0] ** 2 + q[i, 1] ** 2 + q[i, 2] ** 2 + q[i, 3] ** 2)
                for c in range(4):
                    q[i, c] /= norm
                continue
            _rotate(q[up], pose[i, 0:3], r)
            _multiply(q[up], pose[i, 3:7], q[i])
            for c in range(3):
                p[i, c] = p[up, c] + r[c]
                w[i, c] = w[up, c]
            if joint[i] == 1:
                # The anchor belongs to parent and child alike; the body turns about it.
                _rotate(q[i], hinge[i, 0:3], r)
                p[i] += r
                _rotate(q[i], hinge[i, 3:6], axis)
                half = 0.5 * (row[a] - hinge[i, 6])
                turn[0] = np.cos(half)
                turn[1:] = np.sin(half) * hinge[i, 3:6]
                _multiply(q[i], turn, q[i])
                _rotate(q[i], hinge[i, 0:3], r)
                w[i] += row[b] * axis
                anchor_x, anchor_y, anchor_z = p[i, 0] - p[up, 0], p[i, 1] - p[up, 1], p[i, 2] - p[up, 2]
                p[i] -= r
                r[0], r[1], r[2] = -r[0], -r[1], -r[2]
            else:
                anchor_x, anchor_y, anchor_z = r[0], r[1], r[2]
                r[0], r[1], r[2] = 0.0, 0.0, 0.0
            v[i, 0] = v[up, 0] + w[up, 1] * anchor_z - w[up, 2] * anchor_y + w[i, 1] * r[2] - w[i, 2] * r[1]
            v[i, 1] = v[up, 1] + w[up, 2] * anchor_x - w[up, 0] * anchor_z + w[i, 2] * r[0] - w[i, 0] * r[2]
            v[i, 2] = v[up, 2] + w[up, 0] * anchor_y - w[up, 1] * anchor_x + w[i, 0] * r[1] - w[i, 1] * r[0]
        for k in range(body.shape[0]):
            if not present[n, k]:
                quaternion[n, k, 0] = 1.0
                continue
            i = body[k]
            _rotate(q[i], local[k, 0:3], r)
            _multiply(q[i], local[k, 3:7], quaternion[n, k])
            for c in range(3):
                position[n, k, c] = p[i, c] + r[c]
                angular[n, k, c] = w[i, c]
            linear[n, k, 0] = v[i, 0] + w[i, 1] * r[2] - w[i, 2] * r[1]
            linear[n, k, 1] = v[i, 1] + w[i, 2] * r[0] - w[i, 0] * r[2]
            linear[n, k, 2] = v[i, 2] + w[i, 0] * r[1] - w[i, 1] * r[0]
