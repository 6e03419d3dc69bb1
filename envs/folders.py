"""Folders that are written to."""

import os
from pathlib import Path

from envs.errors import EmbodiedError


def made(folder: Path) -> Path:
    """The folder, made where it is missing; raises `EmbodiedError` where it cannot be, or cannot be written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        why = "a file is there" if isinstance(error, FileExistsError | NotADirectoryError) else error.strerror
        raise EmbodiedError(f"The folder {folder} cannot be made ({why}); choose another.") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise EmbodiedError(f"The folder {folder} cannot be written to; choose another, or give yourself the right to.")
    return folder
