"""What earlier observations and actions tell where the present one hides something: delays, masses, what is unseen.

The least memory there is: the last frames and the actions that followed, side by side. The replay stacks the same from
what it holds, so that learner and replay need to know nothing else.
"""

import numpy as np

from embodied.agents.policies import Actor
from envs.errors import EmbodiedError
from envs.features import goal_features, goal_point, observation_features, roles
from envs.goals import Goal
from envs.types import Array, Observation


def stacked(features: Array, to_goal: Array, past: list[tuple[Array, Array]]) -> Array:
    """`[*B S]` from the present features, those of the goal, and earlier (features, action) pairs, latest first."""
    return np.concatenate([features, to_goal, *(part for frame in past for part in frame)], axis=-1, dtype=np.float32)


class HistoryPolicy:
    """An actor that reads the last W frames, behind the `Policy` contract."""

    def __init__(self, actor: Actor, history: int, action_size: int, distractors: tuple[str, ...] = ()) -> None:
        """`history` is W, the present among them."""
        self.actor, self.history, self.action_size, self.distractors = actor, history, action_size, distractors
        self._past: list[tuple[Array, Array]] = []
        """Latest first."""

    def reset(self) -> None:
        """Forget the episode."""
        self._past = []

    def act(self, observation: Observation, goal: Goal) -> Array:
        """Actions `[*B A]`; raises `EmbodiedError` where they are not finite or `*B` changed within an episode."""
        about = roles(goal)
        features = observation_features(observation, about.subject, self.distractors).astype(np.float32)
        lead = features.shape[:-1]
        if self._past and self._past[0][0].shape != features.shape:
            raise EmbodiedError(f"The policy remembers {self._past[0][0].shape[:-1]} worlds, got {lead}; reset first.")
        subject = observation.objects.position_in_world[..., observation.objects.index(about.subject), :]
        to_goal = goal_features(goal_point(observation.objects, goal), subject)
        # Before the beginning all was as it is then, and nothing was done.
        first = self._past[-1][0] if self._past else features
        before = (first, np.zeros((*lead, self.action_size), np.float32))
        past = [*self._past, *[before] * (self.history - 1 - len(self._past))]
        state = stacked(features, to_goal, past)
        action = self.actor.act(state.reshape(-1, state.shape[-1])).reshape(*lead, -1)
        if not np.isfinite(action).all():
            raise EmbodiedError("The policy's action is not finite: its weights or the observation contain NaN.")
        self._past = [(features, action), *self._past][: self.history - 1]
        return action
