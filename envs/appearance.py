"""How a scene looks, drawn at random: camera poses, light, paint, clutter, and what a sensor makes of the light.

What the scene *is* does not change: poses, sizes and presence are those of its states. Objects keep hues that people
call by the object's name; all else avoids those hues.
"""

import colorsys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from envs import rays
from envs.entity_geoms import entity_of_geoms, movable_geoms
from envs.errors import EmbodiedError
from envs.objects import OBJECTS
from envs.scene import Scene
from envs.types import Array
from envs.views import Views, views_of

HUES: Mapping[str, tuple[float, float]] = {"red": (-12.0, 10.0), "blue": (205.0, 240.0), "green": (105.0, 155.0)}
"""[degree] what is called red, blue, green; the first word of an object's name is its colour."""
OTHER_HUES = ((28.0, 62.0), (268.0, 300.0))
"""[degree] yellows, browns and violets: colours of what is no object."""
SHIFT, TURN, ZOOM = 0.004, 0.8, 0.03
"""Spread of cameras: standard deviations of position [m] and of each angle [degree], largest relative change of the
field of view."""
CALIBRATION_SHIFT, CALIBRATION_TURN = 0.0004, 0.05
"""Errors of what is told about the cameras: standard deviations [m], [degree]."""
TILT = 30.0
"""[degree] largest change of the light's elevation."""
PIECES = (rays.BOX, rays.BOX, rays.CYLINDER, rays.SPHERE, rays.CAPSULE)
"""Shapes of clutter."""


@dataclass(frozen=True)
class Clutter:
    """F things in each of N states that are nobody's entities."""

    kinds: Array
    """`[F]` shapes, numbers of `mjtGeom`."""
    sizes: Array
    """`[N F 3]` [m] as MuJoCo's."""
    position: Array
    """`[N F 3]` [m] in the world."""
    rotation: Array
    """`[N F 3 3]` to the world."""
    colour: Array
    """`[N F 3]` RGB in 0..1."""
    shown: Array
    """`[N F]` bool."""


@dataclass(frozen=True)
class Appearance:
    """How N states look through C cameras."""

    views: Views
    """The cameras as they are, arrays `[N C ...]`."""
    told: Views
    """The cameras as their calibration says they are: off by a little."""
    fovy: Array
    """`[C]` vertical fields of view [degree]."""
    turn: Array
    """`[N 3 3]` turns the world under the light, which alone is fixed."""
    paint: Array
    """`[N G 3]` RGB in 0..1 of the model's geoms; that of objects is in their state."""
    clutter: Clutter


def draw_appearance(generator: np.random.Generator, scene: Scene, cameras: Sequence[str], count: int) -> Appearance:
    """A random appearance of `count` states, through fixed cameras with square images."""
    base = views_of(scene, cameras)
    shape = (count, len(cameras))
    position = base.position + SHIFT * generator.standard_normal((*shape, 3))
    rotation = base.rotation @ _small_turns(generator, shape, TURN)
    zoom = 1.0 + generator.uniform(-ZOOM, ZOOM, len(cameras))
    tangent = base.tangent * zoom[:, None]
    views = Views(tuple(cameras), position, rotation, np.broadcast_to(tangent, (*shape, 2)))
    told = Views(
        tuple(cameras),
        position + CALIBRATION_SHIFT * generator.standard_normal((*shape, 3)),
        rotation @ _small_turns(generator, shape, CALIBRATION_TURN),
        views.tangent,
    )
    return Appearance(
        views=views,
        told=told,
        fovy=np.rad2deg(2.0 * np.arctan(tangent[:, 1])),
        turn=_light(generator, count),
        paint=_paint(generator, scene, count),
        clutter=_clutter(generator, count),
    )


def object_colours(generator: np.random.Generator, names: Sequence[str], count: int) -> Array:
    """`[count O 3]` RGB of named objects: any colour that people call by that name.

    Raises `EmbodiedError` for an object without a hue in `HUES`.
    """
    colours = np.empty((count, len(names), 3))
    for k, name in enumerate(names):
        word = name.partition("_")[0]
        if word not in HUES:
            raise EmbodiedError(f"Object {name!r} has no range of hues; there are {', '.join(HUES)}.")
        hue = generator.uniform(*HUES[word], count) / 360.0
        colours[:, k] = _rgb(hue, generator.uniform(0.6, 0.95, count), generator.uniform(0.4, 0.95, count))
        kept = generator.random(count) < 0.2
        colours[kept, k] = OBJECTS[name].colour if name in OBJECTS else colours[0, k]
    return colours


def photograph(generator: np.random.Generator, rgb: Array) -> Array:
    """What a sensor makes of images `[N ... h w 3]` uint8: exposure, white balance, gamma, noise; uint8."""
    lead = (len(rgb), *(1,) * (rgb.ndim - 2))
    gain = np.exp(generator.normal(0.0, 0.16, (*lead, 1)) + generator.normal(0.0, 0.04, (*lead, 3)))
    gamma = np.exp(generator.normal(0.0, 0.10, (*lead, 1)))
    levels = np.linspace(0.0, 1.0, 256, dtype=np.float32)
    # One table per image and channel: 256 powers instead of one per pixel.
    tables = (255.0 * np.clip(gain[..., None] * levels ** gamma[..., None], 0.0, 1.0)).astype(np.float32)
    noise = generator.uniform(0.0, 6.0, lead[:1]) * (generator.random(lead[:1]) < 0.7)
    out = np.empty_like(rgb)
    for n, image in enumerate(rgb):
        table = tables[n].reshape(3, 256)
        exposed = np.stack([table[c][image[..., c]] for c in range(3)], axis=-1)
        if noise[n] > 0.0:
            exposed += generator.standard_normal(exposed.shape, np.float32) * np.float32(noise[n])
        out[n] = np.clip(exposed + 0.5, 0.0, 255.0)
    return out


def _rgb(hue: Array, saturation: Array, value: Array) -> Array:
    """`[n 3]` of hues, saturations and values in 0..1."""
    return np.array([colorsys.hsv_to_rgb(*hsv) for hsv in zip(hue % 1.0, saturation, value, strict=True)]).reshape(
        -1, 3
    )


def _other_colours(generator: np.random.Generator, count: int) -> Array:
    """`[count 3]` greys, yellows, browns and violets."""
    spans = np.array(OTHER_HUES)[generator.integers(len(OTHER_HUES), size=count)]
    hue = generator.uniform(spans[:, 0], spans[:, 1])
    grey = generator.random(count) < 0.5
    saturation = np.where(grey, generator.uniform(0.0, 0.15, count), generator.uniform(0.3, 0.9, count))
    return _rgb(hue / 360.0, saturation, generator.uniform(0.05, 0.98, count))


def _small_turns(generator: np.random.Generator, shape: tuple[int, ...], spread: float) -> Array:
    """`[*shape 3 3]` rotations by normal angles [degree] about all axes."""
    vector = np.deg2rad(spread) * generator.standard_normal((*shape, 3))
    angle = np.linalg.norm(vector, axis=-1)[..., None, None]
    x, y, z = (vector[..., i] for i in range(3))
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1).reshape(*shape, 3, 3)
    safe = np.maximum(angle, 1e-12)
    turns: Array = np.eye(3) + np.sin(angle) / safe * cross + (1.0 - np.cos(angle)) / safe**2 * (cross @ cross)
    return turns


def _light(generator: np.random.Generator, count: int) -> Array:
    """`[count 3 3]` a turn about the vertical, then a lean by up to `TILT`."""
    turn, lean = generator.uniform(-np.pi, np.pi, count), np.deg2rad(TILT) * generator.random(count)
    towards = generator.uniform(-np.pi, np.pi, count)
    first, second = _about(turn, 2), _about(towards, 2)
    return second @ _about(lean, 0) @ second.swapaxes(-1, -2) @ first


def _about(angle: Array, axis: int) -> Array:
    """`[n 3 3]` rotations about a coordinate axis."""
    matrix = np.zeros((len(angle), 3, 3))
    i, j = (axis + 1) % 3, (axis + 2) % 3
    matrix[:, axis, axis] = 1.0
    matrix[:, i, i] = matrix[:, j, j] = np.cos(angle)
    matrix[:, j, i], matrix[:, i, j] = np.sin(angle), -np.sin(angle)
    return matrix


def _paint(generator: np.random.Generator, scene: Scene, count: int) -> Array:
    """`[count G 3]` table and floor in any pale colour, the arm's parts in their own or another one."""
    model = scene.model
    own = np.where((model.geom_matid >= 0)[:, None], model.mat_rgba[model.geom_matid], model.geom_rgba)[:, :3]
    paint = np.clip(own * np.exp(generator.normal(0.0, 0.15, (count, model.ngeom, 1))), 0.0, 1.0)
    # Parts of one colour stay of one colour.
    _, part = np.unique(own, axis=0, return_inverse=True)
    part = part.ravel()
    for p in range(int(part.max()) + 1):
        changed = generator.random(count) < 0.35
        paint[np.ix_(changed, part == p)] = _other_colours(generator, int(changed.sum()))[:, None]
    pale = _rgb(generator.random(count), generator.uniform(0.0, 0.35, count), generator.uniform(0.12, 0.95, count))
    kept = generator.random(count) < 0.2
    table = entity_of_geoms(scene) == scene.index("table")
    paint[np.ix_(~kept, table)] = pale[~kept, None]
    floor = model.geom("floor").id
    paint[:, floor] = _rgb(
        generator.random(count), generator.uniform(0.0, 0.3, count), generator.uniform(0.2, 0.95, count)
    )
    paint[:, movable_geoms(scene)] = own[movable_geoms(scene)]
    return paint


def _clutter(generator: np.random.Generator, count: int) -> Clutter:
    """Up to five things on the table, mostly small and mostly where the arm does not reach."""
    pieces = len(PIECES)
    shape = (count, pieces)
    shown = (generator.random((count, 1)) < 0.6) & (generator.random(shape) < 0.5)
    sizes = generator.uniform(0.006, 0.03, (*shape, 3))
    x, y = generator.uniform(-0.15, 0.5, shape), generator.uniform(-0.4, 0.4, shape)
    among = generator.random(shape) < 0.25
    x, y = (
        np.where(among, generator.uniform(0.1, 0.36, shape), x),
        np.where(among, generator.uniform(-0.2, 0.2, shape), y),
    )
    away = among | (x < -0.05) | (x > 0.38) | (np.abs(y) > 0.2)
    # Height of the centre: boxes stand on their face, cylinders and capsules on their end, balls lie.
    kinds = np.array(PIECES)
    upright = np.where(kinds == rays.BOX, sizes[..., 2], sizes[..., 1])
    upright = np.where(kinds == rays.SPHERE, sizes[..., 0], upright)
    upright = np.where(kinds == rays.CAPSULE, sizes[..., 0] + sizes[..., 1], upright)
    turns = _about(generator.uniform(-np.pi, np.pi, count * pieces), 2).reshape(*shape, 3, 3)
    colour = _other_colours(generator, count * pieces).reshape(*shape, 3)
    return Clutter(kinds.astype(np.int64), sizes, np.stack([x, y, upright], -1), turns, colour, shown & away)
