"""A demonstrator for many small things: it pushes them home one by one, each held between half-open jaws."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from envs.control import CartesianDelta
from envs.experts import cartesian_action
from envs.geometry import quat_conjugate, quat_rotate
from envs.goals import Goal
from envs.hand import Hand
from envs.types import Array, Observation

AJAR = 0.18
"""[rad] Pads 17 mm apart: a broom 33 mm wide, and what is 20 mm wide sits before the gap without turning away."""
BEHIND = 0.042
"""[m] The broom comes down this far behind what it is to push."""
HIGH, LOW = 0.075, 0.014
"""[m] height of the tool above everything, and while it pushes."""
OPEN = 0.5
"""[rad] Lets go of what got caught between the jaws."""
NEAREST = 0.137
"""[m] x below which the broom does not get."""
HARDER = 0.02
"""[m] by which the broom's command goes on beyond what stops it: the servos press in proportion."""
STILL = 0.005
"""[m/s] A broom below this has been stopped."""
ENOUGH = 0.012
"""[m] A thing this deep inside is left alone: what follows will push it on."""


@dataclass
class Sweep:
    """Pushes things into a fixture that is open on its -x, the one furthest from it first."""

    things: Sequence[str]
    into: str
    control: CartesianDelta = field(default_factory=CartesianDelta)

    def reset(self) -> None:
        """Nothing to forget: the law is stateless."""

    def act(self, observation: Observation, goal: Goal) -> Array:
        """Actions `[*B 5]`."""
        objects = observation.objects
        position = np.asarray(objects.position_in_world, np.float64)
        pan, turned = (np.asarray(array)[..., objects.index(self.into), :]
                       for array in (position, objects.quaternion_in_world))  # fmt: skip
        half = np.asarray(objects.half_extents)[..., objects.index(self.into), :]
        hand = Hand.of(observation)
        command, tool = hand.command, hand.tool
        jaws = [objects.index(name) for name in ("fixed_jaw", "moving_jaw")]
        broom = position[..., jaws, :2].mean(axis=-2)
        things = position[..., [objects.index(name) for name in self.things], :]
        velocity = np.asarray(objects.linear_velocity_in_world)[..., objects.index("gripper"), :2]

        # In the frame of what they are swept into: where each should go next, and the way there.
        local = quat_rotate(quat_conjugate(turned)[..., None, :], things - pan[..., None, :])
        inside = np.minimum(local[..., 0] + half[..., None, 0], half[..., None, 1] - np.abs(local[..., 1])) > ENOUGH
        home = _way_in(local, half[..., None, :])
        gap = (quat_rotate(turned[..., None, :], home - local))[..., :2]
        heading = gap / np.maximum(np.linalg.norm(gap, axis=-1, keepdims=True), 1e-6)
        offset = things[..., :2] - broom[..., None, :]
        along = np.sum(offset * heading, axis=-1)
        across = np.linalg.norm(offset - along[..., None] * heading, axis=-1)
        low = tool[..., 2] < 0.035
        caught = (things[..., 2] > 0.03).any(axis=-1)
        engaged = low[..., None] & (along > 0.0) & (along < BEHIND + 0.012) & (across < 0.014) & ~inside

        order = local[..., 0] - 1.0 * engaged + 10.0 * inside
        which = np.argmin(order, axis=-1)[..., None]
        thing, way = (np.take_along_axis(array, which[..., None], axis=-2)[..., 0, :] for array in (things, heading))
        left = np.take_along_axis(np.linalg.norm(gap, axis=-1), which, axis=-1)[..., 0]
        pushing = np.take_along_axis(engaged, which, axis=-1)[..., 0]

        lag = broom - tool[..., :2]
        here = command.position[..., :2] + lag
        start = thing[..., :2] - BEHIND * way
        start[..., 0] = np.maximum(start[..., 0], NEAREST)
        travel = np.linalg.norm(start - broom, axis=-1)
        done = inside.all(axis=-1)
        up = ~pushing & low & (travel > 0.012) | done
        ahead = thing[..., :2] - broom
        lead = np.sum(ahead * way, axis=-1, keepdims=True)
        # Along the line through the thing towards its home, a step at a time; harder where something holds it up.
        stuck = np.linalg.norm(velocity, axis=-1) < STILL
        harder = np.where((lead < 0.025) & stuck[..., None], HARDER, 0.0)
        on_line = thing[..., :2] + (np.minimum(left, 0.02)[..., None] - np.minimum(lead, 0.02) + harder) * way
        xy = np.where(pushing[..., None], on_line, np.where(up[..., None], here, start))
        z = np.where(pushing | ((travel < 0.012) & ~up), LOW, HIGH)
        move = np.concatenate([xy - here, (z - command.position[..., 2])[..., None]], axis=-1)
        facing = np.arctan2(way[..., 1], way[..., 0]) + 0.5 * np.pi
        turn = hand.towards(facing)
        aligned = np.abs(turn) < 0.15
        move[..., 2] = np.where(aligned | pushing | low, move[..., 2], HIGH - command.position[..., 2])
        return cartesian_action(self.control, move, np.where(up, 0.0, turn), np.where(caught, OPEN, AJAR))


def _way_in(local: Array, half: Array) -> Array:
    """Where things at `local` `[*B J 3]` go next, in the frame of a fixture of half sizes `half` [m].

    In front of its mouth, then in; what is beside it goes back first.
    """
    x, y = local[..., 0], local[..., 1]
    room = half[..., 1] - 0.030
    lane = np.clip(y, -room, room)
    before, beside = x < -half[..., 0] + 0.005, np.abs(y) > half[..., 1] - 0.016
    gate = -half[..., 0] - 0.018
    home_x = np.where(before & beside, gate, 0.004)
    home_x = np.where(~before & beside, gate - 0.015, home_x)
    return np.stack([home_x, np.where(~before & beside, y, lane), local[..., 2]], axis=-1)
