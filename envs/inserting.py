"""A demonstrator that puts a peg into a hole: it aligns by what it sees of the peg, not of the tool."""

from dataclasses import dataclass, field

import numpy as np

from envs.control import CartesianDelta
from envs.experts import HOVER, cartesian_action
from envs.geometry import yaw_of
from envs.goals import Goal
from envs.hand import Hand
from envs.types import Array, Observation

GRIP = 0.014
"""[m] How far above its centre the peg is held."""
OPEN, CLOSED, HELD_BELOW = 0.45, 0.0, 0.30
"""[rad] A peg 20 mm wide stops the jaws at about 0.2."""
OVER = 0.006
"""[m] The peg travels this far above the hole's rim."""
PRESS = 0.010
"""[m] How far below itself the tool is sent while the peg goes in."""
FLAT, TURNED = 0.0006, 0.03
"""[m], [rad] It is let down when it is this well over the hole."""


@dataclass
class Insert:
    """Stands the peg in the hole, lets go and withdraws."""

    peg: str
    hole: str
    control: CartesianDelta = field(default_factory=CartesianDelta)

    def reset(self) -> None:
        """Nothing to forget: the law is stateless."""

    def act(self, observation: Observation, goal: Goal) -> Array:
        """Actions `[*B 5]`."""
        objects = observation.objects
        position = np.asarray(objects.position_in_world, np.float64)
        quaternion = np.asarray(objects.quaternion_in_world, np.float64)
        half = np.asarray(objects.half_extents, np.float64)
        hand, peg, hole = Hand.of(observation), objects.index(self.peg), objects.index(self.hole)
        command, tool, at = hand.command, hand.tool, position[..., peg, :]
        standing, rim = half[..., peg, 2], position[..., hole, 2] + half[..., hole, 2]

        def quarter(angle: Array) -> Array:
            return np.remainder(angle + 0.25 * np.pi, 0.5 * np.pi) - 0.25 * np.pi

        grip = at + np.array([0.0, 0.0, GRIP])
        inside = hand.around(grip, (0.014, 0.010, 0.014))
        held = inside & hand.gripping(HELD_BELOW)

        astray = np.linalg.norm((grip - tool)[..., :2], axis=-1)
        turn = quarter(yaw_of(quaternion[..., peg, :]) - command.yaw)
        high = np.clip(np.maximum((astray - 0.003) / 0.012, (np.abs(turn) - 0.1) / 0.2), 0.0, 1.0)
        reach = grip - command.position
        reach[..., 2] += (HOVER + 0.015) * high

        flat = position[..., hole, :] - at
        error = np.linalg.norm(flat[..., :2], axis=-1)
        twist = quarter(yaw_of(quaternion[..., hole, :]) - yaw_of(quaternion[..., peg, :]))
        bottom = at[..., 2] - standing
        entered = (bottom < rim - 0.003) & (error < 0.004)
        down = entered | ((error < FLAT) & (np.abs(twist) < TURNED))
        carry = 0.7 * flat
        clear = bottom > rim + 0.5 * OVER
        carry[..., :2] = np.where((clear | entered | (error < 0.002))[..., None], carry[..., :2], 0.0)
        # No lower than a little below where the tool is: what jams at the rim should not be pressed through the jaws.
        lower = np.clip(tool[..., 2] - PRESS - command.position[..., 2], -0.012, 0.0)
        carry[..., 2] = np.where(down, lower, rim + OVER - bottom)
        home = entered & (bottom < 0.002)

        away = np.zeros_like(carry)
        # Jaws that open too low scrape over the rim.
        ease = np.clip(grip[..., 2] - tool[..., 2], 0.0, 0.006)
        away[..., 2] = np.where(hand.opening > OPEN - 0.1, 0.03, ease) * (tool[..., 2] < at[..., 2] + 0.06)
        move = np.where(held[..., None], carry, np.where(inside[..., None], 0.0, reach))
        move = np.where(home[..., None], away, move)
        turn = np.where(home | (inside & ~held), 0.0, np.where(held, 0.7 * twist, turn))
        return cartesian_action(self.control, move, turn, np.where(inside & ~home, CLOSED, OPEN))
