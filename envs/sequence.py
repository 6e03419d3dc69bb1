"""Demonstrations of several jobs one after the other, and ways around what stands in between."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from envs.control import CartesianDelta
from envs.episode import Policy
from envs.experts import PickAndPlace
from envs.goals import Goal
from envs.kinematics import forward
from envs.types import PROPRIOCEPTION, Array, Kind, Observation

SAFE = 0.07
"""[m] height of the tool at which its jaws clear a bin's rim."""
AROUND = 0.03
"""[m] how far beside a bin's box the jaws still meet its walls."""


@dataclass
class InOrder:
    """Does the first job that is not done; every world on its own."""

    jobs: Sequence[Policy]
    done: Callable[[Observation], Array]
    """`[*B J]` bool, which of the J jobs are done, from an observation `[*B ...]`."""

    def reset(self) -> None:
        """Nothing to forget: the law is stateless."""

    def act(self, observation: Observation, goal: Goal) -> Array:
        """Actions `[*B A]`."""
        done = self.done(observation)
        # The last one goes on when all are done: it knows how to withdraw.
        which = np.where(done.all(axis=-1), len(self.jobs) - 1, np.argmin(done, axis=-1))
        actions = np.stack([job.act(observation, goal) for job in self.jobs], axis=-2)
        return np.asarray(np.take_along_axis(actions, which[..., None, None], axis=-2)[..., 0, :])


@dataclass
class OverRims:
    """A job whose tool leaves a bin straight up before it goes anywhere else."""

    job: PickAndPlace

    def reset(self) -> None:
        """Nothing to forget: the law is stateless."""

    def act(self, observation: Observation, goal: Goal) -> Array:
        """Actions `[*B 5]`."""
        action = self.job.act(observation, goal)
        objects = observation.objects
        tool = np.asarray(objects.position_in_world[..., objects.index("gripper"), :])
        cube = np.asarray(objects.position_in_world[..., objects.index(self.job.subject), :])
        command = forward(np.asarray(observation.proprioception)[..., PROPRIOCEPTION["joint_target"]]).position
        bins = np.flatnonzero(np.asarray(objects.kind) == Kind.BIN)
        beside = np.abs(objects.position_in_world[..., bins, :2] - tool[..., None, :2])
        over = (beside < objects.half_extents[..., bins, :2] + AROUND).all(axis=-1).any(axis=-1)
        elsewhere = np.linalg.norm((cube - tool)[..., :2], axis=-1) > 0.04
        stuck = over & elsewhere & (tool[..., 2] < SAFE) & (command[..., 2] < SAFE + CartesianDelta().step)
        straight_up = np.array([0.0, 0.0, 1.0, 0.0])
        action[..., :4] = np.where(stuck[..., None], straight_up, action[..., :4])
        return action
