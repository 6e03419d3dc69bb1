"""Policies that need no planning: a trained actor and the random baseline."""

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Protocol

import numpy as np

from envs.errors import EmbodiedError
from envs.features import policy_input
from envs.goals import Goal
from envs.types import ActionSpec, Array, Observation


class Actor(Protocol):
    """Anything that turns network inputs into actions."""

    def act(self, state: Array) -> Array:
        """Actions `[B A]` in -1..1 for inputs `[B S]`."""
        ...


class ActorPolicy:
    """A trained actor behind the `Policy` contract; it takes its subject and goal point from the goal it is given."""

    def __init__(self, actor: Actor, distractors: tuple[str, ...] = ()) -> None:
        """`distractors` are the other objects the actor was trained to see."""
        self.actor, self.distractors = actor, distractors

    def reset(self) -> None:
        """Nothing to forget: the actor has no memory."""

    def act(self, observation: Observation, goal: Goal) -> Array:
        """Actions `[*B A]`. Raises `EmbodiedError` where the actor's output is not finite."""
        state = policy_input(observation, goal, self.distractors)
        action = self.actor.act(state.reshape(-1, state.shape[-1])).reshape(*state.shape[:-1], -1)
        if not np.isfinite(action).all():
            raise EmbodiedError("The policy's action is not finite: its weights or the observation contain NaN.")
        return action


class RandomPolicy:
    """Uniform actions within the bounds: the baseline every success rate is compared with."""

    def __init__(self, spec: ActionSpec, rng: np.random.Generator) -> None:
        self.spec, self._rng = spec, rng

    def reset(self) -> None:
        """Nothing to forget; the random stream goes on."""

    def act(self, observation: Observation, goal: Goal) -> Array:
        """Actions `[*B A]`."""
        return self._rng.uniform(self.spec.low, self.spec.high, (*observation.objects.shape, self.spec.size))


class NumpyActor:
    """A saved actor without torch: two hidden ReLU layers and tanh, read from `Learner.state_dict`."""

    def __init__(self, arrays: Mapping[str, Any]) -> None:
        """Raises `EmbodiedError` where the arrays are not an actor's."""
        if "average" not in arrays or "actor_sizes" not in arrays:
            raise EmbodiedError("The checkpoint holds no actor; train a policy first.")
        sizes = [int(size) for size in arrays["actor_sizes"]]
        shapes = [*pairwise(sizes), *((size,) for size in sizes[1:])]
        edges = np.cumsum([0, *(math.prod(shape) for shape in shapes)])
        flat = np.asarray(arrays["average"])
        parts = [flat[a:b].reshape(shape) for a, b, shape in zip(edges[:-1], edges[1:], shapes, strict=True)]
        self.weights, self.biases = parts[: len(sizes) - 1], parts[len(sizes) - 1 :]

    def act(self, state: Array) -> Array:
        """Actions `[B A]` in -1..1 for inputs `[B S]`."""
        if state.shape[-1] != self.weights[0].shape[0]:
            raise EmbodiedError(
                f"The saved actor reads {self.weights[0].shape[0]} numbers, this scene gives {state.shape[-1]}; "
                "were there more or fewer objects in training?"
            )
        hidden = np.asarray(state, dtype=np.float32)
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            hidden = np.maximum(hidden @ weight + bias, 0.0)
        return np.tanh(hidden @ self.weights[-1] + self.biases[-1])
