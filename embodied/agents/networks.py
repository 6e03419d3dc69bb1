"""Small actor and critics, laid out for one core: no modules, and both critics in one batched product."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional

_LAST_SCALE = 0.1


@dataclass(frozen=True)
class Stack:
    """The weights of `E` multilayer perceptrons of one shape; `E = 1` for an actor."""

    weights: tuple[Tensor, ...]
    """Per layer `[E in out]`."""
    biases: tuple[Tensor, ...]
    """Per layer `[E 1 out]`."""

    @classmethod
    def create(cls, members: int, sizes: Sequence[int], generator: torch.Generator, device: torch.device) -> "Stack":
        """Uniform fan-in initialisation (He et al. 2015); a smaller last layer makes outputs start near 0."""
        weights, biases = [], []
        for layer, (fan_in, fan_out) in enumerate(pairwise(sizes)):
            bound = 1.0 / math.sqrt(fan_in)
            scale = _LAST_SCALE if layer == len(sizes) - 2 else 1.0
            weight = (torch.rand(members, fan_in, fan_out, generator=generator) * 2 - 1) * bound * scale
            bias = (torch.rand(members, 1, fan_out, generator=generator) * 2 - 1) * bound * scale
            weights.append(weight.to(device).requires_grad_())
            biases.append(bias.to(device).requires_grad_())
        return cls(tuple(weights), tuple(biases))

    @property
    def parameters(self) -> list[Tensor]:
        """All tensors, weights first."""
        return [*self.weights, *self.biases]

    def frozen_copy(self) -> "Stack":
        """A copy that carries no gradient, such as a target network."""
        return Stack(
            tuple(weight.detach().clone() for weight in self.weights),
            tuple(bias.detach().clone() for bias in self.biases),
        )

    def member(self, index: int) -> "Stack":
        """One network as a stack of one, sharing memory and detached: gradients pass through it to the input alone."""
        return Stack(
            tuple(weight.detach()[index : index + 1] for weight in self.weights),
            tuple(bias.detach()[index : index + 1] for bias in self.biases),
        )


def actor_forward(actor: Stack, state: Tensor) -> Tensor:
    """Actions before tanh `[B A]` for inputs `[B S]`."""
    hidden = state
    for weight, bias in zip(actor.weights[:-1], actor.biases[:-1], strict=True):
        hidden = functional.relu(torch.addmm(bias[0], hidden, weight[0]))
    return torch.addmm(actor.biases[-1][0], hidden, actor.weights[-1][0])


def critic_forward(critics: Stack, state: Tensor, action: Tensor) -> Tensor:
    """Values `[E B]` of state `[B S]` and action `[B A]`.

    LayerNorm without scale and shift before each ReLU bounds the values of unseen actions (Ball et al. 2023, RLPD).
    """
    hidden = torch.cat([state, action], dim=-1).expand(critics.weights[0].shape[0], -1, -1)
    for weight, bias in zip(critics.weights[:-1], critics.biases[:-1], strict=True):
        layer = torch.baddbmm(bias, hidden, weight)
        hidden = functional.relu(functional.layer_norm(layer, layer.shape[-1:]))
    return torch.baddbmm(critics.biases[-1], hidden, critics.weights[-1])[..., 0]
