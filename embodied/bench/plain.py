"""One world of a task as anybody would write it on MuJoCo's plain bindings: what our vector environment is beside."""

from typing import Any

import gymnasium
import mujoco
import numpy as np
from gymnasium.spaces import Box

from envs.control import CartesianDelta
from envs.predicates import RELEASE_GAP
from envs.scene import build_scene
from envs.simulation import RAMP
from envs.tasks import task
from envs.types import Array


class PlainPlace(gymnasium.Env[Array, Array]):
    """`place` with the same scene, commands, ramp, physics steps, observed numbers and goal as ours."""

    def __init__(self) -> None:
        self.task = task("place")
        self._scene = build_scene(self.task.scene)
        self._model = self._scene.model
        self._data = mujoco.MjData(self._model)
        self._control = CartesianDelta()
        self._substeps = round(1.0 / (self._control.spec.rate * self._model.opt.timestep))
        self._bodies = [int(body) for body in self._scene.body[1:]]
        self._cube, self._target = self._scene.index("red_cube"), self._scene.index("target")
        jaws = [self._scene.index(name) for name in ("fixed_jaw", "moving_jaw")]
        self._pads = [geom for jaw in jaws for geom in self._scene.geoms[jaw]]
        self._elapsed = 0
        self.action_space = Box(-1.0, 1.0, (self._control.spec.size,), np.float32)
        self.observation_space = Box(-np.inf, np.inf, self._observe().shape, np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """Begin an episode where ours would."""
        super().reset(seed=seed)
        scene, data, layout = self._scene, self._data, self.task.layout([self.np_random])
        mujoco.mj_resetDataKeyframe(self._model, data, self._model.key("home").id)
        data.qpos[scene.joint_qpos] = data.ctrl[scene.actuator] = layout.joints[0]
        address = scene.qpos[self._cube]
        data.qpos[address : address + 3] = layout.object_position[0, 0]
        data.qpos[address + 3 : address + 7] = layout.object_quaternion[0, 0]
        if layout.goal_position is not None:
            data.mocap_pos[scene.mocap[self._target]] = layout.goal_position[0]
        mujoco.mj_forward(self._model, data)
        self._elapsed = 0
        return self._observe(), {}

    def step(self, action: Array) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """One control step."""
        model, data, actuators = self._model, self._data, self._scene.actuator
        before = data.ctrl[actuators].copy()
        target = self._control.target(before, np.clip(action.astype(np.float64), -1.0, 1.0))
        for part in range(1, RAMP + 1):
            data.ctrl[actuators] = before + part / RAMP * (target - before)
            mujoco.mj_step(model, data, nstep=self._substeps // RAMP)
        self._elapsed += 1
        success = self._success()
        return self._observe(), float(success) - 1.0, False, self._elapsed >= self.task.horizon, {}

    def _success(self) -> bool:
        scene, data = self._scene, self._data
        apart = data.xpos[scene.body[self._cube]] - data.xpos[scene.body[self._target]]
        if np.linalg.norm(apart) >= self.task.goal.literals[0].parameters[0]:
            return False
        cube = scene.geoms[self._cube][0]
        return all(mujoco.mj_geomDistance(self._model, data, pad, cube, 0.1, None) > RELEASE_GAP for pad in self._pads)

    def _observe(self) -> Array:
        scene, data = self._scene, self._data
        parts = [data.qpos[scene.joint_qpos], data.qvel[scene.joint_dof], data.ctrl[scene.actuator]]
        velocity = np.zeros(6)
        for body in self._bodies:
            mujoco.mj_objectVelocity(self._model, data, mujoco.mjtObj.mjOBJ_BODY, body, velocity, 0)
            matrix = data.xmat[body].reshape(3, 3)
            parts += [data.xpos[body], matrix[:, 0], matrix[:, 1], velocity[3:].copy(), velocity[:3].copy(), [1.0]]
        return np.concatenate(parts).astype(np.float32)
