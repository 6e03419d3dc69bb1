"""Goals: conjunctions of spatial literals such as `near(red_cube, target, 0.02) & ~touching(gripper, red_cube)`.

A goal is a value: it parses from text, prints to the same text, and gives exact signed margins on numpy and torch
states. The meaning of each predicate is in `envs.predicates`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from array_api_compat import array_namespace

from envs.errors import EmbodiedError, unknown
from envs.predicates import PREDICATES, Frames, Predicate, View
from envs.text import Call, check_parentheses, is_name, parse_call, parse_number, print_number
from envs.types import Array, ObjectState

ABSENT_MARGIN = -10.0
"""Margin of a literal, negated or not, one of whose objects is absent [m or rad]: below anything a tabletop can give,
yet finite, so that sums, means and gradients stay so."""

WORLD_FRAMES = ("world", "robot")
"""Names of the world frame; the robot's base is its origin."""


@dataclass(frozen=True)
class Literal:
    """One predicate applied to objects, perhaps negated, perhaps in a frame other than world."""

    predicate: str
    arguments: tuple[str, ...]
    parameters: tuple[float, ...] = ()
    """All numbers of the predicate in order; those left off at the end take their defaults."""
    frame: str = "world"
    """`world`, `robot`, an object's name, or a name among the `frames` given to `margin`; x is forward, y is left."""
    negated: bool = False

    def __post_init__(self) -> None:
        if self.predicate not in PREDICATES:
            raise unknown("predicate", self.predicate, PREDICATES)
        predicate = self.meaning
        least, most = len(predicate.required), len(predicate.required) + len(predicate.optional)
        if len(self.arguments) != len(predicate.arguments) or not least <= len(self.parameters) <= most:
            given = ", ".join([*self.arguments, *map(print_number, self.parameters)])
            right = predicate.signature(self.predicate)
            raise EmbodiedError(f"Wrong number of arguments: write {right}, not {self.predicate}({given}).")
        if self.frame != "world" and not predicate.framed:
            raise EmbodiedError(f"{self.predicate!r} takes no frame: write {predicate.signature(self.predicate)}.")
        if self.predicate != "at" and any(value < 0 for value in self.parameters):
            name, value = predicate.optional[0][0], self.parameters[0]
            raise EmbodiedError(f"{name!r} of {self.predicate!r} must not be negative, got {print_number(value)}.")
        defaults = tuple(value for _, value in predicate.optional)
        complete = self.parameters + defaults[len(self.parameters) - least :]
        object.__setattr__(self, "parameters", tuple(float(value) for value in complete))

    @property
    def meaning(self) -> Predicate:
        """The predicate's definition."""
        return PREDICATES[self.predicate]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read one literal, e.g. `~near(red_cube, target, 0.02)`; raises `EmbodiedError` with what to write instead."""
        text = text.strip()
        negated = text.startswith("~")
        call = parse_call(text.removeprefix("~"))
        if call.name not in PREDICATES:
            raise unknown("predicate", call.name, PREDICATES)
        predicate = PREDICATES[call.name]
        numbers = [*predicate.required, *(name for name, _ in predicate.optional)]
        count = len(predicate.arguments)
        objects, positional = call.positional[:count], call.positional[count:]
        keywords = dict(call.keywords)
        frame = keywords.pop("frame", "world")
        wrong = len(objects) < count or len(positional) > len(numbers)
        wrong = wrong or any(not is_name(name) for name in (*objects, frame))
        if wrong:
            raise EmbodiedError(f"Wrong arguments in {call.text!r}: write {predicate.signature(call.name)}.")
        parameters = _numbers(call, predicate, numbers, positional, keywords)
        return cls(call.name, objects, parameters, frame, negated)

    def __str__(self) -> str:
        predicate = self.meaning
        words = [*self.arguments]
        least = len(predicate.required)
        words += [print_number(value) for value in self.parameters[:least]]
        for (name, default), value in zip(predicate.optional, self.parameters[least:], strict=True):
            if value != default:
                words.append(f"{name}={print_number(value)}" if least else print_number(value))
        if self.frame != "world":
            words.append(f"frame={self.frame}")
        return f"{'~' if self.negated else ''}{self.predicate}({', '.join(words)})"

    def margin(self, state: ObjectState, frames: Frames | None = None) -> Array:
        """Signed margin `[*B]` [m or rad], positive where the literal holds; `ABSENT_MARGIN` where an object is absent.

        A negated literal's margin is minus the plain one's. `frames` holds poses `[*B 7]` of named frames. Raises
        `EmbodiedError` for an unknown object or frame.
        """
        return self._margin(View(state), frames or {})

    def _margin(self, view: View, frames: Frames) -> Array:
        state = view.state
        needed = [state.index(name) for name in self.arguments]
        pose: Array | None = None
        if self.frame not in WORLD_FRAMES:
            pose = self._frame_pose(state, frames)
            if self.frame not in frames:
                needed.append(state.index(self.frame))
        margin = self.meaning.margin(view, self.arguments, self.parameters, pose)
        present = state.present[..., needed[0]]
        for index in needed[1:]:
            present = present & state.present[..., index]
        return view.xp.where(present, -margin if self.negated else margin, ABSENT_MARGIN)

    def _frame_pose(self, state: ObjectState, frames: Frames) -> Array:
        if self.frame in frames:
            return frames[self.frame]
        if self.frame not in state.names:
            raise unknown("frame", self.frame, [*WORLD_FRAMES, *frames, *state.names])
        index = state.index(self.frame)
        position, quaternion = state.position_in_world[..., index, :], state.quaternion_in_world[..., index, :]
        return array_namespace(position).concat([position, quaternion], axis=-1)


@dataclass(frozen=True)
class Goal:
    """A conjunction of literals; it holds where all of them do."""

    literals: tuple[Literal, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "literals", tuple(self.literals))
        if not self.literals:
            raise EmbodiedError("A goal needs at least one literal, such as `near(red_cube, target, 0.02)`.")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read literals joined by `&`; raises `EmbodiedError` with one sentence saying what is wrong."""
        check_parentheses(text)
        return cls(tuple(Literal.parse(part) for part in text.split("&")))

    def __str__(self) -> str:
        return " & ".join(map(str, self.literals))

    @property
    def entities(self) -> tuple[str, ...]:
        """The objects the goal speaks of, each once, in order of mention."""
        return tuple(dict.fromkeys(name for literal in self.literals for name in literal.arguments))

    def check(self, names: Iterable[str], frames: Iterable[str] = ()) -> None:
        """Raise `EmbodiedError` for an object or a frame that is not among `names` (or `frames`)."""
        names = tuple(names)
        known = (*WORLD_FRAMES, *frames, *names)
        for literal in self.literals:
            for name in literal.arguments:
                if name not in names:
                    raise unknown("object", name, names)
            if literal.frame not in known:
                raise unknown("frame", literal.frame, known)

    def margins(self, state: ObjectState, frames: Frames | None = None) -> Array:
        """Signed margins `[*B L]` of the L literals [m or rad]; see `Literal.margin`."""
        return margins(self.literals, state, frames)

    def margin(self, state: ObjectState, frames: Frames | None = None) -> Array:
        """The smallest margin `[*B]`: positive where the goal holds."""
        margins = self.margins(state, frames)
        return array_namespace(margins).min(margins, axis=-1)

    def satisfied(self, state: ObjectState, frames: Frames | None = None) -> Array:
        """Whether every literal's margin is positive, `[*B]` bool."""
        return self.margin(state, frames) > 0


def margins(literals: Iterable[Literal], state: ObjectState, frames: Frames | None = None) -> Array:
    """Signed margins `[*B L]` of L literals [m or rad], what they share computed once."""
    view = View(state)
    return view.xp.stack([literal._margin(view, frames or {}) for literal in literals], axis=-1)


def _numbers(
    call: Call, predicate: Predicate, names: list[str], positional: tuple[str, ...], keywords: dict[str, str]
) -> tuple[float, ...]:
    """The predicate's numbers in order, from positional and named arguments and defaults."""
    values = dict(zip(names, positional, strict=False))
    for key, text in keywords.items():
        if key not in names:
            allowed = [*names, *(["frame"] if predicate.framed else [])]
            raise unknown(f"argument of {call.name!r}", key, allowed)
        if key in values:
            raise EmbodiedError(f"{key!r} is given twice in {call.text!r}.")
        values[key] = text
    missing = [name for name in predicate.required if name not in values]
    if missing:
        raise EmbodiedError(f"{call.text!r} lacks {', '.join(missing)}: write {predicate.signature(call.name)}.")
    defaults = dict(predicate.optional)
    return tuple(parse_number(values[n], repr(n), call.text) if n in values else defaults[n] for n in names)
