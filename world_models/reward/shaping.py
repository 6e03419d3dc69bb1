"""Potential-based shaping: dense reward that leaves the optimal policy alone (Ng, Harada, Russell, ICML 1999).

r = success reward + weight (gamma^h Psi(s') - Psi(s)), with the potential Psi = progress - 1 in [-1, 0].

Rules kept here, each with a test:
- A terminal state has potential 0, whatever its progress. A cut by the time limit is not terminal: it keeps its
  potential, and the learner bootstraps from it.
- The shift by -1 makes the potential of the goal 0, so that the terminal rule makes no jump at success.
- h steps at once are shaped by gamma^h Psi(s_{t+h}) - Psi(s_t), which is what h single steps sum to.
- Shaped rewards are made when a batch is sampled, both potentials from the same present model. Stored ones would be
  wrong as soon as the goal is relabelled or a learned model has moved on.
- The potential must be a function of the state (and the goal) alone. One that looks back in time has no guarantee.
"""

from dataclasses import dataclass

from array_api_compat import array_namespace

from envs.errors import EmbodiedError
from envs.goals import Goal
from envs.predicates import Frames
from envs.types import Array, Transition
from world_models.reward.analytic import RewardModel


def potential(progress: Array) -> Array:
    """Psi = progress - 1 `[*B]`: 0 at the goal, -1 where nothing is done."""
    return progress - 1.0


def shaping(now: Array, following: Array, terminated: Array, discount: float, steps: int | Array = 1) -> Array:
    """The shaping term `[*B]` between two states `steps` apart: gamma^steps Psi(s') - Psi(s).

    Args:
        now: potential of the state, `[*B]`.
        following: potential of the later state, `[*B]`; ignored where that is terminal.
        terminated: `[*B]` bool, whether the later state is terminal. False at a time limit.
        discount: gamma per step.
        steps: h, or `[*B]` where chunks have different lengths.
    """
    xp = array_namespace(now)
    return discount**steps * xp.where(terminated, xp.zeros_like(following), following) - now


def discounted(reward: Array, discount: float) -> Array:
    """The discounted sum `[*B]` of rewards `[*B h]`: what a chunk of h steps earns."""
    xp = array_namespace(reward)
    total = xp.zeros_like(reward[..., 0])
    for step in range(reward.shape[-1] - 1, -1, -1):
        total = reward[..., step] + discount * total
    return total


@dataclass(frozen=True)
class ShapedReward:
    """Rewards for transitions, made at the time they are sampled.

    `success_reward` is paid by the recorded success of a transition, not by the model's opinion of it: a shaped reward
    cannot be hacked in the long run, a claimed success can.
    """

    model: RewardModel
    discount: float = 0.97
    weight: float = 1.0
    """alpha of the shaping term; 0 leaves the sparse reward."""
    success_reward: float = 1.0
    step_reward: float = 0.0
    """Paid at every step without success; -1 with a success reward of 0 is the usual sparse reward of relabelling."""

    def __post_init__(self) -> None:
        if not 0.0 < self.discount <= 1.0:
            raise EmbodiedError(f"A discount lies in (0, 1], got {self.discount}.")

    def __call__(
        self, transition: Transition, goal: Goal, frames: Frames | None = None, steps: int | Array = 1
    ) -> Array:
        """The reward `[*B]` of transitions; with `steps` h the dense part spans h control steps."""
        now = self.model.score(transition.observation, goal, frames).progress
        xp = array_namespace(now)
        sparse = xp.where(transition.success, self.success_reward + 0.0 * now, self.step_reward + 0.0 * now)
        if self.weight == 0.0:
            return sparse
        following = self.model.score(transition.next_observation, goal, frames).progress
        term = shaping(potential(now), potential(following), transition.terminated, self.discount, steps)
        return sparse + self.weight * term
