"""Actions to commanded joints: open-loop controllers, each a pure function of the last command and the action.

The command never looks at what the joints really did, so the commands of a whole plan are known before it is run:
the simulator, the world model and the real arm all execute the same joint targets.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from array_api_compat import array_namespace

from envs import pusher
from envs.errors import EmbodiedError, unknown
from envs.kinematics import SO101, Arm, forward, project
from envs.so101 import JOINT_HIGH, JOINT_LOW, JOINTS
from envs.two_arms import OTHER
from envs.types import ActionSpec, Array

GRIPPER_RANGE = (-0.1, 0.8)
"""[rad] Closed on nothing .. pads 61 mm apart; wider, the pads no longer face each other."""


@runtime_checkable
class Controller(Protocol):
    """Turns normalised actions into joint targets."""

    @property
    def spec(self) -> ActionSpec:
        """Names, bounds and rate of its actions."""
        ...

    @property
    def joints(self) -> tuple[str, ...]:
        """Names of the J joints it commands."""
        ...

    def target(self, previous: Array, action: Array) -> Array:
        """The joint target `[*B J]` [rad, of a pusher m] that follows `previous` under `action` `[*B A]` in -1..1."""
        ...

    def action(self, previous: Array, target: Array) -> Array:
        """The action `[*B A]` in -1..1 that leads from `previous` to `target`, or as far towards it as one can."""
        ...


@dataclass(frozen=True)
class CartesianDelta:
    """Moves the commanded tool by up to `step` and `turn` per control step; the gripper's opening is absolute.

    The sum of command and delta is projected onto what the arm can reach with the least tilt, so a command never
    winds up outside the workspace.
    """

    step: float = 0.03
    """[m] displacement along each world axis for an action of 1."""
    turn: float = 0.3
    """[rad] yaw for an action of 1."""
    rate: float = 10.0
    """[Hz]."""

    @property
    def arm(self) -> Arm:
        """What it moves."""
        return SO101

    @property
    def opening(self) -> tuple[float, float]:
        """[rad] What -1 and 1 mean to the gripper."""
        return GRIPPER_RANGE

    @property
    def spec(self) -> ActionSpec:
        """x, y, z, yaw and gripper, each in -1..1."""
        return _normalised(("x", "y", "z", "yaw", "gripper"), self.rate)

    @property
    def joints(self) -> tuple[str, ...]:
        """See `Controller.joints`."""
        return JOINTS

    def target(self, previous: Array, action: Array) -> Array:
        """See `Controller.target`."""
        gripper = _between(*GRIPPER_RANGE, action[..., 4:5])
        both = isinstance(previous, np.ndarray) and isinstance(action, np.ndarray)
        if both and previous.shape[:-1] == action.shape[:-1]:
            # Its compiled twin; imported here, as who only reads specs should not load numba.
            from envs.kinematics_compiled import cartesian_target

            arm = cartesian_target(previous, action, self.step, self.turn)
            return np.concatenate([arm.astype(previous.dtype, copy=False), gripper], axis=-1)
        xp = array_namespace(previous, action)
        tool = forward(previous)
        reached = project(tool.position + self.step * action[..., 0:3], tool.yaw + self.turn * action[..., 3])
        return xp.concat([reached.joints[..., 0:5], gripper], axis=-1)

    def action(self, previous: Array, target: Array) -> Array:
        """See `Controller.action`."""
        xp = array_namespace(previous, target)
        before, after = forward(previous), forward(target)
        turned = after.yaw - before.yaw
        turned = turned - 2 * math.pi * xp.round(turned / (2 * math.pi))
        moved = [(after.position - before.position) / self.step, (turned / self.turn)[..., None]]
        return _unit(xp, xp.concat([*moved, _share(*GRIPPER_RANGE, target[..., 5:6])], axis=-1))


@dataclass(frozen=True)
class TwoArms:
    """Two SO-101, each moved like a lone one in the frame of its own base; see `envs.two_arms`."""

    arm: CartesianDelta = field(default_factory=CartesianDelta)

    @property
    def spec(self) -> ActionSpec:
        """The first arm's actions, then the second one's."""
        names = self.arm.spec.names
        return _normalised((*names, *(OTHER + name for name in names)), self.arm.rate)

    @property
    def joints(self) -> tuple[str, ...]:
        """See `Controller.joints`."""
        return (*JOINTS, *(OTHER + name for name in JOINTS))

    def target(self, previous: Array, action: Array) -> Array:
        """See `Controller.target`."""
        xp = array_namespace(previous, action)
        j, a = len(JOINTS), self.arm.spec.size
        both = [self.arm.target(previous[..., i * j : i * j + j], action[..., i * a : i * a + a]) for i in (0, 1)]
        return xp.concat(both, axis=-1)

    def action(self, previous: Array, target: Array) -> Array:
        """See `Controller.action`."""
        xp, j = array_namespace(previous, target), len(JOINTS)
        both = [self.arm.action(each[..., :j], other[..., :j]) for each, other in
                ((previous, target), (previous[..., j:], target[..., j:]))]  # fmt: skip
        return xp.concat(both, axis=-1)


@dataclass(frozen=True)
class JointDelta:
    """Moves each commanded arm joint by up to `turn` per control step; the gripper's opening is absolute.

    Of an SO-101 unless told otherwise.
    """

    turn: float = 0.15
    """[rad] for an action of 1, times the joint's `scale`."""
    rate: float = 10.0
    """[Hz]."""
    joints: tuple[str, ...] = JOINTS
    """See `Controller.joints`."""
    low: tuple[float, ...] = JOINT_LOW
    high: tuple[float, ...] = JOINT_HIGH
    """`[J]` [rad] Ends of the joints' ranges."""
    scale: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0, 2.0)
    """Of the arm's joints; those after them are the gripper's."""
    gripper: tuple[float, float] = GRIPPER_RANGE
    """[rad, of a slide m] What -1 and 1 mean to the gripper."""

    @property
    def spec(self) -> ActionSpec:
        """The joints, each in -1..1."""
        return _normalised(self.joints, self.rate)

    def target(self, previous: Array, action: Array) -> Array:
        """See `Controller.target`."""
        xp = array_namespace(previous, action)
        arm = len(self.scale)
        step = xp.asarray([self.turn * scale for scale in self.scale], dtype=previous.dtype)
        low, high = (xp.asarray(end[:arm], dtype=previous.dtype) for end in (self.low, self.high))
        moved = xp.minimum(xp.maximum(previous[..., :arm] + step * action[..., :arm], low), high)
        return xp.concat([moved, _between(*self.gripper, action[..., arm:])], axis=-1)

    def action(self, previous: Array, target: Array) -> Array:
        """See `Controller.action`."""
        xp = array_namespace(previous, target)
        arm = len(self.scale)
        step = xp.asarray([self.turn * scale for scale in self.scale], dtype=previous.dtype)
        turned = (target[..., :arm] - previous[..., :arm]) / step
        return _unit(xp, xp.concat([turned, _share(*self.gripper, target[..., arm:])], axis=-1))


@dataclass(frozen=True)
class JointAbsolute:
    """Commands each joint's position; -1 and 1 are the ends of its range. The convention of most recorded data.

    Of an SO-101 unless told otherwise.
    """

    rate: float = 10.0
    """[Hz]."""
    joints: tuple[str, ...] = JOINTS
    """See `Controller.joints`."""
    low: tuple[float, ...] = JOINT_LOW
    high: tuple[float, ...] = JOINT_HIGH
    """`[J]` [rad] Ends of the joints' ranges."""

    @property
    def spec(self) -> ActionSpec:
        """The joints, each in -1..1."""
        return _normalised(self.joints, self.rate)

    def target(self, previous: Array, action: Array) -> Array:
        """See `Controller.target`; `previous` does not matter."""
        xp = array_namespace(previous, action)
        low, high = (xp.asarray(np.asarray(end), dtype=previous.dtype) for end in (self.low, self.high))
        return _between(low, high, action)

    def action(self, previous: Array, target: Array) -> Array:
        """See `Controller.action`; `previous` does not matter."""
        xp = array_namespace(previous, target)
        low, high = (xp.asarray(np.asarray(end), dtype=previous.dtype) for end in (self.low, self.high))
        return _unit(xp, _share(low, high, target))


@dataclass(frozen=True)
class PlanarDelta:
    """Moves the commanded pusher by up to `step` per control step; the command never leaves the pusher's range."""

    step: float = 0.03
    """[m] displacement along each world axis for an action of 1."""
    rate: float = 10.0
    """[Hz]."""

    @property
    def spec(self) -> ActionSpec:
        """X and y, each in -1..1."""
        return _normalised(("x", "y"), self.rate)

    @property
    def joints(self) -> tuple[str, ...]:
        """See `Controller.joints`."""
        return pusher.JOINTS

    def target(self, previous: Array, action: Array) -> Array:
        """See `Controller.target`."""
        xp = array_namespace(previous, action)
        low, high = (xp.asarray(np.asarray(end), dtype=previous.dtype) for end in (pusher.JOINT_LOW, pusher.JOINT_HIGH))
        return xp.minimum(xp.maximum(previous + self.step * action, low), high)

    def action(self, previous: Array, target: Array) -> Array:
        """See `Controller.action`."""
        return _unit(array_namespace(previous, target), (target - previous) / self.step)


CONTROLLERS: Mapping[str, type[CartesianDelta] | type[JointDelta] | type[JointAbsolute] | type[PlanarDelta]] = {
    "cartesian_delta": CartesianDelta,
    "joint_delta": JointDelta,
    "joint_absolute": JointAbsolute,
    "planar_delta": PlanarDelta,
}


def controller(name: str, rate: float = 10.0) -> Controller:
    """The controller of that name; raises `EmbodiedError` naming those there are."""
    if name not in CONTROLLERS:
        raise unknown("action mode", name, CONTROLLERS)
    return CONTROLLERS[name](rate=rate)


OWN = "own"
"""What a controller without a name of its own is recorded as: the robot's."""


def targets(control: Controller, start: Array, actions: Array) -> Array:
    """The joint targets `[*B T J]` of a whole plan `[*B T A]`, from the command `start` `[*B J]`."""
    xp = array_namespace(start, actions)
    planned = []
    for step in range(actions.shape[-2]):
        start = control.target(start, actions[..., step, :])
        planned.append(start)
    return xp.stack(planned, axis=-2)


def check_action(action: Array, spec: ActionSpec, worlds: int) -> Array:
    """The action as float64 `[N A]`, clipped to the spec; raises `EmbodiedError` on a wrong shape or a NaN."""
    array = action_numbers(action)
    if array.shape != (worlds, spec.size):
        raise EmbodiedError(
            f"An action of shape {array.shape} was given; {worlds} worlds with {', '.join(spec.names)} need "
            f"{(worlds, spec.size)}."
        )
    finite = np.isfinite(array)
    if not finite.all():
        world, component = (int(index) for index in np.argwhere(~finite)[0])
        raise EmbodiedError(
            f"The action of world {world} has {spec.names[component]} = {array[world, component]}; "
            "actions must be finite. Nothing was stepped."
        )
    # Not `np.clip`, which costs a single world three times as much.
    return np.minimum(np.maximum(array, spec.low), spec.high)


def action_numbers(action: Array) -> Array:
    """The action as float64, whatever its shape; raises `EmbodiedError` where it is no array of numbers."""
    try:
        return np.asarray(action, dtype=np.float64)
    except (TypeError, ValueError):
        raise EmbodiedError(f"An action {action!r} was given; actions are arrays of numbers.") from None


def _normalised(names: tuple[str, ...], rate: float) -> ActionSpec:
    if not 0.0 < rate < math.inf:
        raise EmbodiedError(f"A rate of {rate} Hz was given; control needs a positive one.")
    size = len(names)
    return ActionSpec(names=names, units=("1",) * size, low=-np.ones(size), high=np.ones(size), rate=rate)


def _between(low: Array, high: Array, action: Array) -> Array:
    return low + (high - low) * 0.5 * (action + 1.0)


def _share(low: Array, high: Array, value: Array) -> Array:
    """What `_between` was given."""
    return 2.0 * (value - low) / (high - low) - 1.0


def _unit(xp: Array, action: Array) -> Array:
    return xp.clip(action, -1.0, 1.0)
