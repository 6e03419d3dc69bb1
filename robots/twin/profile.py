"""The way of a servo's setpoint to its goal: limited speed and acceleration, and a stop at the goal."""

import math
from collections import deque
from dataclasses import dataclass


@dataclass
class Profile:
    """One setpoint, in any unit of length."""

    position: float
    speed: float = 0.0
    """Per second."""

    def advance(self, goal: float, top: float, acceleration: float, seconds: float) -> float:
        """Where it is after `seconds` of moving towards `goal`; an `acceleration` of 0 has no limit."""
        away = goal - self.position
        speed = min(top, abs(away) / seconds)
        if acceleration:
            # The speed from which it still stops in time when it brakes once per tick.
            braking = acceleration * (math.sqrt(seconds**2 / 4 + 2 * abs(away) / acceleration) - seconds / 2)
            wanted = math.copysign(min(speed, braking), away)
            self.speed += min(max(wanted - self.speed, -acceleration * seconds), acceleration * seconds)
        else:
            self.speed = math.copysign(speed, away)
        self.position += self.speed * seconds
        return self.position


class Trail:
    """What a value was a while ago, between ticks in proportion; before its first tick, the same as then."""

    def __init__(self) -> None:
        self._values: deque[float] = deque(maxlen=1000)

    def clear(self) -> None:
        """Forget what was."""
        self._values.clear()

    def push(self, value: float, ticks: float) -> float:
        """Add the value of this tick; what it was `ticks` ago, at most as many as a thousand."""
        self._values.append(value)
        whole = int(ticks)
        newer, older = (self._values[-1 - min(n, len(self._values) - 1)] for n in (whole, whole + 1))
        return newer + (ticks - whole) * (older - newer)
