"""Small random scenes for the tests of the world model."""

import numpy as np
import torch

from envs.kinematics import body_poses
from envs.robot import HOME
from envs.types import Kind, ObjectState, Observation
from world_models.cjepa.model import History
from world_models.slots.bodies import Bodies, bodies_of

NAMES = ("table", "gripper", "fixed_jaw", "moving_jaw", "red_cube", "blue_cube", "green_cube")
KINDS = np.array([Kind.TABLE, Kind.GRIPPER, Kind.JAW, Kind.JAW, Kind.BOX, Kind.BOX, Kind.BOX], np.int64)
DOWN = np.array(HOME) + np.array([0.0, 0.45, 0.1, -0.35, 0.0, -0.5])
"""Joints with the jaws nearly closed, low over the table."""


def observations(seed: int, batch: int, frames: int = 3, absent: tuple[int, ...] = ()) -> Observation:
    """`[batch frames ...]` cubes sliding and turning among each other near the hand; `absent` cubes (0..2) are gone."""
    rng = np.random.default_rng(seed)
    time = 0.1 * (np.arange(frames) - frames + 1.0)
    joints = np.broadcast_to(DOWN + 0.02 * rng.standard_normal((batch, 1, 6)), (batch, frames, 6))
    hand_position, hand_quaternion = body_poses(joints)
    shape = (batch, frames, len(NAMES))
    position, quaternion = np.zeros((*shape, 3)), np.zeros((*shape, 4))
    linear, angular = np.zeros((*shape, 3)), np.zeros((*shape, 3))
    quaternion[..., 0] = 1.0
    position[..., 1:4, :], quaternion[..., 1:4, :] = hand_position, hand_quaternion
    tool = hand_position[:, :, :1]
    place = tool[:, -1:] * [1, 1, 0] + rng.uniform(-0.04, 0.04, (batch, 1, 3, 3)) * [1, 1, 0] + [0, 0, 0.014]
    velocity = rng.uniform(-0.1, 0.1, (batch, 1, 3, 3)) * [1, 1, 0]
    yaw, rate = rng.uniform(-3, 3, (batch, 1, 3)), rng.uniform(-1, 1, (batch, 1, 3))
    position[..., 4:, :] = place + velocity * time[None, :, None, None]
    angle = (yaw + rate * time[None, :, None]) / 2
    quaternion[..., 4:, 0], quaternion[..., 4:, 3] = np.cos(angle), np.sin(angle)
    linear[..., 4:, :], angular[..., 4:, 2] = velocity, rate
    half = np.broadcast_to(np.where(np.arange(7)[:, None] < 4, 0.004, 0.014), (*shape, 3)).copy()
    present = np.ones(shape, bool)
    mass, friction = np.full(shape, 0.025), np.full(shape, 0.2)
    for k in (4 + cube for cube in absent):
        for array in (position, linear, angular, half, mass, friction):
            array[:, :, k] = 0.0
        quaternion[:, :, k], present[:, :, k] = (1.0, 0.0, 0.0, 0.0), False
    objects = ObjectState(
        NAMES, position, quaternion, linear, angular, half, KINDS, np.zeros((*shape, 3)), mass, friction, present,
        present.astype(np.float64),
    )  # fmt: skip
    proprioception = np.concatenate([joints, np.zeros_like(joints), joints], axis=-1)
    return Observation(proprioception, objects, np.broadcast_to(time, (batch, frames)).copy())


def history(seed: int, batch: int, absent: tuple[int, ...] = ()) -> History:
    """The same as the model takes it."""
    seen = observations(seed, batch, absent=absent)
    return History(bodies_of(seen.objects), torch.as_tensor(seen.proprioception, dtype=torch.float32))


def plan(seed: int, batch: int, steps: int) -> torch.Tensor:
    """Joint targets `[B F 6]` of a hand that sweeps."""
    generator = torch.Generator().manual_seed(seed)
    moves = 0.03 * torch.randn(batch, steps, 6, generator=generator)
    return torch.as_tensor(DOWN, dtype=torch.float32) + moves.cumsum(1)


def shaken(model: torch.nn.Module, seed: int) -> torch.nn.Module:
    """The model with random weights everywhere, last layers too: an untrained one predicts that nothing moves."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


def reordered(bodies: Bodies, order: list[int]) -> Bodies:
    """The same boxes in another order; N is the second axis from the front but one (`[B T N ...]`)."""
    return Bodies(**{name: getattr(bodies, name)[:, :, order] for name in Bodies.__dataclass_fields__})
