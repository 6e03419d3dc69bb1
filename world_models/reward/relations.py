"""What a learned reward sees of a literal: invariants of two boxes, of a frame, and of the hand.

Each of L literals becomes one row of features of a pair (a, b): the second box is the other argument, the gripper (of
grasped, released), a point of a frame (of at), or a itself. Nothing depends on how many objects there are or on what
they are called. The invariants are what box predicates are made of (`envs.predicates`): which of them a predicate is
about, where its boundary is, and what noise does to both, is for the network to learn. Distances of boxes are those of
their faces' normals alone, which is exact for parallel boxes and up to some millimetres short for others.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from envs.errors import unknown
from envs.geometry import quat_to_matrix
from envs.goals import WORLD_FRAMES, Literal
from envs.predicates import ABOVE_SLACK, BIN_WALL, GRASP_GAP, GRIPPER, INTERVAL, PREDICATES, SQUARE, Frames, View
from envs.types import Array, Kind, ObjectState

MEASURES = (
    *(f"offset_{axis}" for axis in "xyz"), *(f"shadow_{axis}" for axis in "xyz"), *(f"room_{axis}" for axis in "xyz"),
    *(f"face_of_b_{axis}" for axis in "xyz"), *(f"face_of_a_{axis}" for axis in "xyz"),
    "lateral", "rim", "gap", "distance", "step", "bottom", "motion", "nearer_jaw", "farther_jaw", "slip",
    "oblong", "heading", "quarter", "straight", "tilt",
)  # fmt: skip
"""Lengths [m], the last four angles [rad]: of a against b in the literal's frame, in b's axes and in a's. Headings come
modulo what sizes say, 90 and 180 degrees, for who is unsure of sizes cannot tell whether a box is square."""
LIMITED = (
    "distance", "gap", "step", "bottom", "motion", "nearer_jaw", "farther_jaw", "slip", "heading", "quarter", "tilt",
)  # fmt: skip
"""Measures that a literal's own number may limit; a step counts both ways."""
CONTEXT = ("number", *(f"half_a_{axis}" for axis in "xyz"), *(f"half_b_{axis}" for axis in "xyz"), "wall",
           "confidence_a", "confidence_b", "confidence_frame")  # fmt: skip
ANGLES = ("heading", "quarter", "straight", "tilt")
STEP = MEASURES.index("step")
COARSE, FINE, LIMIT = 0.1, 0.01, 0.004
"""[m] lengths at which the three views of a measure saturate or count 1: across the table, across a box, a contact."""
ANGLE = 5.0
"""[rad/m] radians are scaled as if this many made a metre."""
FARTHEST = 8.0
"""Of coarse measures."""
FEATURES = (
    *(f"coarse_{name}" for name in MEASURES), *(f"fine_{name}" for name in MEASURES),
    *(f"limit_{name}" for name in LIMITED), *CONTEXT,
)  # fmt: skip
"""F names."""
SYNONYMS = {"below": "above", "right_of": "left_of", "behind": "in_front_of"}
"""Predicates that say the same as another of exchanged arguments."""
NAMES = tuple(name for name in PREDICATES if name not in SYNONYMS)
"""P predicates, in the order of the network's outputs."""
_NUMBERS = {"grasped": GRASP_GAP, "above": ABOVE_SLACK, "below": ABOVE_SLACK}
"""Of predicates that are written without one [m]."""
_HAND = ("grasped", "released")
LIMITED_AT = np.array([MEASURES.index(name) for name in LIMITED])
_RATE = np.array([1.0 / ANGLE if name in ANGLES else 1.0 for name in MEASURES])
_BOTH_WAYS = np.array([float(name == "step") for name in MEASURES])
_NOTHING = -1


@dataclass(frozen=True)
class Pairs:
    """Which entities L literals relate; indices beyond the K entities are frames, the world first."""

    predicate: NDArray[np.int64]
    """`[L]` index into `NAMES`."""
    sign: NDArray[np.float64]
    """`[L]` -1 where negated."""
    a: NDArray[np.int64]
    b: NDArray[np.int64]
    frame: NDArray[np.int64]
    """`[L]` each."""
    point: NDArray[np.float64]
    """`[L 3]` of at, in its frame [m]; zero elsewhere."""
    extended: NDArray[np.float64]
    """`[L 1]` 0 where b is a point, else 1."""
    wall: NDArray[np.float64]
    """`[L]` of b [m]."""
    number: NDArray[np.float64]
    """`[L]` the tolerance, distance, height or gap of the literal [m or rad]."""
    hand: NDArray[np.int64]
    """`[H]` literals about the gripper's jaws."""
    about_hand: NDArray[np.bool_]
    """`[L]` the same as a mask."""
    jaws: NDArray[np.int64]
    """`[J]` entities."""
    gripper: int
    frames: tuple[str, ...]
    """Frames beyond world that are no entities."""
    needed: NDArray[np.int64]
    """`[L 3]` entities that must be present."""

    @classmethod
    def of(cls, literals: Sequence[Literal], state: ObjectState, frames: Frames | None = None) -> "Pairs":
        """Raises `EmbodiedError` for an entity or a frame that the state does not have, or a hand without jaws."""
        frames, count = frames or {}, len(state.names)
        named = tuple(dict.fromkeys(one.frame for one in literals if one.frame in frames))
        rows: list[tuple[int, int, int]] = []
        hand: list[int] = []
        jaws: tuple[str, ...] = ()
        for row, one in enumerate(literals):
            arguments = [state.index(name) for name in one.arguments]
            if one.predicate in SYNONYMS:
                arguments = arguments[::-1]
            frame = _frame(one, state, named, frames)
            about_jaws = one.predicate in _HAND or (one.predicate == "touching" and GRIPPER in one.arguments)
            if about_jaws:
                hand.append(row)
                jaws = View(state).jaws()
                gripper = state.index(GRIPPER)
                # The jaws are read against the object, whichever argument names the gripper.
                other = [index for index in arguments if index != gripper] or [gripper]
                arguments = [other[0], gripper]
            second = frame if one.predicate == "at" else arguments[-1]
            rows.append((arguments[0], second, frame))
        a, b, frame_of = np.array(rows, np.int64).T
        points = [one.parameters[:3] if one.predicate == "at" else (0.0, 0.0, 0.0) for one in literals]
        needed = np.stack([a, b, frame_of], axis=-1)
        needed = np.where(needed < count, needed, a[:, None])
        kinds = np.asarray(state.kind)
        said = [SYNONYMS.get(one.predicate, one.predicate) for one in literals]
        number = [one.parameters[-1] if one.parameters else _NUMBERS.get(one.predicate, 0.0) for one in literals]
        return cls(
            predicate=np.array([NAMES.index(word) for word in said], np.int64),
            sign=np.array([-1.0 if one.negated else 1.0 for one in literals]),
            a=a,
            b=b,
            frame=frame_of,
            point=np.array(points, np.float64),
            extended=np.array([[0.0 if one.predicate == "at" else 1.0] for one in literals]),
            wall=np.array([BIN_WALL if k < count and int(kinds[k]) == Kind.BIN else 0.0 for k in b]),
            number=np.array(number, np.float64),
            hand=np.array(hand, np.int64),
            about_hand=np.isin(np.arange(len(literals)), hand),
            jaws=np.array([state.index(name) for name in jaws], np.int64),
            gripper=state.index(GRIPPER) if hand else _NOTHING,
            frames=named,
            needed=needed,
        )


def _frame(one: Literal, state: ObjectState, named: tuple[str, ...], frames: Frames) -> int:
    """Where a literal's frame is among entities, world, and named frames."""
    if one.frame in WORLD_FRAMES:
        return len(state.names)
    if one.frame in named:
        return len(state.names) + 1 + named.index(one.frame)
    if one.frame not in state.names:
        raise unknown("frame", one.frame, [*WORLD_FRAMES, *frames, *state.names])
    return state.names.index(one.frame)


def present(state: ObjectState, pairs: Pairs) -> Array:
    """Whether all that a literal speaks of is there, `[*B L]` bool."""
    xp = array_namespace(state.position_in_world)
    return xp.all(state.present[..., pairs.needed], axis=-1)


def features(state: ObjectState, pairs: Pairs, frames: Frames | None = None) -> Array:
    """`[*B L F]` in the state's precision, see `FEATURES`; all are finite, and of order 1."""
    xp = array_namespace(state.position_in_world)
    measures, context = _measures(state, pairs, frames or {}, xp)
    rate = _constant(xp, _RATE, measures)
    lengths = measures * rate
    limited = xp.where(_constant(xp, _BOTH_WAYS, measures) > 0, abs(lengths), lengths)[..., LIMITED_AT]
    number = _constant(xp, pairs.number[:, None] * _RATE[LIMITED_AT], measures)
    coarse = xp.clip(lengths / COARSE, -FARTHEST, FARTHEST)
    limit = xp.tanh((number - limited) / LIMIT)
    return xp.concat([coarse, xp.tanh(lengths / FINE), limit, context], axis=-1)


def _measures(state: ObjectState, pairs: Pairs, frames: Frames, xp: Any) -> tuple[Array, Array]:
    """Measures `[*B L m]` and context `[*B L c]`."""
    position, rotation, half, sure = _entities(state, pairs, frames, xp)
    of_a, of_b, of_f = rotation[..., pairs.a, :, :], rotation[..., pairs.b, :, :], rotation[..., pairs.frame, :, :]
    half_a, half_b = half[..., pairs.a, :], half[..., pairs.b, :] * _constant(xp, pairs.extended, half)
    centre_a, centre_b = position[..., pairs.a, :], position[..., pairs.b, :]
    if pairs.point.any():
        centre_b = centre_b + _apply(of_b, _constant(xp, pairs.point, half))
    offset = centre_a - centre_b
    in_f, in_b, in_a = (_into(frame, offset) for frame in (of_f, of_b, of_a))
    back_f, back_b = xp.matrix_transpose(of_f), xp.matrix_transpose(of_b)
    turn = abs(back_b @ of_a)
    reach_a, reach_b = _apply(turn, half_a), _apply(xp.matrix_transpose(turn), half_b)
    shadow = abs(in_f) - _apply(abs(back_f @ of_a), half_a) - _apply(abs(back_f @ of_b), half_b)
    wall = _constant(xp, pairs.wall, half)
    room = half_b - wall[..., None] - abs(in_b)
    faces_b, faces_a = abs(in_b) - half_b - reach_a, abs(in_a) - half_a - reach_b
    upright = abs(of_b[..., 2, :])
    lateral = xp.min(xp.where(upright >= xp.max(upright, axis=-1, keepdims=True), 1.0, room), axis=-1)
    high_a, high_b = xp.sum(abs(of_a[..., 2, :]) * half_a, axis=-1), xp.sum(upright * half_b, axis=-1)
    bottom = centre_a[..., 2] - high_a
    # In a bin things rest on its floor.
    support = centre_b[..., 2] + xp.where(wall > 0, wall - high_b, high_b)
    v, w = state.linear_velocity_in_world, state.angular_velocity_in_world
    motion = INTERVAL * (_norm(v) + _norm(w) * _norm(state.half_extents))
    jaws = _hand(state, pairs, position, rotation, half, xp)
    measures = [
        in_f, shadow, room, faces_b, faces_a,
        _columns(
            xp, lateral, half_b[..., 2] - in_b[..., 2], _gap(xp, faces_a, faces_b), _norm(offset), bottom - support,
            bottom, motion[..., pairs.a],
        ),
        jaws,
        _columns(xp, *_angles(of_a, of_b, half_a, half_b, xp)),
    ]  # fmt: skip
    ones = xp.ones_like(bottom)
    number = _constant(xp, pairs.number / 0.05, half) * ones
    trust = [sure[..., index] for index in (pairs.a, pairs.b, pairs.frame)]
    context = [
        number[..., None], half_a / 0.02, half_b / 0.02, (wall / BIN_WALL * ones)[..., None], _columns(xp, *trust)
    ]  # fmt: skip
    wide = [xp.clip(part, -10.0, 10.0) for part in context]
    return xp.concat(measures, axis=-1), xp.concat(wide, axis=-1)


def _entities(state: ObjectState, pairs: Pairs, frames: Frames, xp: Any) -> tuple[Array, Array, Array, Array]:
    """Positions, rotations, half extents and confidences of entities, of the world, and of named frames."""
    position, quaternion = state.position_in_world, state.quaternion_in_world
    origin = xp.zeros_like(position[..., :1, :])
    identity = xp.zeros_like(quaternion[..., :1, :])
    identity[..., 0] = 1.0
    poses = [frames[name] for name in pairs.frames]
    position = xp.concat([position, origin, *(pose[..., None, :3] for pose in poses)], axis=-2)
    quaternion = xp.concat([quaternion, identity, *(pose[..., None, 3:] for pose in poses)], axis=-2)
    more = [origin] * (1 + len(poses))
    half = xp.concat([state.half_extents, *more], axis=-2)
    certain = xp.ones_like(origin[..., 0])
    sure = xp.concat([state.confidence, *[certain] * len(more)], axis=-1)
    return position, quat_to_matrix(quaternion), half, sure


def _hand(state: ObjectState, pairs: Pairs, position: Array, rotation: Array, half: Array, xp: Any) -> Array:
    """Gaps of the nearer and the farther jaw, and slip against the gripper, `[*B L 3]`; 0 where no jaws are meant."""
    result = xp.zeros_like(position[..., pairs.a, :])
    if not len(pairs.hand):
        return result
    a = pairs.a[pairs.hand]
    of_a, of_jaw = rotation[..., a, None, :, :], rotation[..., None, pairs.jaws, :, :]
    half_a, half_jaw = half[..., a, None, :], half[..., None, pairs.jaws, :]
    offset = position[..., a, None, :] - position[..., None, pairs.jaws, :]
    turn = abs(xp.matrix_transpose(of_jaw) @ of_a)
    of_jaws = abs(_into(of_jaw, offset)) - half_jaw - _apply(turn, half_a)
    of_object = abs(_into(of_a, offset)) - half_a - _apply(xp.matrix_transpose(turn), half_jaw)
    gaps = _gap(xp, of_object, of_jaws)
    arm = position[..., a, :] - position[..., [pairs.gripper], :]
    v, w = state.linear_velocity_in_world, state.angular_velocity_in_world
    spin = w[..., [pairs.gripper], :] + xp.zeros_like(arm)
    slip = v[..., a, :] - v[..., [pairs.gripper], :] - xp.linalg.cross(spin, arm)
    told = [xp.min(gaps, axis=-1), xp.max(gaps, axis=-1), INTERVAL * _norm(slip)]
    result[..., pairs.hand, :] = xp.stack(told, axis=-1)
    return result


def _angles(of_a: Array, of_b: Array, half_a: Array, half_b: Array, xp: Any) -> list[Array]:
    """How far from square, between the headings, and of a from upright, each `[*B L]` [m, rad]."""
    yaw_a, yaw_b = (xp.atan2(turned[..., 1, 0], turned[..., 0, 0]) for turned in (of_a, of_b))
    oblong = xp.minimum(abs(half_a[..., 0] - half_a[..., 1]), abs(half_b[..., 0] - half_b[..., 1]))
    apart = yaw_a - yaw_b
    quarter, straight = (abs(apart - period * xp.round(apart / period)) for period in (np.pi / 2, np.pi))
    heading = xp.where(oblong < SQUARE, quarter, straight)
    tilt = xp.atan2((of_a[..., 0, 2] ** 2 + of_a[..., 1, 2] ** 2) ** 0.5, of_a[..., 2, 2])
    return [oblong, heading, quarter, straight, tilt]


def _gap(xp: Any, faces_a: Array, faces_b: Array) -> Array:
    """A lower bound of two boxes' distance from the gaps along faces' normals; minus the depth if they overlap."""
    outside = [xp.sum(xp.clip(faces, 0.0, None) ** 2, axis=-1) for faces in (faces_a, faces_b)]
    depth = xp.maximum(xp.max(faces_a, axis=-1), xp.max(faces_b, axis=-1))
    return xp.maximum(outside[0], outside[1]) ** 0.5 + xp.clip(depth, None, 0.0)


def _apply(matrix: Array, vector: Array) -> Array:
    return (matrix @ vector[..., None])[..., 0]


def _into(matrix: Array, vector: Array) -> Array:
    """A vector's components along a matrix's columns."""
    return (vector[..., None, :] @ matrix)[..., 0, :]


def _norm(vector: Array) -> Array:
    x, y, z = vector[..., 0], vector[..., 1], vector[..., 2]
    return (x * x + y * y + z * z) ** 0.5


def _columns(xp: Any, *columns: Array) -> Array:
    return xp.stack(columns, axis=-1)


def _constant(xp: Any, values: NDArray[np.float64], like: Array) -> Array:
    """A constant with the dtype and device of `like`."""
    if xp.__name__.endswith("torch"):
        return xp.asarray(values, dtype=like.dtype, device=like.device)
    return values.astype(like.dtype, copy=False)
