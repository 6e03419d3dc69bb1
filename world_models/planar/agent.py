"""How a position-controlled agent follows its target: a linear system, found from data."""

import torch
from jaxtyping import Float
from torch import Tensor


def fit_motion(
    position: Float[Tensor, "N 2"],
    velocity: Float[Tensor, "N 2"],
    target: Float[Tensor, "N 2"],
    next_position: Float[Tensor, "N 2"],
    next_velocity: Float[Tensor, "N 2"],
) -> Float[Tensor, "2 2"]:
    """The matrix that takes (distance from the target, velocity) to their next values, by least squares.

    Both axes share it. An agent that nothing can push back (kinematic) obeys it exactly.
    """
    before = torch.stack([position - target, velocity], -1).flatten(0, 1).double()
    after = torch.stack([next_position - target, next_velocity], -1).flatten(0, 1).double()
    motion: Tensor = torch.linalg.lstsq(before, after).solution.T
    return motion
