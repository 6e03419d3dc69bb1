"""A stand-in for an arm, one that is stuck, and a guard whose seconds pass with its ticks: for the governor's tests."""

import numpy as np

from envs.robot import HOME
from envs.so101 import JOINT_HIGH, JOINT_LOW
from robots.arm.contract import ArmLostError, Health, Reading
from robots.governor.governor import Governor
from robots.governor.guard import Guard
from robots.governor.limits import Limits
from robots.units import JOINTS

RANGE = np.stack([JOINT_LOW, JOINT_HIGH], axis=1)
START = np.array([*HOME[:5], 0.3])
TICK = 0.02
LIMITS = Limits()
ELBOW = np.eye(6)[2]


def reading(position=START, velocity=0.0, **health):
    """Six joints that have an easy time; `health` by name, one value for all or six."""
    easy = {"load": 0.0, "current": 0.0, "temperature": 30.0, "voltage": 7.4}
    values = {name: np.broadcast_to(np.asarray(value, float), 6) for name, value in (easy | health).items()}
    return Reading(0.0, np.array(position, float), np.broadcast_to(velocity, 6), Health(errors=((),) * 6, **values))


class Obedient:
    """An arm that is where it was told to be, while it answers."""

    joint_range, model = RANGE, "so101"

    def __init__(self):
        self.position, self.shares, self.powered, self.answers, self.reopened = START.copy(), [], True, True, 0

    def connect(self, powered):
        self.powered = powered

    def read(self):
        if not self.answers:
            raise ArmLostError("silence")
        return reading(self.position)

    def command(self, target):
        self.position = target.copy()

    def limit_torque(self, share):
        self.shares.append(share)

    def release(self):
        self.powered = self.powered and not self.answers
        return JOINTS if not self.answers else ()

    def close(self, reopen=False):
        self.reopened += reopen
        return reopen


class Stuck(Obedient):
    """Its elbow does not get beyond a wall, while there is one, and strains with what is asked of it."""

    wall = START[2]

    def read(self):
        free = self.position.copy()
        free[2] = min(free[2], self.wall)
        return reading(free, load=np.clip(20 * (self.position - free), -1, 1))


class Clocked:
    """A guard whose seconds pass with its ticks."""

    def __init__(self, moving=True, arm=None, **limits):
        self.now, self.arm = 0.0, arm or Obedient()
        governor = Governor(Limits(**limits), RANGE)
        self.guard = Guard(self.arm, governor, 1 / TICK, clock=lambda: self.now, moving=moving)
        self.tick()

    def tick(self, count=1):
        for _ in range(count):
            self.now += TICK
            report = self.guard.tick()
        return report
