"""Kinematics of an arm of any MJCF file, numerically, for many poses at once: the slow twin of a closed form.

Its inverse is what mink or any differential IK does for one robot: damped least squares (Wampler, 1986) on the errors
of place and heading, and, with less weight, of the tool's lean. Numpy alone; metres and radians.
"""

from dataclasses import dataclass

import mujoco
import numpy as np

from envs.geometry import quat_multiply, quat_rotate, quat_to_matrix, yaw_of
from envs.kinematics import Projection, ToolPose
from envs.types import Array

ROUNDS, NEAR = 40, 12
"""Of the search: from anywhere, and from joints that are a control step away."""
DAMPING = 1e-3
"""[m] Keeps steps small where a direction is hardly in reach."""
YAW_WEIGHT, LEAN_WEIGHT = 0.05, 0.003
"""[m/rad] What an error of heading or of lean counts for, beside a metre of place."""
CONVERGED = 1e-5
"""[rad or m]."""
LONGEST = 0.3
"""[rad] A joint turns no more in one round."""


@dataclass(frozen=True)
class SerialArm:
    """A chain of J hinges and slides with a tool at its end."""

    offset: Array
    """`[J+1 7]` fixed pose of each joint's frame in the one before, and of the tool in the last."""
    axis: Array
    """`[J 3]` of the joints, in their own frames."""
    slides: Array
    """`[J]` bool."""
    low: Array
    high: Array
    """`[J]` ends of the joints' ranges."""
    home: Array
    """`[J]` from where solutions are looked for."""

    def forward(self, joints: Array) -> ToolPose:
        """See `Arm.forward`; tilt is how far the tool is from pointing down, whichever way."""
        position, quaternion, _, _ = self._pose(np.asarray(joints, np.float64))
        return ToolPose(position, yaw_of(quaternion), _lean(quaternion))

    def project(self, position: Array, yaw: Array, start: Array | None = None) -> Projection:
        """See `Arm.project`."""
        position, yaw = np.asarray(position, np.float64), np.asarray(yaw, np.float64)
        if start is None:
            joints = np.broadcast_to(self.home, (*yaw.shape, len(self.home))).copy()
            # Turned towards where it is, the rest of the way is nearly straight.
            joints[..., 0] = self._turned_to(position)
        else:
            joints = np.array(start, np.float64)[..., : len(self.home)]
        for _ in range(ROUNDS if start is None else NEAR):
            here, quaternion, axes, points = self._pose(joints)
            across = np.cross(axes, here[..., None, :] - points)
            moves = np.where(self.slides[:, None], axes, across)
            turns = np.where(self.slides[:, None], 0.0, axes)
            up = quat_to_matrix(quaternion)[..., :, 2]
            heading = np.remainder(yaw - yaw_of(quaternion) + np.pi, 2 * np.pi) - np.pi
            # The turn that brings the tool's axis back to the vertical has no part about it.
            upright = np.cross(up, np.broadcast_to(np.eye(3)[2], up.shape))
            error = np.concatenate(
                [position - here, LEAN_WEIGHT * upright[..., :2], YAW_WEIGHT * heading[..., None]], axis=-1
            )
            jacobian = np.concatenate(
                [moves, LEAN_WEIGHT * turns[..., :2], YAW_WEIGHT * turns[..., 2:]], axis=-1
            ).swapaxes(-1, -2)
            step = _damped(jacobian, error)
            # What would go past its end stays, and the others make up for it.
            ended = ((joints <= self.low) & (step < 0.0)) | ((joints >= self.high) & (step > 0.0))
            if ended.any():
                step = _damped(jacobian * ~ended[..., None, :], error)
            moved = np.clip(joints + np.clip(step, -LONGEST, LONGEST), self.low, self.high)
            still = np.abs(moved - joints).max(initial=0.0) < CONVERGED
            joints = moved
            if still:
                break
        reached = self.forward(joints)
        return Projection(reached.position, reached.yaw, reached.tilt, joints)

    def _pose(self, joints: Array) -> tuple[Array, Array, Array, Array]:
        """The tool's position and quaternion, and the joints' axes and places `[*B J 3]`, in world."""
        batch, count = joints.shape[:-1], len(self.axis)
        position, quaternion = np.zeros((*batch, 3)), np.broadcast_to(np.eye(4)[0], (*batch, 4))
        axes, points = np.zeros((*batch, count, 3)), np.zeros((*batch, count, 3))
        for j in range(count + 1):
            position = position + quat_rotate(quaternion, np.broadcast_to(self.offset[j, :3], position.shape))
            quaternion = quat_multiply(quaternion, np.broadcast_to(self.offset[j, 3:], quaternion.shape))
            if j == count:
                break
            axis = quat_rotate(quaternion, np.broadcast_to(self.axis[j], position.shape))
            axes[..., j, :], points[..., j, :] = axis, position
            if self.slides[j]:
                position = position + joints[..., j, None] * axis
                continue
            half = 0.5 * joints[..., j, None]
            turn = np.concatenate([np.cos(half), np.sin(half) * self.axis[j]], axis=-1)
            quaternion = quat_multiply(quaternion, turn)
        return position, quaternion, axes, points

    def _turned_to(self, position: Array) -> Array:
        """`[*B]` of the first joint that turns the arm's home towards a point, where it turns about the vertical."""
        home, _, axes, points = self._pose(self.home)
        sign = axes[0, 2]
        if self.slides[0] or abs(sign) < 0.99:
            return np.broadcast_to(self.home[0], position.shape[:-1])
        bearing = np.arctan2(position[..., 1] - points[0, 1], position[..., 0] - points[0, 0])
        own = np.arctan2(home[1] - points[0, 1], home[0] - points[0, 0])
        return np.asarray(np.clip(self.home[0] + sign * (bearing - own), self.low[0], self.high[0]))


def serial_arm(model: mujoco.MjModel, joints: tuple[str, ...], home: tuple[float, ...], site: str) -> SerialArm:
    """The chain of those joints in a model, from its world to the site; all other joints stay at 0."""
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    ids = [model.joint(name).id for name in joints]
    bodies = [int(model.jnt_bodyid[j]) for j in ids]
    frames = [np.concatenate([data.xanchor[j], data.xquat[b]]) for j, b in zip(ids, bodies, strict=True)]
    tool = np.zeros(4)
    mujoco.mju_mat2Quat(tool, data.site(site).xmat)
    frames.append(np.concatenate([data.site(site).xpos, tool]))
    offset, last = [], np.array([0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0])
    for frame in frames:
        back = last[3:] * (1.0, -1.0, -1.0, -1.0)
        offset.append(np.concatenate([quat_rotate(back, frame[:3] - last[:3]), quat_multiply(back, frame[3:])]))
        last = frame
    return SerialArm(
        offset=np.array(offset),
        axis=model.jnt_axis[ids],
        slides=model.jnt_type[ids] == mujoco.mjtJoint.mjJNT_SLIDE,
        low=model.jnt_range[ids, 0],
        high=model.jnt_range[ids, 1],
        home=np.array(home[: len(joints)]),
    )


def _damped(jacobian: Array, error: Array) -> Array:
    """The step `[*B J]` towards `error` `[*B 6]`."""
    turned = jacobian.swapaxes(-1, -2)
    square = jacobian @ turned + DAMPING**2 * np.eye(6)
    return np.asarray((turned @ np.linalg.solve(square, error[..., None]))[..., 0])


def _lean(quaternion: Array) -> Array:
    """`[*B]` of the tool's z axis from the vertical."""
    return np.arccos(np.clip(quat_to_matrix(quaternion)[..., 2, 2], -1.0, 1.0))
