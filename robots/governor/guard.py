"""One arm under guard, tick by tick: what it is told, what it is allowed, how it comes to rest when something fails.

    READY -> FOLLOWING -> HOLDING -> LOWERING -> RELEASED

A fault leads from anywhere to HOLDING, and on from there by itself: the arm stands still, its torque goes down, and it
is let go. Where servos do not answer, the torque is taken off whichever does, again and again, through a port that is
opened anew if it has to be: LOST, and RELEASED once nothing has torque any more.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from envs.types import Array
from robots.arm.contract import ArmLostError, Reading, Robot
from robots.governor.governor import Governor, Ruling
from robots.governor.watch import GRIPPER, Finding, Watch
from robots.governor.yielding import Yielding

ENOUGH = 0.4
"""Share of torque with which a lowering begins: it holds an arm that is stretched out, with 100 g in its jaws."""
STEPS = 20
"""In which the torque goes down from there."""


UNHEARD = "the servos do not answer: check the arm's cable and power"


class State(StrEnum):
    """Where the arm is on its way from being told to being let go."""

    READY = "ready"
    FOLLOWING = "following"
    HOLDING = "holding"
    LOWERING = "lowering"
    RELEASED = "released"
    LOST = "lost"


@dataclass(frozen=True)
class Report:
    """One tick."""

    state: State
    reading: Reading | None
    """None where the servos did not answer."""
    command: Array
    """`[6]` what holds for the servos from now on [rad]."""
    wanted: Array
    """`[6]` what the policy would have them do now [rad]."""
    base: Array
    """`[6]` what the next order is counted from [rad]: the last one's end, as far as it was allowed."""
    serial: int
    """Number of the last order."""
    remaining: int
    """Ticks until it is carried out."""
    cut: tuple[str, ...] = ()
    """What was cut since it was given, see `Ruling`."""
    fault: str | None = None
    """Why the arm stopped; stays."""
    warning: str | None = None
    """Why it is slower than it could be."""
    powered: tuple[str, ...] = ()
    """Once it is let go or lost: joints that may have torque still."""


class Guard:
    """Owns a connected arm."""

    def __init__(
        self,
        arm: Robot,
        governor: Governor,
        rate: float,
        clock: Callable[[], float] = time.monotonic,
        moving: bool = True,
    ) -> None:
        """`rate` [Hz] of its ticks. With `moving=False` it rules on commands, and no servo hears of any."""
        self.arm, self.governor, self.period, self.moving = arm, governor, 1.0 / rate, moving
        self.state = State.READY
        self.fault: str | None = None
        self._watch, self._yielding = Watch(governor.limits), Yielding(governor.limits)
        self._clock = clock
        self._wanted: Array = np.zeros(6)
        self._goal: Array = self._wanted
        self._start: Array = self._wanted
        self._base: Array = self._wanted
        self._steps = self._ramp = self._done = 0
        self._heard: float | None = None
        """When the policy last spoke [s]; None while nothing is asked of it."""
        self._answered = clock()
        self._since = 0.0
        self._share = STEPS + 1
        self._cut: tuple[str, ...] = ()
        self._serial = 0
        self._last: Reading | None = None
        self.powered: tuple[str, ...] = ()

    def go(self, target: Array, steps: int, serial: int = 0, ramp: int | None = None) -> None:
        """Lead the arm to `target` `[6]` [rad]; another order is awaited after `steps` ticks.

        It is told in equal parts over `ramp` ticks, all of them unless given; the limits round off what is left.
        """
        self._heard, self._serial = self._clock(), serial
        if self.state not in (State.READY, State.FOLLOWING) or self._last is None:
            return
        if not self.moving:
            # Nothing follows: every order is ruled from where the arm is.
            self.governor.begin(self._last)
            self._base = self.governor.command
        elif self.state is State.READY and (jump := self.governor.jump(target, self._last)) is not None:
            self.stop(jump)
            return
        self._start, self._goal = self._base, np.asarray(target, np.float64)
        self._steps, self._done, self._cut, self.state = max(steps, 1), 0, (), State.FOLLOWING
        self._ramp = self._steps if ramp is None else max(ramp, 1)

    def rest(self) -> None:
        """Stay where it is, with torque, and await nothing, as between episodes."""
        self._heard = None
        if self.state is State.FOLLOWING:
            self.state = State.READY

    def stop(self, why: str) -> None:
        """Hold, lower, let go; the first reason stays. An arm that is not driven is let go at once."""
        if self.state in (State.READY, State.FOLLOWING):
            self.fault, self.state, self._since = why, State.HOLDING, self._clock()
            if not self.moving:
                self._let_go()

    def finish(self) -> None:
        """Let the arm down and go, without a fault; one that is not driven is let go at once."""
        if not self.moving:
            self._let_go()
        elif self.state in (State.READY, State.FOLLOWING):
            self.state, self._since = State.LOWERING, self._clock()

    def tick(self) -> Report:
        """Read, rule, command."""
        reading = self._read()
        if reading is None:
            self._silent()
            return self._report(None)
        if self._last is None:
            self.governor.begin(reading)
            self._wanted = self._base = self.governor.command
        self._last = reading
        found = self._watch.look(reading, self.governor.command, self.period)
        # An arm that is not driven strays as it likes.
        if self.moving and found.fault is not None:
            self.stop(found.fault)
        now = self._clock()
        if self._heard is not None and now - self._heard > self.governor.limits.silence:
            self.stop(f"the policy has been silent for {now - self._heard:.2f} s")
        ruling = self._advance(reading, found)
        if (fault := ruling.fault or self._yielding.fault) is not None:
            self.stop(fault)
        try:
            if self.moving and self.state is not State.RELEASED:
                self.arm.command(self.governor.command)
                self._lower(now)
        except ArmLostError:
            # What is wrong shows when it is read next.
            pass
        return self._report(reading, found.warning or (None if self.moving else found.fault))

    def _read(self) -> Reading | None:
        if self.state is State.LOST:
            return None
        try:
            reading = self.arm.read()
        except ArmLostError:
            return None
        self._answered = self._clock()
        return reading

    def _silent(self) -> None:
        """The servos did not answer: wait a little, then take the torque off whatever hears."""
        if self.state is State.RELEASED:
            return
        if self.state is not State.LOST:
            if self._clock() - self._answered <= self.governor.limits.silence:
                return
            self.fault, self.state = self.fault or UNHEARD, State.LOST
        self._let_go()
        if self.powered:
            self.arm.close(reopen=True)

    def _advance(self, reading: Reading, found: Finding) -> Ruling:
        """The next command, by the order that holds or on the way to a standstill."""
        if self.state is State.RELEASED:
            return Ruling(self.governor.command, self.governor.command)
        if self.state is State.FOLLOWING:
            self._done = min(self._done + 1, self._steps)
            self._wanted = self._start + min(self._done / self._ramp, 1.0) * (self._goal - self._start)
        elif self.state in (State.HOLDING, State.LOWERING):
            limits, arm = self.governor.limits, np.arange(6) != GRIPPER
            off = np.abs(self.governor.command - reading.position) > limits.astray / 4
            # What is stuck is not pushed on; jaws keep what they hold.
            off |= arm & (np.abs(reading.health.load) >= limits.strained)
            self._wanted = np.where(off, reading.position, self.governor.command)
        wanted, cut = self._wanted, tuple[str, ...]()
        if self.moving and self.state in (State.READY, State.FOLLOWING):
            wanted = self._yielding.ease(wanted, self.governor.command, reading, self.period)
            cut = ("load",) if self._yielding.joints else ()
        ruling = self.governor.rule(wanted, reading, self.period, found.speed or 1.0)
        cut += ruling.cut
        if self._done < self._steps:
            # It may get there yet.
            cut = tuple(why for why in cut if why != "speed")
        self._base, self._cut = ruling.aim, tuple(dict.fromkeys(self._cut + cut))
        return ruling

    def _lower(self, now: float) -> None:
        limits = self.governor.limits
        if self.state is State.HOLDING and now - self._since >= limits.holding:
            self.state, self._since = State.LOWERING, now
        if self.state is State.LOWERING:
            left = STEPS - int(STEPS * (now - self._since) / limits.lowering)
            if left < 1:
                self._let_go()
            elif left < self._share:
                self._share = left
                self.arm.limit_torque(ENOUGH * left / STEPS)

    def _let_go(self) -> None:
        self.powered = self.arm.release()
        self.state = State.RELEASED if not self.powered else State.LOST

    def _report(self, reading: Reading | None, warning: str | None = None) -> Report:
        return Report(
            state=self.state,
            reading=reading,
            command=self.governor.command.copy(),
            wanted=self._wanted.copy(),
            base=self._base.copy(),
            serial=self._serial,
            remaining=self._steps - self._done,
            cut=self._cut,
            fault=self.fault,
            warning=warning,
            powered=self.powered,
        )
