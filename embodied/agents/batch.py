"""What one update of a learner consumes, wherever it came from: experience, demonstrations, imagination."""

from dataclasses import dataclass, fields

import numpy as np

from envs.types import Array


@dataclass(frozen=True)
class Batch:
    """Transitions for one update; float32 arrays."""

    state: Array
    """`[B S]` observation and goal features."""
    action: Array
    """`[B A]` executed."""
    next_state: Array
    """`[B S]`."""
    reward: Array
    """`[B]`."""
    discount: Array
    """`[B]` 1 where the next state's value counts, 0 where the episode terminated."""
    label: Array
    """`[B A]` what the demonstrator wanted to do; anything where `clone` is 0."""
    clone: Array
    """`[B]` 1 for rows whose `label` the actor shall imitate."""

    def __add__(self, other: "Batch") -> "Batch":
        """The rows of both."""
        pairs = ((getattr(self, field.name), getattr(other, field.name)) for field in fields(self))
        return Batch(*(np.concatenate(pair) for pair in pairs))

    def __getitem__(self, rows: slice) -> "Batch":
        """Some of the rows."""
        return Batch(*(getattr(self, field.name)[rows] for field in fields(self)))

    def pack(self) -> Array:
        """All fields side by side `[B 2S+2A+3]`, so that they travel to the device in one copy."""
        columns = (self.reward[:, None], self.discount[:, None], self.clone[:, None])
        return np.concatenate(
            [self.state, self.next_state, self.action, self.label, *columns], axis=1, dtype=np.float32
        )

    @classmethod
    def unpack(cls, packed: Array, states: int, actions: int) -> "Batch":
        """The inverse of `pack` for inputs of S = `states` and A = `actions` numbers."""
        edges = np.cumsum([states, states, actions, actions, 1, 1])
        state, next_state, action, label, reward, discount, clone = np.split(packed, edges, axis=1)
        return cls(state, action, next_state, reward[:, 0], discount[:, 0], label, clone[:, 0])
