"""Poses from a picture: where three points are, by expectation over a map of each.

An expectation over a map (Finn et al. 2016, spatial softmax) finds points to a fraction of a cell and moves with them.
Two of the points are fixed to the body, so its angle is that of the line between them.
"""

import math

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

POINTS = 3
"""The agent's centre, the body's origin, and the point `arm` along the body's y axis."""


class PoseNet(nn.Module):
    """Pictures `[N S S 3]` of a table to agent x, y, body x, y, angle `[N 5]`."""

    def __init__(self, side: float, arm: float, width: int = 32) -> None:
        """`side` is the table's length along an edge of the picture; `arm` is in the same unit."""
        super().__init__()
        self.side, self.arm = side, arm
        layers = [*_block(3, 16, 5, stride=2), *_block(16, width, 3, stride=2)]
        # Growing gaps let every cell see the whole body within few layers.
        for gap in (1, 2, 4, 1):
            layers += _block(width, width, 3, gap=gap)
        self.maps = nn.Sequential(*layers, nn.Conv2d(width, POINTS, 1))

    def look(self, pictures: UInt8[Tensor, "N S S 3"]) -> Float[Tensor, "N K C C"]:
        """Logarithms of the chance of each cell, in rows of the picture, to hold each point."""
        # White is 0, so that an empty table is.
        maps = self.maps(1.0 - pictures.permute(0, 3, 1, 2).float() / 255.0)
        looked: Tensor = maps.flatten(2).log_softmax(-1).unflatten(-1, maps.shape[2:])
        return looked

    def points(self, looked: Float[Tensor, "N K C C"]) -> Float[Tensor, "N K 2"]:
        """Where the three points are expected, in the table's unit."""
        cells, weight = looked.shape[-1], looked.exp()
        place = (torch.arange(cells, device=looked.device, dtype=looked.dtype) + 0.5) * (self.side / cells)
        return torch.stack([(weight.sum(2) * place).sum(-1), (weight.sum(3) * place).sum(-1)], -1)

    def forward(self, pictures: UInt8[Tensor, "N S S 3"]) -> Float[Tensor, "N 5"]:
        """Agent x, y, body x, y, angle."""
        agent, origin, tip = self.points(self.look(pictures)).unbind(1)
        along = tip - origin
        angle = torch.atan2(along[:, 1], along[:, 0]) - math.pi / 2.0
        return torch.cat([agent, origin, angle[:, None]], -1)

    def targets(self, poses: Float[Tensor, "N 5"]) -> Float[Tensor, "N K 2"]:
        """The three points of poses."""
        along = torch.stack([-poses[:, 4].sin(), poses[:, 4].cos()], -1)
        return torch.stack([poses[:, :2], poses[:, 2:4], poses[:, 2:4] + self.arm * along], 1)


def _block(inputs: int, outputs: int, size: int, stride: int = 1, gap: int = 1) -> list[nn.Module]:
    # Normalised: without it the maps stay flat for the first thousand steps.
    convolution = nn.Conv2d(inputs, outputs, size, stride, padding=gap * (size // 2), dilation=gap, bias=False)
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]
