"""A world small enough to learn in seconds: a gripper that is a point, a cube it can carry, a target on the table."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from envs.episode import Episode, Transition
from envs.goals import Goal
from envs.types import ActionSpec, Array, Kind, ObjectState, Observation

NAMES = ("table", "gripper", "fixed_jaw", "moving_jaw", "target", "red_cube")
KINDS = np.array([Kind.TABLE, Kind.GRIPPER, Kind.JAW, Kind.JAW, Kind.TARGET, Kind.BOX])
HALF = np.array([[0.5, 0.5, 0.02], [0.02] * 3, [0.002, 0.01, 0.02], [0.002, 0.01, 0.02], [0.014] * 3, [0.014] * 3])
SPEC = ActionSpec(("x", "y", "z", "yaw", "gripper"), ("1",) * 5, -np.ones(5), np.ones(5), 10.0)


@dataclass(frozen=True)
class ToyTask:
    """Carry the cube to the target."""

    goal: Goal = Goal.parse("near(red_cube, target, 0.02)")  # noqa: RUF009 (a goal is an immutable value)
    horizon: int = 20


class ToyWorlds:
    """N point-gripper worlds; closing within 2 cm of the cube picks it up, opening drops it onto the table."""

    def __init__(self, worlds: int, seed: int = 0, task: ToyTask | None = None) -> None:
        self.worlds, self.task, self.spec = worlds, task or ToyTask(), SPEC
        self._rng = np.random.default_rng(seed)
        self.tool, self.cube, self.target = (np.zeros((worlds, 3)) for _ in range(3))
        self.opening = np.ones(worlds)
        self.observation = self.reset()

    def reset(self) -> Observation:
        low, high = np.array([0.16, -0.08, 0.014]), np.array([0.30, 0.08, 0.014])
        self.cube, self.target = (self._rng.uniform(low, high, (self.worlds, 3)) for _ in range(2))
        self.tool = self._rng.uniform([0.18, -0.04, 0.05], [0.24, 0.04, 0.08], (self.worlds, 3))
        self.opening = np.ones(self.worlds)
        self.observation = toy_observation(self.tool, self.opening, self.target, self.cube)
        return self.observation

    def step(self, action: Array) -> Transition:
        before = self.observation
        self.tool, self.opening, self.cube = toy_step(self.tool, self.opening, self.cube, np.asarray(action))
        self.observation = toy_observation(self.tool, self.opening, self.target, self.cube)
        success = self.task.goal.satisfied(self.observation.objects)
        never = np.zeros(self.worlds, bool)
        return Transition(before, action, self.observation, success, never, never)

    def state_dict(self) -> dict[str, Any]:
        rows = np.concatenate([self.tool, self.cube, self.target, self.opening[:, None]], axis=1)
        return {"rows": rows, "random": self._rng.bit_generator.state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.tool, self.cube, self.target, opening = np.split(np.array(state["rows"]), [3, 6, 9], axis=1)
        self.opening = opening[:, 0]
        self._rng.bit_generator.state = state["random"]
        self.observation = toy_observation(self.tool, self.opening, self.target, self.cube)


class ToyExpert:
    """Goes to the cube, closes, carries it to the target and stays."""

    def reset(self) -> None:
        pass

    def act(self, observation: Observation, goal: Goal) -> Array:
        position = observation.objects.position_in_world
        tool, target, cube = position[..., 1, :], position[..., 4, :], position[..., 5, :]
        close = np.linalg.norm(cube - tool, axis=-1) < 0.018
        move = np.where(close[..., None], target - cube, cube - tool) / 0.03
        gripper = np.where(close, -1.0, 1.0)[..., None]
        return np.clip(np.concatenate([move, np.zeros_like(gripper), gripper], axis=-1), -1.0, 1.0)


def toy_step(tool: Array, opening: Array, cube: Array, action: Array) -> tuple[Array, Array, Array]:
    """One step of the toy's dynamics for arrays with any leading shape."""
    low, high = np.array([0.12, -0.15, 0.01]), np.array([0.36, 0.15, 0.12])
    moved = np.clip(tool + 0.03 * action[..., :3], low, high)
    held = (action[..., 4] < 0) & (np.linalg.norm(cube - tool, axis=-1) < 0.02)
    dropped = np.concatenate([cube[..., :2], np.full_like(cube[..., :1], 0.014)], axis=-1)
    return moved, action[..., 4] + 0.0 * opening, np.where(held[..., None], cube + moved - tool, dropped)


def toy_observation(tool: Array, opening: Array, target: Array, cube: Array) -> Observation:
    """Observations `[*B]` of the toy."""
    batch = tool.shape[:-1]
    aside = np.array([0.02, 0.0, 0.0])
    table = np.broadcast_to(np.array([0.0, 0.0, -0.02]), tool.shape)
    position = np.stack([table, tool, tool - aside, tool + aside, target, cube], axis=-2)
    upright = np.broadcast_to(np.array([1.0, 0.0, 0.0, 0.0]), (*batch, 6, 4))
    still = np.zeros((*batch, 6, 3))
    ones = np.ones((*batch, 6))
    objects = ObjectState(
        names=NAMES, position_in_world=position, quaternion_in_world=upright, linear_velocity_in_world=still,
        angular_velocity_in_world=still, half_extents=np.broadcast_to(HALF, (*batch, 6, 3)), kind=KINDS,
        colour=still, mass=ones, friction=ones, present=ones > 0, confidence=ones,
    )  # fmt: skip
    joints = np.concatenate([np.zeros((*batch, 5)), opening[..., None]], axis=-1)
    proprioception = np.concatenate([joints, np.zeros_like(joints), joints], axis=-1)
    return Observation(proprioception, objects, np.zeros(batch))


def toy_episodes(count: int, seed: int = 0, noise: float = 0.0, task: ToyTask | None = None) -> list[Episode]:
    """Expert episodes, executed with noise on the arm."""
    worlds, expert, rng = ToyWorlds(count, seed, task), ToyExpert(), np.random.default_rng(seed + 1)
    goal, observations, actions = worlds.task.goal, [worlds.observation], []
    for _ in range(worlds.task.horizon):
        action = expert.act(worlds.observation, goal)
        action[:, :3] += noise * rng.standard_normal((count, 3))
        actions.append(np.clip(action, -1.0, 1.0))
        observations.append(worlds.step(actions[-1]).next_observation)
    return [_episode(observations, actions, i, goal) for i in range(count)]


def _episode(observations: list[Observation], actions: list[Array], world: int, goal: Goal) -> Episode:
    stacked = toy_observation(
        np.stack([o.objects.position_in_world[world, 1] for o in observations]),
        np.stack([o.proprioception[world, 5] for o in observations]),
        np.stack([o.objects.position_in_world[world, 4] for o in observations]),
        np.stack([o.objects.position_in_world[world, 5] for o in observations]),
    )
    action = np.stack([a[world] for a in actions])
    return Episode(stacked, action, goal.satisfied(stacked.objects), goal, seed=world, task="toy", robot="toy")
