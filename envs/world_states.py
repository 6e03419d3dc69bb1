"""What N worlds of one scene are: their states and their physics, looked at, begun, saved and restored to the bit."""

import copy
import hashlib
import os
from dataclasses import dataclass
from functools import cached_property

import mujoco
import numpy as np
from mujoco.batch import Batch

from envs.beginning import beginning
from envs.engine import Engine
from envs.errors import EmbodiedError
from envs.layout import Layout
from envs.parameters import ModelFields, Parameters
from envs.readout import chain_of, column, read_poses
from envs.rows import EntityRows
from envs.scene import Scene
from envs.sleeping import wake
from envs.stepped import dress
from envs.types import Array, ObjectState, Observation

Ids = Array
"""Worlds: unique integers in any order, a boolean mask `[N]`, one integer, or `None` for all."""


@dataclass(frozen=True)
class SimulationState:
    """Everything that decides what n worlds do next, one float64 row each; plain numbers an episode can store."""

    rows: Array
    """`[n S]`: MuJoCo's integration state, true parameters, play taken up, declared parameters, present mask, random
    stream."""
    scene: str = ""
    """Fingerprint of the compiled scene; an empty one is not checked."""

    def __getitem__(self, key: Array | slice | int) -> "SimulationState":
        """Some of the rows; always keeps the leading axis."""
        return SimulationState(np.atleast_2d(self.rows[key]).copy(), self.scene)


class WorldStates:
    """N worlds that stand still; `Simulation` makes them move.

    A world's future is a function of its row in `save` and the actions alone: results do not depend on the number of
    worlds or threads, bit for bit.
    """

    def __init__(self, scene: Scene, worlds: int, threads: int, engine: Engine) -> None:
        """Starts at the scene's `home` keyframe. `threads` = 0 uses every core this process may run on.

        Raises `EmbodiedError` where the engine is not installed or cannot step the scene.
        """
        if worlds < 1:
            raise EmbodiedError(f"{worlds} worlds were asked for; a simulation needs at least one.")
        self.scene = scene
        self.worlds = worlds
        self.engine = engine
        self._batch = engine.batch(scene.stepped, worlds, threads or len(os.sched_getaffinity(0)))
        self.fields = ModelFields(self._batch, scene)
        """The true physics of every world."""
        self.rows = EntityRows(self._batch, scene)
        self._chain = chain_of(scene.model, scene.body, scene.local_pose)
        self._qpos, self._ctrl, self._time = (self._batch.bind(name) for name in ("qpos", "ctrl", "time"))
        state = mujoco.mjtState
        self._own = np.concatenate([
            column(scene.model, state.mjSTATE_QPOS) + scene.joint_qpos,
            column(scene.model, state.mjSTATE_QVEL) + scene.joint_dof,
            column(scene.model, state.mjSTATE_CTRL) + scene.actuator,
        ])  # fmt: skip
        """Columns of a state row that make the proprioception."""
        first = int(scene.actuator[0])
        consecutive = np.array_equal(scene.actuator, first + np.arange(len(scene.actuator)))
        # A slice costs a single world a microsecond, an index array five.
        self._actuators = slice(first, first + len(scene.actuator)) if consecutive else scene.actuator
        self._all = np.arange(worlds)
        self._objects = np.flatnonzero(scene.qpos >= 0)
        # What observations say; what holds is in `fields`.
        self.mass = np.repeat(scene.mass[None], worlds, axis=0)
        self.friction = np.repeat(scene.friction[None], worlds, axis=0)
        self.present = np.ones((worlds, len(scene.names)), bool)
        self._slack = np.zeros((worlds, len(scene.actuator)))
        """How far the commands are ahead of what the joints follow, by their backlash [rad, of a pusher m]."""
        self._random = np.zeros((worlds, 2))
        """Seed and draws so far of every world's random stream."""
        vectors, numbers = (worlds, len(scene.names), 3), (worlds, len(scene.names))
        self._shown = {"half_extents": np.zeros(vectors), "colour": np.zeros(vectors), "mass": np.zeros(numbers),
                       "friction": np.zeros(numbers)}  # fmt: skip
        self._parking: tuple[Array, Array, Array] | None = None
        """What `EntityRows.parking` says of all worlds; None where it must be asked again."""
        self._fingerprint = _fingerprint(scene.model)
        self._batch.state[:] = self.rows.at_home(worlds)
        self.refresh()

    def observe(self, ids: Ids = None) -> Observation:
        """What is true now in the worlds `ids`; arrays of its own, never views of the simulation."""
        scene, shown, time = self.scene, self._shown, self._time
        state: Array = self._batch.state
        present: Array = self.present
        if ids is not None:
            chosen = self._chosen(ids)
            state, present, time = state[chosen], present[chosen], time[chosen]
            shown = {name: array[chosen] for name, array in shown.items()}
        position, quaternion, linear, angular = read_poses(self._chain, state, present)
        own = state[:, self._own]
        if self.fields.backlash is not None:
            own[:, -self._slack.shape[1] :] += self._slack if ids is None else self._slack[chosen]
        return Observation(
            proprioception=own,
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
                present=present.copy(),
                confidence=present.astype(np.float64),
            ),
            time=time.copy(),
        )

    @property
    def batch(self) -> Batch:
        """MuJoCo's batch of `Scene.stepped` underneath, for what is built on a simulation within this package."""
        return self._batch

    @property
    def joint_target(self) -> Array:
        """The commanded joints `[N J]` [rad, of a pusher m], in the order of `Scene.joints`; a copy."""
        return np.asarray(self._ctrl[:, self._actuators] + self._slack)

    @property
    def parameters(self) -> Parameters:
        """The true physics of every world; copies."""
        return self.fields.parameters

    @property
    def seeds(self) -> Array:
        """`[N]` integers of the worlds' own random streams."""
        return self._random[:, 0].astype(np.int64)

    def generator(self, world: int) -> np.random.Generator:
        """A generator from a world's own stream; each call gives the next one. The stream is part of `save`."""
        seed, draws = (int(value) for value in self._random[world])
        self._random[world, 1] += 1
        return np.random.default_rng((seed, draws))

    def reset(self, layout: Layout, ids: Ids = None) -> None:
        """Begin anew in the worlds `ids` `[n]` as `layout` says: at rest, time 0, nothing carried over."""
        chosen = self._chosen(ids)
        self._take(chosen, self.beginning(layout, len(chosen)).rows)

    def beginning(self, layout: Layout, worlds: int) -> SimulationState:
        """How `worlds` worlds begin as `layout` says: of many it costs little more than of few."""
        rows = beginning(self.scene, self.rows, self.fields, layout, worlds)
        return SimulationState(rows, self._fingerprint)

    def begin(self, rows: Array, ids: Array) -> None:
        """`restore` the worlds `ids` `[n]` to rows `[n S]` of `beginning`, which were checked when they were made."""
        self._take(self._chosen(ids), rows)

    def save(self, ids: Ids = None) -> SimulationState:
        """The exact state of the worlds `ids`, mid-contact or not; what sleeps in them wakes."""
        chosen = self._chosen(ids)
        wake(self._batch, chosen)
        rows = np.concatenate([array[chosen] for array in self._parts], axis=1, dtype=np.float64)
        return SimulationState(rows, self._fingerprint)

    def restore(self, state: SimulationState, ids: Ids = None) -> None:
        """Continue the worlds `ids` from `state` bit for bit; one row serves all of them.

        The state may come from any simulation of the same scene, whatever its number of worlds. Raises `EmbodiedError`
        if it does not fit.
        """
        chosen = self._chosen(ids)
        if state.scene and state.scene != self._fingerprint:
            raise EmbodiedError("This state was saved in another scene; build this one from the same SceneConfig.")
        width = sum(part.shape[1] for part in self._parts)
        rows = np.asarray(state.rows, np.float64)
        if rows.ndim != 2 or rows.shape[0] not in (1, len(chosen)) or rows.shape[1] != width:
            raise EmbodiedError(
                f"A state of shape {rows.shape} was given; {len(chosen)} worlds of this scene need "
                f"{(len(chosen), width)}."
            )
        first = self._batch.nstate
        self.fields.check_flat(rows[:, first : first + self.fields.flat.shape[1]])
        self._take(chosen, np.broadcast_to(rows, (len(chosen), width)))

    @property
    def _parts(self) -> tuple[Array, ...]:
        """Whose columns make up the rows of `SimulationState`."""
        return (self._batch.state, self.fields.flat, self._slack, self.mass, self.friction, self.present, self._random)

    def _take(self, chosen: Array, rows: Array) -> None:
        ends = np.cumsum([part.shape[1] for part in self._parts])
        physics, parameters, slack, mass, friction, present, random = np.split(rows, ends[:-1], axis=1)
        self._batch.state[chosen] = physics
        self._batch.warning[chosen] = 0
        self._slack[chosen], self._random[chosen] = slack, random
        self.mass[chosen], self.friction[chosen] = mass, friction
        self.present[chosen] = present > 0.5
        self.fields.take(chosen, parameters)
        self.refresh(chosen)

    def snapshot(self) -> list[Array]:
        """What a step changes of all worlds, for `undo`; a `save` that is cheap enough for every step."""
        return [array.copy() for array in self._changing]

    def undo(self, snapshot: list[Array]) -> None:
        """Take back the steps since `snapshot`, between which nothing but steps has been done; what sleeps wakes."""
        for array, before in zip(self._changing, snapshot, strict=True):
            array[:] = before
        self._batch.warning[:] = 0
        wake(self._batch, self._all)

    @property
    def _changing(self) -> tuple[Array, ...]:
        return self._batch.state, self._slack

    def model(self, world: int, model: mujoco.MjModel | None = None) -> mujoco.MjModel:
        """The compiled model with one world's own physics: a copy, or written into an earlier such `model`."""
        model = copy.copy(self.scene.model) if model is None else model
        dress(model, self._batch, world, self.scene.stepped_geom)
        return model

    def data(self, world: int, data: mujoco.MjData | None = None) -> mujoco.MjData:
        """One world's state as MuJoCo data, to render or for any `mj_` function; `mj_forward` fills derived fields."""
        data = mujoco.MjData(self.scene.model) if data is None else data
        mujoco.mj_setState(self.scene.model, data, self._batch.state[world], mujoco.mjtState.mjSTATE_INTEGRATION)
        return data

    @cached_property
    def spare(self) -> tuple[mujoco.MjModel, mujoco.MjData]:
        """Room for one world's `model` and `data`, which cost more to make than to fill."""
        return self.model(0), mujoco.MjData(self.scene.model)

    def _chosen(self, ids: Ids) -> Array:
        if ids is None:
            return self._all
        chosen = np.atleast_1d(np.asarray(ids))
        if chosen.dtype == bool and chosen.shape == (self.worlds,):
            return np.flatnonzero(chosen)
        if chosen.ndim != 1 or (chosen.size and chosen.dtype.kind not in "iu"):
            raise EmbodiedError(f"Worlds {ids!r} were given; integers or a mask of {self.worlds} booleans are allowed.")
        if chosen.size and (chosen.min() < 0 or chosen.max() >= self.worlds or len(np.unique(chosen)) < chosen.size):
            raise EmbodiedError(f"Worlds {few(chosen)} were given; they must be distinct and in 0..{self.worlds - 1}.")
        return chosen.astype(np.int64)

    def refresh(self, ids: Ids = None) -> None:
        """Take over `present` and what is declared in the worlds `ids`: absent entities show zeros and are parked."""
        chosen = self._chosen(ids)
        present = self.present[chosen]
        if not present.all():
            rows, columns, values = self.rows.parking(present)
            self._batch.state[chosen[rows], columns] = values
        wake(self._batch, chosen)
        # Of all worlds, when next they step: edits come world by world.
        self._parking = None
        half_extents = np.repeat(self.scene.half_extents[None], len(chosen), axis=0)
        half_extents[:, self._objects] = self.fields.half_extents[chosen]
        self._shown["half_extents"][chosen] = half_extents * present[..., None]
        self._shown["colour"][chosen] = self.scene.colour * present[..., None]
        self._shown["mass"][chosen] = self.mass[chosen] * present
        self._shown["friction"][chosen] = self.friction[chosen] * present


def _fingerprint(model: mujoco.MjModel) -> str:
    """A digest of the compiled model."""
    buffer = np.zeros(mujoco.mj_sizeModel(model), np.uint8)
    mujoco.mj_saveModel(model, None, buffer)
    return hashlib.sha256(buffer.tobytes()).hexdigest()[:16]


def few(worlds: Array) -> str:
    """The first numbers of worlds, for messages."""
    return ", ".join(str(world) for world in worlds[:5]) + (", ..." if len(worlds) > 5 else "")
