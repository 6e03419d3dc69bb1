"""What is asked of an instant: one or two edits of the world, or other actions; drawn kind by kind."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from embodied.evaluation.contexts import Contexts
from envs import interventions
from envs.errors import EmbodiedError, unknown
from envs.interventions import Intervention

SHIFT = (0.02, 0.06)
"""[m] How far `move` puts an object aside: a fraction of a cube to two cubes."""
FACTOR = (3.0, 5.0)
"""By how much `mass` and `friction` are raised or lowered: less, and chaos hides what it does."""
LIMITS: Mapping[str, tuple[float, float]] = {"mass": (0.01, 0.6), "friction": (0.05, 1.0)}
"""[kg] and coefficients: an edit that would leave these goes the other way. What things of this size weigh, and what
slides on dry ground."""
ACTIONS = ("swap", "hold", "delay", "mirror")
"""Kinds that change what the robot does; `swap` follows the plan of another instant."""
ROBOT_EDITS = (*ACTIONS, "scale", "gain")
"""Kinds whose cause is the robot."""
WORLD_EDITS = ("gravity",)
"""Kinds that touch every object at once."""
UNSHOWN = ("gravity", "gain")
"""Kinds that no history and no plan can show to a model: it cannot answer them."""
KINDS = ("move", "remove", "mass", "friction", "size", "velocity", "gravity", *ACTIONS, "pair") + (
    ("gain",) if "gain" in interventions.KINDS else ()
)
"""What can be drawn; besides, `action` draws one of `ACTIONS`."""
DEFAULT: Mapping[str, int] = {"move": 1, "remove": 1, "action": 1}
FULL: Mapping[str, int] = dict.fromkeys(KINDS, 1) | {"move": 2, "remove": 2}
"""Spill-over of move and remove is what most is said about, so it is asked twice."""


@dataclass(frozen=True)
class Question:
    """What would follow the instant `context` if `edits` were made there, or if another plan were followed."""

    context: int
    edits: tuple[Intervention, ...] = ()
    """None, one, or two; each acts at the instant."""
    plan: int | None = None
    """The context whose actions are followed instead of its own."""

    @property
    def parts(self) -> tuple[str, ...]:
        """The kind of every change, the modes of action edits counting as kinds."""
        kinds = tuple(edit.mode if edit.kind == "action" else edit.kind for edit in self.edits)
        return kinds if self.plan is None else (*kinds, "swap")

    @property
    def kind(self) -> str:
        """Of the only change; `pair` of two, `nothing` of none."""
        return self.parts[0] if len(self.parts) == 1 else "pair" if self.parts else "nothing"

    @property
    def entities(self) -> frozenset[str]:
        """Names of the edited objects."""
        return frozenset(edit.entity for edit in self.edits if edit.entity is not None)

    @property
    def state_edits(self) -> tuple[Intervention, ...]:
        """The edits of the world, in order."""
        return tuple(edit for edit in self.edits if edit.kind != "action")

    @property
    def answerable(self) -> bool:
        """Whether a history and a plan can show everything that is asked."""
        return not any(part in UNSHOWN for part in self.parts)

    def __str__(self) -> str:
        texts = [str(edit) for edit in self.edits] + ([] if self.plan is None else [f"swap({self.plan})"])
        return " & ".join(texts) or "nothing"

    @classmethod
    def parse(cls, context: int, text: str) -> "Question":
        """The inverse of `str`; raises `EmbodiedError` where an intervention does not parse."""
        parts = [] if text == "nothing" else text.split(" & ")
        swaps = [part for part in parts if part.startswith("swap(")]
        edits = tuple(Intervention.parse(part) for part in parts if part not in swaps)
        return cls(context, edits, int(swaps[0][5:-1]) if swaps else None)


def draw(contexts: Contexts, generator: np.random.Generator, kinds: Mapping[str, int] = DEFAULT) -> list[Question]:
    """Questions about every context: of each kind as many as `kinds` says, fewer where nothing there allows it.

    Edited objects are drawn among those present. Whether there is room for an edit is for the simulator to say, see
    `branches.settle`. Raises `EmbodiedError` for an unknown kind or a number that is not positive.
    """
    for kind, count in kinds.items():
        if kind not in (*KINDS, "action"):
            raise unknown("kind of what-if", kind, (*KINDS, "action"))
        if count < 1:
            raise EmbodiedError(f"{count} what-ifs of kind {kind!r} were asked for; give 1 or more.")
    asked = []
    for context in range(len(contexts)):
        for kind, count in kinds.items():
            avoid: set[str] = set()
            for _ in range(count):
                question = _draw(kind, contexts, context, generator, avoid)
                if question is not None:
                    avoid |= question.entities
                    asked.append(question)
    return asked


def redraw(question: Question, contexts: Contexts, generator: np.random.Generator) -> Question:
    """The same kinds of edits of the same objects with other numbers."""
    edits = tuple(
        edit if edit.entity is None else _EDITS[edit.kind](edit.entity, contexts, question.context, generator)
        for edit in question.edits
    )
    return replace(question, edits=edits)


def _draw(
    kind: str, contexts: Contexts, context: int, generator: np.random.Generator, avoid: set[str]
) -> Question | None:
    """One question of a kind about a context, on an object not in `avoid` if there is one; None where none is able."""
    if kind == "action":
        kind = ACTIONS[int(generator.integers(len(ACTIONS)))]
    if kind == "swap":
        other = (context + 1 + int(generator.integers(max(len(contexts) - 1, 1)))) % len(contexts)
        return Question(context, plan=other) if other != context else None
    if kind in _ACTIONS:
        return Question(context, (Intervention.parse(_ACTIONS[kind](generator)),))
    if kind == "pair":
        return _pair(contexts, context, generator)
    name = _able(kind, contexts, context, generator, avoid)
    return None if name is None else Question(context, (_EDITS[kind](name, contexts, context, generator),))


def _pair(contexts: Contexts, context: int, generator: np.random.Generator) -> Question | None:
    """Two objects, where a third is there to be watched, or an object and an action."""
    kinds = [("move", "remove")[int(k)] for k in generator.integers(2, size=2)]
    first = _draw(kinds[0], contexts, context, generator, set())
    if first is None:
        return None
    both = contexts.present[context].sum() > 2 and generator.random() < 0.5
    second = _draw(kinds[1] if both else "action", contexts, context, generator, set(first.entities))
    return None if second is None else Question(context, first.edits + second.edits, second.plan)


def _able(kind: str, contexts: Contexts, context: int, generator: np.random.Generator, avoid: set[str]) -> str | None:
    """An object that is there and that this kind of edit can act on."""
    names = [name for name, there in zip(contexts.names, contexts.present[context], strict=True) if there]
    order = sorted((name in avoid, float(generator.random()), name) for name in names)
    objects = contexts.history.objects
    for _, _, name in order:
        try:
            _EDITS[kind](name, contexts, context, np.random.default_rng(0)).check(objects.names, objects.kind)
        except EmbodiedError:
            continue
        return name
    return None


def _move(name: str, contexts: Contexts, context: int, generator: np.random.Generator) -> Intervention:
    # Over the table, in any direction; exact in its own text form, so that what is printed can be repeated.
    return Intervention("move", name, _vector(*SHIFT, generator))


def _remove(name: str, contexts: Contexts, context: int, generator: np.random.Generator) -> Intervention:
    return Intervention("remove", name)


def _physics(kind: str) -> "_Draw":
    def drawn(name: str, contexts: Contexts, context: int, generator: np.random.Generator) -> Intervention:
        k = contexts.history.objects.index(name)
        factor = float(generator.uniform(*FACTOR)) ** (1 if generator.random() < 0.5 else -1)
        now = float(getattr(contexts.history.objects, kind)[context, -1, k])
        low, high = LIMITS[kind]
        if not low <= factor * now <= high:
            factor = 1.0 / factor
        return Intervention(kind, name, {"value": float(f"{factor * now:.4g}")})

    return drawn


def _size(name: str, contexts: Contexts, context: int, generator: np.random.Generator) -> Intervention:
    half = contexts.history.objects.half_extents[context, -1, contexts.history.objects.index(name)]
    factor = generator.uniform(0.6, 0.85) if generator.random() < 0.5 else generator.uniform(1.15, 1.5)
    return Intervention("size", name, {a: round(float(2 * h * factor), 4) for a, h in zip("xyz", half, strict=True)})


def _velocity(name: str, contexts: Contexts, context: int, generator: np.random.Generator) -> Intervention:
    return Intervention("velocity", name, _vector(0.1, 0.4, generator))


def _vector(low: float, high: float, generator: np.random.Generator) -> dict[str, float]:
    length, heading = generator.uniform(low, high), generator.uniform(-np.pi, np.pi)
    return {"x": round(float(length * np.cos(heading)), 4), "y": round(float(length * np.sin(heading)), 4)}


_Draw = Callable[[str, Contexts, int, np.random.Generator], Intervention]
_EDITS: Mapping[str, _Draw] = {
    "move": _move,
    "remove": _remove,
    "mass": _physics("mass"),
    "friction": _physics("friction"),
    "size": _size,
    "velocity": _velocity,
}
_ACTIONS: Mapping[str, Callable[[np.random.Generator], str]] = {
    "hold": lambda generator: "action(hold)",
    "delay": lambda generator: f"action(delay, {int(generator.integers(2, 5))})",
    "mirror": lambda generator: "action(mirror)",
    "gravity": lambda generator: f"gravity(z={(-3.3, -20)[int(generator.integers(2))]})",
    "gain": lambda generator: f"gain({generator.uniform(0.3, 0.6):.2f})",
}
"""Edits without an object, as text."""


def kinds_of(questions: Sequence[Question]) -> dict[str, int]:
    """How many questions of each kind, in order of appearance."""
    found: dict[str, int] = {}
    for question in questions:
        found[question.kind] = found.get(question.kind, 0) + 1
    return found
