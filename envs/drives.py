"""The servos of every world from underneath, for who emulates their firmware: gains, limits and drag at each step."""

from typing import TYPE_CHECKING

import numpy as np

from envs.types import Array

if TYPE_CHECKING:
    from envs.simulation import Simulation


class Drives:
    """J joints of N worlds as motors. What is set here holds until it is set again, and is no part of `save`."""

    def __init__(self, simulation: "Simulation") -> None:
        batch, scene = simulation.batch, simulation.scene
        self._simulation = simulation
        self._qpos, self._qvel, self._force = (batch.bind(name) for name in ("qpos", "qvel", "actuator_force"))
        self._gain, self._bias = batch.expand("actuator_gainprm"), batch.expand("actuator_biasprm")
        self._range, self._damping = batch.expand("actuator_forcerange"), batch.expand("dof_damping")
        self._joint, self._dof, self._actuator = scene.joint_qpos, scene.joint_dof, scene.actuator
        self._passive = scene.model.dof_damping[scene.joint_dof].copy()
        self.gain: Array = scene.model.actuator_gainprm[scene.actuator, 0].copy()
        """`[J]` nominal position gains [N m/rad]."""
        self.damping: Array = -scene.model.actuator_biasprm[scene.actuator, 2]
        """`[J]` nominal active damping [N m s/rad]."""

    @property
    def position(self) -> Array:
        """`[N J]` [rad]; a copy."""
        return np.asarray(self._qpos[:, self._joint])

    @property
    def velocity(self) -> Array:
        """`[N J]` [rad/s]; a copy."""
        return np.asarray(self._qvel[:, self._dof])

    @property
    def torque(self) -> Array:
        """`[N J]` that the motors gave in the last physics step [N m]; a copy."""
        return np.asarray(self._force[:, self._actuator])

    def set(self, gain: Array, damping: Array, limit: Array, drag: Array) -> None:
        """Torque = clip(gain (command - q) - damping dq, +-limit) - (passive damping + drag) dq, all `[N J]`.

        In [N m/rad], [N m s/rad], [N m] and [N m s/rad]. What the worlds' own `servo_gain` says is applied on top.
        """
        gain = gain * self._simulation.parameters.servo_gain
        self._gain[:, self._actuator, 0] = gain
        self._bias[:, self._actuator, 1] = -gain
        self._bias[:, self._actuator, 2] = -damping
        self._range[:, self._actuator, 0], self._range[:, self._actuator, 1] = -limit, limit
        self._damping[:, self._dof] = self._passive + drag

    def set_friction(self, friction: Array) -> None:
        """Dry friction of the joints `[N J]` [N m], of a scene whose servos have some."""
        self._simulation.batch.expand("dof_frictionloss")[:, self._dof] = friction
