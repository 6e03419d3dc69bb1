"""Goals as a sentence: the instruction that a policy of language is given."""

import string

from envs.goals import Goal, Literal

CHARACTERS = string.ascii_letters + string.digits + " .,-_"
"""All that a sentence is made of."""

PHRASES = {
    "at": "bring {a} to {x}, {y}, {z}",
    "near": "bring {a} to {b}",
    "on": "put {a} on {b}",
    "in": "put {a} in {b}",
    "above": "hold {a} above {b}",
    "below": "put {a} below {b}",
    "left_of": "put {a} to the left of {b}",
    "right_of": "put {a} to the right of {b}",
    "in_front_of": "put {a} in front of {b}",
    "behind": "put {a} behind {b}",
    "touching": "touch {b} with {a}",
    "grasped": "grasp {a}",
    "lifted": "lift {a}",
    "aligned": "line {a} up with {b}",
    "upright": "stand {a} upright",
    "static": "leave {a} at rest",
    "released": "let go of {a}",
}
"""What to do for each predicate."""


def sentence(goal: Goal) -> str:
    """The goal in plain English: `in(red_cube, bin) & released(red_cube)` is to put the red cube in the bin and let go.

    Tolerances are left out. A predicate without a phrase is named as it is.
    """
    said: list[str] = []
    last = ""
    for literal in goal.literals:
        subject = literal.arguments[0]
        said.append(_phrase(literal, known=subject == last))
        last = subject
    text = said[0] if len(said) == 1 else f"{', '.join(said[:-1])} and {said[-1]}"
    return f"{text[0].upper()}{text[1:]}."


def _phrase(literal: Literal, known: bool) -> str:
    names = [_name(name) for name in literal.arguments]
    words = {"a": "it" if known else names[0], "b": names[-1]}
    predicate = literal.meaning
    numbers = dict(zip(predicate.required, literal.parameters, strict=False))
    pattern = PHRASES.get(literal.predicate, f"have {literal.predicate.replace('_', ' ')} {{a}}")
    phrase = pattern.format(**words, **{name: f"{value:g}" for name, value in numbers.items()})
    if literal.frame not in ("world", "robot"):
        phrase += f" as seen from {_name(literal.frame)}"
    return f"do not {phrase}" if literal.negated else phrase


def _name(entity: str) -> str:
    return f"the {entity.replace('_', ' ')}"
