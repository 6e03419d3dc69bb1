"""What an arm was told and what it did, tick by tick."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from envs.errors import EmbodiedError
from envs.folders import made
from envs.types import Array

FIELDS = ("time", "sent", "command", "position")


@dataclass(frozen=True)
class Log:
    """One excitation from standstill. Raises `EmbodiedError` for arrays that do not fit or are not finite."""

    time: Array
    """`[T]` of the readings [s], ascending."""
    sent: Array
    """`[T]` when each command was sent [s], ascending."""
    command: Array
    """`[T 6]` [rad], as executed."""
    position: Array
    """`[T 6]` as read [rad]."""

    def __post_init__(self) -> None:
        count = len(self.time)
        shapes = (self.sent.shape, self.command.shape, self.position.shape)
        if count < 2 or shapes != ((count,), (count, 6), (count, 6)):
            raise EmbodiedError(
                f"A log of {count} readings has arrays of shapes {shapes}; (T), (T, 6), (T, 6) are due."
            )
        if not all(np.isfinite(getattr(self, name)).all() for name in FIELDS):
            raise EmbodiedError("A log holds numbers that are not finite.")
        if not ((np.diff(self.time) > 0).all() and (np.diff(self.sent) > 0).all()):
            raise EmbodiedError("The times of a log must ascend.")


def save_logs(path: Path, logs: Mapping[str, Log]) -> None:
    """Write logs by name."""
    made(path.parent)
    np.savez_compressed(
        path, **{f"{name}.{field}": getattr(log, field) for name, log in logs.items() for field in FIELDS}
    )


def load_logs(path: Path) -> dict[str, Log]:
    """The logs of `save_logs` by name; raises `EmbodiedError` for a file that holds none."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as values:
            names = dict.fromkeys(key.partition(".")[0] for key in values)
            logs = {name: Log(*(values[f"{name}.{field}"] for field in FIELDS)) for name in names}
    except (OSError, ValueError, KeyError, EOFError, TypeError, AttributeError, BadZipFile, zlib.error) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or "it is damaged, or something else"
        raise EmbodiedError(
            f"{path} holds no logs of embodied identify ({why}): give the logs.npz that it wrote."
        ) from error
    if not logs:
        raise EmbodiedError(f"{path} holds no logs of embodied identify.")
    return logs
