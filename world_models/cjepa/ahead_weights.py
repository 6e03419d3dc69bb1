"""The layers of all members of an ensemble, each on rows of its own."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from envs.types import Array
from world_models.cjepa.contact import Message
from world_models.cjepa.model import WorldModel

Layer = tuple[tuple[Tensor, Tensor | None], ...]
"""Of every member the weight `[I O]` and bias."""


@dataclass(frozen=True)
class Weights:
    """The members' layers, kind by kind: looking attributes of modules up takes longer than small matrix products."""

    members: tuple[WorldModel, ...]
    joints: tuple[tuple[Tensor, Tensor], ...]
    """Of all members in one, `[E I O]` and `[E 1 O]`: the MLP's three layers and the linear path."""
    listener: tuple[Layer, ...]
    free: tuple[Layer, ...]
    context: Layer
    rounds: tuple["Round", ...]

    @classmethod
    def of(cls, members: Sequence[WorldModel]) -> "Weights":
        """From members of one shape; without gradients."""
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
                    Round.of([model.messages[index] for model in models], [model.updates[index] for model in models])
                    for index in range(members[0].config.rounds)
                ),
            )


@dataclass(frozen=True)
class Round:
    """Of one round of messages."""

    seen: Layer
    ends: Layer
    """Of the receiver and, beside it, of the sender."""
    deep: Layer
    out: Layer
    known: Array
    """`[E S+1 H]` of the robot's solids and all that sleeps."""
    update: tuple[Layer, ...]

    @classmethod
    def of(cls, messages: Sequence[nn.Module], updates: Sequence[nn.Module]) -> "Round":
        """From every member's `Message` and update of the round."""
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


def _layer(linears: Sequence[nn.Linear]) -> Layer:
    return tuple((each.weight.detach().t().contiguous(), each.bias.detach()) for each in linears)


def _layers(mlps: Sequence[nn.Module]) -> tuple[Layer, ...]:
    return tuple(_layer(each) for each in zip(*(_linears(mlp) for mlp in mlps), strict=True))


def each_on_its_own(inputs: Tensor, ends: list[int], layer: Layer) -> Tensor:
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


def mlp(inputs: Tensor, ends: list[int], layers: tuple[Layer, ...]) -> Tensor:
    """Layers with SiLU between them."""
    for layer in layers[:-1]:
        inputs = functional.silu(each_on_its_own(inputs, ends, layer), inplace=True)
    return each_on_its_own(inputs, ends, layers[-1])
