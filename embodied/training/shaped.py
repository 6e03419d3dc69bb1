"""Dense rewards that leave the optimal policy alone, made when a batch is sampled."""

from embodied.data.replay import Shaper
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
