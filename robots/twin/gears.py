"""Play between motor and joint: where the torque turns, the motor crosses the gap before the joint feels it again."""

import numpy as np

from envs.types import Array

DRAG = 0.60
"""[N m s/rad] of a motor that turns alone, at the output shaft: mostly back-EMF (BAM's actuator model of the
STS3215)."""
_STILL = 1e-9
"""[N m]"""


class Gears:
    """J trains of gears in N worlds. Motors in the gap have no inertia and turn at torque / `DRAG`.

    The encoder is on the output shaft, behind the play: what it costs is time without torque, as in the physical model
    of Nordin and Gutman (Automatica 38, 2002) with a shaft that does not bend.
    """

    def __init__(self, worlds: int, joints: int) -> None:
        self._ahead = np.zeros((worlds, joints))
        """[rad] by which motors are ahead of the middle of the gap."""

    def lean(self, torque: Array, width: Array) -> None:
        """Let motors that have pulled with `torque` `[N J]` [N m] for long be on that side of the gap."""
        self._ahead = np.sign(torque) * width / 2

    def engage(self, torque: Array, width: Array, seconds: float) -> Array:
        """The share `[N J]` of the next `seconds` in which motors of that `torque` [N m] reach their joints.

        `width` [rad] is that of the whole gap; both are `[N J]`.
        """
        way = np.sign(torque)
        room = np.maximum(width / 2 - way * self._ahead, 0.0)
        speed = np.abs(torque) / DRAG
        self._ahead = np.clip(self._ahead + way * np.minimum(speed * seconds, room), -width / 2, width / 2)
        return np.clip(1.0 - room / np.maximum(speed * seconds, _STILL), 0.0, 1.0)
