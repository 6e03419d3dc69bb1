"""Reports as lines of JSON, between the process that holds the port and the one with the policy."""

import json
from typing import Any

import numpy as np

from robots.arm.contract import Health, Reading
from robots.governor.guard import Report, State

_ARRAYS = ("command", "wanted", "base")
_SENSED = ("load", "current", "temperature", "voltage")


def encode(report: Report) -> bytes:
    """One line."""
    reading = report.reading
    values: dict[str, Any] = {name: getattr(report, name).tolist() for name in _ARRAYS}
    values |= {
        "state": report.state.value, "serial": report.serial, "remaining": report.remaining, "cut": report.cut,
        "fault": report.fault, "warning": report.warning, "powered": report.powered, "reading": None,
    }  # fmt: skip
    if reading is not None:
        values["reading"] = {
            "time": reading.time,
            "position": reading.position.tolist(),
            "velocity": reading.velocity.tolist(),
            "errors": reading.health.errors,
            **{name: getattr(reading.health, name).tolist() for name in _SENSED},
        }
    return json.dumps(values).encode() + b"\n"


def decode(values: dict[str, Any]) -> Report:
    """The report of a line's values."""
    read, reading = values["reading"], None
    if read is not None:
        health = Health(
            errors=tuple(tuple(words) for words in read["errors"]), **{name: np.array(read[name]) for name in _SENSED}
        )
        reading = Reading(read["time"], np.array(read["position"]), np.array(read["velocity"]), health)
    return Report(
        state=State(values["state"]), reading=reading, serial=values["serial"], remaining=values["remaining"],
        cut=tuple(values["cut"]),
        fault=values["fault"], warning=values["warning"], powered=tuple(values["powered"]),
        **{name: np.array(values[name]) for name in _ARRAYS},
    )  # fmt: skip
