"""Worlds that a world model imagines: what learns in `TaskWorlds` learns in these, and no physics is stepped.

A policy trained wholly in a model (Ha and Schmidhuber 2018; Hafner et al. 2020, "Dreamer"). This model answers in
states, so that the same learner trains in either, with hindsight and demonstrations; its errors are what differs.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from envs.episode import Transition
from envs.errors import EmbodiedError
from envs.types import Array, Observation
from envs.worlds import TaskWorlds
from world_models.cjepa.ahead import Ahead

WORLDS = 128
"""Worlds imagined together: a step of 32 costs a world 270 us, of 128 60 us, of 256 45 us, on one core."""


class ImaginedWorlds:
    """N worlds of one task, shared out among the members of an ensemble.

    Each world follows one member throughout: where members disagree the worlds differ, as under domain randomisation,
    and no member's own errors pay everywhere.
    """

    def __init__(self, beginnings: TaskWorlds, members: Sequence[Ahead], history: int) -> None:
        """`beginnings` draws how episodes begin, as the task says; it is reset, and never stepped.

        A member looks back on `history` frames. Raises `EmbodiedError` for a task that runs before it begins, and for
        fewer worlds than members.
        """
        if beginnings.task.settle:
            raise EmbodiedError(f"Task {beginnings.task.name!r} runs before it begins, which takes a simulator.")
        if not 0 < len(members) <= beginnings.worlds:
            raise EmbodiedError(f"{beginnings.worlds} worlds cannot be shared by {len(members)} members of a model.")
        self._beginnings, self._members, self._history = beginnings, tuple(members), history
        self.worlds, self.task, self.spec = beginnings.worlds, beginnings.task, beginnings.spec
        edges = np.linspace(0, self.worlds, len(members) + 1).astype(int)
        self._shares = [slice(a, b) for a, b in pairwise(edges)]
        self._begin(beginnings.observation)

    def reset(self, *, seeds: Array | None = None) -> Observation:
        """Begin an episode in every world, those that `seeds` `[N]` give or the next; see `TaskWorlds.reset`."""
        self._begin(self._beginnings.reset(seeds=seeds))
        return self.observation

    def step(self, action: Array) -> Transition:
        """One imagined control step under actions `[N A]`."""
        before = self.observation
        self._advance(np.asarray(action, np.float64))
        return Transition(
            observation=before,
            action=self._actions[-1],
            next_observation=self.observation,
            success=np.asarray(self.task.goal.satisfied(self.observation.objects)),
            terminated=np.zeros(self.worlds, bool),
            truncated=np.full(self.worlds, len(self._actions) >= self.task.horizon),
        )

    def _begin(self, observation: Observation) -> None:
        self.observation = observation
        self._recent, self._actions = [observation], list[Array]()

    def _advance(self, action: Array) -> None:
        seen = Observation.stack(self._recent, axis=1)
        said = [
            member.begin(seen[share]).after(action[share])
            for member, share in zip(self._members, self._shares, strict=True)
        ]
        self.observation = Observation.concat(said)
        self._recent = [*self._recent, self.observation][-self._history :]
        self._actions.append(action)

    def state_dict(self) -> dict[str, Any]:
        """Where the episodes began and what was done since, which decides all that follows."""
        done = np.stack(self._actions) if self._actions else np.zeros((0, self.worlds, self.spec.size))
        return {"beginnings": self._beginnings.state_dict(), "actions": done}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state_dict` was taken, bit for bit, by imagining the same again."""
        self._beginnings.load_state_dict(state["beginnings"])
        self._begin(self._beginnings.observation)
        for action in np.asarray(state["actions"]):
            self._advance(action)
