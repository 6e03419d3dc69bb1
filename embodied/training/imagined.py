"""Experience that a world model imagines, kept in a replay of its own and renewed as the policy changes.

Model-based policy optimisation (Janner et al. 2019): short rollouts of the current policy from states that were really
visited. A rollout ends where the ensemble no longer agrees on the subject (Infoprop's idea, Frauenknecht et al. 2024):
beyond that point the learner would be taught the model's errors.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from embodied.data.replay import Replay
from envs.control import Controller
from envs.episode import Policy, Rollout
from envs.goals import Goal
from envs.types import Array, Observation
from world_models.imagination import Dynamics, imagine

Imagine = Callable[[Observation, Policy, Goal, int], Rollout]
"""Rolls a policy forward from histories `[B W ...]` (the present last) for some steps; numpy in, numpy out."""


@dataclass(frozen=True)
class ImaginedConfig:
    """How far is imagined, and how often."""

    horizon: int = 3
    """H, longest rollout [control steps]."""
    history: int = 3
    """W, frames the model looks back on."""
    starts: int = 256
    """Rollouts per renewal."""
    every: int = 25
    """Control steps between renewals."""
    kept: int = 4
    """Renewals kept; older rollouts show what the policy no longer does."""
    trusted: float = 0.01
    """[m] largest standard deviation over the ensemble of where the subject is."""


def dreamer(dynamics: Dynamics, control: Controller) -> Imagine:
    """A world model as `Imagine`."""

    def dream(history: Observation, policy: Policy, goal: Goal, horizon: int) -> Rollout:
        return imagine(dynamics, history, policy=policy, goal=goal, horizon=horizon, control=control)

    return dream


class Imagined:
    """A replay filled by a model."""

    def __init__(self, imagine: Imagine, config: ImaginedConfig, real: Replay) -> None:
        """`real` is the replay that rollouts start from; the imagined one has its layout."""
        self.config = config
        self._imagine, self._real = imagine, real
        self.replay = real.like(config.starts * config.kept, config.horizon)
        self.trusted_steps = 0.0
        """Mean length of the last rollouts up to where they were trusted."""

    def renew(self, policy: Policy, rng: np.random.Generator) -> None:
        """Imagine afresh from visited states; keeps each rollout's trusted part."""
        config, real = self.config, self._real
        slot, step = real.draw(config.starts, rng)
        back = np.maximum(step[:, None] - np.arange(config.history - 1, -1, -1), 0)
        history = real.observation(np.repeat(slot, config.history), back.reshape(-1))
        shape = (config.starts, config.history)
        rollout = self._imagine(
            history.map(lambda array: array.reshape(*shape, *array.shape[1:])), policy, real.goal, config.horizon
        )
        length = self._trusted_length(rollout)
        self.trusted_steps = float(length.mean())
        slots = self.replay.begin(rollout.observation[:, 0])
        for step in range(config.horizon):
            alive = length > step
            if alive.any():
                following = rollout.observation[:, step + 1][alive]
                self.replay.extend(slots[alive], np.asarray(rollout.action)[alive, step], following)

    def _trusted_length(self, rollout: Rollout) -> Array:
        """Steps `[B]` of each rollout before the subject's uncertainty first exceeds what is trusted."""
        horizon = self.config.horizon
        finite = np.isfinite(rollout.observation.objects.position_in_world).all(axis=(-1, -2))
        sure = finite
        if rollout.uncertainty is not None:
            subject = rollout.observation.objects.index(self._real.roles.subject)
            sure = finite & (np.asarray(rollout.uncertainty)[..., subject] <= self.config.trusted)
        return np.minimum.accumulate(sure[:, 1 : horizon + 1], axis=1).sum(axis=1)
