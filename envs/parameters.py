"""What physics differs between worlds: true parameters per world, and how they get into the model's fields.

`Parameters` are the truth the engine integrates. What an observation reports as mass and friction is what was declared
(catalogue or intervention), so sampled variation stays hidden from policies, as it would on a real table.
"""

from dataclasses import dataclass, fields, replace
from typing import Self

import mujoco
import numpy as np
from mujoco.batch import Batch

from envs.compound import principal, spread
from envs.errors import EmbodiedError
from envs.geometry import matrix_to_quat
from envs.objects import ROUNDING, object_type
from envs.scene import Scene
from envs.sleeping import wake
from envs.types import Array, Kind


@dataclass(frozen=True)
class Parameters:
    """True physical parameters of n worlds with K entities, the last O of them objects."""

    mass: Array
    """`[n O]` [kg]."""
    half_extents: Array
    """`[n O 3]` [m]."""
    centre_of_mass: Array
    """`[n O 3]` where the mass is, in the object's axes [m]: from its centre, of a compound from where it would be if
    of one density. Its inertia about the centre of mass is that of the uniform body. In scenes with a pusher only;
    elsewhere 0."""
    friction: Array
    """`[n K]` sliding friction coefficient of every entity."""
    servo_gain: Array
    """`[n J]` factor on the servos' position gains."""
    servo_damping: Array
    """`[n J]` factor on the passive damping of the robot's joints and on the servos' own."""
    servo_friction: Array
    """`[n J]` dry friction in the robot's joints [N m, of a pusher N]."""
    servo_delay: Array
    """`[n]` from command to servo [s]."""
    backlash: Array
    """`[n J]` play between servo and joint, both ways together [rad, of a pusher m]: the command that the joint follows
    lags behind the servo's own by half of it, on whichever side it came from (the play operator of Krasnosel'skii
    and Pokrovskii, 1989; it holds where friction, not inertia, decides on which flank the teeth lie)."""
    gravity: Array
    """`[n 3]` [m/s^2], world axes."""

    @classmethod
    def nominal(cls, scene: Scene, worlds: int) -> Self:
        """The scene as compiled, for every world."""
        objects = np.flatnonzero(scene.qpos >= 0)

        def every(value: Array) -> Array:
            return np.repeat(np.asarray(value, np.float64)[None], worlds, axis=0)

        return cls(
            mass=every(scene.mass[objects]),
            half_extents=every(scene.half_extents[objects]),
            centre_of_mass=every(np.zeros((len(objects), 3))),
            friction=every(scene.friction),
            servo_gain=every(np.ones(len(scene.actuator))),
            servo_damping=every(np.ones(len(scene.actuator))),
            servo_friction=every(scene.model.dof_frictionloss[scene.joint_dof]),
            servo_delay=np.full(worlds, float(scene.model.actuator_delay[scene.actuator].max())),
            backlash=every(np.zeros(len(scene.actuator))),
            gravity=every(scene.model.opt.gravity),
        )

    @property
    def worlds(self) -> int:
        """The number of worlds, n."""
        return int(self.mass.shape[0])

    def flat(self) -> Array:
        """All values as `[n V]` float64, in the order of the fields."""
        arrays = [getattr(self, f.name) for f in fields(self)]
        # Of no worlds, too, which leave -1 undetermined.
        return np.concatenate([a.reshape(self.worlds, int(np.prod(a.shape[1:]))) for a in arrays], axis=1)

    def like(self, flat: Array) -> Self:
        """Parameters of the same scene from `flat` `[m V]`, as views of it."""
        start, values = 0, {}
        for f in fields(self):
            shape = getattr(self, f.name).shape[1:]
            size = int(np.prod(shape, dtype=np.int64))
            values[f.name] = flat[:, start : start + size].reshape(flat.shape[0], *shape)
            start += size
        return replace(self, **values)

    def __getitem__(self, ids: Array | slice) -> Self:
        """The worlds `ids`."""
        return replace(self, **{f.name: getattr(self, f.name)[ids] for f in fields(self)})


class ModelFields:
    """Writes `Parameters` into the per-world model fields of a batch.

    A field is expanded only when a world first departs from the compiled model, so untouched simulations pay nothing.
    """

    def __init__(self, batch: Batch, scene: Scene) -> None:
        self._batch = batch
        self._scene = scene
        objects = np.flatnonzero(scene.qpos >= 0)
        self._bodies = scene.body[objects]
        self._solids = [solid for name in scene.objects for solid in object_type(name).solids]
        self._geoms = scene.stepped_geom[[geom for k in objects for geom in scene.geoms[k]]]
        self._owner = np.array([o for o, k in enumerate(objects) for _ in scene.geoms[k]], np.int64)
        self._compound = scene.kind[objects] == Kind.COMPOUND
        self._nominal = Parameters.nominal(scene, 1)
        self.flat: Array = np.repeat(self._nominal.flat(), batch.nsim, axis=0)
        """`[N V]` what every world runs on, see `Parameters.flat`; to be read."""
        self._current = self._nominal.like(self.flat)
        remembered = np.maximum(scene.model.actuator_history[scene.actuator, 0] - 1, 0)
        self._longest_delay = float(remembered.min() * scene.model.opt.timestep)
        self._axes = _box_axis_of_principal(scene.model, self._bodies)
        self._upright = scene.kind[objects] == Kind.CYLINDER
        self._capped = np.isin(scene.kind[objects], (Kind.SPHERE, Kind.CAPSULE))
        self._ball = scene.kind[objects] == Kind.SPHERE
        self.backlash: Array | None = None
        """`[N J]` of `Parameters`; None where no world has any."""
        self._simple = scene.model.body_simple[self._bodies].astype(bool)

    @property
    def parameters(self) -> Parameters:
        """What every world runs on; copies."""
        return self.of(np.arange(self._batch.nsim))

    def of(self, ids: Array) -> Parameters:
        """What the worlds `ids` `[n]` run on; copies."""
        return self._current[ids]

    @property
    def half_extents(self) -> Array:
        """`[N O 3]` [m]; to be read."""
        return self._current.half_extents

    def check_flat(self, flat: Array) -> None:
        """`check` of values as `flat` has them."""
        self.check(self._nominal.like(flat))

    def take(self, ids: Array, flat: Array) -> None:
        """`put` of values as `flat` has them."""
        if not np.array_equal(self.flat[ids], flat):
            self.put(ids, self._nominal.like(flat))

    def write(self, ids: Array, values: Parameters) -> None:
        """Run the worlds `ids` `[n]` on `values`; only what differs from their present values is touched.

        Raises `EmbodiedError`, with nothing written, like `check`.
        """
        self.check(values)
        self.put(ids, values)

    def put(self, ids: Array, values: Parameters) -> None:
        """Like `write`, of values that `check` has passed: with few worlds it costs as much as writing."""
        changed = {
            f.name
            for f in fields(Parameters)
            if not np.array_equal(getattr(self._current, f.name)[ids], getattr(values, f.name))
        }
        for name in changed:
            getattr(self._current, name)[ids] = getattr(values, name)
        rows, model = ids[:, None], self._scene.model
        if "friction" in changed:
            table = self._batch.expand("geom_friction")
            # As a ratio: parts of one entity may differ among themselves (pads and palm).
            ratio = np.divide(
                values.friction, self._nominal.friction, out=np.ones_like(values.friction),
                where=self._nominal.friction > 0,
            )  # fmt: skip
            for k, geoms in enumerate(self._scene.geoms):
                for geom in geoms:
                    table[ids, self._scene.stepped_geom[geom], 0] = model.geom_friction[geom, 0] * ratio[:, k]
        if "servo_gain" in changed:
            actuators = self._scene.actuator
            gain, bias = self._batch.expand("actuator_gainprm"), self._batch.expand("actuator_biasprm")
            gain[rows, actuators, 0] = model.actuator_gainprm[actuators, 0] * values.servo_gain
            bias[rows, actuators, 1] = model.actuator_biasprm[actuators, 1] * values.servo_gain
        if "servo_damping" in changed:
            actuators, dofs = self._scene.actuator, self._scene.joint_dof
            self._batch.expand("dof_damping")[rows, dofs] = model.dof_damping[dofs] * values.servo_damping
            own = model.actuator_biasprm[actuators, 2]
            self._batch.expand("actuator_biasprm")[rows, actuators, 2] = own * values.servo_damping
        if "servo_friction" in changed:
            self._batch.expand("dof_frictionloss")[rows, self._scene.joint_dof] = values.servo_friction
        if "servo_delay" in changed:
            self._batch.expand("actuator_delay")[rows, self._scene.actuator] = values.servo_delay[:, None]
        if "backlash" in changed:
            self.backlash = self._current.backlash if self._current.backlash.any() else None
        if "gravity" in changed:
            self._batch.expand("opt.gravity")[ids] = values.gravity
        if "half_extents" in changed:
            self._resize(rows, values.half_extents)
        if changed & {"mass", "half_extents", "centre_of_mass"}:
            self._weigh(rows, values, changed)
        if changed & {"mass", "half_extents", "centre_of_mass"}:
            self._batch.set_const(np.sort(ids).astype(np.int32))
        if changed:
            wake(self._batch, ids)

    def _resize(self, rows: Array, half_extents: Array) -> None:
        """Stretch the solids of objects of half extents `[n O 3]` [m]."""
        of_owner = half_extents[:, self._owner]
        half = of_owner * np.array([solid.half for solid in self._solids])
        # MuJoCo's size of a cylinder is radius and half length; of a capsule, half length without its caps.
        kinds = np.array([solid.kind for solid in self._solids])
        upright, capped = kinds == Kind.CYLINDER, np.isin(kinds, (Kind.SPHERE, Kind.CAPSULE))
        collided = half - np.where(upright[:, None], ROUNDING, 0.0)
        length = collided[..., 2] - np.where(capped, half[..., 0], 0.0)
        rod = np.stack([collided[..., 0], length, np.zeros_like(length)], axis=-1)
        size = np.where((upright | capped)[:, None], rod, half)
        self._batch.expand("geom_size")[rows, self._geoms] = size
        around = np.where(capped, half[..., 2], np.linalg.norm(size, axis=-1))
        self._batch.expand("geom_rbound")[rows, self._geoms] = around
        self._batch.expand("geom_aabb")[rows, self._geoms, 3:] = collided
        if self._compound.any():
            place = of_owner * np.array([solid.centre for solid in self._solids])
            self._batch.expand("geom_pos")[rows, self._geoms] = place

    def _weigh(self, rows: Array, values: Parameters, changed: set[str]) -> None:
        """Spread the mass over the objects."""
        model, bodies, batch = self._scene.model, self._bodies, self._batch
        if changed & {"mass", "half_extents"}:
            inertia = self._inertia(values)
            batch.expand("body_mass")[rows, bodies] = values.mass
            batch.expand("body_inertia")[rows, bodies] = inertia
        if "centre_of_mass" in changed or ("half_extents" in changed and self._compound.any()):
            batch.expand("body_ipos")[rows, bodies] = model.body_ipos[bodies] + values.centre_of_mass
        for o in np.flatnonzero(self._compound):
            half = values.half_extents[:, o]
            centre, inertia = spread(object_type(self._scene.objects[o]).pieces, half)
            moments, axes = principal(values.mass[:, o, None, None] * inertia)
            # What has its nominal size keeps the bits it was compiled with.
            other = (half != self._nominal.half_extents[:, o]).any(axis=-1)
            worlds = rows[other, 0]
            if len(worlds):
                batch.expand("body_ipos")[worlds, bodies[o]] = (centre + values.centre_of_mass[:, o])[other]
                batch.expand("body_inertia")[worlds, bodies[o]] = moments[other]
            if "half_extents" in changed:
                turned = np.where(other[:, None], matrix_to_quat(axes), model.body_iquat[bodies[o]])
                batch.expand("body_iquat")[rows[:, 0], bodies[o]] = turned

    def check(self, values: Parameters) -> None:
        """Raise `EmbodiedError` for parameters that no world of this scene can have."""
        for name in ("mass", "half_extents", "servo_gain"):
            if not (np.isfinite(getattr(values, name)).all() and (getattr(values, name) > 0).all()):
                raise EmbodiedError(f"Parameter {name} must be positive and finite in every world.")
        if not (np.isfinite(values.friction).all() and (values.friction >= 0).all()):
            raise EmbodiedError("Parameter friction must be finite and at least zero in every world.")
        for name in ("servo_damping", "servo_friction", "backlash"):
            if not (np.isfinite(getattr(values, name)).all() and (getattr(values, name) >= 0).all()):
                raise EmbodiedError(f"Parameter {name} must be finite and at least zero in every world.")
        longest = self._longest_delay
        if not ((values.servo_delay >= 0) & (values.servo_delay <= longest + 1e-9)).all():
            raise EmbodiedError(
                f"Parameter servo_delay must be 0 to {longest:g} s in every world: the scene's servos remember no more "
                "commands. Build it with a Servo of a larger `memory`."
            )
        for name in ("gravity", "centre_of_mass"):
            if not np.isfinite(getattr(values, name)).all():
                raise EmbodiedError(f"Parameter {name} must be finite in every world.")
        objects = self._scene.objects
        x, y, z = np.moveaxis(values.half_extents, -1, 0)
        self._check_round_pieces(values.half_extents)
        oval = (x != y).any(axis=0) & (self._upright | self._capped)
        if oval.any():
            name = objects[int(oval.argmax())]
            kind = "cylinder" if self._upright[oval.argmax()] else "capsule or ball"
            raise EmbodiedError(f"Parameter half_extents of {name} must have the same x and y: it is a {kind}.")
        bent = ((x != z) & self._ball).any(axis=0) | ((x > z) & self._capped).any(axis=0)
        if bent.any():
            raise EmbodiedError(
                f"Parameter half_extents of {objects[int(bent.argmax())]}: those of a ball are all the same, and the z "
                "of a capsule is at least its x."
            )
        thin = (values.half_extents <= ROUNDING).any(axis=(0, 2)) & self._upright
        if thin.any():
            name = objects[int(thin.argmax())]
            raise EmbodiedError(f"Parameter half_extents of {name} must be above {ROUNDING:g} m: it is a cylinder.")
        outside = (np.abs(values.centre_of_mass) >= values.half_extents).any(axis=(0, 2))
        if outside.any():
            raise EmbodiedError(f"Parameter centre_of_mass of {objects[int(outside.argmax())]} is outside its body.")
        if values.centre_of_mass[:, self._simple].any():
            raise EmbodiedError("Parameter centre_of_mass must be 0 in scenes with an arm: their bodies are simple.")

    def _check_round_pieces(self, half_extents: Array) -> None:
        """Raise `EmbodiedError` where a compound's cylinders would be ovals, or thinner than their rounding."""
        for owner, solid in zip(self._owner, self._solids, strict=True):
            if not self._compound[owner] or solid.kind != Kind.CYLINDER:
                continue
            name = self._scene.objects[owner]
            stretch = half_extents[:, owner] / self._nominal.half_extents[:, owner]
            if not np.allclose(stretch[:, 0], stretch[:, 1], rtol=1e-9):
                raise EmbodiedError(
                    f"Parameter half_extents of {name} must grow alike in x and y: it has round pieces."
                )
            if (half_extents[:, owner] * solid.half <= ROUNDING).any():
                raise EmbodiedError(
                    f"Parameter half_extents of {name} makes a round piece thinner than {2 * ROUNDING:g} m."
                )

    def _inertia(self, values: Parameters) -> Array:
        """`[n O 3]` principal inertia [kg m^2]: the compiled one scaled by mass and squared sides.

        As a ratio to the compiled values, so that nominal parameters give the compiled bits back. About an axis a box
        has m (b^2 + c^2) / 3; an upright cylinder m (r^2 + r^2) / 4 about its own and m (3/4 r^2 + h^2) / 3 across.
        """
        # A cylinder has the inertia of a box with its radius times sqrt(3) / 2 for half sides.
        weight = np.where(self._upright[:, None], (0.75, 0.75, 1.0), 1.0)
        squares, nominal = weight * values.half_extents**2, weight * self._nominal.half_extents**2
        shape = (squares.sum(-1, keepdims=True) - squares) / (nominal.sum(-1, keepdims=True) - nominal)
        # Only of capsules is that not so, unless all three sides are scaled alike.
        capsule = _capsule_inertia(values.half_extents) / _capsule_inertia(self._nominal.half_extents)
        shape = np.where((self._capped & ~self._ball)[:, None], capsule, shape)
        mass = (values.mass / self._nominal.mass)[..., None]
        principal = np.take_along_axis(shape, np.broadcast_to(self._axes, shape.shape), axis=-1)
        return np.asarray(self._scene.model.body_inertia[self._bodies] * mass * principal)


def _capsule_inertia(half_extents: Array) -> Array:
    """`[*B 3]` moments per mass of an upright capsule of those half extents, caps included [m^2]."""
    r, h = half_extents[..., 0], np.maximum(half_extents[..., 2] - half_extents[..., 0], 0.0)
    rod, caps = 2.0 * h * r**2, 4.0 / 3.0 * r**3
    across = rod * (r**2 / 4 + h**2 / 3) + caps * (0.4 * r**2 + h**2 + 0.75 * h * r)
    along = rod * r**2 / 2 + caps * 0.4 * r**2
    return np.asarray(np.stack([across, across, along], axis=-1) / (rod + caps)[..., None])


def _box_axis_of_principal(model: mujoco.MjModel, bodies: Array) -> Array:
    """`[O 3]` for each principal axis of a box the box axis it lies along: the compiler sorts axes by inertia."""
    order = np.zeros((len(bodies), 3), np.int64)
    for row, body in enumerate(bodies):
        matrix = np.zeros(9)
        mujoco.mju_quat2Mat(matrix, model.body_iquat[body])
        order[row] = np.abs(matrix.reshape(3, 3)).argmax(axis=0)
    return order
