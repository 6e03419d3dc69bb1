"""The boxes of the hand that can touch things, and how the arm's joints follow their commands."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from envs.geometry import quat_to_matrix
from envs.kinematics import body_poses
from envs.types import PROPRIOCEPTION
from world_models.slots.bodies import Bodies

HAND_BOXES = 4
"""Fixed pad, moving pad, fixed finger, moving finger."""
_HALF = ((0.004, 0.009, 0.008), (0.004, 0.008, 0.009), (0.0055, 0.010, 0.018), (0.0045, 0.0280, 0.0100))
"""[m] as in assets/so101.xml, in the order of `HAND_BOXES`."""
_FIXED_FINGER = (-0.0055, 0.0, 0.027)
"""[m] centre of the fixed finger's box in the fixed pad's frame."""
_JAW_PAD, _JAW_FINGER = (-0.012616, -0.076376, 0.019018), (0.0016, -0.0385, 0.0190)
_JAW_PAD_ANGLE, _JAW_FINGER_ANGLE = -0.46, 2.0 * math.atan2(-0.102171, 0.994767)
"""[m, rad] of the moving pad and finger in the moving jaw's frame, turned about its z axis."""
_INSTANT = 0.01
"""[s]."""
GRIPPER = 5
"""Index of the gripper's joint."""


@dataclass(frozen=True)
class Hand:
    """The hand at one instant: its touching boxes and the tool centre point."""

    position: Float[Tensor, "*B 4 3"]
    """In the world [m]."""
    rotation: Float[Tensor, "*B 4 3 3"]
    half: Float[Tensor, "*B 4 3"]
    linear_velocity: Float[Tensor, "*B 4 3"]
    """[m/s] of the boxes' centres."""
    tool: Float[Tensor, "*B 7"]
    """Tool centre point [m] and the gripper's orientation, wxyz."""


def hand_of(joints: "Joints") -> Hand:
    """Forward kinematics of the arm's state."""
    # Velocities by a difference over a time in which the arm turns by milliradians.
    position, rotation, tool = _boxes(torch.stack([joints.position, joints.position + _INSTANT * joints.velocity]))
    half = position.new_tensor(_HALF)
    return Hand(
        position=position[0],
        rotation=rotation[0],
        half=half.expand(*position.shape[1:-2], HAND_BOXES, 3),
        linear_velocity=(position[1] - position[0]) / _INSTANT,
        tool=tool[0],
    )


def _boxes(joints: Float[Tensor, "*B 6"]) -> tuple[Tensor, Tensor, Tensor]:
    """Positions and rotations of the boxes, and the tool's pose, at joints [rad]."""
    position, quaternion = body_poses(joints)
    pads = quat_to_matrix(quaternion[..., 1:, :])
    sine, cosine = math.sin(-_JAW_PAD_ANGLE), math.cos(-_JAW_PAD_ANGLE)
    x, y, z = (finger - pad for finger, pad in zip(_JAW_FINGER, _JAW_PAD, strict=True))
    moving = (cosine * x - sine * y, sine * x + cosine * y, z)
    offsets = joints.new_tensor([_FIXED_FINGER, moving])
    fingers = position[..., 1:, :] + (pads @ offsets[..., None])[..., 0]
    bend = _JAW_FINGER_ANGLE - _JAW_PAD_ANGLE
    turns = joints.new_tensor(
        [
            [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
            [[math.cos(bend), -math.sin(bend), 0], [math.sin(bend), math.cos(bend), 0], [0, 0, 1]],
        ]
    )
    return (
        torch.cat([position[..., 1:, :], fingers], -2),
        torch.cat([pads, pads @ turns], -3),
        torch.cat([position[..., 0, :], quaternion[..., 0, :]], -1),
    )


@dataclass(frozen=True)
class Joints:
    """The arm's state."""

    position: Float[Tensor, "*B 6"]
    """[rad]."""
    velocity: Float[Tensor, "*B 6"]
    """[rad/s]."""
    target: Float[Tensor, "*B 6"]
    """[rad] last command."""

    @classmethod
    def of(cls, proprioception: Float[Tensor, "*B P"]) -> "Joints":
        """Split `Observation.proprioception`."""
        parts = ("joint_position", "joint_velocity", "joint_target")
        return cls(*(proprioception[..., PROPRIOCEPTION[part]] for part in parts))

    @property
    def proprioception(self) -> Float[Tensor, "*B P"]:
        """The layout of `Observation.proprioception`."""
        return torch.cat([self.position, self.velocity, self.target], -1)


class ServoModel(nn.Module):
    """Next joints from the present ones, the next command, and what is between the jaws.

    The arm hardly feels 25 g cubes, but a cube between the jaws stops the gripper: each cube near the pads sends the
    gripper a message. A linear path carries the servo's own law; both last layers start at zero, so that an untrained
    model says the arm stays where it is.
    """

    def __init__(self, width: int = 128, message: int = 16) -> None:
        super().__init__()
        self.felt = nn.Sequential(nn.Linear(13, 32), nn.SiLU(), nn.Linear(32, message))
        self.linear = nn.Linear(24, 12)
        last = nn.Linear(width, 12)
        self.mlp = nn.Sequential(nn.Linear(24 + message, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), last)
        for layer in (self.linear, last):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, joints: Joints, target: Float[Tensor, "B 6"], message: Float[Tensor, "B M"]) -> Joints:
        """The joints one control step later under command `target` [rad]; `message` is from `feel`."""
        lead, led = target - joints.position, joints.target - joints.position
        inputs = torch.cat([joints.position, joints.velocity / 3.0, 10.0 * lead, 10.0 * led], -1)
        change = self.linear(inputs) + self.mlp(torch.cat([inputs, message], -1))
        return Joints(joints.position + 0.1 * change[..., :6], joints.velocity + change[..., 6:], target)

    def feel(self, hand: Hand, bodies: Bodies, gripper: Float[Tensor, "*B 2"]) -> Float[Tensor, "*B M"]:
        """The sum of what every box tells the gripper, exactly zero from absent ones and from those 4 cm from the tool.

        `gripper` holds the gripper's joint position and its next command [rad].
        """
        with torch.no_grad(), torch.autocast(gripper.device.type, enabled=False):
            to_tool = quat_to_matrix(hand.tool[..., 3:]).mT
            offset = (bodies.position - hand.tool[..., None, :3]) @ to_tool.mT
            nearness = ((0.04 - offset.square().sum(-1).sqrt()) / 0.02).clamp(0, 1) * bodies.present
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
