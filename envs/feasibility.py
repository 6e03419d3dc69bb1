"""Goals that no arrangement of the world can meet, told by their words and the sizes of what they speak of.

Sound, not complete: what is called impossible is, and what is not may still be beyond the arm.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from envs.errors import EmbodiedError
from envs.goals import Goal, Literal
from envs.predicates import GRASP_GAP

REACH = 0.45
"""[m] The tool never gets further than this from the arm's base, nor anything that it has put somewhere."""
Circle = tuple[float, float, float]
"""[m] x, y and radius of what an arm gets to."""
CEILING = 0.30
"""[m] Nothing is ever lifted higher than this."""
_WIDER = {"near": 1.0, "static": 1.0, "lifted": -1.0, "released": -1.0}
"""Predicates that hold in more places with a larger number, or with a smaller one."""
_UP, _AXES = ("on", "above"), {"left_of": (1, 1), "right_of": (1, -1), "in_front_of": (0, 1), "behind": (0, -1)}


@dataclass(frozen=True)
class Fact:
    """That the first stands before the second in some strict order, so that no circle of such facts can hold."""

    order: str
    first: str
    second: str


def check_feasible(goal: Goal, fixed: Iterable[str] = (), reach: Sequence[Circle] = ((0.0, 0.0, REACH),)) -> None:
    """Raise `EmbodiedError` with the reason where a goal is impossible.

    `fixed` are entities that nothing moves, and beyond every circle of `reach` no arm ever gets.
    """
    reason = why_impossible(goal, fixed, reach)
    if reason is not None:
        raise EmbodiedError(f"The goal '{goal}' is impossible: {reason}.")


def why_impossible(goal: Goal, fixed: Iterable[str] = (), reach: Sequence[Circle] = ((0.0, 0.0, REACH),)) -> str | None:
    """The reason in a few words, or None."""
    held = [literal for literal in goal.literals if not literal.negated]
    for rule in (_denied, _itself, _hands, _places):
        if reason := rule(goal.literals if rule is _denied else held, tuple(fixed)):
            return reason
    return _beyond(held, reach) or _circle(held)


def _denied(literals: Sequence[Literal], fixed: Sequence[str]) -> str | None:
    for literal in literals:
        if replace(literal, negated=not literal.negated) in literals:
            return f"it asks for {replace(literal, negated=False)} and denies it"
    denied = [literal for literal in literals if literal.negated and literal.predicate in _WIDER]
    for literal in literals:
        for other in denied:
            alike = (other.predicate, {*other.arguments}) == (literal.predicate, {*literal.arguments})
            wider = alike and _WIDER[other.predicate] * (other.parameters[0] - literal.parameters[0]) >= 0.0
            if wider and not literal.negated:
                return f"where {literal}, {replace(other, negated=False)} holds, too, which it denies"
    return None


def _itself(literals: Sequence[Literal], fixed: Sequence[str]) -> str | None:
    for literal in literals:
        if len(set(literal.arguments)) < len(literal.arguments) and literal.predicate in (*_UP, *_AXES, "below", "in"):
            return f"nothing is {literal.predicate} itself"
        if literal.predicate in ("lifted", "grasped") and literal.arguments[0] in fixed:
            return f"nothing moves {literal.arguments[0]}"
        under = literal.arguments[0 if literal.predicate == "below" else -1]
        if "table" in literal.arguments and literal.predicate in (*_UP, "below", "in"):
            if literal.predicate == "in" and literal.arguments[0] == "table":
                return f"the table is not in {under}"
            if literal.predicate != "in" and under != "table":
                return f"{under} is never under the table"
    return None


def _hands(literals: Sequence[Literal], fixed: Sequence[str]) -> str | None:
    grasped = {literal.arguments[0] for literal in literals if literal.predicate == "grasped"}
    if len(grasped) > 1:
        return f"one hand holds one thing, not {' and '.join(sorted(grasped))}"
    for literal in literals:
        if literal.predicate == "released" and literal.arguments[0] in grasped and literal.parameters[0] >= GRASP_GAP:
            return f"{literal.arguments[0]} cannot be grasped and released at once"
    return None


def _places(literals: Sequence[Literal], fixed: Sequence[str]) -> str | None:
    for literal in literals:
        if literal.predicate in ("near", "at") and literal.parameters[-1] == 0.0:
            return f"{literal} allows no distance at all"
        if literal.predicate == "lifted" and literal.parameters[0] > CEILING:
            return f"nothing is lifted by more than {CEILING:g} m"
        if literal.predicate != "at" or literal.frame != "world":
            continue
        _, _, z, tolerance = literal.parameters
        if z + tolerance < 0.0:
            return f"z = {z:g} is under the table"
        if z - tolerance > CEILING:
            return f"z = {z:g} is higher than the arm gets"
    for one, other in combinations([each for each in literals if each.predicate == "at"], 2):
        if (one.arguments, one.frame) == (other.arguments, other.frame):
            apart = np.linalg.norm(np.subtract(one.parameters[:3], other.parameters[:3]))
            if apart > one.parameters[3] + other.parameters[3]:
                return f"{one.arguments[0]} cannot be in two places"
    lifted = {literal.arguments[0]: literal.parameters[0] for literal in literals if literal.predicate == "lifted"}
    for literal in literals:
        standing = literal.predicate == "on" and literal.arguments[1] == "table"
        if standing and lifted.get(literal.arguments[0], -np.inf) >= literal.parameters[0]:
            return f"{literal.arguments[0]} cannot be lifted and on the table at once"
    return None


def _beyond(literals: Sequence[Literal], reach: Sequence[Circle]) -> str | None:
    for literal in literals:
        if literal.predicate != "at" or literal.frame != "world":
            continue
        x, y, _, tolerance = literal.parameters
        if all(np.hypot(x - own_x, y - own_y) - tolerance > radius for own_x, own_y, radius in reach):
            far = f"{reach[0][2]:.3g} m from the arm" if len(reach) == 1 else "an arm's length from either arm"
            return f"({x:g}, {y:g}) is more than {far}"
    return None


def _facts(literals: Iterable[Literal]) -> list[Fact]:
    facts = []
    for literal in literals:
        if literal.predicate in _UP:
            facts.append(Fact("above", *literal.arguments))
        elif literal.predicate == "below":
            facts.append(Fact("above", *literal.arguments[::-1]))
        elif literal.predicate == "in":
            facts.append(Fact("inside", *literal.arguments))
        elif literal.predicate in _AXES:
            axis, sign = _AXES[literal.predicate]
            order = f"beyond along {'xy'[axis]} of {literal.frame}"
            facts.append(Fact(order, *literal.arguments[::sign]))
    return facts


def _circle(literals: Sequence[Literal]) -> str | None:
    """Whether something would be above, inside or beyond itself by way of others."""
    facts = _facts(literals)
    for order in sorted({fact.order for fact in facts}):
        after: Mapping[str, set[str]] = {fact.first: set() for fact in facts}
        for fact in facts:
            if fact.order == order:
                after[fact.first].add(fact.second)
        for start in sorted(after):
            reached, waiting = set(), list(after[start])
            while waiting:
                name = waiting.pop()
                if name == start:
                    return f"{start} would be {order.split(' ')[0]} itself by way of others"
                if name not in reached:
                    reached.add(name)
                    waiting.extend(after.get(name, ()))
    return None
