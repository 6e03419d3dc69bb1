"""Where a camera is and how far the joints' zeros were off, as `embodied calibrate hand_eye` wrote it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self, get_args

import numpy as np

from envs.errors import EmbodiedError
from robots.calibration.hand_eye import Mount
from robots.calibration.poses import Floats, from_json
from robots.calibration.zeros import ZEROS


@dataclass(frozen=True)
class CameraPlace:
    """The part of `hand_eye.json` that an arm is driven with."""

    mount: Mount
    camera: Floats
    """`[4 4]` in the gripper, or in the base of a `fixed` camera [m]."""
    zeros: Floats
    """`[5]` the model's angle where LeRobot says 0, of the joints in `robots.calibration.zeros.ZEROS` [rad]."""

    @classmethod
    def load(cls, path: Path) -> Self:
        """Raises `EmbodiedError` for a file that does not hold it."""
        try:
            values = json.loads(path.read_text())
            mount = values["mount"]
            if mount not in get_args(Mount):
                raise ValueError(f"mount is {mount!r}, and {' and '.join(get_args(Mount))} are allowed")
            camera = _pose(values["camera_in_gripper" if mount == "wrist" else "camera_in_base"])
            zeros = np.deg2rad([float(values["zeros"][joint]["degrees"]) for joint in ZEROS])
            if not np.isfinite(zeros).all():
                raise ValueError("zeros are finite angles")
        except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            why = f"{error.args[0]} is missing" if isinstance(error, KeyError) else error
            raise EmbodiedError(
                f"{path} does not say where the camera is ({why}): make it with embodied calibrate hand_eye."
            ) from error
        return cls(mount, camera, zeros)


def _pose(values: dict[str, list[float]]) -> Floats:
    position, quaternion = (np.array(values[name], np.float64) for name in ("position", "quaternion"))
    finite = np.isfinite(position).all() and np.isfinite(quaternion).all()
    if position.shape != (3,) or quaternion.shape != (4,) or not finite or not quaternion.any():
        raise ValueError("a pose is a position of 3 numbers and a quaternion of 4 that are not all 0")
    return from_json(values)
