"""The SO-101: the boxes of its hand that can touch things, and how its joints follow their commands."""

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from envs.geometry import quat_to_matrix
from envs.kinematics import body_poses
from envs.kinematics_compiled import hand_poses
from envs.types import Array
from world_models.embodiment import arm_kernel
from world_models.embodiment.joints import Effector, Embodiment, Heard, Joints
from world_models.slots.bodies import Bodies

_HALF = ((0.004, 0.009, 0.008), (0.004, 0.008, 0.009), (0.0055, 0.010, 0.018), (0.0045, 0.0280, 0.0100))
"""[m] as in assets/so101.xml: fixed pad, moving pad, fixed finger, moving finger."""
_FIXED_FINGER = (-0.0055, 0.0, 0.027)
"""[m] centre of the fixed finger's box in the fixed pad's frame."""
_JAW_PAD, _JAW_FINGER = (-0.012616, -0.076376, 0.019018), (0.0016, -0.0385, 0.0190)
_JAW_PAD_ANGLE, _JAW_FINGER_ANGLE = -0.46, 2.0 * math.atan2(-0.102171, 0.994767)
"""[m, rad] of the moving pad and finger in the moving jaw's frame, turned about its z axis."""
_INSTANT = 0.01
"""[s]."""
GRIPPER = 5
"""Index of the gripper's joint."""
_NEAR = 0.04
"""[m] Cubes nearer to the tool than this tell the gripper something."""


class Arm(Embodiment):
    """Six hinges and four boxes.

    The arm hardly feels 25 g cubes, but a cube between the jaws stops the gripper: each cube near the pads sends the
    gripper a message.
    """

    name, joints, solids = "so101", 6, 4
    rates, gain, tolerance = 3.0, 10.0, 0.01
    feels = True
    entities = ("gripper", "fixed_jaw", "moving_jaw")

    def __init__(self, period: float, width: int = 128, message: int = 16) -> None:
        super().__init__(period, width, message)
        self.felt = nn.Sequential(nn.Linear(13, 32), nn.SiLU(), nn.Linear(32, message))

    def effector(self, joints: Joints) -> Effector:
        """See `Embodiment`."""
        # Velocities by a difference over a time in which the arm turns by milliradians.
        position, rotation, _ = _boxes(torch.stack([joints.position, joints.position + _INSTANT * joints.velocity]))
        half = position.new_tensor(_HALF)
        return Effector(
            position=position[0],
            rotation=rotation[0],
            half=half.expand_as(position[0]),
            radius=torch.zeros_like(position[0, ..., 0]),
            linear_velocity=(position[1] - position[0]) / _INSTANT,
        )

    def pose(self, position: Float[Tensor, "*B 6"]) -> Float[Tensor, "*B 7"]:
        """See `Embodiment`."""
        place, quaternion = body_poses(position)
        centre = position.new_tensor([0.24, 0.0, 0.05])
        return torch.cat([(place[..., 0, :] - centre) / 0.1, quaternion[..., 0, :]], -1)

    @staticmethod
    def places(position: Float[Tensor, "*B 6"]) -> tuple[Float[Tensor, "*B 3 3"], Float[Tensor, "*B 3 4"]]:
        """See `Embodiment`."""
        return body_poses(position)

    def feel(self, joints: Joints, target: Float[Tensor, "*B 6"], bodies: Bodies) -> Float[Tensor, "*B M"]:
        """The sum of what every box tells the gripper; exactly zero from absent ones and those 4 cm from the tool."""
        gripper = torch.stack([joints.position[..., GRIPPER], target[..., GRIPPER]], -1)
        with torch.no_grad(), torch.autocast(gripper.device.type, enabled=False):
            _, _, tool = _boxes(joints.position)
            to_tool = quat_to_matrix(tool[..., 3:]).mT
            offset = (bodies.position - tool[..., None, :3]) @ to_tool.mT
            nearness = ((_NEAR - offset.square().sum(-1).sqrt()) / (0.5 * _NEAR)).clamp(0, 1) * bodies.present
            axes = to_tool[..., None, :, :] @ bodies.rotation
            turned = 4 * torch.atan2(axes[..., 1, 0] - axes[..., 0, 1], axes[..., 0, 0] + axes[..., 1, 1] + 1e-9)
            inputs = torch.cat(
                [
                    offset / 0.02,
                    torch.stack([torch.cos(turned), torch.sin(turned)], -1),
                    axes[..., 2],
                    bodies.half_extents / 0.014 - 1.0,
                    gripper[..., None, :].expand(*offset.shape[:-1], 2),
                ],
                -1,
            )
        message: Tensor = (self.felt(inputs) * nearness[..., None]).sum(-2)
        return message

    @staticmethod
    def lay_out(position: Array, velocity: Array, pose: Array, speed: Array, tool: Array) -> None:
        """See `Embodiment`."""
        arm_kernel.solids(position, velocity, _FIXED_FINGER, _MOVING_FINGER, _BEND, _INSTANT, pose, speed, tool)

    @staticmethod
    def entity_poses(position: Array) -> Array:
        """See `Embodiment`."""
        return hand_poses(position)

    @staticmethod
    def overhear(tool: Array, position: Array, command: Array, state: Array, fixed: Array) -> Heard | None:
        """See `Embodiment`."""
        rows = len(state)
        scene, nearness, inputs = np.empty(rows, np.int64), np.empty(rows, np.float32), np.empty((rows, 13), np.float32)
        count = arm_kernel.overhear(
            tool, position[:, GRIPPER], command[:, GRIPPER], state, fixed, _NEAR, scene, nearness, inputs
        )
        return Heard(scene[:count], nearness[:count], inputs[:count])

    @property
    def listener(self) -> nn.Sequential:
        """See `Embodiment`."""
        return self.felt


def _finger() -> tuple[tuple[float, ...], float]:
    """Centre of the moving finger in the moving pad's frame [m], and its turn about the pad's z axis [rad]."""
    sine, cosine = math.sin(-_JAW_PAD_ANGLE), math.cos(-_JAW_PAD_ANGLE)
    x, y, z = (finger - pad for finger, pad in zip(_JAW_FINGER, _JAW_PAD, strict=True))
    return (cosine * x - sine * y, sine * x + cosine * y, z), _JAW_FINGER_ANGLE - _JAW_PAD_ANGLE


_MOVING_FINGER, _BEND = _finger()


def _boxes(joints: Float[Tensor, "*B 6"]) -> tuple[Tensor, Tensor, Tensor]:
    """Positions and rotations of the boxes, and the tool's pose, at joints [rad]."""
    position, quaternion = body_poses(joints)
    pads = quat_to_matrix(quaternion[..., 1:, :])
    offsets = joints.new_tensor([_FIXED_FINGER, _MOVING_FINGER])
    fingers = position[..., 1:, :] + (pads @ offsets[..., None])[..., 0]
    turns = joints.new_tensor(
        [
            [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
            [[math.cos(_BEND), -math.sin(_BEND), 0], [math.sin(_BEND), math.cos(_BEND), 0], [0, 0, 1]],
        ]
    )
    return (
        torch.cat([position[..., 1:, :], fingers], -2),
        torch.cat([pads, pads @ turns], -3),
        torch.cat([position[..., 0, :], quaternion[..., 0, :]], -1),
    )
