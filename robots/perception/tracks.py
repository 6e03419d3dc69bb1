"""Velocities from noisy poses: a constant-velocity Kalman filter per box, over position and orientation alike."""

from dataclasses import dataclass

import cv2
import numpy as np

from robots.calibration.poses import Floats, rotation

PUSHED, TURNED = 0.5, 5.0
"""[m/s^2], [rad/s^2] Accelerations of a cube that is pushed or carried; larger ones would follow noise."""
FASTEST, QUICKEST = 0.5, 5.0
"""[m/s], [rad/s] Standard deviations of velocities before they were seen."""

LONGEST = 0.3
"""[s] No motion is trusted to go on for longer than this unseen."""


@dataclass
class Axis:
    """Covariance of a value and its rate, the same for three axes that are filtered alike."""

    covariance: Floats
    """`[2 2]`."""
    acceleration: float

    def predict(self, dt: float) -> None:
        """Let `dt` [s] pass."""
        step, gain = np.array([[1.0, dt], [0.0, 1.0]]), np.array([0.5 * dt**2, dt])
        self.covariance = step @ self.covariance @ step.T + self.acceleration**2 * np.outer(gain, gain)

    def update(self, spread: float) -> Floats:
        """Gains `[2]` on what was measured, with a standard deviation of `spread`, beyond what was expected."""
        gain = self.covariance[:, 0] / (self.covariance[0, 0] + spread**2)
        self.covariance = self.covariance - np.outer(gain, self.covariance[0])
        return np.asarray(gain)


class Track:
    """One box, followed."""

    def __init__(self, pose: Floats, spread: tuple[float, float], time: float) -> None:
        """First seen at `pose` `[4 4]` in the base, at `time` [s], known to `spread` [m], [rad]."""
        self.pose, self.time, self.seen = pose, time, time
        self.linear, self.angular = np.zeros(3), np.zeros(3)
        self._move = Axis(np.diag([spread[0] ** 2, FASTEST**2]), PUSHED)
        self._turn = Axis(np.diag([spread[1] ** 2, QUICKEST**2]), TURNED)

    def expected(self, time: float) -> Floats:
        """Where it is at `time` if it goes on as it goes, `[4 4]`."""
        dt, ahead = min(time - self.time, LONGEST), self.pose.copy()
        ahead[:3, :3] = rotation(dt * self.angular) @ self.pose[:3, :3]
        ahead[:3, 3] += dt * self.linear
        return ahead

    def see(self, pose: Floats, spread: tuple[float, float], time: float) -> None:
        """Take in another sighting, at a later time."""
        ahead, dt = self.expected(time), time - self.time
        self._move.predict(dt)
        self._turn.predict(dt)
        shift = pose[:3, 3] - ahead[:3, 3]
        turn = cv2.Rodrigues(pose[:3, :3] @ ahead[:3, :3].T)[0].ravel()
        to_place, to_speed = self._move.update(spread[0])
        to_turn, to_spin = self._turn.update(spread[1])
        ahead[:3, 3] += to_place * shift
        ahead[:3, :3] = rotation(to_turn * turn) @ ahead[:3, :3]
        self.pose, self.time, self.seen = ahead, time, time
        self.linear, self.angular = self.linear + to_speed * shift, self.angular + to_spin * turn
