"""The policy learner on goal-conditioned environments of others: no demonstrations, goals relabelled in hindsight."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from embodied.agents.losses import LearnerConfig
from embodied.agents.td3 import Learner
from embodied.config import AgentConfig
from embodied.data.goal_replay import GoalObservation, GoalReplay, Reached
from envs.errors import EmbodiedError
from envs.types import Array


@dataclass(frozen=True)
class Exploration:
    """How what is to be moved is found by a learner that is shown nothing."""

    blind: float = 0.3
    """Share of actions that are drawn uniformly (Andrychowicz et al. 2017)."""
    moved: float = 0.5
    """Share of replayed transitions from episodes that came to a goal which was not achieved at their beginning. At
    first few do, and hindsight teaches nothing about the others."""
    practised: float = 0.7
    """Share of training episodes that shall go the way which an earlier episode went by any means, in place of their
    own. What is within reach is practised before what is beyond it, of which a young critic says the same whatever is
    done (goals from what was achieved: Pitis et al. 2020)."""

    def __post_init__(self) -> None:
        """Refuse what is no share."""
        for name, share in vars(self).items():
            if not 0.0 <= share <= 1.0:
                raise EmbodiedError(f"{name} must be between 0 and 1, not {share}.")


class GoalWorlds(Protocol):
    """N worlds whose episodes begin and end together."""

    worlds: int
    horizon: int
    """Control steps per episode."""
    action_size: int
    """Actions are -1..1."""

    def reset(self) -> GoalObservation:
        """Begin an episode in every world."""
        ...

    def step(self, action: Array) -> Callable[[], GoalObservation]:
        """One control step under actions `[N A]`; what is returned waits for it and tells what followed."""
        ...


class GoalTrainer:
    """The learner of `PolicyTrainer` with its settings and its exploration, on a `GoalReplay`."""

    def __init__(
        self,
        worlds: GoalWorlds,
        config: AgentConfig,
        seed: int,
        reached: Reached,
        *,
        exploration: Exploration = Exploration(),
        capacity: int = 8000,
    ) -> None:
        """`capacity` counts episodes; `reached` says which goals are achieved."""
        self.worlds, self.config, self.exploration = worlds, config, exploration
        learner_seed, *streams = np.random.SeedSequence(seed).spawn(3)
        self._explore, self._sample = (np.random.default_rng(stream) for stream in streams)
        self._seen = worlds.reset()
        self.replay = GoalReplay(
            capacity, worlds.horizon, self._seen, worlds.action_size, config.relabel, reached, exploration.moved
        )
        chosen = LearnerConfig(
            width=config.width,
            learning_rate=config.learning_rate,
            discount=config.discount,
            value_low=-1.0 / (1.0 - config.discount),
            q_ramp=0,
            squash_penalty=config.squash_penalty,
        )
        own = int(learner_seed.generate_state(1)[0])
        self.learner = Learner(self.replay.state_size, worlds.action_size, chosen, own)
        self._updates = round(config.updates_per_step * worlds.worlds)
        self._spread = np.linspace(0.3, 1.7, worlds.worlds)[:, None] * config.noise
        self._slots: Array = np.arange(worlds.worlds)
        self._goal: Array = self._seen.desired
        self.steps = 0

    @property
    def env_steps(self) -> int:
        """Steps taken so far, over all worlds."""
        return self.steps * self.worlds.worlds

    def advance(self) -> None:
        """One step of all worlds, and the updates that go with it while they step."""
        if self.steps % self.worlds.horizon == 0:
            if self.steps:
                self._seen = self.worlds.reset()
            self._goal = self._practised(self._seen)
            self._seen = replace(self._seen, desired=self._goal)
            self._slots = self.replay.begin(self._seen)
        chosen = self.learner.act(self.replay.state(self._seen), averaged=False)
        action = np.clip(chosen + self._spread * self._explore.standard_normal(chosen.shape), -1.0, 1.0)
        # Noise around an actor that knows nothing yet stays where that is: what is to be moved is found by chance.
        share = self.exploration.blind if self.steps >= self.worlds.horizon else 1.0
        blind = self._explore.random((len(chosen), 1)) < share
        action = np.where(blind, self._explore.uniform(-1.0, 1.0, chosen.shape), action)
        following = self.worlds.step(action)
        if len(self.replay) >= self.config.batch:
            self._learn()
        self._seen = replace(following(), desired=self._goal)
        self.replay.extend(self._slots, action, self._seen)
        self.steps += 1

    def _practised(self, seen: GoalObservation) -> Array:
        """What the worlds shall go for in the episode that begins `[N G]`."""
        ways = self.replay.ways(len(seen.desired), self._explore)
        if not len(ways):
            return seen.desired
        chosen = self._explore.random(len(ways)) < self.exploration.practised
        # Nothing asks for what is farther than the task's own goals, such as what fell off a table.
        farthest = np.linalg.norm(seen.desired - seen.achieved, axis=1).max()
        chosen &= np.linalg.norm(ways, axis=1) <= farthest
        return np.where(chosen[:, None], seen.achieved + ways, seen.desired)

    def _learn(self) -> None:
        whole, rows = self.replay.sample(self._updates * self.config.batch, self._sample), self.config.batch
        for i in range(self._updates):
            self.learner.update(whole[i * rows : (i + 1) * rows])

    def act(self, seen: GoalObservation) -> Array:
        """Actions `[N A]` without exploration, by the averaged actor."""
        return self.learner.act(self.replay.state(seen))

    def metrics(self) -> dict[str, Any]:
        """The learner's last losses. Raises `EmbodiedError` naming a loss that is not finite."""
        return {**self.learner.metrics(), "env_steps": self.env_steps, "updates": self.learner.updates}
