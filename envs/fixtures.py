"""The catalogue of fixtures: bins, and furniture whose parts slide or turn. Each world puts them where it likes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from envs.geometry import quat_from_yaw, quat_rotate
from envs.types import Array, Kind

if TYPE_CHECKING:
    import mujoco

Vector = tuple[float, float, float]

FIRM = 1000.0
"""MuJoCo's weight by which a firm part alone says how its contacts give way."""
WAYPOINTS = 6
"""Of what leads a knob from shut to open."""


@dataclass(frozen=True)
class Solid:
    """A box, or an upright capsule, that collides."""

    position: Vector
    """[m] of its centre in the part's frame."""
    half_extents: Vector
    """[m]."""
    upright_capsule: bool = False
    """What jaws close on is round: then it may turn between them."""


@dataclass(frozen=True)
class Joint:
    """How a part moves against its base."""

    turns: bool
    """About `axis`, else along it."""
    axis: Vector
    travel: float
    """From 0, where worlds begin, to this [rad or m]."""
    anchor: Vector = (0.0, 0.0, 0.0)
    """[m] in the part's frame."""
    damping: float = 0.0
    """[N s/m or N m s/rad]."""
    friction: float = 0.0
    """[N or N m]."""


@dataclass(frozen=True)
class Part:
    """One entity of a fixture; its frame is the centre of its box."""

    name: str
    half_extents: Vector
    """[m] of its box, which knobs stick out of."""
    colour: Vector
    solids: tuple[Solid, ...]
    kind: Kind = Kind.FIXTURE
    position: Vector = (0.0, 0.0, 0.0)
    """[m] in the base's frame while its joint is at 0."""
    joint: Joint | None = None
    """None for the base, which nothing moves."""
    mass: float = 0.0
    """[kg] of what has a joint."""
    firm: bool = False
    """Gives way less than other things do, for what goes into it has little room, see `envs.physics.Physics`."""


@dataclass(frozen=True)
class Fixture:
    """A base on the table and what moves on it."""

    parts: tuple[Part, ...]
    """The base first."""
    reach: tuple[Vector, ...] = ()
    """[m] Places in the base's frame that the tool must get to."""

    @property
    def height(self) -> float:
        """[m] of the base's frame over the table it stands on."""
        return self.parts[0].half_extents[2]

    @property
    def ways(self) -> Array:
        """`[W 3]` where the knobs of what slides or turns come by, in the base's frame [m]."""
        found = []
        for part in self.parts:
            joint = part.joint
            for solid in part.solids if joint is not None else ():
                if joint is None or not solid.upright_capsule:
                    continue
                moves = joint.travel * np.linspace(0.0, 1.0, WAYPOINTS)
                if not joint.turns:
                    found.append(np.add(part.position, solid.position) + moves[:, None] * np.array(joint.axis))
                    continue
                arm = np.broadcast_to(np.subtract(solid.position, joint.anchor), (WAYPOINTS, 3))
                turned = quat_rotate(quat_from_yaw(joint.axis[2] * moves), arm)
                found.append(np.add(part.position, joint.anchor) + turned)
        return np.concatenate(found) if found else np.zeros((0, 3))

    @property
    def obstacle(self) -> bool:
        """Whether it is merely in the way."""
        return self.parts[0].kind == Kind.OBSTACLE


def walls(half: Vector, wall: float) -> tuple[Solid, ...]:
    """Floor and four walls of a box that is open at the top, `wall` thick, within outer half sizes `half` [m]."""
    x, y, z = half
    thin = 0.5 * wall
    return (
        Solid((0.0, 0.0, thin - z), (x, y, thin)),
        Solid((x - thin, 0.0, thin), (thin, y, z - thin)),
        Solid((thin - x, 0.0, thin), (thin, y, z - thin)),
        Solid((0.0, y - thin, thin), (x - 2 * thin, thin, z - thin)),
        Solid((0.0, thin - y, thin), (x - 2 * thin, thin, z - thin)),
    )


def add_fixture(spec: "mujoco.MjSpec", fixture: Fixture, contype: int) -> None:
    """Add it to the world: its base is a mocap body, which each world puts where it likes."""
    # Who only reads the catalogue should not load MuJoCo.
    import mujoco

    base: mujoco.MjsBody = None
    for part in fixture.parts:
        if base is None:
            body = base = spec.worldbody.add_body(name=part.name, pos=(0.30, 0.0, fixture.height), mocap=True)
        else:
            body = base.add_body(name=part.name, pos=part.position)
        if (joint := part.joint) is not None:
            kind = mujoco.mjtJoint.mjJNT_HINGE if joint.turns else mujoco.mjtJoint.mjJNT_SLIDE
            body.add_joint(name=part.name, type=kind, axis=joint.axis, pos=joint.anchor, range=(0.0, joint.travel),
                           limited=True, damping=joint.damping, frictionloss=joint.friction)  # fmt: skip
        for index, solid in enumerate(part.solids):
            x, _, z = solid.half_extents
            round_ = solid.upright_capsule
            shape = mujoco.mjtGeom.mjGEOM_CAPSULE if round_ else mujoco.mjtGeom.mjGEOM_BOX
            body.add_geom(name=f"{part.name}_{index}", type=shape, pos=solid.position, condim=3,
                          size=(x, z - x, 0.0) if round_ else solid.half_extents,
                          rgba=(*part.colour, 1.0), contype=contype, conaffinity=0, friction=(0.1, 0.005, 0.0001),
                          mass=part.mass / len(part.solids), solmix=FIRM if part.firm else 1.0)  # fmt: skip


BIN_HALF_EXTENTS, BIN_WALL = (0.055, 0.055, 0.022), 0.004
"""[m] Outer half sizes of a bin and the thickness of its four walls and floor; it is open at the top."""
_WOOD, _DARK, _PALE = (0.78, 0.63, 0.45), (0.55, 0.42, 0.30), (0.86, 0.80, 0.70)


def _bin(name: str, colour: Vector) -> Fixture:
    part = Part(name, BIN_HALF_EXTENTS, colour, walls(BIN_HALF_EXTENTS, BIN_WALL), Kind.BIN)
    return Fixture((part,), reach=((0.0, 0.0, 0.04),))


DRAWER_KNOB: Vector = (-0.066, 0.0, 0.010)
"""[m] Where jaws hold the drawer's knob, in the drawer's frame."""
_TRAY: Vector = (0.036, 0.040, 0.016)


def _cabinet() -> Fixture:
    """A cabinet without a front, and in it a drawer that comes out along its -x."""
    x, y, z = 0.040, 0.048, 0.024
    shell = (
        Solid((0.0, 0.0, z - 0.002), (x, y, 0.002)),
        Solid((x - 0.002, 0.0, -0.002), (0.002, y, z - 0.002)),
        Solid((0.0, y - 0.002, -0.002), (x, 0.002, z - 0.002)),
        Solid((0.0, 0.002 - y, -0.002), (x, 0.002, z - 0.002)),
    )
    knob = Solid(DRAWER_KNOB, (0.007, 0.007, 0.022), upright_capsule=True)
    stalk = Solid((-0.051, 0.0, -0.004), (0.015, 0.004, 0.004))
    drawer = Part(
        "drawer", _TRAY, _PALE, (*walls(_TRAY, BIN_WALL), stalk, knob), position=(0.0, 0.0, _TRAY[2] + 0.002 - z),
        joint=Joint(False, (-1.0, 0.0, 0.0), 0.065, damping=5.0, friction=0.8), mass=0.08,
    )  # fmt: skip
    knob_closed = (DRAWER_KNOB[0], 0.0, DRAWER_KNOB[2] + drawer.position[2])
    knob_open = (DRAWER_KNOB[0] - 0.065, 0.0, knob_closed[2])
    return Fixture((Part("cabinet", (x, y, z), _DARK, shell), drawer), reach=(knob_closed, knob_open))


DOOR_KNOB: Vector = (-0.034, -0.034, 0.006)
"""[m] Where jaws hold the door's knob, in the door's frame."""


def _cupboard() -> Fixture:
    """A block whose front, -x, is a door with its hinge on the left."""
    x, y, z = 0.020, 0.050, 0.025
    door = (0.004, 0.048, 0.023)
    knob = Solid(DOOR_KNOB, (0.007, 0.007, 0.022), upright_capsule=True)
    stalk = Solid((-0.019, DOOR_KNOB[1], -0.013), (0.015, 0.004, 0.004))
    hinge = Joint(True, (0.0, 0.0, -1.0), 1.3, anchor=(0.0, door[1], 0.0), damping=0.05, friction=0.03)
    panel = Part("door", door, _PALE, (Solid((0.0, 0.0, 0.0), door), stalk, knob), joint=hinge, mass=0.06,
                 position=(-x - door[0] - 0.001, 0.0, 0.0))  # fmt: skip
    base = Part("cupboard", (x, y, z), _DARK, (Solid((0.0, 0.0, 0.0), (x, y, z)),))
    knob_closed = tuple(a + b for a, b in zip(panel.position, DOOR_KNOB, strict=True))
    return Fixture((base, panel), reach=((knob_closed[0], knob_closed[1], knob_closed[2]),))


PEG_HOLE = 0.0105
"""[m] Half width of the square hole: a peg 20 mm wide has a clearance of 1 mm in it, half on either side."""


def _socket() -> Fixture:
    """A block with a square hole through it, down to the table."""
    x, z, hole = 0.030, 0.010, PEG_HOLE
    rim = 0.5 * (x - hole)
    block = (
        Solid((hole + rim, 0.0, 0.0), (rim, x, z)),
        Solid((-hole - rim, 0.0, 0.0), (rim, x, z)),
        Solid((0.0, hole + rim, 0.0), (hole, rim, z)),
        Solid((0.0, -hole - rim, 0.0), (hole, rim, z)),
    )
    return Fixture((Part("socket", (x, x, z), _WOOD, block, firm=True),), reach=((0.0, 0.0, 0.03), (0.0, 0.0, 0.05)))


def _dustpan() -> Fixture:
    """Three low walls around a piece of table; open on -x."""
    x, y, z, thin = 0.040, 0.090, 0.009, 0.002
    edge = (
        Solid((x - thin, 0.0, 0.0), (thin, y, z)),
        Solid((-thin, y - thin, 0.0), (x - thin, thin, z)),
        Solid((-thin, thin - y, 0.0), (x - thin, thin, z)),
    )
    return Fixture(
        (Part("dustpan", (x, y, z), (0.30, 0.62, 0.60), edge),), reach=((0.0, 0.05, 0.02), (0.0, -0.05, 0.02))
    )


def _obstacle(name: str, half: Vector) -> Fixture:
    return Fixture((Part(name, half, (0.62, 0.64, 0.68), (Solid((0.0, 0.0, 0.0), half),), Kind.OBSTACLE),))


FIXTURES: Mapping[str, Fixture] = {
    "red_bin": _bin("red_bin", (0.86, 0.45, 0.42)),
    "blue_bin": _bin("blue_bin", (0.42, 0.58, 0.88)),
    "cabinet": _cabinet(),
    "cupboard": _cupboard(),
    "dustpan": _dustpan(),
    "socket": _socket(),
    "wall": _obstacle("wall", (0.004, 0.035, 0.025)),
    "post": _obstacle("post", (0.010, 0.010, 0.030)),
    "other_post": _obstacle("other_post", (0.010, 0.010, 0.030)),
    "block": _obstacle("block", (0.018, 0.024, 0.020)),
}
"""Every fixture there is, by the name of its base."""
OBSTACLES = tuple(name for name, fixture in FIXTURES.items() if fixture.obstacle)
"""Those that any task can have in its way."""
