"""Camera, board and the joints' zeros together, by least squares over all corners in all pictures.

Not every zero shows in pictures. Turning the whole arm about the pan axis is turning the board on the table the other
way; turning the wrist's roll is turning the camera on the gripper. What the pictures do not tell keeps its prior.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from mujoco import minimize

from envs.kinematics import JOINTS
from robots.calibration.hand_eye import ClosedForm, Mount, carrier, closed_form
from robots.calibration.intrinsics import Intrinsics, rms
from robots.calibration.poses import Floats, from_vector, inverse, to_vector
from robots.calibration.sightings import Sighting

ZEROS = JOINTS[:5]
"""The gripper's jaw moves nothing that is seen here."""
PRIOR = np.deg2rad(10.0)
"""[rad] Standard deviation of a zero before anything was seen: arms are put together and swept to a few degrees."""
CORNER = 0.2
"""[px] Standard deviation of a corner that goes with this prior."""
KNOWN = 0.3
"""A zero counts as observed where the pictures leave less than this part of its prior."""


@dataclass(frozen=True)
class HandEye:
    """A camera's place, and how far the joints' zeros were off."""

    mount: Mount
    camera: Floats
    """`[4 4]` camera in gripper (`wrist`) or in base (`fixed`)."""
    board: Floats
    """`[4 4]` board in base (`wrist`) or in gripper (`fixed`)."""
    zeros: Floats
    """`[5]` to be added to the joints as they were reported [rad]; 0 where not observed."""
    zero_errors: Floats
    """`[5]` standard errors [rad], of observed zeros by leaving out one picture at a time, of others the prior's."""
    observed: tuple[bool, ...]
    """`[5]` whether the pictures tell the zero at all."""
    camera_error: tuple[float, float]
    """Standard errors of the camera's position [m] and axes [rad], by leaving out one picture at a time."""
    closed_form: ClosedForm
    residuals: tuple[Floats, ...]
    """Per picture `[M 2]`: seen minus expected [px]."""
    closed_form_rms: float
    """What the residuals' rms is with the closed form and the zeros as reported [px]."""

    @property
    def rms(self) -> float:
        """Root mean square distance over all corners [px]."""
        return rms(np.concatenate(self.residuals))


def calibrate_hand_eye(mount: Mount, joints: Floats, sightings: Sequence[Sighting], intrinsics: Intrinsics) -> HandEye:
    """Camera, board and zeros from joints `[V 6]` [rad] and one sighting each.

    Starts from the closed form; raises `EmbodiedError` where that does.
    """
    start = closed_form(mount, joints, sightings, intrinsics)
    view = np.repeat(np.arange(len(sightings)), [len(sighting.points) for sighting in sightings])
    points = np.concatenate([sighting.points for sighting in sightings])
    seen = np.concatenate([sighting.pixels for sighting in sightings])

    def residual(x: Floats) -> Floats:
        """`[M 2]` seen minus expected [px] of zeros, camera and board `[17]`."""
        moved = joints + np.append(x[:5], 0.0)
        boards = inverse(from_vector(x[5:11])) @ inverse(carrier(mount, moved)) @ from_vector(x[11:17])
        local = (boards[view, :3, :3] @ points[:, :, None])[..., 0] + boards[view, :3, 3]
        return seen - intrinsics.project(local)

    def weighted(columns: Floats) -> Floats:
        """Residuals and prior in standard deviations, for each of the columns `[17 n]`."""
        return np.stack([np.append(residual(x).ravel() / CORNER, x[:5] / PRIOR) for x in columns.T], axis=-1)

    x0 = np.concatenate([np.zeros(5), to_vector(start.camera), to_vector(start.board)])
    x, _ = minimize.least_squares(x0, weighted, x_scale="jac", verbose=0)
    at = weighted(x[:, None])
    jacobian, _ = minimize.jacobian_fd(weighted, x[:, None], at, np.float64(1e-6), 0)
    information = jacobian.T @ jacobian
    known = np.sqrt(np.diag(np.linalg.inv(information)))[:5] < KNOWN * PRIOR
    errors = _jackknife(jacobian[:-5], at[:-5, 0], np.repeat(view, 2), information)
    residuals = residual(x)
    return HandEye(
        mount=mount,
        camera=from_vector(x[5:11]),
        board=from_vector(x[11:17]),
        zeros=np.where(known, x[:5], 0.0),
        zero_errors=np.where(known, errors[:5], PRIOR),
        observed=tuple(bool(each) for each in known),
        camera_error=(float(np.linalg.norm(errors[8:11])), float(np.linalg.norm(errors[5:8]))),
        closed_form=start,
        residuals=tuple(residuals[view == v] for v in range(len(sightings))),
        closed_form_rms=rms(residual(x0)),
    )


def _jackknife(jacobian: Floats, residual: Floats, view: Floats, information: Floats) -> Floats:
    """Standard errors of the parameters from how each picture, left out, would move them (to first order).

    A joint that is off in one picture moves all of its corners together, which counting corners would not notice.
    """
    moves = []
    for v in np.unique(view):
        rows = jacobian[view == v]
        moves.append(np.linalg.solve(information - rows.T @ rows, rows.T @ residual[view == v]))
    spread = np.stack(moves) - np.mean(moves, axis=0)
    return np.asarray(np.sqrt((len(moves) - 1) / len(moves) * (spread**2).sum(axis=0)), np.float64)


def why_not(calibration: HandEye, joint: str) -> str:
    """Why the pictures do not tell a joint's zero, and what would help; for joints that were not observed."""
    wrist = calibration.mount == "wrist"
    if joint == "shoulder_pan":
        still = "the board on the table" if wrist else "the camera"
        return f"no picture can tell: turning the whole arm looks like moving {still} round it"
    if joint == "wrist_roll":
        carried = "the camera" if wrist else "the board"
        return f"no picture can tell: turning the roll looks like turning {carried} on the gripper"
    return "these pictures do not tell: vary every joint more, the pan and the roll above all"
