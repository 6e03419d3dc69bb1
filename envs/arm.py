"""Kinematics of an arm of any MJCF file, numerically, for many poses at once: the twin of a closed form.

Its inverse is what mink or any differential IK does for one robot: damped least squares (Wampler, 1986) on the errors
of place and heading, and, with less weight, of the tool's lean. Compiled, for numpy; metres and radians.
"""

from dataclasses import dataclass

import mujoco
import numpy as np

from envs.arm_kernel import search, tools
from envs.geometry import quat_multiply, quat_rotate, quat_to_matrix
from envs.kinematics import Projection, ToolPose
from envs.types import Array

ROUNDS, NEAR = 40, 12
"""Of the search: from anywhere, and from joints that are a control step away."""


@dataclass(frozen=True)
class SerialArm:
    """A chain of J hinges and slides with a tool at its end."""

    place: Array
    """`[J+1 3]` of each joint's frame in the one before, and of the tool in the last [m]."""
    turn: Array
    """`[J+1 3 3]` the rotation of the same."""
    axis: Array
    """`[J 3]` of the joints, in their own frames."""
    slides: Array
    """`[J]` bool."""
    low: Array
    high: Array
    """`[J]` ends of the joints' ranges."""
    home: Array
    """`[J]` from where solutions are looked for."""

    @property
    def reach(self) -> tuple[float, float, float]:
        """[m] x, y and radius of a circle that the tool never leaves."""
        x, y, _ = self.place[0]
        slid = np.abs(np.stack([self.low, self.high])).max(axis=0)[self.slides].sum()
        return float(x), float(y), float(np.linalg.norm(self.place[1:], axis=-1).sum() + slid)

    def forward(self, joints: Array) -> ToolPose:
        """See `Arm.forward`; tilt is how far the tool is from pointing down, whichever way."""
        joints = np.asarray(joints, np.float64)[..., : len(self.axis)]
        batch = joints.shape[:-1]
        rows = np.ascontiguousarray(joints.reshape(-1, len(self.axis)))
        position, rotation = tools(rows, self.place, self.turn, self.axis, self.slides)
        yaw = np.arctan2(rotation[:, 1, 0], rotation[:, 0, 0])
        tilt = np.arccos(np.clip(rotation[:, 2, 2], -1.0, 1.0))
        return ToolPose(position.reshape(*batch, 3), yaw.reshape(batch), tilt.reshape(batch))

    def project(self, position: Array, yaw: Array, start: Array | None = None) -> Projection:
        """See `Arm.project`."""
        position, yaw = np.asarray(position, np.float64), np.asarray(yaw, np.float64)
        if start is None:
            joints = np.tile(self.home, (*yaw.shape, 1))
            # Turned towards where it is, the rest of the way is nearly straight.
            joints[..., 0] = self._turned_to(position)
        else:
            joints = np.array(start, np.float64)[..., : len(self.home)]
        rows = np.array(np.broadcast_to(joints, (*yaw.shape, len(self.home)))).reshape(-1, len(self.home))
        search(
            rows, self.place, self.turn, self.axis, self.slides, self.low, self.high,
            np.ascontiguousarray(position.reshape(-1, 3)), yaw.reshape(-1), ROUNDS if start is None else NEAR,
        )  # fmt: skip
        joints = rows.reshape(*yaw.shape, -1)
        reached = self.forward(joints)
        return Projection(reached.position, reached.yaw, reached.tilt, joints)

    def _turned_to(self, position: Array) -> Array:
        """`[*B]` of the first joint that turns the arm's home towards a point, where it turns about the vertical."""
        sign = (self.turn[0] @ self.axis[0])[2]
        if self.slides[0] or abs(sign) < 0.99:
            return np.broadcast_to(self.home[0], position.shape[:-1])
        home, base = self.forward(self.home).position, self.place[0]
        bearing = np.arctan2(position[..., 1] - base[1], position[..., 0] - base[0])
        own = np.arctan2(home[1] - base[1], home[0] - base[0])
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
    place, turn, last = [], [], np.array([0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0])
    for frame in frames:
        back = last[3:] * (1.0, -1.0, -1.0, -1.0)
        place.append(quat_rotate(back, frame[:3] - last[:3]))
        turn.append(quat_to_matrix(quat_multiply(back, frame[3:])))
        last = frame
    return SerialArm(
        place=np.array(place),
        turn=np.array(turn),
        axis=model.jnt_axis[ids],
        slides=model.jnt_type[ids] == mujoco.mjtJoint.mjJNT_SLIDE,
        low=model.jnt_range[ids, 0],
        high=model.jnt_range[ids, 1],
        home=np.array(home[: len(joints)]),
    )
