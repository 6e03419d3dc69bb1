"""What a reward model pays, made when a batch is sampled: success, and progress in a way that moves no optimum."""

import numpy as np

from embodied.data.replay import Judge, Shaper
from envs.goals import Goal
from envs.types import Array, ObjectState
from world_models.reward.analytic import RewardModel
from world_models.reward.shaping import potential, shaping


def shaper(model: RewardModel, goal: Goal, weight: float, discount: float) -> Shaper:
    """The term weight (discount Psi(s') - Psi(s)), with Psi from the model's progress; no state is terminal here.

    Values then lie between those without shaping and `weight` more, since Psi is in [-1, 0].
    """

    def term(before: ObjectState, after: ObjectState) -> Array:
        now, following = (potential(model.score(state, goal).progress) for state in (before, after))
        return weight * shaping(now, following, following > 1.0, discount)

    return term


def judge_of(model: RewardModel) -> Judge:
    """What a model takes for success."""

    def judge(state: ObjectState, goal: Goal) -> Array:
        return np.asarray(model.score(state, goal).success)

    return judge
