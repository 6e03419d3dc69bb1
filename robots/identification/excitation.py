"""Motion that tells the servos' parameters apart, and that the governor has nothing to cut from."""

from dataclasses import dataclass

import numpy as np

from envs.errors import EmbodiedError
from envs.types import Array
from robots.arm.contract import Health, Reading
from robots.governor.governor import Governor

POSTURE = np.array([0.0, -0.7, 0.5, 0.6, 0.0, 0.7])
"""[rad] Around which the joints swing: in the air, bent, gripper half open."""
AMPLITUDE = np.array([0.5, 0.3, 0.3, 0.45, 0.7, 0.4])
"""[rad]."""
SLOWEST, FASTEST, TONES = 0.15, 3.0, 7
"""[Hz], [Hz] Slow tones tell stiffness and dry friction, fast ones damping and delay."""
SHIFT = 0.07
"""By which every joint's tones are higher than those of the one before, so that none moves with another."""
SPEED_SHARE = 0.7
"""Of the governor's velocity limits."""
RAMP = 1.0
"""[s] to swing in and to swing out."""
SMALLER, LEAST = 0.8, 0.25
"""Factor of each next try, and the least amplitude that is worth a log."""


@dataclass(frozen=True)
class Excitation:
    """Commands for one log."""

    commands: Array
    """`[T 6]` [rad]; begins and ends at `POSTURE`."""
    scale: float
    """Share of the full amplitude that was left to it."""


def excite(governor: Governor, seconds: float, rate: float, seed: int) -> Excitation:
    """Multisines of random phase for all joints at once, `rate` [Hz], as large as the governor lets pass uncut.

    All tones are equally fast, so that joints turn back often, from small and from wide swings: that sets backlash
    apart from delay. The governor may round the fastest turns. Raises `EmbodiedError` where nothing worth a log is
    left.
    """
    signal = _multisine(seconds, rate, np.random.default_rng(seed))
    limits = governor.limits
    top = np.append(np.full(5, limits.velocity), limits.gripper_velocity) * limits.speed
    signal *= np.minimum(1.0, SPEED_SHARE * top / (rate * np.abs(np.diff(signal, axis=0)).max(axis=0)))
    scale = 1.0
    while scale >= LEAST:
        commands = POSTURE + scale * signal
        if (cut := _cut(governor, commands, 1.0 / rate)) is None:
            return Excitation(commands, scale)
        scale *= SMALLER
    raise EmbodiedError(f"The governor leaves no room to move the joints ({cut}); give the arm more, or wider limits.")


def _multisine(seconds: float, rate: float, random: np.random.Generator) -> Array:
    time = np.arange(round(seconds * rate) + 1) / rate
    tones = np.geomspace(SLOWEST, FASTEST, TONES)
    frequency = tones * (1.0 + SHIFT * np.arange(6)[:, None])
    phase = random.uniform(0.0, 2 * np.pi, frequency.shape)
    signal = (np.sin(2 * np.pi * frequency * time[:, None, None] + phase) / frequency).sum(axis=-1)
    ends = np.clip(np.minimum(time, time[-1] - time) / RAMP, 0.0, 1.0)[:, None]
    signal *= ends**2 * (3.0 - 2.0 * ends)
    return np.asarray(AMPLITUDE * signal / np.abs(signal).max(axis=0))


def _cut(governor: Governor, commands: Array, seconds: float) -> str | None:
    """Why the governor would change a command, for an arm that follows at once; None if it lets all pass."""
    unknown = np.zeros(6)
    health = Health(unknown, unknown, unknown, unknown, ((),) * 6)
    position = commands[0]
    governor.begin(Reading(0.0, position, unknown, health))
    for k, command in enumerate(commands):
        ruling = governor.rule(command, Reading(k * seconds, position, unknown, health), seconds)
        if ruling.fault or ruling.cut:
            return ruling.fault or ", ".join(ruling.cut)
        position = ruling.command
    return None
