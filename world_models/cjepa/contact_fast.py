"""The contact model's compiled twin: the same steps and gradients on a CPU at a small part of the time.

Automatic differentiation of a step is several hundred small tensor operations, nearly all of the time overhead. Here
the matrix products are torch's, everything between them one pass over rows of numbers, and the way back is written
out. The slow twin, `ContactModel.forward`, is what runs on a GPU.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from world_models.cjepa import (
    gradient_kernel,
    messages_kernel,
    motion_kernel,
    neighbours_kernel,
    restraint_kernel,
    sight_kernel,
)
from world_models.cjepa.contact import GATES, NODE, ContactModel, Message
from world_models.cjepa.contact_geometry import FOOTING, TREADS, WEDGES
from world_models.cjepa.edges import EDGE
from world_models.cjepa.restraint import DEEP
from world_models.embodiment.joints import Effector
from world_models.slots.bodies import Bodies
from world_models.slots.slots import declared

STATE = 18
"""Position, rotation row by row, linear and angular velocity."""


def follow(
    model: ContactModel,
    bodies: Bodies,
    effectors: Effector,
    context: Tensor | None,
    parts: int,
    *,
    between_bodies: bool = True,
) -> Bodies:
    """`bodies` `[B N ...]` in K steps `[B K N ...]` between the K + 1 states of the effector.

    `context` `[B F N C]` is what the encoder says for each `parts` steps.
    """
    state = torch.cat(
        [bodies.position, bodies.rotation.flatten(-2), bodies.linear_velocity, bodies.angular_velocity], -1
    )
    scene = _Scene(bodies, effectors, parts, between_bodies)
    parameters = list(model.parameters())
    # Rows go to and fro between torch and compiled code, which knows single precision alone.
    context = None if context is None else context.float()
    with torch.autocast("cpu", enabled=False):
        if torch.is_grad_enabled():
            path: Tensor = _Follow.apply(model, scene, state, context, *parameters)  # type: ignore[no-untyped-call]
        else:
            path = _run(model, scene, state, context, None)
    position, rotation, linear, angular = path.split([3, 9, 3, 3], -1)
    steps = path.shape[1]

    def still(array: Tensor) -> Tensor:
        return array[:, None].expand(-1, steps, *array.shape[1:])

    return Bodies(
        position, rotation.unflatten(-1, (3, 3)), linear, angular, still(bodies.half_extents), still(bodies.mass),
        still(bodies.friction), still(bodies.present), still(bodies.radius),
    )  # fmt: skip


class _Scene:
    """What does not change, or is known beforehand, over K steps; as rows of numbers."""

    def __init__(self, bodies: Bodies, effectors: Effector, parts: int, between_bodies: bool) -> None:
        batch, entities = bodies.present.shape
        self.parts, self.between_bodies, self.shape = parts, between_bodies, (batch, entities)
        self.solids = effectors.radius.shape[-1]
        mass, friction = declared(bodies)
        core = bodies.core
        fixed = [bodies.half_extents, core, bodies.radius[..., None]]
        fixed += [part[..., None] for part in (mass, friction, bodies.present)]
        self.fixed = torch.cat(fixed, -1).flatten(0, 1).contiguous().numpy()
        self.present = bodies.present.contiguous().numpy()
        pose = torch.cat([effectors.position, effectors.rotation.flatten(-2)], -1)
        self.pose = [step.contiguous().numpy() for step in pose.unbind(1)]
        self.velocity = [step.contiguous().numpy() for step in effectors.linear_velocity.unbind(1)]
        self.half = torch.cat([core, effectors.half[:, 0]], 1).flatten(0, 1).contiguous().numpy()
        self.radius = torch.cat([bodies.radius, effectors.radius[:, 0]], 1).flatten().contiguous().numpy()
        self.steps = len(self.pose) - 1


@dataclass
class _Round:
    """What one round of messages leaves for the way back."""

    hidden: Tensor
    seen: Tensor
    wedges: Any
    weight: Any
    facing: Any
    first: Tensor
    second: Tensor
    update: "_Layers"
    treads: Any


@dataclass
class _Layers:
    """Inputs of an MLP's three layers and of its two nonlinearities."""

    inputs: Tensor
    first: Tensor
    middle: Tensor
    second: Tensor
    last: Tensor


@dataclass
class _Step:
    """What one step leaves for the way back."""

    state: Any
    new: Any
    awake: Tensor
    receiver: Any
    who: Any
    free: _Layers
    context: Tensor | None
    rounds: list[_Round]
    delta: Tensor


class _Follow(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, model: ContactModel, scene: _Scene, state: Tensor, context: Tensor | None, *_: Tensor) -> Any:
        ctx.model, ctx.scene, ctx.tape = model, scene, []
        return _run(model, scene, state, context, ctx.tape)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        model, scene = ctx.model, ctx.scene
        grads = {id(p): torch.zeros_like(p) for p in model.parameters()}
        batch, entities = scene.shape
        carry = torch.zeros(batch * entities, STATE)
        grad_context = None
        if ctx.tape[0].context is not None and ctx.needs_input_grad[3]:
            grad_context = torch.zeros(-(-scene.steps // scene.parts), batch * entities, ctx.tape[0].context.shape[-1])
        for step in reversed(range(scene.steps)):
            carry += grad[:, step].reshape(batch * entities, STATE)
            taped = ctx.tape.pop()
            grad_hidden = _step_back(model, taped, carry, grads)
            if model.context is not None and taped.context is not None:
                _linear_back(model.context, taped.context, grad_hidden, grads)
                if grad_context is not None:
                    grad_context[step // scene.parts].index_add_(0, taped.awake, grad_hidden @ model.context.weight)
        if grad_context is not None:
            grad_context = grad_context.view(-1, batch, entities, grad_context.shape[-1]).transpose(0, 1)
        return None, None, carry.view(batch, entities, STATE), grad_context, *grads.values()


@torch.no_grad()
def _run(model: ContactModel, scene: _Scene, state: Tensor, context: Tensor | None, tape: list[_Step] | None) -> Tensor:
    batch, entities = scene.shape
    path = torch.empty(scene.steps + 1, batch * entities, STATE)
    path[0] = state.reshape(batch * entities, STATE)
    rows = batch * (entities + scene.solids)
    now, after, motion = torch.empty(rows, 12), torch.empty(rows, 12), torch.empty(rows, 9)
    for step in range(scene.steps):
        embedding = None if context is None else context[:, step // scene.parts].reshape(batch * entities, -1)
        taped = _step(model, scene, step, path[step], path[step + 1], (now, after, motion), embedding)
        if tape is not None:
            tape.append(taped)
    return path[1:].view(scene.steps, batch, entities, STATE).transpose(0, 1)


def _step(
    model: ContactModel, scene: _Scene, step: int, state: Tensor, new: Tensor, rows: tuple[Tensor, ...],
    embedding: Tensor | None,
) -> _Step:  # fmt: skip
    _, entities = scene.shape
    scale, width = model.scale, model.width
    here, there = state.numpy(), new.numpy()
    now, after, motion = (array.numpy() for array in rows)
    neighbours_kernel.lay_out(
        here, scene.pose[step], scene.pose[step + 1], scene.velocity[step], scene.velocity[step + 1], scale.period,
        entities, now, after, motion,
    )  # fmt: skip
    awake, receiver, sender, who = neighbours_kernel.near(
        now, after, scene.half, scene.radius, motion, scene.present, scene.between_bodies, scale.reach, scale.margin,
        scale.known_margin,
    )  # fmt: skip
    row = (awake // entities) * (entities + scene.solids) + awake % entities
    receiver_row = row[receiver]
    count, pairs = len(awake), len(receiver)
    nodes, delta = torch.empty(count, NODE), torch.empty(count, 12)
    motion_kernel.describe(here, scene.fixed, awake, nodes.numpy(), delta.numpy())
    index = torch.from_numpy(awake)
    said, free = _forward(model.free, nodes)
    hidden = said[:, :width].contiguous()
    seen_context = None
    if model.context is not None and embedding is not None:
        seen_context = embedding.index_select(0, index)
        hidden += functional.linear(seen_context, model.context.weight, model.context.bias)
    delta += said[:, width:]
    rounds = []
    for message, update in zip(model.messages, model.updates, strict=True):
        standing, treads = torch.empty(count, FOOTING), torch.empty(count, TREADS, 6).numpy()
        motion_kernel.tentative(
            here, scene.fixed, awake, row, delta.numpy(), scale.shift, scale.turn, after, standing.numpy(), treads
        )
        seen, weight, facing = torch.empty(pairs, EDGE), torch.empty(pairs), torch.empty(pairs, 2)
        weight_, facing_, wedges = weight.numpy(), facing.numpy(), torch.empty(pairs, WEDGES, 6).numpy()
        sight_kernel.see(
            now, after, scene.half, scene.radius, motion, receiver_row, sender, scale.reach, scale.shift, scale.turn,
            seen.numpy(), wedges, weight_, facing_,
        )  # fmt: skip
        assert isinstance(message, Message)
        first = functional.linear(seen, message.seen.weight, message.seen.bias)
        to_all = torch.cat([hidden @ message.sender.weight.t(), message.effector])
        messages_kernel.gather(
            receiver, who, (hidden @ message.receiver.weight.t()).numpy(), to_all.numpy(), first.numpy()
        )
        second = functional.linear(functional.silu(first), message.deep.weight, message.deep.bias)
        spoken = functional.linear(functional.silu(second), message.out.weight, message.out.bias)
        total = torch.zeros(count, width + 12)
        messages_kernel.collect(spoken.numpy(), seen.numpy(), wedges, weight_, facing_, receiver, width, total.numpy())
        delta = delta + total[:, width:]
        change, layers = _forward(update, torch.cat([hidden, total[:, :width], delta, standing], 1))
        rounds.append(_Round(hidden, seen, wedges, weight_, facing_, first, second, layers, treads))
        hidden = hidden + change[:, :width]
        delta = delta + change[:, width : width + 12]
        motion_kernel.tread(change.numpy(), treads, width + 12, delta.numpy())
    restraint_kernel.restrain(
        here, scene.fixed, awake, row, receiver, sender, who, motion, scene.half, scene.radius, scale.period, DEEP,
        model.units, delta.numpy(),
    )  # fmt: skip
    motion_kernel.advance(here, awake, delta.numpy(), *model.units, there)
    return _Step(here, there, index, receiver, who, free, seen_context, rounds, delta)


def _step_back(model: ContactModel, step: _Step, carry: Tensor, grads: dict[int, Tensor]) -> Tensor:
    """Turn `carry` from the gradient of the new state into that of the old one; returns that of the first embedding."""
    width = model.width
    awake = step.awake.numpy()
    grad_delta = torch.empty(len(awake), 12)
    gradient_kernel.advance_back(
        step.state, step.new, awake, step.delta.numpy(), *model.units, carry.numpy(),
        grad_delta.numpy(),
    )  # fmt: skip
    grad_hidden = torch.zeros(len(awake), width)
    for kept, message, update in zip(
        reversed(step.rounds), reversed(list(model.messages)), reversed(list(model.updates)), strict=True
    ):
        assert isinstance(message, Message)
        grad_change = torch.empty(len(awake), width + 12 + 4 * TREADS)
        grad_change[:, :width], grad_change[:, width : width + 12] = grad_hidden, grad_delta
        gradient_kernel.tread_back(grad_delta.numpy(), kept.treads, width + 12, grad_change.numpy())
        back = _backward(update, kept.update, grad_change, grads)
        grad_hidden = grad_hidden + back[:, :width]
        grad_delta = grad_delta + back[:, 2 * width : 2 * width + 12]
        grad_total = torch.cat([back[:, width : 2 * width], grad_delta], 1)
        pairs = len(kept.seen)
        grad_said = torch.empty(pairs, width + GATES + 12)
        gradient_kernel.collect_back(
            grad_total.numpy(), kept.seen.numpy(), kept.wedges, kept.weight, kept.facing, step.receiver, width,
            grad_said.numpy(),
        )  # fmt: skip
        _linear_back(message.out, functional.silu(kept.second), grad_said, grads)
        grad_second = torch.ops.aten.silu_backward(grad_said @ message.out.weight, kept.second)
        _linear_back(message.deep, functional.silu(kept.first), grad_second, grads)
        grad_first = torch.ops.aten.silu_backward(grad_second @ message.deep.weight, kept.first)
        _linear_back(message.seen, kept.seen, grad_first, grads)
        others = message.effector.shape[0]
        to_receiver = torch.zeros(len(awake), grad_first.shape[1])
        to_sender = torch.zeros(len(awake) + others, grad_first.shape[1])
        gradient_kernel.scatter(step.receiver, step.who, grad_first.numpy(), to_receiver.numpy(), to_sender.numpy())
        grads[id(message.effector)] += to_sender[len(awake) :]
        to_body = to_sender[: len(awake)]
        grads[id(message.receiver.weight)].addmm_(to_receiver.t(), kept.hidden)
        grads[id(message.sender.weight)].addmm_(to_body.t(), kept.hidden)
        grad_hidden = grad_hidden + to_receiver @ message.receiver.weight + to_body @ message.sender.weight
    _backward(model.free, step.free, torch.cat([grad_hidden, grad_delta], 1), grads, inputs=False)
    gradient_kernel.drift_back(step.state, awake, grad_delta.numpy(), carry.numpy())
    return grad_hidden


def _layers(mlp: nn.Module) -> tuple[nn.Linear, nn.Linear, nn.Linear]:
    """Of an MLP with two nonlinearities."""
    assert isinstance(mlp, nn.Sequential)
    first, _, second, _, third = mlp
    assert isinstance(first, nn.Linear)
    assert isinstance(second, nn.Linear)
    assert isinstance(third, nn.Linear)
    return first, second, third


def _forward(mlp: nn.Module, inputs: Tensor) -> tuple[Tensor, _Layers]:
    one, two, three = _layers(mlp)
    first = functional.linear(inputs, one.weight, one.bias)
    middle = functional.silu(first)
    second = functional.linear(middle, two.weight, two.bias)
    last = functional.silu(second)
    return functional.linear(last, three.weight, three.bias), _Layers(inputs, first, middle, second, last)


def _backward(mlp: nn.Module, kept: _Layers, grad: Tensor, grads: dict[int, Tensor], *, inputs: bool = True) -> Tensor:
    one, two, three = _layers(mlp)
    _linear_back(three, kept.last, grad, grads)
    grad = torch.ops.aten.silu_backward(grad @ three.weight, kept.second)
    _linear_back(two, kept.middle, grad, grads)
    grad = torch.ops.aten.silu_backward(grad @ two.weight, kept.first)
    _linear_back(one, kept.inputs, grad, grads)
    return grad @ one.weight if inputs else grad


def _linear_back(linear: nn.Linear, inputs: Tensor, grad: Tensor, grads: dict[int, Tensor]) -> None:
    grads[id(linear.weight)].addmm_(grad.t(), inputs)
    grads[id(linear.bias)] += grad.sum(0)
