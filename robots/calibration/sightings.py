"""The board found in pictures: which of its corners, and where."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from envs.errors import EmbodiedError
from robots.calibration.board import Board
from robots.calibration.poses import Floats

FEWEST_CORNERS = 8
"""Fewer say little about a pose."""
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")

Picture = NDArray[np.uint8]
"""`[h w]` grey."""


@dataclass(frozen=True)
class Sighting:
    """One picture's corners."""

    name: str
    """Of the picture."""
    size: tuple[int, int]
    """Width and height of the picture [px]."""
    points: Floats
    """`[M 3]` corners in the board's frame [m]."""
    pixels: Floats
    """`[M 2]` the same corners in the picture."""


def find(board: Board, picture: Picture, name: str = "") -> Sighting | None:
    """The board in one grey picture; None where it is not to be seen, or too little of it to give a pose."""
    opencv = board.opencv
    found, ids = cv2.aruco.CharucoDetector(opencv).detectBoard(picture)[:2]
    if ids is None or len(ids) < FEWEST_CORNERS or opencv.checkCharucoCornersCollinear(ids):
        return None
    points = board.corners[ids.ravel()]
    pixels = refine(picture, points, np.asarray(found, np.float64).reshape(-1, 2), 0.5 * (board.square - board.marker))
    return Sighting(name, (picture.shape[1], picture.shape[0]), points, pixels)


def refine(picture: Picture, points: Floats, pixels: Floats, free: float) -> Floats:
    """Corners `[M 2]` to a twentieth of a pixel, in windows that stay within `free` [m] of board around each corner.

    `CharucoDetector` of OpenCV 4.13 leaves corners 0.47 px off to the lower right, which a second pass removes.
    """
    apart, across = (np.linalg.norm(each[:, None] - each, axis=-1) for each in (points, pixels))
    apart[np.diag_indices(len(points))] = np.inf
    # Towards its nearest neighbours a foreshortened square has fewer pixels one way than the other: the fewer count.
    scale = np.where(apart < 1.01 * apart.min(axis=1), across, np.inf).min(axis=1) / apart.min(axis=1)
    halves = np.clip(0.8 * free * scale, 2, 7).astype(int)
    criteria = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 50, 1e-4)
    result = np.empty_like(pixels)
    for half in np.unique(halves).tolist():
        these = halves == half
        start = np.ascontiguousarray(pixels[these], np.float32).reshape(-1, 1, 2)
        result[these] = cv2.cornerSubPix(picture, start, (half, half), (-1, -1), criteria)[:, 0]
    return result


def find_all(board: Board, pictures: Mapping[str, Picture]) -> list[Sighting]:
    """Sightings of the pictures that show the board.

    Raises:
        EmbodiedError: where no picture shows it, or pictures differ in size.
    """
    sizes = {picture.shape for picture in pictures.values()}
    if len(sizes) > 1:
        told = ", ".join(f"{w} x {h}" for h, w in sorted(sizes))
        raise EmbodiedError(f"The pictures have sizes of {told} pixels; one camera gives one size.")
    found = [find(board, picture, name) for name, picture in pictures.items()]
    seen = [sighting for sighting in found if sighting is not None]
    if not seen:
        raise EmbodiedError(
            f"None of {len(pictures)} pictures shows {FEWEST_CORNERS} corners of a board of {board.columns} x "
            f"{board.rows} squares with {board.dictionary} markers; is it the board that was printed, flat and sharp?"
        )
    return seen


def read_pictures(folder: Path, names: Sequence[str] | None = None) -> dict[str, Picture]:
    """Grey pictures of a folder by file name, all of them or those named.

    Raises `EmbodiedError` for a folder without pictures, or a picture that is missing or cannot be read.
    """
    if names is None:
        paths = sorted(path for path in folder.glob("*") if path.suffix.lower() in SUFFIXES)
        if not paths:
            raise EmbodiedError(f"There are no pictures ({', '.join(SUFFIXES)}) in {folder}.")
    else:
        paths = [folder / name for name in names]
    pictures: dict[str, Any] = {path.name: cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in paths}
    for path in paths:
        if pictures[path.name] is None:
            raise EmbodiedError(f"{path} is no picture that can be read.")
    return pictures
