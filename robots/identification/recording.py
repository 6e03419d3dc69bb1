"""Leading an arm under guard through an excitation, and the log of it."""

import math
from collections.abc import Callable
from typing import Protocol

import numpy as np

from envs.errors import EmbodiedError
from envs.types import Array
from robots.governor.guard import Guard, Report
from robots.identification.excitation import POSTURE
from robots.identification.log import Log

STRIDE = 0.03
"""[rad] of every joint per servo tick on the way to the start."""
NEAR = 0.02
"""[rad] at which it has got there."""
TRIES = 400
"""Ticks that the way may take."""
STILL = 60
"""Ticks for which the arm then stands still."""


class Driven(Protocol):
    """An arm that takes one order per servo tick, see `robots.governor.client.SupervisedArm`."""

    def go(self, target: Array, steps: int) -> None:
        """Order it to `target` `[6]` [rad] in so many ticks."""
        ...

    def ready(self) -> Report:
        """The report on which the next order is due."""
        ...

    def rest(self) -> None:
        """Let it stay where it is."""
        ...


class Lockstep:
    """An arm on a twin whose time passes with packets: its servo ticks are those that are asked for."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    def go(self, target: Array, steps: int) -> None:
        """See `Driven.go`."""
        self._guard.go(target, steps)

    def ready(self) -> Report:
        """See `Driven.ready`."""
        while True:
            report = self._guard.tick()
            if report.fault is not None or (report.reading is not None and report.remaining == 0):
                return report

    def rest(self) -> None:
        """See `Driven.rest`."""
        self._guard.rest()


class PacketClock:
    """The time of a twin in lockstep, before each servo tick: a question and an order after the last one."""

    def __init__(self, now: Callable[[], float], packet_time: float) -> None:
        """`now` [s] asks the twin, which may not have heard the order yet: nobody answers those."""
        self._now, self._tick = now, 2 * packet_time
        self._last = -math.inf

    def __call__(self) -> float:
        """[s]."""
        while (time := self._now()) < self._last + self._tick - 1e-9:
            pass
        self._last = time
        return time


def record(arm: Driven, commands: Array, now: Callable[[], float] | None = None, latency: float = 0.0) -> Log:
    """Lead the arm to the excitation's posture and then through `commands` `[T 6]` [rad], one per servo tick.

    Times are those of the readings, or what `now()` [s] says before each tick, for an arm with a time of its own.
    Commands are sent `latency` [s] after that; what a real arm takes counts as delay of its servos. What is logged is
    what the governor let pass. Raises `EmbodiedError` if it stops the arm.
    """
    _settle(arm, now)
    time, command, position = [], [], []
    for wanted in commands:
        before = None if now is None else now()
        arm.go(wanted, 1)
        report = _checked(arm.ready())
        if report.reading is None:
            raise EmbodiedError("The arm did not answer; try again.")
        time.append(report.reading.time if before is None else before)
        command.append(report.command)
        position.append(report.reading.position)
    arm.rest()
    stamps = np.array(time) - time[0]
    return Log(stamps, stamps + latency, np.array(command), np.array(position))


def _settle(arm: Driven, now: Callable[[], float] | None) -> None:
    report = _checked(arm.ready())
    for _ in range(TRIES):
        away = POSTURE - report.command
        if np.abs(away).max() <= NEAR:
            break
        arm.go(report.command + np.clip(away, -STRIDE, STRIDE), 1)
        report = _checked(arm.ready())
    else:
        cut = ", ".join(report.cut) or "it does not move"
        raise EmbodiedError(f"The arm cannot get to where it would be excited ({cut}); clear its way.")
    for _ in range(STILL):
        if now is not None:
            now()
        arm.go(POSTURE, 1)
        _checked(arm.ready())


def _checked(report: Report) -> Report:
    if report.fault is not None:
        raise EmbodiedError(f"The arm was stopped: {report.fault}.")
    return report
