"""The hand as demonstrators look at it: where it is, where it was told to be, and what is between its jaws."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from envs.geometry import quat_conjugate, quat_rotate
from envs.kinematics import SO101, Arm, ToolPose
from envs.types import Array, Observation, proprioception

ROLL_LIMIT = 2.5
"""[rad] The wrist turns no farther either way."""
STILL = 0.3
"""[rad/s] A jaw that still closes faster has not found the far face yet: lifting now would tip what is between."""


@dataclass(frozen=True)
class Hand:
    """Arrays `[*B ...]`."""

    command: ToolPose
    """Where the tool was told to be."""
    roll: Array
    """`[*B]` the wrist's roll as commanded [rad]."""
    tool: Array
    """`[*B 3]` the tool centre point [m]."""
    quaternion: Array
    """`[*B 4]` of the gripper."""
    opening: Array
    """`[*B]` of the jaws [rad]."""
    still: Array
    """`[*B]` bool, the jaws have come to rest."""

    @classmethod
    def of(cls, observation: Observation, arm: Arm = SO101) -> Self:
        """The hand in an observation of a robot with one arm, whose last joint is its gripper's."""
        objects, joints = observation.objects, np.asarray(observation.proprioception, np.float64)
        layout = proprioception(joints.shape[-1])
        target = joints[..., layout["joint_target"]]
        hand = objects.index("gripper")
        return cls(
            command=arm.forward(target),
            roll=target[..., -2],
            tool=np.asarray(objects.position_in_world, np.float64)[..., hand, :],
            quaternion=np.asarray(objects.quaternion_in_world, np.float64)[..., hand, :],
            opening=joints[..., layout["joint_position"]][..., -1],
            still=np.abs(joints[..., layout["joint_velocity"]][..., -1]) < STILL,
        )

    def towards(self, yaw: Array) -> Array:
        """`[*B]` [rad] how far to turn so that the jaws stand along `yaw` `[*B]`, one way round or the other.

        The nearer way, unless the wrist's roll would end.
        """
        turn = np.remainder(yaw - self.command.yaw + 0.5 * np.pi, np.pi) - 0.5 * np.pi
        roll = self.roll + turn
        return np.asarray(np.where(np.abs(roll) > ROLL_LIMIT, turn - np.pi * np.sign(roll), turn))

    def around(self, point: Array, room: tuple[float, float, float]) -> Array:
        """`[*B]` bool, whether `point` `[*B 3]` lies within `room` [m] of the tool, along the gripper's axes."""
        offset = quat_rotate(quat_conjugate(self.quaternion), point - self.tool)
        return np.asarray((np.abs(offset) < np.array(room)).all(axis=-1))

    def gripping(self, below: float) -> Array:
        """`[*B]` bool, whether the jaws have come to rest, closed further than `below` [rad]."""
        return np.asarray((self.opening < below) & self.still)
