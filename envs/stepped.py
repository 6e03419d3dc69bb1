"""What is stepped of a scene: the same bodies without the geoms that are only drawn.

MuJoCo works out the pose of every geom and goes through all of them to find who is near whom, also those that meet
nothing: of an SO-101 they are three in four, and a sixth of a physics step. Without them every bit is the same.
"""

import mujoco
import numpy as np
from mujoco.batch import Batch

from envs.types import Array

OWN_FIELDS = (
    "actuator_acc0", "actuator_biasprm", "actuator_delay", "actuator_forcerange", "actuator_gainprm", "body_inertia",
    "body_invweight0", "body_ipos", "body_iquat", "body_mass", "body_sameframe", "body_subtreemass", "bvh_aabb",
    "cam_poscom0", "dof_M0", "dof_damping", "dof_frictionloss", "dof_invweight0", "dof_length", "geom_aabb",
    "geom_friction", "geom_pos", "geom_rbound", "geom_size", "light_poscom0", "opt.gravity",
)  # fmt: skip
"""Fields of a model that worlds may have values of their own of."""
_DRAWN_GROUPS = np.array([1, 1, 1, 0, 0, 0], np.uint8)
"""Geom groups that a camera sees."""
_OF_MASSES = ("body_mass", "body_inertia", "body_ipos", "body_iquat")


def without_drawn(spec: mujoco.MjSpec, model: mujoco.MjModel) -> mujoco.MjModel:
    """`model`, which `spec` compiles to, without what is only drawn; `model` itself where that would change masses.

    Takes the geoms out of `spec`.
    """
    for geom in list(spec.geoms):
        if not (geom.contype or geom.conaffinity):
            spec.delete(geom)
    try:
        stepped = spec.compile()
    except ValueError:  # A body's mass was theirs, or something refers to them.
        return model
    stepped.key_qpos[:], stepped.key_ctrl[:] = model.key_qpos, model.key_ctrl
    same = all(np.array_equal(getattr(stepped, name), getattr(model, name)) for name in _OF_MASSES)
    return stepped if same else model


def stepped_ids(model: mujoco.MjModel, stepped: mujoco.MjModel) -> Array:
    """`[ngeom]` what the geoms of `model` are called in `stepped`; -1 for those that are only drawn."""
    kept = np.ones(model.ngeom, bool)
    if stepped is not model:
        # Both go through the bodies in the same order.
        kept = (model.geom_contype | model.geom_conaffinity) != 0
    return np.where(kept, np.cumsum(kept) - 1, -1)


def dress(model: mujoco.MjModel, batch: Batch, world: int, ids: Array) -> None:
    """Write one world's own values in a batch of `stepped` into `model`, with `ids` of `stepped_ids`."""
    for name in OWN_FIELDS:
        values = batch.expanded(name)
        if values is not None:
            field = getattr(model.opt, name[4:]) if name.startswith("opt.") else getattr(model, name)
            if name.startswith("geom_"):
                field[ids >= 0] = values[world]
            else:
                field[:] = values[world]


class Drawn:
    """The worlds of a batch of `stepped` with all that is drawn, to look at."""

    def __init__(self, model: mujoco.MjModel, batch: Batch, ids: Array) -> None:
        """`ids` are those of `stepped_ids`."""
        self._stepped, self._geoms = batch, np.flatnonzero(ids >= 0)
        self._batch = Batch(model, batch.nsim, batch.nthread)

    def first_hit(self, eye: Array, rays: Array, ids: Array) -> Array:
        """`[n R]` the geom that each of `rays` `[n R 3]` from `eye` `[3]` [m] meets first in worlds `ids`, or -1."""
        self._batch.state[ids] = self._stepped.state[ids]
        for name in ("geom_size", "geom_pos"):
            own = self._stepped.expanded(name)
            if own is not None:
                self._batch.expand(name)[ids[:, None], self._geoms] = own[ids]
        _, geom = self._batch.ray(eye, rays, geomgroup=_DRAWN_GROUPS, ids=ids.astype(np.int32))
        return np.asarray(geom)
