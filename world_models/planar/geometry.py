"""A circle against a body of rectangles, and that body against walls, in the body's own axes."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

SCALE = 8.0
"""[px] distances are divided by this and clamped to +-2."""
SKIN = 1.5
"""[px] width of the sigmoid that says `touching`."""
LENGTH = 60.0
"""[px] points on the body are divided by this."""


@dataclass(frozen=True)
class Body:
    """What the model is told of its scene: shapes, never masses, friction or the solver's constants."""

    parts: tuple[tuple[float, float, float, float], ...]
    """Rectangles: centre x, y and half extents x, y in the body's frame [px]."""
    radius: float
    """Of the agent's circle [px]."""
    walls: tuple[float, float]
    """Lowest and highest free coordinate of the table, the same along x and y [px]."""

    @property
    def centroid(self) -> tuple[float, float]:
        """Of the parts' area, in the body's frame [px]."""
        areas = [half_x * half_y for _, _, half_x, half_y in self.parts]
        total = sum(areas)
        x, y = (sum(area * part[axis] for area, part in zip(areas, self.parts, strict=True)) for axis in (0, 1))
        return x / total, y / total


def into(axes: Float[Tensor, "N 2"], vector: Float[Tensor, "N *K 2"]) -> Float[Tensor, "N *K 2"]:
    """World vectors in the axes of bodies given by the cosine and sine of their angles."""
    cosine, sine = _spread(axes, vector)
    x, y = vector.unbind(-1)
    return torch.stack([cosine * x + sine * y, cosine * y - sine * x], -1)


def out_of(axes: Float[Tensor, "N 2"], vector: Float[Tensor, "N *K 2"]) -> Float[Tensor, "N *K 2"]:
    """The inverse of `into`."""
    cosine, sine = _spread(axes, vector)
    x, y = vector.unbind(-1)
    return torch.stack([cosine * x - sine * y, sine * x + cosine * y], -1)


def _spread(axes: Tensor, vector: Tensor) -> tuple[Tensor, Tensor]:
    shaped = axes.reshape(-1, *([1] * (vector.ndim - 2)), 2)
    return shaped[..., 0], shaped[..., 1]


def rectangle_distance(
    point: Float[Tensor, "*N 2"], half: Float[Tensor, "*#N 2"]
) -> tuple[Float[Tensor, "*N"], Float[Tensor, "*N 2"]]:
    """Signed distance of points to a centred rectangle, negative inside, and the outward direction of its increase."""
    excess = point.abs() - half
    outside = excess.clamp(min=0.0)
    # The small constant keeps the root's gradient finite on the surface.
    far = ((outside * outside).sum(-1) + 1e-6).sqrt()
    distance = far + excess.amax(-1).clamp(max=0.0)
    inner = torch.nn.functional.one_hot(excess.argmax(-1), 2).to(point.dtype)
    inside = (excess.amax(-1, keepdim=True) <= 0.0).to(point.dtype)
    normal = (inside * inner + (1.0 - inside) * outside / far[..., None]) * torch.sign(point)
    return distance, normal


def touch_features(
    start: Float[Tensor, "N 2"], end: Float[Tensor, "N 2"], parts: Float[Tensor, "P 4"], radius: float
) -> tuple[Float[Tensor, "N P F"], Float[Tensor, "N P"], Float[Tensor, "N P"]]:
    """How a circle that moves from `start` to `end` (body axes, centroid at 0) meets each part.

    Returns:
        features, the gap at the end, and the smaller of the gaps at both ends [px].
    """
    centre, half = parts[:, :2], parts[:, 2:]
    both = torch.stack([end, start], 1)[:, :, None] - centre
    gap, normal = rectangle_distance(both, half.expand_as(both))
    gap = gap - radius
    nearest = (both - gap[..., None] * normal - radius * normal + centre) / LENGTH
    travel = ((end - start) / SCALE)[:, None].expand(-1, len(parts), -1)
    features = torch.cat(
        [
            (gap / SCALE).clamp(-2.0, 2.0).transpose(1, 2),
            torch.sigmoid(-gap / SKIN).transpose(1, 2),
            normal.transpose(1, 2).flatten(2),
            nearest.transpose(1, 2).flatten(2),
            travel,
            (parts / LENGTH).expand(len(start), -1, -1),
        ],
        -1,
    )
    return features, gap[:, 0], gap.amin(1)


TOUCH = 2 + 2 + 4 + 4 + 2 + 4
"""Length of the features of `touch_features`."""


def wall_features(
    centre: Float[Tensor, "N 2"], axes: Float[Tensor, "N 2"], corners: Float[Tensor, "C 2"], walls: tuple[float, float]
) -> tuple[Float[Tensor, "N 4 F"], Float[Tensor, "N 4"]]:
    """How a body's corners stand to the four walls: its two nearest to each, and the wall's inward normal.

    Returns:
        features, and the smallest gap to each wall [px].
    """
    points = centre[:, None] + out_of(axes, corners.expand(len(centre), -1, -1))
    gaps = torch.cat([points - walls[0], walls[1] - points], -1).transpose(1, 2)
    near = gaps.topk(2, dim=-1, largest=False).indices
    lowest = gaps.gather(2, near)
    inward = centre.new_tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    features = torch.cat(
        [
            (lowest / SCALE).clamp(-2.0, 2.0),
            torch.sigmoid(-lowest / SKIN),
            (corners[near] / LENGTH).flatten(2),
            into(axes, inward.expand(len(centre), -1, -1)),
        ],
        -1,
    )
    return features, lowest[..., 0]


WALL = 2 + 2 + 4 + 2
"""Length of the features of `wall_features`."""


def body_corners(parts: Float[Tensor, "P 4"]) -> Float[Tensor, "C 2"]:
    """Corners of all parts."""
    signs = parts.new_tensor([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    return (parts[:, None, :2] + signs * parts[:, None, 2:]).flatten(0, 1)


def smallest_gap(points: Float[Tensor, "N K 2"], parts: Float[Tensor, "P 4"], radius: float) -> Float[Tensor, " N"]:
    """The smallest gap between circles at K points and any part: a lower bound inside the body, exact outside [px]."""
    excess = (points[:, :, None] - parts[:, :2]).abs() - parts[:, 2:]
    outside = excess.clamp(min=0.0)
    return ((outside * outside).sum(-1)).sqrt().flatten(1).amin(1) - radius
