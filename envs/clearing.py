"""A demonstrator that clears what lies around a thing, topmost first, before it takes the thing itself."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from envs.experts import OPEN, PickAndPlace, View, cartesian_action
from envs.geometry import quat_to_matrix
from envs.goals import Goal
from envs.hand import Hand
from envs.types import Array, Kind, Observation

IN_THE_WAY = 0.055
"""[m] What lies nearer to the thing than this, from centre to centre, is moved first."""
PATIENCE = 4.0
"""[s] after which another way is tried: the thing itself before what is around it, then all grasps across."""
ASIDE = 0.13
"""[m] y of where things are put down, on the side without the bin."""


@dataclass
class Retrieve:
    """Takes the subject out of a pile and puts it into a bin."""

    subject: str
    others: Sequence[str]
    bin: str
    pick: PickAndPlace = field(init=False)

    def __post_init__(self) -> None:
        self.pick = PickAndPlace(self.subject, self.bin)

    def reset(self) -> None:
        """Nothing to forget: the law is stateless."""

    def act(self, observation: Observation, goal: Goal) -> Array:
        """Actions `[*B 5]`."""
        names = (self.subject, *self.others)
        views = [_across(observation, name) for name in names]
        side = np.sign(observation.objects.position_in_world[..., observation.objects.index(self.bin), 1])
        actions = []
        for index, view in enumerate(views):
            if index == 0:
                aim, rim = self.pick.aim(observation, view)
            else:
                away = [0.0 * side + 0.13 + 0.045 * index, -side * ASIDE, view.cube_half]
                aim, rim = np.stack(away, axis=-1), np.full(side.shape, 0.03)
            actions.append(self.pick.law(view, aim, rim))

        place = np.stack([view.cube for view in views], axis=-2)
        held = np.stack([view.held for view in views], axis=-1)
        between = np.stack([view.inside for view in views], axis=-1)
        near = np.linalg.norm((place - place[..., :1, :])[..., :2], axis=-1) < IN_THE_WAY
        near[..., 0] = False
        # Topmost first, the subject last; and what is held is put down before anything else.
        order = np.where(near, 1.0 + place[..., 2], 0.0) + 10.0 * held
        order[..., 0] += 5.0 * (_turn_of(observation) % 2)
        which = np.argmax(order, axis=-1)[..., None]
        action = np.take_along_axis(np.stack(actions, axis=-2), which[..., None], axis=-2)[..., 0, :]

        # Whatever else is between the jaws was just let go of: straight up, before it is dragged along.
        mine = np.take_along_axis(between, which, axis=-1)[..., 0]
        leave = between.any(axis=-1) & ~mine
        up = cartesian_action(self.pick.control, np.broadcast_to([0.0, 0.0, 0.03], (*side.shape, 3)), 0.0 * side,
                              np.full(side.shape, OPEN))  # fmt: skip
        return np.where(leave[..., None], up, action)


def _across(observation: Observation, name: str) -> View:
    """The view of one thing, its yaw that of the narrowest grip from above, whichever face it lies on."""
    view, objects = View.of(observation, name), observation.objects
    k = objects.index(name)
    if objects.kind[k] == Kind.SPHERE:
        return replace(view, yaw_error=0.0 * view.yaw_error)
    axes = quat_to_matrix(np.asarray(objects.quaternion_in_world[..., k, :], np.float64))
    half = np.asarray(objects.half_extents[..., k, :], np.float64)
    upright = np.abs(axes[..., 2, :])
    # An axis that stands up cannot be closed along; of the others, the jaws take the shortest.
    cost = half + 10.0 * (upright > 0.7)
    first = np.argmin(cost, axis=-1)[..., None]
    axis = np.take_along_axis(axes, first[..., None, :], axis=-1)[..., 0]
    others = np.sort(cost, axis=-1)
    square = others[..., 1] - others[..., 0] < 0.002
    other = np.where(square & (_turn_of(observation) % 4 >= 2), 0.5 * np.pi, 0.0)
    return replace(view, yaw_error=Hand.of(observation).towards(np.arctan2(axis[..., 1], axis[..., 0]) + other))


def _turn_of(observation: Observation) -> Array:
    return np.floor(np.asarray(observation.time) / PATIENCE)
