"""Nothing gains energy from nowhere: what a step may do to an object, by how fast it, what is near it and its fall are.

Where a network has never been, in a squeeze of three or on things lighter than any that it learned from, it flings them
about by metres, and what it says of all others near by is lost as well.
"""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from world_models.cjepa.contact_geometry import GRAVITY, lowest, turn
from world_models.cjepa.edges import Neighbourhood
from world_models.slots.bodies import Bodies

SLACK, LEVER, CHAIN = 0.03, 2.0, 2
"""[m/s], factor and number: an object's impetus may exceed by so much that of objects near it, or so many times the
speed of an effector that squeezes it, or both through a chain of so many others. Of 27,000 steps of moving objects in
play, 1 in 2,000 exceeds that, by 33 mm/s."""
DEEP = 0.01
"""[m] below the table that nothing gets: an arm presses a cube 9 mm into it."""


def gyration(half: Float[Tensor, "*B 3"], radius: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """Radius of gyration [m] of a ball as large as an object with this core, see `contact_geometry.features`."""
    squared: Tensor = 1e-6 + (2.0 / 9.0) * half.square().sum(-1) + 0.5 * radius.square()
    return squared.sqrt()


def impetus(
    velocity: Float[Tensor, "*B 3"], spin: Float[Tensor, "*B 3"], gyration: Float[Tensor, "*B"]
) -> Float[Tensor, "*B"]:
    """The speed [m/s] of an object without spin that has the same kinetic energy."""
    squared: Tensor = velocity.square().sum(-1) + (gyration[..., None] * spin).square().sum(-1)
    return squared.sqrt()


def most(around: Neighbourhood) -> Float[Tensor, " A"]:
    """What an awake object's `impetus` may become within the step, but for its fall [m/s]."""
    edges, listed = around.edges, around.edges.weight > 0
    velocity, spin, final = around.velocity.split(3, 1)
    fastest = torch.maximum(velocity.norm(dim=1), final.norm(dim=1))
    driven = LEVER * (fastest + spin.norm(dim=1) * (around.half.norm(dim=1) + around.radius))
    near = driven[edges.sender] * ((edges.who >= len(around.awake)) & listed)
    highest = impetus(velocity, spin, gyration(around.half, around.radius))[around.row]
    highest = highest.scatter_reduce(0, edges.receiver, near, "amax")
    for _ in range(CHAIN):
        others = functional.pad(highest, (0, around.senders))[edges.who]
        highest = highest.scatter_reduce(0, edges.receiver, others * listed, "amax")
    return highest + SLACK


@torch.no_grad()
def restrained(
    own: Bodies, around: Neighbourhood, delta: Float[Tensor, "A 12"], units: tuple[float, float, float, float]
) -> Float[Tensor, "A 12"]:
    """The change of awake objects `own`, in their axes and in `units` of its four vectors, as far as it is possible."""
    period, axes = around.scale.period, own.rotation
    scale = delta.new_tensor(units)[:, None]
    move, rotate, faster, spin = ((delta.reshape(-1, 4, 3) * scale) @ axes.mT).unbind(-2)
    radius = gyration(own.core, own.radius)
    falling = (-own.linear_velocity[:, 2]).clamp(min=0) * period + 0.5 * GRAVITY * period**2
    highest = most(around)

    def allowed() -> Float[Tensor, " A"]:
        fall = torch.minimum((-move[:, 2]).clamp(min=0), falling)
        return (highest.square() + 2.0 * GRAVITY * fall).sqrt()

    far = (period * allowed() / impetus(move, rotate, radius).clamp(min=1e-9)).clamp(max=1.0)[:, None]
    move, rotate = far * move, far * rotate
    height = lowest(replace(own, position=own.position + move, rotation=turn(rotate) @ axes))
    move = torch.cat([move[:, :2], (move[:, 2] + (-DEEP - height).clamp(min=0))[:, None]], -1)
    velocity, turning = own.linear_velocity + faster, own.angular_velocity + spin
    share = (allowed() / impetus(velocity, turning, radius).clamp(min=1e-9)).clamp(max=1.0)[:, None]
    faster, spin = share * velocity - own.linear_velocity, share * turning - own.angular_velocity
    return ((torch.stack([move, rotate, faster, spin], -2) @ axes) / scale).flatten(1)
