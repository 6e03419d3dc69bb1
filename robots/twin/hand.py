"""A hand that leads the joints which no motor holds: what a person does with a leader arm, and while calibrating."""

from collections.abc import Mapping, Sequence

import numpy as np

from envs.errors import EmbodiedError, unknown
from envs.text import Call, parse_number
from envs.types import Array
from robots.units import JOINTS

SPEED = 2.5
"""[rad/s] of the joint that has farthest to go."""
REST = 0.25
"""[s] in every posture."""
PUSH = 0.05
"""[rad] by which it aims beyond a stop."""
GAIN, DAMPING, LIMIT = 100.0, 8.0, 8.0
"""[N m/rad], [N m s/rad], [N m] A firm grip."""

_END = 2.9
"""[rad] Beyond every limit but the wrist's roll: the hand pushes joints to their stops."""
MIDDLE: Sequence[Mapping[str, float]] = (
    {"shoulder_lift": -1.0},
    {name: 0.78 if name == "gripper" else 0.0 for name in JOINTS},
)
"""Off the table first, then every joint to the middle of its range."""
SWEEP: Sequence[Mapping[str, float]] = (
    *MIDDLE,
    {"shoulder_pan": -_END},
    {"shoulder_pan": _END},
    {"shoulder_pan": 0.0, "shoulder_lift": -1.3},
    {"elbow_flex": _END},
    {"elbow_flex": -_END},
    {"shoulder_lift": _END},
    {"shoulder_lift": -0.6},
    {"elbow_flex": 1.2, "wrist_flex": 0.0},
    {"shoulder_lift": -_END},
    {"shoulder_lift": 0.0, "elbow_flex": 0.0},
    {"wrist_flex": -_END},
    {"wrist_flex": _END},
    {"wrist_flex": 0.0, "gripper": -_END},
    {"gripper": _END},
    {"gripper": 0.8},
)
"""Every joint to both ends in turn, clear of the table; one that is not named stays where it is."""


class Hand:
    """Leads joints through postures, one after the other, and holds them in the last."""

    def __init__(self) -> None:
        self.target: Array | None = None
        """`[6]` where it holds the joints now [rad]; None for a hand that is away."""
        self._ahead: list[Mapping[str, float]] = []
        self._rested = 0.0

    @property
    def busy(self) -> bool:
        """Whether it has somewhere to go still."""
        return bool(self._ahead)

    def lead(self, call: Call, angles: Array) -> None:
        """`hand(middle)`, `hand(sweep)`, `hand(elbow_flex=0.5, ...)` [rad], or `hand()` to let go.

        `angles` `[6]` [rad] are where the joints are. Raises `EmbodiedError` for anything else.
        """
        if not call.positional and not call.keywords:
            self.target, self._ahead = None, []
            return
        if call.positional:
            ways = {"middle": MIDDLE, "sweep": SWEEP}
            if len(call.positional) > 1 or call.keywords:
                raise EmbodiedError(f"{call.text!r} is not understood: write hand(sweep) or hand(elbow_flex=0.5).")
            if call.positional[0] not in ways:
                raise unknown("way of the hand", call.positional[0], ways)
            way = ways[call.positional[0]]
        else:
            for name in call.keywords:
                if name not in JOINTS:
                    raise unknown("joint", name, JOINTS)
            way = [{name: parse_number(value, name, call.text) for name, value in call.keywords.items()}]
        self.target = np.array(angles, np.float64)
        self._ahead, self._rested = list(way), 0.0

    def move(self, limits: Array, seconds: float) -> None:
        """Go on for `seconds`, within `limits` `[6 2]` [rad] of the joints."""
        if self.target is None or not self._ahead:
            return
        posture = dict(zip(JOINTS, self.target, strict=True)) | dict(self._ahead[0])
        # A little beyond the stops, for the grip gives way.
        low, high = limits.T
        goal = np.clip([posture[name] for name in JOINTS], low - PUSH, high + PUSH)
        away = goal - self.target
        self.target = self.target + np.clip(away, -SPEED * seconds, SPEED * seconds)
        if not away.any():
            self._rested += seconds
            if self._rested >= REST:
                self._ahead.pop(0)
                self._rested = 0.0
