"""Random numbers as a function of where they are used: a world's seed, its time and a name, and nothing else.

So noise does not depend on how many worlds are stepped together, on which of them were reset, or on what else was
drawn, and an episode that is begun again from its seed is disturbed again in the same way.
"""

import math
import zlib

import numpy as np

from envs.compiled import kernel
from envs.types import Array

_STRIDE = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_30, _27, _31, _11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)


def uniform(seed: Array, step: Array, name: str, shape: tuple[int, ...]) -> Array:
    """`[N *shape]` in 0..1, both ends excluded, for worlds with integer seeds `[N]` at integer steps `[N]`."""
    out = np.empty((len(seed), math.prod(shape)))
    _uniform(np.uint64(zlib.crc32(name.encode())), seed.astype(np.uint64), step.astype(np.uint64), out)
    return out.reshape(len(seed), *shape)


def normal(seed: Array, step: Array, name: str, shape: tuple[int, ...]) -> Array:
    """`[N *shape]` standard normal numbers, see `uniform` (Box and Muller, 1958)."""
    pairs = uniform(seed, step, name, (2, math.prod(shape)))
    _pair_off(pairs)
    return pairs[:, 0].reshape(len(seed), *shape)


@kernel()
def _uniform(key: np.uint64, seed: Array, step: Array, out: Array) -> None:
    for n in range(out.shape[0]):
        world = _mixed(_mixed(seed[n] * _STRIDE + key) + step[n])
        for i in range(out.shape[1]):
            out[n, i] = (float(_mixed(world + _STRIDE * np.uint64(i + 1)) >> _11) + 0.5) * 2.0**-53


@kernel()
def _pair_off(pairs: Array) -> None:
    """Normal numbers `[N 0 S]`, in the place of the first of uniform ones `[N 2 S]`."""
    for n in range(pairs.shape[0]):
        for i in range(pairs.shape[2]):
            pairs[n, 0, i] = math.sqrt(-2.0 * math.log(pairs[n, 0, i])) * math.cos(2.0 * math.pi * pairs[n, 1, i])


@kernel()
def _mixed(state: np.uint64) -> np.uint64:
    """The finaliser of SplitMix64 (Steele, Lea and Flood, 2014): every bit of a uint64 depends on every other."""
    state = (state ^ (state >> _30)) * _FIRST
    state = (state ^ (state >> _27)) * _SECOND
    return state ^ (state >> _31)
