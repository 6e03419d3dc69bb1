"""Where a camera is on the gripper, or in the world, from joint angles and pictures of one board.

A camera on the `wrist` looks at a board that lies still; a `fixed` camera looks at a board that the gripper holds. The
two are one problem, A X = Z B, with the arm's pose turned round.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np

from envs.errors import EmbodiedError
from robots.calibration.intrinsics import Intrinsics
from robots.calibration.poses import Floats, difference, gripper_in_base, inverse, pose
from robots.calibration.sightings import Sighting

Mount = Literal["wrist", "fixed"]
"""`wrist`: camera on the gripper, board lying still; `fixed`: camera standing still, board on the gripper."""

FEWEST_VIEWS = 6
LEAST_TURN = np.deg2rad(3.0)
"""[rad] How far the gripper must have been turned about a second axis."""


@dataclass(frozen=True)
class ClosedForm:
    """The classical answers, which take the joints at their word."""

    camera: Floats
    """`[4 4]` camera in gripper, or in base: Park and Martin 1994."""
    board: Floats
    """`[4 4]` board in base, or in gripper: Shah 2013."""
    disagreement: tuple[float, float]
    """Between Park's camera and that of Horaud and Dornaika 1995: distance [m] and angle [rad]."""


def carrier(mount: Mount, joints: Floats) -> Floats:
    """`[V 4 4]` what stands between camera and board at `joints` `[V 6]`: gripper in base; for `fixed`, its inverse."""
    gripper = gripper_in_base(joints)
    return gripper if mount == "wrist" else inverse(gripper)


def closed_form(mount: Mount, joints: Floats, sightings: Sequence[Sighting], intrinsics: Intrinsics) -> ClosedForm:
    """Camera and board from joints `[V 6]` [rad] and one sighting each.

    Raises:
        EmbodiedError: for too few views, views of another camera, or an arm that turned about a single axis.
    """
    if len(sightings) < FEWEST_VIEWS:
        raise EmbodiedError(
            f"The board was found in {len(sightings)} pictures; {FEWEST_VIEWS} are the fewest, 20 are good."
        )
    if sightings[0].size != (intrinsics.width, intrinsics.height):
        raise EmbodiedError(
            f"The pictures have {sightings[0].size[0]} x {sightings[0].size[1]} pixels, the calibrated camera "
            f"{intrinsics.width} x {intrinsics.height}: calibrate it at the size it is used at."
        )
    arm = carrier(mount, joints)
    _refuse_one_axis(arm)
    boards = np.stack([intrinsics.board_in_camera(sighting) for sighting in sightings])
    park, horaud = (
        _pose(cv2.calibrateHandEye(*_parts(arm), *_parts(boards), method=method))
        for method in (cv2.CALIB_HAND_EYE_PARK, cv2.CALIB_HAND_EYE_HORAUD)
    )
    shah = cv2.CALIB_ROBOT_WORLD_HAND_EYE_SHAH
    board = inverse(_pose(cv2.calibrateRobotWorldHandEye(*_parts(boards), *_parts(inverse(arm)), method=shah)))
    return ClosedForm(park, board, difference(park, horaud))


def _parts(poses: Floats) -> tuple[Any, Any]:
    """Rotations and translations, as OpenCV takes them."""
    return poses[:, :3, :3], poses[:, :3, 3]


def _pose(found: Any) -> Floats:
    """The first rotation and translation of what OpenCV returns."""
    return pose(found[0], found[1].ravel())


def _refuse_one_axis(arm: Floats) -> None:
    turns = np.stack([cv2.Rodrigues(arm[0, :3, :3].T @ each[:3, :3])[0].ravel() for each in arm[1:]])
    second = np.linalg.svd(turns, compute_uv=False)[1] / np.sqrt(len(turns))
    if second < LEAST_TURN:
        raise EmbodiedError(
            f"The gripper was turned about one axis only (about the second by {np.rad2deg(second):.1f} degrees), which "
            "leaves the camera's place open: turn the wrist's roll and bend it, by 20 degrees and more."
        )
