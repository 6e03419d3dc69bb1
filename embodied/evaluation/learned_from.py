"""How far learning itself games a reward: a policy that is paid by a model alone, judged by the truth.

The strongest adversary a reward meets is the learner it pays: it has all the time, and acts through physics.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodied.config import AgentConfig
from embodied.data.arrangements import perturb
from embodied.evaluation.gaming import violation
from embodied.evaluation.success import held_out_seeds
from embodied.training.policy import PolicyTrainer
from embodied.training.shaped import judge_of
from envs.episode import Episode, Policy, Transition
from envs.experts import expert
from envs.tasks import task
from envs.types import Array, ObjectState, Observation
from envs.worlds import TaskWorlds
from world_models.reward.analytic import RewardModel, confirmed
from world_models.reward.audit import Audit, AuditConfig

WORLDS = 16


class SeenWorlds:
    """Worlds of a task whose poses are seen with noise; what `step` calls success is the truth."""

    def __init__(self, worlds: TaskWorlds, spread: float, seed: int) -> None:
        """`spread` is the standard deviation of a coordinate [m]."""
        self.inner, self.spread = worlds, spread
        self.worlds, self.task, self.spec = worlds.worlds, worlds.task, worlds.spec
        self._rng = np.random.default_rng((seed, 12))
        self.observation = self._seen(worlds.observation)

    @property
    def truth(self) -> ObjectState:
        """The present states `[N K ...]`."""
        return self.inner.observation.objects

    def reset(self, seeds: Array | None = None) -> Observation:
        """Begin an episode in every world."""
        self.observation = self._seen(self.inner.reset(seeds=seeds))
        return self.observation

    def step(self, action: Array) -> Transition:
        """One control step under actions `[N A]`."""
        before, transition = self.observation, self.inner.step(action)
        self.observation = self._seen(transition.next_observation)
        return replace(transition, observation=before, next_observation=self.observation)

    def _seen(self, observation: Observation) -> Observation:
        if not self.spread:
            return observation
        return replace(observation, objects=perturb(self._rng, observation.objects, np.full(self.worlds, self.spread)))

    def state_dict(self) -> dict[str, Any]:
        """All that decides the worlds' future."""
        return {"inner": self.inner.state_dict(), "random": self._rng.bit_generator.state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state_dict` was taken; what is seen of the present is drawn anew."""
        self.inner.load_state_dict(state["inner"])
        self._rng.bit_generator.state = state["random"]
        self.observation = self._seen(self.inner.observation)


@dataclass(frozen=True)
class Judged:
    """What one policy's episodes claimed, per held-out beginning."""

    claimed: NDArray[np.bool_]
    """`[N]` success was claimed for `window` frames in a row."""
    violation: NDArray[np.float64]
    """`[N]` of the true state where that was first so, else at the end [m]."""
    true: NDArray[np.bool_]
    """`[N]` the goal truly holds at the end."""


def learn_from(
    model: RewardModel, name: str, seed: int, steps: int, spread: float, shown: int, agent: AgentConfig,
    goal: str | None = None, *, audited: bool = True,
) -> PolicyTrainer:  # fmt: skip
    """Clone so many demonstrations of a task, then learn for `steps` environment steps paid by `model`.

    An audited model alone says what success is; of one that is not, progress is paid as it is made, beside exact
    success. `goal` replaces the task's own, which the task's expert must satisfy.
    """
    worlds = SeenWorlds(TaskWorlds(task(name, goal), WORLDS, seed, threads=1), spread, seed)
    demonstrations = demonstrated(worlds, shown, seed) if shown else []
    paid: dict[str, Any] = {"reward": model, "shaping": 1.0}
    if audited:
        paid = {"judge": judge_of(model), "audit": Audit(AuditConfig(), np.random.default_rng((seed, 13)))}
    trainer = PolicyTrainer(
        worlds, agent, seed, demonstrations, expert(name) if shown else None,
        distractors=worlds.task.others, **paid,
    )  # fmt: skip
    trainer.clone(agent.cloning_steps)
    trainer.advance(-(-steps // WORLDS))
    return trainer


def demonstrated(worlds: SeenWorlds, count: int, seed: int) -> Sequence[Episode]:
    """Episodes of the task's disturbed expert, who truly succeeded."""
    rng = np.random.default_rng((seed, 14))
    demonstrator, kept = expert(worlds.task.name), list[Episode]()
    while len(kept) < count:
        seen, actions, held = [worlds.reset()], list[Array](), list[Array]()
        for _ in range(worlds.task.horizon):
            action = demonstrator.act(worlds.inner.observation, worlds.task.goal)
            action[..., :-1] += 0.1 * rng.standard_normal(action[..., :-1].shape)
            actions.append(np.clip(action, -1.0, 1.0))
            transition = worlds.step(actions[-1])
            seen.append(transition.next_observation)
            held.append(transition.success)
        states, done = Observation.stack(seen, axis=1), np.stack(actions, axis=1)
        success = np.stack([held[0] & False, *held], axis=1)
        kept += [
            Episode(states[world], done[world], success[world], worlds.task.goal, seed, worlds.task.name, "so101")
            for world in np.flatnonzero(held[-1])
        ]
    return kept[:count]


def judged(
    policy: Policy, model: RewardModel, name: str, seed: int, count: int, spread: float, window: int,
    goal: str | None = None,
) -> Judged:  # fmt: skip
    """Run held-out episodes, and compare what the model claims of what is seen with what is."""
    worlds = SeenWorlds(TaskWorlds(task(name, goal), count, seed, threads=1), spread, seed + 1)
    wanted, judge = worlds.task.goal, judge_of(model)
    observation = worlds.reset(held_out_seeds(seed, count))
    policy.reset()
    claims, wrong = [], []
    for _ in range(worlds.task.horizon):
        observation = worlds.step(policy.act(observation, wanted)).next_observation
        claims.append(judge(observation.objects, wanted))
        wrong.append(violation(worlds.truth, wanted))
    held = np.asarray(confirmed(np.stack(claims, axis=1), window))
    off = np.stack(wrong, axis=1)
    claimed = np.asarray(held.any(axis=1))
    first = np.where(claimed, held.argmax(axis=1), held.shape[1] - 1)
    return Judged(claimed, off[np.arange(count), first], np.asarray(off[:, -1] < 0))
