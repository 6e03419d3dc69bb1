"""A joint that presses on something gives way, and presses no harder than it may, for as long as it may."""

import numpy as np

from envs.types import Array
from robots.arm.contract import Reading
from robots.governor.limits import Limits
from robots.governor.watch import GRIPPER, MOVING
from robots.units import JOINTS

GIVE = 0.5
"""Factor per tick on how far a joint's command may be ahead of it, while it strains."""
REGAIN = 1.1
"""The same while it does not."""
SOON = 2
"""Ticks in a row that a joint strains before it gives way; one that starts to move strains for less."""


class Yielding:
    """Call `ease` once per servo tick. What is pressed on is told by load: a joint that is stuck, and pushes.

    What gives quickly and regains slowly stays near the limit without knowing how stiff a servo is.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._ahead: Array = np.full(6, np.inf)
        """`[6]` by how much a command may be ahead of its joint [rad]; infinite where nothing is pressed on."""
        self._strained: Array = np.zeros(6, np.int64)
        self._lasted: Array = np.zeros(6)
        self._strayed: Array = np.zeros(6)

    def ease(self, wanted: Array, command: Array, reading: Reading, seconds: float) -> Array:
        """`[6]` what joints are told that are `wanted` elsewhere and have `command` [rad], for a tick of `seconds`."""
        load, away = reading.health.load, wanted - reading.position
        pushes = (away * load > 0.0) & (np.arange(6) != GRIPPER)
        strains = pushes & (np.abs(load) >= self.limits.strained) & (np.abs(reading.velocity) < MOVING)
        self._strained = np.where(strains, self._strained + 1, 0)
        least = np.minimum(self._ahead, np.abs(command - reading.position))
        gives = strains & (np.isfinite(self._ahead) | (self._strained >= SOON))
        ahead = np.where(gives, GIVE * least, REGAIN * self._ahead)
        self._ahead = np.where(pushes & (ahead < np.abs(away)), ahead, np.inf)
        yields = np.isfinite(self._ahead)
        # Who pulls back for a moment and presses on again has not stopped pressing.
        self._lasted = np.where(yields, self._lasted + seconds, np.maximum(self._lasted - seconds, 0.0))
        self._strayed = np.where(yields & (np.abs(away) >= self.limits.astray), self._strayed + seconds, 0.0)
        return reading.position + np.clip(away, -self._ahead, self._ahead)

    @property
    def joints(self) -> tuple[str, ...]:
        """Those that give way now."""
        return tuple(name for name, ahead in zip(JOINTS, self._ahead, strict=True) if np.isfinite(ahead))

    @property
    def fault(self) -> str | None:
        """Why the arm has to stop: what is in the way stays there."""
        for lasted, most, why in (
            (self._lasted, self.limits.pressing, f"has pressed on something for {self.limits.pressing:g} s"),
            (self._strayed, self.limits.patience, "is held off from where it should be"),
        ):
            if (lasted >= most).any():
                return f"{JOINTS[int(lasted.argmax())]} {why}"
        return None
