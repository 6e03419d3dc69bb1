"""Camera, board and the joints' zeros together, by least squares over all corners in all pictures.

Not every zero shows in pictures. Turning the whole arm about the pan axis is turning the board on the table the other
way; turning the wrist's roll is turning the camera on the gripper. What the pictures do not tell keeps its prior.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from mujoco import minimize

from envs.so101 import JOINTS
from robots.calibration.hand_eye import ClosedForm, Mount, carrier, closed_form
from robots.calibration.intrinsics import Intrinsics, rms
from robots.calibration.poses import Floats, from_vector, inverse, to_vector
from robots.calibration.sightings import Sighting

ZEROS = JOINTS[:5]
"""The gripper's jaw moves nothing that is seen here."""
PRIOR = np.deg2rad(10.0)
"""[rad] Standard deviation of a zero before anything was seen: arms are put together and swept to a few degrees."""
LEAST_NOISE = 0.02
"""[px] Standard deviation of a corner that is believed of no picture to be beaten."""
STARTING_PLAY = np.deg2rad(0.5)
PLAY_BETWEEN = np.deg2rad((0.001, 5.0))
"""[rad]."""
ROUNDS = 4
"""Of fitting and of weighing the play anew."""
STEP = 1e-7
"""[rad], [m] Of finite differences."""
SHARED = 17
"""Unknowns that all pictures share: zeros, camera, board."""
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
    """`[5]` standard errors [rad]; of zeros that are not observed, nearly the prior's."""
    observed: tuple[bool, ...]
    """`[5]` whether the pictures tell the zero at all."""
    camera_error: tuple[float, float]
    """Standard errors of the camera's position [m] and axes [rad], given the zeros that are not observed."""
    play: float
    """Standard deviation of what each joint is off by at random, from picture to picture [rad]."""
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

    Every corner is off by the camera's noise, known from how well each picture fits a board alone; and each joint is
    off in each picture by what the arm does not repeat, its play, which moves all corners of a picture together. How
    large the play is follows from how badly pictures fit each other (MacKay 1992, evidence). Corners weighed alike
    instead make the camera of an arm with a degree of play worse than the closed form does.

    Starts from the closed form; raises `EmbodiedError` where that does.
    """
    start = closed_form(mount, joints, sightings, intrinsics)
    fit = _Fit(mount, joints, sightings, intrinsics)
    x = np.concatenate([np.zeros(5), to_vector(start.camera), to_vector(start.board), np.zeros(fit.extra)])
    before = fit.by_picture(x)
    for _ in range(ROUNDS):
        x, _ = minimize.least_squares(x, fit.weighted, jacobian=fit.jacobian, x_scale="jac", verbose=0)
        jacobian = fit.jacobian(x)
        covariance = np.linalg.inv(jacobian.T @ jacobian)
        played, told = x[SHARED:], np.diag(covariance)[SHARED:]
        determined = (1.0 - told / fit.play**2).clip(0.0, 1.0).sum()
        fit.play = float(np.clip(np.linalg.norm(played) / np.sqrt(max(determined, 1e-3)), *PLAY_BETWEEN))
    zero_errors = np.sqrt(np.diag(covariance))[:5]
    known = zero_errors < KNOWN * PRIOR
    # A zero that is not observed is a name for where camera and board are: theirs are the errors once it is given.
    given = np.append(known, np.ones(len(x) - 5, bool))
    errors = np.sqrt(np.diag(np.linalg.inv((jacobian.T @ jacobian)[np.ix_(given, given)])))[known.sum() :]
    return HandEye(
        mount=mount,
        camera=from_vector(x[5:11]),
        board=from_vector(x[11:17]),
        zeros=np.where(known, x[:5], 0.0),
        zero_errors=zero_errors,
        observed=tuple(bool(each) for each in known),
        camera_error=(float(np.linalg.norm(errors[3:6])), float(np.linalg.norm(errors[:3]))),
        play=fit.play,
        closed_form=start,
        residuals=fit.by_picture(x),
        closed_form_rms=rms(np.concatenate(before)),
    )


class _Fit:
    """Residuals of all corners as a function of `x` `[17 + 5 V]`: zeros, camera, board, and each picture's play."""

    def __init__(self, mount: Mount, joints: Floats, sightings: Sequence[Sighting], intrinsics: Intrinsics) -> None:
        self.mount, self.joints, self.intrinsics = mount, joints, intrinsics
        counts = np.array([len(sighting.points) for sighting in sightings])
        self.view = np.repeat(np.arange(len(sightings)), counts)
        self.points = np.concatenate([sighting.points for sighting in sightings])
        self.seen = np.concatenate([sighting.pixels for sighting in sightings])
        alone = np.concatenate([intrinsics.misfit(sighting) for sighting in sightings])
        self.noise = float(max(alone.std(), LEAST_NOISE))
        self.play = STARTING_PLAY
        self.extra = 5 * len(sightings)

    def weighted(self, columns: Floats) -> Floats:
        """Residuals and priors `[2 M + 5 + 5 V, n]` in standard deviations, for the columns `[17 + 5 V, n]`."""
        rows = np.stack([self._residual(x) for x in columns.T], axis=-1)
        return np.concatenate([rows / self.noise, columns[:5] / PRIOR, columns[SHARED:] / self.play])

    def jacobian(self, x: Floats, _: Floats | None = None) -> Floats:
        """Of `weighted` at `x`; a play moves its own picture alone, so one step serves all pictures."""
        x = x.ravel()
        here = self._residual(x)
        result = np.zeros((2 * len(self.view) + 5 + self.extra, len(x)))
        for k in range(SHARED):
            result[: 2 * len(self.view), k] = (self._residual(x + STEP * np.eye(len(x))[k]) - here) / STEP
        rows, pictures = np.arange(2 * len(self.view)), np.repeat(self.view, 2)
        for joint in range(5):
            step = np.zeros(len(x))
            step[SHARED + joint :: 5] = STEP
            result[rows, SHARED + 5 * pictures + joint] = (self._residual(x + step) - here) / STEP
        result[: len(rows)] /= self.noise
        result[len(rows) + np.arange(5), np.arange(5)] = 1.0 / PRIOR
        result[len(rows) + 5 + np.arange(self.extra), SHARED + np.arange(self.extra)] = 1.0 / self.play
        return result

    def by_picture(self, x: Floats) -> tuple[Floats, ...]:
        """`[M 2]` residuals of each picture [px], the joints taken at their word but for the zeros."""
        still = np.append(x[:SHARED], np.zeros(self.extra))
        residual = self._residual(still).reshape(-1, 2)
        return tuple(residual[self.view == picture] for picture in range(len(self.joints)))

    def _residual(self, x: Floats) -> Floats:
        """`[2 M]` seen minus expected [px]."""
        moved = self.joints + np.pad(x[:5] + x[SHARED:].reshape(-1, 5), ((0, 0), (0, 1)))
        boards = inverse(from_vector(x[5:11])) @ inverse(carrier(self.mount, moved)) @ from_vector(x[11:17])
        local = np.einsum("mij,mj->mi", boards[self.view, :3, :3], self.points) + boards[self.view, :3, 3]
        return (self.seen - self.intrinsics.project(local)).ravel()


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
