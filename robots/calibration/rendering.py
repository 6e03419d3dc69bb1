"""Pictures of flat patterns through a known camera, for rehearsals and tests: what is found is checked against truth.

Each pixel is the mean of a grid of exact rays, distorted as the lens distorts them, so nothing is resampled twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from robots.calibration.intrinsics import Intrinsics
from robots.calibration.poses import Floats
from robots.calibration.sightings import Picture

SAMPLES = 3
"""Side of the grid of rays in a pixel."""


@dataclass(frozen=True)
class Pattern:
    """A flat picture somewhere in space; its upper left corner is the origin of its frame."""

    texture: Picture
    scale: float
    """Pixels of the texture per metre."""
    in_camera: Floats
    """`[4 4]`."""


class Photographer:
    """Takes pictures with one lens."""

    def __init__(self, intrinsics: Intrinsics) -> None:
        """`intrinsics` are the truth behind the pictures."""
        self.intrinsics = intrinsics
        width, height = intrinsics.width, intrinsics.height
        across, down = (((np.arange(n * SAMPLES) + 0.5) / SAMPLES - 0.5) for n in (width, height))
        grid = np.stack(np.meshgrid(across, down), axis=-1).reshape(-1, 1, 2)
        criteria = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 20, 1e-7)
        rays: Any = cv2.undistortPointsIter(  # type: ignore[call-overload]
            grid, intrinsics.matrix, intrinsics.distortion, None, None, criteria
        )
        self._rays = rays.reshape(len(down), len(across), 2).astype(np.float32)

    def shoot(
        self, patterns: Sequence[Pattern], backdrop: Picture | int = 128, blur: float = 0.0, noise: float = 0.0,
        random: np.random.Generator | None = None,
    ) -> Picture:  # fmt: skip
        """`[h w]` grey: patterns over a backdrop `[h w]` or one grey, where they overlap the nearest.

        `blur` is the lens's, as the standard deviation of a Gaussian [px], `noise` the sensor's, as one of grey levels
        out of 255, drawn from `random`.
        """
        height, width = self._rays.shape[:2]
        behind = np.full((1, 1), backdrop, np.uint8) if isinstance(backdrop, int) else backdrop
        canvas = cv2.resize(behind, (width, height))
        for pattern in sorted(patterns, key=lambda each: -float(np.linalg.norm(each.in_camera[:3, 3]))):
            self._paint(canvas, pattern)
        size = self.intrinsics.width, self.intrinsics.height
        image: Any = cv2.resize(canvas.astype(np.float32), size, interpolation=cv2.INTER_AREA)
        if blur > 0.0:
            image = cv2.GaussianBlur(image, (0, 0), blur)
        if noise > 0.0:
            image = image + (random or np.random.default_rng(0)).normal(0.0, noise, image.shape)
        return np.asarray(np.clip(np.rint(image), 0, 255), np.uint8)

    def _paint(self, canvas: Any, pattern: Pattern) -> None:
        """Draw a pattern over what is there; one seen from behind, or that reaches behind the camera, is left out."""
        rotation, shift = pattern.in_camera[:3, :3], pattern.in_camera[:3, 3]
        height, width = pattern.texture.shape
        outline = np.array([(0, 0), (0, height), (width, 0), (width, height)]) / pattern.scale @ rotation[:, :2].T
        if rotation[:, 2] @ shift <= 0.0 or (outline + shift)[:, 2].min() <= 0.0:
            return
        # Rays meet the plane at [x y 1] = H [u v 1], up to length, where H takes metres on the pattern to rays.
        to_texture = np.array([[pattern.scale, 0.0, -0.5], [0.0, pattern.scale, -0.5], [0.0, 0.0, 1.0]])
        plane = to_texture @ np.linalg.inv(np.column_stack([rotation[:, :2], shift]))
        where: Any = cv2.perspectiveTransform(self._rays, plane)
        nowhere: Any = None
        cv2.remap(pattern.texture, where, nowhere, cv2.INTER_LINEAR, canvas, cv2.BORDER_TRANSPARENT)
