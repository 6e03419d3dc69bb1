"""A planar world in contact: a driven circle, a compound body that it pushes, and walls, one env step at a time.

An interaction network on tentative poses. The agent's way through the step is known (`agent`), so the step is divided
into equal parts with shared weights; in each, rounds of messages (agent to each of the body's rectangles, walls to the
body) are read where the body would be by then, in its own axes: moving or turning body, agent and walls together moves
the prediction with them. Where nothing is near, nothing moves, exactly.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from world_models.planar.agent import fractions
from world_models.planar.geometry import (
    TOUCH,
    WALL,
    Body,
    any_near,
    body_corners,
    into,
    out_of,
    touch_features,
    wall_features,
)

MARGIN = 6.0
"""[px] a gap above which nothing is felt."""
WALL_MARGIN = 4.0
SHIFT, TURN = 2.0, 0.04
"""[px] and [rad] one unit of the network's change of pose."""
SPEED, SPIN = 100.0, 2.0
"""[px/s] and [rad/s] one unit of velocity."""


class PlanarModel(nn.Module):
    """Rows of state: agent x, y, body x, y, angle, agent velocity, body velocity, body spin (10 numbers)."""

    def __init__(self, body: Body, parts: int = 5, rounds: int = 2, width: int = 32, hidden: int = 64) -> None:
        """`parts` is how many equal parts an env step is divided into."""
        super().__init__()
        self.body, self.parts, self.width = body, parts, width
        shapes = torch.tensor(body.parts, dtype=torch.float32)
        shapes[:, :2] -= torch.tensor(body.centroid)
        self.register_buffer("centroid", torch.tensor(body.centroid, dtype=torch.float32))
        self.register_buffer("shapes", shapes)
        self.register_buffer("corners", body_corners(shapes))
        self.register_buffer("motion", torch.eye(2).expand(parts, 2, 2).clone())
        self.coasting = nn.Parameter(torch.zeros(()))
        unit = (SHIFT, SHIFT, TURN)
        self.register_buffer("unit", torch.tensor(unit))
        self.register_buffer("speed", torch.tensor((SPEED, SPEED, SPIN)))
        self.touch = nn.ModuleList(_mlp(TOUCH + 6 + width, hidden, width + 6) for _ in range(rounds))
        self.wall = nn.ModuleList(_mlp(WALL + 6 + width, hidden, width + 6) for _ in range(rounds))
        self.update = nn.ModuleList(_mlp(2 * width + 9, hidden, width + 6) for _ in range(rounds))

    def set_motion(self, motion: Float[Tensor, "2 2"]) -> None:
        """Take over the agent's motion of one env step, see `agent.fit_motion`."""
        self.motion.copy_(fractions(motion, self.parts).to(self.motion))

    def step(self, state: Float[Tensor, "N 10"], action: Float[Tensor, "N 2"]) -> Float[Tensor, "N 10"]:
        """States one env step later."""
        lag = torch.stack([state[:, 0:2] - action, state[:, 5:7]], -1)
        after = torch.einsum("sij,naj->nsai", self.motion, lag)
        way = torch.cat([state[:, None, 0:2], after[..., 0] + action[:, None]], 1)
        angle = state[:, 4]
        centre = state[:, 2:4] + out_of(_axes(angle), self.centroid.expand(len(state), 2))
        velocity = state[:, 7:10] / self.speed
        for part in range(self.parts):
            centre, angle, velocity = self._part(way[:, part], way[:, part + 1], centre, angle, velocity)
        position = centre - out_of(_axes(angle), self.centroid.expand(len(state), 2))
        return torch.cat(
            [way[:, -1], position, angle[:, None], after[:, -1, :, 1], velocity * self.speed], -1
        )

    def rollout(self, state: Float[Tensor, "N 10"], actions: Float[Tensor, "N H 2"]) -> Float[Tensor, "N T 10"]:
        """States of H + 1 instants, the given one first."""
        states = [state]
        for action in actions.unbind(1):
            states.append(self.step(states[-1], action))
        return torch.stack(states, 1)

    def _part(
        self, start: Tensor, end: Tensor, centre: Tensor, angle: Tensor, velocity: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Pose and velocity after one part of the step; what no agent is near coasts and stops."""
        coast = velocity * self.coasting * self.unit
        centre, angle = centre + coast[:, :2], angle + coast[:, 2]
        # A circle round the body says cheaply which rows to look at.
        reach = self.body.radius + MARGIN + float(self.corners.norm(dim=-1).max())
        near = torch.minimum((start - centre).norm(dim=-1), (end - centre).norm(dim=-1)) < reach
        rows = near.nonzero()[:, 0]
        still = torch.zeros_like(velocity)
        if not len(rows):
            return centre, angle, still
        moved, turned, pushed = self._contact(start[rows], end[rows], centre[rows], angle[rows], velocity[rows])
        return (
            centre.index_add(0, rows, moved),
            angle.index_add(0, rows, turned),
            still.index_add(0, rows, pushed),
        )

    def _contact(
        self, start: Tensor, end: Tensor, centre: Tensor, angle: Tensor, velocity: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Change of pose and the velocity that contact gives, for rows where it may happen."""
        axes = _axes(angle)
        gap = touch_features(into(axes, start - centre), into(axes, end - centre), self.shapes, self.body.radius)[2]
        rows = any_near(gap, MARGIN).nonzero()[:, 0]
        moved, turned, pushed = torch.zeros_like(centre), torch.zeros_like(angle), torch.zeros_like(velocity)
        if not len(rows):
            return moved, turned, pushed
        start, end, centre, angle, axes = start[rows], end[rows], centre[rows], angle[rows], axes[rows]
        before = _turned(into, axes, velocity[rows])
        hidden = before.new_zeros(len(rows), self.width)
        # Change of pose and velocity so far, in the axes of the pose at the start, in units.
        change = before.new_zeros(len(rows), 6)
        for touch, wall, update in zip(self.touch, self.wall, self.update, strict=True):
            delta = change[:, :3] * self.unit
            here = centre + out_of(axes, delta[:, :2])
            facing = _axes(angle + delta[:, 2])
            seen, at_end, closest = touch_features(
                into(facing, start - here), into(facing, end - here), self.shapes, self.body.radius
            )
            context = torch.cat([hidden, change[:, :3], before], -1)
            said = touch(torch.cat([seen, context[:, None].expand(-1, seen.shape[1], -1)], -1))
            open_ = ((MARGIN - closest) / MARGIN).clamp(0.0, 1.0)[..., None]
            # A push is as long as the overlap it undoes: one number of the network times the depth.
            depth = (0.5 - at_end).clamp(0.0, 20.0)[..., None] / SHIFT
            message = (open_ * said[..., : self.width]).sum(1)
            pushes = said[..., self.width :].unflatten(-1, (2, 3))
            direct = (open_ * pushes[..., 0, :] * 0.1 + depth * pushes[..., 1, :]).sum(1)
            walls, wall_direct = self._walls(wall, here, facing, context)
            change = change + torch.cat([direct + wall_direct, torch.zeros_like(direct)], -1)
            new = update(torch.cat([message, walls, change, before], -1))
            hidden = hidden + new[:, : self.width]
            change = change + new[:, self.width :] * open_.amax(1)
        delta = change[:, :3] * self.unit
        moved = moved.index_add(0, rows, out_of(axes, delta[:, :2]))
        turned = turned.index_add(0, rows, delta[:, 2])
        pushed = pushed.index_add(0, rows, _turned(out_of, axes, change[:, 3:]))
        return moved, turned, pushed

    def _walls(self, wall: nn.Module, here: Tensor, facing: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """What the walls say to each row, and the push that undoes an overlap."""
        message, direct = context.new_zeros(len(here), self.width), context.new_zeros(len(here), 3)
        margin = float(self.corners.norm(dim=-1).max()) + WALL_MARGIN
        low, high = self.body.walls
        rows = ((here < low + margin) | (here > high - margin)).any(-1).nonzero()[:, 0]
        if not len(rows):
            return message, direct
        seen, gap = wall_features(here[rows], facing[rows], self.corners, self.body.walls)
        row, side = (gap < WALL_MARGIN).nonzero(as_tuple=True)
        if not len(row):
            return message, direct
        said = wall(torch.cat([seen[row, side], context[rows[row]]], -1))
        open_ = ((WALL_MARGIN - gap[row, side]) / WALL_MARGIN).clamp(0.0, 1.0)[:, None]
        depth = (0.5 - gap[row, side]).clamp(0.0, 20.0)[:, None] / SHIFT
        pushes = said[:, self.width :].unflatten(-1, (2, 3))
        message = message.index_add(0, rows[row], open_ * said[:, : self.width])
        direct = direct.index_add(0, rows[row], open_ * pushes[:, 0] * 0.1 + depth * pushes[:, 1])
        return message, direct


def _axes(angle: Float[Tensor, "N"]) -> Float[Tensor, "N 2"]:
    return torch.stack([angle.cos(), angle.sin()], -1)


def _turned(direction, axes: Tensor, velocity: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
    return torch.cat([direction(axes, velocity[:, :2]), velocity[:, 2:]], -1)


def _mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    last = nn.Linear(hidden, outputs)
    with torch.no_grad():
        last.weight.mul_(0.1)
        last.bias.zero_()
    return nn.Sequential(nn.Linear(inputs, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), last)


def wrapped(angle: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """Angles in [-pi, pi)."""
    return torch.remainder(angle + math.pi, 2.0 * math.pi) - math.pi
