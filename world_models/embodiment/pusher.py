"""A disc on two slides: the planar pusher of the scenes with loose boxes."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from envs.pusher import HALF_LENGTH, HEIGHT, RADIUS
from envs.types import Array
from world_models.embodiment.joints import Effector, Embodiment, Joints


class Pusher(Embodiment):
    """Two slides, x and y, and one capsule, which does not feel what it pushes."""

    name, joints, solids = "pusher", 2, 1
    rates, gain, tolerance = 0.3, 30.0, 0.001
    mirror = (1.0, -1.0)
    entities = ("pusher",)

    def __init__(self, period: float) -> None:
        super().__init__(period, width=32)

    def effector(self, joints: Joints) -> Effector:
        """See `Embodiment`."""
        place = joints.position
        shape = place.shape[:-1]
        height = torch.full_like(place[..., :1], HEIGHT)
        speed = torch.cat([joints.velocity, torch.zeros_like(height)], -1)
        return Effector(
            position=torch.cat([place, height], -1)[..., None, :],
            rotation=torch.eye(3, device=place.device, dtype=place.dtype).expand(*shape, 1, 3, 3),
            half=place.new_tensor([0.0, 0.0, HALF_LENGTH]).expand(*shape, 1, 3),
            radius=place.new_full((*shape, 1), RADIUS),
            linear_velocity=speed[..., None, :],
        )

    def pose(self, position: Float[Tensor, "*B 2"]) -> Float[Tensor, "*B 7"]:
        """See `Embodiment`."""
        centre = position.new_tensor([0.24, 0.0])
        still = position.new_zeros(*position.shape[:-1], 5)
        return torch.cat([(position - centre) / 0.1, still], -1)

    @staticmethod
    def places(position: Float[Tensor, "*B 2"]) -> tuple[Float[Tensor, "*B 1 3"], Float[Tensor, "*B 1 4"]]:
        """See `Embodiment`."""
        height = torch.full_like(position[..., :1], HEIGHT)
        upright = position.new_tensor([1.0, 0.0, 0.0, 0.0])
        place = torch.cat([position, height], -1)[..., None, :]
        return place, upright.expand(*place.shape[:-1], 4)

    @staticmethod
    def lay_out(position: Array, velocity: Array, pose: Array, speed: Array, tool: Array) -> None:
        """See `Embodiment`."""
        pose[:, 0] = _UPRIGHT
        pose[:, 0, :2] = position
        speed[:, 0, :2], speed[:, 0, 2] = velocity, 0.0

    @staticmethod
    def entity_poses(position: Array) -> Array:
        """See `Embodiment`."""
        poses = np.tile(_UPRIGHT, (*position.shape[:-1], 1, 1))
        poses[..., 0, :2] = position
        return poses


_UPRIGHT = np.array([0.0, 0.0, HEIGHT, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0])
"""The pose of the disc at joints 0."""
