"""The catalogue of objects: what can lie on a table."""

from collections.abc import Mapping
from dataclasses import dataclass

from envs.compound import Piece, around
from envs.errors import unknown
from envs.types import Kind

CUBE_HALF_EXTENT, CUBE_MASS = 0.014, 0.025
"""[m], [kg] Nominal, of every object that has no size of its own: also a cylinder's radius and half height."""
ROUNDING = 0.005
"""[m] What MuJoCo collides of a cylinder is a smaller one with a margin of this around it: its edges are rounded.

Touching is then a distance between solids apart. Where a plain cylinder sinks into a box, MuJoCo 4.0 takes a wrong
normal, by more than 5 degrees in a third of all poses, and it goes on sinking, by 10 mm and more.
"""


@dataclass(frozen=True)
class ObjectType:
    """What an object is; worlds give it other sizes, masses and frictions."""

    colour: tuple[float, float, float]
    """RGB in 0..1."""
    kind: Kind = Kind.BOX
    """`BOX`, `SPHERE`, an upright `CYLINDER` or `CAPSULE`, or a `COMPOUND` of pieces."""
    half_extents: tuple[float, float, float] = (CUBE_HALF_EXTENT,) * 3
    """[m] Nominal, caps of a capsule included."""
    mass: float = CUBE_MASS
    """[kg] Nominal."""
    pieces: tuple[Piece, ...] = ()
    """Of a compound."""

    @property
    def solids(self) -> tuple[Piece, ...]:
        """What collides: a compound's pieces, or the one solid that all others are."""
        return self.pieces or (Piece(self.kind, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),)


_RED, _BLUE, _GREEN = (0.84, 0.20, 0.17), (0.15, 0.40, 0.84), (0.18, 0.62, 0.32)
_YELLOW, _ORANGE = (0.93, 0.77, 0.20), (0.93, 0.49, 0.16)

OBJECTS: Mapping[str, ObjectType] = {
    "red_cube": ObjectType(_RED),
    "blue_cube": ObjectType(_BLUE),
    "green_cube": ObjectType(_GREEN),
    "yellow_cube": ObjectType(_YELLOW),
    "purple_cube": ObjectType((0.52, 0.27, 0.66)),
    "orange_cube": ObjectType(_ORANGE),
    "white_cylinder": ObjectType((0.92, 0.92, 0.90), Kind.CYLINDER),
    "brown_cylinder": ObjectType((0.48, 0.32, 0.22), Kind.CYLINDER),
}
"""Cubes and cylinders of one size: what world models play with."""

SMALL_HALF_EXTENT, SMALL_MASS = 0.010, 0.008
"""[m], [kg] Of what is swept."""

SHAPES: Mapping[str, ObjectType] = {
    **{
        f"small_{colour}_{noun}": ObjectType(rgb, kind, (SMALL_HALF_EXTENT,) * 3, SMALL_MASS)
        for colour, rgb in (("red", _RED), ("blue", _BLUE), ("green", _GREEN))
        for noun, kind in (("cube", Kind.BOX), ("ball", Kind.SPHERE))
    },
    "yellow_ball": ObjectType(_YELLOW, Kind.SPHERE),
    "orange_capsule": ObjectType(_ORANGE, Kind.CAPSULE, (0.012, 0.012, 0.022)),
    "red_peg": ObjectType(_RED, Kind.BOX, (0.010, 0.010, 0.028)),
    "green_bar": ObjectType(_GREEN, Kind.BOX, (0.030, 0.010, 0.010), 0.02),
    "blue_rod": ObjectType(_BLUE, Kind.BOX, (0.065, 0.010, 0.010), 0.03),
}
"""Objects of other sizes and shapes, which tasks ask for by name."""

_Corners = tuple[tuple[float, float, float], tuple[float, float, float]]


def _compound(colour: tuple[float, float, float], mass: float, *pieces: tuple[Kind, _Corners]) -> ObjectType:
    """Of pieces that touch and do not overlap, each given by two opposite corners of its box [mm]."""
    half_extents, shares = around(pieces)
    return ObjectType(colour, Kind.COMPOUND, half_extents, mass, shares)


COMPOUNDS: Mapping[str, ObjectType] = {
    "green_l": _compound(
        _GREEN, 0.03,
        (Kind.BOX, ((0, 0, 0), (16, 48, 20))),
        (Kind.BOX, ((16, 0, 0), (48, 16, 20))),
    ),
    "blue_t": _compound(
        _BLUE, 0.03,
        (Kind.BOX, ((0, 32, 0), (48, 48, 20))),
        (Kind.BOX, ((16, 0, 0), (32, 32, 20))),
    ),
    "yellow_cross": _compound(
        _YELLOW, 0.03,
        (Kind.BOX, ((0, 16, 0), (48, 32, 20))),
        (Kind.BOX, ((16, 0, 0), (32, 16, 20))),
        (Kind.BOX, ((16, 32, 0), (32, 48, 20))),
    ),
    "orange_pawn": _compound(
        _ORANGE, 0.025,
        (Kind.CYLINDER, ((0, 0, 0), (32, 32, 12))),
        (Kind.CYLINDER, ((8, 8, 12), (24, 24, 40))),
    ),
    "white_mug": _compound(
        (0.92, 0.92, 0.90), 0.03,
        (Kind.BOX, ((0, 0, 0), (36, 36, 4))),
        (Kind.BOX, ((0, 0, 4), (4, 36, 40))),
        (Kind.BOX, ((32, 0, 4), (36, 36, 40))),
        (Kind.BOX, ((4, 0, 4), (32, 4, 40))),
        (Kind.BOX, ((4, 32, 4), (32, 36, 40))),
        (Kind.BOX, ((36, 15, 8), (46, 21, 13))),
        (Kind.BOX, ((36, 15, 29), (46, 21, 34))),
        (Kind.BOX, ((46, 15, 8), (51, 21, 34))),
    ),
}  # fmt: skip
"""Objects of several solids, of one colour and one density."""

CATALOGUE: Mapping[str, ObjectType] = {**OBJECTS, **SHAPES, **COMPOUNDS}
"""All of them."""


def object_type(name: str) -> ObjectType:
    """The object of that name; raises `EmbodiedError` naming those there are."""
    if name not in CATALOGUE:
        raise unknown("object", name, CATALOGUE)
    return CATALOGUE[name]
