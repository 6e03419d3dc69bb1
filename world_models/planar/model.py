"""A planar world in contact: a driven circle, a compound body that it pushes, and walls, one env step at a time.

An interaction network on tentative poses, applied to short equal parts of the step. In each part the agent moves on its
own (a linear system found from data), and rounds of messages (agent to each of the body's rectangles, walls to the
body) are read where the body would be by then, in its own axes: moving or turning body, agent and walls together moves
the prediction with them. Where nothing is near, nothing moves, exactly.
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from envs.types import Array
from world_models.planar import kernel
from world_models.planar.geometry import (
    TOUCH,
    WALL,
    Body,
    body_corners,
    into,
    out_of,
    smallest_gap,
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

    centroid: Tensor
    shapes: Tensor
    corners: Tensor
    motion: Tensor
    unit: Tensor
    speed: Tensor

    def __init__(self, body: Body, parts: int = 5, rounds: int = 1, width: int = 32, hidden: int = 64) -> None:
        """`parts` is how many equal parts an env step is divided into."""
        super().__init__()
        self.body, self.parts, self.width = body, parts, width
        self.compiled = True
        """Whether geometry on a CPU is compiled; the other way is the same, slower."""
        shapes = torch.tensor(body.parts, dtype=torch.float32)
        shapes[:, :2] -= torch.tensor(body.centroid)
        self.register_buffer("centroid", torch.tensor(body.centroid, dtype=torch.float32))
        self.register_buffer("shapes", shapes)
        self.register_buffer("corners", body_corners(shapes))
        self.extent = float(self.corners.norm(dim=-1).max())
        self.register_buffer("motion", torch.eye(2))
        self.coasting = nn.Parameter(torch.zeros(()))
        unit = (SHIFT, SHIFT, TURN)
        self.register_buffer("unit", torch.tensor(unit))
        self.register_buffer("speed", torch.tensor((SPEED, SPEED, SPIN)))
        # The first round knows the velocity alone; later ones what was said and how far the body has come.
        known = [3, *[6 + width] * (rounds - 1)]
        self.touch = nn.ModuleList(_mlp(TOUCH + each, hidden, width + 6) for each in known)
        self.wall = nn.ModuleList(_mlp(WALL + each, hidden, width + 6) for each in known)
        self.update = nn.ModuleList(_mlp(2 * width + 6 + each, hidden, width + 6) for each in known)

    def step(self, state: Float[Tensor, "N 10"], action: Float[Tensor, "N 2"]) -> Float[Tensor, "N 10"]:
        """States one env step later."""
        for _ in range(self.parts):
            state = self.part(state, action)
        return state

    def part(self, state: Float[Tensor, "N 10"], action: Float[Tensor, "N 2"]) -> Float[Tensor, "N 10"]:
        """States one part of an env step later; a body that nothing is near coasts and stops."""
        if self.compiled and state.device.type == "cpu" and not torch.is_grad_enabled():
            return self._part_compiled(state, action)
        start, angle, velocity = state[:, 0:2], state[:, 4], state[:, 7:10] / self.speed
        with torch.no_grad():
            lag = torch.stack([start - action, state[:, 5:7]], -1) @ self.motion.T
            end = lag[..., 0] + action
        coast = velocity * (self.coasting * self.unit)
        angle = angle + coast[:, 2]
        axes = _axes(angle)
        middle = self.centroid.expand(len(state), 2)
        corner = state[:, 2:4] + coast[:, :2]
        centre = corner + out_of(axes, middle)
        rows = self._near(start, end, torch.cat([centre, angle[:, None]], -1))
        after = torch.cat([end, corner, angle[:, None], lag[..., 1], torch.zeros_like(velocity)], -1)
        if not len(rows):
            return after
        close = torch.cat([start, end, centre, angle[:, None], velocity], -1)[rows]
        moved, turned, pushed = self._contact(*close.split([2, 2, 2, 1, 3], -1))
        # The change is reckoned at the centroid, the state at the frame's origin.
        now = close[:, 6]
        swing = out_of(_axes(now + turned) - _axes(now), middle[: len(rows)])
        still = torch.zeros_like(moved)
        return after.index_add(
            0, rows, torch.cat([still, moved - swing, turned[:, None], still, pushed * self.speed], -1)
        )

    def rollout(self, state: Float[Tensor, "N 10"], actions: Float[Tensor, "N H 2"]) -> Float[Tensor, "N T 10"]:
        """States of H + 1 instants, the given one first."""
        states = [state]
        for action in actions.unbind(1):
            states.append(self.step(states[-1], action))
        return torch.stack(states, 1)

    def _contact(
        self, start: Tensor, end: Tensor, centre: Tensor, angle: Tensor, velocity: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Change of pose and the velocity that contact gives."""
        angle = angle[:, 0]
        axes = _axes(angle)
        before = _turned(into, axes, velocity)
        hidden = before.new_zeros(len(start), 0)
        # Change of pose and velocity so far, in the axes of the pose at the start, in units.
        change = before.new_zeros(len(start), 6)
        for touch, wall, update in zip(self.touch, self.wall, self.update, strict=True):
            with torch.no_grad():
                delta = change[:, :3] * self.unit
                here = centre + out_of(axes, delta[:, :2])
                facing = angle + delta[:, 2]
                seen, at_end, closest = self._see(start, end, torch.cat([here, facing[:, None]], -1))
                open_ = ((MARGIN - closest) / MARGIN).clamp(0.0, 1.0)[..., None]
                # A push is as long as the overlap it undoes: one number of the network times the depth.
                depth = (0.5 - at_end).clamp(0.0, 20.0)[..., None] / SHIFT
                scale = torch.cat([open_.expand(-1, -1, self.width), open_.expand(-1, -1, 3) * 0.1], -1)
            context = torch.cat([hidden, change[:, :3], before], -1) if hidden.shape[1] else before
            said = touch(torch.cat([seen, context[:, None].expand(-1, seen.shape[1], -1)], -1))
            message = (scale * said[..., : self.width + 3]).sum(1)
            direct = message[:, self.width :] + (depth * said[..., self.width + 3 :]).sum(1)
            change = change + functional.pad(direct, (0, 3))
            # Walls are met where the push has led to: they stand in its way within the same part.
            delta = change[:, :3].detach() * self.unit
            walls, wall_direct = self._walls(
                wall, centre + out_of(axes, delta[:, :2]), _axes(angle + delta[:, 2]), context
            )
            change = change + functional.pad(wall_direct, (0, 3))
            new = update(torch.cat([message[:, : self.width], walls, change, context], -1))
            hidden = new[:, : self.width] + hidden if hidden.shape[1] else new[:, : self.width]
            change = change + new[:, self.width :] * open_.amax(1)
        delta = change[:, :3] * self.unit
        return out_of(axes, delta[:, :2]), delta[:, 2], _turned(out_of, axes, change[:, 3:])

    def _part_compiled(self, state: Tensor, action: Tensor) -> Tensor:
        """`part` without gradients: networks here, all around them in `kernel`."""
        radius, (low, high) = self.body.radius, self.body.walls
        unit, speed, centroid, shapes, corners = _arrays(
            self.unit, self.speed, self.centroid, self.shapes, self.corners
        )
        motion, coast = _arrays(self.motion, self.coasting * self.unit)
        after, close = kernel.begin(*_arrays(state, action), motion, coast, speed, centroid)
        rows = kernel.near(close[:, 0:2], close[:, 2:4], close[:, 4:7], shapes, radius, MARGIN)
        if not len(rows):
            return torch.from_numpy(after)
        close = close[rows]
        tensor = torch.from_numpy(close)
        before = _turned(into, _axes(tensor[:, 6]), tensor[:, 7:])
        hidden, context = before.new_zeros(len(rows), 0), before
        change = before.new_zeros(len(rows), 6)
        for touch, wall, update in zip(self.touch, self.wall, self.update, strict=True):
            seen, opened, depth = kernel.look(close, change.numpy(), unit, shapes, radius, MARGIN, SHIFT)
            if hidden.shape[1]:
                context = torch.cat([hidden, change[:, :3], before], -1)
            about = context[:, None].expand(-1, seen.shape[1], -1)
            said = touch(torch.cat([torch.from_numpy(seen), about], -1))
            message = kernel.gather(said.numpy(), opened, depth, change.numpy())
            pose = kernel.tentative(close, change.numpy(), unit)
            row, faces, gaps = kernel.walls(pose, corners, low, high, WALL_MARGIN)
            heard = np.zeros_like(message)
            if len(row):
                said = wall(torch.cat([torch.from_numpy(faces), context[torch.from_numpy(row)]], -1))
                kernel.gather_walls(said.numpy(), row, gaps, heard, change.numpy(), WALL_MARGIN, SHIFT)
            new = update(torch.cat([torch.from_numpy(message), torch.from_numpy(heard), change, context], -1))
            hidden = new[:, : self.width] + hidden if hidden.shape[1] else new[:, : self.width]
            change = change + new[:, self.width :] * torch.from_numpy(opened.max(1))[:, None]
        kernel.finish(after, rows, close, change.numpy(), unit, speed, centroid)
        return torch.from_numpy(after)

    @torch.no_grad()
    def _near(self, start: Tensor, end: Tensor, pose: Float[Tensor, "N 3"]) -> Tensor:
        """Rows in which the agent may touch the body at poses (centroid, angle)."""
        radius = self.body.radius
        if self.compiled and pose.device.type == "cpu":
            return torch.from_numpy(kernel.near(*_arrays(start, end, pose, self.shapes), radius, MARGIN))
        ends = into(_axes(pose[:, 2]), torch.stack([start, end], 1) - pose[:, None, :2])
        return (smallest_gap(ends, self.shapes, radius) < MARGIN).nonzero()[:, 0]

    @torch.no_grad()
    def _see(self, start: Tensor, end: Tensor, pose: Float[Tensor, "N 3"]) -> tuple[Tensor, Tensor, Tensor]:
        """`geometry.touch_features` at poses (centroid, angle)."""
        radius = self.body.radius
        if self.compiled and pose.device.type == "cpu":
            seen, at_end, closest = kernel.touch(*_arrays(start, end, pose, self.shapes), radius)
            return torch.from_numpy(seen), torch.from_numpy(at_end), torch.from_numpy(closest)
        axes, here = _axes(pose[:, 2]), pose[:, :2]
        return touch_features(into(axes, start - here), into(axes, end - here), self.shapes, radius)

    def _walls(self, wall: nn.Module, here: Tensor, facing: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """What the walls say to each row, and the push that undoes an overlap."""
        message, direct = context.new_zeros(len(here), self.width), context.new_zeros(len(here), 3)
        margin = self.extent + WALL_MARGIN
        low, high = self.body.walls
        with torch.no_grad():
            rows = ((here < low + margin) | (here > high - margin)).any(-1).nonzero()[:, 0]
            if not len(rows):
                return message, direct
            seen, gap = wall_features(here[rows], facing[rows], self.corners, self.body.walls)
            row, side = (gap < WALL_MARGIN).nonzero(as_tuple=True)
            if not len(row):
                return message, direct
            open_ = ((WALL_MARGIN - gap[row, side]) / WALL_MARGIN).clamp(0.0, 1.0)[:, None]
            depth = (0.5 - gap[row, side]).clamp(0.0, 20.0)[:, None] / SHIFT
        said = wall(torch.cat([seen[row, side], context[rows[row]]], -1))
        pushes = said[:, self.width :].unflatten(-1, (2, 3))
        message = message.index_add(0, rows[row], open_ * said[:, : self.width])
        direct = direct.index_add(0, rows[row], open_ * pushes[:, 0] * 0.1 + depth * pushes[:, 1])
        return message, direct


def _arrays(*tensors: Tensor) -> tuple[Array, ...]:
    return tuple(tensor.detach().numpy() for tensor in tensors)


def _axes(angle: Float[Tensor, " N"]) -> Float[Tensor, "N 2"]:
    return torch.stack([angle.cos(), angle.sin()], -1)


def _turned(direction: Callable[[Tensor, Tensor], Tensor], axes: Tensor, velocity: Tensor) -> Tensor:
    return torch.cat([direction(axes, velocity[:, :2]), velocity[:, 2:]], -1)


def _mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    last = nn.Linear(hidden, outputs)
    with torch.no_grad():
        last.weight.mul_(0.1)
        last.bias.zero_()
    return nn.Sequential(nn.Linear(inputs, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), last)
