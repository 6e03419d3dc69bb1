"""The residual picture: where in the image corners were seen, and how far from where they were expected."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from robots.calibration.intrinsics import rms
from robots.calibration.poses import Floats
from robots.calibration.sightings import Sighting

WIDTH = 960
"""[px] Of the picture."""
COLUMN = 360
"""[px] Of the list beside it."""


def residual_picture(sightings: Sequence[Sighting], residuals: Sequence[Floats]) -> NDArray[np.uint8]:
    """`[h w 3]` BGR: every corner with its residual as an arrow, in its picture's colour, beside the pictures' rms.

    Arrows are drawn larger than they are, by a round factor that is written below.
    """
    width, height = sightings[0].size
    scale, deviation = WIDTH / width, rms(np.concatenate(list(residuals)))
    factor = float(10.0 ** np.floor(np.log10(40.0 / (scale * max(deviation, 1e-6)))))
    canvas: Any = np.full((max(round(height * scale), 22 * len(sightings)) + 40, WIDTH + COLUMN, 3), 250, np.uint8)
    cv2.rectangle(canvas, (0, 0), (WIDTH - 1, round(height * scale) - 1), (205, 205, 205), 1)
    hues = np.linspace(0, 170, len(sightings)).astype(np.uint8)
    colours = cv2.cvtColor(np.stack([hues, 0 * hues + 220, 0 * hues + 190], axis=-1)[None], cv2.COLOR_HSV2BGR)[0]
    worst = max(rms(residual) for residual in residuals)
    for k, (sighting, residual, colour) in enumerate(zip(sightings, residuals, colours.tolist(), strict=True)):
        ends = sighting.pixels + factor * residual
        for start, end in zip((scale * sighting.pixels).round(), (scale * ends).round(), strict=True):
            cv2.circle(canvas, start.astype(int).tolist(), 2, colour, -1, cv2.LINE_AA)
            cv2.line(canvas, start.astype(int).tolist(), end.astype(int).tolist(), colour, 1, cv2.LINE_AA)
        top, bar = 22 * k + 8, round(120 * rms(residual) / worst) if worst else 0
        cv2.rectangle(canvas, (WIDTH + 12, top), (WIDTH + 12 + bar, top + 10), colour, -1)
        _write(canvas, f"{rms(residual):.3f} px  {sighting.name}", (WIDTH + 140, top + 10))
    _write(canvas, f"rms {deviation:.3f} px; arrows {factor:g} times as long as the residuals", (8, len(canvas) - 14))
    return np.asarray(canvas, np.uint8)


def _write(canvas: Any, text: str, place: tuple[int, int]) -> None:
    cv2.putText(canvas, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.42, (60, 60, 60), 1, cv2.LINE_AA)
