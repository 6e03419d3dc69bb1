"""From an observation and a goal to the flat numbers a policy network reads; numpy and torch alike.

The choice of numbers follows the measured recipe for tabletop tasks: positions in the world and in the gripper's frame,
yaw errors folded by the cube's symmetry, and what the controller commanded beside what the joints did.
"""

import math
from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace

from envs.errors import EmbodiedError
from envs.geometry import half_height, quat_conjugate, quat_rotate, yaw_of
from envs.goals import Goal
from envs.kinematics import forward
from envs.two_arms import OTHER, of_first, seen_by_other
from envs.types import PROPRIOCEPTION, Array, ObjectState, Observation

CENTRE = (0.24, 0.0, 0.04)
"""[m] about the middle of the workspace; positions are measured from here."""
OBSERVATION_SIZE = 33
"""Numbers of `observation_features` of one arm without distractors."""
DISTRACTOR_SIZE = 5
"""Further numbers per distractor."""
GOAL_SIZE = 6
"""Numbers of `goal_features`."""
_QUARTER = math.pi / 2


@dataclass(frozen=True)
class Roles:
    """Which entities a goal is about."""

    subject: str
    """What must get somewhere: an object, or the gripper itself."""
    anchor: str | None
    """The entity that says where, if the goal has one."""
    literal: int
    """Index of the literal that says so."""


def roles(goal: Goal) -> Roles:
    """The subject and anchor of a goal: those of its first positive literal about two entities, or else about one."""
    for count in (2, 1):
        for i, literal in enumerate(goal.literals):
            if not literal.negated and len(literal.arguments) == count:
                return Roles(literal.arguments[0], literal.arguments[1] if count == 2 else None, i)
    raise EmbodiedError(f"The goal {goal} asks for nothing to be brought about; give it a literal that is not negated.")


def goal_point(objects: ObjectState, goal: Goal) -> Array:
    """Where the subject's centre should be `[*B 3]` in world [m].

    Exact for `at`, `near`, `on` and `lifted`; for other relations the anchor's centre, from which the direction to go
    is learned.
    """
    about = roles(goal)
    literal = goal.literals[about.literal]
    position = objects.position_in_world
    xp = array_namespace(position)
    subject = objects.index(about.subject)
    here = position[..., subject, :]
    if about.anchor is not None:
        anchor = objects.index(about.anchor)
        point = position[..., anchor, :]
        if literal.predicate not in ("on", "in"):
            return point + 0.0
        point_z = _half_height(objects, subject)
        if literal.predicate == "on":
            point_z = point_z + point[..., 2] + objects.half_extents[..., anchor, 2]
        return xp.concat([point[..., :2], point_z[..., None]], axis=-1)
    if literal.predicate == "at":
        return xp.stack([xp.full_like(here[..., i], literal.parameters[i]) for i in range(3)], axis=-1)
    if literal.predicate == "lifted":
        point_z = _half_height(objects, subject) + literal.parameters[0]
        return xp.concat([here[..., :2], point_z[..., None]], axis=-1)
    return here + 0.0


def policy_input(observation: Observation, goal: Goal, distractors: tuple[str, ...] = ()) -> Array:
    """What the actor reads `[*B S]`: observation features and goal features, float32."""
    about = roles(goal)
    subject = observation.objects.position_in_world[..., observation.objects.index(about.subject), :]
    features = observation_features(observation, about.subject, distractors)
    to_goal = goal_features(goal_point(observation.objects, goal), subject)
    return np.concatenate([features, to_goal], axis=-1, dtype=np.float32)


def _half_height(objects: ObjectState, index: int) -> Array:
    return half_height(objects.quaternion_in_world[..., index, :], objects.half_extents[..., index, :])


def goal_features(point: Array, subject_position: Array) -> Array:
    """`[*B 6]` from the goal point and the subject's centre, both `[*B 3]` in world [m]."""
    xp = array_namespace(point, subject_position)
    centre = xp.asarray(CENTRE, dtype=point.dtype)
    return xp.concat([10.0 * (point - centre), 20.0 * (point - subject_position)], axis=-1)


def observation_features(observation: Observation, subject: str, distractors: tuple[str, ...] = ()) -> Array:
    """`[*B F]` with F = `OBSERVATION_SIZE` + `DISTRACTOR_SIZE` per distractor; everything but the goal.

    Distractors come nearest to the tool first, so that their order in the scene means nothing; absent ones are zero.
    Of two arms (numpy alone), what each of them sees in its own frame, one after the other.
    """
    if OTHER + "gripper" in observation.objects.names:
        arms = (of_first(each) for each in (observation, seen_by_other(observation)))
        return np.concatenate([_one_arm(arm, subject, distractors) for arm in arms], axis=-1)
    return _one_arm(observation, subject, distractors)


def _one_arm(observation: Observation, subject: str, distractors: tuple[str, ...]) -> Array:
    objects = observation.objects
    position, quaternion = objects.position_in_world, objects.quaternion_in_world
    xp = array_namespace(position)
    centre = xp.asarray(CENTRE, dtype=position.dtype)
    gripper, cube = objects.index("gripper"), objects.index(subject)
    tool, tool_quaternion = position[..., gripper, :], quaternion[..., gripper, :]
    cube_position, cube_quaternion = position[..., cube, :], quaternion[..., cube, :]
    yaw = yaw_of(tool_quaternion)
    turn = _fold(xp, yaw_of(cube_quaternion) - yaw)
    from_tool = cube_position - tool
    joints = {name: observation.proprioception[..., part] for name, part in PROPRIOCEPTION.items()}
    command = forward(joints["joint_target"])
    command_turn = _wrap(xp, command.yaw - yaw)
    columns = [
        10.0 * (tool - centre),
        xp.stack([xp.cos(yaw), xp.sin(yaw), 2.0 * turn, xp.sin(4.0 * turn), xp.cos(4.0 * turn)], axis=-1),
        3.0 * joints["joint_position"][..., 5:6],
        5.0 * _tilt(xp, cube_quaternion)[..., None],
        10.0 * (cube_position - centre),
        20.0 * from_tool,
        20.0 * quat_rotate(quat_conjugate(tool_quaternion), from_tool),
        3.0 * objects.linear_velocity_in_world[..., cube, :],
        0.5 * joints["joint_velocity"],
        20.0 * (command.position - tool),
        3.0 * command_turn[..., None],
        3.0 * (joints["joint_target"] - joints["joint_position"])[..., 5:6],
    ]
    if distractors:
        columns.append(_distractor_features(observation, tool, tool_quaternion, distractors))
    return xp.concat(columns, axis=-1)


def _distractor_features(
    observation: Observation, tool: Array, tool_quaternion: Array, distractors: tuple[str, ...]
) -> Array:
    objects = observation.objects
    xp = array_namespace(tool)
    indices = [objects.index(name) for name in distractors]
    offsets = xp.stack([objects.position_in_world[..., i, :] - tool for i in indices], axis=-2)
    present = xp.stack([objects.present[..., i] for i in indices], axis=-1)
    distance = xp.where(present, xp.sum(offsets**2, axis=-1), xp.asarray(math.inf, dtype=offsets.dtype))
    order = xp.argsort(distance, axis=-1)
    rotation = xp.stack([tool_quaternion] * len(indices), axis=-2)
    turns = [yaw_of(objects.quaternion_in_world[..., i, :]) - yaw_of(tool_quaternion) for i in indices]
    rows = xp.concat(
        [
            20.0 * quat_rotate(quat_conjugate(rotation), offsets),
            2.0 * _fold(xp, xp.stack(turns, axis=-1))[..., None],
            xp.ones_like(offsets[..., :1]),
        ],
        axis=-1,
    )
    rows = xp.where(present[..., None], rows, xp.zeros_like(rows))
    chosen = order[..., :, None] == xp.arange(len(indices))
    picked = xp.where(chosen[..., None], rows[..., None, :, :], xp.zeros_like(rows)[..., None, :, :])
    return xp.reshape(xp.sum(picked, axis=-2), (*order.shape[:-1], len(indices) * DISTRACTOR_SIZE))


def _wrap(xp: Array, angle: Array) -> Array:
    """Into -pi..pi."""
    return angle - 2 * math.pi * xp.round(angle / (2 * math.pi))


def _fold(xp: Array, angle: Array) -> Array:
    """Into -pi/4..pi/4: a cube looks the same after every quarter turn."""
    return angle - _QUARTER * xp.round(angle / _QUARTER)


def _tilt(xp: Array, quaternion: Array) -> Array:
    """How far a cube is from resting on a face `[*B]`: 1 - the largest |z| among its axes."""
    w, x, y, z = (quaternion[..., i] for i in range(4))
    heights = [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)]
    return 1.0 - xp.max(xp.abs(xp.stack(heights, axis=-1)), axis=-1)
