"""What the spatial predicates of goals mean: signed margins in metres or radians, positive where the predicate holds.

Every margin is a closed form of poses, velocities and box sizes; where it is positive it says by how much the predicate
holds, where it is negative how far it is from holding. Written once for numpy and torch, over any leading shape `*B`.

These definitions differ on purpose from those of benchmark suites, which mix contact flags of the simulator with
thresholds of their own (tests/test_definitions.py has a case for each difference):

- LIBERO `On`: contact, centres within 3 cm sideways, and not below. Two small cubes side by side on a table are on each
  other; one near the rim of a wide board is not on it. Its `In`: contact, and the centre in a region.
- robosuite `Stack`: contact of the cubes, the upper centre 4 cm over the table, not grasped. Nothing asks for rest, nor
  for one cube to be over the other.
- ManiSkill `StackCube`: centres within half a diagonal plus 5 mm sideways, so that a centre may be beyond the edge, and
  within 5 mm of the right height; at rest (1 cm/s, 0.5 rad/s), not grasped.

Here `on` is geometry alone, the centre of one over the other; letting go and rest are words of their own:
`on(red_cube, blue_cube) & released(red_cube) & static(red_cube)`.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

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
SQUARE = 1e-4
"""Difference of the half extents x and y up to which a box counts as square [m]."""
INTERVAL = 0.1
"""Velocities count as the displacement they make in this time [s]: one control step at 10 Hz."""

Frames = Mapping[str, Array]
"""Poses in world by frame name: `[*B 7]`, position [m] then quaternion."""


class View:
    """One state under the eyes of several predicates: entities by name, and box distances computed once."""

    def __init__(self, state: ObjectState) -> None:
        self.state = state
        self.xp = array_namespace(state.position_in_world)
        self._gaps: dict[tuple[tuple[str, ...], str], Array] = {}

    def position(self, name: str) -> Array:
        """`[*B 3]` in world [m]."""
        return self.state.position_in_world[..., self.state.index(name), :]

    def quaternion(self, name: str) -> Array:
        """`[*B 4]`, from the entity's frame to world; a ball's box does not roll with it."""
        index = self.state.index(name)
        quaternion: Array = self.state.quaternion_in_world[..., index, :]
        if int(self.state.kind[index]) == Kind.SPHERE:
            quaternion = self.xp.zeros_like(quaternion)
            quaternion[..., 0] = 1.0
        return quaternion

    def half(self, name: str) -> Array:
        """`[*B 3]` half extents [m]."""
        return self.state.half_extents[..., self.state.index(name), :]

    def velocity(self, name: str) -> Array:
        """`[*B 3]` in world [m/s]."""
        return self.state.linear_velocity_in_world[..., self.state.index(name), :]

    def spin(self, name: str) -> Array:
        """`[*B 3]` in world axes [rad/s]."""
        return self.state.angular_velocity_in_world[..., self.state.index(name), :]

    def wall(self, name: str) -> float:
        """Thickness of the walls around an entity's cavity: a bin's, else 0 [m]."""
        return BIN_WALL if int(self.state.kind[self.state.index(name)]) == Kind.BIN else 0.0

    def bottom(self, name: str) -> Array:
        """Height `[*B]` of the lowest point [m]."""
        return self.position(name)[..., 2] - half_height(self.quaternion(name), self.half(name))

    def support(self, name: str) -> Array:
        """Height `[*B]` of the surface things rest on: the top, in a bin the floor's upper side [m]."""
        if wall := self.wall(name):
            return self.bottom(name) + wall
        return self.position(name)[..., 2] + half_height(self.quaternion(name), self.half(name))

    def jaws(self) -> tuple[str, ...]:
        """Names of the jaws; raises `EmbodiedError` where there are none."""
        jaws = tuple(name for name in JAWS if name in self.state.names)
        if not jaws:
            raise EmbodiedError(f"This needs a gripper with jaws ({', '.join(JAWS)}), there is {self.state.names}.")
        return jaws

    def gaps(self, names: tuple[str, ...], other: str) -> Array:
        """Signed distances `[n *B]` from the boxes of n `names` to that of `other` [m]."""
        key = (names, other)
        if key not in self._gaps:
            position, quaternion, half = (
                self.xp.stack([get(name) for name in names]) for get in (self.position, self.quaternion, self.half)
            )
            box = self.position(other), self.quaternion(other), self.half(other)
            self._gaps[key] = box_signed_distance(position, quaternion, half, *box)
        return self._gaps[key]

    def lateral(self, a: str, b: str) -> Array:
        """By how much the centre of `a` is inside the sides of `b`, along the axis of `b` that is most upright [m]."""
        xp, inverse = self.xp, quat_conjugate(self.quaternion(b))
        offset = quat_rotate(inverse, self.position(a) - self.position(b))
        slack = self.half(b) - self.wall(b) - xp.abs(offset)
        upright = xp.abs(quat_rotate(inverse, self.axis(2, None)))
        most = xp.max(upright, axis=-1, keepdims=True)
        return xp.min(xp.where(upright >= most, xp.inf, slack), axis=-1)

    def axis(self, axis: int, frame: Array | None) -> Array:
        """A unit axis of a frame `[*B 7]` (None: of world), in world, `[*B 3]`."""
        unit = self.xp.zeros_like(self.state.position_in_world[..., 0, :])
        unit[..., axis] = 1.0
        return unit if frame is None else quat_rotate(frame[..., 3:], unit)

    def reach(self, name: str, axis: Array) -> Array:
        """How far a box reaches from its centre along a unit axis `[*B 3]`, `[*B]` [m]."""
        along = self.xp.abs(quat_rotate(quat_conjugate(self.quaternion(name)), axis))
        return self.xp.sum(along * self.half(name), axis=-1)


Margin = Callable[[View, tuple[str, ...], tuple[float, ...], Array | None], Array]
"""Margin `[*B]` from the state, the objects' names, the parameters, and the frame's pose `[*B 7]` (None for world)."""


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

    def signature(self, name: str) -> str:
        """How it is written, e.g. `near(a, b, distance=0.05)`."""
        words = [*self.arguments, *self.required, *(f"{key}={value:g}" for key, value in self.optional)]
        return f"{name}({', '.join([*words, *(['frame=world'] if self.framed else [])])})"


def _norm(vector: Array) -> Array:
    x, y, z = vector[..., 0], vector[..., 1], vector[..., 2]
    return (x * x + y * y + z * z) ** 0.5


def _at(view: View, names: tuple[str, ...], parameters: tuple[float, ...], frame: Array | None) -> Array:
    """Tolerance minus the distance of the centre from a point of the frame."""
    position = view.position(names[0])
    if frame is not None:
        position = quat_rotate(quat_conjugate(frame[..., 3:]), position - frame[..., :3])
    x, y, z, tolerance = parameters
    return tolerance - ((position[..., 0] - x) ** 2 + (position[..., 1] - y) ** 2 + (position[..., 2] - z) ** 2) ** 0.5


def _near(view: View, names: tuple[str, ...], parameters: tuple[float, ...], frame: Array | None) -> Array:
    """Distance allowed minus the distance of the centres; the gripper's centre is the tool centre point."""
    return parameters[0] - _norm(view.position(names[0]) - view.position(names[1]))


def _on(view: View, names: tuple[str, ...], parameters: tuple[float, ...], frame: Array | None) -> Array:
    """The centre of a is over b, and the bottom of a within tolerance of the surface of b (in a bin: its floor)."""
    step = view.bottom(names[0]) - view.support(names[1])
    return view.xp.minimum(view.lateral(*names), parameters[0] - abs(step))


def _in(view: View, names: tuple[str, ...], parameters: tuple[float, ...], frame: Array | None) -> Array:
    """The centre of a is in the cavity of b: between the walls, over the floor and below the rim."""
    a, b = names
    xp, half, wall = view.xp, view.half(b), view.wall(b)
    centre = quat_rotate(quat_conjugate(view.quaternion(b)), view.position(a) - view.position(b))
    sides = xp.min(half[..., :2] - wall - xp.abs(centre[..., :2]), axis=-1)
    rim, floor = half[..., 2] - centre[..., 2], centre[..., 2] + half[..., 2] - wall
    return xp.minimum(sides, xp.minimum(rim, floor))


def _above(view: View, names: tuple[str, ...], parameters: tuple[float, ...], frame: Array | None) -> Array:
    """The centre of a is over b, and the bottom of a not below the surface of b."""
    rise = view.bottom(names[0]) - view.support(names[1])
    return view.xp.minimum(view.lateral(*names), rise + ABOVE_SLACK)


def _below(view: View, names: tuple[str, ...], parameters: tuple[float, ...], frame: Array | None) -> Array:
    """The second is above the first."""
    return _above(view, names[::-1], parameters, frame)


def _directed(axis: int, sign: float) -> Margin:
    def margin(view: View, names: tuple[str, ...], parameters: tuple[float, ...], frame: Array | None) -> Array:
        """The gap between the boxes' shadows on the frame's axis: a is wholly beyond b."""
        a, b = names
        unit = view.axis(axis, frame)
        along = view.xp.sum((view.position(a) - view.position(b)) * unit, axis=-1)
        return sign * along - view.reach(a, unit) - view.reach(b, unit)

    return margin


def _touching(view: View, names: tuple[str, ...], parameters: tuple[float, ...], frame: Array | None) -> Array:
    """Tolerance minus the gap of the boxes; the gripper touches with its jaws."""
    a, b = names if names[1] != GRIPPER else names[::-1]
    parts = view.jaws() if a == GRIPPER else (a,)
    return parameters[0] - view.xp.min(view.gaps(parts, b), axis=0)


def _grasped(view: View, names: tuple[str, ...], parameters: tuple[float, ...], frame: Array | None) -> Array:
    """Both jaws are at a, and a moves as if fixed to the gripper."""
    (a,) = names
    arm = view.position(a) - view.position(GRIPPER)
    carried = view.velocity(GRIPPER) + view.xp.linalg.cross(view.spin(GRIPPER), arm)
    slip = _norm(view.velocity(a) - carried) * INTERVAL
    reach = view.xp.max(view.gaps(view.jaws(), a), axis=0)
    return view.xp.minimum(GRASP_GAP - reach, GRASP_SLIP - slip)


def _released(view: View, names: tuple[str, ...], parameters: tuple[float, ...], frame: Array | None) -> Array:
    """The gap of the nearer jaw beyond the one asked for."""
    return view.xp.min(view.gaps(view.jaws(), names[0]), axis=0) - parameters[0]


def _lifted(view: View, names: tuple[str, ...], parameters: tuple[float, ...], frame: Array | None) -> Array:
    """Height of the lowest point over the table (z = 0), beyond the one asked for."""
    return view.bottom(names[0]) - parameters[0]


def _aligned(view: View, names: tuple[str, ...], parameters: tuple[float, ...], frame: Array | None) -> Array:
    """Tolerance minus the angle of the headings: modulo 90 deg where either box is square, else modulo 180 deg."""
    a, b = names
    xp = view.xp
    difference = yaw_of(view.quaternion(a)) - yaw_of(view.quaternion(b))
    half_a, half_b = view.half(a), view.half(b)
    square = (abs(half_a[..., 0] - half_a[..., 1]) < SQUARE) | (abs(half_b[..., 0] - half_b[..., 1]) < SQUARE)
    period = xp.where(square, 0.5 * math.pi + 0.0 * difference, math.pi + 0.0 * difference)
    return parameters[0] - abs(difference - period * xp.round(difference / period))


def _upright(view: View, names: tuple[str, ...], parameters: tuple[float, ...], frame: Array | None) -> Array:
    """Tolerance minus the angle of the box's own z axis from world z."""
    quaternion = view.quaternion(names[0])
    w, x, y, z = (quaternion[..., i] for i in range(4))
    sideways = 2.0 * ((w * w + z * z) * (x * x + y * y)) ** 0.5
    return parameters[0] - view.xp.atan2(sideways, 1.0 - 2.0 * (x * x + y * y))


def _static(view: View, names: tuple[str, ...], parameters: tuple[float, ...], frame: Array | None) -> Array:
    """Tolerance minus how far any point of the box can move in `INTERVAL` at the present velocity and spin."""
    (a,) = names
    return parameters[0] - INTERVAL * (_norm(view.velocity(a)) + _norm(view.spin(a)) * _norm(view.half(a)))


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
    "touching": Predicate(_AB, (), (("tolerance", CONTACT),), False, "m", _touching),
    "grasped": Predicate(("a",), (), (), False, "m", _grasped),
    "lifted": Predicate(("a",), (), (("height", 0.03),), False, "m", _lifted),
    "aligned": Predicate(_AB, (), (("tolerance", 0.15),), False, "rad", _aligned),
    "upright": Predicate(("a",), (), (("tolerance", 0.15),), False, "rad", _upright),
    "static": Predicate(("a",), (), (("tolerance", 0.002),), False, "m", _static),
    "released": Predicate(("a",), (), (("gap", RELEASE_GAP),), False, "m", _released),
}
