"""Beginnings at the frontier of what a policy can do: a curriculum without stages.

A beginning teaches most where success is as likely as not: it is drawn with the weight E[p (1 - p)], p being the
policy's recent success at beginnings like it (goals of intermediate difficulty: Florensa et al. 2018; this weight:
Tzannetos et al. 2023, and for self-play Tool-R0, arXiv 2602.21320). Three distances tell how hard a beginning is, so
what happened at one says something of its neighbours.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from envs.episode import Policy, Transition
from envs.errors import EmbodiedError
from envs.features import goal_point, roles
from envs.goals import Goal
from envs.types import Array, Observation
from envs.worlds import TaskWorlds

WIDTH = 0.02
"""[m] Beginnings that differ by this much in one of the distances hardly speak for each other."""
GRAIN = 0.002
"""[m] Beginnings that differ by less in all of them are one."""
RECENT = 512
"""Episodes that are remembered: the policy of long ago was another."""
PROPOSED = 1024
"""Beginnings to choose from."""


class Frontier:
    """Chances of success at M beginnings, and draws of those that teach most."""

    def __init__(self, distances: Array, valid: Array, share: float, rng: np.random.Generator) -> None:
        """`distances` `[M F]` [m] place the beginnings; of those that are `valid` `[M]`, near duplicates count once.

        A `share` of what is drawn is at the frontier, the rest uniform. Raises `EmbodiedError` where none is valid.
        """
        if not np.any(valid):
            raise EmbodiedError(f"None of {len(valid)} beginnings is valid: done from the start, or beyond the expert.")
        _, first = np.unique(np.round(distances / GRAIN), axis=0, return_index=True)
        self.drawable = np.intersect1d(first, np.flatnonzero(valid))
        self._distances, self._share, self._rng = np.asarray(distances), share, rng
        self._which: Array = np.zeros(0, np.int64)
        self._success: Array = np.zeros(0, bool)

    def note(self, which: Array, success: Array) -> None:
        """Episodes from beginnings `[n]` ended so `[n]`."""
        self._which = np.concatenate([self._which, which])[-RECENT:]
        self._success = np.concatenate([self._success, success])[-RECENT:]

    def evidence(self) -> tuple[Array, Array]:
        """Successes and failures `[M]` like each beginning, counted by likeness."""
        off = self._distances[:, None] - self._distances[None, self._which]
        alike = np.exp(-0.5 * (off**2).sum(axis=-1) / WIDTH**2)
        return alike @ self._success, alike @ ~self._success

    def draw(self, count: int) -> Array:
        """Beginnings `[count]`, none of them twice where there are enough."""
        won, lost = (1.0 + each[self.drawable] for each in self.evidence())
        total = won + lost
        weight = won * lost / (total * (total + 1.0))  # E[p (1 - p)] of Beta(won, lost)
        weight = self._share * weight / weight.sum() + (1.0 - self._share) / len(weight)
        chosen: Array = self._rng.choice(self.drawable, count, replace=count > len(weight), p=weight)
        return chosen

    def state_dict(self) -> dict[str, Any]:
        """All that decides the next draws, but for what it was made of."""
        return {"which": self._which, "success": self._success, "random": self._rng.bit_generator.state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        self._which, self._success = np.array(state["which"]), np.array(state["success"], bool)
        self._rng.bit_generator.state = state["random"]


class FrontierWorlds:
    """Worlds whose episodes begin at the frontier; see `embodied.training.policy.Worlds`."""

    def __init__(
        self, inner: TaskWorlds, share: float, seed: int, oracle: Policy | None = None, proposed: int = PROPOSED
    ) -> None:
        """Proposes beginnings and keeps those that are not done from the start and that the `oracle`, if any, finishes.

        That every goal is within reach, the task's own layout sees to. Raises `EmbodiedError` where none is left.
        """
        self.inner = inner
        self.worlds, self.task, self.spec = inner.worlds, inner.task, inner.spec
        self._seeds = [(seed, number, _STREAM) for number in range(proposed)]
        distances, valid = [], []
        for start in range(0, proposed, inner.worlds):
            # The last block may be short: the worlds that are left over begin as in the block before.
            seeds = self._seeds[start : start + inner.worlds]
            begun = inner.reset(np.arange(len(seeds)), seeds)
            allowed = ~np.asarray(inner.task.goal.satisfied(inner.truth.objects))
            distances.append(_distances(begun, inner.task.goal)[: len(seeds)])
            if oracle is not None:
                allowed &= _finished(inner, oracle)
            valid.append(allowed[: len(seeds)])
        rng = np.random.default_rng((seed, _STREAM))
        self.frontier = Frontier(np.concatenate(distances), np.concatenate(valid), share, rng)
        self._chosen: Array = np.zeros(inner.worlds, np.int64)
        self.observation = self.reset()

    def reset(self) -> Observation:
        """Begin an episode in every world."""
        self._chosen = self.frontier.draw(self.worlds)
        self.observation = self.inner.reset(seeds=[self._seeds[which] for which in self._chosen])
        return self.observation

    def step(self, action: Array) -> Transition:
        """One control step; the end of an episode tells how hard its beginning is."""
        transition = self.inner.step(action)
        self.observation = transition.next_observation
        ended = np.asarray(self.inner.elapsed) >= self.task.horizon
        self.frontier.note(self._chosen[ended], np.asarray(transition.success)[ended])
        return transition

    def state_dict(self) -> dict[str, Any]:
        """All that decides the worlds' future."""
        return {
            "inner": self.inner.state_dict(),
            "frontier": self.frontier.state_dict(),
            "chosen": self._chosen.copy(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state_dict` was taken, bit for bit."""
        self.inner.load_state_dict(state["inner"])
        self.observation = self.inner.observation
        self.frontier.load_state_dict(state["frontier"])
        self._chosen = np.array(state["chosen"])


_STREAM = 0x66726F6E
"""In a beginning's numbers: keeps proposals apart from the worlds' own episodes, and from those of other seeds."""


def _distances(observation: Observation, goal: Goal) -> Array:
    """`[N 3]` [m]: from tool to subject, from subject to goal, and the goal's height."""
    objects, about = observation.objects, roles(goal)
    place = objects.position_in_world
    tool, subject = (place[:, objects.index(name)] for name in ("gripper", about.subject))
    point = goal_point(objects, goal)
    columns = (np.linalg.norm(subject - tool, axis=-1), np.linalg.norm(point - subject, axis=-1), point[:, 2])
    return np.stack(columns, axis=-1)


def _finished(worlds: TaskWorlds, oracle: Policy) -> Array:
    """`[N]` whether the oracle satisfies the goal at the end of the episodes that have begun."""
    oracle.reset()
    for _ in range(worlds.task.horizon):
        success = worlds.step(oracle.act(worlds.truth, worlds.task.goal)).success
    return np.asarray(success)
