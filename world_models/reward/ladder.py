"""Rung ladders: what has to happen on the way to a goal, derived from its literals.

An object does not fly into a bin: the gripper has to come near, grasp, lift, carry, let go. Each object that a goal
moves gets one ladder of rungs; a rung is done where all its literals hold, and a rung done implies those before it.
Literals of the goal that hold before anything has happened (released, at rest, untouched) come after what moves the
object: taken on their own they would be lost by grasping, and the way to the goal would first lead downhill.
"""

from dataclasses import dataclass

from envs.goals import Goal, Literal
from envs.predicates import GRIPPER, JAWS
from envs.types import Kind, ObjectState

NEAR_RUNG = 0.03
"""Distance of the tool centre point from an object's centre at which it is reached for a grasp [m]."""
PUSH_RUNG = 0.06
"""The same for a push [m]: wide enough that the object stays reached while the jaws shove it from one side."""
LIFT_RUNG = 0.005
"""Clearance at which a carried object counts as lifted [m]: below the height at which things are carried."""
_RAISING = ("on", "in", "above", "lifted")
_FINISHING = ("released", "static")


@dataclass(frozen=True)
class Rung:
    """One step of a ladder."""

    name: str
    literals: tuple[Literal, ...]
    """All must hold for the rung to be done."""
    guide: tuple[Literal, ...]
    """Those of them whose margins measure how far the rung is."""


@dataclass(frozen=True)
class Ladder:
    """The rungs by which one object comes to where the goal wants it; the last holds only where its literals all do."""

    subject: str
    rungs: tuple[Rung, ...]


def ladders(goal: Goal, state: ObjectState) -> tuple[Ladder, ...]:
    """The ladders of a goal, one per object it moves, in order of mention; `state` tells which entities are objects.

    Every literal of the goal is in the last rung of exactly one ladder, so all ladders are climbed where the goal
    holds, and nowhere else. Raises `EmbodiedError` for an unknown entity.
    """
    groups: dict[str, list[Literal]] = {}
    for literal in goal.literals:
        groups.setdefault(_subject(literal, state), []).append(literal)
    return tuple(Ladder(subject, _rungs(subject, literals, state)) for subject, literals in groups.items())


def bringing(goal: Goal) -> Goal:
    """The goal without what comes last, letting go and coming to rest; itself where it asks for nothing else.

    Who only has to bring an object somewhere may as well push it: the ladder of what is left grasps only what has to be
    raised, or is to be held.
    """
    moving = tuple(literal for literal in goal.literals if not _is_finishing(literal))
    return Goal(moving) if moving else goal


def _subject(literal: Literal, state: ObjectState) -> str:
    """The first argument that is a movable object, else the first argument."""
    movable = [name for name in literal.arguments if int(state.kind[state.index(name)]) == Kind.BOX]
    return movable[0] if movable else literal.arguments[0]


def _rungs(subject: str, literals: list[Literal], state: ObjectState) -> tuple[Rung, ...]:
    finishing = [literal for literal in literals if _is_finishing(literal)]
    moving = [literal for literal in literals if literal not in finishing]
    rungs: list[Rung] = []
    if moving and int(state.kind[state.index(subject)]) == Kind.BOX and GRIPPER in state.names:
        rungs += _approach(subject, moving, finishing, any(jaw in state.names for jaw in JAWS))
    if moving:
        rungs.append(Rung(" & ".join(map(str, moving)), tuple(moving), tuple(moving)))
    done = list(moving)
    for literal in finishing:
        done.append(literal)
        rungs.append(Rung(str(literal), tuple(done), (literal,)))
    return tuple(rungs)


def _is_finishing(literal: Literal) -> bool:
    """Whether it is about letting go or coming to rest."""
    parts = (GRIPPER, *JAWS)
    apart = literal.negated and literal.predicate == "touching" and any(name in parts for name in literal.arguments)
    return (
        apart
        or (literal.negated and literal.predicate == "grasped")
        or (not literal.negated and literal.predicate in _FINISHING)
    )


def _approach(subject: str, moving: list[Literal], finishing: list[Literal], jaws: bool) -> list[Rung]:
    """Rungs before the goal's own.

    An object is grasped where the goal raises it (`on` something but the table, `in`, `above`, `lifted`) or speaks of
    grasping or releasing it; else it may as well be pushed, and reaching it is the only rung.
    """
    raising = [one for one in moving if one.predicate in _RAISING and one.arguments[-1] != "table"]
    raising = [one for one in raising if one.arguments[0] == subject]
    hand = any(one.predicate in ("grasped", "released") for one in (*moving, *finishing))
    graspable = jaws and (bool(raising) or hand)
    reach = Literal("near", (GRIPPER, subject), (NEAR_RUNG if graspable else PUSH_RUNG,))
    rungs = [Rung(str(reach), (reach,), (reach,))]
    if not graspable:
        return rungs
    grasp = Literal("grasped", (subject,))
    rungs.append(Rung(str(grasp), (grasp,), (grasp,)))
    over = [Literal("above", one.arguments) for one in raising if one.predicate in ("on", "in") and not one.negated]
    if over:
        lift = Literal("lifted", (subject,), (LIFT_RUNG,))
        rungs.append(Rung(str(lift), (grasp, lift), (lift,)))
        rungs.append(Rung(" & ".join(map(str, over)), (grasp, *over), tuple(over)))
    return rungs
