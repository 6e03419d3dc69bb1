"""Objects as bodies of a MuJoCo model: what collides of them, and how heavy they are where."""

from collections.abc import Iterable

import mujoco
import numpy as np

from envs.compound import Piece, principal, spread
from envs.geometry import matrix_to_quat
from envs.objects import ROUNDING, ObjectType, object_type
from envs.types import Kind

_GEOMS = {Kind.BOX: mujoco.mjtGeom.mjGEOM_BOX, Kind.CYLINDER: mujoco.mjtGeom.mjGEOM_CYLINDER,
          Kind.SPHERE: mujoco.mjtGeom.mjGEOM_SPHERE, Kind.CAPSULE: mujoco.mjtGeom.mjGEOM_CAPSULE}  # fmt: skip
ROLLING_FRICTION = 0.001
"""[m] Of balls and capsules: a small ball that rolls at 0.1 m/s stops within a centimetre, as on felt."""


def add_object(
    spec: mujoco.MjSpec, name: str, at: tuple[float, float], friction: float, bits: tuple[int, int], simple: bool
) -> None:
    """Add the object of the catalogue, free, standing on the table at `at` [m].

    `friction` is its sliding one, `bits` its contype and conaffinity. A `simple` body's mass is at its centre for good;
    `Parameters.centre_of_mass` needs the full mass matrix, and so does a compound.
    """
    what = object_type(name)
    x, _, z = what.half_extents
    body = spec.worldbody.add_body(name=name, pos=(*at, z))
    body.simple = simple and not what.pieces
    body.add_freejoint(name=name)
    if what.kind == Kind.CYLINDER:
        across = what.mass * x**2 * (1 / 4 + (z / x) ** 2 / 3)
        body.explicitinertial, body.mass, body.ipos = True, what.mass, (0.0, 0.0, 0.0)
        body.inertia = (across, across, what.mass * x**2 / 2)
    elif what.pieces:
        centre, inertia = spread(what.pieces, np.array(what.half_extents))
        moments, axes = principal(what.mass * inertia)
        body.explicitinertial, body.mass, body.ipos = True, what.mass, centre
        body.inertia, body.iquat = moments, matrix_to_quat(axes)
    for index, solid in enumerate(what.solids):
        _add_solid(body, f"{name}_{index}" if what.pieces else name, solid, what, friction, bits)


def _add_solid(
    body: mujoco.MjsBody, name: str, solid: Piece, what: ObjectType, sliding: float, bits: tuple[int, int]
) -> None:
    (x, y, z), place = ([share * half for share, half in zip(shares, what.half_extents, strict=True)]
                        for shares in (solid.half, solid.centre))  # fmt: skip
    margin, size, condim, friction = 0.0, (x, y, z), 3, (sliding, 0.005, 0.0001)
    if solid.kind == Kind.CYLINDER:
        margin = ROUNDING
        size = (x - margin, z - margin, z - margin)
    elif solid.kind in (Kind.SPHERE, Kind.CAPSULE):
        # What is round comes to rest by rolling friction alone.
        size, condim, friction = (x, z - x, 0.0), 6, (sliding, 0.005, ROLLING_FRICTION)
    body.add_geom(name=name, type=_GEOMS[solid.kind], pos=place, size=size, mass=what.mass, rgba=(*what.colour, 1.0),
                  contype=bits[0], conaffinity=bits[1], condim=condim, margin=margin, friction=friction)  # fmt: skip


def open_up(model: mujoco.MjModel, objects: Iterable[str]) -> None:
    """Have every pair of a compound's solids and of those near it looked at, whatever size worlds give it.

    MuJoCo prunes pairs by boxes around the solids of a body, which stay as they were compiled.
    """
    for name in objects:
        if object_type(name).pieces:
            body = model.body(name).id
            first, count = int(model.body_bvhadr[body]), int(model.body_bvhnum[body])
            model.bvh_aabb[first : first + count] = (0.0, 0.0, 0.0, 1.0, 1.0, 1.0)
