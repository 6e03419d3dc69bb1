"""A serial port for one process alone."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from envs.errors import EmbodiedError

OTHER_END = "/dev/ptmx"
"""What a process has open that made a pseudo-terminal, as a twin does: it is the arm, and drives none."""


def claim(port: str) -> int:
    """A file descriptor that keeps `port` for this process until it is closed.

    Raises `EmbodiedError` for a port that is missing, forbidden, no serial port, or in use, be it by a driver that
    locks nothing, as LeRobot's does not.
    """
    if not port:
        raise EmbodiedError("port= names no port: find the arm's with lerobot-find-port, or use port=twin.")
    try:
        lock = os.open(port, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    except PermissionError as error:
        raise EmbodiedError(
            f"The port {port} is not for this user: run sudo usermod -aG dialout $USER, and log in anew."
        ) from error
    except OSError as error:
        raise EmbodiedError(
            f"The port {port} cannot be opened ({error.strerror}): find the arm's with lerobot-find-port, or use "
            "port=twin."
        ) from error
    if not os.isatty(lock):
        os.close(lock)
        raise EmbodiedError(f"{port} is no serial port: find the arm's with lerobot-find-port, or use port=twin.")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        who = next(iter(users(port)), None)
    except OSError:
        who = "another process"
    if who is not None:
        os.close(lock)
        raise EmbodiedError(f"The arm on {port} is driven by {who}; stop it, or name another port.")
    return lock


def users(port: str) -> list[str]:
    """Other processes that have `port` open, where the system tells (Linux, and of other users only to root)."""
    device, found = os.path.realpath(port), []
    for process in Path("/proc").glob("[0-9]*"):
        # Processes end while one looks, and others' may not be looked at.
        with suppress(OSError):
            open_files = {os.readlink(entry) for entry in (process / "fd").iterdir()}
            if device in open_files and int(process.name) != os.getpid() and OTHER_END not in open_files:
                found.append(f"{(process / 'comm').read_text().strip()} (process {process.name})")
    return found
