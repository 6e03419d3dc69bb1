"""How well identification finds servos that are hidden in a twin, and how well a replay then foretells other motion.

Each seed draws six servos, moves a twin that has them, fits the log, and replays another one. With `off_zero` the
joints' zeros are off as well, which the replay knows nothing of: what an arm is like before `calibrate hand_eye`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from embodied.bench.harness import Figure, over_seeds
from embodied.console import Console
from envs.servo_file import IDENTIFIED, ServoFile
from envs.so101 import JOINT_HIGH, JOINT_LOW
from envs.types import Array
from robots.governor.governor import Governor
from robots.governor.limits import Limits
from robots.identification.excitation import POSTURE, excite
from robots.identification.fit import BASE, Fit, fit, parameters_of, replay_error, servos_of
from robots.identification.log import Log
from robots.identification.replay import Replay
from robots.twin.arm import Arm, ArmConfig
from robots.twin.faults import Fault
from robots.twin.registers import REGISTERS
from robots.twin.servo import RADIANS
from robots.units import JOINTS

HIDDEN: Mapping[str, tuple[float, float]] = {
    "kp": (6.0, 14.0),
    "damping": (0.35, 0.9),
    "frictionloss": (0.02, 0.12),
    "delay": (0.0, 0.04),
    "backlash": (0.0, float(np.deg2rad(1.5))),
}
"""What hidden servos are drawn from, around BAM's, in the units of `Servo`."""
PARTS = ("clean", "off_zero")
OFF_ZERO = 2.0
"""[degree] Standard deviation of zeros that are off."""
SEEDS = 5
SECONDS, QUICK_SECONDS = 10.0, 4.0
RATE = 50.0
"""[Hz]."""
CONFIGURED = {
    "P_Coefficient": 16, "I_Coefficient": 0, "D_Coefficient": 32, "Maximum_Acceleration": 254, "Acceleration": 254,
    "Torque_Enable": 1,
}  # fmt: skip
"""Registers as LeRobot writes them."""
SHOWN = {"kp": ("percent", "%"), "damping": ("percent", "%"), "frictionloss": ("mNm", "mN m"), "delay": ("ms", "ms"),
         "backlash": ("degrees", "degree")}  # fmt: skip


def measure(part: str, seed: int, quick: bool, console: Console) -> Mapping[str, Any]:
    """Absolute errors by parameter over the joints, what the ranges hold, and replay errors [mrad]."""
    random = np.random.default_rng(seed)
    hidden = np.stack([random.uniform(*HIDDEN[name], len(JOINTS)) for name in IDENTIFIED], axis=1)
    zeros = random.normal(0.0, OFF_ZERO, len(JOINTS)) * np.array([0, 1, 1, 1, 0, 0])
    faults = [Fault("zero", joint, float(off)) for joint, off in zip(JOINTS, zeros, strict=True) if part != "clean"]
    governor = Governor(Limits(), np.stack([JOINT_LOW, JOINT_HIGH], axis=1))
    seconds = QUICK_SECONDS if quick else SECONDS
    # Other motion for every seed, and never the same one held out.
    fitted, held_out = (moved(hidden, excite(governor, seconds, RATE, 2 * seed + k).commands, faults) for k in range(2))
    found = fit(fitted)
    replay = Replay(held_out, BASE, worlds=1)
    errors = np.abs(found.parameters - hidden)
    return {
        "errors": {name: errors[:, place].tolist() for place, name in enumerate(IDENTIFIED)},
        "relative": {name: (errors / hidden)[:, place].tolist() for place, name in enumerate(IDENTIFIED)},
        "in_range": _inside(found, hidden),
        "told": float(found.told.mean()),
        "held_out_mrad": float(1e3 * replay_error(replay, found.parameters).mean()),
        "held_out_true_mrad": float(1e3 * replay_error(replay, hidden).mean()),
        "held_out_unidentified_mrad": float(1e3 * replay_error(replay, parameters_of((BASE,) * 6)).mean()),
    }


def summarise(samples: Mapping[str, Sequence[Mapping[str, Any]]]) -> Mapping[str, Figure]:
    """Means over joints and seeds, by part."""
    figures: dict[str, Figure] = {}
    for part, seeds in samples.items():
        for name, (word, unit) in SHOWN.items():
            kind = "relative" if word == "percent" else "errors"
            factor = {"percent": 100.0, "degrees": float(np.rad2deg(1.0))}.get(word, 1e3)
            values = [factor * float(np.mean(raw[kind][name])) for raw in seeds]
            figures[f"{part}_{name}_{word}"] = over_seeds(values, unit)
        for key, unit in (("in_range", "1"), ("told", "1"), ("held_out_mrad", "mrad"), ("held_out_true_mrad", "mrad"),
                          ("held_out_unidentified_mrad", "mrad")):  # fmt: skip
            figures[f"{part}_{key}"] = over_seeds([raw[key] for raw in seeds], unit)
    return figures


def moved(hidden: Array, commands: Array, faults: Sequence[Fault] = ()) -> Log:
    """The log of a twin in this process, with servos of the parameters `hidden` `[6 5]`, under `commands` `[T 6]`."""
    nothing = {name: dict.fromkeys(JOINTS, 0.0) for name in IDENTIFIED}
    empty = {name: dict.fromkeys(JOINTS, (0.0, 0.0)) for name in IDENTIFIED}
    with TemporaryDirectory() as folder:
        path = Path(folder) / "robot.yaml"
        ServoFile(servos_of(hidden), nothing, empty).save(path)
        arm = Arm(ArmConfig(task="reach", servo=str(path)))
    for fault in faults:
        arm.faults.add(fault)
    arm.refresh()
    for name, value in CONFIGURED.items():
        for servo in arm.servos:
            servo.write(REGISTERS[name].address, REGISTERS[name].encode(value))
    middle = np.array([servo.mount - servo.memory["Homing_Offset"] for servo in arm.servos])
    period = 1.0 / RATE
    ticks = round(period / arm.timestep)

    def read() -> Array:
        return (np.array([servo.memory["Present_Position"] for servo in arm.servos]) - middle) * RADIANS

    def send(target: Array) -> Array:
        counts = np.round(target / RADIANS + middle)
        entry = REGISTERS["Goal_Position"]
        for servo, count in zip(arm.servos, counts, strict=True):
            servo.write(entry.address, entry.encode(int(count)))
        return (counts - middle) * RADIANS

    send(POSTURE)
    arm.advance(round(2.5 / arm.timestep))
    position, command = [], []
    for target in commands:
        position.append(read())
        command.append(send(target))
        arm.advance(ticks)
    time = period * np.arange(len(commands))
    return Log(time, time, np.array(command), np.array(position))


def _inside(found: Fit, hidden: Array) -> float:
    """The share of parameters whose range holds the truth."""
    return float(((found.low <= hidden) & (hidden <= found.high)).mean())
