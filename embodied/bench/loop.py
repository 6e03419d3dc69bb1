"""How fast a driver reads and writes six servos, and how evenly it is paced: ours beside LeRobot's, over one twin.

`free` asks as fast as it is answered. `paced50` and `paced100` are whole control loops: ours is the supervisor with the
governor's rulings and its reports, LeRobot's the loop of `lerobot-record` without a dataset. Each drives the same twin,
one after the other, in a process of its own. On a machine that is not idle the medians say more than the rates.
"""

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from embodied.bench.harness import Figure, figure
from embodied.console import Console
from envs.types import Array
from robots import stock
from robots.arm.lerobot import ArmConfig, LeRobotArm
from robots.governor.client import SupervisedArm
from robots.governor.supervisor import SupervisorConfig
from robots.loop import percentiles, rate_of
from robots.twin.process import TwinProcess
from robots.twin.server import TwinConfig
from robots.units import Units, from_features

PARTS = ("free", "paced50", "paced100")
SEEDS = 3
CYCLES = 3000
SECONDS = 10.0
SWING, PERIOD = 0.2, 4.0
"""[rad], [s] of what the shoulder is led through."""
POLICY_RATE = 10
"""[Hz]."""


def measure(part: str, seed: int, quick: bool, console: Console) -> Mapping[str, Any]:
    """Of both drivers: rates [Hz] and percentiles of times [s]."""
    with tempfile.TemporaryDirectory() as folder:
        settings = TwinConfig(folder=folder, picture=0.0, seed=seed)
        with TwinProcess(settings) as twin:
            if part == "free":
                cycles = 200 if quick else CYCLES
                return {"ours": _free_ours(twin, cycles), "lerobot": _free_lerobot(twin, cycles)}
            rate, seconds = int(part.removeprefix("paced")), 1.0 if quick else SECONDS
            # LeRobot's first: what it leaves behind cannot stop ours.
            theirs = _paced_lerobot(twin, rate, seconds)
            ours = _paced_ours(twin, rate, seconds)
            return {"ours": ours, "lerobot": theirs, "twin_lost": twin.tell("truth()")["lost"]}


def summarise(samples: Mapping[str, Sequence[Mapping[str, Any]]]) -> Mapping[str, Figure]:
    """Medians over the repeats."""
    figures: dict[str, Figure] = {}

    def add(key: str, part: str, side: str, unit: str, *path: str, scale: float = 1.0) -> None:
        values = []
        for sample in samples[part]:
            value = sample[side]
            for name in path:
                value = value[name]
            values.append(scale * value)
        span = (min(values), max(values)) if len(values) > 1 else None
        figures[key] = figure(float(np.median(values)), unit, len(values), span)

    for side, prefix in (("ours", ""), ("lerobot", "lerobot_")):
        if "free" in samples:
            add(f"{prefix}free_hz", "free", side, "1/s", "rate")
            add(f"{prefix}free_median_hz", "free", side, "1/s", "median_rate")
            add(f"{prefix}cpu_per_cycle_us", "free", side, "us", "cpu", scale=1e6)
            for what in ("read", "write"):
                for mark in ("p50", "p99"):
                    add(f"{prefix}{what}_{mark}_us", "free", side, "us", what, mark, scale=1e6)
        for part in PARTS[1:]:
            if part in samples:
                add(f"{prefix}{part}_hz", part, side, "1/s", "rate")
                for mark in ("p50", "p99", "p99.9"):
                    add(f"{prefix}{part}_jitter_{mark}_ms", part, side, "ms", "jitter", mark, scale=1e3)
                if side == "ours":
                    add(f"{part}_tick_p50_ms", part, side, "ms", "busy", "p50", scale=1e3)
                    add(f"{part}_missed", part, side, "1", "missed")
    return figures


def _free_ours(twin: TwinProcess, cycles: int) -> dict[str, Any]:
    arm = LeRobotArm(ArmConfig(port=twin.port, id="twin", calibration=str(twin.folder)))
    arm.connect(powered=True)
    try:
        target = arm.read().position
        return _timed(arm.read, lambda: arm.command(target), cycles)
    finally:
        arm.release()
        arm.close()


def _free_lerobot(twin: TwinProcess, cycles: int) -> dict[str, Any]:
    robot = stock.follower(twin.port, twin.folder)
    stock.connect(robot)
    try:
        action = robot.get_observation()
        return _timed(robot.get_observation, lambda: robot.send_action(action), cycles)
    finally:
        robot.disconnect()


def _timed(read: Callable[[], object], write: Callable[[], object], cycles: int) -> dict[str, Any]:
    read()
    write()
    times, spent = np.zeros((cycles, 3)), time.process_time()
    for cycle in times:
        cycle[0] = time.perf_counter()
        read()
        cycle[1] = time.perf_counter()
        write()
        cycle[2] = time.perf_counter()
    used = (time.process_time() - spent) / cycles
    took, whole = np.diff(times, axis=1), times[:, 2] - times[:, 0]
    return {
        "rate": cycles / (times[-1, 2] - times[0, 0]), "median_rate": 1.0 / float(np.median(whole)), "cpu": used,
        "read": percentiles(took[:, 0]), "write": percentiles(took[:, 1]),
    }  # fmt: skip


def _paced_ours(twin: TwinProcess, rate: int, seconds: float) -> dict[str, Any]:
    config = SupervisorConfig({"port": twin.port, "id": "twin", "calibration": str(twin.folder)}, rate=float(rate))
    with SupervisedArm(config) as arm:
        report = arm.ready()
        course = _course(report.base)
        began = time.monotonic()
        while time.monotonic() - began < seconds and report.fault is None:
            arm.go(course(time.monotonic() - began), rate // POLICY_RATE)
            report = arm.ready()
        return arm.finish()


def _paced_lerobot(twin: TwinProcess, rate: int, seconds: float) -> dict[str, Any]:
    robot = stock.follower(twin.port, twin.folder)
    stock.connect(robot)
    try:
        course = _course(Units().to_radians(from_features(robot.get_observation())))
        times: list[float] = []

        def target() -> Array:
            times.append(time.monotonic())
            return course(times[-1] - times[0])

        stock.loop(robot, target, seconds, rate)
        return {"rate": rate_of(times), "jitter": percentiles(np.abs(np.diff(times) - 1.0 / rate))}
    finally:
        robot.disconnect()


def _course(base: Array) -> Callable[[float], Array]:
    """Joints `[6]` [rad] at a time [s]."""
    return lambda seconds: base + SWING * np.sin(2 * np.pi * seconds / PERIOD) * np.eye(6)[0]
