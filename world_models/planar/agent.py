"""How a position-controlled agent follows its target: a linear system, found from data."""

import torch
from jaxtyping import Float
from torch import Tensor

from envs.errors import EmbodiedError


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
    return torch.linalg.lstsq(before, after).solution.T


def fractions(motion: Float[Tensor, "2 2"], parts: int) -> Float[Tensor, "S 2 2"]:
    """Powers 1/S, 2/S, ..., 1 of a motion: the states within one step, since the target stands still during it.

    Raises `EmbodiedError` for a motion that has no real root: one that turns a mode round within one step.
    """
    values, vectors = torch.linalg.eig(motion.double())
    if bool(((values.imag.abs() < 1e-9) & (values.real <= 0.0)).any()):
        raise EmbodiedError(f"The agent's motion {motion.tolist()} cannot be divided into {parts} equal parts.")
    shares = torch.arange(1, parts + 1, dtype=torch.float64) / parts
    powers = torch.exp(shares[:, None] * torch.log(values))
    return (vectors @ torch.diag_embed(powers) @ torch.linalg.inv(vectors)).real
