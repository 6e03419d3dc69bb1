"""Solids of several pieces in one body, stretched as a whole: where the pieces are, and how their mass is spread."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from envs.types import Array, Kind

Vector = tuple[float, float, float]


@dataclass(frozen=True)
class Piece:
    """One solid of a whole, along its axes, in shares of the half extents of its box: so it stretches with that."""

    kind: Kind
    """Of a compound `BOX` or upright `CYLINDER`."""
    centre: Vector
    """From the whole's centre, each in -1..1."""
    half: Vector
    """Half sizes, each in 0..1."""


def around(pieces: Sequence[tuple[Kind, tuple[Vector, Vector]]]) -> tuple[Vector, tuple[Piece, ...]]:
    """Half extents [m] of the box around pieces given by two corners of theirs [mm], and the pieces in shares of it."""
    corners = np.array([corners for _, corners in pieces], np.float64)
    low, high = corners.min(axis=(0, 1)), corners.max(axis=(0, 1))
    middle, half = 0.5 * (low + high), 0.5 * (high - low)
    shares = tuple(
        Piece(kind, _vector((0.5 * (a + b) - middle) / half), _vector(0.5 * np.abs(b - a) / half))
        for (kind, _), (a, b) in zip(pieces, corners, strict=True)
    )
    return _vector(1e-3 * half), shares


def spread(pieces: Sequence[Piece], half_extents: Array) -> tuple[Array, Array]:
    """Centre of mass `[*B 3]` [m] and inertia per mass about it `[*B 3 3]` [m^2], for half extents `[*B 3]` [m].

    Of one density; in the axes of the whole, from its centre. Second moments of area of a box are h^2 / 3 along each
    axis, of a cylinder r^2 / 4 across and h^2 / 3 along its own.
    """
    centre, half = (np.array([getattr(piece, name) for piece in pieces]) for name in ("centre", "half"))
    round_ = np.array([piece.kind == Kind.CYLINDER for piece in pieces])
    volume = half.prod(axis=1) * np.where(round_, 0.25 * np.pi, 1.0)
    weight = (volume / volume.sum())[:, None]
    own = np.where(round_[:, None], (1 / 4, 1 / 4, 1 / 3), 1 / 3) * half**2
    middle = (weight * centre).sum(axis=0)
    offset = centre - middle
    second = np.einsum("ij,ik->jk", weight * offset, offset) + np.diag((weight * own).sum(axis=0))
    # Stretching is linear: it acts on the second moments from both sides.
    stretched = half_extents[..., :, None] * second * half_extents[..., None, :]
    trace = np.trace(stretched, axis1=-2, axis2=-1)[..., None, None]
    return half_extents * middle, np.asarray(trace * np.eye(3) - stretched)


def principal(inertia: Array) -> tuple[Array, Array]:
    """Principal moments `[*B 3]`, falling, of inertia `[*B 3 3]`, and axes as a right-handed rotation `[*B 3 3]`."""
    moments, axes = np.linalg.eigh(inertia)
    moments, axes = moments[..., ::-1], axes[..., ::-1].copy()
    axes[..., 2] *= np.sign(np.linalg.det(axes))[..., None]
    return moments, axes


def _vector(values: Array) -> Vector:
    x, y, z = (float(value) for value in values)
    return x, y, z
