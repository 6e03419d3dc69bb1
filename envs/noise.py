"""Random numbers as a function of where they are used: a world's seed, its time and a name, and nothing else.

So noise does not depend on how many worlds are stepped together, on which of them were reset, or on what else was
drawn, and an episode that is begun again from its seed is disturbed again in the same way.
"""

import zlib

import numpy as np

from envs.types import Array

_STRIDE = np.uint64(0x9E3779B97F4A7C15)


def uniform(seed: Array, step: Array, name: str, shape: tuple[int, ...]) -> Array:
    """`[N *shape]` in 0..1, both ends excluded, for worlds with integer seeds `[N]` at integer steps `[N]`."""
    size = int(np.prod(shape, dtype=np.int64))
    key = np.uint64(zlib.crc32(name.encode()))
    with np.errstate(over="ignore"):
        world = _mixed(_mixed(seed.astype(np.uint64) * _STRIDE + key) + step.astype(np.uint64))
        mixed = _mixed(world[:, None] + _STRIDE * np.arange(1, size + 1, dtype=np.uint64))
    return np.asarray(((mixed >> np.uint64(11)) + 0.5) * 2.0**-53).reshape(len(seed), *shape)


def normal(seed: Array, step: Array, name: str, shape: tuple[int, ...]) -> Array:
    """`[N *shape]` standard normal numbers, see `uniform` (Box and Muller, 1958)."""
    pair = uniform(seed, step, name, (2, *shape))
    return np.asarray(np.sqrt(-2.0 * np.log(pair[:, 0])) * np.cos(2.0 * np.pi * pair[:, 1]))


def _mixed(state: Array) -> Array:
    """The finaliser of SplitMix64 (Steele, Lea and Flood, 2014): every bit of a uint64 depends on every other."""
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
