"""Beginnings nearer to the goal, for who learns without demonstrations: the object in the hand, or the hand over it.

A reset curriculum (Florensa et al. 2017) of the simplest kind: shares of the episodes, the same from first to last. By
chance alone, a policy that starts away from a cube hardly ever closes the jaws on it; whether it can do without these
beginnings is for an evaluation to say, which knows none of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from envs.errors import EmbodiedError
from envs.geometry import yaw_of
from envs.kinematics import body_poses, project
from envs.layout import Layout
from envs.robot import HOME

GRIP = 0.29
"""[rad] The jaw on a 28 mm cube, squeezing a little."""
CARRIED = 0.07
"""[m] Most height of a held object above where it would have lain."""
HOVER = 0.045
"""[m] Most height of the tool above an object."""
AWRY = 0.006
"""[m] Most distance of the tool from above an object, along x and along y."""


@dataclass(frozen=True)
class HeadStart:
    """Which share of episodes begins how; the rest begins as the task says."""

    held: float = 0.3
    """With the object between the closed jaws, somewhere above where it would have lain."""
    hovering: float = 0.2
    """With the open jaws about to come down on it."""

    def apply(self, layout: Layout, subject: int, generators: Sequence[np.random.Generator]) -> Layout:
        """The layout of n worlds with some beginnings eased for the object of index `subject`.

        Each world draws from its own generator. Raises `EmbodiedError` for shares that are none.
        """
        if min(self.held, self.hovering) < 0.0 or self.held + self.hovering > 1.0:
            raise EmbodiedError(f"Shares of head starts lie within 0 and 1 together, got {self}.")
        draws = np.stack([generator.random(4) for generator in generators])
        held = draws[:, 0] < self.held
        eased = draws[:, 0] < self.held + self.hovering
        place = np.array(layout.object_position[:, subject])
        place[:, 2] += np.where(held, CARRIED, HOVER) * draws[:, 1]
        place[:, :2] += np.where(held, 0.0, AWRY)[:, None] * (2.0 * draws[:, 2:4] - 1.0)
        quarter = np.pi / 2
        yaw = yaw_of(layout.object_quaternion[:, subject])
        arm = project(place, np.remainder(yaw + quarter / 2, quarter) - quarter / 2).joints
        joints = np.concatenate([arm, np.where(held, GRIP, HOME[-1])[:, None]], axis=1)
        position, quaternion = (np.array(each) for each in (layout.object_position, layout.object_quaternion))
        points, turns = body_poses(joints)
        position[held, subject], quaternion[held, subject] = points[held, 0], turns[held, 0]
        return replace(
            layout,
            joints=np.where(eased[:, None], joints, layout.joints),
            object_position=position,
            object_quaternion=quaternion,
        )
