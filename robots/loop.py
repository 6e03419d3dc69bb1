"""A control loop on absolute deadlines: a tick that comes late does not delay those after it.

LeRobot's loops sleep for what is left of a period instead; what the sleeping itself takes adds up, 9 % at 100 Hz.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from envs.errors import EmbodiedError
from envs.types import Array

CATCH_UP = 3
"""Periods that may be made up for in a burst; the ticks of a longer pause are given up."""


@dataclass
class Deadlines:
    """Ticks at a fixed rate from now on."""

    rate: float
    """[Hz]."""
    clock: Callable[[], float] = time.monotonic
    """[s]."""
    sleep: Callable[[float], None] = time.sleep
    times: list[float] = field(default_factory=list)
    """[s] of the ticks."""
    lateness: list[float] = field(default_factory=list)
    """[s] by which each tick came after its deadline."""
    missed: int = 0
    """Ticks that were given up."""

    def __post_init__(self) -> None:
        """Raise `EmbodiedError` for a rate that is none."""
        if not self.rate > 0:
            raise EmbodiedError(f"A loop of {self.rate} Hz was asked for; the rate must be above 0.")
        self._due = self.clock()

    @property
    def achieved(self) -> float:
        """[Hz] over all ticks so far; NaN before the second."""
        return rate_of(self.times)

    @property
    def jitter(self) -> dict[str, float]:
        """`percentiles` [s] of how far the time between two ticks is from the period."""
        return percentiles(np.abs(np.diff(self.times) - 1.0 / self.rate))

    def wait(self) -> float:
        """Return at the next deadline, with how late it is [s]."""
        self._due += 1.0 / self.rate
        left = self._due - self.clock()
        if left > 0:
            self.sleep(left)
        now = self.clock()
        late = max(now - self._due, 0.0)
        self.times.append(now)
        self.lateness.append(late)
        over = int(late * self.rate)
        if over > CATCH_UP:
            self.missed += over
            self._due += over / self.rate
        return late


def rate_of(times: Sequence[float]) -> float:
    """[Hz] of ticks at `times` [s]; NaN of fewer than two."""
    return (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else float("nan")


def percentiles(values: Sequence[float] | Array) -> dict[str, float]:
    """`p50`, `p99` and `p99.9` of some times, in their unit; NaN of none."""
    marks = (50.0, 99.0, 99.9)
    found = np.percentile(values, marks) if len(values) else np.full(3, np.nan)
    return {f"p{mark:g}": float(value) for mark, value in zip(marks, found, strict=True)}
