"""A pseudo-terminal that looks like the USB adapter of a servo bus to who opens it."""

import os
import pty
import termios
import tty
from contextlib import suppress

_RATES = {getattr(termios, name): int(name[1:]) for name in dir(termios) if name[0] == "B" and name[1:].isdigit()}
_SPEED = 5
"""Where `tcgetattr` has the output speed."""


class Terminal:
    """The adapter's end of the line; `path` is the host's."""

    def __init__(self) -> None:
        self._own, self._theirs = pty.openpty()
        # As it comes, a pseudo-terminal echoes and waits for line ends. And it dies with the last host that closes
        # it, unless somebody else has it open.
        for end in (self._own, self._theirs):
            tty.setraw(end)
        os.set_blocking(self._own, False)
        self.path = os.ttyname(self._theirs)

    def fileno(self) -> int:
        """To wait for bytes with `select`."""
        return self._own

    @property
    def baud_rate(self) -> int | None:
        """What the host has set [bit/s]; 0 for a rate that has no name, None where the system has no such numbers."""
        if 1_000_000 not in _RATES.values():
            return None
        return _RATES.get(termios.tcgetattr(self._theirs)[_SPEED], 0)

    def read(self) -> bytes:
        """What the host has sent; empty where there is nothing."""
        try:
            return os.read(self._own, 4096)
        except BlockingIOError:
            return b""

    def write(self, data: bytes) -> None:
        """Send; what does not fit because nobody reads is lost, as on a wire."""
        with suppress(BlockingIOError):
            os.write(self._own, data)

    def close(self) -> None:
        """Unplug."""
        os.close(self._own)
        os.close(self._theirs)
