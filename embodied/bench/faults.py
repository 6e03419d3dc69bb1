"""What becomes of an arm, and of what was recorded, when something fails: with LeRobot's driver alone, and with ours.

Each part is one fault, on a twin on the wall's clock, while a policy in a process of its own swings the shoulder and
records (`embodied.bench.driven`). What is measured is the twin's truth, not what a driver says.

- noticed: the driver stopped, refused, or let go of the arm by itself within `NOTICE`; not at the end of its session.
- safe: every joint has no torque, or stands still for `STEADY` without straining. For a command that is wrong: no servo
  is sent beyond its range. For a line that is dead, the time until the torque is off once it answers again counts too:
  nobody can tell servos anything before that. Where the fault was not noticed there is no such time.
- lost: steps that were recorded before the fault and cannot be read afterwards.
"""

import json
import math
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from embodied.bench.driven import EPISODES, POLICY_RATE, RATE
from embodied.bench.harness import Figure, figure
from embodied.console import Console
from embodied.data.episodes import EpisodeStore
from embodied.data.journal import Journal
from envs.errors import EmbodiedError
from envs.robot import HOME
from envs.so101 import JOINT_HIGH, JOINT_LOW
from envs.types import Array
from robots import stock
from robots.twin.process import TwinProcess
from robots.twin.server import TwinConfig
from robots.units import JOINTS

SERVOS = {
    "overload": "overload(elbow_flex)",
    "heat": "heat(wrist_flex, 85)",
    "sag": "sag(4.5)",
    "stall": "stall(shoulder_pan)",
}
LINES = {"power": "power()", "unplug": "unplug()", "noise": "corrupt(1)"}
"""The line comes back after `AWAY`."""
PROCESSES = {"killed": signal.SIGKILL, "frozen": signal.SIGSTOP, "driver_killed": signal.SIGKILL}
"""The policy's process; last, the one that holds the port, which with LeRobot is the same."""
COMMANDS = ("goal", "nan")
PARTS = (*SERVOS, *LINES, *PROCESSES, *COMMANDS)
SEEDS = 1
SIDES = ("ours", "lerobot")

AWAY = 1.5
"""[s]."""
STEADY = 0.5
"""[s]."""
NOTICE = 2.0
"""[s]."""
STILL, STRAIN = 0.01, 0.6
"""[rad] by which a joint may move in that time; share of stall torque."""
STALL = 3.35
"""[N m] of the twin's servos."""
SAMPLE = 0.02
"""[s] between two looks."""
TRIES = 8
WATCHED = {"ours": 30.0, "lerobot": 12.0}
"""[s] at most; LeRobot's driver is looked at until its process has ended, ours until nothing has torque, too."""


def measure(part: str, seed: int, quick: bool, console: Console) -> Mapping[str, Any]:
    """One fault with both drivers."""
    sides = SIDES[:1] if quick else SIDES
    with tempfile.TemporaryDirectory() as folder, TwinProcess(TwinConfig(folder=folder, picture=0.0)) as twin:
        return {side: _tried(part, side, twin, Path(folder) / side, console) for side in sides}


def summarise(samples: Mapping[str, Sequence[Mapping[str, Any]]]) -> Mapping[str, Figure]:
    """Per fault and driver, and what is asked of ours over all of them."""
    figures: dict[str, Figure] = {}
    for side, prefix in (("ours", ""), ("lerobot", "lerobot_")):
        raws = {part: [raw[side] for raw in each if side in raw] for part, each in samples.items()}
        raws = {part: each for part, each in raws.items() if each}
        if not raws:
            continue
        every = [raw for each in raws.values() for raw in each]
        count = min(len(each) for each in raws.values())
        worst = max((math.inf if raw["safe"] is None else raw["safe"] for raw in every), default=math.inf)
        figures[f"{prefix}detected"] = figure(
            sum(all(r["noticed"] for r in each) for each in raws.values()), "1", count
        )
        figures[f"{prefix}of"] = figure(len(raws), "1", count)
        figures[f"{prefix}worst_time_to_safe_s"] = figure(worst, "s", count)
        figures[f"{prefix}servos_left_powered"] = figure(max(raw["powered"] for raw in every), "1", count)
        figures[f"{prefix}steps_lost"] = figure(max(raw["lost"] for raw in every), "1", count)
        figures[f"{prefix}steps_wrong"] = figure(max(raw["wrong"] for raw in every), "1", count)
        for part, each in raws.items():
            for key, unit in (("noticed", "1"), ("safe", "s"), ("torque_off", "s"), ("powered", "1"), ("lost", "1")):
                values = [math.nan if raw[key] is None else float(raw[key]) for raw in each]
                worst = min(values) if key == "noticed" else max(values, key=lambda x: math.inf if math.isnan(x) else x)
                figures[f"{prefix}{part}_{key}"] = figure(worst, unit, len(each))
    return figures


@dataclass
class Watched:
    """A twin's truth over time."""

    times: list[float] = field(default_factory=list)
    """[s] since the fault."""
    joints: list[list[float]] = field(default_factory=list)
    """Six each [rad]; `goals` too."""
    goals: list[list[float]] = field(default_factory=list)
    enabled: list[list[bool]] = field(default_factory=list)
    strain: list[list[float]] = field(default_factory=list)
    """Torque as a share of stall torque."""

    def look(self, twin: TwinProcess, began: float) -> bool:
        """Note what is; whether anything has torque."""
        truth = twin.tell("truth()")
        self.times.append(time.monotonic() - began)
        self.joints.append([truth["joints"][name] for name in JOINTS])
        self.goals.append([truth["goal"][name] for name in JOINTS])
        self.enabled.append([truth["enabled"][name] for name in JOINTS])
        self.strain.append([abs(truth["torque"][name]) / STALL for name in JOINTS])
        return any(self.enabled[-1])

    @property
    def torque_off(self) -> float | None:
        """When the last servo lost its torque for good [s]; None where one has some at the end."""
        on: Array = np.array(self.enabled).any(axis=1)
        if on[-1]:
            return None
        return 0.0 if not on.any() else self.times[min(int(np.flatnonzero(on)[-1]) + 1, len(on) - 1)]

    @property
    def standing(self) -> float | None:
        """When the arm first stood, or was without torque [s]."""
        times, joints, goals = np.array(self.times), np.array(self.joints), np.array(self.goals)
        on, strain = np.array(self.enabled), np.array(self.strain)
        for k, now in enumerate(times):
            if not on[k].any():
                return float(now)
            window = (times >= now) & (times <= now + STEADY)
            if times[-1] < now + STEADY:
                return None
            moved = np.maximum(np.ptp(joints[window], axis=0), np.ptp(goals[window], axis=0))[on[k]]
            if moved.max() < STILL and strain[k][on[k]].max() < STRAIN:
                return float(now)
        return None

    @property
    def within_range(self) -> float | None:
        """Since when no servo is sent beyond its range [s]; None where one is at the end."""
        goals = np.array(self.goals)
        beyond: Array = ((goals < np.array(JOINT_LOW) - STILL) | (goals > np.array(JOINT_HIGH) + STILL)).any(axis=1)
        if beyond[-1]:
            return None
        return 0.0 if not beyond.any() else self.times[int(np.flatnonzero(beyond)[-1]) + 1]


def _tried(part: str, side: str, twin: TwinProcess, folder: Path, console: Console) -> dict[str, Any]:
    """One fault with one driver, begun again where a busy machine stopped the policy before the fault did."""
    for attempt in range(1, TRIES + 1):
        try:
            return {**_suffer(part, side, twin, folder / str(attempt)), "attempts": attempt}
        except _EndedError as error:
            console.say(f"{part} with {side}: {error}")
    raise EmbodiedError(f"The machine is too busy: {TRIES} times the policy had ended before the fault {part!r} came.")


def _suffer(part: str, side: str, twin: TwinProcess, folder: Path) -> dict[str, Any]:
    """One fault with one driver."""
    _recover(twin)
    told = {"port": twin.port, "twin": str(twin.folder), "folder": str(folder), "wrong": part}
    program = [sys.executable, "-m", "embodied.bench.driven", side, json.dumps(told)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as policy:
        try:
            lines = _Lines(policy)
            holder = lines.until("process")
            twin.tell("hand()")
            due = (EPISODES[0] + 1.2) * (POLICY_RATE if side == "ours" else RATE)
            while lines.until("step") < due:
                pass
            began = time.monotonic()
            watched, back = _watch(part, side, twin, policy, holder, began)
        finally:
            policy.kill()
    lines.drain()
    off = watched.torque_off
    noticed = lines.at is not None and lines.at - began < NOTICE
    # What is killed can tell nobody; what outlives it and lets the arm go has noticed.
    noticed = noticed or (side == "ours" and part in PROCESSES and off is not None)
    safe = watched.within_range if part == "goal" else watched.standing
    if noticed and safe is not None and back is not None:
        # Servos that have lost their power have no torque before.
        safe = None if off is None else max(safe, off - back)
    stored = _stored(side, folder)
    return {
        "noticed": noticed, "why": lines.noticed, "noticed_after": None if lines.at is None else lines.at - began,
        "safe": safe if noticed else None, "torque_off": off, "powered": sum(watched.enabled[-1]),
        "lost": max(lines.steps - len(stored), 0), "recorded": lines.steps,
        "wrong": int((np.abs(stored) > 1.0 + 1e-6).any(axis=1).sum()),
    }  # fmt: skip


def _watch(
    part: str, side: str, twin: TwinProcess, policy: subprocess.Popen[str], holder: int, began: float
) -> tuple[Watched, float | None]:
    """Bring the fault about and look until nothing has torque; with when a line was back [s]."""
    if part in SERVOS or part in LINES:
        twin.tell({**SERVOS, **LINES}[part])
    elif part in COMMANDS:
        policy.send_signal(signal.SIGUSR1)
    else:
        os.kill(holder if part == "driver_killed" else policy.pid, PROCESSES[part])
    watched, back = Watched(), None
    while time.monotonic() - began < WATCHED[side]:
        powered = watched.look(twin, began)
        since = watched.times[-1]
        if part in LINES and back is None and since > AWAY:
            twin.tell(f"clear({LINES[part].partition('(')[0]})")
            back = time.monotonic() - began
        ended = policy.poll() is not None or part == "frozen"
        if since > AWAY + 1.0 and ended and (side == "lerobot" or not powered):
            break
        time.sleep(SAMPLE)
    return watched, back


def _recover(twin: TwinProcess) -> None:
    """New power, no fault, and the arm above the table, held by a hand."""
    twin.tell("power()")
    twin.tell("clear()")
    twin.tell(f"hand({', '.join(f'{name}={angle}' for name, angle in zip(JOINTS, HOME, strict=True))})")
    while twin.tell("advance(0.5)")["hand"]:
        pass


def _stored(side: str, folder: Path) -> Array:
    """Actions `[T 6]` that can be read, as a share of the joints' range, -1..1."""
    if side == "ours":
        store = EpisodeStore(folder)
        Journal(store)
        episodes = [np.asarray(episode.action) for episode in store]
        return np.concatenate([np.zeros((0, 6)), *episodes])
    low, high = np.array(JOINT_LOW), np.array(JOINT_HIGH)
    return 2 * (stock.recorded(folder) - low) / (high - low) - 1


class _EndedError(Exception):
    """The policy's process is over, and should not be."""


class _Lines:
    """What a policy's process prints, with when."""

    def __init__(self, policy: subprocess.Popen[str]) -> None:
        self._lines: queue.Queue[tuple[float, str]] = queue.Queue()
        self.steps = 0
        self.noticed: str | None = None
        self.at: float | None = None

        def read() -> None:
            assert policy.stdout is not None
            for line in policy.stdout:
                self._lines.put((time.monotonic(), line))
            self._lines.put((time.monotonic(), ""))

        self._thread = threading.Thread(target=read, daemon=True)
        self._thread.start()

    def until(self, key: str) -> int:
        """The next value of `key`."""
        while True:
            values = self._next()
            if values is None:
                raise _EndedError(f"the policy ended before the fault: {self.noticed}")
            if key in values:
                return int(values[key])

    def drain(self) -> None:
        """Take in the rest, once the process has ended."""
        while self._next() is not None:
            pass

    def _next(self) -> dict[str, Any] | None:
        at, line = self._lines.get()
        if not line:
            return None
        values: dict[str, Any] = json.loads(line) if line.startswith("{") else {}
        self.steps = values.get("step", self.steps)
        if "failed" in values:
            raise AssertionError(values["failed"])
        if "noticed" in values and self.noticed is None:
            self.noticed, self.at = values["noticed"], at
        return values
