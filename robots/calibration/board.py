"""The ChArUco board as a value: where its corners are, and how it is printed at true scale."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from envs.errors import EmbodiedError, unknown
from envs.folders import made
from robots.calibration.poses import Floats

DICTIONARIES = {
    name.removeprefix("DICT_").lower(): int(getattr(cv2.aruco, name))
    for name in dir(cv2.aruco)
    if name.startswith(("DICT_4X4", "DICT_5X5", "DICT_6X6", "DICT_7X7", "DICT_APRILTAG")) and name == name.upper()
}
"""OpenCV's marker dictionaries by lower-case name, e.g. `4x4_50`, `apriltag_36h11`."""

A4 = (0.297, 0.210)
"""[m]."""
MARGIN = 0.012
"""[m] What a printer may leave white at the paper's edge, and room for the rule below the board."""
RULE = 0.100
"""[m] Length of the printed line that tells whether the printer kept the scale."""


@dataclass(frozen=True)
class Board:
    """A chessboard whose white squares hold markers, so that corners are known by number when others are hidden.

    Its corners are numbered along x first, then along y.
    """

    columns: int = 9
    rows: int = 6
    square: float = 0.025
    """Side of a square [m]."""
    marker: float = 0.018
    """Side of a marker [m]."""
    dictionary: str = "4x4_50"
    """A name in `DICTIONARIES`."""

    def __post_init__(self) -> None:
        """Raise `EmbodiedError` for a board that cannot be drawn."""
        if self.dictionary not in DICTIONARIES:
            raise unknown("dictionary", self.dictionary, DICTIONARIES)
        if min(self.columns, self.rows) < 3:
            raise EmbodiedError(f"A board of {self.columns} x {self.rows} squares was given; 3 x 3 is the smallest.")
        if not 0.3 * self.square <= self.marker <= 0.85 * self.square:
            raise EmbodiedError(
                f"Markers of {1e3 * self.marker:g} mm in squares of {1e3 * self.square:g} mm were given; "
                "a marker's side is 0.3 to 0.85 of its square's."
            )
        there, needed = len(self.markers.bytesList), self.columns * self.rows // 2
        if needed > there:
            raise EmbodiedError(
                f"{self.columns} x {self.rows} squares need {needed} markers; {self.dictionary} has {there}."
            )

    @property
    def markers(self) -> Any:
        """OpenCV's dictionary."""
        return cv2.aruco.getPredefinedDictionary(DICTIONARIES[self.dictionary])

    @property
    def opencv(self) -> Any:
        """OpenCV's board."""
        return cv2.aruco.CharucoBoard((self.columns, self.rows), self.square, self.marker, self.markers)

    @property
    def size(self) -> tuple[float, float]:
        """Width and height [m]."""
        return self.columns * self.square, self.rows * self.square

    @property
    def corners(self) -> Floats:
        """`[M 3]` inner corners in the board's frame [m]."""
        return np.asarray(self.opencv.getChessboardCorners(), dtype=np.float64)

    def picture(self, pixels: int) -> NDArray[np.uint8]:
        """`[rows * pixels, columns * pixels]` grey, `pixels` to the side of a square."""
        size = (self.columns * pixels, self.rows * pixels)
        return np.asarray(self.opencv.generateImage(size, marginSize=0, borderBits=1), dtype=np.uint8)

    def sheet(self, pixels: int = 300) -> tuple[Image.Image, float]:
        """The board on A4 with a rule of 100 mm below it, black on white, and its pixels per metre.

        Raises `EmbodiedError` for a board that does not fit the paper.
        """
        long, short = max(self.size), min(self.size)
        if long > A4[0] - 2 * MARGIN or short > A4[1] - 2 * MARGIN - MARGIN:
            raise EmbodiedError(
                f"The board is {1e3 * self.size[0]:g} x {1e3 * self.size[1]:g} mm; A4 holds "
                f"{1e3 * (A4[0] - 2 * MARGIN):g} x {1e3 * (A4[1] - 3 * MARGIN):g} mm: take fewer or smaller squares."
            )
        scale = pixels / self.square
        paper = A4 if self.size[0] >= self.size[1] else A4[::-1]
        page = Image.new("L", (round(paper[0] * scale), round(paper[1] * scale)), 255)
        left, top = ((page.size[0] - self.columns * pixels) // 2, (page.size[1] - self.rows * pixels) // 2)
        page.paste(Image.fromarray(self.picture(pixels)), (left, top))
        draw, below = ImageDraw.Draw(page), top + self.rows * pixels + round(0.6 * MARGIN * scale)
        end, tick = left + round(RULE * scale) - 1, round(0.002 * scale)
        draw.rectangle((left, below, end, below + max(1, round(0.0003 * scale))), fill=0)
        for x in (left, end):
            draw.line((x, below - tick, x, below + tick), fill=0)
        text = f"{self.columns} x {self.rows} squares of {1e3 * self.square:g} mm, markers {1e3 * self.marker:g} mm, "
        text += f"{self.dictionary}. Print at 100 %; the line is {1e3 * RULE:g} mm long."
        draw.text((end + 3 * tick, below - tick), text, fill=0, font_size=round(0.0026 * scale))
        return page, scale

    def print_to(self, folder: Path) -> tuple[Path, Path]:
        """Write `board.pdf` and `board.png` at true scale.

        Raises `EmbodiedError` for a board larger than A4, and where the folder cannot be made.
        """
        page, scale = self.sheet()
        made(folder)
        paths, inch = (folder / "board.pdf", folder / "board.png"), 0.0254 * scale
        page.convert("1", dither=Image.Dither.NONE).save(paths[0], resolution=inch)
        page.save(paths[1], dpi=(inch, inch))
        return paths
