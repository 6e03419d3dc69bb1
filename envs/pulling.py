"""A demonstrator for what slides or turns: it grips a knob and leads it along the way that the joint leaves it."""

from dataclasses import dataclass, field

import numpy as np

from envs.control import CartesianDelta
from envs.experts import HOVER, cartesian_action
from envs.fixtures import FIXTURES
from envs.geometry import quat_from_yaw, quat_rotate, yaw_of
from envs.goals import Goal
from envs.hand import Hand
from envs.types import Array, Observation

KNOB_RADIUS = 0.007
"""[m]."""
OPEN, CLOSED, HELD_BELOW = 0.5, -0.1, 0.25
"""[rad] A knob stops the jaws at about 0.15."""
STRIDE = 0.02
"""[m] that the knob is led ahead per control step."""


@dataclass
class Pull:
    """Opens a fixture's part to the joint's position `to`, and holds it there."""

    base: str
    part: str
    knob: tuple[float, float, float]
    """[m] Where the knob is held, in the part's frame."""
    to: float
    """[m or rad]."""
    control: CartesianDelta = field(default_factory=CartesianDelta)

    def reset(self) -> None:
        """Nothing to forget: the law is stateless."""

    def act(self, observation: Observation, goal: Goal) -> Array:
        """Actions `[*B 5]`."""
        objects = observation.objects
        position = np.asarray(objects.position_in_world, np.float64)
        quaternion = np.asarray(objects.quaternion_in_world, np.float64)
        hand, part, base = Hand.of(observation), objects.index(self.part), objects.index(self.base)
        command, tool = hand.command, hand.tool
        knob = position[..., part, :] + _rotate(quaternion[..., part, :], self.knob)
        ahead = self._ahead(knob, position[..., part, :], quaternion[..., part, :], position[..., base, :],
                            quaternion[..., base, :])  # fmt: skip

        side = _rotate(hand.quaternion, (1.0, 0.0, 0.0)) * np.array([1.0, 1.0, 0.0])
        # A knob gives way along its joint alone: the fixed pad has to come down close to it.
        beside = knob + (0.014 - KNOB_RADIUS - 0.002) * side
        inside = hand.around(knob, (0.016, 0.010, 0.012))
        held = inside & hand.gripping(HELD_BELOW)

        # The jaws close across the way the knob goes at first, so that it has room on either side.
        across = yaw_of(quaternion[..., base, :]) + 0.5 * np.pi
        turn = np.remainder(across - command.yaw + 0.5 * np.pi, np.pi) - 0.5 * np.pi
        error = np.linalg.norm((beside - tool)[..., :2], axis=-1)
        astray = np.maximum((error - 0.003) / 0.012, (np.abs(turn) - 0.1) / 0.2)
        reach = beside - command.position
        reach[..., 2] += HOVER * np.clip(astray, 0.0, 1.0)
        lead = ahead + (tool - knob) - command.position
        lead[..., 2] = 0.0
        move = np.where(held[..., None], lead, np.where(inside[..., None], 0.0, reach))
        return cartesian_action(self.control, move, np.where(inside, 0.0, turn), np.where(inside, CLOSED, OPEN))

    def _ahead(self, knob: Array, part: Array, turned: Array, base: Array, facing: Array) -> Array:
        """Where the knob `[*B 3]` should be a control step from now [m]."""
        what = next(each for each in FIXTURES[self.base].parts if each.name == self.part)
        joint = what.joint
        assert joint is not None, f"{self.part} has no joint"
        if not joint.turns:
            way = _rotate(facing, joint.axis)
            home = base + _rotate(facing, what.position)
            opened = np.sum((part - home) * way, axis=-1)
            return np.asarray(knob + np.clip(self.to - opened, -STRIDE, STRIDE)[..., None] * way)
        sign = joint.axis[2]
        opened = sign * (np.remainder(yaw_of(turned) - yaw_of(facing) + np.pi, 2 * np.pi) - np.pi)
        hinge = part + _rotate(turned, joint.anchor)
        arm = knob - hinge
        step = STRIDE / np.linalg.norm(arm[..., :2], axis=-1)
        return np.asarray(hinge + quat_rotate(quat_from_yaw(sign * np.clip(self.to - opened, -step, step)), arm))


def _rotate(quaternion: Array, vector: tuple[float, float, float]) -> Array:
    return np.asarray(quat_rotate(quaternion, np.broadcast_to(np.array(vector), (*quaternion.shape[:-1], 3))))
