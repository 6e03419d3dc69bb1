"""The network that reads a literal off a pair of objects: E stacked members, one batched call for all of them.

Members differ in their first weights, in the order of their data (the trainer's doing), and in which features they see:
members that see the same share their blind spots. What a predicate's trunk and outputs share is the reading of a pair;
each predicate has its own bias in front and its own outputs.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from envs.errors import EmbodiedError
from envs.goals import Literal
from world_models.reward.relations import CONTEXT, FEATURES, NAMES

OUTPUTS = ("logit", "margin", "log_variance")
"""Of a literal: how likely it holds, its margin on a logarithmic scale, and that one's variance."""
KNEE = 0.005
"""[m] the margin up to which the logarithmic scale is linear: the tolerances of contact."""
KNEE_ANGLE = 0.025
"""[rad] the same for angles."""


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes of the network."""

    members: int = 5
    width: int = 64
    hidden_features: float = 0.12
    """Share of the views of measures that a member does not see."""

    def __post_init__(self) -> None:
        if self.members < 1 or self.width < 1 or not 0 <= self.hidden_features < 1:
            raise EmbodiedError(f"A reward network needs members, width and features, got {self}.")


class RelationNetwork(nn.Module):
    """Two shared layers, P outputs of three numbers each, and what calibrates them."""

    temperature: Tensor
    """`[P]` logits are divided by."""
    seen: Tensor
    """`[E F]` 1 where a member sees a feature."""
    centre: Tensor
    """`[P F]` mean of a predicate's features in training."""
    whitening: Tensor
    """`[P F F]` turns features into independent ones of variance 1."""
    limit: Tensor
    """`[P]` of the squared length of whitened features, beyond which they are unlike those of training."""

    def __init__(self, config: NetworkConfig = NetworkConfig(), seed: int = 0) -> None:
        """Weights and hidden features come from `seed` alone."""
        super().__init__()
        self.config = config
        chance = torch.Generator().manual_seed(seed)
        members, inputs, width, predicates = config.members, len(FEATURES), config.width, len(NAMES)

        def drawn(*shape: int, fan_in: int, gain: float = 2.0) -> nn.Parameter:
            return nn.Parameter(math.sqrt(gain / fan_in) * torch.randn(*shape, generator=chance))

        self.first = drawn(members, inputs, width, fan_in=inputs)
        self.bias = drawn(members, predicates, width, fan_in=width, gain=0.5)
        self.second = drawn(members, width, width, fan_in=width)
        self.second_bias = nn.Parameter(torch.zeros(members, 1, width))
        self.heads = drawn(members, predicates, width, len(OUTPUTS), fan_in=width, gain=0.1)
        self.head_bias = nn.Parameter(torch.zeros(members, predicates, len(OUTPUTS)))
        seen = (torch.rand(members, inputs, generator=chance) >= config.hidden_features).float()
        seen[:, -len(CONTEXT) :] = 1.0
        self.register_buffer("seen", seen)
        self.register_buffer("temperature", torch.ones(predicates))
        self.register_buffer("centre", torch.zeros(predicates, inputs))
        self.register_buffer("whitening", torch.zeros(predicates, inputs, inputs))
        self.register_buffer("limit", torch.full((predicates,), math.inf))

    def forward(self, features: Float[Tensor, "E N F"], predicate: Int[Tensor, "E N"]) -> Float[Tensor, "E N 3"]:
        """`OUTPUTS` of plain, not negated, literals; logits are not tempered yet."""
        member = torch.arange(len(features), device=features.device)[:, None]
        h = torch.relu(torch.bmm(features, self.seen[..., None] * self.first) + self.bias[member, predicate])
        h = torch.relu(torch.baddbmm(self.second_bias, h, self.second))
        return (h[..., None, :] @ self.heads[member, predicate])[..., 0, :] + self.head_bias[member, predicate]


def knee(literal: Literal) -> float:
    """[m or rad] where the scale of a literal's margin bends."""
    return KNEE_ANGLE if literal.meaning.unit == "rad" else KNEE
