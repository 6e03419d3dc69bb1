"""Arms of any MJCF file: a few lines of YAML say which joints are the arm's and the gripper's, and where the tool is.

What the file holds beside the arm (floors, lights, things to grasp, actuators, keyframes) is left out, and joints that
are not named do not move. Each named joint gets a position servo; the arm's weight is compensated, as such arms' own
controllers do.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import yaml

from envs.arm import SerialArm, serial_arm
from envs.control import CartesianDelta, Controller, JointDelta
from envs.errors import EmbodiedError, unknown
from envs.model_files import model_file
from envs.physics import Physics
from envs.robot_spec import ARM_AFFINITY, ARM_TYPE, GRIPPER_HALF_EXTENTS, Robot, RobotPart
from envs.servo import Servo
from envs.types import Array, Kind

ROUNDING = 1e-6
"""[rad or m] by which a home may be out of a joint's range, as angles are written with few digits."""

HEIGHT, NEAR, UPRIGHT = 0.035, 0.003, 0.35
"""Above the table [m], of the tool from there [m] and from pointing down [rad]: where an arm must get in its area."""


@dataclass(frozen=True)
class ArmFile:
    """What the YAML file says."""

    mjcf: str
    """Path of the model from the YAML file, or `package:path` of one that an installed package ships."""
    joints: tuple[str, ...]
    """The arm's hinges or slides, from its base on."""
    tcp: str
    """The site at the tool's point."""
    gripper: tuple[str, ...] = ()
    """Joints that open and close it; those after the first follow it."""
    home: tuple[float, ...] = ()
    """[rad or m] of the arm's joints, then of the gripper; zeros, brought into range, where none are given."""
    jaws: tuple[str, ...] = ()
    """Geoms that grip, the fixed one first, then the moving one; or none."""
    area: tuple[tuple[float, float], tuple[float, float]] | None = None
    """[m] x and y of what tasks put on the table; None where no task is for this arm."""
    start: tuple[tuple[float, float], tuple[float, float], tuple[float, float]] | None = None
    """[m] x, y and z of the tool where episodes begin."""
    servo: Servo = Servo(kp=1000.0, kv=50.0, damping=1.0, frictionloss=0.0, armature=0.1, force_limit=100.0)  # noqa: RUF009
    """`kp`, `kv`, `force_limit` and the like, see `envs.servo.Servo`."""


@cache
def load_robot(path: str) -> Robot:
    """The robot that a YAML file describes.

    Raises `EmbodiedError` for a file that is missing or does not say what it must, for joints, jaws or a site that the
    arm has not, and for a home out of the joints' ranges.
    """
    arm = _read(Path(path))
    spec, model = _arm_alone(path, arm), _compiled(path, arm)
    joints = (*arm.joints, *arm.gripper[:1])
    ranges = [model.joint(name).range for name in joints]
    home = arm.home or tuple(float(min(max(0.0, low), high)) for low, high in ranges)
    if len(home) != len(joints):
        raise EmbodiedError(f"{path}: home has {len(home)} numbers for the {len(joints)} joints {', '.join(joints)}.")
    for name, value, (low, high) in zip(joints, home, ranges, strict=True):
        if not low - ROUNDING <= value <= high + ROUNDING:
            raise EmbodiedError(f"{path}: home has {name} at {value:g}; its range is {low:g} to {high:g}.")
    site = model.site(arm.tcp)
    body = model.body(int(site.bodyid[0]))
    geoms = tuple(geom.name for geom in spec.body(body.name).geoms if geom.contype)
    gripper = RobotPart("gripper", Kind.GRIPPER, body.name, geoms, GRIPPER_HALF_EXTENTS, _three(site.pos),
                        _four(site.quat), whole_body=True)  # fmt: skip
    parts = [gripper]
    for name, jaw in zip(("fixed_jaw", "moving_jaw"), arm.jaws, strict=False):
        parts.append(RobotPart(name, Kind.JAW, model.body(int(model.geom(jaw).bodyid[0])).name, (jaw,)))
    followers = tuple((name, arm.gripper[0]) for name in arm.gripper[1:])

    def build(physics: Physics) -> mujoco.MjSpec:
        built = _arm_alone(path, arm)
        for geom in _finger_geoms(built, arm):
            geom.friction, geom.condim, geom.priority = (physics.pad_friction, 0.005, 0.0001), 4, 1
        return built

    return Robot(joints, home, tuple(parts), build, servo=arm.servo, followers=followers)


@cache
def arm_of_file(path: str) -> SerialArm:
    """The kinematics of the arm that a YAML file describes."""
    arm, robot = _read(Path(path)), load_robot(path)
    return serial_arm(_compiled(path, arm), arm.joints, robot.home, arm.tcp)


def workspace(path: str) -> tuple[Any, Any]:
    """The `area` and `start` of tasks for that arm; raises `EmbodiedError` where its file does not say them.

    And where the arm gets to no part of its area.
    """
    arm = _read(Path(path))
    if arm.area is None or arm.start is None:
        raise EmbodiedError(f"{path} does not say where tasks take place: give it area and start, see docs/tasks.md.")
    if not _reaches(path):
        (left, right), (low, high) = arm.area
        raise EmbodiedError(
            f"{path}: the arm reaches no part of its area, x {left:g} to {right:g} m and y {low:g} to {high:g} m, with "
            f"its tool {UPRIGHT:g} rad from pointing down at most; give it another area."
        )
    return tuple(map(tuple, arm.area)), tuple(map(tuple, arm.start))


@cache
def _reaches(path: str) -> bool:
    """Whether the arm gets anywhere above its area, as near as tasks want it."""
    x, y = (np.linspace(*ends, 9) for ends in _read(Path(path)).area or ())
    place = np.stack([*np.meshgrid(x, y), np.full((9, 9), HEIGHT)], axis=-1)
    tool = arm_of_file(path).project(place, np.zeros((9, 9)))
    return bool(((tool.tilt <= UPRIGHT) & (np.linalg.norm(tool.position - place, axis=-1) < NEAR)).any())


@dataclass(frozen=True)
class ToolDelta(CartesianDelta):
    """Like `CartesianDelta`, of the arm in a robot file; numpy alone."""

    path: str = field(kw_only=True)

    @property
    def arm(self) -> SerialArm:
        """See `CartesianDelta.arm`."""
        return arm_of_file(self.path)

    @property
    def joints(self) -> tuple[str, ...]:
        """See `Controller.joints`."""
        return load_robot(self.path).joints

    def target(self, previous: Array, action: Array) -> Array:
        """See `Controller.target`."""
        tool, (low, high) = self.arm.forward(previous), self.opening
        place, yaw = tool.position + self.step * action[..., :3], tool.yaw + self.turn * action[..., 3]
        reached = self.arm.project(place, yaw, previous).joints
        return np.concatenate([reached, low + (high - low) * 0.5 * (action[..., 4:5] + 1.0)], axis=-1)

    def action(self, previous: Array, target: Array) -> Array:
        """See `Controller.action`."""
        before, after, (low, high) = self.arm.forward(previous), self.arm.forward(target), self.opening
        turned = np.remainder(after.yaw - before.yaw + np.pi, 2.0 * np.pi) - np.pi
        moved = (after.position - before.position) / self.step
        opened = 2.0 * (target[..., -1:] - low) / (high - low) - 1.0
        return np.clip(np.concatenate([moved, (turned / self.turn)[..., None], opened], axis=-1), -1.0, 1.0)


def own_control(path: str, rate: float) -> Controller:
    """Moves the tool of the robot in a YAML file where that says how tasks are done with it, else its joints."""
    if _read(Path(path)).area is None:
        return joint_control(path, rate)
    return ToolDelta(rate=rate, path=path)


def joint_control(path: str, rate: float = 10.0) -> JointDelta:
    """Moves the joints of the robot in a YAML file by deltas, its gripper to where the action says."""
    arm, robot = _read(Path(path)), load_robot(path)
    model = _compiled(path, arm)
    low, high = zip(*(model.joint(name).range.tolist() for name in robot.joints), strict=True)
    gripper = (low[-1], high[-1]) if arm.gripper else (0.0, 0.0)
    scale = (1.0,) * len(arm.joints)
    return JointDelta(rate=rate, joints=robot.joints, low=low, high=high, scale=scale, gripper=gripper)


def _read(path: Path) -> ArmFile:
    if not path.is_file():
        raise EmbodiedError(f"There is no robot file {str(path)!r}.")
    try:
        given: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise EmbodiedError(f"{path} is not YAML: {' '.join(str(error).split())}.") from error
    allowed = [each.name for each in fields(ArmFile)]
    if not isinstance(given, dict) or not {"mjcf", "joints", "tcp"} <= set(given):
        raise EmbodiedError(
            f"{path}: a robot file says at least mjcf, joints and tcp; it may say {', '.join(allowed)}."
        )
    for key, value in given.items():
        if key not in allowed:
            raise unknown(f"key of {path.name}", key, allowed)
        fits, wanted = _FORMS[key]
        if not fits(value):
            raise EmbodiedError(f"{path}: {key} must be {wanted}, not {value!r}.")
    servo = given.pop("servo", None)
    given |= {key: tuple(given[key]) for key in ("joints", "gripper", "home", "jaws") if key in given}
    if servo is not None:
        names = [each.name for each in fields(Servo)]
        for key in servo:
            if key not in names:
                raise unknown(f"servo parameter of {path.name}", key, names)
        if "kp" not in servo:
            raise EmbodiedError(f"{path}: servo must say kp, too; it says {', '.join(servo) or 'nothing'}.")
        try:
            given["servo"] = Servo(**servo)
        except EmbodiedError as error:
            raise EmbodiedError(f"{path}: {error}") from error
    return ArmFile(**given)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _is_ranges(value: Any, count: int) -> bool:
    return (
        isinstance(value, list)
        and len(value) == count
        and all(isinstance(ends, list) and len(ends) == 2 and all(map(_is_number, ends)) for ends in value)
        and all(low <= high for low, high in value)
    )


_FORMS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "mjcf": (lambda value: isinstance(value, str), "a path"),
    "joints": (lambda value: _is_names(value) and bool(value), "a list of names, at least one"),
    "tcp": (lambda value: isinstance(value, str), "the name of a site"),
    "gripper": (_is_names, "a list of names"),
    "jaws": (lambda value: _is_names(value) and len(value) in (0, 2), "a list of two names, or of none"),
    "home": (lambda value: isinstance(value, list) and all(map(_is_number, value)), "a list of finite numbers"),
    "area": (lambda value: _is_ranges(value, 2), "two finite ranges, as in [[0.1, 0.2], [-0.1, 0.1]]"),
    "start": (lambda value: _is_ranges(value, 3), "three finite ranges, as in [[0.1, 0.2], [-0.1, 0.1], [0.05, 0.1]]"),
    "servo": (lambda value: isinstance(value, dict) and all(map(_is_number, value.values())), "finite numbers by name"),
}
"""What a robot file may say, and how that is told."""


def _arm_alone(path: str, arm: ArmFile) -> mujoco.MjSpec:
    """The model without all that is not the arm."""
    model = str(model_file(path, arm.mjcf))
    try:
        spec = mujoco.MjSpec.from_file(model)
    except ValueError as error:
        raise EmbodiedError(f"{path}: MuJoCo cannot read {model!r}: {' '.join(str(error).split())}.") from error
    _check_names(path, arm, spec)
    wanted = {*arm.joints, *arm.gripper}
    for kept in (spec.actuators, spec.keys, spec.sensors, spec.tendons, spec.equalities, spec.excludes, spec.pairs):
        for thing in list(kept):
            spec.delete(thing)
    world = spec.worldbody
    for thing in [*world.geoms, *world.lights, *world.cameras, *world.sites]:
        spec.delete(thing)
    for body in list(world.bodies):
        if not wanted & {joint.name for joint in body.find_all("joint")}:
            spec.delete(body)
    for joint in list(spec.joints):
        if joint.name not in wanted:
            spec.delete(joint)
    for index, body in enumerate(spec.bodies[1:]):
        body.gravcomp = 1.0
        body.name = body.name or f"link_{index}"
    for index, geom in enumerate(spec.geoms):
        geom.name = geom.name or f"link_geom_{index}"
        collides = bool(geom.contype or geom.conaffinity)
        geom.contype, geom.conaffinity = (ARM_TYPE, ARM_AFFINITY) if collides else (0, 0)
    _check_kept(path, arm, spec)
    for follower in arm.gripper[1:]:
        spec.add_equality(type=mujoco.mjtEq.mjEQ_JOINT, name1=follower, name2=arm.gripper[0],
                          objtype=mujoco.mjtObj.mjOBJ_JOINT, data=[0.0, 1.0, *[0.0] * 10])  # fmt: skip
    return spec


def _compiled(path: str, arm: ArmFile) -> mujoco.MjModel:
    try:
        return _arm_alone(path, arm).compile()
    except ValueError as error:
        said = ", ".join(line.strip() for line in str(error).removeprefix("Error: ").splitlines())
        mend = "; give each body that moves a geom or an inertial with a mass" if "inertia" in said else ""
        raise EmbodiedError(f"{path}: MuJoCo cannot compile the arm of its model: {said}{mend}.") from error


def _check_kept(path: str, arm: ArmFile, spec: mujoco.MjSpec) -> None:
    """What the file names must be on the arm, not on what was left out."""
    for what, names, kept in (
        ("tcp is the site", (arm.tcp,), [site.name for site in spec.sites]),
        ("jaws has the geom", arm.jaws, [geom.name for geom in spec.geoms]),
    ):
        for name in names:
            if name not in kept:
                there = ", ".join(filter(None, kept)) or "nothing that has a name"
                raise EmbodiedError(f"{path}: {what} {name!r}, which is not on the arm; on it are {there}.")


def _check_names(path: str, arm: ArmFile, spec: mujoco.MjSpec) -> None:
    kinds = {joint.name: joint.type for joint in spec.joints}
    ranges = {joint.name: joint.range for joint in spec.joints}
    moving = (mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_SLIDE)
    for name in (*arm.joints, *arm.gripper):
        if name not in kinds:
            raise unknown(f"joint of {path}", name, kinds)
        if kinds[name] not in moving:
            raise EmbodiedError(f"{path}: joint {name!r} is neither a hinge nor a slide.")
        if not ranges[name][0] < ranges[name][1]:
            raise EmbodiedError(f"{path}: joint {name!r} has no range; its model must give it one.")
    geoms = [geom.name for geom in spec.geoms if geom.name]
    for name in arm.jaws:
        if name not in geoms:
            raise unknown(f"geom of {path}", name, geoms)
    sites = [site.name for site in spec.sites]
    if arm.tcp not in sites:
        raise unknown(f"site of {path}", arm.tcp, sites)
    for names, once in (((*arm.joints, *arm.gripper), "among joints or gripper"), (arm.jaws, "among jaws")):
        for name in names:
            if names.count(name) > 1:
                raise EmbodiedError(f"{path}: {name!r} is given {names.count(name)} times; give it once, {once}.")


def _finger_geoms(spec: mujoco.MjSpec, arm: ArmFile) -> list[Any]:
    """Colliding geoms of what the gripper's joints move."""
    bodies = [spec.joint(name).parent for name in arm.gripper]
    return [geom for body in bodies for geom in [*body.geoms, *body.find_all("geom")] if geom.contype]


def _three(values: Array) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in values)
    return x, y, z


def _four(values: Array) -> tuple[float, float, float, float]:
    w, x, y, z = (float(value) for value in values)
    return w, x, y, z
