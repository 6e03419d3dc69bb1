"""What the spatial predicates of goals mean: signed margins in metres or radians, positive where the predicate holds.

Every margin is a closed form of poses, velocities and box sizes; where it is positive it says by how much the predicate
holds, where it is negative how far it is from holding. Written once for numpy and torch, over any leading shape `*B`.

These definitions differ on purpose from those of benchmark suites, which mix contact flags of the simulator with
thresholds. LIBERO's `On` asks for a contact, centres within 3 cm of each other sideways and the right vertical order,
so a cube leaning on another counts, and a large support fails at its rim; its `In` looks at the centre alone, as ours
does. robosuite's `Stack` asks for a contact of the cubes, no contact with the gripper and a height above the table, and
never asks for rest. ManiSkill's `StackCube` adds rest and release to an offset test. Here `on` is geometry alone, and
rest and release are words of their own: `on(red_cube, blue_cube) & released(red_cube) & static(red_cube)`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from array_api_compat import array_namespace

from envs.errors import EmbodiedError
from envs.geometry import box_signed_distance, half_height, quat_conjugate, quat_rotate, yaw_of
from envs.types import Array, Kind, ObjectState

GRIPPER = "gripper"
JAWS = ("fixed_jaw", "moving_jaw")
BIN_WALL = 0.004
"""Thickness of a bin's walls and floor [m]; its half extents are outer ones."""
CONTACT = 0.001
"""Gap below which boxes count as touching [m]: above the simulator's contact softness, below what cameras resolve."""
GRASP_GAP = 0.002
"""Gap of either jaw below which an object can be grasped [m]; looser than `CONTACT`: a pad tilts as it squeezes."""
GRASP_SLIP = 0.005
"""How far a grasped object may move against the gripper in `INTERVAL` [m]."""
RELEASE_GAP = 0.003
"""Gap that a jaw must leave to an object to have released it [m]; wider than the others, so that they exclude it."""
ABOVE_SLACK = 0.002
"""How far an object may be below another's top and still count as above [m]: resting objects sink in a little."""
INTERVAL = 0.1
"""Velocities count as the displacement they make in this time [s]: one control step at 10 Hz."""

Frames = Mapping[str, Array]
"""Poses in world by frame name: `[*B 7]`, position [m] then quaternion."""
Margin = Callable[[ObjectState, tuple[str, ...], tuple[float, ...], Array | None], Array]
"""Margin `[*B]` from the state, the objects' names, the parameters, and the frame's pose (None for world)."""


@dataclass(frozen=True)
class Predicate:
    """A word of the goal language."""

    arguments: tuple[str, ...]
    """What its objects are called in messages."""
    required: tuple[str, ...]
    """Names of the numbers that must be given."""
    optional: tuple[tuple[str, float], ...]
    """Names and defaults of the numbers that may be given; at most one."""
    framed: bool
    """Whether a frame can be chosen."""
    unit: str
    """Of its margin: m or rad."""
    margin: Margin
    moves: bool = True
    """Whether moving its first object is how one brings it about."""

    def signature(self, name: str) -> str:
        """How it is written, e.g. `near(a, b, distance=0.05)`."""
        words = [*self.arguments, *self.required, *(f"{key}={value:g}" for key, value in self.optional)]
        return f"{name}({', '.join([*words, *(['frame=world'] if self.framed else [])])})"


def _position(state: ObjectState, name: str) -> Array:
    return state.position_in_world[..., state.index(name), :]


def _quaternion(state: ObjectState, name: str) -> Array:
    return state.quaternion_in_world[..., state.index(name), :]


def _half(state: ObjectState, name: str) -> Array:
    return state.half_extents[..., state.index(name), :]


def _is_bin(state: ObjectState, name: str) -> bool:
    return int(state.kind[state.index(name)]) == Kind.BIN


def _norm(vector: Array) -> Array:
    x, y, z = vector[..., 0], vector[..., 1], vector[..., 2]
    return (x * x + y * y + z * z) ** 0.5


def _minimum(first: Array, *others: Array) -> Array:
    xp = array_namespace(first)
    for other in others:
        first = xp.minimum(first, other)
    return first


def _height(state: ObjectState, name: str) -> Array:
    return half_height(_quaternion(state, name), _half(state, name))


def _bottom(state: ObjectState, name: str) -> Array:
    return _position(state, name)[..., 2] - _height(state, name)


def _support(state: ObjectState, name: str) -> Array:
    """Height `[*B]` of the surface things rest on: the top, in a bin the floor's upper side [m]."""
    if _is_bin(state, name):
        return _bottom(state, name) + BIN_WALL
    return _position(state, name)[..., 2] + _height(state, name)


def _axis(state: ObjectState, axis: int, frame: Array | None) -> Array:
    """Unit axis of a frame in world, `[*B 3]`."""
    position = state.position_in_world[..., 0, :]
    xp = array_namespace(position)
    unit = xp.zeros_like(position)
    unit[..., axis] = 1.0
    return unit if frame is None else quat_rotate(frame[..., 3:], unit)


def _reach(state: ObjectState, name: str, axis: Array) -> Array:
    """How far a box reaches from its centre along a unit axis `[*B 3]` [m]."""
    xp = array_namespace(axis)
    return xp.sum(xp.abs(quat_rotate(quat_conjugate(_quaternion(state, name)), axis)) * _half(state, name), axis=-1)


def _inside_footprint(state: ObjectState, a: str, b: str) -> Array:
    """By how much the centre of `a` is inside the sides of `b`, seen along the axis of `b` that is most upright [m]."""
    quaternion = quat_conjugate(_quaternion(state, b))
    offset = quat_rotate(quaternion, _position(state, a) - _position(state, b))
    xp = array_namespace(offset)
    half = _half(state, b) - (BIN_WALL if _is_bin(state, b) else 0.0)
    slack = half - xp.abs(offset)
    upright = xp.abs(quat_rotate(quaternion, _axis(state, 2, None)))
    most = xp.max(upright, axis=-1, keepdims=True)
    return xp.min(xp.where(upright >= most, xp.inf, slack), axis=-1)


def gap(state: ObjectState, a: str | tuple[str, ...], b: str) -> Array:
    """Signed distance between boxes [m]: `[*B]`, or `[*B n]` for n names `a`, computed together."""
    names = (a,) if isinstance(a, str) else a
    index = [state.index(name) for name in names]
    other = state.index(b)
    distance = box_signed_distance(
        state.position_in_world[..., index, :],
        state.quaternion_in_world[..., index, :],
        state.half_extents[..., index, :],
        state.position_in_world[..., other : other + 1, :],
        state.quaternion_in_world[..., other : other + 1, :],
        state.half_extents[..., other : other + 1, :],
    )
    return distance[..., 0] if isinstance(a, str) else distance


def _jaws(state: ObjectState) -> tuple[str, ...]:
    jaws = tuple(name for name in JAWS if name in state.names)
    if not jaws:
        raise EmbodiedError(f"This needs a gripper with jaws ({', '.join(JAWS)}), but there are only {state.names}.")
    return jaws


def _at(state: ObjectState, names: tuple[str, ...], parameters: tuple[float, ...], frame: Array | None) -> Array:
    position = _position(state, names[0])
    if frame is not None:
        position = quat_rotate(quat_conjugate(frame[..., 3:]), position - frame[..., :3])
    x, y, z, tolerance = parameters
    offset = position - _constant(position, (x, y, z))
    return tolerance - _norm(offset)


def _constant(like: Array, values: Any) -> Array:
    xp = array_namespace(like)
    constant = xp.zeros_like(like)
    for i, value in enumerate(values):
        constant[..., i] = value
    return constant


def _near(state: ObjectState, names: tuple[str, ...], parameters: tuple[float, ...], frame: Array | None) -> Array:
    return parameters[0] - _norm(_position(state, names[0]) - _position(state, names[1]))


def _on(state: ObjectState, names: tuple[str, ...], parameters: tuple[float, ...], frame: Array | None) -> Array:
    step = _bottom(state, names[0]) - _support(state, names[1])
    return _minimum(_inside_footprint(state, *names), parameters[0] - abs(step))


def _in(state: ObjectState, names: tuple[str, ...], parameters: tuple[float, ...], frame: Array | None) -> Array:
    a, b = names
    centre = quat_rotate(quat_conjugate(_quaternion(state, b)), _position(state, a) - _position(state, b))
    xp = array_namespace(centre)
    half = _half(state, b)
    wall = BIN_WALL if _is_bin(state, b) else 0.0
    rim, floor = half[..., 2] - centre[..., 2], centre[..., 2] + half[..., 2] - wall
    sides = half[..., :2] - wall - xp.abs(centre[..., :2])
    return _minimum(sides[..., 0], sides[..., 1], rim, floor)


def _above(state: ObjectState, names: tuple[str, ...], parameters: tuple[float, ...], frame: Array | None) -> Array:
    rise = _bottom(state, names[0]) - _support(state, names[1])
    return _minimum(_inside_footprint(state, *names), rise + ABOVE_SLACK)


def _below(state: ObjectState, names: tuple[str, ...], parameters: tuple[float, ...], frame: Array | None) -> Array:
    return _above(state, names[::-1], parameters, frame)


def _directed(axis: int, sign: float) -> Margin:
    def margin(state: ObjectState, names: tuple[str, ...], parameters: tuple[float, ...], frame: Array | None) -> Array:
        a, b = names
        unit = _axis(state, axis, frame)
        xp = array_namespace(unit)
        along = xp.sum((_position(state, a) - _position(state, b)) * unit, axis=-1)
        return sign * along - _reach(state, a, unit) - _reach(state, b, unit)

    return margin


def _touching(state: ObjectState, names: tuple[str, ...], parameters: tuple[float, ...], frame: Array | None) -> Array:
    a, b = names
    if b == GRIPPER:
        a, b = b, a
    if a == GRIPPER and any(jaw in state.names for jaw in JAWS):
        gaps = gap(state, _jaws(state), b)
        return parameters[0] - array_namespace(gaps).min(gaps, axis=-1)
    return parameters[0] - gap(state, a, b)


def _grasped(state: ObjectState, names: tuple[str, ...], parameters: tuple[float, ...], frame: Array | None) -> Array:
    (x,) = names
    gaps = gap(state, _jaws(state), x)
    xp = array_namespace(gaps)
    index, gripper = state.index(x), state.index(GRIPPER)
    arm = _position(state, x) - _position(state, GRIPPER)
    spin = state.angular_velocity_in_world[..., gripper, :]
    carried = state.linear_velocity_in_world[..., gripper, :] + xp.linalg.cross(spin, arm)
    slip = _norm(state.linear_velocity_in_world[..., index, :] - carried) * INTERVAL
    return _minimum(GRASP_GAP - xp.max(gaps, axis=-1), GRASP_SLIP - slip)


def _released(state: ObjectState, names: tuple[str, ...], parameters: tuple[float, ...], frame: Array | None) -> Array:
    gaps = gap(state, _jaws(state), names[0])
    return array_namespace(gaps).min(gaps, axis=-1) - parameters[0]


def _lifted(state: ObjectState, names: tuple[str, ...], parameters: tuple[float, ...], frame: Array | None) -> Array:
    return _bottom(state, names[0]) - parameters[0]


def _aligned(state: ObjectState, names: tuple[str, ...], parameters: tuple[float, ...], frame: Array | None) -> Array:
    a, b = names
    difference = yaw_of(_quaternion(state, a)) - yaw_of(_quaternion(state, b))
    xp = array_namespace(difference)
    pi = 3.141592653589793
    half_a, half_b = _half(state, a), _half(state, b)
    square = (abs(half_a[..., 0] - half_a[..., 1]) < 1e-4) | (abs(half_b[..., 0] - half_b[..., 1]) < 1e-4)
    period = xp.where(square, xp.full_like(difference, pi / 2), xp.full_like(difference, pi))
    return parameters[0] - abs(difference - period * xp.round(difference / period))


def _upright(state: ObjectState, names: tuple[str, ...], parameters: tuple[float, ...], frame: Array | None) -> Array:
    w, x, y, z = (_quaternion(state, names[0])[..., i] for i in range(4))
    xp = array_namespace(w)
    sideways = 2.0 * xp.sqrt((w * w + z * z) * (x * x + y * y))
    return parameters[0] - xp.atan2(sideways, 1.0 - 2.0 * (x * x + y * y))


def _static(state: ObjectState, names: tuple[str, ...], parameters: tuple[float, ...], frame: Array | None) -> Array:
    index = state.index(names[0])
    surface = _norm(state.angular_velocity_in_world[..., index, :]) * _norm(state.half_extents[..., index, :])
    return parameters[0] - INTERVAL * (_norm(state.linear_velocity_in_world[..., index, :]) + surface)


_AB = ("a", "b")
PREDICATES: Mapping[str, Predicate] = {
    "at": Predicate(("a",), ("x", "y", "z"), (("tolerance", 0.02),), True, "m", _at),
    "near": Predicate(_AB, (), (("distance", 0.05),), False, "m", _near),
    "on": Predicate(_AB, (), (("tolerance", 0.005),), False, "m", _on),
    "in": Predicate(_AB, (), (), False, "m", _in),
    "above": Predicate(_AB, (), (), False, "m", _above),
    "below": Predicate(_AB, (), (), False, "m", _below),
    "left_of": Predicate(_AB, (), (), True, "m", _directed(1, 1.0)),
    "right_of": Predicate(_AB, (), (), True, "m", _directed(1, -1.0)),
    "in_front_of": Predicate(_AB, (), (), True, "m", _directed(0, 1.0)),
    "behind": Predicate(_AB, (), (), True, "m", _directed(0, -1.0)),
    "touching": Predicate(_AB, (), (("tolerance", CONTACT),), False, "m", _touching, moves=False),
    "grasped": Predicate(("a",), (), (), False, "m", _grasped, moves=False),
    "lifted": Predicate(("a",), (), (("height", 0.03),), False, "m", _lifted),
    "aligned": Predicate(_AB, (), (("tolerance", 0.15),), False, "rad", _aligned),
    "upright": Predicate(("a",), (), (("tolerance", 0.15),), False, "rad", _upright),
    "static": Predicate(("a",), (), (("tolerance", 0.002),), False, "m", _static, moves=False),
    "released": Predicate(("a",), (), (("gap", RELEASE_GAP),), False, "m", _released, moves=False),
}
