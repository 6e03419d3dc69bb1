"""Cameras over a scene: images, entity masks and depth of true or imagined states, drawn by the ray-caster.

A picture is a function of joint angles and an `ObjectState` alone. So what is observed, what really happened and what a
model imagined are drawn by the same code, and a simulator is needed for none of it.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import mujoco
import numpy as np

from envs import light, raycast, rays
from envs.errors import EmbodiedError, unknown
from envs.geometry import quat_conjugate, quat_multiply, quat_rotate
from envs.looks import Looks, developed, tinted
from envs.robot import robot_of
from envs.types import MOVABLE, Array, Kind, ObjectState, Observation, proprioception
from envs.views import Views

if TYPE_CHECKING:
    from envs.appearance import Appearance
    from envs.scene import Scene
    from envs.simulation import Simulation


class Mode(NamedTuple):
    """How much light a picture gets."""

    samples: int
    """Side of the grid of rays in a pixel; odd."""
    shadow: int
    """Rays to the light per sample; 0 for no shadows."""
    bounce: int
    """Rays of indirect light per sample; 0 for none."""


MODES = {"fast": Mode(1, 0, 0), "shadow": Mode(1, 1, 0), "video": Mode(3, 1, 1), "hero": Mode(5, 2, 2)}
"""`fast` for observations, `video` for films, `hero` for single pictures (about 100 times the cost of `fast`)."""

GHOST_ALPHA, GHOST_MARGIN = 0.45, 4e-4
"""Ghosts are translucent, and larger by this [m] so that one exactly over its object is not lost in it."""


@dataclass(frozen=True)
class CameraConfig:
    """One camera of the scene and the images wanted from it."""

    name: str
    width: int = 64
    height: int = 64
    mode: str = "fast"
    """A name in `MODES`."""

    def __post_init__(self) -> None:
        """Raise `EmbodiedError` for an unknown mode or an image without pixels."""
        if self.mode not in MODES:
            raise unknown("camera mode", self.mode, MODES)
        if min(self.width, self.height) < 1:
            raise EmbodiedError(f"Camera {self.name!r} was given {self.width} x {self.height} pixels; it needs some.")


@dataclass(frozen=True)
class Frames:
    """What one camera sees in N states."""

    rgb: Array
    """`[N h w 3]` uint8."""
    entity: Array
    """`[N h w]` int16, index into the scene's entities; -1 for what is none (floor, arm links, sky)."""
    depth: Array
    """`[N h w]` float32 [m] along the optical axis; inf for the sky."""


@dataclass(frozen=True)
class _Geoms:
    """Geoms as the kernel takes them; G of them in N states."""

    kinds: Array
    gloss: Array
    entity: Array
    sizes: Array
    albedo: Array
    alpha: Array
    position: Array
    matrix: Array

    def select(self, which: Array) -> "_Geoms":
        """Some of the geoms."""
        shared = {f.name: getattr(self, f.name)[which] for f in fields(self)[:3]}
        return _Geoms(**shared, **{f.name: getattr(self, f.name)[:, which] for f in fields(self)[3:]})

    def join(self, other: "_Geoms") -> "_Geoms":
        """Both."""
        pairs = {f.name: (getattr(self, f.name), getattr(other, f.name)) for f in fields(self)}
        return _Geoms(**{name: np.concatenate(pair, axis=min(1, pair[0].ndim - 1)) for name, pair in pairs.items()})


class Cameras:
    """Draws the states of one scene. Results do not depend on the number of threads."""

    def __init__(self, scene: "Scene", configs: Sequence[CameraConfig], threads: int = 0) -> None:
        """`threads` = 0 uses every core this process may run on.

        Raises `EmbodiedError` for a camera the scene lacks or a geom that is no primitive.
        """
        model = scene.model
        allowed = [model.camera(i).name for i in range(model.ncam)]
        for config in configs:
            if config.name not in allowed:
                raise unknown("camera", config.name, allowed)
        self.scene, self.configs = scene, tuple(configs)
        self._threads = threads or len(os.sched_getaffinity(0))
        self._pool: ThreadPoolExecutor | None = None
        self._data = mujoco.MjData(model)
        self._kinds = model.geom_type.astype(np.int64)
        # A row more than there are materials: geoms without one point at it, by -1.
        colours, speculars = np.vstack([model.mat_rgba, np.zeros(4)]), np.append(model.mat_specular, 0.2)
        self._rgba = np.where((model.geom_matid >= 0)[:, None], colours[model.geom_matid], model.geom_rgba)
        self._rgba[model.geom_group > 2, 3] = 0.0
        shown = self._rgba[:, 3] > 0.0
        drawable = (rays.PLANE, rays.SPHERE, rays.CAPSULE, rays.ELLIPSOID, rays.CYLINDER, rays.BOX)
        for i in np.flatnonzero(shown & ~np.isin(self._kinds, drawable)):
            raise EmbodiedError(f"Geom {model.geom(i).name!r} is no primitive; the ray-caster cannot draw it.")
        self._gloss = speculars[model.geom_matid].astype(np.float64)
        self._entity = entity_of_geoms(scene)
        self._movable = movable_geoms(scene)

    def render(self, source: "Simulation | Observation", looks: Looks | None = None) -> dict[str, Array]:
        """Images `[N h w 3]` uint8 by camera name, of a simulation now or of observations `[N]`."""
        return {name: frames.rgb for name, frames in self.frames(source, looks).items()}

    def frames(self, source: "Simulation | Observation", looks: Looks | None = None) -> dict[str, Frames]:
        """Images, entity masks and depth by camera name, of a simulation now or of observations `[N]`."""
        observation = source if isinstance(source, Observation) else source.observe()
        seen = observation.proprioception
        joints = seen[..., proprioception(seen.shape[-1])["joint_position"]]
        return self.draw(joints, observation.objects, looks=looks)

    def draw(
        self,
        joints: Array,
        objects: ObjectState,
        ghosts: ObjectState | None = None,
        appearance: "Appearance | None" = None,
        looks: Looks | None = None,
    ) -> dict[str, Frames]:
        """What the cameras see of given states, by name.

        `joints` `[N J]` [rad, of a pusher m], `objects` `[N ...]` numpy or torch; `ghosts` adds translucent copies of
        the movable entities at other poses, e.g. imagined ones beside the true ones. Masks and depth include ghosts.
        `appearance` replaces cameras, light and paint, state by state; `looks` changes those of the scene.
        """
        joints, objects = self.check(joints, objects)
        if looks is not None:
            objects = self._tinted(objects, looks)
        geoms, eyes, axes = self._place(joints, objects)
        if ghosts is not None:
            extra = self._place(joints, ghosts.map(_numpy))[0].select(self._movable)
            extra = _Geoms(**{**vars(extra), "alpha": extra.alpha * GHOST_ALPHA, "sizes": extra.sizes + GHOST_MARGIN})
            geoms = geoms.join(extra)
        model = self.scene.model
        which = [model.camera(config.name).id for config in self.configs]
        eyes, axes, fovy = eyes[:, which], axes[:, which], model.cam_fovy[which]
        if appearance is not None:
            geoms, eyes, axes, fovy = self._dressed(geoms, appearance)
        lamp = np.eye(3)[None]
        if looks is not None:
            geoms, lamp = self._painted(geoms, looks), looks.lamp
            eyes = eyes + (axes @ looks.shift[:, which, :, None])[..., 0]
            axes = axes @ looks.turn[:, which]
        frames = {
            config.name: self._shoot(config, *_under(lamp, geoms, eyes[:, c], axes[:, c]), float(fovy[c]))
            for c, config in enumerate(self.configs)
        }
        if looks is None:
            return frames
        table = self.scene.index("table")
        for c, (name, plain) in enumerate(frames.items()):
            shown = developed(looks, plain.rgb, plain.entity == table, plain.depth, eyes[:, c], axes[:, c],
                              float(np.tan(np.deg2rad(fovy[c]) / 2)))  # fmt: skip
            frames[name] = replace(plain, rgb=shown)
        return frames

    def _tinted(self, objects: ObjectState, looks: Looks) -> ObjectState:
        """States with the colours that objects have in the picture."""
        colour = np.array(objects.colour, np.float64)
        movable = self.scene.qpos >= 0
        colour[:, movable] = tinted(colour[:, movable], looks.colour)
        return replace(objects, colour=colour)

    def _painted(self, geoms: _Geoms, looks: Looks) -> _Geoms:
        """Geoms with table, floor and robot in other colours."""
        model, own = self.scene.model, len(self._kinds)
        ground = self._entity == self.scene.index("table")
        ground[model.geom("floor").id] = True
        offset = np.where(ground[:, None], looks.table[:, None], looks.robot[:, None])
        albedo = geoms.albedo.copy()
        paint = _linear(self._rgba[:, :3] + offset)
        albedo[:, :own] = np.where(self._movable[:, None], albedo[:, :own], paint)
        return _Geoms(**{**vars(geoms), "albedo": albedo})

    def check(self, joints: Array, objects: ObjectState) -> tuple[Array, ObjectState]:
        """States as numpy arrays; raises `EmbodiedError` if they are none of this scene's."""
        joints = _numpy(joints).astype(np.float64)
        objects = objects.map(_numpy)
        if (
            objects.names != self.scene.names
            or joints.ndim != 2
            or objects.shape != joints.shape[:1]
            or joints.shape[1] != len(self.scene.joints)
        ):
            raise EmbodiedError(
                f"A state of {', '.join(objects.names)} with shape {objects.shape} was given; "
                f"this scene draws states [N] of {', '.join(self.scene.names)} with its "
                f"{len(self.scene.joints)} joints."
            )
        return joints, objects

    def _dressed(self, geoms: _Geoms, appearance: "Appearance") -> tuple[_Geoms, Array, Array, Array]:
        """Geoms in other paint and among clutter, other cameras' positions, axes and fields of view.

        The light is fixed, so it is the world, cameras and all, that is turned under it.
        """
        paint = _linear(appearance.paint)
        albedo = geoms.albedo.copy()
        own = len(self._kinds)
        albedo[:, :own] = np.where(self._movable[:, None], albedo[:, :own], paint)
        clutter, count = appearance.clutter, len(albedo)
        gloss = np.full(len(clutter.kinds), 0.2)
        entity = np.full(len(clutter.kinds), -1, np.int16)
        more = _Geoms(clutter.kinds, gloss, entity, clutter.sizes, _linear(clutter.colour),
                      clutter.shown.astype(np.float64), clutter.position, clutter.rotation)  # fmt: skip
        whole = _Geoms(**{**vars(geoms), "albedo": albedo}).join(more)
        turn = appearance.turn[:, None]
        turned = _Geoms(**{**vars(whole), "position": (turn @ whole.position[..., None])[..., 0],
                           "matrix": turn @ whole.matrix})  # fmt: skip
        views = appearance.views
        eyes = (turn @ np.reshape(views.position, (count, -1, 3, 1)))[..., 0]
        return turned, eyes, turn @ views.rotation, appearance.fovy

    def _shoot(self, config: CameraConfig, geoms: _Geoms, eyes: Array, axes: Array, fovy: float) -> Frames:
        count, shape = len(eyes), (config.height, config.width)
        out = (np.empty((count, *shape, 3), np.uint8), np.empty((count, *shape), np.int16),
               np.empty((count, *shape), np.float32))  # fmt: skip
        arrays = (geoms.kinds, geoms.sizes, geoms.albedo, geoms.alpha, geoms.gloss, geoms.entity, geoms.position,
                  geoms.matrix, eyes, axes)  # fmt: skip
        # The kernel is compiled once, for contiguous arrays; another layout would compile it again.
        arguments = (*(np.ascontiguousarray(array) for array in arrays), float(np.tan(np.deg2rad(fovy) / 2)),
                     light.TONE, *MODES[config.mode], *out)  # fmt: skip
        bounds = np.linspace(0, count, min(self._threads, count) + 1).astype(int).tolist()
        if len(bounds) <= 2:
            raycast.draw(*arguments, 0, count)
        else:
            self._pool = self._pool or ThreadPoolExecutor(self._threads)
            jobs = [self._pool.submit(raycast.draw, *arguments, *span) for span in pairwise(bounds)]
            for job in jobs:
                job.result()
        return Frames(*out)

    def _place(self, joints: Array, objects: ObjectState) -> tuple[_Geoms, Array, Array]:
        """Geoms `[N G]`, cameras' positions `[N C 3]` and axes `[N C 3 3]`, by MuJoCo's kinematics."""
        scene, model, data = self.scene, self.scene.model, self._data
        count = len(joints)
        position, matrix = np.empty((count, model.ngeom, 3)), np.empty((count, model.ngeom, 9))
        eyes, axes = np.empty((count, model.ncam, 3)), np.empty((count, model.ncam, 9))
        states = zip(*positions_of(scene, joints, objects), strict=True)
        for n, (data.qpos[:], data.mocap_pos[:], data.mocap_quat[:]) in enumerate(states):
            mujoco.mj_kinematics(model, data)
            mujoco.mj_camlight(model, data)
            position[n], matrix[n], eyes[n], axes[n] = data.geom_xpos, data.geom_xmat, data.cam_xpos, data.cam_xmat
        matrix = matrix.reshape(count, -1, 3, 3)
        sizes, local = stretch(scene, self._entity, self._movable, objects.half_extents)
        position += np.einsum("ngij,ngj->ngi", matrix, local - model.geom_pos)
        colour = np.where(self._movable[:, None], objects.colour[:, self._entity], self._rgba[:, :3])
        alpha = self._rgba[:, 3] * np.where(self._movable, objects.present[:, self._entity], True)
        geoms = _Geoms(self._kinds, self._gloss, self._entity, sizes, _linear(colour), alpha, position, matrix)
        return geoms, eyes, axes.reshape(count, -1, 3, 3)


def _under(lamp: Array, geoms: _Geoms, eyes: Array, axes: Array) -> tuple[_Geoms, Array, Array]:
    """Geoms and one camera `[N 3]`, `[N 3 3]` under a lamp that is turned by `lamp` `[N 3 3]`.

    The kernel's lamp is fixed, so it is the world, camera and all, that turns under it the other way.
    """
    if (lamp == np.eye(3)).all():
        return geoms, eyes, axes
    back = lamp.swapaxes(-1, -2)
    turned = _Geoms(**{**vars(geoms), "position": geoms.position @ lamp, "matrix": back[:, None] @ geoms.matrix})
    return turned, (back @ eyes[..., None])[..., 0], back @ axes


def views_of(scene: "Scene", names: Sequence[str], aspect: float = 1.0) -> Views:
    """Calibration of fixed cameras, as the scene has them; `aspect` is width over height of their images.

    Raises `EmbodiedError` for a camera that the scene lacks, or that rides on the arm.
    """
    model = scene.model
    allowed = [model.camera(i).name for i in range(model.ncam) if model.cam_bodyid[i] == 0]
    for name in names:
        if name not in allowed:
            raise unknown("fixed camera", name, allowed)
    which = [model.camera(name).id for name in names]
    half = np.tan(np.deg2rad(model.cam_fovy[which]) / 2)
    return Views(tuple(names), model.cam_pos0[which].copy(), model.cam_mat0[which].reshape(-1, 3, 3).copy(),
                 np.stack([aspect * half, half], axis=-1))  # fmt: skip


def picture_of(
    scene: "Scene", joints: Array, objects: ObjectState, camera: str = "front", width: int = 480, height: int = 360,
    ghosts: ObjectState | None = None, mode: str = "hero",
) -> Array:  # fmt: skip
    """`[h w 3]` uint8: one given state, true or imagined: `joints` `[J]` [rad], `objects` without batch shape.

    `ghosts` adds translucent copies of the movable entities where that other state has them.
    """
    cameras = Cameras(scene, (CameraConfig(camera, width, height, mode),), threads=1)
    ghosts = None if ghosts is None else ghosts.map(lambda array: array[None])
    image: Array = cameras.draw(joints[None], objects.map(lambda array: array[None]), ghosts)[camera].rgb[0]
    return image


def picture(
    simulation: "Simulation", world: int = 0, camera: str = "front", width: int = 480, height: int = 360,
    mode: str = "hero",
) -> Array:  # fmt: skip
    """`[h w 3]` uint8: one world of a simulation as it is now."""
    now = simulation.observe()[world]
    joints = now.proprioception[proprioception(now.proprioception.shape[-1])["joint_position"]]
    return picture_of(simulation.scene, joints, now.objects, camera, width, height, mode=mode)


def entity_of_geoms(scene: "Scene") -> Array:
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


def movable_geoms(scene: "Scene") -> Array:
    """`[G]` bool: geoms of what takes pose, size, colour, presence from an `ObjectState`, as the robot does not."""
    entity = entity_of_geoms(scene)
    kinds = (*MOVABLE, Kind.BIN, Kind.TARGET, Kind.FIXTURE, Kind.OBSTACLE)
    movable: Array = (entity >= 0) & np.isin(scene.kind, kinds)[entity]
    return movable


def positions_of(scene: "Scene", joints: Array, objects: ObjectState) -> tuple[Array, Array, Array]:
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


def _opening(scene: "Scene", pose: Array, k: int) -> Array:
    """`[N]` position of the hinge or slide of entity `k`, from the poses `[N K 7]` of it and of its base [rad or m]."""
    model, body = scene.model, int(scene.body[k])
    base = int(np.flatnonzero(scene.body == model.body_parentid[body])[0])
    back, joint = quat_conjugate(pose[:, base, 3:]), int(model.body_jntadr[body])
    axis = model.jnt_axis[joint]
    if model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_SLIDE:
        return np.asarray((quat_rotate(back, pose[:, k, :3] - pose[:, base, :3]) - model.body_pos[body]) @ axis)
    turned = quat_multiply(back, pose[:, k, 3:])
    return 2.0 * np.arctan2(turned[:, 1:] @ axis, turned[:, 0])


def stretch(scene: "Scene", entity: Array, movable: Array, half_extents: Array) -> tuple[Array, Array]:
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


def _linear(colour: Array) -> Array:
    """SRGB 0..1 to linear light."""
    colour = np.clip(colour, 0.0, 1.0).astype(np.float64)
    return np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)


def _numpy(array: Array) -> Array:
    return np.asarray(array.detach().cpu() if hasattr(array, "detach") else array)
