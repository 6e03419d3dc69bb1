"""What the servos say of their work, weighed over time: go on, go slower, or stop."""

from dataclasses import dataclass

import numpy as np

from envs.types import Array
from robots.arm.contract import Reading
from robots.governor.limits import Limits
from robots.units import JOINTS

SLOW = 0.5
"""Factor on speed while a servo is warm."""
MOVING = 0.3
"""[rad/s] A joint that turns faster is not stuck."""
GRIPPER = len(JOINTS) - 1
"""Jaws that hold something strain for as long as they do; their firmware takes their torque back by itself."""


@dataclass(frozen=True)
class Finding:
    """What one reading amounts to, with those before."""

    speed: float = 1.0
    """Factor on the arm's speed."""
    fault: str | None = None
    """Why it has to stop."""
    warning: str | None = None
    """Why it is slower."""


class Watch:
    """Call `look` once per servo tick. Strains count by ticks, so that a busy machine makes none."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._lasted: dict[str, Array] = {name: np.zeros(6) for name in ("blocked", "pressing", "current", "astray")}
        self._voltage: Array | None = None
        """`[6]` [V] at the start: an arm may have more than one supply."""

    def look(self, reading: Reading, command: Array, seconds: float) -> Finding:
        """Weigh a reading that came `seconds` after the last, with the `command` `[6]` that held until then."""
        limits, health = self.limits, reading.health
        if self._voltage is None:
            self._voltage = health.voltage
        arm = np.arange(6) != GRIPPER
        # A servo that accelerates gives all it has, too.
        stuck = arm & (np.abs(reading.velocity) < MOVING)
        overloaded, away = stuck & (np.abs(health.load) >= limits.overloaded), np.abs(command - reading.position)
        drawing = (np.abs(reading.velocity) < MOVING) & (health.current >= limits.current)
        strain = {
            "blocked": overloaded & (away >= limits.blocked),
            "pressing": overloaded | drawing,
            "current": drawing & (away >= limits.blocked),
            "astray": arm & (away >= limits.astray),
        }
        for name, now in strain.items():
            self._lasted[name] = np.where(now, self._lasted[name] + seconds, 0.0)
        lasting = {
            name: lasted >= (limits.pressing if name == "pressing" else limits.patience)
            for name, lasted in self._lasted.items()
        }
        told = [tuple(word for word in words if arm[j] or word != "overload") for j, words in enumerate(health.errors)]
        for fault, where, values, unit in (
            ("reports " + ", ".join(sorted({word for words in told for word in words})),
             np.array([bool(words) for words in told]), None, ""),
            ("is at", health.temperature >= limits.hot, health.temperature, "C"),
            ("has no more than", health.voltage < (1 - limits.sag) * self._voltage, health.voltage, "V"),
            ("strains with a load of", lasting["blocked"] | lasting["pressing"], health.load, "of its stall torque"),
            ("draws", lasting["current"], health.current, "A"),
            ("is off its command by", lasting["astray"], away, "rad"),
        ):  # fmt: skip
            if where.any():
                j = int(where.argmax())
                value = "" if values is None else f" {values[j]:.2g} {unit}"
                return Finding(0.0, f"{JOINTS[j]} {fault}{value}")
        warm = health.temperature >= limits.warm
        return Finding(SLOW, warning=f"{JOINTS[int(warm.argmax())]} is warm") if warm.any() else Finding()
