"""The same networks' values and gradients written out by hand: half the time of autograd for layers this small.

Subtracting the mean in a layer norm is linear, so it is done once on the weights (`W - mean over outputs`) and not on
every activation; the gradient of the centred weights is centred likewise. `networks` is the slow, obvious twin.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from embodied.agents.networks import NORM_EPSILON, Stack


@dataclass(frozen=True)
class Centred:
    """Critic weights whose hidden layers give outputs of mean zero."""

    weights: list[Tensor]
    biases: list[Tensor]


@dataclass(frozen=True)
class Trace:
    """What the backward pass needs of a forward pass."""

    value: Tensor
    """`[E B]`."""
    inputs: Tensor
    """`[E B S+A]`."""
    normal: list[Tensor]
    """Per hidden layer `[E B W]`, after the norm, before ReLU."""
    scale: list[Tensor]
    """Per hidden layer `[E B 1]`, one over the standard deviation."""
    hidden: list[Tensor]
    """Per hidden layer `[E B W]`, after ReLU."""


def centre(critics: Stack, members: slice = slice(None)) -> Centred:
    """The centred weights of all members or some."""
    weights, biases = [w.detach()[members] for w in critics.weights], [b.detach()[members] for b in critics.biases]
    for layer in range(len(weights) - 1):
        weights[layer] = weights[layer] - weights[layer].mean(dim=-1, keepdim=True)
        biases[layer] = biases[layer] - biases[layer].mean(dim=-1, keepdim=True)
    return Centred(weights, biases)


def critic_trace(critics: Centred, state: Tensor, action: Tensor) -> Trace:
    """Values of state `[B S]` and action `[B A]` with what the backward pass needs."""
    inputs = torch.cat([state, action], dim=-1).expand(critics.weights[0].shape[0], -1, -1)
    layer_input, normal, scale, hidden = inputs, [], [], []
    for weight, bias in zip(critics.weights[:-1], critics.biases[:-1], strict=True):
        centred = torch.baddbmm(bias, layer_input, weight)
        variance = torch.linalg.vecdot(centred, centred)[..., None] / centred.shape[-1]
        scale.append(variance.add_(NORM_EPSILON).rsqrt_())
        normal.append(centred.mul_(scale[-1]))
        layer_input = torch.relu(normal[-1])
        hidden.append(layer_input)
    value = torch.baddbmm(critics.biases[-1], layer_input, critics.weights[-1])[..., 0]
    return Trace(value, inputs, normal, scale, hidden)


def critic_backward(critics: Centred, trace: Trace, slope: Tensor, into: Stack | None) -> Tensor:
    """From the loss's slope `[E B]` in the values to that in the first layer's centred output `[E B W]`.

    With `into`, the parameters' gradients are written there.
    """
    last = len(critics.weights) - 1
    column = slope[..., None]
    if into is not None:
        torch.bmm(trace.hidden[-1].transpose(1, 2), column, out=into.weight_slopes[last])
        torch.sum(column, dim=1, keepdim=True, out=into.bias_slopes[last])
    back = column * critics.weights[last].transpose(1, 2)
    for layer in range(last - 1, -1, -1):
        normal, width = trace.normal[layer], trace.normal[layer].shape[-1]
        back = torch.ops.aten.threshold_backward(back, trace.hidden[layer], 0.0)
        along = torch.linalg.vecdot(back, normal)[..., None] / width
        back = torch.addcmul(back, normal, along, value=-1.0).mul_(trace.scale[layer])
        if into is not None:
            below = trace.hidden[layer - 1] if layer else trace.inputs
            _centred_into(into.weight_slopes[layer], torch.bmm(below.transpose(1, 2), back))
            _centred_into(into.bias_slopes[layer], back.sum(dim=1, keepdim=True))
        if layer:
            back = torch.bmm(back, critics.weights[layer].transpose(1, 2))
    return back


def critic_gradient(critics: Stack, state: Tensor, action: Tensor, target: Tensor) -> Tensor:
    """The critic loss, sum over members of mean (Q - target)^2; its gradient goes to `critics.gradient`."""
    centred = centre(critics)
    trace = critic_trace(centred, state, action)
    error = trace.value - target
    critic_backward(centred, trace, error * (2.0 / error.shape[-1]), critics)
    return (error * error).sum() / error.shape[-1]


def value_slope(critics: Stack, state: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
    """The first critic's values `[B]`, and their slope in the action `[B A]`."""
    centred = centre(critics, slice(0, 1))
    trace = critic_trace(centred, state, action)
    back = critic_backward(centred, trace, torch.ones_like(trace.value), None)
    return trace.value[0], back[0] @ centred.weights[0][0, state.shape[-1] :].T


@dataclass(frozen=True)
class ActorTrace:
    """What the actor's backward pass needs."""

    raw: Tensor
    """`[B A]` before tanh."""
    hidden: list[Tensor]
    """Input and hidden layers `[B .]`."""


def actor_trace(actor: Stack, state: Tensor) -> ActorTrace:
    """The actor's output and layers for inputs `[B S]`."""
    weights, biases = [w.detach()[0] for w in actor.weights], [b.detach()[0] for b in actor.biases]
    hidden = [state]
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        hidden.append(torch.addmm(bias, hidden[-1], weight).relu_())
    return ActorTrace(torch.addmm(biases[-1], hidden[-1], weights[-1]), hidden)


def actor_backward(actor: Stack, trace: ActorTrace, slope: Tensor) -> None:
    """Write the gradient of a loss whose slope in the actions before tanh is `[B A]` to `actor.gradient`."""
    back = slope
    for layer in range(len(actor.weights) - 1, -1, -1):
        torch.mm(trace.hidden[layer].T, back, out=actor.weight_slopes[layer][0])
        torch.sum(back, dim=0, keepdim=True, out=actor.bias_slopes[layer][0])
        if layer:
            below = back @ actor.weights[layer].detach()[0].T
            back = torch.ops.aten.threshold_backward(below, trace.hidden[layer], 0.0)


def _centred_into(gradient: Tensor, centred: Tensor) -> None:
    torch.sub(centred, centred.mean(dim=-1, keepdim=True), out=gradient)
