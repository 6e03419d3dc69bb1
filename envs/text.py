"""The call syntax that goals and interventions share: `name(word, 0.02, key=value)`."""

import math
import re
from dataclasses import dataclass

from envs.errors import EmbodiedError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Call:
    """One call, its values still text."""

    name: str
    positional: tuple[str, ...]
    keywords: dict[str, str]
    text: str
    """The call as it was written, for messages."""


def parse_call(text: str) -> Call:
    """Split `name(a, b, key=c)`; raises `EmbodiedError` saying which character is wrong or missing."""
    text = text.strip()
    check_parentheses(text)
    name, opening, rest = text.partition("(")
    name = name.strip()
    if not is_name(name):
        raise EmbodiedError(f"Expected a call such as `near(red_cube, target, 0.02)`, got {text!r}.")
    if not opening:
        raise EmbodiedError(f"Expected a call with parentheses after {name!r}, such as `{name}(...)`.")
    inside, _, behind = rest.rpartition(")")
    if behind.strip() or "(" in inside or ")" in inside:
        raise EmbodiedError(f"Expected one call `name(...)`, got {text!r}.")
    positional: list[str] = []
    keywords: dict[str, str] = {}
    for part in inside.split(",") if inside.strip() else []:
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not key or (equals and not value):
            raise EmbodiedError(f"An argument is empty in {text!r}.")
        if not equals:
            positional.append(key)
        elif key in keywords:
            raise EmbodiedError(f"{key!r} is given twice in {text!r}.")
        else:
            keywords[key] = value
    return Call(name, tuple(positional), keywords, text)


def check_parentheses(text: str) -> None:
    """Raise `EmbodiedError` unless every parenthesis of `text` is closed."""
    depth = 0
    for place, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if depth < 0:
            raise EmbodiedError(f"Unbalanced parenthesis: `)` at character {place + 1} of {text!r} closes nothing.")
    if depth:
        raise EmbodiedError(f"Unbalanced parenthesis: a `)` is missing in {text!r}.")


def is_name(text: str) -> bool:
    """Whether `text` can name an object, a frame or a predicate."""
    return _NAME.fullmatch(text) is not None


def parse_number(text: str, what: str, whole: str) -> float:
    """A finite number; `what` names the value and `whole` quotes the call in the message."""
    try:
        value = float(text)
    except ValueError:
        raise EmbodiedError(f"{what} must be a number, got {text!r} in {whole!r}.") from None
    if not math.isfinite(value):
        raise EmbodiedError(f"{what} must be finite, got {text!r} in {whole!r}.")
    return value


def print_number(value: float, signed: bool = False) -> str:
    """The shortest text that parses to the same float; with `signed`, a plus sign where it is not negative."""
    text = repr(float(value)).removesuffix(".0")
    return f"+{text}" if signed and not text.startswith("-") else text
