"""Replay for goal-conditioned environments of others, which show plain vectors: Gymnasium's goal dictionary.

The rules are those of `embodied.data.replay`: hindsight goals from later in the same episode ("future", Andrychowicz et
al. 2017), rewards recomputed at sampling time. Where that one knows what its numbers mean and scales them by hand, this
one standardises them by what has been seen.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from embodied.agents.batch import Batch
from envs.errors import EmbodiedError
from envs.types import Array

Reached = Callable[[Array, Array], Array]
"""Whether goals `[B G]` achieved are those desired `[B G]`: `[B]` bool."""
_SMALLEST_DEVIATION = 0.01
"""In the environment's units: what hardly moved yet is not blown up."""
_FARTHEST = 5.0
"""Deviations; velocities of a rare bump are cut here."""


@dataclass(frozen=True)
class GoalObservation:
    """What N worlds show."""

    observation: Array
    """`[N O]`."""
    achieved: Array
    """`[N G]` where the task's subject is."""
    desired: Array
    """`[N G]` where it should be."""


class GoalReplay:
    """A ring of `capacity` episodes of `horizon` steps; transitions can be sampled as soon as they are there."""

    def __init__(
        self,
        capacity: int,
        horizon: int,
        example: GoalObservation,
        action_size: int,
        relabel: float,
        reached: Reached,
        moved: float = 0.0,
    ) -> None:
        """`relabel` is the share of samples whose goal is one achieved later in their episode.

        `moved` is the share drawn from episodes that came to a goal which was not achieved at their beginning, as long
        as there are any: hindsight teaches nothing about the others.
        """
        self.relabel, self.reached, self.moved = relabel, reached, moved
        sizes = (example.observation.shape[1], example.achieved.shape[1])
        self._observation = np.zeros((capacity, horizon + 1, sizes[0]), np.float32)
        self._achieved = np.zeros((capacity, horizon + 1, sizes[1]), np.float32)
        self._desired = np.zeros((capacity, sizes[1]), np.float32)
        self._action = np.zeros((capacity, horizon, action_size), np.float32)
        self._length = np.zeros(capacity, np.int64)
        self._has_moved = np.zeros(capacity, bool)
        self._next = 0
        self.state_size = sizes[0] + 2 * sizes[1]
        self._sum, self._square = np.zeros((2, self.state_size))
        self._count = 0

    def __len__(self) -> int:
        """Number of transitions."""
        return int(self._length.sum())

    def begin(self, seen: GoalObservation) -> Array:
        """Open a slot per world over the oldest; returns them `[N]`. Raises `EmbodiedError` for too many worlds."""
        count, capacity = len(seen.desired), len(self._length)
        if count > capacity:
            raise EmbodiedError(f"{count} worlds need a replay of at least {count} episodes; it has {capacity}.")
        slots = (self._next + np.arange(count)) % capacity
        self._next = int((self._next + count) % capacity)
        self._length[slots] = 0
        self._has_moved[slots] = False
        self._desired[slots] = seen.desired
        self._keep(slots, 0, seen)
        return slots

    def extend(self, slots: Array, action: Array, seen: GoalObservation) -> None:
        """Add one step to each slot `[N]`: the action `[N A]` and what followed it."""
        step = self._length[slots]
        if np.any(step >= self._action.shape[1]):
            raise EmbodiedError(f"An episode is longer than the replay's horizon of {self._action.shape[1]} steps.")
        self._action[slots, step] = action
        self._keep(slots, step + 1, seen)
        self._length[slots] = step + 1
        self._has_moved[slots] |= ~self.reached(seen.achieved, self._achieved[slots, 0])

    def sample(self, count: int, rng: np.random.Generator) -> Batch:
        """Transitions drawn at random, rewarded 0 where the goal is reached afterwards and -1 elsewhere."""
        slot, step = self._draw(count, rng)
        later = step + 1 + np.floor(rng.random(count) * (self._length[slot] - step)).astype(np.int64)
        relabelled = rng.random(count) < self.relabel
        desired = np.where(relabelled[:, None], self._achieved[slot, later], self._desired[slot])
        after, action = self._achieved[slot, step + 1], self._action[slot, step]
        return Batch(
            state=self._state(self._observation[slot, step], self._achieved[slot, step], desired),
            action=action,
            next_state=self._state(self._observation[slot, step + 1], after, desired),
            reward=self.reached(after, desired).astype(np.float32) - 1.0,
            discount=np.ones(count, np.float32),
            label=action,
            clone=np.zeros(count, np.float32),
        )

    def _draw(self, count: int, rng: np.random.Generator) -> tuple[Array, Array]:
        """Slots and steps `[count]`, uniform among transitions of all episodes and of those that have moved."""
        edges, moved = np.cumsum(self._length), np.cumsum(self._length * self._has_moved)
        if edges[-1] == 0:
            raise EmbodiedError("The replay holds no transitions yet.")
        chosen = (rng.random(count) < self.moved) & (moved[-1] > 0)
        flat = rng.integers(0, np.where(chosen, moved[-1], edges[-1]))
        slot = np.where(chosen, np.searchsorted(moved, flat, side="right"), np.searchsorted(edges, flat, side="right"))
        return slot, flat - np.where(chosen, moved[slot], edges[slot]) + self._length[slot]

    def ways(self, count: int, rng: np.random.Generator) -> Array:
        """How far whole episodes came that had moved at their ends `[count G]`; none `[0 G]` as long as none did."""
        moved = np.flatnonzero(self._has_moved & (self._length == self._action.shape[1]))
        moved = moved[~self.reached(self._achieved[moved, -1], self._achieved[moved, 0])]
        slot = moved[rng.integers(0, len(moved), count)] if len(moved) else moved
        return self._achieved[slot, -1] - self._achieved[slot, 0]

    def state(self, seen: GoalObservation) -> Array:
        """What the networks read `[N S]`: the observation, the goal and the way to it, standardised; float32."""
        return self._state(seen.observation, seen.achieved, seen.desired)

    def _state(self, observation: Array, achieved: Array, desired: Array) -> Array:
        raw = np.concatenate([observation, desired, desired - achieved], axis=1)
        mean = self._sum / max(1, self._count)
        variance = self._square / max(1, self._count) - mean**2
        deviation = np.sqrt(np.maximum(variance, _SMALLEST_DEVIATION**2))
        return np.clip((raw - mean) / deviation, -_FARTHEST, _FARTHEST).astype(np.float32)

    def _keep(self, slots: Array, step: Array | int, seen: GoalObservation) -> None:
        raw = np.concatenate([seen.observation, seen.desired, seen.desired - seen.achieved], axis=1, dtype=np.float64)
        if not np.isfinite(raw).all():
            world = int(np.argwhere(~np.isfinite(raw))[0, 0])
            raise EmbodiedError(f"The observation of world {world} is not finite; the replay refuses it.")
        self._observation[slots, step], self._achieved[slots, step] = seen.observation, seen.achieved
        self._sum += raw.sum(axis=0)
        self._square += (raw**2).sum(axis=0)
        self._count += len(raw)
