"""State rows of worlds that begin anew, made for many worlds at once and away from any batch."""

from typing import TYPE_CHECKING

import numpy as np

from envs.errors import EmbodiedError
from envs.geometry import half_height
from envs.layout import Layout, check_apart, checked_layout
from envs.parameters import ModelFields, Parameters
from envs.robot import robot_of
from envs.types import Array

if TYPE_CHECKING:
    from envs.rows import EntityRows
    from envs.scene import Scene

BEYOND = 0.1
"""[rad or m] by which joints may be past their ends: what an arm is measured at is off by as much."""


def beginning(scene: "Scene", rows: "EntityRows", fields: ModelFields, layout: Layout, worlds: int) -> Array:
    """`[n S]` rows of `SimulationState` for `n = worlds` that begin as `layout` says: at rest, time 0.

    Raises `EmbodiedError` for a layout that the scene cannot have.
    """
    objects = np.flatnonzero(scene.qpos >= 0)
    layout = checked_layout(layout, worlds, len(objects), len(scene.joints), len(scene.config.fixtures))
    if layout.goal_position is not None and scene.config.goal_entity is None:
        raise EmbodiedError("Layout.goal_position was given, but this scene has no goal entity.")
    declared = Parameters.nominal(scene, worlds)
    if layout.mass is not None:
        declared.mass[:] = layout.mass
    if layout.friction is not None:
        declared.friction[:, objects] = layout.friction
    if layout.half_extents is not None:
        declared.half_extents[:] = layout.half_extents
    truth = declared if layout.parameters is None else layout.parameters
    fields.check(declared)
    if truth is not declared:
        fields.check(truth)
    _check_joints(scene, layout.joints)
    config = scene.config
    table = robot_of(config.robot).table
    check_apart(layout, declared.half_extents, scene.objects, table, config.fixtures, config.goal_entity)
    state = rows.at_home(worlds, layout.joints)
    _place_held(scene, rows, layout, state)
    position = layout.object_position.copy()
    if truth is not declared:
        # Placed by their declared size: a box that is truly larger or smaller keeps its lowest point.
        turned = layout.object_quaternion
        position[..., 2] += half_height(turned, truth.half_extents) - half_height(turned, declared.half_extents)
    for o, k in enumerate(objects):
        rows.place(state, int(k), position[:, o], layout.object_quaternion[:, o])
    mass = np.repeat(scene.mass[None], worlds, axis=0)
    mass[:, objects] = declared.mass
    present = np.ones((worlds, len(scene.names)))
    if layout.present is not None:
        present[:, objects] = layout.present
    random = np.zeros((worlds, 2))
    if layout.seed is not None:
        random[:, 0] = layout.seed
    slack = np.zeros((worlds, len(scene.actuator)))
    return np.concatenate([state, truth.flat(), slack, mass, declared.friction, present, random], axis=1)


def _check_joints(scene: "Scene", joints: Array) -> None:
    low, high = scene.model.jnt_range[[scene.model.joint(name).id for name in scene.joints]].T
    outside = (joints < low - BEYOND) | (joints > high + BEYOND)
    if outside.any():
        world, joint = np.argwhere(outside)[0]
        raise EmbodiedError(
            f"In world {world} of the layout, {scene.joints[joint]} is at {joints[world, joint]:.3g}; it goes from "
            f"{low[joint]:.3g} to {high[joint]:.3g}."
        )


def _place_held(scene: "Scene", rows: "EntityRows", layout: Layout, state: Array) -> None:
    """The goal entity and the bases of fixtures: as laid out, else as compiled."""
    places = {str(scene.config.goal_entity): (layout.goal_position, layout.goal_quaternion)}
    for f, name in enumerate(scene.config.fixtures):
        at, turned = layout.fixture_position, layout.fixture_quaternion
        places[name] = (None if at is None else at[:, f], None if turned is None else turned[:, f])
    for k in np.flatnonzero(scene.mocap >= 0):
        body, (position, quaternion) = scene.body[k], places[scene.names[k]]
        rows.place(state, int(k), scene.model.body_pos[body] if position is None else position,
                   scene.model.body_quat[body] if quaternion is None else quaternion)  # fmt: skip
