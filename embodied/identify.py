"""`embodied identify`: moves an arm within its limits, fits its servos to how it moved, writes a robot file."""

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from embodied.arguments import IdentifyArguments
from embodied.checkpoint import write_atomically
from embodied.console import Console
from envs.errors import EmbodiedError
from envs.folders import made
from envs.servo_file import IDENTIFIED
from envs.types import Array
from robots.arm.lerobot import ArmConfig, LeRobotArm
from robots.arm.port import claim
from robots.governor.client import SupervisedArm
from robots.governor.governor import Governor
from robots.governor.guard import Guard
from robots.governor.limits import Limits
from robots.governor.supervisor import SupervisorConfig
from robots.identification.excitation import excite
from robots.identification.fit import BASE, Fit, fit, parameters_of, replay_error
from robots.identification.log import Log, load_logs, save_logs
from robots.identification.recording import Driven, Lockstep, PacketClock, record
from robots.identification.replay import Replay
from robots.twin.process import TwinProcess, folder_behind, tell
from robots.twin.server import TwinConfig
from robots.units import JOINTS

RATE = 50.0
"""[Hz] of servo ticks."""
UNITS = {"kp": "N m/rad", "damping": "N m s/rad", "frictionloss": "N m", "delay": "s", "backlash": "rad"}

NOTE = (
    "Servos of one SO-101, found by embodied identify.\n"
    + ", ".join(f"{name} [{unit}]" for name, unit in UNITS.items())
    + "; damping is active and passive together.\n"
    "Ranges are three standard errors to each side; what the simulation lacks is not in them."
)


def identify(arguments: IdentifyArguments, console: Console) -> None:
    """Record two logs, or read them from `logs`; fit one, replay the other; write `robot.yaml` and `identify.json`.

    A real arm moves once somebody has agreed to it. Raises `EmbodiedError` for an arm that cannot be had or that the
    governor stops, and for logs that are none.
    """
    # Said before anything has moved for it.
    folder = made(Path(arguments.folder))
    path = folder / "logs.npz" if arguments.logs is None else Path(arguments.logs)
    if arguments.logs is None:
        if not _room(arguments, console):
            console.say("Nothing was moved.")
            return
        save_logs(path, recorded(arguments, console))
        console.say(f"wrote {path}")
    logs = load_logs(path)
    if set(logs) != {"fitted", "held_out"}:
        raise EmbodiedError(f"{path} holds {', '.join(logs)}; logs of embodied identify are fitted and held_out.")
    with console.stage("fit") as display:
        found = fit(logs["fitted"], display.update)
    told = report(found, logs["held_out"])
    found.as_file().save(folder / "robot.yaml", NOTE)
    write_atomically(folder / "identify.json", (json.dumps(told, indent=2) + "\n").encode())
    _say(told, console)
    console.say(f"wrote {folder / 'robot.yaml'} and {folder / 'identify.json'}")
    console.say(f"try it: embodied twin servo={folder / 'robot.yaml'}")


def _room(arguments: IdentifyArguments, console: Console) -> bool:
    """Whether the arm may swing: of a twin always, of a real arm once somebody has said so."""
    if arguments.port == "twin":
        return True
    os.close(claim(arguments.port))
    running = folder_behind(arguments.port)
    if running is not None:
        tell(running, "truth()")
        return True
    return console.agreed(
        f"The arm will swing all its joints at once, twice for {arguments.seconds:g} s: clear the room around it."
    )


def report(found: Fit, held_out: Log) -> dict[str, Any]:
    """What was found, as JSON: parameters with errors, and how well a replay of `held_out` fits [mrad]."""
    replay = Replay(held_out, BASE, worlds=1)
    ours, before = (
        1e3 * replay_error(replay, each) for each in (found.parameters, parameters_of((BASE,) * len(JOINTS)))
    )
    return {
        "parameters": {
            name: {
                joint: {
                    "value": float(found.parameters[j, place]),
                    "standard_error": float(found.errors[j, place]),
                    "told": bool(found.told[j, place]),
                }
                for j, joint in enumerate(JOINTS)
            }
            for place, name in enumerate(IDENTIFIED)
        },
        "fitted_mrad": _by_joint(1e3 * found.rms),
        "held_out_mrad": _by_joint(ours),
        "held_out_unidentified_mrad": _by_joint(before),
        "rounds": found.rounds,
    }


def recorded(arguments: IdentifyArguments, console: Console) -> dict[str, Log]:
    """Two logs of the arm: `fitted` and `held_out`, which is moved otherwise."""
    logs = {}
    with _arm(arguments) as (arm, governor, now, latency):
        for seed, name in enumerate(("fitted", "held_out")):
            with console.stage(f"plan {name}"):
                excitation = excite(governor, arguments.seconds, RATE, seed)
            console.say(f"{name}: {arguments.seconds:g} s, {excitation.scale:.0%} of the full swing")
            with console.stage(f"move {name}"):
                logs[name] = record(arm, excitation.commands, now, latency)
    return logs


@contextlib.contextmanager
def _arm(arguments: IdentifyArguments) -> Iterator[tuple[Driven, Governor, Callable[[], float] | None, float]]:
    """An arm under guard, a governor to plan with; of a twin in lockstep its time, and what passes until a command."""
    limits = Limits(speed=arguments.speed)
    if arguments.port != "twin":
        own = ArmConfig(arguments.port, arguments.driver, arguments.id, arguments.calibration)
        joint_range = LeRobotArm(own).joint_range
        with SupervisedArm(SupervisorConfig(arm=asdict(own), limits=limits, rate=RATE)) as supervised:
            yield supervised, Governor(limits, joint_range), None, 0.0
            supervised.finish()
        return
    twin = TwinConfig(folder=str(Path(arguments.folder) / "twin"), servo=arguments.servo, clock="packets", picture=0.0)
    with TwinProcess(twin) as process:
        arm = LeRobotArm(ArmConfig(process.port, arguments.driver, "twin", str(process.folder)))
        arm.connect(powered=True)
        try:

            def now() -> float:
                return float(process.tell("truth()")["time"])

            guard = Guard(arm, Governor(limits, arm.joint_range), RATE, clock=now)
            times = PacketClock(now, twin.packet_time)
            yield Lockstep(guard), Governor(limits, arm.joint_range), times, twin.packet_time
        finally:
            arm.release()
            arm.close()


def _by_joint(values: Array) -> dict[str, float]:
    return dict(zip(JOINTS, np.asarray(values, np.float64).tolist(), strict=True))


def _say(told: dict[str, Any], console: Console) -> None:
    for name, each in told["parameters"].items():
        rows = [
            [joint, f"{of['value']:.4g} +- {of['standard_error']:.2g}", "" if of["told"] else "not told by this motion"]
            for joint, of in each.items()
        ]
        console.table(["joint", UNITS[name], ""], rows, title=name)
    kinds = ("fitted_mrad", "held_out_mrad", "held_out_unidentified_mrad")
    rows = [[joint, *(f"{told[kind][joint]:.2f}" for kind in kinds)] for joint in JOINTS]
    console.table(["joint", "fitted", "held out", "held out, as before"], rows, title="replay error [mrad rms]")
