"""A dense reward written by hand for picking one object up and putting it down: the rival of rewards that are learned.

Stages as in the staged rewards of robosuite and ManiSkill: reach, grasp, bring (above the place first, so that nothing
is knocked over), let go. They hold for goals that say where one object is to be put, and for no others.
"""

from dataclasses import replace

import numpy as np

from envs.features import goal_point, roles
from envs.goals import Goal
from envs.predicates import Frames
from envs.types import Array, ObjectState, Observation
from world_models.reward.analytic import AnalyticReward, Score

REACH, GRASP, BRING, OPEN = 0.25, 0.25, 0.35, 0.15
"""What each stage is worth; only the goal itself makes it 1."""
_CLOSE, _BESIDE = 0.02, 0.015
"""[m] from where an object is at its place, and beyond which it is brought from above."""
_OVER = 0.04
"""[m] above its place."""


class StagedReward:
    """Success by exact margins, and progress by stages."""

    def score(self, state: ObjectState | Observation, goal: Goal, frames: Frames | None = None) -> Score:
        """Score `*B` states; raises `EmbodiedError` for an entity or a frame that the state does not have."""
        objects = state.objects if isinstance(state, Observation) else state
        exact = AnalyticReward().score(objects, goal, frames)
        return replace(exact, progress=np.where(exact.success, 1.0, 0.95 * stages(objects, goal)))


def stages(objects: ObjectState, goal: Goal) -> Array:
    """How far along `*B` states are, 0..1."""
    subject = roles(goal).subject
    position = np.asarray(objects.position_in_world)
    cube, tool = position[..., objects.index(subject), :], position[..., objects.index("gripper"), :]
    point = np.asarray(goal_point(objects, goal))
    off = cube - point
    beside = np.linalg.norm(off[..., :2], axis=-1) > _BESIDE
    way = off - np.where(beside, _OVER, 0.0)[..., None] * np.array([0.0, 0.0, 1.0])
    there = np.linalg.norm(off, axis=-1) < _CLOSE
    held = np.asarray(Goal.parse(f"grasped({subject})").satisfied(objects))
    loose = np.asarray(Goal.parse(f"released({subject})").satisfied(objects))
    reached = REACH * _nearness(np.linalg.norm(tool - cube, axis=-1), 0.1)
    brought = REACH + GRASP + BRING * _nearness(np.linalg.norm(way, axis=-1), 0.15)
    return np.where(there, REACH + GRASP + BRING + OPEN * loose, np.where(held, brought, reached))


def _nearness(distance: Array, scale: float) -> Array:
    """1 at no distance, a quarter at one `scale` [m]."""
    return 1.0 - np.tanh(distance / scale)
