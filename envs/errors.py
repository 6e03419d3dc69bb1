"""The one root of every error this toolkit raises on purpose."""

import difflib
from collections.abc import Iterable, Sequence


class EmbodiedError(Exception):
    """Bad input or a broken artefact: one clear sentence; the command line prints it and exits with 2."""


class DivergedError(EmbodiedError):
    """The physics of some worlds has no finite state any more."""

    def __init__(self, message: str, worlds: Sequence[int]) -> None:
        super().__init__(message)
        self.worlds = tuple(worlds)
        """Which they are."""


def unknown(what: str, given: object, allowed: Iterable[str]) -> EmbodiedError:
    """An error for a name that does not exist: says what was given, the nearest match, and all that is allowed."""
    names = sorted(allowed)
    close = difflib.get_close_matches(str(given), names, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return EmbodiedError(f"Unknown {what} {given!r}.{hint} Allowed: {', '.join(names)}.")
