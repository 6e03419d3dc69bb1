"""What sets the servos of one make apart for who drives them: registers, units, words for errors, how all let go."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from envs.errors import EmbodiedError
from envs.types import Array
from robots.arm.contract import Health

Values = Mapping[str, Array]
"""`[J]` whole numbers by register."""


@dataclass(frozen=True)
class Servos:
    """One make. Registers have LeRobot's names; what all have in common is `Present_Position` and `Torque_Enable`."""

    name: str
    models: tuple[str, ...]
    """LeRobot's names of those that are known."""
    sensed: tuple[str, ...]
    """Registers that are read in one block, with `Present_Position` and `Present_Velocity` among them."""
    speed: float
    """[counts/s] of `Present_Velocity`."""
    signed: Callable[[str, Array, int], Array]
    """From a register's name, `[J]` of its bytes as a whole number, and how many those are, to its value."""
    health: Callable[[Values, tuple[str, ...]], Health]
    """From what was sensed, of servos of these models."""
    torque: str
    """The register that limits the torque; it begins as `most`, and holds until the power goes."""
    most: str
    """The register with the largest value of `torque`."""
    lock: str | None
    """The register that is to be 0 once the torque is off, as LeRobot leaves it."""
    hush: bytes
    """A packet that takes the torque off every servo on a wire, and that none answers."""


def servos_of(model: str) -> Servos:
    """The make of a model that LeRobot names; raises `EmbodiedError` for one that is not known here."""
    for make in (FEETECH, DYNAMIXEL):
        if model in make.models:
            return make
    known = ", ".join((*FEETECH.models, *DYNAMIXEL.models))
    raise EmbodiedError(f"Nothing is known here of what servos {model} sense and how they let go; of {known} it is.")


def _words(errors: Mapping[int, str], status: Array) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(word for bit, word in errors.items() if each & bit) for each in status)


# The STS series by Feetech: see its memory table. Numbers have a bit that says "negative".

_SIGN_BITS = {"Present_Position": 15, "Present_Velocity": 15, "Present_Load": 10, "Present_Current": 15}
_STS_CURRENT = 0.0065
"""[A] of `Present_Current`."""
_STS_ERRORS = {1: "voltage", 2: "angle", 4: "heat", 8: "current", 32: "overload"}
"""Bits of `Status`."""


def _sign_and_magnitude(name: str, raw: Array, size: int) -> Array:
    if name not in _SIGN_BITS:
        return raw
    magnitude = raw & ((1 << _SIGN_BITS[name]) - 1)
    return np.where(raw >> _SIGN_BITS[name] & 1, -magnitude, magnitude)


def _sts_health(values: Values, models: tuple[str, ...]) -> Health:
    return Health(
        load=values["Present_Load"] / 1000,
        current=np.abs(values["Present_Current"]) * _STS_CURRENT,
        temperature=values["Present_Temperature"].astype(np.float64),
        voltage=values["Present_Voltage"] / 10,
        errors=_words(_STS_ERRORS, values["Status"]),
    )


FEETECH = Servos(
    name="Feetech",
    models=("sts3215",),
    sensed=("Present_Position", "Present_Velocity", "Present_Load", "Present_Voltage", "Present_Temperature", "Status",
            "Present_Current"),
    speed=1.0,
    signed=_sign_and_magnitude,
    health=_sts_health,
    torque="Torque_Limit",
    most="Max_Torque_Limit",
    lock="Lock",
    # A broadcast write of 0 to address 40, see `robots.twin.protocol`.
    hush=bytes.fromhex("FF FF FE 04 03 28 00 D2"),
)  # fmt: skip


# The X series by ROBOTIS: see the e-Manual's pages of both models. Numbers are in two's complement. What is called
# `Present_Current` is the load of models without a current sensor.

_X_STALL: Mapping[str, float | None] = {"xl330-m288": 1.47, "xl430-w250": None}
"""[A] at stall and rated voltage; None of those that tell their load in place of a current."""
_X_ERRORS = {1: "voltage", 4: "heat", 8: "encoder", 16: "shock", 32: "overload"}
"""Bits of `Hardware_Error_Status`."""
_X_SIGNED = ("Present_Position", "Present_Velocity", "Present_Current")


def _twos_complement(name: str, raw: Array, size: int) -> Array:
    bits = 8 * size
    return np.where(raw >> (bits - 1) & 1, raw - (1 << bits), raw) if name in _X_SIGNED else raw


def _x_health(values: Values, models: tuple[str, ...]) -> Health:
    stall = np.array([_X_STALL[model] or np.nan for model in models])
    told = values["Present_Current"] / 1000
    return Health(
        load=np.where(np.isnan(stall), told, told / stall),
        current=np.where(np.isnan(stall), np.nan, np.abs(told)),
        temperature=values["Present_Temperature"].astype(np.float64),
        voltage=values["Present_Input_Voltage"] / 10,
        errors=_words(_X_ERRORS, values["Hardware_Error_Status"]),
    )


DYNAMIXEL = Servos(
    name="Dynamixel",
    models=tuple(_X_STALL),
    # The first is 56 bytes before the others: 5 ms of a wire at a million baud, less than a second question costs on
    # an adapter that passes on every 16 ms what has come.
    sensed=("Hardware_Error_Status", "Present_Current", "Present_Velocity", "Present_Position",
            "Present_Input_Voltage", "Present_Temperature"),
    speed=0.229 / 60 * 4096,
    signed=_twos_complement,
    health=_x_health,
    # Unlike currents, which an XL430 does not know, it holds in every mode.
    torque="Goal_PWM",
    most="PWM_Limit",
    lock=None,
    # A broadcast write of 0 to address 64, see `robots.twin.dynamixel.protocol`.
    hush=bytes.fromhex("FF FF FD 00 FE 06 00 03 40 00 00 2E 16"),
)  # fmt: skip
