"""How worlds look: what the visual factors say, in the form in which cameras take it.

What a world *is* does not change, nor what its state says: colours are those of the picture alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Self

import numpy as np

from envs.geometry import quat_to_matrix
from envs.types import Array
from envs.variation import FACTORS

HUE, SATURATION, BRIGHTNESS = 7.0, 0.3, 0.3
"""How far an object's colour goes at +-1: degrees of hue, and shares of saturation and brightness."""


@dataclass(frozen=True)
class Looks:
    """How N worlds of a scene with O objects and C cameras look."""

    colour: Array
    """`[N O 3]` of objects: hue, saturation and brightness, each in -1..1 of what their name allows."""
    table: Array
    """`[N 3]` added to the colour of table and floor, RGB in 0..1."""
    robot: Array
    """`[N 3]` added to the robot's colours."""
    texture: Array
    """`[N]` contrast of the grain on the table."""
    lamp: Array
    """`[N 3 3]` rotation of the lamp about the world's origin."""
    exposure: Array
    """`[N]` factor on the light that reaches the sensors."""
    shift: Array
    """`[N C 3]` where cameras are off their places, in their own axes [m]."""
    turn: Array
    """`[N C 3 3]` how they are turned, in their own axes."""

    def __getitem__(self, ids: Array) -> Self:
        """Some of the worlds."""
        return replace(self, **{f.name: getattr(self, f.name)[ids] for f in fields(self)})


def looks_of(values: Mapping[str, Array], nominal: Mapping[str, int], worlds: int) -> Looks | None:
    """The looks of worlds with those factors `[N many numbers]`; None where no visual one is among them.

    `nominal` says how many there are of what factors are drawn for, see `envs.variation.count`.
    """
    if not any(FACTORS[name].group == "visual" for name in values):
        return None

    def value(name: str) -> Array:
        factor = FACTORS[name]
        shape = (worlds, nominal[factor.per], factor.numbers)
        return values[name] if name in values else np.full(shape, factor.nominal)

    turned = [np.zeros((worlds, 3)) for _ in range(2)]
    turned[0][:, 2], turned[1][:, 0] = value("light_turn")[:, 0, 0], value("light_lean")[:, 0, 0]
    return Looks(
        colour=value("colour"),
        table=value("table_colour")[:, 0],
        robot=value("robot_colour")[:, 0],
        texture=value("texture")[:, 0, 0],
        lamp=_rotation(turned[0]) @ _rotation(turned[1]),
        exposure=value("exposure")[:, 0, 0],
        shift=value("camera_position"),
        turn=_rotation(value("camera_turn")),
    )


def _rotation(vector: Array) -> Array:
    """`[*B 3 3]` by the angle and about the axis of `vector` `[*B 3]` [rad]."""
    half = 0.5 * np.linalg.norm(vector, axis=-1, keepdims=True)
    return np.asarray(quat_to_matrix(np.concatenate([np.cos(half), 0.5 * np.sinc(half / np.pi) * vector], axis=-1)))


def tinted(rgb: Array, change: Array) -> Array:
    """Colours `[*B 3]` in 0..1 moved by `change` `[*B 3]` in -1..1 within what people call by one name."""
    most = rgb.max(axis=-1)
    span = most - rgb.min(axis=-1)
    safe = np.where(span > 0, span, 1.0)
    r, g, b = np.moveaxis(rgb, -1, 0)
    sector = np.where(most == r, (g - b) / safe % 6.0, np.where(most == g, (b - r) / safe + 2.0, (r - g) / safe + 4.0))
    hue = sector + HUE / 60.0 * change[..., 0]
    saturation = np.divide(span, most, out=np.zeros_like(span), where=most > 0)
    saturation = np.clip(saturation * (1.0 + SATURATION * change[..., 1]), 0.0, 1.0)
    bright = np.clip(most * (1.0 + BRIGHTNESS * change[..., 2]), 0.0, 1.0)
    # Foley et al., Computer Graphics, hexcone: every channel is the same trapezoid of the hue, a third of a turn apart.
    place = (np.array([5.0, 3.0, 1.0]) + hue[..., None]) % 6.0
    share = np.clip(np.minimum(place, 4.0 - place), 0.0, 1.0)
    return np.asarray(bright[..., None] * (1.0 - saturation[..., None] * share))


def grain(x: Array, y: Array) -> Array:
    """The table's grain in -1..1 at world points [m]: boards along x, and knots."""
    return np.asarray(
        0.6 * np.sin(190.0 * y + 3.0 * np.sin(37.0 * x)) + 0.4 * np.sin(83.0 * x + 2.0 * np.sin(61.0 * y))
    )


def developed(
    looks: Looks, rgb: Array, on_table: Array, depth: Array, eyes: Array, axes: Array, tangent: float
) -> Array:  # fmt: skip
    """Images `[N h w 3]` uint8 with the table's grain, and exposed.

    Args:
        looks: of the N worlds.
        rgb: the images, plain.
        on_table: `[N h w]` bool, where they show the table.
        depth: `[N h w]` along the optical axis [m].
        eyes: `[N 3]` optical centres in the world [m].
        axes: `[N 3 3]` camera to world.
        tangent: of half the vertical field of view.
    """
    light = np.ones((*depth.shape, 1), np.float32)
    grained = looks.texture > 0.0
    if grained.any():
        height, width = depth.shape[1:]
        v, u = np.meshgrid(*((2.0 * np.arange(n) + 1.0 - n) / height for n in (height, width)), indexing="ij")
        way = np.stack([tangent * u, -tangent * v, -np.ones_like(u)], axis=-1)
        reach = np.where(on_table, depth, 0.0)[grained, ..., None]
        point = eyes[grained, None, None] + reach * np.einsum("nij,hwj->nhwi", axes[grained], way)
        pattern = looks.texture[grained, None, None] * grain(point[..., 0], point[..., 1])
        light[grained, ..., 0] += np.where(on_table[grained], pattern, 0.0)
    light *= looks.exposure.astype(np.float32)[:, None, None, None]
    return np.clip(rgb * light + 0.5, 0.0, 255.0).astype(np.uint8)
