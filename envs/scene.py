"""The tabletop scene as one compiled MuJoCo model: a robot, table, objects, an optional goal entity, cameras.

One model serves all worlds of a batch; what differs between worlds lives in state rows and in expanded model fields.
An absent object is kept far from everything (`Scene.parking_pose`): it makes no contact, so it costs six idle degrees
of freedom and nothing else.
"""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import mujoco
import numpy as np

from envs.errors import EmbodiedError, unknown
from envs.fixtures import BIN_HALF_EXTENTS, BIN_WALL, FIXTURES, Part, add_fixture, walls
from envs.name_clashes import clashes_told
from envs.objects import CUBE_HALF_EXTENT, object_type
from envs.physics import Physics
from envs.robot import robot_of
from envs.robot_spec import Robot, RobotPart
from envs.servo import Servos, per_joint
from envs.solids import add_object, open_up
from envs.stepped import stepped_ids, without_drawn
from envs.types import Array, Kind

FLOOR_HEIGHT = -0.6
"""[m] Catches what falls off the table, so that no state runs away."""


TARGET_HALF_EXTENTS = (0.025, 0.025, 0.0008)
"""[m] A thin disc without collisions; its pose marks where something should go, on the table or in the air."""

# Contact bits. Two geoms meet where one's contype shares a bit with the other's conaffinity.
# Those of robots are in `envs.robot_spec` and `envs.robot`.
_TABLE_TYPE, _OBJECT_AFFINITY, _SOLID_AFFINITY, _BIN_TYPE = 1, 7, 3, 4


@dataclass(frozen=True)
class Camera:
    """A fixed camera that looks at a point."""

    name: str
    position: tuple[float, float, float]
    """[m] in the world."""
    look_at: tuple[float, float, float]
    """[m] in the world."""
    fovy: float
    """Vertical field of view [degree]."""


CAMERAS = (
    Camera("front", (0.57, -0.47, 0.38), (0.19, 0.015, 0.075), 34.0),
    Camera("top", (0.2201, 0.0, 0.78), (0.22, 0.0, 0.0), 40.0),
)
"""The fixed cameras; `wrist` rides on the gripper."""


@dataclass(frozen=True)
class SceneConfig:
    """What is on the table and how it moves."""

    objects: tuple[str, ...] = ("red_cube",)
    """Names out of `envs.objects`."""
    goal_entity: str | None = None
    """`bin`, `target` or None."""
    fixtures: tuple[str, ...] = ()
    """Names out of `envs.fixtures.FIXTURES`."""
    physics: Physics = field(default=None)  # type: ignore[assignment]
    """None takes the robot's own."""
    servo: Servos = field(default=None)  # type: ignore[assignment]
    """For all joints, or one for each. None takes the robot's own."""
    cameras: tuple[Camera, ...] = CAMERAS
    robot: str = "so101"
    """A name out of `envs.robot.ROBOTS`, or the path of a YAML file that `envs.foreign.load_robot` reads."""

    def __post_init__(self) -> None:
        """Raise `EmbodiedError` for unknown or repeated names."""
        robot = robot_of(self.robot)
        for name in ("physics", "servo"):
            if getattr(self, name) is None:
                object.__setattr__(self, name, getattr(robot, name))
        for name in self.objects:
            object_type(name)
        for name in self.fixtures:
            if name not in FIXTURES:
                raise unknown("fixture", name, FIXTURES)
        for what, names in (("Objects", self.objects), ("Fixtures", self.fixtures)):
            if len(set(names)) != len(names):
                raise EmbodiedError(f"{what} {', '.join(names)} were given; each may appear once.")
        if self.goal_entity not in (None, "bin", "target"):
            raise unknown("goal entity", self.goal_entity, ("bin", "target", "none"))


@dataclass(frozen=True)
class Scene:
    """A compiled model and where its entities are in it. K entities; -1 stands for "has none"."""

    model: mujoco.MjModel
    stepped: mujoco.MjModel
    """What is stepped: `model` without what is only drawn, see `envs.stepped`. State rows are the same of both."""
    config: SceneConfig
    names: tuple[str, ...]
    """K entity names: the table, the robot's parts, the goal entity if any, parts of fixtures, then the objects."""
    kind: Array
    """`[K]` see `envs.types.Kind`."""
    body: Array
    """`[K]` body ids."""
    local_pose: Array
    """`[K 7]` the entity's frame in its body's, position [m] and quaternion."""
    geoms: tuple[tuple[int, ...], ...]
    """Per entity, ids in `model` of the geoms it collides with; the entity `gripper`: palm and fingers without the
    pads."""
    stepped_geom: Array
    """`[ngeom]` ids in `stepped` of the geoms of `model`; -1 of those that are only drawn."""
    qpos: Array
    """`[K]` address of a free body's pose in `qpos` (7 numbers)."""
    dof: Array
    """`[K]` address of a free body's velocity in `qvel` (6 numbers: linear in the world's, angular in its own axes)."""
    mocap: Array
    """`[K]` index into `mocap_pos` and `mocap_quat`, for the bin, the target and the bases of fixtures."""
    slide: Array
    """`[K]` address in `qpos` of the hinge or slide of a fixture's part."""
    half_extents: Array
    """`[K 3]` nominal half sizes [m]."""
    colour: Array
    """`[K 3]` RGB in 0..1."""
    mass: Array
    """`[K]` nominal [kg]; 0 for what cannot be moved."""
    friction: Array
    """`[K]` nominal sliding friction."""
    joint_qpos: Array
    """`[J]` addresses of the robot's joints in `qpos`, in the order of `joints`."""
    joint_dof: Array
    """`[J]` their addresses in `qvel`."""
    actuator: Array
    """`[J]` their actuator ids."""

    @property
    def objects(self) -> tuple[str, ...]:
        """The movable objects."""
        return self.config.objects

    @property
    def joints(self) -> tuple[str, ...]:
        """Names of the robot's J joints, which proprioception, commands and servos follow."""
        return robot_of(self.config.robot).joints

    def index(self, name: str) -> int:
        """The index of an entity; raises `EmbodiedError` naming the entities there are."""
        if name not in self.names:
            raise unknown("object", name, self.names)
        return self.names.index(name)

    @cached_property
    def joint_range(self) -> Array:
        """`[J 2]` lower and upper limits of the joints [rad], of a pusher's [m]."""
        return np.array([self.model.joint(name).range for name in self.joints])

    @cached_property
    def parking_pose(self) -> Array:
        """`[K 7]` where an absent object, bin or target is kept: on its own spot behind and below the table."""
        pose = np.zeros((len(self.names), 7))
        pose[:, 3] = 1.0
        for k in np.flatnonzero((self.qpos >= 0) | (self.mocap >= 0)):
            pose[k, :3] = (-3.0, 0.5 * k, 0.5 if robot_of(self.config.robot).flat else -0.3)
        return pose


def build_scene(config: SceneConfig | None = None) -> Scene:
    """Compile the scene. Its keyframe `home` has the robot at its home and the objects in a row on the table.

    Raises `EmbodiedError` where the robot's file has a name that the scene needs.
    """
    config = config or SceneConfig()
    robot = robot_of(config.robot)
    spec = robot.build(config.physics)
    spec.modelname = "embodied_whatif" + ("" if config.robot == "so101" else f"_{Path(config.robot).stem}")
    with clashes_told(spec, config.robot, config.objects):
        _set_view(spec)
        _add_surroundings(spec, config, robot)
        for name, servo in zip(robot.joints, per_joint(config.servo, robot.joints), strict=True):
            servo.apply(spec, name, config.physics.timestep)
        if config.goal_entity == "bin":
            _add_bin(spec)
        elif config.goal_entity == "target":
            _add_target(spec)
        for name in config.fixtures:
            add_fixture(spec, FIXTURES[name], _BIN_TYPE)
        for index, name in enumerate(config.objects):
            at = (0.22, 0.06 * (index - 0.5 * (len(config.objects) - 1)))
            add_object(
                spec, name, at, config.physics.object_friction, (_TABLE_TYPE, _OBJECT_AFFINITY), simple=not robot.flat
            )
        config.physics.apply(spec)
        spec.add_key(name="home")
        model = spec.compile()
    _set_home(model, robot)
    stepped = without_drawn(spec, model)
    for each in (model, stepped):
        open_up(each, config.objects)
    return _index(model, stepped, config)


def _set_home(model: mujoco.MjModel, robot: Robot) -> None:
    model.key_qpos[0] = model.qpos0
    home = dict(zip(robot.joints, robot.home, strict=True))
    for name, place in (home | {follower: home[leader] for follower, leader in robot.followers}).items():
        model.key_qpos[0, model.joint(name).qposadr] = place
    model.key_ctrl[0, [model.actuator(name).id for name in robot.joints]] = robot.home


def _parts(config: SceneConfig) -> list[Part]:
    return [part for name in config.fixtures for part in FIXTURES[name].parts]


def _set_view(spec: mujoco.MjSpec) -> None:
    view = spec.visual
    view.global_.offwidth, view.global_.offheight = 1280, 960
    view.headlight.ambient, view.headlight.diffuse = (0.42, 0.42, 0.44), (0.22, 0.22, 0.22)
    view.headlight.specular = (0.0, 0.0, 0.0)
    view.map.znear, view.map.zfar = 0.01, 30.0
    spec.stat.extent, spec.stat.center = 0.8, (0.2, 0.0, 0.1)


def _add_surroundings(spec: mujoco.MjSpec, config: SceneConfig, robot: Robot) -> None:
    world = spec.worldbody
    world.add_light(pos=(0.5, -0.7, 1.5), dir=(-0.25, 0.45, -1.0), type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
                    diffuse=(0.55, 0.54, 0.52), specular=(0.15, 0.15, 0.15), castshadow=True)  # fmt: skip
    world.add_light(pos=(0.2, 0.9, 1.0), dir=(-0.1, -0.8, -0.8), type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
                    diffuse=(0.16, 0.17, 0.20), specular=(0.0, 0.0, 0.0), castshadow=False)  # fmt: skip
    spec.add_texture(name="sky", type=mujoco.mjtTexture.mjTEXTURE_SKYBOX, builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
                     rgb1=(0.93, 0.94, 0.95), rgb2=(0.78, 0.81, 0.84), width=64, height=384)  # fmt: skip
    world.add_geom(name="floor", type=mujoco.mjtGeom.mjGEOM_PLANE, pos=(0.0, 0.0, FLOOR_HEIGHT), size=(4.0, 4.0, 0.1),
                   rgba=(0.80, 0.81, 0.82, 1.0), contype=_TABLE_TYPE, conaffinity=0, condim=3)  # fmt: skip
    flat, (centre, half_extents) = robot.flat, robot.table
    world.add_geom(name="table", type=mujoco.mjtGeom.mjGEOM_BOX, pos=centre, size=half_extents,
                   rgba=(*TABLE_COLOUR, 1.0), contype=0 if flat else _TABLE_TYPE,
                   conaffinity=0 if flat else _SOLID_AFFINITY, condim=3,
                   friction=(config.physics.table_friction, 0.005, 0.0001))  # fmt: skip
    if flat:
        # Things slide over it without end: contacts with a plane are found in closed form, with a box they are not.
        world.add_geom(name="table_top", type=mujoco.mjtGeom.mjGEOM_PLANE, size=(4.0, 4.0, 0.1), rgba=(0, 0, 0, 0),
                       contype=_TABLE_TYPE, conaffinity=0, condim=3,
                       friction=(config.physics.table_friction, 0.005, 0.0001))  # fmt: skip
    for camera in config.cameras:
        world.add_camera(name=camera.name, pos=camera.position, quat=_looking(camera), fovy=camera.fovy)


TABLE_COLOUR, BIN_COLOUR, TARGET_COLOUR = (0.36, 0.42, 0.47), (0.78, 0.63, 0.45), (0.66, 0.53, 0.92)


def _looking(camera: Camera) -> Array:
    """Quaternion of a camera that looks along its -z, its image upright."""
    back = np.subtract(camera.position, camera.look_at)
    back = back / np.linalg.norm(back)
    # Straight down, "up" in the image is forward in the world.
    right = np.cross((0.0, 0.0, 1.0) if abs(back[2]) < 0.999 else (1.0, 0.0, 0.0), back)
    right = right / np.linalg.norm(right)
    quaternion = np.zeros(4)
    mujoco.mju_mat2Quat(quaternion, np.stack([right, np.cross(back, right), back], axis=1).ravel())
    return quaternion


def _add_bin(spec: mujoco.MjSpec) -> None:
    """A mocap body: each world puts it where it likes, and nothing moves it. Its frame is the centre of its box."""
    body = spec.worldbody.add_body(name="bin", pos=(0.22, 0.16, BIN_HALF_EXTENTS[2]), mocap=True)
    names = ("bin_floor", "bin_wall_front", "bin_wall_back", "bin_wall_left", "bin_wall_right")
    for name, solid in zip(names, walls(BIN_HALF_EXTENTS, BIN_WALL), strict=True):
        body.add_geom(name=name, type=mujoco.mjtGeom.mjGEOM_BOX, pos=solid.position, size=solid.half_extents,
                      rgba=(*BIN_COLOUR, 1.0), contype=_BIN_TYPE, conaffinity=0, condim=3,
                      friction=(0.1, 0.005, 0.0001))  # fmt: skip


def _add_target(spec: mujoco.MjSpec) -> None:
    body = spec.worldbody.add_body(name="target", pos=(0.22, 0.16, CUBE_HALF_EXTENT), mocap=True)
    # The target is where a cube's centre should be; the disc is drawn under that cube, where its bottom would be.
    below = (0.0, 0.0, TARGET_HALF_EXTENTS[2] - CUBE_HALF_EXTENT)
    body.add_geom(name="target", type=mujoco.mjtGeom.mjGEOM_CYLINDER, pos=below, size=(TARGET_HALF_EXTENTS[0],
                  TARGET_HALF_EXTENTS[2], 0.0), rgba=(*TARGET_COLOUR, 1.0), contype=0, conaffinity=0,
                  mass=0.0)  # fmt: skip


def _index(model: mujoco.MjModel, stepped: mujoco.MjModel, config: SceneConfig) -> Scene:
    goal = (config.goal_entity,) if config.goal_entity else ()
    parts = {part.name: part for part in _parts(config)}
    robot = robot_of(config.robot)
    own = {part.name: part for part in robot.parts}
    names = ("table", *own, *goal, *parts, *config.objects)
    rows = {name: _entity(model, name, config.physics, own.get(name)) for name in names}
    columns = zip(*rows.values(), strict=True)
    kind, body, local_pose, geoms, half_extents, colour, mass, friction = columns
    free = [_free_joint(model, name) if name in config.objects else None for name in names]
    joints = [model.joint(name) for name in robot.joints]
    return Scene(
        model=model,
        stepped=stepped,
        config=config,
        names=names,
        kind=np.array(kind, np.int64),
        body=np.array(body, np.int64),
        local_pose=np.array(local_pose),
        geoms=tuple(geoms),
        stepped_geom=stepped_ids(model, stepped),
        qpos=np.array([joint[0] if joint else -1 for joint in free], np.int64),
        dof=np.array([joint[1] if joint else -1 for joint in free], np.int64),
        mocap=np.array([int(model.body_mocapid[b]) if b else -1 for b in body], np.int64),
        slide=np.array([_address(model, parts.get(name)) for name in names], np.int64),
        half_extents=np.array(half_extents),
        colour=np.array(colour),
        mass=np.array(mass),
        friction=np.array(friction),
        joint_qpos=np.array([int(joint.qposadr[0]) for joint in joints], np.int64),
        joint_dof=np.array([int(joint.dofadr[0]) for joint in joints], np.int64),
        actuator=np.array([model.actuator(name).id for name in robot.joints], np.int64),
    )


def _free_joint(model: mujoco.MjModel, name: str) -> tuple[int, int]:
    joint = model.joint(name)
    return int(joint.qposadr[0]), int(joint.dofadr[0])


def _address(model: mujoco.MjModel, part: Part | None) -> int:
    return int(model.joint(part.name).qposadr[0]) if part is not None and part.joint is not None else -1


_Row = tuple[Kind, int, Array, tuple[int, ...], tuple[float, ...], tuple[float, ...], float, float]


def _entity(model: mujoco.MjModel, name: str, physics: Physics, part: RobotPart | None) -> _Row:
    """Kind, body, local pose, colliding geoms, half extents, colour, mass and friction of one entity."""
    if name == "table":
        geom = model.geom("table")
        geoms = tuple(i for i in range(model.ngeom) if model.geom(i).name in ("table", "table_top"))
        return Kind.TABLE, 0, _pose(geom.pos), geoms, tuple(geom.size), TABLE_COLOUR, 0.0, physics.table_friction
    if part is not None:
        return _robot_part(model, part, physics)
    body = model.body(name)
    geoms = tuple(range(int(body.geomadr[0]), int(body.geomadr[0] + body.geomnum[0])))
    if name == "bin":
        return Kind.BIN, body.id, _pose((0.0, 0.0, 0.0)), geoms, BIN_HALF_EXTENTS, BIN_COLOUR, 0.0, 0.1
    if name == "target":
        return Kind.TARGET, body.id, _pose((0.0, 0.0, 0.0)), (), TARGET_HALF_EXTENTS, TARGET_COLOUR, 0.0, 0.0
    for piece in (piece for fixture in FIXTURES.values() for piece in fixture.parts):
        if piece.name == name:
            return (piece.kind, body.id, _pose((0.0, 0.0, 0.0)), geoms, piece.half_extents, piece.colour, piece.mass,
                    0.1)  # fmt: skip
    what = object_type(name)
    return (what.kind, body.id, _pose((0.0, 0.0, 0.0)), geoms, what.half_extents, what.colour, what.mass,
            physics.object_friction)  # fmt: skip


def _robot_part(model: mujoco.MjModel, part: RobotPart, physics: Physics) -> _Row:
    body = model.body(part.body)
    geoms = tuple(model.geom(name).id for name in part.geoms)
    pose, half_extents = _pose(part.position, part.quaternion), part.half_extents
    if half_extents is None:
        geom = model.geom(geoms[0])
        pose, half_extents = _pose(geom.pos, geom.quat), tuple(geom.size)
    return (part.kind, body.id, pose, geoms, half_extents, part.colour, float(body.mass[0]),
            physics.pad_friction)  # fmt: skip


def _pose(position: object, quaternion: object = (1.0, 0.0, 0.0, 0.0)) -> Array:
    return np.concatenate([np.asarray(position, np.float64), np.asarray(quaternion, np.float64)])
