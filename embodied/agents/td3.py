"""Twin delayed deterministic policy gradient (TD3) with demonstrations, kept free of host synchronisation.

Sources: Fujimoto et al. 2018 (TD3); Nair et al. 2018 (behaviour cloning beside the Q term); Ball et al. 2023 (layer
norm in critics, demonstrations in every batch). The target action comes from the online actor: with a policy delay of
two a target actor changed nothing and cost a pass.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from embodied.agents.batch import Batch
from embodied.agents.networks import Stack, actor_forward, critic_forward
from envs.errors import EmbodiedError
from envs.types import Array


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
    clone_weight: float = 2.0
    clone_half_life: int = 4000
    """Updates in which the weight of the cloning term halves."""
    clone_floor: float = 0.1
    squash_penalty: float = 1e-3
    """Weight of the squared actions before tanh, which keeps tanh out of saturation."""
    device: str = "cpu"
    """`cpu`, `cuda` or `auto`."""
    bfloat16: bool = False
    """Autocast forward passes to bf16; pays on a GPU, costs on a CPU."""
    compile: bool = False
    """Compile the losses; pays on a GPU, costs on a CPU."""


class Learner:
    """Actor, critics, their optimisers and the update."""

    def __init__(self, state_size: int, action_size: int, config: LearnerConfig, seed: int) -> None:
        """Networks for inputs `[B state_size]` and actions `[B action_size]` in -1..1."""
        self.config = config
        self.sizes = (state_size, action_size)
        self.device = resolve_device(config.device)
        self._noise = torch.Generator(device=self.device).manual_seed(seed)
        initial = torch.Generator().manual_seed(seed + 1)
        hidden = (config.width, config.width)
        self.actor = Stack.create(1, (state_size, *hidden, action_size), initial, self.device)
        self.critics = Stack.create(2, (state_size + action_size, *hidden, 1), initial, self.device)
        self.targets = self.critics.frozen_copy()
        self._actor_optimiser = _adam(self.actor, config.learning_rate)
        self._critic_optimiser = _adam(self.critics, config.learning_rate)
        self.updates = 0
        self._losses = torch.zeros(4, device=self.device)
        self._critic_step = torch.compile(self._critic_loss) if config.compile else self._critic_loss
        self._actor_step = torch.compile(self._actor_loss) if config.compile else self._actor_loss

    def act(self, state: Array) -> Array:
        """Deterministic actions `[B A]` in -1..1 for inputs `[B S]` (numpy)."""
        with torch.no_grad():
            tensor = torch.from_numpy(np.ascontiguousarray(state, dtype=np.float32)).to(self.device)
            return torch.tanh(actor_forward(self.actor, tensor)).cpu().numpy()

    def update(self, batch: Batch) -> None:
        """One critic step, the moving average of the targets and, every `policy_delay`-th time, one actor step."""
        state, next_state, action, label, reward, discount, clone = self._unpack(batch)
        with self._precision():
            critic_loss = self._critic_step(state, next_state, action, reward, discount)
        self._descend(self._critic_optimiser, critic_loss)
        self._losses[0] = critic_loss.detach()
        self.updates += 1
        if self.updates % self.config.policy_delay == 0:
            ramp = min(1.0, self.updates / self.config.q_ramp) if self.config.q_ramp else 1.0
            weight = self.config.clone_weight * 0.5 ** (self.updates / self.config.clone_half_life)
            scales = torch.tensor([ramp, max(weight, self.config.clone_floor)]).to(self.device, non_blocking=True)
            with self._precision():
                actor_loss, value, clone_loss = self._actor_step(state, label, clone, scales)
            self._descend(self._actor_optimiser, actor_loss)
            self._losses[1:] = torch.stack([actor_loss.detach(), value, clone_loss])
        with torch.no_grad():
            torch._foreach_lerp_(self.targets.parameters, self.critics.parameters, self.config.target_rate)

    def clone(self, batch: Batch) -> None:
        """One step of behaviour cloning on the rows to imitate, for the time before the critic knows anything."""
        state, _, _, label, _, _, clone = self._unpack(batch)
        with self._precision():
            squashed = torch.tanh(actor_forward(self.actor, state))
            loss = _clone_loss(squashed, label, clone)
        self._descend(self._actor_optimiser, loss)
        self._losses[3] = loss.detach()

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

    def _critic_loss(
        self, state: Tensor, next_state: Tensor, action: Tensor, reward: Tensor, discount: Tensor
    ) -> Tensor:
        config = self.config
        with torch.no_grad():
            noise = torch.randn(action.shape, generator=self._noise, device=self.device) * config.target_noise
            noise = noise.clamp_(-config.target_noise_clip, config.target_noise_clip)
            next_action = (torch.tanh(actor_forward(self.actor, next_state)) + noise).clamp_(-1.0, 1.0)
            next_value = critic_forward(self.targets, next_state, next_action).amin(dim=0)
            target = reward + config.discount * discount * next_value
            target = target.clamp_(config.value_low, config.value_high)
        values = critic_forward(self.critics, state, action)
        return ((values - target) ** 2).mean(dim=1).sum()

    def _actor_loss(self, state: Tensor, label: Tensor, clone: Tensor, scales: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        raw = actor_forward(self.actor, state)
        action = torch.tanh(raw)
        value = critic_forward(self.critics.member(0), state, action)[0]
        normaliser = value.detach().abs().mean() + 1.0
        clone_loss = _clone_loss(action, label, clone)
        penalty = self.config.squash_penalty * (raw**2).mean()
        loss = -scales[0] * value.mean() / normaliser + scales[1] * clone_loss + penalty
        return loss, value.detach().mean(), clone_loss.detach()

    def _unpack(self, batch: Batch) -> tuple[Tensor, ...]:
        packed = torch.from_numpy(batch.pack())
        if self.device.type == "cuda":
            packed = packed.pin_memory().to(self.device, non_blocking=True)
        states, actions = self.sizes
        state, next_state, action, label, rest = torch.split(packed, [states, states, actions, actions, 3], dim=1)
        return state, next_state, action, label, rest[:, 0], rest[:, 1], rest[:, 2]

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.config.bfloat16)

    @staticmethod
    def _descend(optimiser: torch.optim.Adam, loss: Tensor) -> None:
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    def _groups(self) -> Mapping[str, list[Tensor]]:
        """Every tensor that decides the next update, by name."""
        groups = {"actor": self.actor.parameters, "critics": self.critics.parameters}
        groups["targets"] = self.targets.parameters
        for name, optimiser in (("actor_adam", self._actor_optimiser), ("critics_adam", self._critic_optimiser)):
            owned = optimiser.param_groups[0]["params"]
            for moment in ("step", "exp_avg", "exp_avg_sq"):
                groups[f"{name}_{moment}"] = [optimiser.state[parameter][moment] for parameter in owned]
        return groups

    def state_dict(self) -> dict[str, Array]:
        """All that decides the next update, as numpy arrays by name."""
        arrays = {
            f"{group}.{i}": tensor.detach().cpu().numpy().copy()
            for group, tensors in self._groups().items()
            for i, tensor in enumerate(tensors)
        }
        arrays["noise"] = self._noise.get_state().numpy().copy()
        arrays["updates"] = np.array(self.updates)
        arrays["losses"] = self._losses.cpu().numpy().copy()
        return arrays

    def load_state_dict(self, arrays: Mapping[str, Array]) -> None:
        """Continue where `state_dict` was taken. Raises `EmbodiedError` for arrays of another network."""
        with torch.no_grad():
            for group, tensors in self._groups().items():
                for i, tensor in enumerate(tensors):
                    name = f"{group}.{i}"
                    if name not in arrays or tuple(arrays[name].shape) != tuple(tensor.shape):
                        given = tuple(arrays[name].shape) if name in arrays else "nothing"
                        raise EmbodiedError(
                            f"The saved policy has {given} for {name}; this configuration needs {tuple(tensor.shape)}."
                        )
                    tensor.copy_(torch.from_numpy(np.asarray(arrays[name])))
            self._losses.copy_(torch.from_numpy(np.asarray(arrays["losses"])))
        self._noise.set_state(torch.from_numpy(np.array(arrays["noise"])))
        self.updates = int(arrays["updates"])


def resolve_device(name: str) -> torch.device:
    """The torch device of `cpu`, `cuda` or `auto`; raises `EmbodiedError` where there is no such device."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name not in ("cpu", "cuda"):
        raise EmbodiedError(f"Unknown device {name!r}. Allowed: auto, cpu, cuda.")
    if name == "cuda" and not torch.cuda.is_available():
        raise EmbodiedError("device=cuda was asked for, but torch sees no GPU; use device=auto or device=cpu.")
    return torch.device(name)


def _clone_loss(action: Tensor, label: Tensor, clone: Tensor) -> Tensor:
    errors = ((action - label) ** 2).sum(dim=1)
    return (errors * clone).sum() / clone.sum().clamp(min=1.0)


def _adam(stack: Stack, learning_rate: float) -> torch.optim.Adam:
    """Fused Adam with its moments made beforehand, so that saving and loading need no first step."""
    optimiser = torch.optim.Adam(stack.parameters, lr=learning_rate, fused=True)
    for parameter in stack.parameters:
        optimiser.state[parameter] = {
            "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
            "exp_avg": torch.zeros_like(parameter),
            "exp_avg_sq": torch.zeros_like(parameter),
        }
    return optimiser
