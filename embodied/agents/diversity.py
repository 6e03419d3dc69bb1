"""How different the ways are in which something was done, and a bonus for that among successes alone.

As in DSDR (arXiv 2602.19895): what failed earns nothing by being different, and the bonus is bounded, so that success
stays what is best. A way is the shape of the subject's path, resampled by its length.
"""

import numpy as np

from envs.types import Array

POINTS = 9
"""Of a resampled path."""
CAP = 0.2
"""Largest bonus, of a return within 0..1."""


def shapes(path: Array) -> Array:
    """`[*B 3 (POINTS - 1)]`, of length 1: the steps between points spaced evenly along paths `[*B T 3]` [m].

    Zero for a path that goes nowhere.
    """
    flat = np.asarray(path).reshape(-1, *path.shape[-2:])
    along = np.concatenate([np.zeros((len(flat), 1)), np.linalg.norm(np.diff(flat, axis=1), axis=-1).cumsum(1)], axis=1)
    even = np.linspace(0.0, 1.0, POINTS) * along[:, -1:]
    points = np.stack([[np.interp(at, run, one[:, axis]) for axis in range(3)]
                       for at, run, one in zip(even, along, flat, strict=True)])  # fmt: skip
    steps = np.diff(points, axis=-1).reshape(len(flat), -1)
    length = np.linalg.norm(steps, axis=-1, keepdims=True)
    unit = np.divide(steps, length, out=np.zeros_like(steps), where=length > 1e-9)
    return unit.reshape(*path.shape[:-2], -1)


def distinctness(path: Array, success: Array) -> Array:
    """`[M G]` mean of 1 - cosine to the other successes from the same beginning.

    0 for failures, lone successes and what did not move. Paths `[M G T 3]` are of G rollouts from each of M beginnings,
    successes `[M G]`.
    """
    shape = shapes(path)
    apart = 1.0 - shape @ np.swapaxes(shape, -1, -2)
    counted = success & shape.any(axis=-1)
    both = counted[:, :, None] & counted[:, None, :] & ~np.eye(success.shape[1], dtype=bool)
    return np.where(both, apart, 0.0).sum(axis=-1) / np.maximum(both.sum(axis=-1), 1)


def bonus(path: Array, success: Array, weight: float) -> Array:
    """`[M G]` what distinct successes earn on top: `weight` times `distinctness`, at most `CAP`."""
    return np.minimum(weight * distinctness(path, success), CAP)
