"""How the servos of an arm are mounted, and what LeRobot's calibration of it leaves in their EEPROM and its file."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from envs.types import Array
from robots.twin.registers import COUNTS
from robots.twin.servo import RADIANS
from robots.units import JOINTS

MOUNTS: Mapping[str, float] = {
    "shoulder_pan": 2013.5,
    "shoulder_lift": 1905.5,
    "elbow_flex": 2170.5,
    "wrist_flex": 2055.5,
    "wrist_roll": 1876.5,
    "gripper": 1421.5,
}
"""Encoder counts at the joints' zeros: horns go onto their splines by eye, so they are anywhere near the half turn."""
FULL_TURN = ("wrist_roll",)
"""LeRobot does not ask for an SO-101's range there, and writes a whole turn."""
KOCH_FULL_TURN = ("shoulder_pan", "wrist_roll")
"""The same of a Koch."""
MIDDLE = (COUNTS - 1) / 2
"""[counts] LeRobot's calibration moves the middle of a range here."""


def calibrated(limits: Array, full_turn: Sequence[str] = FULL_TURN) -> dict[str, dict[str, int]]:
    """EEPROM values by joint, for an arm whose calibration met the ends of `limits` `[6 2]` [rad] exactly.

    LeRobot's 0 is then the middle of a joint's range, and of those with a `full_turn` the model's zero; of the gripper,
    0 and 100 are the ends.
    """
    values = {}
    for name, (low, high) in zip(JOINTS, limits.tolist(), strict=True):
        whole = name in full_turn
        middle = 0.0 if whole else (low + high) / 2
        reach = round((high - low) / 2 / RADIANS - 0.5) + 0.5
        values[name] = {
            "Homing_Offset": round(MOUNTS[name] + middle / RADIANS - MIDDLE),
            "Min_Position_Limit": 0 if whole else round(MIDDLE - reach),
            "Max_Position_Limit": COUNTS - 1 if whole else round(MIDDLE + reach),
        }
    return values


def homed(limits: Array) -> dict[str, dict[str, int]]:
    """The same of a Koch, whose servos add their homing offsets and do not subtract them."""
    values = calibrated(limits, KOCH_FULL_TURN)
    for value in values.values():
        value["Homing_Offset"] *= -1
    return values


def write_file(path: Path, eeprom: Mapping[str, Mapping[str, int]], first: int = 1) -> None:
    """Write the calibration file that LeRobot keeps beside such an arm, whose servos' IDs begin with `first`."""
    text = {
        name: {
            "id": number,
            "drive_mode": 0,
            "homing_offset": eeprom[name]["Homing_Offset"],
            "range_min": eeprom[name]["Min_Position_Limit"],
            "range_max": eeprom[name]["Max_Position_Limit"],
        }
        for number, name in enumerate(JOINTS, first)
    }
    path.write_text(json.dumps(text, indent=4) + "\n", encoding="utf-8")
