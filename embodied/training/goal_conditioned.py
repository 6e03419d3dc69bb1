"""The policy learner on goal-conditioned environments of others: no demonstrations, goals relabelled in hindsight."""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from embodied.agents.losses import LearnerConfig
from embodied.agents.td3 import Learner
from embodied.config import AgentConfig
from embodied.data.goal_replay import GoalObservation, GoalReplay, Reached
from envs.types import Array

RANDOM = 0.3
"""Share of actions that are drawn uniformly (Andrychowicz et al. 2017)."""


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
        self, worlds: GoalWorlds, config: AgentConfig, seed: int, reached: Reached, *, capacity: int = 8000
    ) -> None:
        """`capacity` counts episodes; `reached` says which goals are achieved."""
        self.worlds, self.config = worlds, config
        learner_seed, *streams = np.random.SeedSequence(seed).spawn(3)
        self._explore, self._sample = (np.random.default_rng(stream) for stream in streams)
        self._seen = worlds.reset()
        self.replay = GoalReplay(capacity, worlds.horizon, self._seen, worlds.action_size, config.relabel, reached)
        chosen = LearnerConfig(
            width=config.width,
            learning_rate=config.learning_rate,
            discount=config.discount,
            value_low=-1.0 / (1.0 - config.discount),
            q_ramp=0,
        )
        own = int(learner_seed.generate_state(1)[0])
        self.learner = Learner(self.replay.state_size, worlds.action_size, chosen, own)
        self._updates = round(config.updates_per_step * worlds.worlds)
        self._spread = np.linspace(0.3, 1.7, worlds.worlds)[:, None] * config.noise
        self._slots: Array = np.arange(worlds.worlds)
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
            self._slots = self.replay.begin(self._seen)
        chosen = self.learner.act(self.replay.state(self._seen), averaged=False)
        action = np.clip(chosen + self._spread * self._explore.standard_normal(chosen.shape), -1.0, 1.0)
        # Noise around an actor that knows nothing yet stays where that is: what is to be moved is found by chance.
        share = RANDOM if self.steps >= self.worlds.horizon else 1.0
        blind = self._explore.random((len(chosen), 1)) < share
        action = np.where(blind, self._explore.uniform(-1.0, 1.0, chosen.shape), action)
        following = self.worlds.step(action)
        if len(self.replay) >= self.config.batch:
            self._learn()
        self._seen = following()
        self.replay.extend(self._slots, action, self._seen)
        self.steps += 1

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
