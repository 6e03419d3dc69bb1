"""From the command that a policy wants to the one that the arm gets: bounded, smooth and clear of what it could hit."""

from dataclasses import dataclass

import numpy as np

from envs.errors import EmbodiedError
from envs.mirror import Mirror
from envs.robot import arm_of
from envs.scene import SceneConfig
from envs.types import Array
from robots.arm.contract import Reading
from robots.governor.limits import Limits
from robots.units import JOINTS

HALVINGS = 5
"""Of the way to a command that leaves the workspace."""
NOTED = 1e-3
"""[rad] A command that differs by less was not cut."""
PARTS = (1.0, 0.5, 0.0)
"""Of the arm's step, tried in turn where solids would meet."""
SINKING = 0.001
"""[m] by which an arm that lies on something may press itself deeper into it while it gets up."""
BEHIND = 0.05
"""[rad] by which a command may trail what was wanted before it counts as cut by the speed limit."""


@dataclass(frozen=True)
class Ruling:
    """What became of a wanted command."""

    command: Array
    """`[6]` for the servos now [rad]."""
    aim: Array
    """`[6]` what was wanted, within range and workspace; where solids would meet or the arm lags, the command [rad]."""
    cut: tuple[str, ...] = ()
    """Why it is not what was wanted: `range speed workspace collision`, and which solids would meet."""
    fault: str | None = None
    """Why the arm has to stop; `command` is then the last one."""


class Governor:
    """Rules on one command per servo tick. Each command is where the last one led, so call `begin` before the first.

    The last command was looked at in its turn: to stay with it is safe whenever the next is not.
    """

    def __init__(self, limits: Limits, joint_range: Array, robot: str = "so101") -> None:
        """`joint_range` `[6 2]` [rad] is the arm's; that of its model, the `robot` of `envs.robot`, holds as well."""
        self.limits = limits
        self._mirror, self._arm = Mirror(SceneConfig(objects=(), goal_entity="bin", robot=robot)), arm_of(robot)
        self._bin: dict[str, Array] = {}
        own = self._mirror.simulation.scene.joint_range
        low = np.maximum(joint_range[:, 0], own[:, 0]) + limits.margin
        high = np.minimum(joint_range[:, 1], own[:, 1]) - limits.margin
        if (low >= high).any():
            raise EmbodiedError(f"No range is left of {', '.join(np.array(JOINTS)[low >= high])}; calibrate the arm.")
        self._low, self._high = low, high
        self._box = np.array(limits.workspace)
        self._top = np.append(np.full(5, limits.velocity), limits.gripper_velocity) * limits.speed
        self.command: Array = np.zeros(6)
        """`[6]` The last one [rad]."""
        self._speed: Array = np.zeros(6)
        self._floor = limits.clearance
        """[m] How near solids may come: as near as they were when it began, until they are apart."""
        self._rehearse()

    def _rehearse(self) -> None:
        """Look ahead once, so that no arm that moves waits for what is loaded at its first use: 0.1 s."""
        middle, rest = (self._low + self._high) / 2, np.zeros(6)
        self._mirror.show(middle, rest, middle, {})
        self._mirror.ahead(middle, self.limits.lookahead)
        self._mirror.nearest()
        self._outside(middle)

    def begin(self, reading: Reading) -> None:
        """Start from where the arm is, at rest."""
        self.command, self._speed = reading.position.copy(), np.zeros(6)
        self._mirror.show(reading.position, reading.velocity, self.command, self._bin)
        self._floor = min(self.limits.clearance, self._mirror.nearest().distance - SINKING)

    def place_bin(self, pose: Array | None) -> None:
        """Say where a bin stands, position [m] and quaternion `[7]`; there is none until this is called."""
        self._bin = {} if pose is None else {"bin": np.append(pose, np.zeros(6))}

    def jump(self, target: Array, reading: Reading) -> str | None:
        """Why a first command `[6]` [rad] is too far away; None if it is not. Jaws open and close as they like."""
        away = np.abs(np.clip(target, self._low, self._high) - reading.position)[:-1]
        if not away.max() > self.limits.first_jump:
            return None
        return (
            f"the first command is {away.max():.2f} rad from where {JOINTS[int(away.argmax())]} is; "
            f"{self.limits.first_jump:g} is allowed"
        )

    def rule(self, wanted: Array, reading: Reading, seconds: float, speed: float = 1.0) -> Ruling:
        """The command for the next `seconds` on the way to `wanted` `[6]` [rad], at `speed` times the usual limits."""
        wanted = np.asarray(wanted, np.float64)
        if wanted.shape != (6,) or not np.isfinite(wanted).all():
            return Ruling(
                self.command,
                self.command,
                fault=f"the command {np.array2string(wanted, precision=3)} is not six numbers",
            )
        inside = np.clip(wanted, self._low, self._high)
        # An arm that lies beyond a limit may stay there, and come back.
        inside = np.where(self.command < self._low, np.maximum(inside, self.command), inside)
        inside = np.where(self.command > self._high, np.minimum(inside, self.command), inside)
        cut = ["range"] if (np.abs(inside - wanted) > NOTED).any() else []
        inside, left = self._within_workspace(inside)
        if left:
            cut.append("workspace")
        command, pace = self._smooth(inside, seconds, speed)
        if (np.abs(command - inside) > BEHIND + np.abs(pace) * seconds).any():
            cut.append("speed")
            inside = command
        allowed, met = self._clear(command, reading)
        if met is not None:
            cut.append(f"collision of {met[0]} and {met[1]}")
            pace = (allowed - self.command) / seconds
            inside = np.append(allowed[:-1], inside[-1] if pace[-1] else allowed[-1])
        self.command, self._speed = allowed, pace
        return Ruling(allowed, inside, tuple(cut))

    def _within_workspace(self, target: Array) -> tuple[Array, bool]:
        """The part of the way to `target` that does not leave the box, or leaves it no farther than the arm is."""
        allowed = max(self._outside(self.command), 0.0) + 1e-6
        if self._outside(target) <= allowed:
            return target, False
        inside, outside = 0.0, 1.0
        for _ in range(HALVINGS):
            middle = (inside + outside) / 2
            if self._outside(self.command + middle * (target - self.command)) <= allowed:
                inside = middle
            else:
                outside = middle
        return self.command + inside * (target - self.command), True

    def _outside(self, joints: Array) -> float:
        """By how much the tool is beyond a side of the box [m]; negative within."""
        tool = self._arm.forward(joints).position
        return float(np.maximum(self._box[:, 0] - tool, tool - self._box[:, 1]).max())

    def _smooth(self, target: Array, seconds: float, speed: float) -> tuple[Array, Array]:
        """The next command and its speed, of limited speed and acceleration and braking in time to stop at `target`.

        From rest, the arm's joints go a straight way and arrive together: one that is there first would take the hand
        elsewhere, and into the table where it is led along it.
        """
        away, most, top = target - self.command, self.limits.acceleration * seconds, self._top * speed
        side, far = np.sign(away), np.abs(away)
        longest = far[:-1].max()
        share = np.append(far[:-1] / longest if longest > 0 else np.zeros(5), 1.0)
        alone = side * np.minimum(top, _braking(far, most, seconds))
        joint = side * share * np.minimum(top, _braking(np.append(np.full(5, longest), far[-1]), most, seconds))
        change = joint - self._speed
        change[:-1] *= most / max(most, np.abs(change[:-1]).max())
        change[-1] = np.clip(change[-1], -most, most)
        pace = self._speed + change
        # None waits for the others with what it needs to stop in time.
        late = (pace * side > np.abs(alone)) | (pace * side < 0) | (side == 0)
        pace = np.where(late, self._speed + np.clip(alone - self._speed, -most, most), pace)
        return self.command + pace * seconds, pace

    def _clear(self, command: Array, reading: Reading) -> tuple[Array, tuple[str, str] | None]:
        """What of `command` brings no solids together, and which ones the whole of it would; None if it stays clear."""
        if np.array_equal(command, self.command):
            return command, None
        met, step = None, command - self.command
        # What is in the arm's way need not be in the jaws'.
        for share in PARTS:
            part = self.command + step * np.append(np.full(5, share), 1.0)
            self._mirror.show(reading.position, reading.velocity, self.command, self._bin)
            if met is None:
                self._floor = max(self._floor, min(self.limits.clearance, self._mirror.nearest().distance - SINKING))
            then = self._mirror.ahead(part, self.limits.lookahead)
            if then.distance >= self._floor:
                return part, met
            met = met or then.pair
        return self.command, met


def _braking(away: Array, most: float, seconds: float) -> Array:
    """The speed from which it stops after `away`, when it loses `most`, the same in every tick but the last."""
    units = away / (most * seconds)
    whole = np.floor((np.sqrt(1 + 8 * units) - 1) / 2)
    return np.asarray(most * (whole / 2 + units / (whole + 1)))
