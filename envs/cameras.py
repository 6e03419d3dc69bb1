"""Cameras over a scene: images, entity masks and depth of true or imagined states, drawn by the ray-caster.

A picture is a function of joint angles and an `ObjectState` alone. So what is observed, what really happened and what a
model imagined are drawn by the same code, and a simulator is needed for none of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import mujoco
import numpy as np

from envs import rays
from envs.appearance import Appearance
from envs.entity_geoms import entity_of_geoms, movable_geoms, positions_of, stretch
from envs.errors import EmbodiedError, unknown
from envs.frames import Caster, Frames, Geoms, linear
from envs.looks import Looks, developed, tinted
from envs.scene import Scene
from envs.simulation import Simulation
from envs.types import Array, ObjectState, Observation, proprioception


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
        if not all(isinstance(side, int | np.integer) and side >= 1 for side in (self.width, self.height)):
            raise EmbodiedError(
                f"Camera {self.name!r} was given {self.width!r} x {self.height!r} pixels; it needs whole numbers "
                "from 1 on."
            )


class Cameras:
    """Draws the states of one scene. Results do not depend on the number of threads."""

    def __init__(self, scene: Scene, configs: Sequence[CameraConfig], threads: int = 0) -> None:
        """`threads` = 0 uses every core this process may run on.

        Raises `EmbodiedError` for a camera the scene lacks or a geom that is no primitive.
        """
        model = scene.model
        allowed = [model.camera(i).name for i in range(model.ncam)]
        for config in configs:
            if config.name not in allowed:
                raise unknown("camera", config.name, allowed)
        self.scene, self.configs = scene, tuple(configs)
        self._caster = Caster(threads)
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

    def render(self, source: Simulation | Observation, looks: Looks | None = None) -> dict[str, Array]:
        """Images `[N h w 3]` uint8 by camera name, of a simulation now or of observations `[N]`."""
        return {name: frames.rgb for name, frames in self.frames(source, looks).items()}

    def frames(self, source: Simulation | Observation, looks: Looks | None = None) -> dict[str, Frames]:
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
        appearance: Appearance | None = None,
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
            extra = replace(extra, alpha=extra.alpha * GHOST_ALPHA, sizes=extra.sizes + GHOST_MARGIN)
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
            config.name: self._caster.shoot(
                *geoms.under(lamp, eyes[:, c], axes[:, c]),
                float(fovy[c]),
                (config.height, config.width),
                MODES[config.mode],
            )
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

    def _painted(self, geoms: Geoms, looks: Looks) -> Geoms:
        """Geoms with table, floor and robot in other colours."""
        model, own = self.scene.model, len(self._kinds)
        ground = self._entity == self.scene.index("table")
        ground[model.geom("floor").id] = True
        offset = np.where(ground[:, None], looks.table[:, None], looks.robot[:, None])
        albedo = geoms.albedo.copy()
        paint = linear(self._rgba[:, :3] + offset)
        albedo[:, :own] = np.where(self._movable[:, None], albedo[:, :own], paint)
        return replace(geoms, albedo=albedo)

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

    def _dressed(self, geoms: Geoms, appearance: Appearance) -> tuple[Geoms, Array, Array, Array]:
        """Geoms in other paint and among clutter, other cameras' positions, axes and fields of view.

        The light is fixed, so it is the world, cameras and all, that is turned under it.
        """
        paint = linear(appearance.paint)
        albedo = geoms.albedo.copy()
        own = len(self._kinds)
        albedo[:, :own] = np.where(self._movable[:, None], albedo[:, :own], paint)
        clutter, count = appearance.clutter, len(albedo)
        gloss = np.full(len(clutter.kinds), 0.2)
        entity = np.full(len(clutter.kinds), -1, np.int16)
        more = Geoms(clutter.kinds, gloss, entity, clutter.sizes, linear(clutter.colour),
                      clutter.shown.astype(np.float64), clutter.position, clutter.rotation)  # fmt: skip
        whole = replace(geoms, albedo=albedo).join(more)
        turn = appearance.turn[:, None]
        turned = replace(whole, position=(turn @ whole.position[..., None])[..., 0],
                         matrix=turn @ whole.matrix)  # fmt: skip
        views = appearance.views
        eyes = (turn @ np.reshape(views.position, (count, -1, 3, 1)))[..., 0]
        return turned, eyes, turn @ views.rotation, appearance.fovy

    def _place(self, joints: Array, objects: ObjectState) -> tuple[Geoms, Array, Array]:
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
        geoms = Geoms(self._kinds, self._gloss, self._entity, sizes, linear(colour), alpha, position, matrix)
        return geoms, eyes, axes.reshape(count, -1, 3, 3)


def picture_of(
    scene: Scene, joints: Array, objects: ObjectState, camera: str = "front", width: int = 480, height: int = 360,
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
    simulation: Simulation, world: int = 0, camera: str = "front", width: int = 480, height: int = 360,
    mode: str = "hero",
) -> Array:  # fmt: skip
    """`[h w 3]` uint8: one world of a simulation as it is now."""
    now = simulation.observe()[world]
    joints = now.proprioception[proprioception(now.proprioception.shape[-1])["joint_position"]]
    return picture_of(simulation.scene, joints, now.objects, camera, width, height, mode=mode)


def _numpy(array: Array) -> Array:
    return np.asarray(array.detach().cpu() if hasattr(array, "detach") else array)
