"""Small actor and critics, laid out for one core: no modules, flat storage, and both critics in one batched product."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional

NORM_EPSILON = 1e-5
_LAST_SCALE = 0.1


class Stack:
    """The weights of `E` multilayer perceptrons of one shape (`E = 1` for an actor), all in one flat vector.

    `weights` and `biases` are leaves that share the memory of `flat`, and their gradients share that of `gradient`: an
    optimiser or a moving average touches one long vector instead of twelve short tensors.
    """

    def __init__(self, members: int, sizes: Sequence[int], device: torch.device) -> None:
        """`sizes` are the widths of input, hidden layers and output. All parameters begin at zero."""
        self.members, self.sizes = members, tuple(sizes)
        shapes = [(members, a, b) for a, b in pairwise(sizes)] + [(members, 1, b) for b in sizes[1:]]
        lengths = [math.prod(shape) for shape in shapes]
        self.flat = torch.zeros(sum(lengths), device=device)
        self.gradient = torch.zeros_like(self.flat)
        leaves = [part.view(shape) for part, shape in zip(torch.split(self.flat, lengths), shapes, strict=True)]
        slopes = [part.view(shape) for part, shape in zip(torch.split(self.gradient, lengths), shapes, strict=True)]
        layers = len(sizes) - 1
        self.plain_weights, self.plain_biases = leaves[:layers], leaves[layers:]
        """The same memory, of which autograd knows nothing."""
        leaves = [leaf.detach().requires_grad_() for leaf in leaves]
        for leaf, slope in zip(leaves, slopes, strict=True):
            leaf.grad = slope
        self.weights, self.biases = leaves[:layers], leaves[layers:]
        """Per layer `[E in out]` and `[E 1 out]`."""
        self.weight_slopes, self.bias_slopes = slopes[:layers], slopes[layers:]
        """Their gradients."""

    def randomise(self, generator: torch.Generator) -> None:
        """Uniform fan-in initialisation (He et al. 2015); a smaller last layer makes outputs start near 0."""
        for layer, fan_in in enumerate(self.sizes[:-1]):
            bound = (_LAST_SCALE if layer == len(self.sizes) - 2 else 1.0) / math.sqrt(fan_in)
            for leaf in (self.weights[layer], self.biases[layer]):
                drawn = torch.rand(leaf.shape, generator=generator) * 2 - 1
                leaf.data.copy_(drawn * bound)

    def copy(self) -> "Stack":
        """Another stack with the same parameters, such as a target network."""
        twin = Stack(self.members, self.sizes, self.flat.device)
        twin.flat.copy_(self.flat)
        return twin


def actor_forward(actor: Stack, state: Tensor) -> Tensor:
    """Actions before tanh `[B A]` for inputs `[B S]`."""
    hidden = state
    for weight, bias in zip(actor.weights[:-1], actor.biases[:-1], strict=True):
        hidden = functional.relu(torch.addmm(bias[0], hidden, weight[0]))
    return torch.addmm(actor.biases[-1][0], hidden, actor.weights[-1][0])


def critic_forward(critics: Stack, state: Tensor, action: Tensor, members: slice = slice(None)) -> Tensor:
    """Values `[E B]` of state `[B S]` and action `[B A]` by all members or some.

    LayerNorm without scale and shift before each ReLU bounds the values of unseen actions (Ball et al. 2023, RLPD).
    """
    weights, biases = [w[members] for w in critics.weights], [b[members] for b in critics.biases]
    hidden = torch.cat([state, action], dim=-1).expand(weights[0].shape[0], -1, -1)
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        layer = torch.baddbmm(bias, hidden, weight)
        hidden = functional.relu(functional.layer_norm(layer, layer.shape[-1:], eps=NORM_EPSILON))
    return torch.baddbmm(biases[-1], hidden, weights[-1])[..., 0]
