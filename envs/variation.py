"""The factors of variation: one typed, seeded space of how worlds differ in physics, looks and layout.

A world is a point in a unit cube, of which every factor owns some coordinates. They are drawn whatever the ranges are:
narrowing, setting or freezing one factor leaves what all others say as it was, and the same seed gives the same world.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import numpy as np

from envs.errors import EmbodiedError, unknown
from envs.parameters import Parameters
from envs.scene import Scene
from envs.text import parse_number, print_number
from envs.types import Array

Range = tuple[float, float]

_STREAM = 0x76617279
"""Behind a beginning's own numbers: seeds the stream that factors are drawn from, which no layout reads."""
Group = Literal["physical", "visual"]
Per = Literal["object", "surface", "joint", "camera", "world"]


@dataclass(frozen=True)
class Factor:
    """What one factor says, and in which numbers."""

    group: Group
    per: Per
    """Drawn independently for each of these."""
    unit: str
    nominal: float
    """The world as compiled."""
    wide: Range
    """What it is measured over unless said otherwise."""
    least: float
    most: float
    log: bool = False
    """Log-uniform instead of uniform."""
    numbers: int = 1
    """Drawn for each, e.g. one per axis."""


def _times(group: Group, per: Per, wide: Range) -> Factor:
    """A factor on the nominal."""
    return Factor(group, per, "1", 1.0, wide, 1e-3, 1e3, log=True)


def _plus(group: Group, per: Per, unit: str, wide: Range, least: float, most: float, numbers: int = 1) -> Factor:
    """Something that is nominally zero."""
    return Factor(group, per, unit, 0.0, wide, least, most, numbers=numbers)


FACTORS: Mapping[str, Factor] = {
    "mass": _times("physical", "object", (0.5, 2.0)),
    "friction": _times("physical", "object", (0.5, 2.0)),
    "size": _times("physical", "object", (0.85, 1.15)),
    "surface_friction": _times("physical", "surface", (0.5, 2.0)),
    "servo_gain": _times("physical", "joint", (0.5, 2.0)),
    "servo_damping": _times("physical", "joint", (0.5, 2.0)),
    "servo_friction": _plus("physical", "joint", "N m", (0.0, 0.1), 0.0, 10.0),
    "servo_delay": _plus("physical", "world", "s", (0.0, 0.06), 0.0, 0.5),
    "backlash": _plus("physical", "joint", "rad", (0.0, 0.02), 0.0, 0.5),
    "gravity": _times("physical", "world", (0.9, 1.1)),
    "tilt": _plus("physical", "world", "rad", (-0.05, 0.05), -0.5, 0.5, numbers=2),
    "centre_of_mass": _plus("physical", "object", "1", (-0.5, 0.5), -0.99, 0.99, numbers=2),
    "colour": _plus("visual", "object", "1", (-1.0, 1.0), -1.0, 1.0, numbers=3),
    "table_colour": _plus("visual", "world", "1", (-0.25, 0.25), -1.0, 1.0, numbers=3),
    "robot_colour": _plus("visual", "world", "1", (-0.25, 0.25), -1.0, 1.0, numbers=3),
    "texture": _plus("visual", "world", "1", (0.0, 0.4), 0.0, 1.0),
    "light_turn": _plus("visual", "world", "rad", (-np.pi, np.pi), -np.pi, np.pi),
    "light_lean": _plus("visual", "world", "rad", (0.0, 0.5), 0.0, 1.0),
    "exposure": _times("visual", "world", (0.6, 1.5)),
    "camera_position": _plus("visual", "camera", "m", (-0.01, 0.01), -0.5, 0.5, numbers=3),
    "camera_turn": _plus("visual", "camera", "rad", (-0.03, 0.03), -0.5, 0.5, numbers=3),
}
"""Every factor but the layout, by name; what each says is said in `Variation`."""


@dataclass(frozen=True)
class Variation:
    """A range for each factor; by default every one is frozen at its nominal value. `FACTORS` has their units."""

    mass: Range = (1.0, 1.0)
    """Of each object, as a factor."""
    friction: Range = (1.0, 1.0)
    """Sliding friction of each object, as a factor."""
    size: Range = (1.0, 1.0)
    """One factor per object for all three sides; its mass stays."""
    surface_friction: Range = (1.0, 1.0)
    """Of everything that is not an object: table, jaws, bin; as a factor."""
    servo_gain: Range = (1.0, 1.0)
    """The servo's position gain, as a factor."""
    servo_damping: Range = (1.0, 1.0)
    """The joint's passive damping and the servo's own, as a factor."""
    servo_friction: Range = (0.0, 0.0)
    """Dry friction in the joint, on top of the servo's own."""
    servo_delay: Range = (0.0, 0.0)
    """From command to servo, instead of the servo's own."""
    backlash: Range = (0.0, 0.0)
    """Play between servo and joint, both ways together."""
    gravity: Range = (1.0, 1.0)
    """Its strength, as a factor."""
    tilt: Range = (0.0, 0.0)
    """Of the table, with all that stands on it, about x and about y."""
    centre_of_mass: Range = (0.0, 0.0)
    """Off the object's centre along x and y, as a share of its half extents. In scenes with a pusher only."""
    colour: Range = (0.0, 0.0)
    """Hue, saturation and brightness of each object within what its name says; the ends are +-1."""
    table_colour: Range = (0.0, 0.0)
    """Added to red, green and blue of table and floor."""
    robot_colour: Range = (0.0, 0.0)
    """Added to red, green and blue of the robot."""
    texture: Range = (0.0, 0.0)
    """Contrast of a grain on the table."""
    light_turn: Range = (0.0, 0.0)
    """The lamp about the vertical."""
    light_lean: Range = (0.0, 0.0)
    """The lamp towards the robot's left."""
    exposure: Range = (1.0, 1.0)
    """Light on the sensor, as a factor."""
    camera_position: Range = (0.0, 0.0)
    """Off its place, along its own axes: right, up, back."""
    camera_turn: Range = (0.0, 0.0)
    """Off its orientation, about its own axes."""
    layout: int | None = None
    """Which of the task's beginnings all worlds have; None: the one of their own seed."""

    def __post_init__(self) -> None:
        """Raise `EmbodiedError` for ranges that are not ordered or leave what a factor can be."""
        for name, factor in FACTORS.items():
            given = getattr(self, name)
            try:
                low, high = given
                ordered = factor.least <= low <= high <= factor.most
            except (TypeError, ValueError):
                raise EmbodiedError(f"Variation {name} = {given!r}: give a range, such as {factor.wide}.") from None
            if not ordered:
                raise EmbodiedError(
                    f"Variation {name} = ({low}, {high}): a range needs {factor.least:g} <= low <= high <= "
                    f"{factor.most:g}."
                )
        if self.layout is not None:
            number = isinstance(self.layout, int | float | np.number)
            if not number or not 0 <= self.layout < np.inf or int(self.layout) != self.layout:
                raise EmbodiedError(f"Variation layout = {self.layout!r}: a layout is a seed, an integer from 0 on.")
            object.__setattr__(self, "layout", int(self.layout))

    @classmethod
    def wide(cls, *names: str) -> Self:
        """The factors of those names, or all of those groups, over their usual range; the others frozen.

        Raises `EmbodiedError` for an unknown name.
        """
        return cls(**{name: FACTORS[name].wide for given in names for name in _members(given)})  # type: ignore[arg-type]

    @classmethod
    def of(cls, given: "Variation | str | None") -> "Variation":
        """What was given, or what words for `parse` say; nothing varies by None. Raises `EmbodiedError` for others."""
        if isinstance(given, str):
            return cls.parse(given)
        if not isinstance(given, Variation | None):
            raise EmbodiedError(f"variation={given!r} was given; give a Variation, or words such as 'mass=0.5..2'.")
        return given or cls()

    @classmethod
    def parse(cls, text: str) -> Self:
        """From words such as `mass=0.5..2, tilt=0.02, visual, layout=7`: a range, a value, or the usual range.

        Raises `EmbodiedError` for an unknown name or what is no number; `str` is the inverse.
        """
        ranges: dict[str, Any] = {}
        for word in (word.strip() for word in text.split(",") if word.strip()):
            name, equals, value = (part.strip() for part in word.partition("="))
            if not equals:
                ranges |= {member: FACTORS[member].wide for member in _members(name)}
            elif name == "layout":
                ranges[name] = parse_number(value, "A layout", word)
            elif name not in FACTORS:
                raise unknown("factor", name, (*FACTORS, "layout"))
            else:
                low, dots, high = value.partition("..")
                first = parse_number(low, f"Factor {name}", word)
                ranges[name] = (first, parse_number(high, f"Factor {name}", word) if dots else first)
        return cls(**ranges)

    def __str__(self) -> str:
        """The words for `parse`."""
        words = []
        for name in self.varied:
            low, high = getattr(self, name)
            words.append(f"{name}={print_number(low)}" + (f"..{print_number(high)}" if high > low else ""))
        return ", ".join(words + ([] if self.layout is None else [f"layout={self.layout}"]))

    def fixed(self, values: Mapping[str, float | None]) -> Self:
        """The same, but for factors set to a value, or frozen at their nominal one by None.

        A layout frozen by None is that of seed 0. Raises `EmbodiedError` for an unknown name or an impossible value.
        """
        if not isinstance(values, Mapping):
            raise EmbodiedError(f"Factors {values!r} were given; give values by name, such as {{'mass': 1.5}}.")
        changes: dict[str, Any] = {}
        for name, value in values.items():
            if name == "layout":
                changes[name] = 0 if value is None else value
            elif name not in FACTORS:
                raise unknown("factor", name, (*FACTORS, "layout"))
            elif value is not None and not isinstance(value, int | float | np.number):
                raise EmbodiedError(f"Factor {name} was given {value!r}; it is set by a number, or frozen by None.")
            else:
                chosen = FACTORS[name].nominal if value is None else float(value)
                changes[name] = (chosen, chosen)
        return replace(self, **changes)

    @property
    def varied(self) -> tuple[str, ...]:
        """Factors that are not frozen at their nominal value."""
        return tuple(name for name, factor in FACTORS.items() if getattr(self, name) != (factor.nominal,) * 2)

    def draw(self, many: Mapping[str, int], share: Array) -> dict[str, Array]:
        """Values `[n many numbers]` of the factors in `varied`, by name, at points `share` `[n V]` of the unit cube.

        `many` says how many objects, joints, ... there are, see `count`; V is `coordinates(many)`.
        """
        values, start, varied = {}, 0, self.varied
        for name, factor in FACTORS.items():
            shape = (many[factor.per], factor.numbers)
            stop = start + shape[0] * shape[1]
            if name in varied:
                low, high = getattr(self, name)
                own = share[:, start:stop].reshape(len(share), *shape)
                values[name] = low * (high / low) ** own if factor.log else low + (high - low) * own
            start = stop
        return values

    def sample(self, nominal: Parameters, generator: np.random.Generator) -> Parameters:
        """One draw of the physics of every world of `nominal`; the same generator state gives the same worlds."""
        worlds, objects = nominal.mass.shape
        many = {"object": objects, "surface": nominal.friction.shape[1] - objects, "camera": 0, "world": 1,
                "joint": nominal.servo_gain.shape[1]}  # fmt: skip
        return physics(nominal, self.draw(many, generator.random((worlds, coordinates(many)))))


def _members(name: str) -> tuple[str, ...]:
    """The factors that a name or a group's name stands for; `all` is every one that an arm's scene can have."""
    if name in FACTORS:
        return (name,)
    if name not in ("all", "physical", "visual"):
        raise unknown("factor or group", name, (*FACTORS, "all", "physical", "visual"))
    groups = ("physical", "visual") if name == "all" else (name,)
    return tuple(each for each, factor in FACTORS.items() if factor.group in groups and each != "centre_of_mass")


def count(scene: Scene) -> dict[str, int]:
    """How many there are in a scene of what factors are drawn for."""
    objects = len(scene.objects)
    return {"object": objects, "surface": len(scene.names) - objects, "joint": len(scene.joints),
            "camera": int(scene.model.ncam), "world": 1}  # fmt: skip


def coordinates(many: Mapping[str, int]) -> int:
    """The number of coordinates of the unit cube, V."""
    return sum(many[factor.per] * factor.numbers for factor in FACTORS.values())


def drawn(variation: Variation, many: Mapping[str, int], beginnings: Sequence[tuple[int, ...]]) -> dict[str, Array]:
    """Values like `Variation.draw`'s for worlds whose episodes are seeded by `beginnings`; {} where nothing varies."""
    if not variation.varied:
        return {}
    streams = (np.random.default_rng((*beginning, _STREAM)) for beginning in beginnings)
    return variation.draw(many, np.stack([stream.random(coordinates(many)) for stream in streams]))


def physics(nominal: Parameters, values: Mapping[str, Array]) -> Parameters:
    """The true physics of worlds with those factors, from what `Variation.draw` gives; visual ones change nothing."""
    changes: dict[str, Array] = {}
    for name in ("mass", "servo_gain", "servo_damping"):
        if name in values:
            changes[name] = getattr(nominal, name) * values[name][..., 0]
    for name in ("servo_friction", "backlash"):
        if name in values:
            changes[name] = getattr(nominal, name) + values[name][..., 0]
    if "servo_delay" in values:
        changes["servo_delay"] = values["servo_delay"][:, 0, 0]
    if "size" in values:
        changes["half_extents"] = nominal.half_extents * values["size"]
    if "friction" in values or "surface_friction" in values:
        surfaces = nominal.friction.shape[1] - nominal.mass.shape[1]
        parts = np.split(nominal.friction, [surfaces], axis=1)
        for i, name in enumerate(("surface_friction", "friction")):
            parts[i] = parts[i] * values[name][..., 0] if name in values else parts[i]
        changes["friction"] = np.concatenate(parts, axis=1)
    if "gravity" in values or "tilt" in values:
        strength = values.get("gravity", np.ones((nominal.worlds, 1, 1)))[:, 0]
        changes["gravity"] = strength * _tilted(nominal.gravity, values.get("tilt"))
    if "centre_of_mass" in values:
        share = np.concatenate([values["centre_of_mass"], np.zeros_like(values["centre_of_mass"][..., :1])], axis=-1)
        changes["centre_of_mass"] = nominal.centre_of_mass + share * changes.get("half_extents", nominal.half_extents)
    return replace(nominal, **changes)


def _tilted(gravity: Array, tilt: Array | None) -> Array:
    """Gravity `[n 3]` as it is seen from a table that is turned by `tilt` `[n 1 2]` about x, then about y [rad]."""
    if tilt is None:
        return gravity
    (ca, sa), (cb, sb) = ((np.cos(angle), np.sin(angle)) for angle in (tilt[:, 0, 0], tilt[:, 0, 1]))
    x, y, z = gravity.T
    x, z = cb * x - sb * z, sb * x + cb * z
    y, z = ca * y + sa * z, -sa * y + ca * z
    return np.stack([x, y, z], axis=1)
