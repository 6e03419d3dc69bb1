"""Literals and goals drawn at random: about the entities of a state, near where they begin or cease to hold."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from envs.geometry import quat_conjugate, quat_rotate
from envs.goals import Goal, Literal, margins
from envs.predicates import GRIPPER, JAWS, PREDICATES
from envs.types import Kind, ObjectState

RANGES = {
    "at": (0.005, 0.08), "near": (0.01, 0.15), "on": (0.002, 0.015), "touching": (0.0005, 0.01),
    "lifted": (0.002, 0.12), "aligned": (0.05, 0.5), "upright": (0.05, 0.5), "static": (0.0005, 0.01),
    "released": (0.0005, 0.02),
}  # fmt: skip
"""Of the number of a literal, drawn log-uniformly [m or rad]."""
LEAST = 0.0005
"""Margin from which a literal of a goal counts as holding [m or rad]."""
_WIDE = ("on", "in", "above", "below")


def draw_literals(rng: np.random.Generator, state: ObjectState, count: int) -> list[Literal]:
    """So many different literals about the entities of states `[B K ...]`, none of them negated."""
    found: dict[Literal, None] = {}
    names = [name for name in PREDICATES if name not in ("grasped", "released") or JAWS[0] in state.names]
    for _ in range(50 * count):
        if len(found) == count:
            break
        literal = _draw(rng, state, names[rng.integers(len(names))])
        if literal is not None:
            found[literal] = None
    return list(found)


def goals_that_hold(
    rng: np.random.Generator, state: ObjectState, literals: int, tries: int = 48
) -> tuple[list[Goal], NDArray[np.int64]]:
    """Goals of so many literals that hold, each with the index of the world of `[B K ...]` that it holds in.

    Rare predicates are as likely as others, one literal of five is negated, and no two of a goal say the same of the
    same objects. Worlds in which too few hold are left out.
    """
    tried = draw_literals(rng, state, tries)
    value = np.asarray(margins(tried, state))
    goals, worlds = [], []
    for world in range(value.shape[0]):
        chosen: dict[tuple[str, tuple[str, ...]], Literal] = {}
        for _ in range(3 * literals):
            negated = bool(rng.random() < 0.2)
            margin = -value[world] if negated else value[world]
            holds = [one for one, m in zip(tried, margin, strict=True) if m > LEAST]
            holds = [one for one in holds if (one.predicate, one.arguments) not in chosen]
            if not holds or len(chosen) == literals:
                break
            wanted = rng.choice(sorted({one.predicate for one in holds}))
            same = [one for one in holds if one.predicate == wanted]
            one = replace(same[rng.integers(len(same))], negated=negated)
            chosen[one.predicate, one.arguments] = one
        if len(chosen) == literals:
            goals.append(Goal(tuple(chosen.values())))
            worlds.append(world)
    return goals, np.array(worlds, np.int64)


def _draw(rng: np.random.Generator, state: ObjectState, predicate: str) -> Literal | None:
    """One literal of a predicate; None where the entities drawn do not go with it."""
    by_kind = {kind: [n for n, k in zip(state.names, state.kind, strict=True) if int(k) == kind] for kind in Kind}
    boxes, bins, marks = by_kind[Kind.BOX], by_kind[Kind.BIN], by_kind[Kind.TARGET]
    meaning = PREDICATES[predicate]
    hand = [GRIPPER] if GRIPPER in state.names else []
    first = str(rng.choice([*boxes, *boxes, *hand] if predicate in ("near", "at") or meaning.framed else boxes))
    others = [*boxes, *boxes, *bins, *marks, *hand]
    if predicate in _WIDE:
        others = [*boxes, *bins, *(["table"] if predicate == "on" and "table" in state.names else [])]
    if predicate in ("touching", "aligned"):
        others = [*boxes, *bins, *(hand if predicate == "touching" and JAWS[0] in state.names else [])]
    arguments = (first,) if len(meaning.arguments) == 1 else (first, str(rng.choice(others)))
    if predicate == "below":
        arguments = arguments[::-1]
    if len(set(arguments)) < len(meaning.arguments):
        return None
    frame = "world"
    if meaning.framed and rng.random() < 0.4:
        frame = str(rng.choice([*boxes, *bins, "robot"]))
        if frame in arguments and predicate == "at":
            return None
    return Literal(predicate, arguments, _numbers(rng, state, predicate, arguments, frame), frame)


def _numbers(
    rng: np.random.Generator, state: ObjectState, predicate: str, arguments: Sequence[str], frame: str
) -> tuple[float, ...]:
    """A literal's numbers, such that some world is near the boundary."""
    if predicate not in RANGES:
        return ()
    number = float(np.exp(rng.uniform(*np.log(RANGES[predicate]))))
    world = int(rng.integers(state.shape[0]))
    if predicate == "at":
        point = _in_frame(state, world, arguments[0], frame) + rng.normal(0, 0.02, 3)
        return (*map(float, np.round(point, 4)), number)
    if predicate == "near" and rng.random() < 0.5:
        number = abs(-float(Literal("near", tuple(arguments), (0.0,)).margin(state)[world]) + rng.normal(0, 0.01))
    elif rng.random() < 0.3:
        return (PREDICATES[predicate].optional[0][1],)
    return (round(number, 5),)


def _in_frame(state: ObjectState, world: int, name: str, frame: str) -> NDArray[np.float64]:
    """Where an entity of one world is in a frame [m]."""
    position = state.position_in_world[world]
    if frame not in state.names:
        return np.asarray(position[state.index(name)])
    index = state.index(frame)
    inverse = quat_conjugate(state.quaternion_in_world[world, index])
    return np.asarray(quat_rotate(inverse, position[state.index(name)] - position[index]))
