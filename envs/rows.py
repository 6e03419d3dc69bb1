"""Entities in the state rows of a batch: writing poses and velocities, parking what is absent, servo history."""

from functools import cached_property

import mujoco
import numpy as np
from mujoco.batch import Batch

from envs.readout import column
from envs.scene import Scene
from envs.sleeping import wake
from envs.types import Array

EVERY = slice(None)


class EntityRows:
    """Writes a scene's entities into the state rows of a batch. `ids` are worlds `[n]`, integers in any order."""

    def __init__(self, batch: Batch, scene: Scene) -> None:
        self._batch, self._scene, self._model = batch, scene, scene.model
        self._qpos, self._qvel, self._ctrl = (batch.bind(name) for name in ("qpos", "qvel", "ctrl"))
        state = mujoco.mjtState
        self._qpos_column, self._qvel_column, self._warmstart_column = (
            column(scene.model, part) for part in (state.mjSTATE_QPOS, state.mjSTATE_QVEL, state.mjSTATE_WARMSTART)
        )
        self._mocap_columns = [column(scene.model, p) for p in (state.mjSTATE_MOCAP_POS, state.mjSTATE_MOCAP_QUAT)]
        self.movable = np.flatnonzero((scene.qpos >= 0) | (scene.mocap >= 0))
        """Indices of entities that have a pose of their own: objects and the goal entity."""
        self._parked = self._parked_cells()

    def put(self, ids: Array, entity: int, position: Array | None = None, quaternion: Array | None = None) -> None:
        """Place an entity at `position` `[n 3]` [m] and `quaternion` `[n 4]`, either of which may be left as it is."""
        self.place(self._batch.state, entity, position, quaternion, ids)
        wake(self._batch, ids)

    def place(
        self, state: Array, entity: int, position: Array | None, quaternion: Array | None, ids: Array | slice = EVERY
    ) -> None:
        """`put` in rows `[n S]` of states, no matter whose."""
        address, mocap = self._scene.qpos[entity], self._scene.mocap[entity]
        if address >= 0:
            first = self._qpos_column + address
            second = first + 3
        else:
            first, second = self._mocap_columns[0] + 3 * mocap, self._mocap_columns[1] + 4 * mocap
        if position is not None:
            state[ids, first : first + 3] = position
        if quaternion is not None:
            state[ids, second : second + 4] = quaternion

    def at_home(self, worlds: int, joints: Array | None = None) -> Array:
        """`[n S]` states as compiled: of the scene's keyframe, or with the robot at rest at `joints` `[n J]`."""
        model, scene, state = self._model, self._scene, mujoco.mjtState
        rows = np.repeat(self._home[None], worlds, axis=0)
        if joints is not None:
            rows[:, self._qpos_column + scene.joint_qpos] = joints
            rows[:, column(model, state.mjSTATE_CTRL) + scene.actuator] = joints
        self._believe(rows)
        return rows

    @cached_property
    def _home(self) -> Array:
        model, data = self._model, mujoco.MjData(self._model)
        mujoco.mj_resetDataKeyframe(model, data, model.key("home").id)
        row = np.zeros(self._batch.nstate)
        mujoco.mj_getState(model, data, row, mujoco.mjtState.mjSTATE_INTEGRATION)
        return row

    def set_velocity(self, ids: Array, entity: int, linear: Array, angular: Array, quaternion: Array) -> None:
        """Give a free body `linear` and `angular` velocity `[n 3]` in the world's axes; it lies at `quaternion`."""
        dof = self._scene.dof[entity]
        self._qvel[ids, dof : dof + 3] = linear
        for row, world in enumerate(ids):
            spin = np.zeros(3)
            inverse = np.asarray(quaternion[row]) * (1.0, -1.0, -1.0, -1.0)
            mujoco.mju_rotVecQuat(spin, np.asarray(angular[row], np.float64), inverse)
            self._qvel[world, dof + 3 : dof + 6] = spin
        wake(self._batch, ids)

    def parking(self, present: Array) -> tuple[Array, Array, Array]:
        """Rows, columns and values of the state that keep what is absent in `present` `[N K]` out of the way, at rest.

        To be written after every control step: an absent object falls a few centimetres within one. Compensating its
        gravity instead would tie `ngravcomp`, which `set_const` recounts, to who is present.
        """
        parts = []
        for entities, columns, values in self._parked:
            worlds, which = np.nonzero(~present[:, entities])
            parts.append((np.repeat(worlds, columns.shape[1]), columns[which].ravel(), values[which].ravel()))
        rows, where, what = (np.concatenate(part) for part in zip(*parts, strict=True))
        return rows, where, what

    def _parked_cells(self) -> list[tuple[Array, Array, Array]]:
        """Bodies, then entities moved by hand: who they are `[E]`, columns and values `[E C]` of being parked."""
        scene = self._scene
        free = np.array([k for k in self.movable if scene.qpos[k] >= 0], np.int64)
        held = np.array([k for k in self.movable if scene.qpos[k] < 0], np.int64)
        blocks = ((self._qpos_column, scene.qpos, 7), (self._qvel_column, scene.dof, 6),
                  (self._warmstart_column, scene.dof, 6))  # fmt: skip
        body = [first + address[free, None] + np.arange(size) for first, address, size in blocks]
        rest = np.concatenate([scene.parking_pose[free], np.zeros((len(free), 12))], axis=1)
        position, quaternion = self._mocap_columns
        hand = [position + 3 * scene.mocap[held, None] + np.arange(3),
                quaternion + 4 * scene.mocap[held, None] + np.arange(4)]  # fmt: skip
        return [(free, np.concatenate(body, axis=1), rest),
                (held, np.concatenate(hand, axis=1), scene.parking_pose[held])]  # fmt: skip

    def fill_history(self, ids: Array) -> None:
        """Make delayed servos believe that the present command was always there."""
        rows = self._batch.state[ids]
        self._believe(rows)
        self._batch.state[ids] = rows

    def _believe(self, rows: Array) -> None:
        model, state = self._model, mujoco.mjtState
        if model.actuator_history.any():
            history, ctrl = (column(model, part) for part in (state.mjSTATE_HISTORY, state.mjSTATE_CTRL))
            still, weight = self._history
            rows[:, history : history + len(still)] = still + rows[:, ctrl : ctrl + model.nu] @ weight

    @cached_property
    def _history(self) -> tuple[Array, Array]:
        """History `[H]` of commands that were always 0, and what a command of 1 adds to it `[U H]`."""
        model = self._model
        data = mujoco.MjData(model)
        delayed = np.flatnonzero(model.actuator_history[:, 0])

        def filled(commands: Array) -> Array:
            mujoco.mj_resetData(model, data)
            for actuator in delayed.tolist():
                values = np.full((int(model.actuator_history[actuator, 0]), 1), commands[actuator])
                mujoco.mj_initCtrlHistory(model, data, actuator, None, values)
            return data.history.copy()

        still = filled(np.zeros(model.nu))
        return still, np.stack([filled(command) - still for command in np.eye(model.nu)])
