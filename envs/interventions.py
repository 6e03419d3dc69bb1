"""Interventions: the do-operator as a value that the simulator, the world model and the action stream all understand.

Text form, one line each:

    move(red_cube, x=+0.05, yaw=-0.3)     shift by metres and radians; every number carries its sign
    move(red_cube, to, x=0.2, y=0.1)      put there; axes left out stay
    remove(blue_cube)
    mass(red_cube, 0.3)                   [kg]
    friction(red_cube, 0.2)               sliding coefficient
    size(red_cube, 0.04)                  edge length [m]; or size(red_cube, x=0.04, z=0.02)
    velocity(red_cube, x=0.2, yaw=1)      [m/s], [rad/s]; components left out stay
    gravity(z=-1.62)                      [m/s^2]; x and y default to 0, z to -9.81
    gain(0.5)                             the servos' position gains times this factor; nothing shows it
    action(hold)                          the robot stops, a gripper keeps its last command
    action(delay, 3)                      actions come this many steps late
    action(scale, 0.5)                    Cartesian or planar deltas times this factor
    action(mirror)                        y and yaw deltas change sign

Any of them takes `t=10`: the step from which it acts (default 0).
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from array_api_compat import array_namespace

from envs.errors import EmbodiedError, unknown
from envs.geometry import half_height, quat_from_yaw, quat_multiply, quat_rotate, yaw_of
from envs.text import is_name, parse_call, parse_number, print_number
from envs.types import MOVABLE, Array, Kind, ObjectState

_POSE = ("x", "y", "z", "yaw")
_AXES = ("x", "y", "z")


@dataclass(frozen=True)
class _Form:
    """What a kind of intervention (and its mode) may say."""

    entity: bool
    """Whether it names an entity."""
    numbers: tuple[str, ...]
    """Names of the numbers it may take."""
    example: str
    single: bool = False
    """Whether it takes exactly one number, written without its name."""
    least: int = 0
    """How many numbers must be given."""
    positive: bool = False
    movable: tuple[Kind, ...] = ()
    """Kinds of entities it applies to."""


_THINGS = (*MOVABLE, Kind.BIN, Kind.TARGET, Kind.OBSTACLE)
_FORMS: Mapping[tuple[str, str], _Form] = {
    ("move", "by"): _Form(True, _POSE, "move(red_cube, x=+0.05)", least=1, movable=_THINGS),
    ("move", "to"): _Form(True, _POSE, "move(red_cube, to, x=0.2, y=0.1)", least=1, movable=_THINGS),
    ("remove", ""): _Form(True, (), "remove(red_cube)", movable=_THINGS),
    ("mass", ""): _Form(True, ("value",), "mass(red_cube, 0.3)", True, 1, True, MOVABLE),
    ("friction", ""): _Form(
        True,
        ("value",),
        "friction(red_cube, 0.2)",
        True,
        1,
        True,
        (*MOVABLE, Kind.BIN, Kind.OBSTACLE, Kind.TABLE, Kind.JAW, Kind.PUSHER),
    ),
    ("size", ""): _Form(True, _AXES, "size(red_cube, 0.04)", least=1, positive=True, movable=MOVABLE),
    ("velocity", ""): _Form(True, _POSE, "velocity(red_cube, x=0.2)", least=1, movable=MOVABLE),
    ("gravity", ""): _Form(False, _AXES, "gravity(z=-1.62)", least=1),
    ("gain", ""): _Form(False, ("factor",), "gain(0.5)", True, 1, True),
    ("action", "hold"): _Form(False, (), "action(hold, t=10)"),
    ("action", "delay"): _Form(False, ("steps",), "action(delay, 3)", True, 1, True),
    ("action", "scale"): _Form(False, ("factor",), "action(scale, 0.5)", True, 1),
    ("action", "mirror"): _Form(False, (), "action(mirror)"),
}
KINDS = tuple(dict.fromkeys(kind for kind, _ in _FORMS))
_DEFAULT_GRAVITY = {"x": 0.0, "y": 0.0, "z": -9.81}


@dataclass(frozen=True)
class Intervention:
    """One change to the world or to the stream of actions; the module's docstring lists the forms.

    Raises `EmbodiedError` when built with an unknown kind or mode, or with numbers that the kind does not take.
    """

    kind: str
    entity: str | None = None
    """The entity it acts on; None for `gravity`, `gain` and `action`."""
    parameters: Mapping[str, float] | tuple[tuple[str, float], ...] = ()
    """Numbers by name; kept as pairs in the order of the kind's form."""
    step: int = 0
    """The control step from which it acts, counted from the start of the plan or episode."""
    mode: str = ""
    """`by` (default) or `to` of a move; `hold`, `delay`, `scale` or `mirror` of an action."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise unknown("intervention", self.kind, KINDS)
        if self.kind == "move" and not self.mode:
            object.__setattr__(self, "mode", "by")
        if (self.kind, self.mode) not in _FORMS:
            modes = [mode for kind, mode in _FORMS if kind == self.kind]
            if modes == [""]:
                raise EmbodiedError(f"{self.kind!r} takes no word {self.mode!r}: write {self._form_of_kind().example}.")
            raise unknown(f"kind of {self.kind!r}", self.mode, modes)
        form = self._form
        values = dict(self.parameters)
        for name in values:
            if name not in form.numbers:
                raise EmbodiedError(
                    f"{self.kind!r} does not take {name!r}; it takes {', '.join(form.numbers) or 'no number'}, "
                    f"as in {form.example}."
                )
        if len(values) < form.least or form.entity != (self.entity is not None):
            raise EmbodiedError(f"{self.kind!r} is incomplete or has an object too many: write {form.example}.")
        if not all(math.isfinite(value) for value in values.values()):
            raise EmbodiedError(f"The numbers of {self.kind!r} must be finite, got {values}.")
        if form.positive and any(value < 0 or (value == 0 and self.kind != "friction") for value in values.values()):
            raise EmbodiedError(f"{self.kind!r} needs a positive number, as in {form.example}; got {values}.")
        if self.mode == "delay" and values["steps"] != int(values["steps"]):
            raise EmbodiedError(f"A delay is a whole number of steps, got {values['steps']:g}.")
        if self.step < 0:
            raise EmbodiedError(f"The step t of an intervention must not be negative, got {self.step}.")
        ordered = tuple((name, float(values[name])) for name in form.numbers if name in values)
        object.__setattr__(self, "parameters", ordered)

    @property
    def values(self) -> dict[str, float]:
        """The numbers by name."""
        return dict(self.parameters)

    @property
    def gravity(self) -> tuple[float, float, float]:
        """Of a `gravity` intervention, the whole vector in world [m/s^2]."""
        merged = _DEFAULT_GRAVITY | self.values
        return merged["x"], merged["y"], merged["z"]

    @property
    def _form(self) -> _Form:
        return _FORMS[self.kind, self.mode]

    def _form_of_kind(self) -> _Form:
        return next(form for (kind, _), form in _FORMS.items() if kind == self.kind)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read one intervention; raises `EmbodiedError` with one sentence saying what to write instead."""
        call = parse_call(text)
        if call.name not in KINDS:
            raise unknown("intervention", call.name, KINDS)
        words = list(call.positional)
        keywords = dict(call.keywords)
        step = parse_number(keywords.pop("t", "0"), "t", call.text)
        if step != int(step):
            raise EmbodiedError(f"The step t must be a whole number, got {step:g} in {call.text!r}.")
        form = next(form for (kind, _), form in _FORMS.items() if kind == call.name)
        entity = words.pop(0) if form.entity and words and is_name(words[0]) else None
        mode = words.pop(0) if words and is_name(words[0]) else ""
        form = _FORMS.get((call.name, mode or ("by" if call.name == "move" else "")), form)
        values = {key: _number(call.name, mode, key, text, call.text) for key, text in keywords.items()}
        if len(words) == 1 and not values and (form.single or call.name == "size"):
            names = form.numbers if call.name == "size" else form.numbers[:1]
            values = dict.fromkeys(names, parse_number(words[0], f"The number of {call.name!r}", call.text))
        elif words:
            raise EmbodiedError(f"Too many arguments in {call.text!r}: write {form.example}.")
        return cls(call.name, entity, values, int(step), mode)

    def __str__(self) -> str:
        words = [self.entity] if self.entity is not None else []
        words += [self.mode] if self.mode not in ("", "by") else []
        values = self.values
        if self._form.single:
            words += [print_number(value) for value in values.values()]
        elif self.kind == "size" and len(values) == len(_AXES) and len(set(values.values())) == 1:
            words.append(print_number(values["x"]))
        else:
            words += [f"{name}={print_number(value, signed=self.mode == 'by')}" for name, value in values.items()]
        words += [f"t={self.step}"] if self.step else []
        return f"{self.kind}({', '.join(words)})"

    def check(self, names: Iterable[str], kinds: Iterable[int] | None = None) -> None:
        """Raise `EmbodiedError` for an entity not among `names`, or of a kind this cannot act on (robot, table).

        A cylinder cannot be given different sizes in x and y.
        """
        if self.entity is None:
            return
        names = tuple(names)
        if self.entity not in names:
            raise unknown("object", self.entity, names)
        if kinds is not None:
            by_name = dict(zip(names, kinds, strict=True))
            if int(by_name[self.entity]) not in self._form.movable:
                able = [name for name in names if int(by_name[name]) in self._form.movable]
                raise EmbodiedError(
                    f"{self.kind!r} cannot act on {self.entity!r}; it can on {', '.join(able) or 'nothing here'}."
                )
            round_one = self.kind == "size" and int(by_name[self.entity]) == Kind.CYLINDER
            if round_one and self.values.get("x") != self.values.get("y"):
                raise EmbodiedError(
                    f"{self} would make an oval of the cylinder {self.entity!r}: give x and y the same size, as in "
                    f"size({self.entity}, x=0.04, y=0.04)."
                )


def _number(kind: str, mode: str, key: str, text: str, whole: str) -> float:
    value = parse_number(text, repr(key), whole)
    if kind == "move" and mode != "to" and text[0] not in "+-":
        raise EmbodiedError(
            f"{key}={text} in {whole!r} could mean two things: write {key}=+{text} to shift by it, or "
            f"move(..., to, {key}={text}) to put it there."
        )
    return value


def apply_to_state(intervention: Intervention, state: ObjectState, time_axis: int | None = None) -> ObjectState:
    """The state after the intervention, as numpy or torch like `state`; other entities keep their bits.

    A whole history window `[... T ... K 3]` is edited alike, so that velocities seen as differences stay what they are:
    every frame is shifted and turned by the same amount. Where the amount depends on the pose (`to`, `size`), the pose
    at the last index of `time_axis` (an axis of `*B`) decides; with None every batch element decides for itself.

    A turn by yaw is about the object's own centre; it keeps the velocity in world and turns the spin with the object. A
    resized box keeps its lowest point. `gravity`, `gain` and `action` leave the state alone. Raises
    `EmbodiedError` for an unknown entity, or one the kind cannot act on; does nothing where the entity is absent.
    """
    if intervention.entity is None:
        return state
    intervention.check(state.names, state.kind)
    index = state.index(intervention.entity)
    values = intervention.values
    changes: dict[str, Array] = {}
    if intervention.kind == "move":
        changes = _moved(intervention, state, index, time_axis)
    elif intervention.kind == "remove":
        changes = _removed(state, index)
    elif intervention.kind in ("mass", "friction"):
        old = getattr(state, intervention.kind)[..., index]
        changes = {intervention.kind: _filled(old, values["value"])}
    elif intervention.kind == "velocity":
        linear, spin = state.linear_velocity_in_world[..., index, :], state.angular_velocity_in_world[..., index, :]
        changes["linear_velocity_in_world"] = _with_components(linear, {a: values[a] for a in _AXES if a in values})
        changes["angular_velocity_in_world"] = _with_components(spin, {"z": values["yaw"]} if "yaw" in values else {})
    elif intervention.kind == "size":
        changes = _resized(values, state, index, time_axis)
    present = state.present[..., index]
    return replace(state, **{name: _put(getattr(state, name), index, new, present) for name, new in changes.items()})


def _moved(intervention: Intervention, state: ObjectState, index: int, time_axis: int | None) -> dict[str, Array]:
    values = intervention.values
    position, quaternion = state.position_in_world[..., index, :], state.quaternion_in_world[..., index, :]
    xp = array_namespace(position)
    shift = xp.zeros_like(position)
    for axis, name in enumerate(_AXES):
        if name in values:
            now = _last(position, time_axis)[..., axis] if intervention.mode == "to" else 0.0
            shift[..., axis] = values[name] - now
    changes = {"position_in_world": position + shift}
    if "yaw" in values:
        now = yaw_of(_last(quaternion, time_axis)) if intervention.mode == "to" else xp.zeros_like(position[..., 0])
        turn = quat_from_yaw(values["yaw"] - now)
        changes["quaternion_in_world"] = quat_multiply(turn, quaternion)
        spin = state.angular_velocity_in_world[..., index, :]
        changes["angular_velocity_in_world"] = quat_rotate(turn, spin)
    return changes


def _resized(values: dict[str, float], state: ObjectState, index: int, time_axis: int | None) -> dict[str, Array]:
    half = state.half_extents[..., index, :]
    position, quaternion = state.position_in_world[..., index, :], state.quaternion_in_world[..., index, :]
    sized = _with_components(half, {axis: value / 2 for axis, value in values.items()})
    last = _last(quaternion, time_axis)
    xp = array_namespace(position)
    rise = xp.zeros_like(position)
    rise[..., 2] = half_height(last, sized) - half_height(last, half)
    return {"half_extents": sized, "position_in_world": position + rise}


def _removed(state: ObjectState, index: int) -> dict[str, Array]:
    xp = array_namespace(state.position_in_world)
    changes = {}
    names = ("position_in_world", "linear_velocity_in_world", "angular_velocity_in_world", "half_extents", "colour")
    for name in names:
        changes[name] = xp.zeros_like(getattr(state, name)[..., index, :])
    for name in ("mass", "friction", "confidence", "present"):
        changes[name] = xp.zeros_like(getattr(state, name)[..., index])
    identity = xp.zeros_like(state.quaternion_in_world[..., index, :])
    identity[..., 0] = 1.0
    return changes | {"quaternion_in_world": identity}


def _put(array: Array, index: int, new: Array, present: Array) -> Array:
    """A copy of `array` `[*B K ...]` with entity `index` set to `new` where it is present."""
    xp = array_namespace(array)
    array = xp.asarray(array, copy=True)
    where = present[..., None] if new.ndim > present.ndim else present
    if new.ndim > present.ndim:
        array[..., index, :] = xp.where(where, new, array[..., index, :])
    else:
        array[..., index] = xp.where(where, new, array[..., index])
    return array


def _last(array: Array, time_axis: int | None) -> Array:
    """The last frame along an axis of `*B`, repeated over it by broadcasting."""
    if time_axis is None:
        return array
    xp = array_namespace(array)
    axis = time_axis if time_axis >= 0 else array.ndim - 1 + time_axis
    key: list[Any] = [slice(None)] * array.ndim
    key[axis] = slice(array.shape[axis] - 1, None)
    return xp.broadcast_to(array[tuple(key)], tuple(array.shape))


def _filled(array: Array, value: float) -> Array:
    return array_namespace(array).full_like(array, value)


def _with_components(array: Array, values: Mapping[str, float]) -> Array:
    changed = array_namespace(array).asarray(array, copy=True)
    for name, value in values.items():
        changed[..., _AXES.index(name)] = value
    return changed


def edit_actions(intervention: Intervention, actions: Array, previous: Array | None = None) -> Array:
    """The actions `[*B T A]` that arrive once an `action` intervention acts; other kinds change nothing.

    The layout is that of the Cartesian control mode: deltas x, y, z and yaw, then the gripper's absolute target, all
    in -1..1; or of two numbers, the planar mode's x and y. Actions before the intervention's step stay bit for bit.
    `previous` `[*B A]` is the action before the first one, whose gripper target is kept where an edit acts from step 0;
    without it, the first action's is.
    """
    start = intervention.step
    if intervention.kind != "action" or start >= actions.shape[-2]:
        return actions
    xp = array_namespace(actions)
    before, after = actions[..., :start, :], actions[..., start:, :]
    if intervention.mode == "hold":
        after = xp.broadcast_to(_held(actions, previous, start), tuple(after.shape))
    elif intervention.mode == "delay":
        late = min(int(intervention.values["steps"]), int(after.shape[-2]))
        waiting = _held(actions, previous, start)
        waiting = xp.broadcast_to(waiting, (*after.shape[:-2], late, after.shape[-1]))
        after = xp.concat([waiting, after[..., : after.shape[-2] - late, :]], axis=-2)
    else:
        factors = xp.ones_like(after)
        deltas = after.shape[-1] if _is_planar(after) else after.shape[-1] - 1
        if intervention.mode == "scale":
            factors[..., :deltas] = intervention.values["factor"]
        else:
            factors[..., 1:deltas:2] = -1.0
        after = xp.clip(after * factors, -1.0, 1.0)
    return xp.concat([before, after], axis=-2)


def _held(actions: Array, previous: Array | None, start: int) -> Array:
    """`[*B 1 A]`: no motion, a gripper's last target."""
    xp = array_namespace(actions)
    first = actions[..., :1, :] if previous is None else previous[..., None, :]
    last = actions[..., start - 1 : start, :] if start else first
    held = xp.zeros_like(last)
    if not _is_planar(actions):
        held[..., -1] = last[..., -1]
    return held


def _is_planar(actions: Array) -> bool:
    return int(actions.shape[-1]) == 2
