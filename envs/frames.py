"""From geoms to pixels: what the ray-caster's kernel takes and gives, and the threads it runs on."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from itertools import pairwise

import numpy as np

from envs import light, raycast
from envs.types import Array


@dataclass(frozen=True)
class Frames:
    """What one camera sees in N states."""

    rgb: Array
    """`[N h w 3]` uint8."""
    entity: Array
    """`[N h w]` int16, index into the scene's entities; -1 for what is none (floor, arm links, sky)."""
    depth: Array
    """`[N h w]` float32 [m] along the optical axis; inf for the sky."""


@dataclass(frozen=True)
class Geoms:
    """Geoms as the kernel takes them; G of them in N states."""

    kinds: Array
    gloss: Array
    entity: Array
    sizes: Array
    albedo: Array
    alpha: Array
    position: Array
    matrix: Array

    def select(self, which: Array) -> "Geoms":
        """Some of the geoms."""
        shared = {f.name: getattr(self, f.name)[which] for f in fields(self)[:3]}
        return Geoms(**shared, **{f.name: getattr(self, f.name)[:, which] for f in fields(self)[3:]})

    def join(self, other: "Geoms") -> "Geoms":
        """Both."""
        pairs = {f.name: (getattr(self, f.name), getattr(other, f.name)) for f in fields(self)}
        return Geoms(**{name: np.concatenate(pair, axis=min(1, pair[0].ndim - 1)) for name, pair in pairs.items()})

    def under(self, lamp: Array, eyes: Array, axes: Array) -> tuple["Geoms", Array, Array]:
        """The geoms and one camera `[N 3]`, `[N 3 3]` under a lamp that is turned by `lamp` `[N 3 3]`.

        The kernel's lamp is fixed, so it is the world, camera and all, that turns under it the other way.
        """
        if (lamp == np.eye(3)).all():
            return self, eyes, axes
        back = lamp.swapaxes(-1, -2)
        turned = replace(self, position=self.position @ lamp, matrix=back[:, None] @ self.matrix)
        return turned, (back @ eyes[..., None])[..., 0], back @ axes


class Caster:
    """Casts the rays of many states on threads; results do not depend on how many."""

    def __init__(self, threads: int = 0) -> None:
        """`threads` = 0 uses every core this process may run on."""
        self._threads = threads or len(os.sched_getaffinity(0))
        self._pool: ThreadPoolExecutor | None = None

    def shoot(
        self, geoms: Geoms, eyes: Array, axes: Array, fovy: float, shape: tuple[int, int], mode: tuple[int, int, int]
    ) -> Frames:
        """What one camera at `eyes` `[N 3]` with axes `[N 3 3]` and vertical field of view [degree] sees.

        `shape` is the image's height and width, `mode` one of `envs.cameras.MODES`.
        """
        count = len(eyes)
        out = (np.empty((count, *shape, 3), np.uint8), np.empty((count, *shape), np.int16),
               np.empty((count, *shape), np.float32))  # fmt: skip
        arrays = (geoms.kinds, geoms.sizes, geoms.albedo, geoms.alpha, geoms.gloss, geoms.entity, geoms.position,
                  geoms.matrix, eyes, axes)  # fmt: skip
        # The kernel is compiled once, for contiguous arrays; another layout would compile it again.
        arguments = (*(np.ascontiguousarray(array) for array in arrays), float(np.tan(np.deg2rad(fovy) / 2)),
                     light.TONE, *mode, *out)  # fmt: skip
        bounds = np.linspace(0, count, min(self._threads, count) + 1).astype(int).tolist()
        if len(bounds) <= 2:
            raycast.draw(*arguments, 0, count)
        else:
            self._pool = self._pool or ThreadPoolExecutor(self._threads)
            jobs = [self._pool.submit(raycast.draw, *arguments, *span) for span in pairwise(bounds)]
            for job in jobs:
                job.result()
        return Frames(*out)


def linear(colour: Array) -> Array:
    """SRGB 0..1 to linear light."""
    colour = np.clip(colour, 0.0, 1.0).astype(np.float64)
    return np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
