"""Boxes with a printed marker on each face, and the pose that one picture gives of them."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import erf, exp, sqrt
from typing import Any

import cv2
import numpy as np

from envs.errors import EmbodiedError, unknown
from robots.calibration.board import DICTIONARIES
from robots.calibration.intrinsics import Intrinsics
from robots.calibration.poses import Floats, difference, from_vector, inverse, pose
from robots.calibration.sightings import Picture

FACES = ("+z", "-z", "+x", "-x", "+y", "-y")
"""Order of a box's markers, by the box's axis that looks out of the face."""
CORNER = 0.2
"""[px] Standard deviation of a marker's corner."""
REACH = 0.01
"""[m] Confidence is the probability that the position is right to this, and the orientation no mirror image."""
LEAP = 0.3
"""[rad] How far a box that is followed may plausibly turn between two pictures."""


@dataclass(frozen=True)
class TaggedBox:
    """A box whose faces carry the markers `first`, `first + 1`, ... in the order of `FACES`, upright.

    On the four upright faces the marker's upper edge is towards +z; on the two others its right is towards +x.
    """

    name: str
    """Of the entity in `ObjectState`."""
    half_extents: tuple[float, float, float]
    """[m]."""
    side: float
    """Of a marker's black square [m]."""
    first: int

    def face(self, which: int) -> Floats:
        """`[4 4]` in the box's frame: origin in the middle of the face, x right, y down, z into the box."""
        axis, sign = "xyz".index(FACES[which][1]), 1.0 if FACES[which][0] == "+" else -1.0
        outwards = sign * np.eye(3)[axis]
        if axis == 2:
            right = np.eye(3)[0]
            down = np.cross(-outwards, right)
        else:
            down = -np.eye(3)[2]
            right = np.cross(down, -outwards)
        return pose(np.column_stack([right, down, -outwards]), outwards * self.half_extents[axis])

    def corners(self, marker: int) -> Floats:
        """`[4 3]` of one of its markers, clockwise from the upper left, in the box's frame [m]."""
        face, half = self.face(marker - self.first), 0.5 * self.side
        flat = half * np.array([[-1.0, -1.0, 0.0], [1.0, -1.0, 0.0], [1.0, 1.0, 0.0], [-1.0, 1.0, 0.0]])
        return flat @ face[:3, :3].T + face[:3, 3]


@dataclass(frozen=True)
class Estimate:
    """Where one picture shows a box."""

    in_camera: Floats
    """`[4 4]`."""
    spread: tuple[float, float]
    """Standard errors of position [m] and orientation [rad]."""
    confidence: float
    """0..1, see `REACH`."""


class TagDetector:
    """Finds markers, and boxes by them."""

    def __init__(self, boxes: Sequence[TaggedBox], dictionary: str = "4x4_50") -> None:
        """Raises `EmbodiedError` for an unknown dictionary, and boxes that share a marker or ask for one it has not."""
        if dictionary not in DICTIONARIES:
            raise unknown("dictionary", dictionary, DICTIONARIES)
        self.boxes = tuple(boxes)
        markers = cv2.aruco.getPredefinedDictionary(DICTIONARIES[dictionary])
        count = len(markers.bytesList)
        for box in boxes:
            if not 0 <= box.first <= count - len(FACES):
                raise EmbodiedError(
                    f"{box.name} has the markers {box.first} to {box.first + 5}; {dictionary} has 0 to {count - 1}."
                )
        for one, other in itertools.combinations(boxes, 2):
            if abs(one.first - other.first) < len(FACES):
                raise EmbodiedError(f"{one.name} and {other.name} share markers; each box needs six of its own.")
        parameters = cv2.aruco.DetectorParameters()
        # Lines fitted to the edges. The other refinements draw corners half a pixel inwards, 18 mm of depth at 0.5 m.
        parameters.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_APRILTAG
        self._detector = cv2.aruco.ArucoDetector(markers, parameters)

    def detect(self, picture: Picture) -> dict[int, Floats]:
        """Corners `[4 2]` [px] of the markers in a grey picture, clockwise from each marker's upper left."""
        found: Any = self._detector.detectMarkers(picture)
        corners, ids = found[:2]
        if ids is None:
            return {}
        # AprilTag's pixels have their middle at (0.5, 0.5), OpenCV's at (0, 0).
        return {
            int(i): np.asarray(c, np.float64).reshape(4, 2) - 0.5 for i, c in zip(ids.ravel(), corners, strict=True)
        }

    def estimate(
        self, picture: Picture, intrinsics: Intrinsics, expected: Mapping[str, Floats] | None = None
    ) -> dict[str, Estimate]:
        """Boxes by name, those that are seen; `expected` are poses in the camera of boxes that are followed."""
        found, result = self.detect(picture), {}
        for box in self.boxes:
            seen = {marker: found[marker] for marker in found if 0 <= marker - box.first < len(FACES)}
            if seen:
                result[box.name] = _estimate(box, seen, intrinsics, (expected or {}).get(box.name))
        return result


def _estimate(box: TaggedBox, seen: Mapping[int, Floats], intrinsics: Intrinsics, expected: Floats | None) -> Estimate:
    """The best of each marker's two mirror images, refined over all corners of the box."""
    points = np.concatenate([box.corners(marker) for marker in seen])
    pixels = np.concatenate(list(seen.values()))
    lens = intrinsics.matrix, intrinsics.distortion
    candidates: list[tuple[float, Floats]] = []
    for marker, corners in seen.items():
        for start in _mirror_images(box, marker, corners, intrinsics):
            turn: Any = cv2.Rodrigues(start[:3, :3])[0]
            turn, shift = cv2.solvePnPRefineLM(points, pixels, *lens, turn, start[:3, 3].copy())
            refined = from_vector(np.concatenate([turn.ravel(), np.asarray(shift).ravel()]))
            error = pixels - intrinsics.project(points @ refined[:3, :3].T + refined[:3, 3])
            cost = 0.5 * float((error**2).sum()) / CORNER**2
            if expected is not None:
                cost += 0.5 * (difference(refined, expected)[1] / LEAP) ** 2
            candidates.append((cost, refined))
    cost, best = min(candidates, key=lambda each: each[0])
    # Refinement leads most starts to the same pose; what is left elsewhere is the mirror image.
    others = [each for each, other in candidates if difference(best, other)[1] > 0.05]
    right = 1.0 / (1.0 + exp(min(cost - min(others), 0.0))) if others else 1.0
    turn = cv2.Rodrigues(best[:3, :3])[0]
    jacobian = np.asarray(cv2.projectPoints(points, turn, best[:3, 3], *lens)[1], np.float64)[:, :6]
    # Corners that fit worse than they should are as uncertain as they show.
    noise = max(CORNER, float(np.sqrt(2 * cost / pixels.size)) * CORNER if expected is None else CORNER)
    errors = noise * np.sqrt(np.diag(np.linalg.inv(jacobian.T @ jacobian)))
    spread = float(np.linalg.norm(errors[3:])), float(np.linalg.norm(errors[:3]))
    return Estimate(best, spread, right * erf(REACH / (sqrt(2.0) * spread[0])))


def _mirror_images(box: TaggedBox, marker: int, corners: Floats, intrinsics: Intrinsics) -> list[Floats]:
    """The two poses of the box that one marker allows (Collins and Bartoli 2014)."""
    half = 0.5 * box.side
    # OpenCV wants the marker's y up and z out of the paper.
    square = half * np.array([[-1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [1.0, -1.0, 0.0], [-1.0, -1.0, 0.0]])
    _, turns, shifts, _ = cv2.solvePnPGeneric(
        square, corners, intrinsics.matrix, intrinsics.distortion, flags=cv2.SOLVEPNP_IPPE_SQUARE
    )
    flip = np.diag([1.0, -1.0, -1.0, 1.0])
    back = inverse(box.face(marker - box.first))
    return [
        from_vector(np.concatenate([np.ravel(turn), np.ravel(shift)])) @ flip @ back
        for turn, shift in zip(turns, shifts, strict=True)
    ]
