"""Pictures of tagged boxes with known truth."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from embodied.bench.rendered_boards import CLEAN, Degradation
from robots.calibration.board import DICTIONARIES
from robots.calibration.poses import Floats, from_vector
from robots.calibration.rendering import Pattern, Photographer
from robots.calibration.sightings import Picture
from robots.perception.tags import FACES, TaggedBox

CUBES = (
    TaggedBox("red_cube", (0.014, 0.014, 0.014), 0.021, 0),
    TaggedBox("blue_cube", (0.014, 0.014, 0.014), 0.021, 6),
)
"""The project's cubes of 28 mm, with markers of 21 mm out of `4x4_50`."""
MODULES = 8
"""Of a face: six of the marker and a white one on each side."""
PIXELS = 30
"""Of a module."""


def photograph(
    photographer: Photographer, boxes: Sequence[TaggedBox], in_camera: Mapping[str, Floats],
    random: np.random.Generator, worse: Degradation = CLEAN, backdrop: Picture | int = 120,
) -> Picture:  # fmt: skip
    """`[h w]` grey: boxes at poses `[4 4]` in the camera."""
    markers = cv2.aruco.getPredefinedDictionary(DICTIONARIES["4x4_50"])
    patterns = []
    for box in boxes:
        corner = from_vector(np.array([0.0, 0.0, 0.0, -box.half_extents[0], -box.half_extents[0], 0.0]))
        for which in range(len(FACES)):
            texture = np.full((MODULES * PIXELS, MODULES * PIXELS), 235, np.uint8)
            drawn = cv2.aruco.generateImageMarker(markers, box.first + which, 6 * PIXELS)
            texture[PIXELS:-PIXELS, PIXELS:-PIXELS] = np.where(drawn > 0, 235, 20)
            scale = texture.shape[0] / (2 * box.half_extents[0])
            patterns.append(Pattern(texture, scale, in_camera[box.name] @ box.face(which) @ corner))
    return photographer.shoot(patterns, backdrop, worse.blur, worse.noise, random)
