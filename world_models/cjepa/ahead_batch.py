"""Members' futures of many plans, stepped together: compiled passes over all rows between the matrix products."""

from dataclasses import fields, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from envs.types import Array
from world_models.cjepa import (
    ahead_kernel,
    messages_kernel,
    motion_kernel,
    neighbours_kernel,
    restraint_kernel,
    sight_kernel,
)
from world_models.cjepa.ahead_weights import Weights, each_on_its_own, mlp
from world_models.cjepa.contact import NODE
from world_models.cjepa.contact_fast import STATE
from world_models.cjepa.contact_geometry import FOOTING, TREADS, WEDGES
from world_models.cjepa.edges import EDGE
from world_models.cjepa.model import History
from world_models.cjepa.restraint import DEEP
from world_models.embodiment.joints import Embodiment, Joints
from world_models.slots.bodies import concatenated
from world_models.slots.slots import declared


class Batch:
    """E members' futures of B plans each, as rows R = E B; stepped in place."""

    def __init__(self, weights: Weights, history: History) -> None:
        """From one history `[B T ...]` of all members."""
        members = weights.members
        self._weights, self._members, self._config = weights, members, members[0].config
        self._robot: Embodiment = members[0].robot
        contact = members[0].contact
        self._scale, self._width, self._units = contact.scale, contact.width, contact.units
        self._reach = (contact.scale.reach, contact.scale.margin, contact.scale.known_margin)
        bodies, count, robot = history.bodies[:, -1], len(members), self._robot
        plans, self._entities = bodies.present.shape
        self._plans, self._solids = plans, robot.solids
        rows = [bodies.position, bodies.rotation.flatten(-2), bodies.linear_velocity, bodies.angular_velocity]
        self.state = torch.cat(rows, -1).flatten(0, 1).repeat(count, 1)
        self._spare = torch.empty_like(self.state)
        fixed = [bodies.half_extents, bodies.core]
        fixed += [part[..., None] for part in (bodies.radius, *declared(bodies), bodies.present)]
        self._fixed = torch.cat(fixed, -1).flatten(0, 1).repeat(count, 1).numpy()
        self.present = bodies.present.repeat(count, 1).numpy()
        """`[R N]`."""
        arm = Joints.of(history.proprioception[:, -1])
        self.before = arm.target.repeat(count, 1)
        """Last commands `[R J]`."""
        self._command = self.before.numpy()
        self.position = arm.position.repeat(count, 1).numpy()
        """Of the joints `[R J]`."""
        self.velocity = arm.velocity.repeat(count, 1).numpy()
        """Of the joints `[R J]`."""
        solids = robot.effector(replace(arm, **{f.name: getattr(arm, f.name)[:1] for f in fields(Joints)}))
        half = torch.cat([bodies.core, solids.half.expand(plans, -1, -1)], 1).flatten(0, 1)
        radius = torch.cat([bodies.radius, solids.radius.expand(plans, -1)], 1).flatten()
        self._half, self._radius = half.repeat(count, 1).numpy(), radius.repeat(count).numpy()
        self._tool = np.empty((count * plans, 12), np.float32)
        self._solid, self._solid_after = self._room(), self._room()
        robot.lay_out(self.position, self.velocity, *self._solid, self._tool)
        senders = len(self._half)
        self._now, self._after, self._motion = (np.empty((senders, size), np.float32) for size in (12, 12, 9))
        self._histories = [history] * count
        self._said: list[Tensor] = []

    def advance(self, command: Array, step: int) -> None:
        """One small step under commands `[R J]`, the `step`-th control step since `encode`."""
        self._move_robot(command)
        self._move_bodies(step)
        self._solid, self._solid_after = self._solid_after, self._solid

    def encode(self, commands: Tensor) -> None:
        """Let every member's encoder say what comes of its commands, all of them `[R F J]`."""
        self._said = []
        for member, history, own in zip(self._members, self._histories, commands.split(self._plans), strict=True):
            context = member.context(history, own)
            assert context is not None
            self._said.append(context.embedding)

    def remember(self) -> None:
        """Take the present in as a frame of the histories that the encoders look at."""
        if not self._config.layers:
            return
        shape = (len(self._members), self._plans)
        states = self.state.view(*shape, self._entities, STATE)
        arm = np.concatenate([self.position, self.velocity, self._command], axis=1)
        proprioception = torch.from_numpy(arm).view(*shape, -1)
        for index, history in enumerate(self._histories):
            position, rotation, linear, angular = states[index].split([3, 9, 3, 3], -1)
            last = replace(
                history.bodies[:, -1], position=position, rotation=rotation.unflatten(-1, (3, 3)),
                linear_velocity=linear, angular_velocity=angular,
            )  # fmt: skip
            bodies = concatenated([history.bodies[:, 1:], last[:, None]], 1)
            arms = torch.cat([history.proprioception[:, 1:], proprioception[index][:, None]], 1)
            self._histories[index] = History(bodies, arms)

    def _room(self) -> tuple[Array, Array]:
        """For poses and velocities of the robot's solids."""
        shape = (len(self._members) * self._plans, self._solids)
        return np.empty((*shape, 12), np.float32), np.empty((*shape, 3), np.float32)

    def _move_robot(self, command: Array) -> None:
        robot, count = self._robot, len(self._members)
        one, two, three, linear = self._weights.joints
        size, width = len(linear[0][0]), len(one[0][0])
        inputs = torch.zeros(count, self._plans, width)
        flat = inputs.view(-1, width).numpy()
        ahead_kernel.lead(self.position, self.velocity, self._command, command, robot.rates, robot.gain, flat)
        heard = robot.overhear(self._tool, self.position, command, self.state.numpy(), self._fixed)
        if heard is not None and len(heard.scene):
            ends = np.searchsorted(heard.scene, [self._plans * (index + 1) for index in range(count)]).tolist()
            said = mlp(torch.from_numpy(heard.inputs), ends, self._weights.listener)
            ahead_kernel.tell(heard.scene, heard.nearness, said.numpy(), size, flat)
        first = functional.silu(torch.baddbmm(one[1], inputs, one[0]), inplace=True)
        second = functional.silu(torch.baddbmm(two[1], first, two[0]), inplace=True)
        moved = torch.baddbmm(three[1] + linear[1], inputs[:, :, :size], linear[0]).baddbmm_(second, three[0])
        ahead_kernel.obey(moved.flatten(0, 1).numpy(), robot.period, robot.rates, self.position, self.velocity)
        self._command = command
        robot.lay_out(self.position, self.velocity, *self._solid_after, self._tool)

    def _move_bodies(self, step: int) -> None:
        """As `contact_fast`, for all members at once and without a tape."""
        here, there, fixed, half, radius = (
            self.state.numpy(), self._spare.numpy(), self._fixed, self._half, self._radius,
        )  # fmt: skip
        scale, width = self._scale, self._width
        shift, turn = scale.shift, scale.turn
        now, after, motion = self._now, self._after, self._motion
        neighbours_kernel.lay_out(
            here, self._solid[0], self._solid_after[0], self._solid[1], self._solid_after[1], scale.period,
            self._entities, now, after, motion,
        )  # fmt: skip
        awake, receiver, sender, who = neighbours_kernel.near(
            now, after, half, radius, motion, self.present, self._config.between_bodies, *self._reach
        )
        count, pairs = len(awake), len(receiver)
        if count:
            row = (awake // self._entities) * (self._entities + self._solids) + awake % self._entities
            size = self._plans * self._entities
            ends = np.searchsorted(awake, [size * (index + 1) for index in range(len(self._members))])
            pair_ends = np.searchsorted(receiver, ends)
            own, both = ends.tolist(), pair_ends.tolist()
            nodes, delta = torch.empty(count, NODE), torch.empty(count, 12)
            motion_kernel.describe(here, fixed, awake, nodes.numpy(), delta.numpy())
            said = mlp(nodes, own, self._weights.free)
            hidden = said[:, :width]
            delta += said[:, width:]
            if self._said:
                hidden = hidden + self._context(awake, own, step)
            for layer in self._weights.rounds:
                standing, treads = torch.empty(count, FOOTING), torch.empty(count, TREADS, 6).numpy()
                motion_kernel.tentative(
                    here, fixed, awake, row, delta.numpy(), shift, turn, after, standing.numpy(), treads
                )
                total = torch.zeros(count, width + 12)
                if pairs:
                    seen, facing, weight = (torch.empty(pairs, columns) for columns in (EDGE, 2, 1))
                    seen_, facing_, weight_ = seen.numpy(), facing.numpy(), weight.view(-1).numpy()
                    wedges = torch.empty(pairs, WEDGES, 6).numpy()
                    sight_kernel.see(
                        now, after, half, radius, motion, row[receiver], sender, scale.reach, shift, turn, seen_,
                        wedges, weight_, facing_,
                    )  # fmt: skip
                    first = each_on_its_own(seen, both, layer.seen)
                    addressed = each_on_its_own(hidden, own, layer.ends).numpy()
                    ahead_kernel.address(receiver, who, pair_ends, addressed, layer.known, first.numpy())
                    second = each_on_its_own(functional.silu(first, inplace=True), both, layer.deep)
                    spoken = each_on_its_own(functional.silu(second, inplace=True), both, layer.out).numpy()
                    messages_kernel.collect(spoken, seen_, wedges, weight_, facing_, receiver, width, total.numpy())
                delta = delta + total[:, width:]
                change = mlp(torch.cat([hidden, total[:, :width], delta, standing], 1), own, layer.update)
                hidden = hidden + change[:, :width]
                delta = delta + change[:, width : width + 12]
                motion_kernel.tread(change.numpy(), treads, width + 12, delta.numpy())
            restraint_kernel.restrain(
                here, fixed, awake, row, receiver, sender, who, motion, half, radius, scale.period, DEEP,
                self._units, delta.numpy(),
            )  # fmt: skip
            motion_kernel.advance(here, awake, delta.numpy(), *self._units, there)
            self.state, self._spare = self._spare, self.state

    def _context(self, awake: Array, ends: list[int], step: int) -> Tensor:
        """What the encoders say to the awake objects about a control step."""
        size, start, rows = self._plans * self._entities, 0, []
        for index, (said, end) in enumerate(zip(self._said, ends, strict=True)):
            chosen = torch.from_numpy(awake[start:end] - index * size)
            rows.append(said[:, step].reshape(size, -1).index_select(0, chosen))
            start = end
        return each_on_its_own(torch.cat(rows), ends, self._weights.context)
