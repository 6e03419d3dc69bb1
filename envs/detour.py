"""Ways over what stands in between: the tool rises before it crosses an obstacle, and stays up until it has."""

import numpy as np

from envs.control import CartesianDelta
from envs.hand import Hand
from envs.types import Array, Kind, Observation

BESIDE = 0.045
"""[m] how far beside an obstacle's box the open jaws, or what they hold, still meet it."""
OVER = 0.040
"""[m] how far above an obstacle the tool crosses it, with a cube hanging below."""
THERE = 0.012
"""[m] so near to where it goes next, the tool comes down again."""


def over_obstacles(observation: Observation, action: Array, to: Array, control: CartesianDelta) -> Array:
    """The actions `[*B 5]` of a law, but straight up and then level where an obstacle is on the way to `to` `[*B 3]`.

    Without obstacles in the scene they are as they were.
    """
    objects = observation.objects
    blocks = np.flatnonzero(np.asarray(objects.kind) == Kind.OBSTACLE)
    if not len(blocks):
        return action
    hand = Hand.of(observation, control.arm)
    there = np.asarray(objects.present)[..., blocks]
    centre = np.asarray(objects.position_in_world, np.float64)[..., blocks, :]
    half = np.asarray(objects.half_extents, np.float64)[..., blocks, :]
    turned = np.asarray(objects.quaternion_in_world, np.float64)[..., blocks, :]
    # Points of the way, seen from above: one within an obstacle's box and the room beside it is enough.
    share = np.linspace(0.0, 1.0, 9)[:, None]
    way = (1.0 - share) * hand.tool[..., None, :2] + share * np.asarray(to, np.float64)[..., None, :2]
    offset = way[..., None, :, :] - centre[..., :, None, :2]
    cosine, sine = turned[..., 0] ** 2 - turned[..., 3] ** 2, 2.0 * turned[..., 0] * turned[..., 3]
    cosine, sine = cosine[..., None], sine[..., None]
    local = np.stack([cosine * offset[..., 0] + sine * offset[..., 1], cosine * offset[..., 1] - sine * offset[..., 0]])
    room = np.stack([half[..., 0], half[..., 1]])[..., None] + BESIDE
    crossed = (np.abs(local) < room).all(axis=0).any(axis=-1) & there
    top = np.where(crossed, centre[..., 2] + half[..., 2], -np.inf).max(axis=-1)
    far = np.linalg.norm((hand.tool - to)[..., :2], axis=-1) > THERE
    blocked = crossed.any(axis=-1) & far
    height = np.where(blocked, top + OVER, 0.0)
    rise = height - hand.command.position[..., 2]
    low = blocked & (hand.tool[..., 2] < height - 0.012)
    # Servos droop: while the tool is too low, the command goes on rising.
    rise = np.where(low, np.maximum(rise, 0.006), rise)
    changed = action.copy()
    changed[..., :2] = np.where(low[..., None], 0.0, action[..., :2])
    changed[..., 2] = np.where(blocked, np.clip(rise / control.step, -1.0, 1.0), action[..., 2])
    return changed
