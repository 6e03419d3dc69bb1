"""What a person sees while something runs: a live line in a terminal, plain lines in a pipe or a log."""

import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console as Rich
from rich.markup import escape
from rich.status import Status
from rich.table import Table

QUIET = 10.0
"""Seconds between two progress lines of one stage where output is piped."""


class Stage:
    """One stage of a command: shows progress while it runs, and its time and number when it ends."""

    def __init__(self, console: "Console", name: str) -> None:
        self.name = name
        self._console = console
        self._start = self._spoken = time.perf_counter()
        self.numbers: list[str] = []
        self._live: Status | None = None
        if console.terminal:
            self._live = console.rich.status(f"[bold]{escape(name)}[/]")

    @property
    def seconds(self) -> float:
        """Time since the stage began [s]."""
        return time.perf_counter() - self._start

    def update(self, done: int, total: int, note: str = "") -> None:
        """Show that `done` of `total` is done, with a note such as the loss."""
        text = f"{done}/{total}  {_clock(self.seconds)}" + (f"  {note}" if note else "")
        if self._live is not None:
            self._live.update(f"[bold]{escape(self.name)}[/]  {escape(text)}")
        elif time.perf_counter() - self._spoken >= QUIET:
            self._spoken = time.perf_counter()
            self._console.say(f"  {self.name}: {text}")

    def result(self, what: str, value: str, baseline: str = "") -> None:
        """Set a number beside its baseline, e.g. `result("success", "97.5 %", "random 2 %")`."""
        self.numbers.append(f"{what} {value}" + (f" ({baseline})" if baseline else ""))

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        else:
            self._console.say(f"{self.name} ...")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
        mark = "done" if error is None else "stopped"
        line = f"{self.name:<24} {mark} {_clock(self.seconds):>8}   {'; '.join(self.numbers)}"
        self._console.say(line.rstrip())


class Console:
    """Writes for people; to stdout unless told otherwise, so that stdout can be kept for JSON alone."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self.rich = Rich(file=self._stream, highlight=False, soft_wrap=True)

    @property
    def terminal(self) -> bool:
        """Whether a person is watching, rather than a pipe."""
        return self.rich.is_terminal

    def say(self, text: str = "") -> None:
        """One line."""
        self.rich.print(escape(text))
        self._stream.flush()

    def agreed(self, question: str) -> bool:
        """Ask; whether a person pressed enter and nothing else. Nobody there is a no."""
        self.say(f"{question} [enter], or q to stop")
        answer = sys.stdin.readline()
        return answer.endswith("\n") and not answer.strip()

    def stage(self, name: str) -> Stage:
        """A stage, used as a context: `with console.stage("world model") as stage: ...`."""
        return Stage(self, name)

    def kept(self, name: str, seconds: float, numbers: str = "") -> None:
        """Say that a stage was done by an earlier start of the same command, and took `seconds`."""
        self.say(f"{name:<24} kept {_clock(seconds):>8}   {numbers}".rstrip())

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> None:
        """A table; the first column is text, the others are set to the right."""
        if self.terminal:
            table = Table(title=title or None)
            for i, column in enumerate(columns):
                table.add_column(column, justify="left" if i == 0 else "right")
            for row in rows:
                table.add_row(*(escape(cell) for cell in row))
            self.rich.print(table)
            return
        widths = [max(len(row[i]) for row in [columns, *rows]) for i in range(len(columns))]
        for row in ([[title]] if title else []) + [columns, *rows]:
            cells = [c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=False))]
            self.say("  ".join(cells).rstrip())


def _clock(seconds: float) -> str:
    """12.3 s below two minutes, 3 min 04 s above."""
    return f"{seconds:.1f} s" if seconds < 120 else f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"
