"""A policy that swings an arm's shoulder and records it, in a process that can be killed: on LeRobot's driver or ours.

It prints a line of JSON for everything that happens: `{"process": who holds the port}`, `{"step": recorded so far}`,
`{"noticed": why}` and, of a mistake of its own, `{"failed": why}`. SIGUSR1 makes its next commands wrong.
"""

import json
import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from embodied.data.episodes import EpisodeStore
from embodied.data.journal import Journal, Told
from envs.so101 import JOINT_HIGH, JOINT_LOW
from envs.tasks import task as named_task
from envs.types import Array
from robots import stock
from robots.arm.contract import ArmLostError
from robots.governor.client import SupervisedArm
from robots.governor.guard import State
from robots.governor.supervisor import SupervisorConfig
from robots.perception.truth import TruthSenses
from robots.twin.process import tell
from robots.units import Units, from_features

TASK = "place"
RATE, POLICY_RATE = 50, 25
"""[Hz]."""
SWING, PERIOD = 0.4, 4.0
"""[rad], [s]: to and fro at 0.4 rad/s, and never still."""
EPISODES = (1.0, 6.0)
"""[s] The first is over, and kept, when the fault comes in the second."""
WRONG: dict[str, Callable[[Array], Array]] = {
    "goal": lambda target: target + np.deg2rad(500) * np.eye(6)[0],
    "nan": lambda target: np.full(6, np.nan),
}
"""What a policy can command instead of a target `[6]` [rad]."""


class Course:
    """Where the arm is led, until it is told to lead it elsewhere."""

    def __init__(self, base: Array, wrong: str) -> None:
        self._base, self._wrong = base, WRONG.get(wrong, lambda target: target)
        self._began, self._off = time.monotonic(), False
        signal.signal(signal.SIGUSR1, self._go_wrong)

    def __call__(self) -> Array:
        """Joints `[6]` [rad] now."""
        turn = ((time.monotonic() - self._began) / PERIOD + 0.25) % 1.0
        target = self._base + SWING * (4 * abs(turn - 0.5) - 1) * np.eye(6)[0]
        return self._wrong(target) if self._off else target

    def _go_wrong(self, *_: object) -> None:
        self._off = True


def say(**what: Any) -> None:
    """One line."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def lerobot(port: str, twin: Path, folder: Path, wrong: str, process: int) -> None:
    """A session of `lerobot-record`."""
    robot = stock.follower(port, twin)
    steps, course = 0, None

    def target() -> Array:
        nonlocal steps, course
        if course is None:
            course = Course(Units().to_radians(from_features(robot.get_observation())), wrong)
            say(process=process)
        say(step=steps)
        steps += 1
        return course()

    try:
        stock.record(robot, target, folder, EPISODES, RATE)
    except Exception as error:
        say(noticed=f"{type(error).__name__}: {str(error).strip().splitlines()[0]}")


def ours(port: str, twin: Path, folder: Path, wrong: str, process: int) -> None:
    """What `embodied deploy` does, without a goal."""
    task = named_task(TASK)
    config = SupervisorConfig({"port": port, "id": "twin", "calibration": str(twin)}, rate=float(RATE))
    perceiver = TruthSenses(task.scene, lambda text: tell(twin, text))
    low, high = np.array(JOINT_LOW), np.array(JOINT_HIGH)
    journal = Journal(EpisodeStore(folder))
    steps = 0
    with SupervisedArm(config) as arm:
        report = arm.ready()
        course = Course(report.base, wrong)
        say(process=arm.supervisor)
        for seconds in EPISODES:
            began = time.monotonic()
            assert report.reading is not None
            journal.begin(
                Told(task.goal, 0, TASK, "so101", {}), perceiver.observe(report.reading, report.base, 0.0), False
            )
            while time.monotonic() - began < seconds:
                arm.go(course(), RATE // POLICY_RATE)
                report = arm.ready()
                if "range" in report.cut:
                    say(noticed="cut: " + ", ".join(report.cut))
                if report.reading is None or report.fault is not None:
                    break
                seen = perceiver.observe(report.reading, report.base, time.monotonic() - began)
                journal.add(2 * (report.command - low) / (high - low) - 1, seen, False)
                steps += 1
                say(step=steps)
            journal.end()
            if report.fault is not None:
                say(noticed=report.fault)
                break
        if report.fault is None:
            arm.finish()
            return
        while report.state is not State.RELEASED:
            report = arm.report()


def main(side: str, told: str) -> None:
    """Drive until something ends it, on `side` as the JSON `told` says."""
    values = json.loads(told)
    # Where FFmpeg is not installed it says so in a hundred lines; nothing here decodes a film.
    logging.getLogger("lerobot").setLevel(logging.ERROR)
    drive = {"lerobot": lerobot, "ours": ours}[side]
    try:
        drive(values["port"], Path(values["twin"]), Path(values["folder"]), values["wrong"], os.getpid())
    except ArmLostError as error:
        say(noticed=str(error))
    except Exception:
        say(failed=traceback.format_exc())


if __name__ == "__main__":
    main(*sys.argv[1:])
