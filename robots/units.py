"""Between LeRobot's numbers and the model's radians.

LeRobot's SO-101 speaks degrees for five joints, zero in the middle of the range that was swept while calibrating, and
0 (closed) to 100 (open) for the gripper. The model's zero is the middle of the mechanical range. Signs agree (LeRobot's
own kinematics feeds its degrees straight into the same frames); zeros differ per arm by several degrees.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from envs.errors import EmbodiedError

JOINTS = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")
"""LeRobot's order."""

GRIPPER_RANGE = (-0.17453, 1.74533)
"""Closed and fully open jaw of the model [rad] (TheRobotStudio SO-ARM100 MJCF)."""

DEGREES_PER_COUNT = 360 / 4095
"""LeRobot divides the turn by the largest count, not by the 4096 counts of the encoder."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Units:
    """The conversion of one arm; the default is an arm whose calibration met the middle of every range."""

    zero: tuple[float, float, float, float, float] = (0.0, 0.0, 0.0, 0.0, 0.0)
    """The model's angle where LeRobot says 0 degrees, for the five joints before the gripper [rad]."""
    gripper_closed: float = GRIPPER_RANGE[0]
    """The model's jaw angle at LeRobot's 0 [rad]."""
    gripper_open: float = GRIPPER_RANGE[1]
    """The model's jaw angle at LeRobot's 100 [rad]; real jaws sweep 2.2 to 2.5 rad of servo, the model 1.92."""

    def to_radians(self, lerobot: Floats) -> Floats:
        """`[*B 6]` degrees and 0..100 to `[*B 6]` radians; raises `EmbodiedError` for another last size."""
        lerobot = _six(lerobot)
        arm = np.deg2rad(lerobot[..., :5]) + np.asarray(self.zero)
        gripper = self.gripper_closed + lerobot[..., 5:] / 100 * (self.gripper_open - self.gripper_closed)
        return np.concatenate([arm, gripper], axis=-1)

    def to_lerobot(self, radians: Floats) -> Floats:
        """`[*B 6]` radians to `[*B 6]` degrees and 0..100; raises `EmbodiedError` for another last size."""
        radians = _six(radians)
        arm = np.rad2deg(radians[..., :5] - np.asarray(self.zero))
        gripper = (radians[..., 5:] - self.gripper_closed) / (self.gripper_open - self.gripper_closed) * 100
        return np.concatenate([arm, gripper], axis=-1)

    def speed_to_radians(self, lerobot: Floats) -> Floats:
        """`[*B 6]` degrees/s and percent/s to `[*B 6]` rad/s: as positions, without the zeros."""
        return np.asarray(_six(lerobot) * self._scale, dtype=np.float64)

    def speed_to_lerobot(self, radians: Floats) -> Floats:
        """`[*B 6]` rad/s to `[*B 6]` degrees/s and percent/s."""
        return np.asarray(_six(radians) / self._scale, dtype=np.float64)

    @property
    def _scale(self) -> Floats:
        return np.append(np.full(5, np.pi / 180), (self.gripper_open - self.gripper_closed) / 100)


def from_features(features: Mapping[str, float]) -> Floats:
    """`[6]` from LeRobot's `{"shoulder_pan.pos": value, ...}`; raises `EmbodiedError` naming what is missing."""
    missing = [joint for joint in JOINTS if f"{joint}.pos" not in features]
    if missing:
        raise EmbodiedError(
            f"The arm did not report {', '.join(missing)}; it reported {', '.join(features) or 'nothing'}."
        )
    return np.array([features[f"{joint}.pos"] for joint in JOINTS], dtype=np.float64)


def to_features(lerobot: Floats) -> dict[str, float]:
    """LeRobot's `{"shoulder_pan.pos": value, ...}` from `[6]` of its numbers."""
    return {f"{joint}.pos": float(value) for joint, value in zip(JOINTS, _six(lerobot), strict=True)}


def _six(values: Floats) -> Floats:
    values = np.asarray(values, dtype=np.float64)
    if values.shape[-1:] != (6,):
        raise EmbodiedError(f"An SO-101 has 6 joints, the array's shape is {values.shape}.")
    return values
