"""What the learner minimises, and its gradients by autograd: for GPUs, and as the obvious twin of `fused`."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from embodied.agents.networks import Stack, actor_forward, critic_forward
from embodied.agents.together import Alone, Over, imitated


@dataclass(frozen=True)
class LearnerConfig:
    """What the learner can be told; the defaults are the measured recipe for tabletop tasks of 50 steps at 10 Hz."""

    width: int = 128
    """Units of each of the two hidden layers; 256 cost 3-4 times the CPU and learned no better."""
    learning_rate: float = 1e-3
    discount: float = 0.97
    target_rate: float = 0.01
    """Share of the online critics mixed into the target critics at each update."""
    policy_delay: int = 2
    """Critic updates per actor update."""
    target_noise: float = 0.15
    target_noise_clip: float = 0.3
    value_low: float = -33.3
    """Bellman targets are clipped to `[value_low, value_high]`: -1 per step for ever is -1 / (1 - discount)."""
    value_high: float = 0.0
    q_ramp: int = 2000
    """Updates over which the Q term of the actor loss grows to 1: an untrained critic destroys a cloned actor."""
    average_rate: float = 0.003
    """Share of the newest actor in the average that acts: single updates of an actor that places to the millimetre
    make its success jump by tens of percent."""
    clone_weight: float = 2.0
    """Of the cloning term beside the Q term. A weight that fell over training let success fall back late."""
    squash_penalty: float = 1e-3
    """Weight of the squared actions before tanh, which keeps tanh out of saturation."""
    device: str = "cpu"
    """`cpu`, `cuda` or `auto`."""
    bfloat16: bool = False
    """Autocast forward passes to bf16; pays on a GPU, costs on a CPU."""
    compile: bool = False
    """Compile the losses; pays on a GPU, costs on a CPU."""


class Losses(Protocol):
    """The learner's three losses; each call leaves its gradient in the `gradient` of the stack it is about."""

    def target(
        self, actor: Stack, targets: Stack, next_state: Tensor, noise: Tensor, reward: Tensor, discount: Tensor
    ) -> Tensor:
        """Bellman targets `[B]` from the smaller of two target values at the noisy action of the online actor."""
        ...

    def critic(self, critics: Stack, state: Tensor, action: Tensor, target: Tensor) -> Tensor:
        """Sum over critics of the mean squared error, a scalar."""
        ...

    def actor(
        self, actor: Stack, critics: Stack, state: Tensor, label: Tensor, clone: Tensor, ramp: float, weight: float
    ) -> Tensor:
        """`[3]`: -ramp Q / (mean |Q| + 1) + weight x cloning error + penalty; mean Q; cloning error."""
        ...

    def clone(self, actor: Stack, state: Tensor, label: Tensor, clone: Tensor) -> Tensor:
        """Mean over rows to imitate of the squared distance to the demonstrator's action, a scalar."""
        ...


def by_autograd(config: LearnerConfig, device: torch.device) -> bool:
    """Whether autograd is the better choice: on a GPU, where compilation fuses what `fused` does by hand."""
    return device.type != "cpu" or config.bfloat16 or config.compile


class AutogradLosses:
    """See `Losses`."""

    def __init__(self, config: LearnerConfig, over: Over | None = None) -> None:
        self.config, self._over = config, over or Alone()
        maybe = torch.compile if config.compile else _as_is
        self._critic_loss, self._actor_loss = maybe(self._critic), maybe(self._actor)

    def target(
        self, actor: Stack, targets: Stack, next_state: Tensor, noise: Tensor, reward: Tensor, discount: Tensor
    ) -> Tensor:
        """See `Losses`."""
        with torch.no_grad(), self._precision(reward):
            action = (torch.tanh(actor_forward(actor, next_state)) + noise).clamp_(-1.0, 1.0)
            value = critic_forward(targets, next_state, action).amin(dim=0)
        target = reward + self.config.discount * discount * value
        return target.clamp_(self.config.value_low, self.config.value_high)

    def critic(self, critics: Stack, state: Tensor, action: Tensor, target: Tensor) -> Tensor:
        """See `Losses`."""
        with self._precision(state):
            loss = self._critic_loss(critics, state, action, target)
        return _descend(critics, loss)

    def actor(
        self, actor: Stack, critics: Stack, state: Tensor, label: Tensor, clone: Tensor, ramp: float, weight: float
    ) -> Tensor:
        """See `Losses`."""
        scales = torch.tensor([ramp, weight]).to(state.device, non_blocking=True)
        share = imitated(clone, self._over)
        scales[1] *= share
        with self._precision(state):
            loss, value, error = self._actor_loss(actor, critics, state, label, clone, scales)
        return torch.stack([_descend(actor, loss), value, share * error])

    def clone(self, actor: Stack, state: Tensor, label: Tensor, clone: Tensor) -> Tensor:
        """See `Losses`."""
        with self._precision(state):
            error = _cloning_error(torch.tanh(actor_forward(actor, state)), label, clone)
            loss = imitated(clone, self._over) * error
        return _descend(actor, loss)

    def _critic(self, critics: Stack, state: Tensor, action: Tensor, target: Tensor) -> Tensor:
        return ((critic_forward(critics, state, action) - target) ** 2).mean(dim=1).sum()

    def _actor(
        self, actor: Stack, critics: Stack, state: Tensor, label: Tensor, clone: Tensor, scales: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        raw = actor_forward(actor, state)
        action = torch.tanh(raw)
        value = critic_forward(critics, state, action, slice(0, 1))[0]
        normaliser = self._over.mean(value.detach().abs().mean()) + 1.0
        error = _cloning_error(action, label, clone)
        penalty = self.config.squash_penalty * (raw**2).mean()
        loss = -scales[0] * value.mean() / normaliser + scales[1] * error + penalty
        return loss, value.detach().mean(), error.detach()

    def _precision(self, like: Tensor) -> torch.autocast:
        return torch.autocast(like.device.type, dtype=torch.bfloat16, enabled=self.config.bfloat16)


def _as_is[F](function: F) -> F:
    return function


def _descend(stack: Stack, loss: Tensor) -> Tensor:
    stack.gradient.zero_()
    parameters = [*stack.weights, *stack.biases]
    loss.backward(inputs=parameters)
    return loss.detach()


def _cloning_error(action: Tensor, label: Tensor, clone: Tensor) -> Tensor:
    errors = ((action - label) ** 2).sum(dim=1)
    return (errors * clone).sum() / clone.sum().clamp(min=1.0)
