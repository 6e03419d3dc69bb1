"""Many plans from one beginning: the fast twin of `imagination.imagine` for a planner that tries thousands.

All members and plans are rows of one batch. A small step is a few compiled passes over all rows between the matrix
products, and those are one per layer and member; nothing is kept for gradients, and no `Observation` is made on the
way. What a goal needs, where things are at the ends of control steps, is read out as arrays.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from envs.control import Controller, targets
from envs.errors import EmbodiedError
from envs.geometry import quat_to_matrix
from envs.types import Array, ObjectState, Observation
from world_models.cjepa import ahead_kernel, contact_kernel
from world_models.cjepa.contact import DEEP, FASTER, NODE, SPIN, Message
from world_models.cjepa.contact_fast import STATE
from world_models.cjepa.contact_geometry import FOOTING, TREADS, WEDGES
from world_models.cjepa.edges import EDGE
from world_models.cjepa.ensemble import Ensemble
from world_models.cjepa.model import History, WorldModel, ramped
from world_models.embodiment import robot_among
from world_models.embodiment.joints import Embodiment, Joints
from world_models.slots.bodies import Bodies, bodies_of, body_indices, concatenated
from world_models.slots.slots import declared

ROWS = 1024
"""Members times plans rolled at once: more of them leave the cache."""
_MOVING = ("position_in_world", "quaternion_in_world", "linear_velocity_in_world", "angular_velocity_in_world")


class Ahead:
    """An ensemble as a planner asks it: `begin` once per search, then plans by the hundred."""

    def __init__(self, ensemble: Ensemble, control: Controller) -> None:
        """`control` turns the plans' actions into joint targets.

        Raises `EmbodiedError` for a model that is not on a CPU, or members of different shapes.
        """
        members = [member for member in ensemble.members if isinstance(member, WorldModel)]
        if any(parameter.device.type != "cpu" for parameter in ensemble.parameters()):
            raise EmbodiedError("Plans are rolled ahead on a CPU; move the ensemble there, or use imagine.")
        if len({member.config for member in members}) != 1:
            raise EmbodiedError("Plans are rolled ahead by members of one shape; use imagine for a mixed ensemble.")
        self._ensemble, self._control, self._weights = ensemble, control, _Weights.of(members)

    def begin(self, history: Observation) -> "Outlook":
        """What is said of plans after the last frames `[M W ...]` of M worlds, the present last; numpy."""
        return Outlook(self._ensemble, self._control, self._weights, history)


class Outlook:
    """What an ensemble says about plans from given histories; see `Ahead.begin`."""

    def __init__(self, ensemble: Ensemble, control: Controller, weights: "_Weights", history: Observation) -> None:
        self._weights, self._control = weights, control
        self._members = weights.members
        self._seen: Observation = history[:, -1]
        seen = History(bodies_of(history.objects), torch.as_tensor(history.proprioception, dtype=torch.float32))
        belief = ensemble.begin(seen)
        self._history, self._labels = belief.histories[0], belief.labels
        objects = self._seen.objects
        self._bodies = np.array(body_indices(objects), np.int64)
        robot = robot_among(objects.names)
        self._robot = np.array([objects.index(name) for name in robot.entities], np.int64)

    @torch.no_grad()
    def __call__(self, plans: Array, scattered: bool = False) -> tuple[ObjectState, Array]:
        """Where everything is under plans `[M N H A]`, as a state `[M N H+1 ...]`, the present first.

        And the members' disagreement `[M N H+1 K]` [m], as in `Rollout.uncertainty`. Plans that are `scattered` over E
        members take an E-th of the time: plan n is imagined by member n % E alone, and nobody disagrees.
        """
        wanted, ways = plans.shape[1], len(self._members) if scattered else 1
        plans = np.concatenate([plans, plans[:, : -wanted % ways]], axis=1)
        said, spread, _ = self._follow(plans, ways)
        return said[:, :wanted], spread[:, :wanted]

    @torch.no_grad()
    def after(self, actions: Array) -> Observation:
        """What is observed `[M ...]` one control step on, under actions `[M A]`: the members' mean, without images."""
        said, _, arm = self._follow(actions[:, None, None], 1)
        period = 1.0 / self._control.spec.rate
        return Observation(arm[:, 0], said[:, 0, 1], np.asarray(self._seen.time) + period)

    def _follow(self, plans: Array, ways: int) -> tuple[ObjectState, Array, Array]:
        """See `__call__`, and the robot's proprioception `[M N P]` at the end."""
        worlds, count, horizon, _ = plans.shape
        objects = self._seen.objects
        entities = len(objects.names)
        shape = (worlds, count, horizon + 1, entities)
        arrays: dict[str, Array] = {}
        for field in fields(ObjectState):
            if field.name in ("names", "kind"):
                continue
            array: Array = np.asarray(getattr(objects, field.name))
            arrays[field.name] = np.broadcast_to(array[:, None, None], (*shape, *array.shape[2:]))
        there = objects.present[:, self._bodies]
        for name in _MOVING:
            # What the model moves is filled in; what it does not, and what is absent, stays as it was seen.
            array = arrays[name] = np.array(arrays[name], np.float64, order="C")
            blank = np.where(there[..., None], 0.0, array[:, 0, 0, self._bodies])
            array[:, :, 1:, self._bodies] = blank[:, None, None]
        spread = np.zeros(shape)
        arm = np.empty((worlds, count, self._seen.proprioception.shape[-1]))
        together = max(1, ROWS // (count * len(self._members) // ways))
        for start in range(0, worlds, together):
            some = slice(start, start + together)
            flat = {name: arrays[name][some].reshape(-1, *arrays[name].shape[2:]) for name in _MOVING}
            last = self._roll(some, plans[some], ways, flat, spread[some].reshape(-1, *shape[2:]))
            arm[some] = last.reshape(-1, *arm.shape[1:])
        return replace(objects, **arrays), spread, arm

    def _roll(self, some: slice, plans: Array, ways: int, out: dict[str, Array], spread: Array) -> Array:
        """Fill entities `[B H+1 K ...]` from time 1 on for some worlds' plans `[M N H A]`, B = M N.

        Returns the robot's last proprioception `[B P]`. Every plan is imagined by all members (`ways` 1), or by one of
        them (`ways` E).
        """
        worlds, count, horizon, _ = plans.shape
        voices = len(self._members) // ways
        # Which plan each of a voice's rows follows: one member's after another's.
        plan = np.arange(worlds * count).reshape(worlds, -1, ways).transpose(2, 0, 1).ravel()
        config, robot = self._members[0].config, self._members[0].robot
        told: Array = np.asarray(self._seen.proprioception, np.float64)[some].reshape(worlds, 3, -1)
        told = np.repeat(told, count, axis=0)
        commands = targets(self._control, told[:, 2], plans.reshape(worlds * count, horizon, -1))
        batch = _Batch(self._weights, _repeated(self._history, some, count // ways))
        path = [told[plan, 0]]
        labels = self._labels[some].repeat_interleave(count, 0).flatten(-2).numpy()[plan]
        there = batch.present[: len(plan)]
        every = torch.as_tensor(commands[np.tile(plan, voices)], dtype=torch.float32)
        small = ramped(batch.before, every, config.parts).numpy()
        moving = [out[name] for name in _MOVING]
        for step in range(horizon):
            if config.layers and step % config.future == 0:
                batch.encode(every[:, step : step + config.future])
            for part in range(config.parts):
                batch.advance(small[:, step, part], step % config.future)
            batch.remember()
            ahead_kernel.average(
                batch.state.numpy(), voices, plan, labels, there, self._bodies, step + 1, *moving, spread
            )
            path.append(batch.position.reshape(voices, len(plan), -1).mean(0, dtype=np.float64))
        last = np.empty((len(plan), 3 * commands.shape[-1]))
        velocity = batch.velocity.reshape(voices, len(plan), -1).mean(0, dtype=np.float64)
        # The command is known exactly; the networks' copy of it is rounded.
        last[plan] = np.concatenate([path[-1], velocity, commands[plan, -1]], axis=1)
        poses = robot.entity_poses(np.stack(path, axis=1))
        objects = self._seen.objects
        # Speeds of the first step are from where the hand was seen.
        start = np.concatenate(
            [
                objects.position_in_world[some, self._robot],
                quat_to_matrix(objects.quaternion_in_world[some, self._robot]).reshape(worlds, -1, 9),
            ],
            axis=-1,
        )
        poses[:, 0] = np.repeat(start, count, axis=0)[plan]
        ahead_kernel.trail(poses, plan, self._robot, 1.0 / self._control.spec.rate, *moving)
        return last


_Layer = tuple[tuple[Tensor, Tensor | None], ...]
"""Of every member the weight `[I O]` and bias."""


@dataclass(frozen=True)
class _Weights:
    """The members' layers, kind by kind: looking attributes of modules up takes longer than small matrix products."""

    members: tuple[WorldModel, ...]
    joints: tuple[tuple[Tensor, Tensor], ...]
    """Of all members in one, `[E I O]` and `[E 1 O]`: the MLP's three layers and the linear path."""
    listener: tuple[_Layer, ...]
    free: tuple[_Layer, ...]
    context: _Layer
    rounds: tuple["_Round", ...]

    @classmethod
    def of(cls, members: Sequence[WorldModel]) -> "_Weights":
        robots, models = [member.robot for member in members], [member.contact for member in members]
        joints = [*zip(*(_linears(robot.mlp) for robot in robots), strict=True), [robot.linear for robot in robots]]
        context = [model.context for model in models if model.context is not None]
        with torch.no_grad():
            return cls(
                tuple(members),
                tuple(
                    (
                        torch.stack([each.weight.t() for each in layer]).contiguous(),
                        torch.stack([each.bias for each in layer])[:, None].contiguous(),
                    )
                    for layer in joints
                ),
                _layers([robot.listener for robot in robots]) if robots[0].feels else (),
                _layers([model.free for model in models]),
                _layer(context),
                tuple(
                    _Round.of([model.messages[index] for model in models], [model.updates[index] for model in models])
                    for index in range(members[0].config.rounds)
                ),
            )


@dataclass(frozen=True)
class _Round:
    """Of one round of messages."""

    seen: _Layer
    ends: _Layer
    """Of the receiver and, beside it, of the sender."""
    deep: _Layer
    out: _Layer
    known: Array
    """`[E S+1 H]` of the robot's solids and all that sleeps."""
    update: tuple[_Layer, ...]

    @classmethod
    def of(cls, messages: Sequence[nn.Module], updates: Sequence[nn.Module]) -> "_Round":
        said = [message for message in messages if isinstance(message, Message)]
        return cls(
            seen=_layer([message.seen for message in said]),
            ends=tuple(
                (torch.cat([message.receiver.weight, message.sender.weight]).t().contiguous(), None) for message in said
            ),
            deep=_layer([message.deep for message in said]),
            out=_layer([message.out for message in said]),
            known=torch.stack([message.effector for message in said]).detach().numpy(),
            update=_layers(updates),
        )


def _linears(mlp: nn.Module) -> list[nn.Linear]:
    return [part for part in mlp.children() if isinstance(part, nn.Linear)]


def _layer(linears: Sequence[nn.Linear]) -> _Layer:
    return tuple((each.weight.detach().t().contiguous(), each.bias.detach()) for each in linears)


def _layers(mlps: Sequence[nn.Module]) -> tuple[_Layer, ...]:
    return tuple(_layer(each) for each in zip(*(_linears(mlp) for mlp in mlps), strict=True))


def _each(inputs: Tensor, ends: list[int], layer: _Layer) -> Tensor:
    """One layer of every member on its own rows of `[R I]`, which end at `ends`."""
    out = inputs.new_empty(inputs.shape[0], layer[0][0].shape[1])
    start = 0
    for (weight, bias), end in zip(layer, ends, strict=True):
        if end > start and bias is not None:
            torch.addmm(bias, inputs[start:end], weight, out=out[start:end])
        elif end > start:
            torch.mm(inputs[start:end], weight, out=out[start:end])
        start = end
    return out


def _mlp(inputs: Tensor, ends: list[int], layers: tuple[_Layer, ...]) -> Tensor:
    """Layers with SiLU between them."""
    for layer in layers[:-1]:
        inputs = functional.silu(_each(inputs, ends, layer), inplace=True)
    return _each(inputs, ends, layers[-1])


class _Batch:
    """E members' futures of B plans each, as rows R = E B; stepped in place."""

    def __init__(self, weights: _Weights, history: History) -> None:
        """From one history `[B T ...]` of all members."""
        members = weights.members
        self._weights, self._members, self._config = weights, members, members[0].config
        self._robot: Embodiment = members[0].robot
        contact = members[0].contact
        self._scale, self._width = contact.scale, contact.width
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
            said = _mlp(torch.from_numpy(heard.inputs), ends, self._weights.listener)
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
        contact_kernel.lay_out(
            here, self._solid[0], self._solid_after[0], self._solid[1], self._solid_after[1], scale.period,
            self._entities, now, after, motion,
        )  # fmt: skip
        awake, receiver, sender, who = contact_kernel.near(
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
            contact_kernel.describe(here, fixed, awake, nodes.numpy(), delta.numpy())
            said = _mlp(nodes, own, self._weights.free)
            hidden = said[:, :width]
            delta += said[:, width:]
            if self._said:
                hidden = hidden + self._context(awake, own, step)
            for layer in self._weights.rounds:
                standing, treads = torch.empty(count, FOOTING), torch.empty(count, TREADS, 6).numpy()
                contact_kernel.tentative(
                    here, fixed, awake, row, delta.numpy(), shift, turn, after, standing.numpy(), treads
                )
                total = torch.zeros(count, width + 12)
                if pairs:
                    seen, facing, weight = (torch.empty(pairs, columns) for columns in (EDGE, 2, 1))
                    seen_, facing_, weight_ = seen.numpy(), facing.numpy(), weight.view(-1).numpy()
                    wedges = torch.empty(pairs, WEDGES, 6).numpy()
                    contact_kernel.see(
                        now, after, half, radius, motion, row[receiver], sender, scale.reach, shift, turn, seen_,
                        wedges, weight_, facing_,
                    )  # fmt: skip
                    first = _each(seen, both, layer.seen)
                    addressed = _each(hidden, own, layer.ends).numpy()
                    ahead_kernel.address(receiver, who, pair_ends, addressed, layer.known, first.numpy())
                    second = _each(functional.silu(first, inplace=True), both, layer.deep)
                    spoken = _each(functional.silu(second, inplace=True), both, layer.out).numpy()
                    contact_kernel.collect(spoken, seen_, wedges, weight_, facing_, receiver, width, total.numpy())
                delta = delta + total[:, width:]
                change = _mlp(torch.cat([hidden, total[:, :width], delta, standing], 1), own, layer.update)
                hidden = hidden + change[:, :width]
                delta = delta + change[:, width : width + 12]
                contact_kernel.tread(change.numpy(), treads, width + 12, delta.numpy())
            contact_kernel.restrain(
                here, fixed, awake, row, receiver, sender, who, motion, half, radius, scale.period, DEEP,
                (shift, turn, FASTER, SPIN), delta.numpy(),
            )  # fmt: skip
            contact_kernel.advance(here, awake, delta.numpy(), shift, turn, FASTER, SPIN, there)
            self.state, self._spare = self._spare, self.state

    def _context(self, awake: Array, ends: list[int], step: int) -> Tensor:
        """What the encoders say to the awake objects about a control step."""
        size, start, rows = self._plans * self._entities, 0, []
        for index, (said, end) in enumerate(zip(self._said, ends, strict=True)):
            chosen = torch.from_numpy(awake[start:end] - index * size)
            rows.append(said[:, step].reshape(size, -1).index_select(0, chosen))
            start = end
        return _each(torch.cat(rows), ends, self._weights.context)


def _repeated(history: History, some: slice, count: int) -> History:
    """Each of some worlds' histories `[M T ...]` as often as it has plans."""
    bodies = history.bodies[some]
    many = {f.name: getattr(bodies, f.name).repeat_interleave(count, 0) for f in fields(Bodies)}
    return History(Bodies(**many), history.proprioception[some].repeat_interleave(count, 0))
