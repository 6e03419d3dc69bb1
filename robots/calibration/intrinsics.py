"""What a camera does to light: focal lengths, centre and lens distortion, from pictures of the board."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from envs.errors import EmbodiedError
from robots.calibration.poses import Floats, pose, rotation
from robots.calibration.sightings import Sighting

FEWEST_PICTURES = 5
"""Fewer leave nine unknowns of the lens to too little."""
LEAST_TILT = np.deg2rad(8.0)
"""[rad] Boards more parallel than this to each other do not tell the focal length from the distance (Zhang 2000)."""
LARGEST_DOUBT = 0.03
"""Standard error of the focal length, as a part of it, above which the views are called degenerate."""


@dataclass(frozen=True)
class Intrinsics:
    """One camera's lens, in OpenCV's model."""

    width: int
    height: int
    matrix: Floats
    """`[3 3]` focal lengths and principal point [px]."""
    distortion: Floats
    """`[5]` k1, k2, p1, p2, k3."""

    def project(self, points: Floats) -> Floats:
        """Pixels `[M 2]` of points `[M 3]` in the camera's frame."""
        pixels = cv2.projectPoints(np.ascontiguousarray(points), np.zeros(3), np.zeros(3), self.matrix, self.distortion)
        return np.asarray(pixels[0], np.float64).reshape(-1, 2)

    def board_in_camera(self, sighting: Sighting) -> Floats:
        """`[4 4]` the board's pose that one sighting tells, by non-linear least squares over its corners."""
        flat, seen = sighting.points, sighting.pixels
        start = cv2.solvePnP(flat, seen, self.matrix, self.distortion, flags=cv2.SOLVEPNP_IPPE)[1:]
        turn, shift = cv2.solvePnPRefineLM(flat, seen, self.matrix, self.distortion, *start)
        return pose(rotation(turn), np.asarray(shift, np.float64).ravel())

    def misfit(self, sighting: Sighting) -> Floats:
        """`[M 2]` seen minus expected [px] of a sighting taken alone."""
        board = self.board_in_camera(sighting)
        return sighting.pixels - self.project(sighting.points @ board[:3, :3].T + board[:3, 3])

    def to_json(self) -> dict[str, Any]:
        """Plain values, as the file holds them."""
        f = self.matrix
        return {
            "width": self.width,
            "height": self.height,
            "focal": [float(f[0, 0]), float(f[1, 1])],
            "centre": [float(f[0, 2]), float(f[1, 2])],
            "distortion": self.distortion.tolist(),
        }

    @classmethod
    def load(cls, path: Path) -> "Intrinsics":
        """The lens in a file that `embodied calibrate camera` wrote; raises `EmbodiedError` for any other."""
        try:
            values = json.loads(path.read_text())
            (fx, fy), (cx, cy) = values["focal"], values["centre"]
            distortion = np.array(values["distortion"], np.float64).reshape(5)
            matrix = np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])
            return cls(int(values["width"]), int(values["height"]), matrix, distortion)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise EmbodiedError(
                f"{path} is no camera calibration ({error!r}): make one with embodied calibrate camera."
            ) from error


@dataclass(frozen=True)
class CameraCalibration:
    """A lens and how well it explains the pictures it was found from, V of them."""

    intrinsics: Intrinsics
    sightings: tuple[Sighting, ...]
    board_in_camera: Floats
    """`[V 4 4]`."""
    residuals: tuple[Floats, ...]
    """Per picture `[M 2]`: seen minus expected [px]."""
    focal_error: float
    """Standard error of the focal length [px]."""

    @property
    def rms(self) -> float:
        """Root mean square distance over all corners [px]."""
        return rms(np.concatenate(self.residuals))


def rms(residuals: Floats) -> float:
    """Root mean square length of `[M 2]`."""
    return float(np.sqrt((residuals**2).sum(axis=-1).mean()))


def calibrate_camera(sightings: Sequence[Sighting]) -> CameraCalibration:
    """The lens of the camera that took these sightings, all of one size.

    Zhang's method with refinement over all corners (`cv2.calibrateCamera`).

    Raises:
        EmbodiedError: for too few pictures, or pictures from which the lens cannot be told.
    """
    if len(sightings) < FEWEST_PICTURES:
        raise EmbodiedError(
            f"The board was found in {len(sightings)} pictures; {FEWEST_PICTURES} are the fewest, 15 are good."
        )
    points = [sighting.points.astype(np.float32) for sighting in sightings]
    pixels = [sighting.pixels.astype(np.float32) for sighting in sightings]
    size = sightings[0].size
    no_guess: Any = None
    try:
        _, matrix, distortion, turns, shifts, errors, _, _ = cv2.calibrateCameraExtended(
            points, pixels, size, no_guess, no_guess
        )
    except cv2.error as error:
        raise EmbodiedError(f"OpenCV finds no camera behind these pictures: {str(error).strip()}") from error
    intrinsics = Intrinsics(*size, np.asarray(matrix), np.asarray(distortion, np.float64).ravel()[:5])
    boards = pose(np.stack([rotation(turn) for turn in turns]), np.stack([each.ravel() for each in shifts]))
    focal_error = float(np.max(errors.ravel()[:2]))
    _refuse_degenerate(boards, focal_error / float(matrix[0, 0]))
    expected = [intrinsics.project(s.points @ b[:3, :3].T + b[:3, 3]) for s, b in zip(sightings, boards, strict=True)]
    residuals = tuple(s.pixels - e for s, e in zip(sightings, expected, strict=True))
    return CameraCalibration(intrinsics, tuple(sightings), boards, residuals, focal_error)


def _refuse_degenerate(boards: Floats, doubt: float) -> None:
    normals = boards[:, :3, 2]
    widest = float(np.arccos(np.clip((normals @ normals.T).min(), -1.0, 1.0)))
    if widest < LEAST_TILT:
        raise EmbodiedError(
            f"The boards of all pictures are parallel to within {np.rad2deg(widest):.1f} degrees, which does not tell "
            "the focal length from the distance: tilt the board by 20 to 45 degrees, each picture another way."
        )
    if not doubt < LARGEST_DOUBT:
        raise EmbodiedError(
            f"The focal length is known to {100 * doubt:.1f} % only; {100 * LARGEST_DOUBT:g} % is allowed: "
            "take nearer pictures, with more corners and the board tilted each time another way."
        )


def advice(calibration: CameraCalibration) -> list[str]:
    """What further pictures would help with, in sentences; none where the set is good."""
    told = []
    width, height = calibration.sightings[0].size
    seen = np.concatenate([sighting.pixels for sighting in calibration.sightings])
    column, row = np.floor(seen / (np.array([width, height]) / 3)).astype(int).clip(0, 2).T
    counts = np.zeros((3, 3), int)
    np.add.at(counts, (row, column), 1)
    vertical, horizontal = ("upper", "middle", "lower"), ("left", "centre", "right")
    bare = [f"{vertical[r]} {horizontal[c]}" for r, c in np.argwhere(counts < 4)]
    if bare:
        told.append(f"Hardly a corner was seen in the picture's {', '.join(bare)}: the lens is a guess there.")
    lean = np.rad2deg(np.arccos(np.abs(calibration.board_in_camera[:, 2, 2]).clip(0.0, 1.0)))
    if lean.max() < 20.0:
        told.append(f"The board leant {lean.max():.0f} degrees at most; lean it 20 to 45, each time another way.")
    if len(calibration.sightings) < 10:
        told.append(f"{len(calibration.sightings)} pictures are few; 15 are good.")
    each = np.array([rms(residual) for residual in calibration.residuals])
    return told + [
        f"{calibration.sightings[k].name} fits badly ({each[k]:.2f} px): blurred, or the board bent?"
        for k in np.flatnonzero(each > np.maximum(3.0 * np.median(each), 0.3))
    ]
