"""N worlds of one scene on MuJoCo's batch: step, observe, reset, exact save and restore, and the do-operator."""

import hashlib
import os
from dataclasses import dataclass, replace
from typing import Any

import mujoco
import numpy as np
from mujoco.batch import Batch, SimulationError

from envs.control import CartesianDelta, Controller, check_action
from envs.errors import EmbodiedError
from envs.readout import chain_of, read_poses
from envs.scene import ABSENT_GRAVCOMP, Scene
from envs.types import Array, ObjectState, Observation
from envs.variation import ModelFields, Parameters

Ids = Array
"""Worlds: unique integers in any order, a boolean mask `[N]`, one integer, or `None` for all."""


@dataclass(frozen=True)
class Layout:
    """How n worlds begin. Fields left `None` take the scene's nominal values."""

    joints: Array
    """`[n 6]` [rad], also the first joint target."""
    object_position: Array
    """`[n O 3]` [m], world frame; ignored where absent."""
    object_quaternion: Array
    """`[n O 4]` wxyz."""
    present: Array | None = None
    """`[n O]` bool, all by default."""
    goal_position: Array | None = None
    """`[n 3]` [m] of the goal entity."""
    goal_quaternion: Array | None = None
    """`[n 4]` wxyz."""
    mass: Array | None = None
    """`[n O]` declared mass [kg]."""
    friction: Array | None = None
    """`[n O]` declared sliding friction."""
    half_extents: Array | None = None
    """`[n O 3]` [m]."""
    parameters: Parameters | None = None
    """The true physics of n worlds where it differs from what is declared, e.g. from `Variation.sample`."""
    seed: Array | None = None
    """`[n]` integers of the worlds' own random streams, below 2**53."""


@dataclass(frozen=True)
class SimulationState:
    """Everything that decides what n worlds do next, one float64 row each; plain numbers an episode can store."""

    rows: Array
    """`[n S]`: MuJoCo's integration state, true and declared parameters, present mask, random stream."""
    scene: str = ""
    """Fingerprint of the compiled scene; an empty one is not checked."""

    def __getitem__(self, key: Array | slice | int) -> "SimulationState":
        """Some of the rows; always keeps the leading axis."""
        return SimulationState(np.atleast_2d(self.rows[key]).copy(), self.scene)


class Simulation:
    """N worlds stepped together on native threads.

    A world's future is a function of its row in `save` and the actions alone: results do not depend on the number of
    worlds or threads, bit for bit.
    """

    def __init__(self, scene: Scene, worlds: int, threads: int = 0, control: Controller | None = None) -> None:
        """`threads` = 0 uses every core this process may run on. Starts at the scene's `home` keyframe."""
        if worlds < 1:
            raise EmbodiedError(f"{worlds} worlds were asked for; a simulation needs at least one.")
        self.scene = scene
        self.worlds = worlds
        self.control: Controller = control if control is not None else CartesianDelta()
        period = 1.0 / (self.control.spec.rate * scene.model.opt.timestep)
        self.substeps = round(period)
        if self.substeps < 1 or abs(period - self.substeps) > 1e-6:
            raise EmbodiedError(
                f"Control at {self.control.spec.rate} Hz is not a whole number of physics steps of "
                f"{scene.model.opt.timestep} s."
            )
        self._batch = Batch(scene.model, worlds, threads or len(os.sched_getaffinity(0)))
        self._fields = ModelFields(self._batch, scene)
        self._chain = chain_of(scene.model, scene.body, scene.local_pose)
        self._qpos, self._qvel, self._ctrl, self._time = (
            self._batch.bind(name) for name in ("qpos", "qvel", "ctrl", "time")
        )
        self._all = np.arange(worlds)
        self._objects = np.flatnonzero(scene.qpos >= 0)
        self._mass = np.repeat(scene.mass[None], worlds, axis=0)
        self._friction = np.repeat(scene.friction[None], worlds, axis=0)
        self._present = np.ones((worlds, len(scene.names)), bool)
        self._random = np.zeros((worlds, 2))
        """Seed and draws so far of every world's random stream."""
        self._fingerprint = _fingerprint(scene.model)
        self._batch.reset(keyframe=scene.model.key("home").id, stage=_NO_STAGE)
        self._fill_history(self._all)
        self._show()

    def step(self, action: Array) -> Observation:
        """One control step of every world under `action` `[N A]`.

        Raises `EmbodiedError`, with nothing stepped, for a wrong shape or a value that is not finite; and naming the
        worlds, if MuJoCo reports that their physics diverged.
        """
        self._ctrl[:, self.scene.actuator] = self.control.target(
            self.joint_target, check_action(action, self.control.spec, self.worlds)
        )
        self._advance(None, self.substeps)
        return self.observe()

    def observe(self) -> Observation:
        """What is true now; arrays of its own, never views of the simulation."""
        scene, actuator = self.scene, self.scene.actuator
        position, quaternion, linear, angular = read_poses(self._chain, self._batch.state, self._present)
        proprioception = np.concatenate(
            [self._qpos[:, scene.joint_qpos], self._qvel[:, scene.joint_dof], self._ctrl[:, actuator]], axis=1
        )
        shown = self._shown
        return Observation(
            proprioception=proprioception,
            objects=ObjectState(
                names=scene.names,
                position_in_world=position,
                quaternion_in_world=quaternion,
                linear_velocity_in_world=linear,
                angular_velocity_in_world=angular,
                half_extents=shown["half_extents"].copy(),
                kind=scene.kind.copy(),
                colour=shown["colour"].copy(),
                mass=shown["mass"].copy(),
                friction=shown["friction"].copy(),
                present=self._present.copy(),
                confidence=self._present.astype(np.float64),
            ),
            time=self._time.copy(),
        )

    @property
    def joint_target(self) -> Array:
        """The commanded joints `[N 6]` [rad], in LeRobot's order; a copy."""
        return np.asarray(self._ctrl[:, self.scene.actuator])

    @property
    def parameters(self) -> Parameters:
        """The true physics of every world; copies."""
        return self._fields.parameters

    def generator(self, world: int) -> np.random.Generator:
        """A generator from a world's own stream; each call gives the next one. The stream is part of `save`."""
        seed, draws = (int(value) for value in self._random[world])
        self._random[world, 1] += 1
        return np.random.default_rng((seed, draws))

    def reset(self, layout: Layout, ids: Ids = None) -> None:
        """Begin anew in the worlds `ids` `[n]` as `layout` says: at rest, time 0, nothing carried over."""
        chosen, scene = self._chosen(ids), self.scene
        count, objects = len(chosen), self._objects
        layout = _checked(layout, count, len(objects))
        self._batch.reset(np.sort(chosen), keyframe=scene.model.key("home").id, stage=_NO_STAGE)
        self._batch.warning[chosen] = 0
        self._qpos[chosen[:, None], scene.joint_qpos] = layout.joints
        self._ctrl[chosen[:, None], scene.actuator] = layout.joints
        self._present[chosen] = True
        if layout.present is not None:
            self._present[chosen[:, None], objects] = layout.present
        self._pose(chosen, objects, layout.object_position, layout.object_quaternion)
        for k in np.flatnonzero(scene.mocap >= 0):
            position = scene.model.body_pos[scene.body[k]] if layout.goal_position is None else layout.goal_position
            quaternion = layout.goal_quaternion
            quaternion = scene.model.body_quat[scene.body[k]] if quaternion is None else quaternion
            self._pose(chosen, np.array([k]), np.broadcast_to(position, (count, 3))[:, None],
                       np.broadcast_to(quaternion, (count, 4))[:, None])  # fmt: skip
        declared = Parameters.nominal(scene, count)
        if layout.mass is not None:
            declared.mass[:] = layout.mass
        if layout.friction is not None:
            declared.friction[:, objects] = layout.friction
        if layout.half_extents is not None:
            declared.half_extents[:] = layout.half_extents
        self._mass[chosen] = scene.mass
        self._mass[chosen[:, None], objects] = declared.mass
        self._friction[chosen] = declared.friction
        self._fields.write(chosen, declared if layout.parameters is None else layout.parameters)
        self._random[chosen] = 0.0
        if layout.seed is not None:
            self._random[chosen, 0] = layout.seed
        self._park(chosen)
        self._fill_history(chosen)
        self._show()

    def settle(self, ids: Ids = None, duration: float = 0.3) -> None:
        """Let the worlds `ids` run for `duration` [s] with their commands held, then set their time back."""
        chosen = np.sort(self._chosen(ids))
        time = self._time[chosen]
        self._advance(chosen, max(1, round(duration / self.scene.model.opt.timestep)))
        self._time[chosen] = time

    def save(self, ids: Ids = None) -> SimulationState:
        """The exact state of the worlds `ids`, mid-contact or not."""
        chosen = self._chosen(ids)
        extra = [self._fields.parameters.flat(), self._mass, self._friction, self._present, self._random]
        return SimulationState(
            np.concatenate([self._batch.state[chosen], *(part[chosen] for part in extra)], axis=1), self._fingerprint
        )

    def restore(self, state: SimulationState, ids: Ids = None) -> None:
        """Continue the worlds `ids` from `state` bit for bit; one row serves all of them.

        The state may come from any simulation of the same scene, whatever its number of worlds. Raises `EmbodiedError`
        if it does not fit.
        """
        chosen = self._chosen(ids)
        if state.scene and state.scene != self._fingerprint:
            raise EmbodiedError("This state was saved in another scene; build this one from the same SceneConfig.")
        parts = (self._batch.state, self._fields.parameters.flat(), self._mass, self._friction, self._present,
                 self._random)  # fmt: skip
        widths = [part.shape[1] for part in parts]
        rows = np.asarray(state.rows, np.float64)
        if rows.ndim != 2 or rows.shape[0] not in (1, len(chosen)) or rows.shape[1] != sum(widths):
            raise EmbodiedError(
                f"A state of shape {rows.shape} was given; {len(chosen)} worlds of this scene need "
                f"{(len(chosen), sum(widths))}."
            )
        rows = np.broadcast_to(rows, (len(chosen), rows.shape[1]))
        physics, parameters, mass, friction, present, random = np.split(rows, np.cumsum(widths)[:-1], axis=1)
        self._batch.state[chosen] = physics
        self._batch.warning[chosen] = 0
        self._mass[chosen], self._friction[chosen], self._random[chosen] = mass, friction, random
        self._present[chosen] = present > 0.5
        self._fields.write(chosen, self.parameters.like(parameters))
        self._compensate(chosen)
        self._show()

    def _advance(self, ids: Array | None, steps: int) -> None:
        try:
            self._batch.step(ids, nstep=steps)
        except SimulationError as error:
            raise EmbodiedError(f"Physics failed in worlds {_few(error.ids)}: {error}") from error
        if self._batch.warning[:, _DIVERGED].any():
            worlds = np.flatnonzero(self._batch.warning[:, _DIVERGED].any(axis=1))
            raise EmbodiedError(f"The physics of worlds {_few(worlds)} diverged; reset or restore them.")

    def _chosen(self, ids: Ids) -> Array:
        if ids is None:
            return self._all
        chosen = np.atleast_1d(np.asarray(ids))
        if chosen.dtype == bool and chosen.shape == (self.worlds,):
            return np.flatnonzero(chosen)
        if chosen.ndim != 1 or (chosen.size and chosen.dtype.kind not in "iu"):
            raise EmbodiedError(f"Worlds {ids!r} were given; integers or a mask of {self.worlds} booleans are allowed.")
        if chosen.size and (chosen.min() < 0 or chosen.max() >= self.worlds or len(np.unique(chosen)) < chosen.size):
            raise EmbodiedError(f"Worlds {_few(chosen)} were given; they must be distinct and in 0..{self.worlds - 1}.")
        return chosen.astype(np.int64)

    def _pose(self, ids: Array, entities: Array, position: Array, quaternion: Array) -> None:
        """Put `entities` `[M]` of the worlds `ids` `[n]` at `position` `[n M 3]` with `quaternion` `[n M 4]`."""
        scene = self.scene
        for column, k in enumerate(entities):
            if scene.qpos[k] >= 0:
                address = scene.qpos[k]
                self._qpos[ids, address : address + 3] = position[:, column]
                self._qpos[ids, address + 3 : address + 7] = quaternion[:, column]
            else:
                self._batch.bind("mocap_pos")[ids, scene.mocap[k]] = position[:, column]
                self._batch.bind("mocap_quat")[ids, scene.mocap[k]] = quaternion[:, column]

    def _park(self, ids: Array) -> None:
        """Keep absent entities of the worlds `ids` out of the way and at rest."""
        scene = self.scene
        for k in np.flatnonzero((scene.qpos >= 0) | (scene.mocap >= 0)):
            absent = ids[~self._present[ids, k]]
            pose = np.broadcast_to(scene.parking_pose[k], (len(absent), 1, 7))
            self._pose(absent, np.array([k]), pose[..., :3], pose[..., 3:])
            if scene.dof[k] >= 0:
                columns = slice(scene.dof[k], scene.dof[k] + 6)
                self._qvel[absent, columns] = 0.0
                self._batch.bind("qacc_warmstart")[absent, columns] = 0.0
        self._compensate(ids)

    def _compensate(self, ids: Array) -> None:
        """Float the absent objects of the worlds `ids`; the field is expanded only once an object is absent."""
        absent = ~self._present[np.ix_(ids, self._objects)]
        if absent.any() or self._batch.expanded("body_gravcomp") is not None:
            bodies = self.scene.body[self._objects]
            self._batch.expand("body_gravcomp")[np.ix_(ids, bodies)] = absent * ABSENT_GRAVCOMP

    def _fill_history(self, ids: Array) -> None:
        """Make delayed servos believe that the present command was always there."""
        model = self.scene.model
        if not model.actuator_history.any():
            return
        data = mujoco.MjData(model)
        history = self._batch.bind("history")
        for world in ids:
            mujoco.mj_resetData(model, data)
            for actuator in self.scene.actuator:
                count = int(model.actuator_history[actuator, 0])
                if count:
                    values = np.full((count, 1), self._ctrl[world, actuator])
                    mujoco.mj_initCtrlHistory(model, data, int(actuator), None, values)
            history[world] = data.history

    def _show(self) -> None:
        """Recompute what observations say of declared properties; an absent entity shows zeros."""
        present = self._present
        half_extents = np.repeat(self.scene.half_extents[None], self.worlds, axis=0)
        half_extents[:, self._objects] = self._fields.parameters.half_extents
        self._shown = {
            "half_extents": half_extents * present[..., None],
            "colour": self.scene.colour * present[..., None],
            "mass": self._mass * present,
            "friction": self._friction * present,
        }


_NO_STAGE = int(mujoco.mjtStage.mjSTAGE_NONE.value)
_DIVERGED = [int(getattr(mujoco.mjtWarning, f"mjWARN_{name}")) for name in ("BADQPOS", "BADQVEL", "BADQACC")]


def _fingerprint(model: mujoco.MjModel) -> str:
    """A digest of the compiled model."""
    buffer = np.zeros(mujoco.mj_sizeModel(model), np.uint8)
    mujoco.mj_saveModel(model, None, buffer)
    return hashlib.sha256(buffer.tobytes()).hexdigest()[:16]


def _few(worlds: Array) -> str:
    return ", ".join(str(world) for world in worlds[:5]) + (", ..." if len(worlds) > 5 else "")


def _checked(layout: Layout, worlds: int, objects: int) -> Layout:
    """The layout with float64 arrays and unit quaternions; raises `EmbodiedError` on wrong shapes or values."""
    shapes = {
        "joints": (worlds, 6),
        "object_position": (worlds, objects, 3),
        "object_quaternion": (worlds, objects, 4),
        "present": (worlds, objects),
        "goal_position": (worlds, 3),
        "goal_quaternion": (worlds, 4),
        "mass": (worlds, objects),
        "friction": (worlds, objects),
        "half_extents": (worlds, objects, 3),
        "seed": (worlds,),
    }
    checked: dict[str, Any] = {}
    for name, shape in shapes.items():
        value = getattr(layout, name)
        if value is None:
            continue
        array = np.array(value, bool if name == "present" else np.float64)
        if array.shape != shape:
            raise EmbodiedError(f"Layout.{name} has shape {array.shape}; {shape} is needed.")
        if not np.isfinite(array).all():
            raise EmbodiedError(f"Layout.{name} must be finite.")
        if name.endswith("quaternion"):
            norm = np.linalg.norm(array, axis=-1, keepdims=True)
            if (norm < 1e-6).any():
                raise EmbodiedError(f"Layout.{name} holds a quaternion of length zero.")
            array = array / norm
        checked[name] = array
    return replace(layout, **checked)
