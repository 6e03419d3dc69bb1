"""An optimiser that looks for states which a reward model takes for success: the cross-entropy method over states.

A policy that is paid by a model finds what the model wrongly likes. This finds it first, in seconds and without
physics: everything the state says of objects and hand is free inside a box around the workspace, sizes are not.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from embodied.data.arrangements import WORKSPACE, arrange
from embodied.data.goals import goals_that_hold
from envs.geometry import quat_multiply
from envs.goals import Goal
from envs.types import ObjectState
from world_models.reward.learned import LearnedReward

Floats = NDArray[np.float64]
Objective = Callable[[ObjectState, Goal], Floats]
"""What is maximised `[N]`."""
_REACH = (0.12, 0.8, 0.05, 0.3)
"""First standard deviations of position [m], rotation [rad], velocity [m/s] and spin [rad/s]."""
_MOST = (1.0, 3.2, 1.0, 5.0)
"""Limits of rotation, velocity and spin from the start; of position the box is one."""


@dataclass(frozen=True)
class AttackConfig:
    """Sizes of the search."""

    candidates: int = 64
    elites: int = 8
    iterations: int = 25
    box: float = 1.0
    """The workspace is widened so many times."""


def claimed(reward: LearnedReward) -> Objective:
    """What an agent that is paid by `reward` maximises: the way to success, success, and no alarm."""

    def value(state: ObjectState, goal: Goal) -> Floats:
        score = reward.score(state, goal)
        refused = score.unlike if reward.config.gated else np.zeros_like(score.unlike)
        return np.asarray(score.progress + score.goal_probability - refused)

    return value


def deceived(reward: LearnedReward) -> Objective:
    """The same, but for states in which the goal really holds: all that is left is wrong."""
    paid = claimed(reward)

    def value(state: ObjectState, goal: Goal) -> Floats:
        return np.where(np.asarray(goal.satisfied(state)), -1.0, paid(state, goal))

    return value


def attack(
    objective: Objective,
    goal: Goal,
    start: ObjectState,
    rng: np.random.Generator,
    config: AttackConfig = AttackConfig(),
) -> ObjectState:
    """Search from one state `[K ...]`; returns the best of every iteration `[iterations K ...]`, the last found last.

    The goal's own entities, the hand and all objects move; the table does not.
    """
    free = np.array([index for index, name in enumerate(start.names) if name != "table"])
    low, high = np.array(WORKSPACE).T
    middle, span = (low + high) / 2, (high - low) / 2 * config.box
    low, high = middle - span, middle + span
    low[2] = min(low[2], 0.0)
    width = (len(free), 12)
    scale = np.repeat(_REACH, 3)
    mean = np.zeros(width)
    mean[:, :3] = start.position_in_world[free]
    spread = np.broadcast_to(scale, width).copy()
    limit = np.repeat(_MOST, 3)
    best: list[ObjectState] = []
    kept: Floats = np.zeros((0, *width))
    for _ in range(config.iterations):
        drawn: Floats = mean + spread * rng.standard_normal((config.candidates - len(kept), *width))
        drawn = np.concatenate([drawn, kept])
        drawn[..., :3] = np.clip(drawn[..., :3], low, high)
        drawn[..., 3:] = np.clip(drawn[..., 3:], -limit[3:], limit[3:])
        states = _states(start, free, drawn)
        order = np.argsort(-objective(states, goal))
        elite = drawn[order[: config.elites]]
        best.append(states[order[0]])
        kept = elite[:2]
        mean, spread = elite.mean(axis=0), 0.8 * elite.std(axis=0) + 0.2 * 0.9 * spread
    return ObjectState.stack(best)


def attackable(
    rng: np.random.Generator, boxes: int, worlds: int, literals: int | None = None
) -> list[tuple[Goal, ObjectState]]:
    """Goals that can be reached, for they hold in some arrangement, each with another one of things as large."""
    state, other = (arrange(rng, worlds, boxes) for _ in range(2))
    goals, where = goals_that_hold(rng, state, literals or int(rng.integers(1, 3)))
    starts = replace(other, half_extents=state.half_extents)
    return [(goal, starts[int(world)]) for goal, world in zip(goals, where, strict=True)]


def _states(start: ObjectState, free: NDArray[np.int64], values: Floats) -> ObjectState:
    """States `[N K ...]` from positions, rotation vectors, velocities and spins of the free entities `[N k 12]`."""
    count = len(values)
    wide = start.map(lambda array: np.broadcast_to(array, (count, *array.shape)).copy())
    wide.position_in_world[:, free] = values[..., :3]
    angle = np.linalg.norm(values[..., 3:6], axis=-1, keepdims=True)
    axis = values[..., 3:6] / np.maximum(angle, 1e-9)
    turn = np.concatenate([np.cos(angle / 2), np.sin(angle / 2) * axis], axis=-1)
    quaternion = wide.quaternion_in_world
    quaternion[:, free] = quat_multiply(turn, quaternion[:, free])
    wide.linear_velocity_in_world[:, free] += values[..., 6:9]
    wide.angular_velocity_in_world[:, free] += values[..., 9:12]
    return replace(wide, quaternion_in_world=quaternion)


def residual(state: ObjectState, goal: Goal) -> Floats:
    """By how much the worst literal fails `[*B]` [m or rad]; negative where the goal holds."""
    return np.asarray(-goal.margin(state))
