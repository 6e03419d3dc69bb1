"""Where calibrated cameras are and what they show of a point: the pinhole model, on numpy arrays or torch tensors."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

from array_api_compat import array_namespace

from envs.types import Array


@dataclass(frozen=True)
class Views:
    """C calibrated cameras; `*B` is any leading shape.

    A place in an image is `(u, v)` from (-1, -1), its upper left corner, to (1, 1), its lower right one.
    """

    names: tuple[str, ...]
    """C camera names."""
    position: Array
    """`[*B C 3]` optical centres in the world [m]."""
    rotation: Array
    """`[*B C 3 3]` camera to world; the camera's x is right, y up, and it looks along -z."""
    tangent: Array
    """`[*B C 2]` tangents of half the horizontal and half the vertical field of view."""

    def map(self, function: Callable[[Array], Array]) -> Self:
        """Apply `function` to every array."""
        return replace(
            self,
            position=function(self.position),
            rotation=function(self.rotation),
            tangent=function(self.tangent),
        )

    def __getitem__(self, key: Any) -> Self:
        """Index the leading batch dimensions."""
        return self.map(lambda array: array[key])

    def project(self, points: Array) -> tuple[Array, Array]:
        """Places `[*B C K 2]` in the images and depths `[*B C K]` [m] of world points `[*B K 3]`.

        Depth is along the optical axis; behind the camera it is negative and the place means nothing.
        """
        xp = array_namespace(points, self.position)
        seen = (points[..., None, :, :] - self.position[..., :, None, :]) @ self.rotation
        depth = -seen[..., 2]
        safe = xp.where(xp.abs(depth) < 1e-6, xp.full_like(depth, 1e-6), depth)
        place = xp.stack([seen[..., 0], -seen[..., 1]], axis=-1) / safe[..., None]
        return place / self.tangent[..., :, None, :], depth

    def rays(self, places: Array) -> Array:
        """World directions `[*B C K 3]` of unit length through places `[*B C K 2]` of the images."""
        xp = array_namespace(places, self.position)
        flat = places * self.tangent[..., :, None, :]
        local = xp.stack([flat[..., 0], -flat[..., 1], -xp.ones_like(flat[..., 0])], axis=-1)
        world = local @ xp.matrix_transpose(self.rotation)
        return world / xp.linalg.vector_norm(world, axis=-1, keepdims=True)
