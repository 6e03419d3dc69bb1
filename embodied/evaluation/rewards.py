"""How good a reward model's judgement is: does it rank, does it tell success, does it see the smallest differences.

Truth is the analytic tier on true states. Judged are `Judge`s: what says a progress and a probability of success for
states of one goal, so that baselines without literals are asked the same.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodied.data.arrangements import arrange, perturb
from embodied.data.goals import goals_that_hold
from embodied.data.pairs import minimal_pairs
from embodied.data.ways import way
from embodied.evaluation.statistics import spearman
from envs.goals import Goal
from envs.types import ObjectState
from world_models.reward.analytic import AnalyticReward, RewardModel
from world_models.reward.learned import LearnedScore

Floats = NDArray[np.float64]
TRUTH = AnalyticReward()
Judge = Callable[[ObjectState, Goal, ObjectState], tuple[Floats, Floats]]
"""Progress `[N]` and chance of success `[N]` of states `[N K ...]`; the last argument is a state `[K ...]` in which the
goal holds, for those that need to see one."""


@dataclass(frozen=True)
class Question:
    """One goal, and states about which something is known."""

    goal: Goal
    end: ObjectState
    """`[K ...]` a state in which the goal holds."""
    path: ObjectState
    """`[T K ...]` a way there."""
    better: ObjectState
    """`[N K ...]`; minimal pairs: the goal holds in these."""
    worse: ObjectState
    """`[N K ...]` and in these fails by one literal."""
    predicates: tuple[str, ...]
    """N, whose literal is flipped."""


def questions(rng: np.random.Generator, count: int, boxes: int, literals: int) -> list[Question]:
    """Goals of so many literals among so many boxes, each with a way, and a pair per literal that can flip."""
    found: list[Question] = []
    while len(found) < count:
        state = arrange(rng, 16, boxes)
        goals, worlds = goals_that_hold(rng, state, literals, tries=24 * literals)
        for goal, world in zip(goals, worlds, strict=True):
            if len(found) == count:
                break
            end = state[int(world)]
            pairs = [minimal_pairs(rng, goal.literals, i, _some(end, 4)) for i in range(literals)]
            kept = [(i, pair) for i, pair in enumerate(pairs) if len(pair.world)]
            if not kept:
                continue
            better, worse = (
                ObjectState.concat([getattr(pair, side)[:1] for _, pair in kept]) for side in ("better", "worse")
            )
            words = tuple(goal.literals[i].predicate for i, _ in kept)
            found.append(Question(goal, end, way(rng, goal, end), better, worse, words))
    return found


def _some(state: ObjectState, count: int) -> ObjectState:
    """Copies `[n K ...]` of a state."""
    return state.map(lambda array: np.broadcast_to(array, (count, *array.shape)).copy())


def judge(model: RewardModel) -> Judge:
    """A reward model as a judge; one that is exact ranks successes by the smallest margin."""

    def ask(state: ObjectState, goal: Goal, end: ObjectState) -> tuple[Floats, Floats]:
        score = model.score(state, goal)
        if isinstance(score, LearnedScore):
            return np.asarray(score.progress), np.asarray(score.goal_probability)
        return np.asarray(score.progress), np.asarray(score.margins).min(axis=-1)

    return ask


def goal_distance(state: ObjectState, goal: Goal, end: ObjectState) -> tuple[Floats, Floats]:
    """Minus the root mean square distance of all poses from those of the goal state, as value models of images do."""
    apart = ((state.position_in_world - end.position_in_world) ** 2).sum(-1).mean(-1)
    same = abs((state.quaternion_in_world * end.quaternion_in_world).sum(-1)).clip(0.0, 1.0)
    near = -np.sqrt(apart + 0.01 * (np.arccos(same) ** 2).mean(-1))
    return near, near


def ask(
    judge: Judge, asked: Sequence[Question], spread: float = 0.0, turn: float = 0.0, seed: int = 0
) -> Mapping[str, Any]:
    """Raw answers to all questions, with poses that are so far off [m, rad].

    `chance` of success and whether the goal truly `holds`, for all states; `voc` per question, the rank correlation of
    progress with true progress along the way (NaN where that does not change); `pairs` by predicate, 1 where the better
    state has more progress, a half where both have as much.
    """
    rng = np.random.default_rng(seed)
    chances: list[float] = []
    truths: list[bool] = []
    orders, pairs = [], []
    for question in asked:
        goal, length, count = question.goal, question.path.shape[0], len(question.predicates)
        truth = ObjectState.concat([question.path, question.better, question.worse])
        some = truth.shape[0]
        seen = truth if spread == turn == 0 else perturb(rng, truth, np.full(some, spread), np.full(some, turn))
        progress, chance = judge(seen, goal, question.end)
        chances += chance.tolist()
        truths += np.asarray(goal.satisfied(truth)).tolist()
        orders.append(spearman(progress[:length], TRUTH.score(question.path, goal).progress))
        higher = progress[length : length + count] - progress[length + count :]
        pairs += list(zip(question.predicates, (0.5 + 0.5 * np.sign(higher)).tolist(), strict=True))
    return {"chance": chances, "holds": truths, "voc": orders, "pairs": pairs}


def order_in_episodes(model: RewardModel, goal: Goal, episodes: ObjectState) -> Floats:
    """The rank correlation of progress with time in each successful episode, up to its first success `[n]`.

    Episodes `[N T K ...]` of an expert, who gets nearer all the time or thereabouts.
    """
    progress = np.asarray(model.score(episodes, goal).progress)
    holds = np.asarray(goal.satisfied(episodes))
    found = []
    for said, held in zip(progress, holds, strict=True):
        if held.any() and not held[:2].any():
            length = int(held.argmax()) + 1
            found.append(spearman(said[:length], np.arange(length, dtype=float)))
    return np.array(found)
