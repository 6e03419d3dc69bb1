"""How worlds begin: robot, objects, goal entity and true physics, as arrays over worlds."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from envs.errors import EmbodiedError
from envs.fixtures import FIXTURES, OBSTACLES
from envs.geometry import point_box_distance, quat_rotate
from envs.objects import object_type
from envs.parameters import Parameters
from envs.types import Array


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
    layout: Layout, half_extents: Array, names: Sequence[str], table: tuple[Array, Array], fixtures: Sequence[str] = ()
) -> None:
    """Raise `EmbodiedError` where two objects of half extents `[n O 3]` are in one another by a quarter and more.

    And where one is so far in the table, whose centre and half extents are given [m], or in an obstacle among the
    fixtures.

    Judged by the balls inside their solids: what is called overlapping is, and the play of an estimate is let pass.
    """
    solids = [(o, solid) for o, name in enumerate(names) for solid in object_type(name).solids]
    owner = np.array([o for o, _ in solids], np.int64)
    first, second = np.triu_indices(len(solids), 1)
    apart = owner[first] != owner[second]
    first, second = first[apart], second[apart]
    shares = np.array([(solid.half, solid.centre) for _, solid in solids]).reshape(len(solids), 2, 3)
    radius = (half_extents[:, owner] * shares[:, 0]).min(axis=-1)
    centre = quat_rotate(layout.object_quaternion[:, owner], half_extents[:, owner] * shares[:, 1])
    place = layout.object_position[:, owner] + centre
    boxes = {"the table": (np.asarray(table[0]), np.array([1.0, 0.0, 0.0, 0.0]), np.asarray(table[1]))}
    for f, name in enumerate(fixtures):
        if name in OBSTACLES and layout.fixture_position is not None and layout.fixture_quaternion is not None:
            at, turned = layout.fixture_position[:, f, None], layout.fixture_quaternion[:, f, None]
            boxes[f"the obstacle {name}"] = at, turned, np.array(FIXTURES[name].parts[0].half_extents)
    for name, box in boxes.items():
        inside = point_box_distance(place, *box) < 0.5 * radius
        if layout.present is not None:
            inside &= layout.present[:, owner]
        if inside.any():
            world, solid = np.argwhere(inside)[0]
            raise EmbodiedError(f"In world {world} of the layout, {names[owner[solid]]} is in {name}.")
    gap = np.linalg.norm(place[:, first] - place[:, second], axis=-1)
    inside = gap < 0.75 * (radius[:, first] + radius[:, second])
    first, second = owner[first], owner[second]
    if layout.present is not None:
        inside &= layout.present[:, first] & layout.present[:, second]
    if inside.any():
        world, pair = np.argwhere(inside)[0]
        raise EmbodiedError(
            f"In world {world} of the layout, {names[first[pair]]} and {names[second[pair]]} overlap: their centres "
            f"are {1e3 * gap[world, pair]:.0f} mm apart."
        )
