"""Goals read off examples: the fewest literals that hold where a goal was reached and fail where it was not.

Which of the many true sentences about an example was meant cannot be told from one example; what tells is contrast.
Candidates hold in every example. Each state that was no success must fail one of those chosen. Literals are chosen
greedily by what they rule out (set cover: Chvatal 1979), those people mean first: containment and support before
nearness, nearness before sides, and a point of the table last. Objects that are moved together would be told by one of
them: for each that is not spoken of, examples with it put back to where it lay have to be ruled out as well.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from envs.errors import EmbodiedError
from envs.goals import Goal, Literal, margins
from envs.predicates import GRIPPER, JAWS
from envs.types import MOVABLE, Kind, ObjectState, Observation

Floats = NDArray[np.float64]
HOLDS = 0.95
"""Share of examples in which a literal must hold: of twenty, perception may have spoilt one."""
PRICES = {
    "in": 1.0, "on": 1.1, "grasped": 1.2, "near": 1.5, "released": 1.6, "static": 1.7, "lifted": 1.8, "upright": 2.0,
    "above": 2.4, "touching": 2.6, "aligned": 3.0, "left_of": 3.0, "in_front_of": 3.0, "at": 6.0,
}  # fmt: skip
"""That literal is chosen next which rules out most for its price; `below`, `right_of` and `behind` are exchanged
arguments of others."""
ON_TABLE = 2.2
"""Price of lying on the table, where most things always do."""
BY_HAND = 0.5
"""Added where a literal measures from the hand: that it is near what it has just let go of says little of what for."""
WORTH = 0.01
"""Least share of states that a literal of price 1 must newly rule out: the rest is left unexplained."""
NEAR = (0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.09)
"""[m] numbers a distance may have: the least that the examples keep."""
HEIGHTS = (0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.12, 0.15, 0.2)
"""[m] the same of heights: the greatest."""
LOOSER = 3.0
"""A number is loosened up to so many times, as long as nothing ruled out comes in: final scenes lie deeper inside a
tolerance than is asked for."""


@dataclass(frozen=True)
class Mined:
    """A goal, and what it explains."""

    goal: Goal
    explained: float
    """Share of the states that were no success in which the goal fails."""


def mine(ends: ObjectState, others: ObjectState) -> Mined:
    """The goal of which `ends` `[N K ...]` are successes and `others` `[M K ...]` are not, of the same entities.

    `others` may be beginnings, or all that came before success: without the latter, nothing tells that letting go was
    part of it. Raises `EmbodiedError` where no literal tells them apart, or entities differ.
    """
    if ends.names != others.names or not ends.shape[0] or not others.shape[0]:
        raise EmbodiedError(
            f"A goal is mined from states of the same entities, with and without success; got {ends.shape[0]} of "
            f"{', '.join(ends.names)} and {others.shape[0]} of {', '.join(others.names)}."
        )
    candidates = _candidates(ends)
    value = np.asarray(margins(candidates, ends))
    kept = list(np.flatnonzero((value > 0).mean(axis=0) >= HOLDS))
    candidates = [candidates[i] for i in kept]
    fails = np.asarray(margins(candidates, others)) <= 0
    room = value[:, kept].min(axis=0)
    cover = _cover(candidates, fails, room)
    for name in _movable(ends):
        if not any(name in candidates[i].arguments for i in cover):
            cover += _cover(candidates, _put_back(candidates, name, ends, others), room)
    chosen = [candidates[i] for i in dict.fromkeys(cover)]
    if not chosen:
        raise EmbodiedError("No literal holds in the examples and fails in the other states: they look alike.")
    goal = Goal(tuple(_loosened(chosen, index, others) for index in range(len(chosen))))
    return Mined(goal, float(1.0 - np.mean(goal.satisfied(others))))


@runtime_checkable
class Perceives(Protocol):
    """What turns pictures into states; `world_models.slots.perceive.Perceiver` does."""

    def reset(self) -> None:
        """Forget past frames."""
        ...

    def perceive(self, observation: Observation) -> ObjectState:
        """The state `[*B ...]` that images and joints show."""
        ...


def mine_pictures(perceiver: Perceives, shown: Observation, now: Observation) -> Mined:
    """The goal that pictures `shown` `[N ...]` ask for, one may do, where things are as in `now` `[M ...]`.

    Raises `EmbodiedError` like `mine`.
    """
    perceiver.reset()
    ends = perceiver.perceive(shown)
    perceiver.reset()
    others = perceiver.perceive(now)
    perceiver.reset()
    return mine(ends, others)


def _put_back(candidates: list[Literal], name: str, ends: ObjectState, others: ObjectState) -> NDArray[np.bool_]:
    """Which candidates about one object fail `[M C]` where examples have it as the others had it."""
    examples = ends[np.arange(others.shape[0]) % ends.shape[0]]
    index = ends.index(name)
    position, quaternion = np.array(examples.position_in_world), np.array(examples.quaternion_in_world)
    position[:, index] = others.position_in_world[:, index]
    quaternion[:, index] = others.quaternion_in_world[:, index]
    back = replace(examples, position_in_world=position, quaternion_in_world=quaternion)
    about = np.array([name in literal.arguments for literal in candidates])
    hand = np.array([literal.predicate in ("grasped", "released") or GRIPPER in literal.arguments
                     for literal in candidates])  # fmt: skip
    # Where the hand was when the object lay elsewhere is told by the states themselves.
    return np.asarray((np.asarray(margins(candidates, back)) <= 0) & about & ~hand)


def _cover(candidates: list[Literal], fails: NDArray[np.bool_], room: Floats) -> list[int]:
    """Candidates that together fail wherever any of them does `[M C]`, cheapest first; none that others make idle."""
    price = np.array([ON_TABLE if one.arguments[-1] == "table" else PRICES[one.predicate] for one in candidates])
    price += [BY_HAND * (GRIPPER in one.arguments) for one in candidates]
    # Of literals that say as much, the one that holds with most room.
    price = price - 0.05 * np.tanh(room / 0.02)
    left = fails.any(axis=1)
    chosen: list[int] = []
    while left.any():
        worth = fails[left].sum(axis=0) / price
        best = int(np.argmax(worth))
        if worth[best] < WORTH * len(fails):
            break
        chosen.append(best)
        left = left & ~fails[:, best]
    for index in sorted(chosen, key=lambda index: -price[index]):
        rest = [other for other in chosen if other != index]
        if rest and (fails[:, rest].any(axis=1) >= fails[:, index]).all():
            chosen = rest
    return sorted(chosen, key=lambda index: price[index])


def _movable(state: ObjectState) -> list[str]:
    return [name for name, kind in zip(state.names, state.kind, strict=True) if Kind(int(kind)) in MOVABLE]


def _candidates(ends: ObjectState) -> list[Literal]:
    """Plain literals about the boxes and the hand, with numbers that fit the examples."""
    found: dict[Literal, None] = {}
    jaws = JAWS[0] in ends.names
    hand = [GRIPPER] if GRIPPER in ends.names else []
    things = [name for name, kind in zip(ends.names, ends.kind, strict=True) if int(kind) not in (Kind.JAW, Kind.TABLE)]
    for a in [*_movable(ends), *hand]:
        for literal in _about(a, ends, [name for name in things if name != a], jaws):
            found[literal] = None
    return list(found)


def _about(a: str, ends: ObjectState, things: list[str], jaws: bool) -> Iterator[Literal]:
    """Candidates whose first argument is `a`."""
    box = a != GRIPPER
    kinds = dict(zip(ends.names, (int(kind) for kind in ends.kind), strict=True))
    if box:
        yield from (Literal(word, (a,)) for word in ("upright", "static"))
        yield from (Literal(word, (a,)) for word in ("grasped", "released") if jaws)
        height = _fitting(-np.asarray(Literal("lifted", (a,), (0.0,)).margin(ends)), HEIGHTS)
        if height is not None:
            yield Literal("lifted", (a,), (height,))
        if "table" in kinds:
            yield Literal("on", (a, "table"))
    for b in things:
        distance = _fitting(-np.asarray(Literal("near", (a, b), (0.0,)).margin(ends)), NEAR)
        if distance is not None:
            yield Literal("near", (a, b), (distance,))
        if not box or kinds[b] in (Kind.TARGET, Kind.GRIPPER):
            continue
        solid = ("on", "above", "touching", "aligned", "left_of", "in_front_of")
        yield from (Literal(word, (a, b)) for word in (*solid, *(["in"] if kinds[b] == Kind.BIN else [])))
        yield from (Literal(word, (b, a)) for word in ("left_of", "in_front_of") if kinds[b] == Kind.BIN)
    if box:
        where = ends.position_in_world[:, ends.index(a)]
        middle = np.round(where.mean(axis=0), 3)
        tolerance = _fitting(np.linalg.norm(where - middle, axis=-1), NEAR)
        if tolerance is not None:
            yield Literal("at", (a,), (*map(float, middle), tolerance))


def _loosened(chosen: list[Literal], index: int, others: ObjectState) -> Literal:
    """One of the literals with the widest number that still rules out what it did, given the rest as they are."""
    literal = chosen[index]
    if literal.predicate not in ("near", "at", "lifted"):
        return literal
    rest = [one for one in chosen if one is not literal]
    open_to = np.all(np.asarray(margins(rest, others)) > 0, axis=1) if rest else np.ones(others.shape[0], bool)
    ruled_out = open_to & (np.asarray(literal.margin(others)) <= 0)
    tight = literal.parameters[-1]
    if literal.predicate == "lifted":
        wider = [one for one in reversed(HEIGHTS) if tight / LOOSER <= one < tight]
    else:
        wider = [one for one in NEAR if tight < one <= tight * LOOSER]
    for number in wider:
        looser = replace(literal, parameters=(*literal.parameters[:-1], number))
        if (np.asarray(looser.margin(others))[ruled_out] > 0).any():
            break
        literal = looser
    return literal


def _fitting(values: Floats, allowed: tuple[float, ...]) -> float | None:
    """The tightest of `allowed` bounds that most values `[N]` keep; heights come negative."""
    bound = float(np.quantile(values, HOLDS, method="higher"))
    if bound < 0:
        fits = [one for one in allowed if one < -bound]
        return fits[-1] if fits else None
    fits = [one for one in allowed if one > bound]
    return fits[0] if fits else None
