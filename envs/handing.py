"""A demonstrator for two arms: the first lifts one end of a rod, the second takes the other end, the first lets go."""

from dataclasses import dataclass, field, replace

import numpy as np

from envs.control import CartesianDelta
from envs.experts import HELD_BELOW, OPEN, PickAndPlace, View, cartesian_action
from envs.geometry import quat_rotate, yaw_of
from envs.goals import Goal
from envs.kinematics import forward
from envs.two_arms import BASE, of_first, seen_by_other
from envs.types import PROPRIOCEPTION, Array, Observation

GRIP = 0.045
"""[m] from the rod's centre to where each arm grips it: their hands, 60 mm wide, have room beside each other."""
MEETING = np.array([0.5 * BASE[0] - GRIP, 0.0, 0.10])
"""[m] Where an arm holds its end when the rod changes hands, in its own frame."""
READY = MEETING + np.array([0.0, 0.0, 0.045])
"""[m] where the second arm waits: above the end that it will take."""
BACK = MEETING - np.array([0.04, 0.0, 0.0])
"""[m] where the second arm holds its end afterwards."""
OFF = 0.012
"""[m] an offered end may be from where it should be."""
DEEP = 0.005
"""[m] of a tool above the end it takes."""
GONE = 0.03
"""[m] by which the first hand has risen from the rod when the second one draws it away."""


@dataclass
class HandOver:
    """Hands the subject, which lies before the first arm, to the second one."""

    subject: str
    control: CartesianDelta = field(default_factory=CartesianDelta)
    pick: PickAndPlace = field(init=False)

    def __post_init__(self) -> None:
        self.pick = PickAndPlace(self.subject, None, control=self.control)

    def reset(self) -> None:
        """Nothing to forget: the law is stateless."""

    def act(self, observation: Observation, goal: Goal) -> Array:
        """Actions `[*B 10]`."""
        giver, taker = (self._end(of_first(one)) for one in (observation, seen_by_other(observation)))
        rod = observation.objects.quaternion_in_world[..., observation.objects.index(self.subject), :]
        askew = np.remainder(yaw_of(np.asarray(rod)) + 0.5 * np.pi, np.pi) - 0.5 * np.pi
        there = (np.linalg.norm(giver.cube - MEETING, axis=-1) < OFF) & (np.abs(askew) < 0.15)
        offered = giver.held & (there | taker.inside)
        return np.concatenate([self._give(giver, taker, askew), self._take(giver, taker, offered)], axis=-1)

    def _give(self, own: View, other: View, askew: Array) -> Array:
        """Carries its end to the meeting, the rod in line with both arms; lets go once the other holds, and rises."""
        action = self._led(own, MEETING)
        action[..., 3] = np.where(own.held, np.clip(-askew / self.control.turn, -1.0, 1.0), action[..., 3])
        up = np.zeros_like(own.cube)
        up[..., 2] = np.where(own.gripper > HELD_BELOW, READY[2] - own.command[..., 2], 0.0)
        leave = cartesian_action(self.control, up, np.zeros(askew.shape), np.full(askew.shape, OPEN))
        return np.where(other.held[..., None], leave, action)

    def _take(self, other: View, own: View, offered: Array) -> Array:
        """Waits, closes on the end that is offered, and draws the rod away once the other hand has left it."""
        gone = other.tool[..., 2] > other.cube[..., 2] + GONE
        aim = np.where(gone[..., None], BACK, own.cube)
        # Nothing is under the rod that would lift it between the pads: they have to come down all the way.
        deep = (own.tool - own.cube)[..., 2] < DEEP
        led = self._led(replace(own, inside=own.inside & (deep | (own.gripper < HELD_BELOW))), aim)
        wait = cartesian_action(self.control, READY - own.command, own.yaw_error, np.full(offered.shape, OPEN))
        return np.where((offered | own.held)[..., None], led, wait)

    def _led(self, own: View, aim: Array) -> Array:
        return self.pick.law(own, np.broadcast_to(aim, own.cube.shape), np.zeros(own.cube.shape[:-1]))

    def _end(self, observation: Observation) -> View:
        """The view of the end nearer to a hand that closes across the rod."""
        objects = observation.objects
        k = objects.index(self.subject)
        rotation = np.asarray(objects.quaternion_in_world[..., k, :], np.float64)
        along = np.asarray(quat_rotate(rotation, np.broadcast_to(np.eye(3)[0], (*rotation.shape[:-1], 3))))
        position = np.array(objects.position_in_world, np.float64)
        position[..., k, :] -= GRIP * np.where(along[..., :1] < 0.0, -1.0, 1.0) * along
        view = View.of(replace(observation, objects=replace(objects, position_in_world=position)), self.subject)
        command = forward(np.asarray(observation.proprioception, np.float64)[..., PROPRIOCEPTION["joint_target"]])
        turn = yaw_of(rotation) - command.yaw
        # Half a turn more or less is the same grip.
        return replace(view, yaw_error=np.remainder(turn, np.pi) - 0.5 * np.pi)
