"""Entities' poses and velocities straight from state rows, for all worlds in one compiled pass.

`mujoco.batch` leaves derived fields one substep behind after a step, and asking for current ones costs a further
half step of physics including collisions. Positions and velocities alone need neither: free bodies carry theirs in the
row, and a robot is a chain of hinges or slides. The slow twin in the tests is `mj_forward`.
"""

from dataclasses import dataclass

import mujoco
import numpy as np

from envs.compiled import kernel
from envs.types import Array

HINGE = int(mujoco.mjtJoint.mjJNT_HINGE)
SLIDE = int(mujoco.mjtJoint.mjJNT_SLIDE)
FREE = int(mujoco.mjtJoint.mjJNT_FREE)
_CODES = {HINGE: 1, SLIDE: 2, FREE: 3}


@dataclass(frozen=True)
class Chain:
    """The bodies that entities hang on, parents first, and where each entity sits on its body.

    A body with several joints is a row of them, each with one, and only the first away from its parent.
    """

    parent: Array
    """`[M]` index into the chain of the body's parent; -1 where that is the world."""
    joint: Array
    """`[M]` 0 for a body without a joint, 1 hinge, 2 slide, 3 free, 4 mocap."""
    address: Array
    """`[M 2]` columns of position and velocity in a state row (mocap: position and quaternion)."""
    pose: Array
    """`[M 7]` body frame in its parent's, position and quaternion [m, 1]."""
    hinge: Array
    """`[M 7]` a hinge's or slide's anchor and axis in the body's frame and its reference position [m, 1, rad or m]."""
    body: Array
    """`[K]` the chain body of every entity."""
    local: Array
    """`[K 7]` entity frame in its body's."""


def chain_of(model: mujoco.MjModel, bodies: Array, local: Array) -> Chain:
    """The chain for entities on `bodies` `[K]` at `local` `[K 7]`; each body has hinges and slides or is free."""
    needed: set[int] = set()
    for body in (int(b) for b in bodies):
        while body not in needed:
            needed.add(body)
            body = int(model.body_parentid[body])
    state = mujoco.mjtState
    qpos, qvel, mocap_position, mocap_quaternion = (
        column(model, component)
        for component in (state.mjSTATE_QPOS, state.mjSTATE_QVEL, state.mjSTATE_MOCAP_POS, state.mjSTATE_MOCAP_QUAT)
    )
    parent: list[int] = []
    joint: list[int] = []
    address: list[tuple[int, int]] = []
    pose: list[Array] = []
    hinge: list[Array] = []
    index: dict[int, int] = {}
    for body in sorted(needed):
        above = index[int(model.body_parentid[body])] if body else -1
        place = np.concatenate([model.body_pos[body], model.body_quat[body]])
        links: list[tuple[int, tuple[int, int], Array]] = []
        for j in range(int(model.body_jntadr[body]), int(model.body_jntadr[body] + model.body_jntnum[body])):
            code = _CODES.get(int(model.jnt_type[j]), 0)
            if code == 0 or (code == 3 and model.body_jntnum[body] > 1):
                raise ValueError(f"body {model.body(body).name} must have hinges and slides, or one free joint")
            where = int(qpos + model.jnt_qposadr[j]), int(qvel + model.jnt_dofadr[j])
            zero = model.qpos0[model.jnt_qposadr[j], None]
            links.append((code, where, np.concatenate([model.jnt_pos[j], model.jnt_axis[j], zero])))
        if model.body_mocapid[body] >= 0:
            mocap = int(model.body_mocapid[body])
            links = [(4, (mocap_position + 3 * mocap, mocap_quaternion + 4 * mocap), np.zeros(7))]
        for code, where, about in links or [(0, (0, 0), np.zeros(7))]:
            parent.append(above)
            joint.append(code)
            address.append(where)
            pose.append(place)
            hinge.append(about)
            above, place = len(parent) - 1, np.array([0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0])
        index[body] = above
    entity = np.array([index[int(b)] for b in bodies], np.int64)
    return Chain(
        np.array(parent, np.int64), np.array(joint, np.int64), np.array(address, np.int64), np.array(pose),
        np.array(hinge), entity, np.ascontiguousarray(local, np.float64),
    )  # fmt: skip


def read_poses(chain: Chain, rows: Array, present: Array) -> tuple[Array, Array, Array, Array]:
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


def column(model: mujoco.MjModel, component: mujoco.mjtState) -> int:
    """The first column of a component in a full integration row: components follow the order of their bits."""
    before = int(mujoco.mjtState.mjSTATE_INTEGRATION) & (int(component) - 1)
    return int(mujoco.mj_stateSize(model, before))


@kernel()
def _rotate(q: Array, x: float, y: float, z: float) -> tuple[float, float, float]:
    a = 2.0 * (q[2] * z - q[3] * y)
    b = 2.0 * (q[3] * x - q[1] * z)
    c = 2.0 * (q[1] * y - q[2] * x)
    return x + q[0] * a + q[2] * c - q[3] * b, y + q[0] * b + q[3] * a - q[1] * c, z + q[0] * c + q[1] * b - q[2] * a


@kernel()
def _multiply(a: Array, w: float, x: float, y: float, z: float, out: Array) -> None:
    p, q, r, s = a[0], a[1], a[2], a[3]
    out[0] = p * w - q * x - r * y - s * z
    out[1] = p * x + q * w + r * z - s * y
    out[2] = p * y - q * z + r * w + s * x
    out[3] = p * z + q * y - r * x + s * w


@kernel()
def _add_lever(v: Array, w: Array, x: float, y: float, z: float) -> None:
    """Add the velocity `w` x `(x, y, z)`."""
    v[0] += w[1] * z - w[2] * y
    v[1] += w[2] * x - w[0] * z
    v[2] += w[0] * y - w[1] * x


@kernel()
def _read(
    rows: Array, present: Array, parent: Array, joint: Array, address: Array, pose: Array, hinge: Array, body: Array,
    local: Array, position: Array, quaternion: Array, linear: Array, angular: Array,
) -> None:  # fmt: skip
    count = parent.shape[0]
    p, q = np.zeros((count, 3)), np.zeros((count, 4))
    v, w = np.zeros((count, 3)), np.zeros((count, 3))
    for n in range(rows.shape[0]):
        row = rows[n]
        for i in range(count):
            up, a, b = parent[i], address[i, 0], address[i, 1]
            if joint[i] >= 3 or up < 0:
                for c in range(3):
                    p[i, c] = row[a + c] if joint[i] >= 3 else pose[i, c]
                    v[i, c] = row[b + c] if joint[i] == 3 else 0.0
                    w[i, c] = 0.0
                turn = a + 3 if joint[i] == 3 else b
                norm = 0.0
                for c in range(4):
                    q[i, c] = row[turn + c] if joint[i] >= 3 else pose[i, 3 + c]
                    norm += q[i, c] * q[i, c]
                for c in range(4):
                    q[i, c] /= np.sqrt(norm)
                if joint[i] == 3:
                    w[i, 0], w[i, 1], w[i, 2] = _rotate(q[i], row[b + 3], row[b + 4], row[b + 5])
                continue
            x, y, z = _rotate(q[up], pose[i, 0], pose[i, 1], pose[i, 2])
            _multiply(q[up], pose[i, 3], pose[i, 4], pose[i, 5], pose[i, 6], q[i])
            for c in range(3):
                v[i, c], w[i, c] = v[up, c], w[up, c]
            if joint[i] == 1:
                # The anchor belongs to parent and child alike: it moves with the parent, and the child turns about it.
                ax, ay, az = _rotate(q[i], hinge[i, 0], hinge[i, 1], hinge[i, 2])
                ux, uy, uz = _rotate(q[i], hinge[i, 3], hinge[i, 4], hinge[i, 5])
                half = 0.5 * (row[a] - hinge[i, 6])
                sine = np.sin(half)
                _multiply(q[i], np.cos(half), sine * hinge[i, 3], sine * hinge[i, 4], sine * hinge[i, 5], q[i])
                bx, by, bz = _rotate(q[i], hinge[i, 0], hinge[i, 1], hinge[i, 2])
                _add_lever(v[i], w[i], x + ax, y + ay, z + az)
                w[i, 0] += row[b] * ux
                w[i, 1] += row[b] * uy
                w[i, 2] += row[b] * uz
                _add_lever(v[i], w[i], -bx, -by, -bz)
                x, y, z = x + ax - bx, y + ay - by, z + az - bz
            else:
                if joint[i] == 2:
                    ux, uy, uz = _rotate(q[i], hinge[i, 3], hinge[i, 4], hinge[i, 5])
                    along = row[a] - hinge[i, 6]
                    x, y, z = x + along * ux, y + along * uy, z + along * uz
                    v[i, 0], v[i, 1], v[i, 2] = v[i, 0] + row[b] * ux, v[i, 1] + row[b] * uy, v[i, 2] + row[b] * uz
                _add_lever(v[i], w[i], x, y, z)
            p[i, 0], p[i, 1], p[i, 2] = p[up, 0] + x, p[up, 1] + y, p[up, 2] + z
        for k in range(body.shape[0]):
            if not present[n, k]:
                quaternion[n, k, 0] = 1.0
                continue
            i = body[k]
            x, y, z = _rotate(q[i], local[k, 0], local[k, 1], local[k, 2])
            _multiply(q[i], local[k, 3], local[k, 4], local[k, 5], local[k, 6], quaternion[n, k])
            for c in range(3):
                angular[n, k, c], linear[n, k, c] = w[i, c], v[i, c]
            _add_lever(linear[n, k], w[i], x, y, z)
            position[n, k, 0], position[n, k, 1], position[n, k, 2] = p[i, 0] + x, p[i, 1] + y, p[i, 2] + z
