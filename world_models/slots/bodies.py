"""The rigid boxes and cylinders a world model moves: `ObjectState` as tensors in one fixed convention of body axes.

A cube looks the same from 24 orientations. Learning would have to find that out; instead every box's axes are
relabelled so that its orientation is the one nearest to the world's, and the labels are put back when a prediction
leaves the model.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from itertools import permutations, product
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from envs.geometry import matrix_to_quat, quat_to_matrix
from envs.types import MOVABLE, Kind, ObjectState

ROUND = (Kind.CYLINDER, Kind.SPHERE, Kind.CAPSULE)
"""What the model takes for a cylinder; everything else that moves is a box to it."""


@dataclass(frozen=True)
class Bodies:
    """N movable objects; `*B` is any leading shape, shared by all fields."""

    position: Float[Tensor, "*B N 3"]
    """In the world [m]."""
    rotation: Float[Tensor, "*B N 3 3"]
    """Body to world."""
    linear_velocity: Float[Tensor, "*B N 3"]
    """[m/s]."""
    angular_velocity: Float[Tensor, "*B N 3"]
    """[rad/s] in world axes."""
    half_extents: Float[Tensor, "*B N 3"]
    """[m] in body axes."""
    mass: Float[Tensor, "*B N"]
    """[kg] as declared."""
    friction: Float[Tensor, "*B N"]
    """As declared."""
    present: Float[Tensor, "*B N"]
    """1 or 0."""
    radius: Float[Tensor, "*B N"]
    """Of an upright cylinder, or one around a ball or capsule [m]; 0 for a box, or one around a compound."""

    @property
    def core(self) -> Float[Tensor, "*B N 3"]:
        """Half sides of the box that, widened sideways by `radius`, is the object [m]: of a cylinder, its axis."""
        sideways = torch.stack([self.radius, self.radius, torch.zeros_like(self.radius)], -1)
        return self.half_extents - sideways

    def __getitem__(self, key: Any) -> "Bodies":
        """Index the leading dimensions."""
        return replace(self, **{f.name: getattr(self, f.name)[key] for f in fields(self)})

    def relabelled(self, axes: Float[Tensor, "*B N 3 3"]) -> "Bodies":
        """The same boxes with other body axes: `rotation @ axes`; `axes` broadcasts over the leading shape."""
        half = (axes.abs().mT @ self.half_extents[..., None])[..., 0]
        return replace(self, rotation=self.rotation @ axes, half_extents=half)


def concatenated(parts: Sequence[Bodies], dim: int) -> Bodies:
    """Boxes one after the other along a leading dimension (not counted from the end)."""
    return Bodies(**{f.name: torch.cat([getattr(part, f.name) for part in parts], dim) for f in fields(Bodies)})


def body_indices(objects: ObjectState) -> list[int]:
    """Which entities move."""
    return [i for i, kind in enumerate(objects.kind) if Kind(int(kind)) in MOVABLE]


def bodies_of(objects: ObjectState, device: torch.device | str = "cpu") -> Bodies:
    """The movable objects of a state; numpy or torch, float32 on `device`."""
    chosen = body_indices(objects)

    def take(array: Any, rank: int) -> Tensor:
        tensor = torch.as_tensor(array, dtype=torch.float32, device=device)
        return tensor[..., chosen] if rank == 0 else tensor[..., chosen, :]

    half_extents = take(objects.half_extents, 1)
    round_ = torch.tensor([int(objects.kind[i]) in ROUND for i in chosen], device=half_extents.device)
    return Bodies(
        position=take(objects.position_in_world, 1),
        rotation=quat_to_matrix(take(objects.quaternion_in_world, 1)),
        linear_velocity=take(objects.linear_velocity_in_world, 1),
        angular_velocity=take(objects.angular_velocity_in_world, 1),
        half_extents=half_extents,
        mass=take(objects.mass, 0),
        friction=take(objects.friction, 0),
        present=take(objects.present, 0),
        radius=half_extents[..., 0] * round_,
    )


def nearest_labels(rotation: Float[Tensor, "*B 3 3"]) -> Float[Tensor, "*B 3 3"]:
    """The signed permutation P that makes `rotation @ P` the nearest to the identity."""
    symmetries = _symmetries().to(rotation)
    # trace(R P) is largest where the angle of R P is smallest.
    closeness = torch.einsum("...ij,sji->...s", rotation, symmetries)
    chosen: Tensor = symmetries[closeness.argmax(-1)]
    return chosen


def labels_of(bodies: Bodies) -> Float[Tensor, "*B N 3 3"]:
    """The labels nearest to the identity of boxes; a cylinder keeps its axes."""
    axes = nearest_labels(bodies.rotation)
    upright = torch.eye(3, device=axes.device, dtype=axes.dtype)
    return torch.where(bodies.radius[..., None, None] > 0, upright, axes)


def with_bodies(objects: ObjectState, bodies: Bodies) -> ObjectState:
    """`objects` (torch) with the poses and velocities of its movable boxes replaced; absent boxes stay zero."""
    chosen = body_indices(objects)
    there = bodies.present[..., None]
    quaternion = matrix_to_quat(bodies.rotation)
    nowhere = torch.zeros_like(quaternion)
    nowhere[..., 0] = 1.0
    changes = {
        "position_in_world": bodies.position * there,
        "quaternion_in_world": torch.where(there > 0, quaternion, nowhere),
        "linear_velocity_in_world": bodies.linear_velocity * there,
        "angular_velocity_in_world": bodies.angular_velocity * there,
    }
    result = {}
    for name, value in changes.items():
        whole = getattr(objects, name).clone()
        whole[..., chosen, :] = value.to(whole.dtype)
        result[name] = whole
    return replace(objects, **result)


@cache
def _symmetries() -> Tensor:
    """The 24 proper rotations of a cube `[24 3 3]`, the identity first."""
    found = []
    for order in permutations(range(3)):
        for signs in product((1.0, -1.0), repeat=3):
            matrix = torch.zeros(3, 3)
            for row, (column, sign) in enumerate(zip(order, signs, strict=True)):
                matrix[row, column] = sign
            if torch.linalg.det(matrix) > 0:
                found.append(matrix)
    return torch.stack(sorted(found, key=lambda m: -float(torch.trace(m))))
