"""A guarded arm whose time passes with its ticks alone, in this process: for twins with `clock=reads`, to repeat."""

import time
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, Self

import numpy as np

from envs.types import Array
from robots.arm.lerobot import ArmConfig, LeRobotArm
from robots.governor.governor import Governor
from robots.governor.guard import Guard, Report, State
from robots.governor.supervisor import SupervisorConfig

AGAIN = 0.2
"""[s] between two tries to take the torque off servos that do not answer."""
PATIENCE = 60.0
"""[s] A busy machine may not run the twin for as long; its time stands still meanwhile."""


class SteppedArm:
    """As `robots.governor.client.SupervisedArm`, with the same guard; nothing outlives this process."""

    def __init__(self, config: SupervisorConfig) -> None:
        """Raises `EmbodiedError` for an arm that cannot be had."""
        self.config, self._now = config, 0.0
        self._arm = LeRobotArm(ArmConfig.of(config.arm))
        self._arm.connect(powered=config.moving)
        # Not before: where nothing answers, every question would take as long.
        self._patience = ExitStack()
        self._patience.enter_context(self._arm.calmly(PATIENCE))
        governor = Governor(config.limits, self._arm.joint_range, self._arm.model)
        self._guard = Guard(self._arm, governor, config.rate, clock=lambda: self._now, moving=config.moving)
        self._serial = self._ticks = 0

    def report(self) -> Report:
        """Of another tick; its time is the arm's own."""
        self._now += 1.0 / self.config.rate
        self._ticks += 1
        report = self._guard.tick()
        return report if report.reading is None else replace(report, reading=replace(report.reading, time=self._now))

    def ready(self) -> Report:
        """See `SupervisedArm.ready`."""
        while True:
            report = self.report()
            over = report.fault is not None or report.state is State.RELEASED
            if over or (report.remaining == 0 and report.reading is not None):
                return report

    def go(self, target: Array, steps: int, ramp: int | None = None) -> None:
        """See `SupervisedArm.go`."""
        self._serial += 1
        self._guard.go(np.asarray(target, np.float64), steps, self._serial, ramp)

    def rest(self) -> None:
        """See `SupervisedArm.rest`."""
        self._guard.rest()

    def place_bin(self, pose: Array | None) -> None:
        """See `SupervisedArm.place_bin`."""
        self._guard.governor.place_bin(pose)

    def finish(self, patience: float = 0.0) -> dict[str, Any]:
        """See `SupervisedArm.finish`; of the loop there is nothing to tell but its ticks."""
        self._guard.finish()
        while self._guard.state not in (State.RELEASED, State.LOST):
            self.report()
        # The arm's own time stands still while it does not answer.
        end = time.monotonic() + patience
        while self._guard.state is State.LOST and time.monotonic() < end:
            time.sleep(AGAIN)
            self.report()
        return {"powered": self._guard.powered, "rate": self.config.rate, "ticks": self._ticks, "missed": 0}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._arm.release()
        self._arm.close()
        self._patience.close()
