"""Arguments of environments that are easily given in another form: names and whole numbers."""

from collections.abc import Sequence

import numpy as np

from envs.errors import EmbodiedError

Names = str | Sequence[str]
"""A name alone is a tuple of one."""


def names_of(argument: str, given: Names) -> tuple[str, ...]:
    """What was given as names; raises `EmbodiedError` naming the argument where it is none."""
    if isinstance(given, str):
        return (given,)
    if not isinstance(given, Sequence) or not all(isinstance(name, str) for name in given):
        raise EmbodiedError(f"{argument}={given!r} was given; give a name or a tuple of names.")
    return tuple(given)


def whole(argument: str, given: object, least: int) -> int:
    """The integer that was given; raises `EmbodiedError` naming the argument where it is none or below `least`."""
    if not isinstance(given, int | np.integer) or isinstance(given, bool) or int(given) < least:
        raise EmbodiedError(f"{argument}={given!r} was given; a whole number from {least} on is needed.")
    return int(given)
