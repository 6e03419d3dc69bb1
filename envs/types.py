"""What flows through the house: frozen dataclasses over numpy arrays or torch tensors.

Letters of shapes: `B` batch, `T` time, `H` horizon, `K` entities, `A` action, `P` proprioception, `N` candidates.
SI units throughout. Quaternions are `wxyz`. Frames stand in names. World frame: origin at the arm's base on the table,
x forward, y left, z up; the table's top is z = 0. Every array may carry any leading batch shape `*B`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from enum import IntEnum
from typing import Any, Self

from array_api_compat import array_namespace

from envs.errors import EmbodiedError, unknown

Array = Any
"""A numpy array or a torch tensor; one code serves both through `array_api_compat`."""


class Kind(IntEnum):
    """What an entity is."""

    TABLE = 0
    GRIPPER = 1
    JAW = 2
    BOX = 3
    BIN = 4
    TARGET = 5
    CYLINDER = 6
    PUSHER = 7
    SPHERE = 8
    CAPSULE = 9
    FIXTURE = 10
    COMPOUND = 11
    OBSTACLE = 12


MOVABLE: tuple[Kind, ...] = (Kind.BOX, Kind.CYLINDER, Kind.SPHERE, Kind.CAPSULE, Kind.COMPOUND)
"""Kinds of free bodies: the objects."""


@dataclass(frozen=True)
class ObjectState:
    """The state of all entities, robot parts included.

    Its arrays are numpy or torch, and share the leading shape `*B`.
    """

    names: tuple[str, ...]
    """K entity names, the same in every batch element, e.g. `("table", "gripper", "fixed_jaw", ..., "red_cube")`."""
    position_in_world: Array
    """`[*B K 3]` centre of the entity's box [m]."""
    quaternion_in_world: Array
    """`[*B K 4]` orientation, wxyz."""
    linear_velocity_in_world: Array
    """`[*B K 3]` [m/s]."""
    angular_velocity_in_world: Array
    """`[*B K 3]` [rad/s], in world axes."""
    half_extents: Array
    """`[*B K 3]` half sizes of the entity's box, in its own axes [m]. Of a bin: outer half sizes; of an upright
    cylinder or capsule: radius, radius, half height; of a compound: those of the box around it."""
    kind: Array
    """`[K]` integers, see `Kind`."""
    colour: Array
    """`[*B K 3]` RGB in 0..1."""
    mass: Array
    """`[*B K]` [kg] as declared by the catalogue or by an intervention; not a measurement of the hidden truth."""
    friction: Array
    """`[*B K]` sliding friction coefficient as declared, like `mass`."""
    present: Array
    """`[*B K]` bool; an absent entity's other fields are zero, its quaternion 1 0 0 0."""
    confidence: Array
    """`[*B K]` in 0..1; 1 where the pose is exact (simulator truth), 0 for an absent entity."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The leading batch shape `*B`."""
        return tuple(self.position_in_world.shape[:-2])

    def index(self, name: str) -> int:
        """The index of an entity; raises `EmbodiedError` naming the entities there are."""
        if name not in self.names:
            raise unknown("object", name, self.names)
        return self.names.index(name)

    def map(self, function: Callable[[Array], Array]) -> Self:
        """Apply `function` to every array with a batch shape (all but `names` and `kind`)."""
        changes = {name: function(getattr(self, name)) for name in self._batched()}
        return replace(self, **changes)

    @classmethod
    def stack(cls, states: Sequence[Self], axis: int = 0) -> Self:
        """States of the same entities as one, along a new leading axis; raises `EmbodiedError` where they differ."""
        first = states[0]
        if any(state.names != first.names for state in states):
            raise EmbodiedError("States of different objects were given to be stacked; they must share one scene.")
        xp = array_namespace(first.position_in_world)
        changes = {name: xp.stack([getattr(state, name) for state in states], axis=axis) for name in cls._batched()}
        return replace(first, **changes)

    @classmethod
    def concat(cls, states: Sequence[Self], axis: int = 0) -> Self:
        """States of the same entities one after the other along an axis of `*B`, counted from its first.

        Raises `EmbodiedError` where they are of different entities.
        """
        first = states[0]
        if any(state.names != first.names for state in states):
            raise EmbodiedError("States of different objects were given to be joined; they must share one scene.")
        xp = array_namespace(first.position_in_world)
        changes = {name: xp.concat([getattr(state, name) for state in states], axis=axis) for name in cls._batched()}
        return replace(first, **changes)

    @classmethod
    def _batched(cls) -> list[str]:
        return [f.name for f in fields(cls) if f.name not in ("names", "kind")]

    def __getitem__(self, key: Any) -> Self:
        """Index the leading batch dimensions."""
        return self.map(lambda array: array[key])


@dataclass(frozen=True)
class Observation:
    """What a policy may see: the robot's own sensors, perceived entities and, where cameras are on, images."""

    proprioception: Array
    """`[*B P]`: see `proprioception` for the layout."""
    objects: ObjectState
    time: Array
    """`[*B]` seconds since reset."""
    images: Mapping[str, Array] = field(default_factory=dict)
    """Per camera `[*B h w 3]` uint8 RGB."""

    @classmethod
    def stack(cls, observations: Sequence[Self], axis: int = 0) -> Self:
        """Observations of the same entities as one, along a new leading axis."""
        first = observations[0]
        xp = array_namespace(first.proprioception)
        return replace(
            first,
            proprioception=xp.stack([one.proprioception for one in observations], axis=axis),
            objects=ObjectState.stack([one.objects for one in observations], axis=axis),
            time=xp.stack([one.time for one in observations], axis=axis),
            images={name: xp.stack([one.images[name] for one in observations], axis=axis) for name in first.images},
        )

    @classmethod
    def concat(cls, observations: Sequence[Self], axis: int = 0) -> Self:
        """Observations of the same entities one after the other along an axis of `*B`, counted from its first."""
        first = observations[0]
        xp = array_namespace(first.proprioception)
        return replace(
            first,
            proprioception=xp.concat([one.proprioception for one in observations], axis=axis),
            objects=ObjectState.concat([one.objects for one in observations], axis=axis),
            time=xp.concat([one.time for one in observations], axis=axis),
            images={name: xp.concat([one.images[name] for one in observations], axis=axis) for name in first.images},
        )

    def map(self, function: Callable[[Array], Array]) -> Self:
        """Apply `function` to every array."""
        return replace(
            self,
            proprioception=function(self.proprioception),
            objects=self.objects.map(function),
            time=function(self.time),
            images={name: function(image) for name, image in self.images.items()},
        )

    def __getitem__(self, key: Any) -> Self:
        """Index the leading batch dimensions."""
        return self.map(lambda array: array[key])


def proprioception(size: int) -> Mapping[str, slice]:
    """Layout of an `Observation.proprioception` of P = `size` = 3 J numbers, J the robot's joints.

    Positions, velocities and commanded positions, in [rad] and [rad/s] for hinges, [m] and [m/s] for slides. Raises
    `EmbodiedError` if `size` is no multiple of 3.
    """
    joints, rest = divmod(size, 3)
    if rest or joints < 1:
        raise EmbodiedError(f"Proprioception of {size} numbers was given; position, velocity and target need 3 J.")
    return {
        "joint_position": slice(0, joints),
        "joint_velocity": slice(joints, 2 * joints),
        "joint_target": slice(2 * joints, 3 * joints),
    }


PROPRIOCEPTION: Mapping[str, slice] = proprioception(18)
"""Layout of the SO-101's, P = 18 [rad, rad/s, rad]; joints in LeRobot's order, gripper last."""


@dataclass(frozen=True)
class ActionSpec:
    """Names, units, bounds and rate of an action vector."""

    names: tuple[str, ...]
    units: tuple[str, ...]
    low: Array
    """`[A]` in the given units."""
    high: Array
    """`[A]`."""
    rate: float
    """Control steps per second [Hz]."""

    @property
    def size(self) -> int:
        """A."""
        return len(self.names)
