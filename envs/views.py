"""Where calibrated cameras are and what they show of a point: the pinhole model, on numpy arrays or torch tensors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from array_api_compat import array_namespace

from envs.errors import unknown
from envs.types import Array

if TYPE_CHECKING:
    from envs.scene import Scene


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


def views_of(scene: "Scene", names: Sequence[str], aspect: float = 1.0) -> Views:
    """Calibration of fixed cameras, as the scene has them; `aspect` is width over height of their images.

    Raises `EmbodiedError` for a camera that the scene lacks, or that rides on the arm.
    """
    model = scene.model
    allowed = [model.camera(i).name for i in range(model.ncam) if model.cam_bodyid[i] == 0]
    for name in names:
        if name not in allowed:
            raise unknown("fixed camera", name, allowed)
    which = [model.camera(name).id for name in names]
    half = np.tan(np.deg2rad(model.cam_fovy[which]) / 2)
    return Views(tuple(names), model.cam_pos0[which].copy(), model.cam_mat0[which].reshape(-1, 3, 3).copy(),
                 np.stack([aspect * half, half], axis=-1))  # fmt: skip
