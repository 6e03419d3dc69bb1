"""The learner's losses and gradients written out for CPUs: matrix products into fixed buffers, and compiled kernels.

Nothing is allocated per update but the noise, and one critic is finished before the other is begun, so that its arrays
are still in the second cache on the way back. Sizes are of a batch of 256 rows and 128 units: dispatch and traffic cost
more than the products' arithmetic there. `AutogradLosses` is the slow, obvious twin.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from embodied.agents import kernels
from embodied.agents.losses import LearnerConfig
from embodied.agents.networks import Stack
from embodied.agents.together import Alone, Over, imitated
from envs.types import Array


@dataclass(frozen=True)
class _Layer:
    """Buffers of one hidden layer of one network for B rows, as tensors and as the arrays that share their memory."""

    normal: Tensor
    """`[B W]` after the norm, before ReLU."""
    hidden: Tensor
    """`[B W]` after ReLU."""
    back: Tensor
    """`[B W]` slope."""
    scale: Array
    """`[B]` one over the deviation."""
    normal_array: Array
    hidden_array: Array
    back_array: Array

    @classmethod
    def of(cls, rows: int, width: int) -> "_Layer":
        normal, hidden, back = (torch.empty(rows, width) for _ in range(3))
        arrays = (normal.numpy(), hidden.numpy(), back.numpy())
        return cls(normal, hidden, back, np.empty(rows, np.float32), *arrays)


class _Space:
    """Buffers for batches of one size."""

    def __init__(self, rows: int, states: int, actions: int, width: int) -> None:
        self.critic, self.actor = ([_Layer.of(rows, width) for _ in range(2)] for _ in range(2))
        self.inputs = torch.empty(rows, states + actions)
        self.values = torch.empty(2, rows, 1)
        self.target = torch.empty(rows)
        self.slope = torch.empty(rows, 1)
        self.raw, self.action, self.in_action = (torch.empty(rows, actions) for _ in range(3))
        self.unused = np.empty(width, np.float32)


class FusedLosses:
    """See `Losses`."""

    def __init__(self, config: LearnerConfig, states: int, actions: int, over: Over | None = None) -> None:
        self.config, self._over = config, over or Alone()
        self._sizes = (states, actions, config.width)
        self._spaces: dict[int, _Space] = {}

    def target(
        self, actor: Stack, targets: Stack, next_state: Tensor, noise: Tensor, reward: Tensor, discount: Tensor
    ) -> Tensor:
        """See `Losses`; the result is overwritten by the next call."""
        config, space = self.config, self._buffers(len(reward))
        self._actor(space, actor, next_state)
        kernels.disturb(space.action.numpy(), noise.numpy())
        torch.cat([next_state, space.action], dim=1, out=space.inputs)
        for member in range(targets.members):
            self._critic(space, targets, member)
        values = space.values[:, :, 0].numpy()
        bounds = (config.discount, config.value_low, config.value_high)
        kernels.bellman(values, reward.numpy(), discount.numpy(), *bounds, space.target.numpy())
        return space.target

    def critic(self, critics: Stack, state: Tensor, action: Tensor, target: Tensor) -> Tensor:
        """See `Losses`."""
        space = self._buffers(len(target))
        torch.cat([state, action], dim=1, out=space.inputs)
        total = 0.0
        for member in range(critics.members):
            self._critic(space, critics, member)
            value = space.values[member]
            total += kernels.squared_error(value[:, 0].numpy(), target.numpy(), space.slope[:, 0].numpy())
            self._critic_back(space, critics, member, into=True)
        return torch.tensor(total)

    def actor(
        self, actor: Stack, critics: Stack, state: Tensor, label: Tensor, clone: Tensor, ramp: float, weight: float
    ) -> Tensor:
        """See `Losses`."""
        space = self._buffers(len(clone))
        self._actor(space, actor, state)
        torch.cat([state, space.action], dim=1, out=space.inputs)
        self._critic(space, critics, 0)
        value = space.values[0]
        mean, normaliser = float(value.mean()), float(self._over.mean(value.abs().mean())) + 1.0
        share = float(imitated(clone, self._over))
        space.slope.fill_(-ramp / (len(clone) * normaliser))
        self._critic_back(space, critics, 0, into=False)
        weights = critics.plain_weights[0][0, state.shape[1] :]
        torch.mm(space.critic[0].back, weights.T, out=space.in_action)
        penalty = self.config.squash_penalty
        error, squares = self._actor_back(space, actor, state, label, clone, weight * share, penalty)
        error *= share
        loss = -ramp * mean / normaliser + weight * error + penalty * squares
        return torch.tensor([loss, mean, error])

    def clone(self, actor: Stack, state: Tensor, label: Tensor, clone: Tensor) -> Tensor:
        """See `Losses`."""
        space = self._buffers(len(clone))
        self._actor(space, actor, state)
        space.in_action.zero_()
        share = float(imitated(clone, self._over))
        return torch.tensor(share * self._actor_back(space, actor, state, label, clone, share, 0.0)[0])

    def _buffers(self, rows: int) -> _Space:
        if rows not in self._spaces:
            self._spaces[rows] = _Space(rows, *self._sizes)
        return self._spaces[rows]

    def _critic(self, space: _Space, critics: Stack, member: int) -> None:
        """Values of one member for `space.inputs`."""
        below = space.inputs
        *hidden, last = range(len(critics.plain_weights))
        for layer in hidden:
            at = space.critic[layer]
            torch.mm(below, critics.plain_weights[layer][member], out=at.normal)
            bias = critics.plain_biases[layer][member, 0].numpy()
            kernels.norm_relu(at.normal_array, bias, at.scale, at.hidden_array)
            below = at.hidden
        weight, bias_last = critics.plain_weights[last][member], critics.plain_biases[last][member]
        torch.addmm(bias_last, below, weight, out=space.values[member])

    def _critic_back(self, space: _Space, critics: Stack, member: int, into: bool) -> None:
        """From `space.slope` in the values to that in the first layer's output; `into` the parameters' gradients."""
        *hidden, last = range(len(critics.plain_weights))
        if into:
            torch.mm(space.critic[-1].hidden.T, space.slope, out=critics.weight_slopes[last][member])
            torch.sum(space.slope, dim=0, keepdim=True, out=critics.bias_slopes[last][member])
        torch.mm(space.slope, critics.plain_weights[last][member].T, out=space.critic[-1].back)
        for layer in reversed(hidden):
            at = space.critic[layer]
            sums = critics.bias_slopes[layer][member, 0].numpy() if into else space.unused
            kernels.norm_relu_back(at.back_array, at.normal_array, at.scale, sums)
            if into:
                below = space.critic[layer - 1].hidden if layer else space.inputs
                torch.mm(below.T, at.back, out=critics.weight_slopes[layer][member])
            if layer:
                torch.mm(at.back, critics.plain_weights[layer][member].T, out=space.critic[layer - 1].back)

    def _actor(self, space: _Space, actor: Stack, state: Tensor) -> None:
        """`space.raw` and `space.action`, before and after tanh."""
        below = state
        for at, weight, bias in zip(space.actor, actor.plain_weights[:-1], actor.plain_biases[:-1], strict=True):
            torch.addmm(bias[0], below, weight[0], out=at.hidden)
            below = at.hidden.relu_()
        torch.addmm(actor.plain_biases[-1][0], below, actor.plain_weights[-1][0], out=space.raw)
        torch.tanh(space.raw, out=space.action)

    def _actor_back(
        self, space: _Space, actor: Stack, state: Tensor, label: Tensor, clone: Tensor, weight: float, penalty: float
    ) -> tuple[float, float]:
        """From `space.in_action`, the loss's slope in the actions, to the gradient; see `kernels.actor_slope`."""
        *hidden, last = range(len(actor.plain_weights))
        back, sums = space.in_action, actor.bias_slopes[last][0, 0].numpy()
        error, squares = kernels.actor_slope(
            space.raw.numpy(),
            space.action.numpy(),
            label.numpy(),
            clone.numpy(),
            weight,
            penalty,
            back.numpy(),
            sums,
        )
        for layer in (last, *reversed(hidden)):
            below = space.actor[layer - 1].hidden if layer else state
            torch.mm(below.T, back, out=actor.weight_slopes[layer][0])
            if layer:
                at = space.actor[layer - 1]
                torch.mm(back, actor.plain_weights[layer][0].T, out=at.back)
                kernels.relu_back(at.back_array, at.hidden_array, actor.bias_slopes[layer - 1][0, 0].numpy())
                back = at.back
        return error, squares
