"""Between LeRobot's numbers and the model's radians.

LeRobot's drivers speak of five joints in degrees, or in -100 to 100 from end to end of the range that was swept while
calibrating, zero in its middle; and of the gripper in 0 (closed) to 100 (open). An SO-101 has the model's zeros in the
middle of every range. Its signs agree (LeRobot's own kinematics feeds its degrees straight into the same frames); zeros
differ per arm by several degrees.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.errors import EmbodiedError

JOINTS = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")
"""LeRobot's order."""

GRIPPER_RANGE = (-0.17453, 1.74533)
"""Closed and fully open jaw of the model [rad] (TheRobotStudio SO-ARM100 MJCF)."""

COUNTS = 4096
"""Of an encoder's turn, from 0 on."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Units:
    """The conversion of one arm; the default is an arm whose calibration met the middle of every range."""

    zero: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0, 0.0)
    """The model's angle where LeRobot says 0, for the five joints before the gripper [rad]."""
    unit: tuple[float, ...] = (np.pi / 180,) * 5
    """[rad] of one of LeRobot's units, for the same joints: a degree, unless its driver has others."""
    gripper_closed: float = GRIPPER_RANGE[0]
    """The model's jaw angle at LeRobot's 0 [rad]."""
    gripper_open: float = GRIPPER_RANGE[1]
    """The model's jaw angle at LeRobot's 100 [rad]; real jaws sweep 2.2 to 2.5 rad of servo, the model 1.92."""

    def to_radians(self, lerobot: Floats) -> Floats:
        """`[*B 6]` LeRobot's units and 0..100 to `[*B 6]` radians; raises `EmbodiedError` for another last size."""
        lerobot = _six(lerobot)
        arm = lerobot[..., :5] * np.asarray(self.unit) + np.asarray(self.zero)
        gripper = self.gripper_closed + lerobot[..., 5:] / 100 * (self.gripper_open - self.gripper_closed)
        return np.concatenate([arm, gripper], axis=-1)

    def to_lerobot(self, radians: Floats) -> Floats:
        """`[*B 6]` radians to `[*B 6]` LeRobot's units and 0..100; raises `EmbodiedError` for another last size."""
        radians = _six(radians)
        arm = (radians[..., :5] - np.asarray(self.zero)) / np.asarray(self.unit)
        gripper = (radians[..., 5:] - self.gripper_closed) / (self.gripper_open - self.gripper_closed) * 100
        return np.concatenate([arm, gripper], axis=-1)

    def speed_to_radians(self, lerobot: Floats) -> Floats:
        """`[*B 6]` LeRobot's units/s and percent/s to `[*B 6]` rad/s: as positions, without the zeros."""
        return np.asarray(_six(lerobot) * self._scale, dtype=np.float64)

    def speed_to_lerobot(self, radians: Floats) -> Floats:
        """`[*B 6]` rad/s to `[*B 6]` LeRobot's units/s and percent/s."""
        return np.asarray(_six(radians) / self._scale, dtype=np.float64)

    @property
    def _scale(self) -> Floats:
        return np.append(self.unit, (self.gripper_open - self.gripper_closed) / 100)


def units_of(bus: Any, joint_range: Floats, zeros: tuple[float, ...] | None = None) -> Units:
    """Of an arm that LeRobot's `bus` drives, by its motors' norm modes and its calibration.

    `joint_range` `[6 2]` [rad] is the model's. LeRobot's 0 is the middle of a joint's range there, and the model's zero
    of a joint that was given a whole turn and no range; `zeros` [rad] say it better. Raises `EmbodiedError` for other
    modes than LeRobot's arms have.
    """
    zero, unit = [], []
    for name, (low, high) in zip(JOINTS[:-1], joint_range[:-1].tolist(), strict=True):
        mode, swept = bus.motors[name].norm_mode.value, bus.calibration.get(name)
        counts = COUNTS - 1 if swept is None else swept.range_max - swept.range_min
        if mode not in ("degrees", "range_m100_100"):
            raise EmbodiedError(f"LeRobot's driver has {name} in {mode}; degrees and range_m100_100 are known here.")
        unit.append(np.pi / 180 if mode == "degrees" else counts / 2 * (2 * np.pi / COUNTS) / 100)
        zero.append(0.0 if counts == COUNTS - 1 else (low + high) / 2)
    mode = bus.motors[JOINTS[-1]].norm_mode.value
    if mode != "range_0_100":
        raise EmbodiedError(f"LeRobot's driver has the {JOINTS[-1]} in {mode}; range_0_100 is known here.")
    closed, opened = joint_range[-1].tolist()
    return Units(tuple(zero) if zeros is None else zeros, tuple(unit), closed, opened)


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
        raise EmbodiedError(f"An arm has 6 joints here, the array's shape is {values.shape}.")
    return values
