"""Which geoms of a scene show which entity, and where and how large a state has them."""

import mujoco
import numpy as np

from envs import rays
from envs.geometry import quat_conjugate, quat_multiply, quat_rotate
from envs.robot import robot_of
from envs.scene import Scene
from envs.types import MOVABLE, Array, Kind, ObjectState


def entity_of_geoms(scene: Scene) -> Array:
    """`[G]` int16: the entity every geom shows, -1 for none.

    Jaws' pads show their own entity; the rest of the fixed finger is the gripper's, of the moving one the moving jaw's.
    """
    model = scene.model
    entity = np.full(model.ngeom, -1, np.int16)
    whole = {part.name for part in robot_of(scene.config.robot).parts if part.whole_body}
    for k, name in enumerate(scene.names):
        if name in whole:
            entity[model.geom_bodyid == scene.body[k]] = k
        elif scene.kind[k] in (Kind.TABLE, Kind.JAW, Kind.PUSHER, Kind.GRIPPER):
            entity[list(scene.geoms[k])] = k
    for k in np.flatnonzero((scene.qpos >= 0) | (scene.mocap >= 0)):
        entity[model.geom_bodyid == scene.body[k]] = k
    return entity


def movable_geoms(scene: Scene) -> Array:
    """`[G]` bool: geoms of what takes pose, size, colour, presence from an `ObjectState`, as the robot does not."""
    entity = entity_of_geoms(scene)
    kinds = (*MOVABLE, Kind.BIN, Kind.TARGET, Kind.FIXTURE, Kind.OBSTACLE)
    movable: Array = (entity >= 0) & np.isin(scene.kind, kinds)[entity]
    return movable


def positions_of(scene: Scene, joints: Array, objects: ObjectState) -> tuple[Array, Array, Array]:
    """MuJoCo's `qpos` `[N nq]`, `mocap_pos` `[N M 3]` and `mocap_quat` `[N M 4]` of joints `[N J]` and objects."""
    pose = np.concatenate([objects.position_in_world, objects.quaternion_in_world], axis=-1)
    qpos = np.tile(scene.model.qpos0, (len(joints), 1))
    qpos[:, scene.joint_qpos] = joints
    for k in np.flatnonzero(scene.qpos >= 0):
        qpos[:, scene.qpos[k] : scene.qpos[k] + 7] = pose[:, k]
    for k in np.flatnonzero(scene.slide >= 0):
        qpos[:, scene.slide[k]] = _opening(scene, pose, int(k))
    mocap = np.tile(np.array([0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]), (len(joints), scene.model.nmocap, 1))
    for k in np.flatnonzero(scene.mocap >= 0):
        mocap[:, scene.mocap[k]] = pose[:, k]
    return qpos, mocap[..., :3], mocap[..., 3:]


def _opening(scene: Scene, pose: Array, k: int) -> Array:
    """`[N]` position of the hinge or slide of entity `k`, from the poses `[N K 7]` of it and of its base [rad or m]."""
    model, body = scene.model, int(scene.body[k])
    base = int(np.flatnonzero(scene.body == model.body_parentid[body])[0])
    back, joint = quat_conjugate(pose[:, base, 3:]), int(model.body_jntadr[body])
    axis = model.jnt_axis[joint]
    if model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_SLIDE:
        return np.asarray((quat_rotate(back, pose[:, k, :3] - pose[:, base, :3]) - model.body_pos[body]) @ axis)
    turned = quat_multiply(back, pose[:, k, 3:])
    return 2.0 * np.arctan2(turned[:, 1:] @ axis, turned[:, 0])


def stretch(scene: Scene, entity: Array, movable: Array, half_extents: Array) -> tuple[Array, Array]:
    """Sizes and local positions `[*B G 3]` of geoms whose entities have half extents `[*B K 3]`.

    An entity of another size than its nominal one has all its parts stretched. Geoms of movable entities have their
    entity's axes, and a cylinder's size is radius and half length; margins are part of what is seen.
    """
    model = scene.model
    ratio = half_extents[..., entity, :] / np.maximum(scene.half_extents[entity], 1e-9)
    ratio = np.where(movable[:, None], ratio, 1.0)
    axes = np.where(np.isin(model.geom_type, (rays.CYLINDER, rays.CAPSULE))[:, None], (0, 2, 2), (0, 1, 2))
    drawn = model.geom_size + np.where(model.geom_size > 0, model.geom_margin[:, None], 0.0)
    sizes = drawn * np.take_along_axis(ratio, np.broadcast_to(axes, ratio.shape), axis=-1)
    return sizes, model.geom_pos * ratio
