"""Twin delayed deterministic policy gradient (TD3) with demonstrations, kept free of host synchronisation.

Sources: Fujimoto et al. 2018 (TD3); Nair et al. 2018 (behaviour cloning beside the Q term); Ball et al. 2023 (layer
norm in critics, demonstrations in every batch). The target action comes from the online actor: with a policy delay of
two a target actor changed nothing and cost a pass.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from embodied.agents.batch import Batch
from embodied.agents.fused import FusedLosses
from embodied.agents.kernels import adam
from embodied.agents.losses import AutogradLosses, LearnerConfig, Losses, by_autograd
from embodied.agents.networks import Stack, actor_forward
from embodied.agents.together import Alone, Over
from embodied.machine import device_of
from envs.errors import EmbodiedError
from envs.types import Array

_ADAM_MEAN, _ADAM_SQUARE, _ADAM_EPSILON = 0.9, 0.999, 1e-8


CHECKED = 64
"""The last updates of which `Learner.diverged` knows."""


class Learner:
    """Actor, critics, their optimisers and the update."""

    def __init__(
        self, state_size: int, action_size: int, config: LearnerConfig, seed: int, over: Over | None = None
    ) -> None:
        """Networks for inputs `[B state_size]` and actions `[B action_size]` in -1..1; `over` shares the updates."""
        self.config, self._over = config, over or Alone()
        self.sizes = (state_size, action_size)
        self.device = torch.device(device_of(config.device))
        self._noise = torch.Generator(device=self.device).manual_seed(seed)
        initial = torch.Generator().manual_seed(seed + 1)
        hidden = (config.width, config.width)
        self.actor = Stack(1, (state_size, *hidden, action_size), self.device)
        self.critics = Stack(2, (state_size + action_size, *hidden, 1), self.device)
        self.actor.randomise(initial)
        self.critics.randomise(initial)
        self.targets = self.critics.copy()
        self.average = self.actor.copy()
        self._actor_adam = Adam(self.actor, config.learning_rate)
        self._critic_adam = Adam(self.critics, config.learning_rate)
        self.updates = 0
        self._losses = torch.zeros(4, device=self.device)
        self._recent = torch.zeros(CHECKED, device=self.device)
        slow = by_autograd(config, self.device)
        self._rule: Losses = (
            AutogradLosses(config, self._over) if slow else FusedLosses(config, state_size, action_size, self._over)
        )

    def act(self, state: Array, averaged: bool = True) -> Array:
        """Deterministic actions `[B A]` in -1..1 for inputs `[B S]` (numpy), of the averaged or the newest actor."""
        with torch.no_grad():
            tensor = torch.from_numpy(np.ascontiguousarray(state, dtype=np.float32)).to(self.device)
            return torch.tanh(actor_forward(self.average if averaged else self.actor, tensor)).cpu().numpy()

    def update(self, batch: Batch) -> None:
        """One critic step, the moving average of the targets and, every `policy_delay`-th time, one actor step."""
        config = self.config
        state, next_state, action, label, reward, discount, clone = self._unpack(batch)
        noise = torch.randn(action.shape, generator=self._noise, device=self.device) * config.target_noise
        noise = noise.clamp_(-config.target_noise_clip, config.target_noise_clip)
        # Noise is drawn for the whole batch, so that its rows have the same however many share them.
        state, next_state, action, label, reward, discount, clone, noise = (
            self._over.rows(part) for part in (state, next_state, action, label, reward, discount, clone, noise)
        )
        target = self._rule.target(self.actor, self.targets, next_state, noise, reward, discount)
        self._losses[0] = self._over.mean(self._rule.critic(self.critics, state, action, target))
        self._over.mean(self.critics.gradient)
        self._critic_adam.step()
        self._recent[self.updates % CHECKED] = self._losses[0]
        self.updates += 1
        if self.updates % config.policy_delay == 0:
            ramp = min(1.0, self.updates / config.q_ramp) if config.q_ramp else 1.0
            weight = config.clone_weight
            losses = self._rule.actor(self.actor, self.critics, state, label, clone, ramp, weight)
            self._losses[1:] = self._over.mean(losses)
            self._over.mean(self.actor.gradient)
            self._actor_adam.step()
            self._follow()
        self.targets.flat.lerp_(self.critics.flat, config.target_rate)

    def clone(self, batch: Batch) -> None:
        """One step of behaviour cloning on the rows to imitate, for the time before the critic knows anything."""
        state, _, _, label, _, _, clone = (self._over.rows(part) for part in self._unpack(batch))
        self._losses[3] = self._over.mean(self._rule.clone(self.actor, state, label, clone))
        self._over.mean(self.actor.gradient)
        self._actor_adam.step()
        self._follow()

    def _follow(self) -> None:
        """Move the averaged actor; young averages move fast, so that the random start is forgotten."""
        rate = max(self.config.average_rate, 1.0 / (1.0 + 0.1 * self._actor_adam.count))
        self.average.flat.lerp_(self.actor.flat, rate)

    def diverged(self, updates: int) -> int | None:
        """Which of the last `updates`, counted from 0, was the first whose loss was not finite; waits for the device.

        Raises `EmbodiedError` for more than are remembered.
        """
        if not 0 <= updates <= CHECKED:
            raise EmbodiedError(f"The losses of the last {CHECKED} updates are remembered, not of {updates}.")
        places = (self.updates - updates + np.arange(updates)) % CHECKED
        broken = np.flatnonzero(~np.isfinite(self._recent.cpu().numpy()[places]))
        return int(broken[0]) if len(broken) else None

    def metrics(self) -> Mapping[str, float]:
        """The last losses; waits for the device. Raises `EmbodiedError` naming what is no longer finite."""
        values = dict(zip(("critic_loss", "actor_loss", "value", "clone_loss"), self._losses.tolist(), strict=True))
        for name, value in values.items():
            if not np.isfinite(value):
                raise EmbodiedError(
                    f"The policy learner's {name} became {value} at update {self.updates}; "
                    "nothing was saved since. Try a smaller agent.learning_rate."
                )
        return values

    def _unpack(self, batch: Batch) -> tuple[Tensor, ...]:
        if self.device.type == "cpu":
            order = (
                batch.state,
                batch.next_state,
                batch.action,
                batch.label,
                batch.reward,
                batch.discount,
                batch.clone,
            )
            return tuple(torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32)) for array in order)
        packed = torch.from_numpy(batch.pack()).pin_memory().to(self.device, non_blocking=True)
        states, actions = self.sizes
        columns = torch.split(packed, [states, states, actions, actions, 3], dim=1)
        return (*columns[:4], *columns[4].unbind(dim=1))

    def _tensors(self) -> Mapping[str, Tensor]:
        """Every tensor that decides the next update, by name."""
        tensors = {
            "actor": self.actor.flat,
            "critics": self.critics.flat,
            "targets": self.targets.flat,
            "average": self.average.flat,
        }
        for name, moments in (("actor", self._actor_adam), ("critics", self._critic_adam)):
            tensors |= {f"{name}_mean": moments.mean, f"{name}_square": moments.square}
        return tensors | {"losses": self._losses}

    def state_dict(self) -> dict[str, Any]:
        """All that decides the next update: numpy arrays and plain numbers."""
        state: dict[str, Any] = {name: tensor.cpu().numpy().copy() for name, tensor in self._tensors().items()}
        state |= {"noise": self._noise.get_state().numpy().copy(), "updates": self.updates}
        return state | {
            "actor_sizes": list(self.actor.sizes),
            "adam": [self._actor_adam.count, self._critic_adam.count],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state_dict` was taken. Raises `EmbodiedError` for the state of another network."""
        if tuple(state["actor_sizes"]) != self.actor.sizes:
            raise EmbodiedError(
                f"The saved policy has layers of {' '.join(map(str, state['actor_sizes']))}; "
                f"this configuration needs {' '.join(map(str, self.actor.sizes))}."
            )
        for name, tensor in self._tensors().items():
            tensor.copy_(torch.from_numpy(np.asarray(state[name])))
        self._noise.set_state(torch.from_numpy(np.array(state["noise"])))
        self.updates = int(state["updates"])
        self._actor_adam.count, self._critic_adam.count = (int(count) for count in state["adam"])


class Adam:
    """Adam (Kingma and Ba 2015) on one flat vector."""

    def __init__(self, stack: Stack, learning_rate: float) -> None:
        self.stack, self.learning_rate, self.count = stack, learning_rate, 0
        self.mean, self.square = torch.zeros_like(stack.flat), torch.zeros_like(stack.flat)

    def step(self) -> None:
        """Descend along `stack.gradient`."""
        self.count += 1
        rate = self.learning_rate / (1.0 - _ADAM_MEAN**self.count)
        correction = 1.0 - _ADAM_SQUARE**self.count
        flat, gradient = self.stack.flat, self.stack.gradient
        if flat.device.type == "cpu":
            arrays = (tensor.numpy() for tensor in (flat, gradient, self.mean, self.square))
            adam(*arrays, rate, _ADAM_MEAN, _ADAM_SQUARE, correction, _ADAM_EPSILON)
            return
        self.mean.lerp_(gradient, 1.0 - _ADAM_MEAN)
        self.square.mul_(_ADAM_SQUARE).addcmul_(gradient, gradient, value=1.0 - _ADAM_SQUARE)
        flat.addcdiv_(self.mean, (self.square / correction).sqrt_().add_(_ADAM_EPSILON), value=-rate)
