"""A policy of action chunks: from one look, H actions, played out before the next look (Zhao et al. 2023, ACT).

Its mean is the actor of the other learners with H times as many outputs; around it every number has the same normal
spread, so that densities are exact. Chunks that act are the mean; those that explore are drawn.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from embodied.agents.networks import Stack, actor_forward
from embodied.agents.policies import Actor
from embodied.agents.staleness import Correction, coefficients, effective_share
from embodied.agents.td3 import Adam
from envs.errors import EmbodiedError
from envs.features import policy_input
from envs.goals import Goal
from envs.types import Array, Observation


class ChunkActor:
    """The mean's network, its gradient step by imitation and by policy gradient."""

    def __init__(
        self, state_size: int, action_size: int, length: int, width: int, learning_rate: float, spread: float, seed: int
    ) -> None:
        """`length` is H; `spread` the standard deviation of every number of a chunk."""
        self.length, self.spread = length, spread
        self.mean = Stack(1, (state_size, width, width, length * action_size), torch.device("cpu"))
        self.mean.randomise(torch.Generator().manual_seed(seed))
        self._adam = Adam(self.mean, learning_rate)

    def act(self, state: Array) -> Array:
        """Means `[B HA]` in -1..1 for inputs `[B S]`."""
        return self.means(self.mean, state)

    @staticmethod
    def means(stack: Stack, state: Array) -> Array:
        """The same of any actor, such as an older one."""
        with torch.no_grad():
            return torch.tanh(actor_forward(stack, torch.from_numpy(np.asarray(state, np.float32)))).numpy()

    def log_density(self, mean: Tensor, chunk: Tensor) -> Tensor:
        """`[B H]` of chunks `[B HA]`, summed over the numbers of a step, without the constant."""
        off = (chunk - mean) / self.spread
        return -0.5 * (off**2).view(len(chunk), self.length, -1).sum(dim=-1)

    def clone(self, state: Array, chunk: Array) -> float:
        """One step towards demonstrated chunks `[B HA]` in states `[B S]`; the mean squared error."""
        error = ((self._mean_of(state) - _tensor(chunk)) ** 2).mean()
        return self._descend(error)

    def update(
        self,
        state: Array,
        chunk: Array,
        old_log_density: Array,
        advantage: Array,
        correction: Correction,
        exponent: float,
    ) -> tuple[float, float]:
        """One step up the policy gradient of rows `[B ...]`; its loss, and the effective share of the weights.

        `old_log_density` `[B H]` is that of the actor that drew the chunks.
        """
        log_density = self.log_density(self._mean_of(state), _tensor(chunk))
        gain = _tensor(advantage)
        weight = coefficients(log_density.detach() - _tensor(old_log_density), gain, correction, exponent)
        loss = -(weight * gain[:, None] * log_density).mean()
        return self._descend(loss), float(effective_share(weight))

    def _mean_of(self, state: Array) -> Tensor:
        return torch.tanh(actor_forward(self.mean, _tensor(state)))

    def _descend(self, loss: Tensor) -> float:
        value = float(loss.detach())
        if not math.isfinite(value):
            raise EmbodiedError(f"The chunk actor's loss became {value}; try a smaller agent.learning_rate.")
        self.mean.gradient.zero_()
        loss.backward(inputs=[*self.mean.weights, *self.mean.biases])
        self._adam.step()
        return value

    def state_dict(self) -> dict[str, Any]:
        """All that decides the next step, with the names that `NumpyActor` reads."""
        moments = {"mean": self._adam.mean, "square": self._adam.square, "average": self.mean.flat}
        arrays: dict[str, Any] = {name: tensor.numpy().copy() for name, tensor in moments.items()}
        return arrays | {"count": self._adam.count, "actor_sizes": list(self.mean.sizes)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state_dict` was taken. Raises `EmbodiedError` for another network."""
        if tuple(state["actor_sizes"]) != self.mean.sizes:
            raise EmbodiedError(f"The saved chunk actor has layers of {state['actor_sizes']}, not {self.mean.sizes}.")
        for name, tensor in (("mean", self._adam.mean), ("square", self._adam.square), ("average", self.mean.flat)):
            tensor.copy_(_tensor(state[name]))
        self._adam.count = int(state["count"])


class ChunkPolicy:
    """An actor of chunks behind the `Policy` contract; it looks again when a chunk is over."""

    def __init__(self, actor: Actor, length: int, distractors: tuple[str, ...] = ()) -> None:
        """`actor` gives `[B HA]`, H being `length`."""
        self.actor, self.length, self.distractors = actor, length, distractors
        self._chunk: Array | None = None
        self._played = 0

    def reset(self) -> None:
        """Forget the rest of the chunk."""
        self._chunk = None

    def act(self, observation: Observation, goal: Goal) -> Array:
        """The next actions `[*B A]`. Raises `EmbodiedError` where they are not finite or `*B` changed midway."""
        lead = observation.proprioception.shape[:-1]
        if self._chunk is None or self._played == self.length:
            state = policy_input(observation, goal, self.distractors)
            chunk = self.actor.act(state.reshape(-1, state.shape[-1])).reshape(*lead, self.length, -1)
            if not np.isfinite(chunk).all():
                raise EmbodiedError("The policy's action is not finite: its weights or the observation contain NaN.")
            self._chunk, self._played = chunk, 0
        if self._chunk.shape[:-2] != lead:
            raise EmbodiedError(
                f"A chunk for {self._chunk.shape[:-2]} worlds is being played, got {lead}; reset first."
            )
        self._played += 1
        action: Array = self._chunk[..., self._played - 1, :]
        return action


def _tensor(array: Array) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
