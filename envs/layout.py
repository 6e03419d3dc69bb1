"""How worlds begin: robot, objects, goal entity and true physics, as arrays over worlds."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from envs.errors import EmbodiedError
from envs.fixtures import BIN_HALF_EXTENTS, BIN_WALL, FIXTURES, Solid, walls
from envs.geometry import box_signed_distance, point_box_distance, quat_rotate
from envs.objects import object_type
from envs.parameters import Parameters
from envs.types import Array, Kind


@dataclass(frozen=True)
class Layout:
    """How n worlds begin. Fields left `None` take the scene's nominal values."""

    joints: Array
    """`[n J]` [rad], a pusher's [m]; also the first joint target."""
    object_position: Array
    """`[n O 3]` [m], world frame; ignored where absent."""
    object_quaternion: Array
    """`[n O 4]` wxyz."""
    present: Array | None = None
    """`[n O]` bool, all by default."""
    goal_position: Array | None = None
    """`[n 3]` [m] of the goal entity."""
    goal_quaternion: Array | None = None
    """`[n 4]` wxyz."""
    fixture_position: Array | None = None
    """`[n F 3]` [m] of the bases of fixtures."""
    fixture_quaternion: Array | None = None
    """`[n F 4]` wxyz."""
    mass: Array | None = None
    """`[n O]` declared mass [kg]."""
    friction: Array | None = None
    """`[n O]` declared sliding friction."""
    half_extents: Array | None = None
    """`[n O 3]` [m]."""
    parameters: Parameters | None = None
    """The true physics of n worlds where it differs from what is declared, e.g. from `Variation.sample`.

    Positions are those of declared sizes; a box of another true size keeps its lowest point.
    """
    seed: Array | None = None
    """`[n]` integers of the worlds' own random streams, below 2**53."""


def checked_layout(layout: Layout, worlds: int, objects: int, joints: int, fixtures: int = 0) -> Layout:
    """The layout with float64 arrays and unit quaternions; raises `EmbodiedError` on wrong shapes or values."""
    shapes = {
        "joints": (worlds, joints),
        "object_position": (worlds, objects, 3),
        "object_quaternion": (worlds, objects, 4),
        "present": (worlds, objects),
        "goal_position": (worlds, 3),
        "goal_quaternion": (worlds, 4),
        "fixture_position": (worlds, fixtures, 3),
        "fixture_quaternion": (worlds, fixtures, 4),
        "mass": (worlds, objects),
        "friction": (worlds, objects),
        "half_extents": (worlds, objects, 3),
        "seed": (worlds,),
    }
    checked: dict[str, Any] = {}
    for name, shape in shapes.items():
        value = getattr(layout, name)
        if value is None:
            continue
        array = np.array(value, bool if name == "present" else np.float64)
        if array.shape != shape:
            raise EmbodiedError(f"Layout.{name} has shape {array.shape}; {shape} is needed.")
        if not np.isfinite(array).all():
            raise EmbodiedError(f"Layout.{name} must be finite.")
        if name.endswith("quaternion"):
            norm = np.linalg.norm(array, axis=-1, keepdims=True)
            if (norm < 1e-6).any():
                raise EmbodiedError(f"Layout.{name} holds a quaternion of length zero.")
            array = array / norm
        checked[name] = array
    return replace(layout, **checked)


def check_apart(
    layout: Layout, half_extents: Array, names: Sequence[str], table: tuple[Array, Array], fixtures: Sequence[str] = (),
    goal_entity: str | None = None,
) -> None:  # fmt: skip
    """Raise `EmbodiedError` where an object is in another thing by a quarter and more.

    Things are objects of half extents `[n O 3]`, the table, whose centre and half extents are given [m], fixtures where
    they begin and the goal's bin. Boxes are judged as they are, other solids by the balls inside them: what is called
    overlapping is, and the play of an estimate is let pass.
    """
    solids = [(o, solid) for o, name in enumerate(names) for solid in object_type(name).solids]
    owner = np.array([o for o, _ in solids], np.int64)
    shares = np.array([(solid.half, solid.centre) for _, solid in solids]).reshape(len(solids), 2, 3)
    half = half_extents[:, owner] * shares[:, 0]
    quaternion = layout.object_quaternion[:, owner]
    place = layout.object_position[:, owner] + quat_rotate(quaternion, half_extents[:, owner] * shares[:, 1])
    present = np.ones(place.shape[:2], bool) if layout.present is None else layout.present[:, owner]
    radius = half.min(axis=-1)
    ground = np.asarray(table[0]), np.array([1.0, 0.0, 0.0, 0.0]), np.asarray(table[1])
    inside = present & (point_box_distance(place, *ground) < 0.5 * radius)
    if inside.any():
        world, solid = np.argwhere(inside)[0]
        raise EmbodiedError(f"In world {world} of the layout, {names[owner[solid]]} is in the table.")
    boxes = np.array([solid.kind == Kind.BOX for _, solid in solids], bool)
    own = _Solids(tuple(names[o] for o in owner), place, quaternion, half, boxes, present)
    other = _standing(layout, fixtures, goal_entity)
    first, second = np.triu_indices(len(own.owner) + len(other.owner), 1)
    everything = own.with_(other)
    # What stands about is moved by nothing: it may stand in one another.
    apart = np.array([a < len(own.owner) and everything.owner[a] != everything.owner[b]
                      for a, b in zip(first, second, strict=True)], bool)  # fmt: skip
    _refuse_overlaps(everything, first[apart], second[apart])


@dataclass(frozen=True)
class _Solids:
    """S solids of n worlds, and whose they are."""

    owner: tuple[str, ...]
    place: Array
    """`[n S 3]`."""
    quaternion: Array
    """`[n S 4]`."""
    half: Array
    """`[n S 3]`."""
    box: Array
    """`[S]` bool; what is no box has a ball inside."""
    present: Array
    """`[n S]` bool."""

    def with_(self, other: "_Solids") -> "_Solids":
        """These and then the others."""
        names = ("place", "quaternion", "half", "present")
        joined = {name: np.concatenate([getattr(self, name), getattr(other, name)], axis=1) for name in names}
        return _Solids(self.owner + other.owner, box=np.concatenate([self.box, other.box]), **joined)


def _standing(layout: Layout, fixtures: Sequence[str], goal_entity: str | None) -> _Solids:
    """The boxes of what stands about: fixtures, shut, and a bin that is the goal."""
    worlds = len(layout.object_position)
    found: list[tuple[str, Array, Array, Solid]] = []
    if layout.fixture_position is not None and layout.fixture_quaternion is not None:
        for f, name in enumerate(fixtures):
            at, turned = layout.fixture_position[:, f], layout.fixture_quaternion[:, f]
            for part in FIXTURES[name].parts:
                base = at + quat_rotate(turned, np.array(part.position))
                found += [(name, base, turned, solid) for solid in part.solids if not solid.upright_capsule]
    if goal_entity == "bin" and layout.goal_position is not None:
        turned = layout.goal_quaternion
        turned = np.tile((1.0, 0.0, 0.0, 0.0), (worlds, 1)) if turned is None else turned
        found += [("bin", layout.goal_position, turned, solid) for solid in walls(BIN_HALF_EXTENTS, BIN_WALL)]
    place, quaternion, half = np.zeros((worlds, len(found), 3)), np.zeros((worlds, len(found), 4)), []
    for s, (_, at, turned, solid) in enumerate(found):
        place[:, s], quaternion[:, s] = at + quat_rotate(turned, np.array(solid.position)), turned
        half.append(solid.half_extents)
    halves = np.broadcast_to(np.array(half).reshape(len(found), 3), (worlds, len(found), 3))
    owner, boxes = tuple(name for name, *_ in found), np.ones(len(found), bool)
    return _Solids(owner, place, quaternion, halves, boxes, np.ones((worlds, len(found)), bool))


def _refuse_overlaps(solids: _Solids, first: Array, second: Array) -> None:
    """Raise `EmbodiedError` where solids of the pairs `[P]` are in one another by a quarter of their widths."""
    least = solids.half.min(axis=-1)
    apart = solids.place[:, first] - solids.place[:, second]
    reach = np.linalg.norm(solids.half, axis=-1)
    near = np.linalg.norm(apart, axis=-1) < reach[:, first] + reach[:, second]
    worlds, pairs = np.nonzero(near & solids.present[:, first] & solids.present[:, second])
    a, b = first[pairs], second[pairs]
    places, halves = [solids.place[worlds, s] for s in (a, b)], [solids.half[worlds, s] for s in (a, b)]
    turned = [solids.quaternion[worlds, s] for s in (a, b)]
    if not len(worlds):
        return
    depth = -box_signed_distance(places[0], turned[0], halves[0], places[1], turned[1], halves[1])
    radius = [least[worlds, s] for s in (a, b)]
    for one, other in ((0, 1), (1, 0)):
        ball = ~solids.box[(a, b)[one]]
        # Of two balls, of a ball and a box.
        to_box = radius[one] - point_box_distance(places[one], places[other], turned[other], halves[other])
        to_ball = radius[0] + radius[1] - np.linalg.norm(places[0] - places[1], axis=-1)
        depth = np.where(ball, np.where(solids.box[(a, b)[other]], to_box, to_ball), depth)
    inside = depth > 0.25 * (radius[0] + radius[1])
    if inside.any():
        i = int(np.argmax(inside))
        raise EmbodiedError(
            f"In world {worlds[i]} of the layout, {solids.owner[a[i]]} and {solids.owner[b[i]]} overlap by "
            f"{1e3 * depth[i]:.0f} mm."
        )
