"""State slots: one vector of features per object."""

import torch
from jaxtyping import Float
from torch import Tensor

from world_models.slots.bodies import Bodies

FEATURES = 3 + 3 + 2 + 3 + 3 + 3 + 2
"""D of `encode`."""
CENTRE = (0.24, 0.0, 0.03)
"""[m] middle of the table's reachable part, in the world."""
SPREAD = (0.1, 0.1, 0.03)
"""[m] one unit of a slot's position."""
NOMINAL_MASS = 0.025
"""[kg] a slot's mass is the logarithm of its ratio to this."""
NOMINAL_FRICTION = 0.2
"""Likewise."""


def encode(bodies: Bodies) -> Float[Tensor, "*B N D"]:
    """Normalised features of every box, each of size about one; zero where absent.

    Orientation is given as what can be seen of a cube: cos and sin of four times the yaw, and its upright axis.
    """
    like = bodies.position
    cosine = bodies.rotation[..., 0, 0] + bodies.rotation[..., 1, 1]
    sine = bodies.rotation[..., 1, 0] - bodies.rotation[..., 0, 1]
    yaw = torch.atan2(sine, cosine + 1e-9)
    features = torch.cat(
        [
            (bodies.position - like.new_tensor(CENTRE)) / like.new_tensor(SPREAD),
            bodies.rotation[..., 2],
            torch.stack([torch.cos(4 * yaw), torch.sin(4 * yaw)], -1),
            bodies.linear_velocity / 0.3,
            bodies.angular_velocity / 3.0,
            bodies.half_extents / 0.014 - 1.0,
            torch.stack(declared(bodies), -1),
        ],
        -1,
    )
    return features * bodies.present[..., None]


def declared(bodies: Bodies) -> tuple[Float[Tensor, "*B N"], Float[Tensor, "*B N"]]:
    """Logarithms of mass and friction over their nominal values; 0 for an absent box, whose mass is 0."""
    mass = (bodies.mass.clamp(min=1e-4) / NOMINAL_MASS).log()
    friction = (bodies.friction.clamp(min=1e-2) / NOMINAL_FRICTION).log()
    return mass * bodies.present, friction * bodies.present
