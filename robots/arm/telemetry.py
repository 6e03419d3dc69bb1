"""All that the servos of a Feetech bus sense, in one exchange through LeRobot's own bus object."""

from functools import cached_property
from typing import Any

import numpy as np

from envs.errors import EmbodiedError
from envs.types import Array
from robots.arm.contract import ArmLostError, Health

SENSED = ("Present_Position", "Present_Velocity", "Present_Load", "Present_Voltage", "Present_Temperature", "Status",
          "Present_Current")  # fmt: skip
"""Registers that lie together in the control table."""
CURRENT = 0.0065
"""[A] of `Present_Current` (Feetech, memory table of the STS series)."""
ERRORS = {1: "voltage", 2: "angle", 4: "heat", 8: "current", 32: "overload"}
"""Bits of `Status`."""
SIGNS = {"Present_Position": 15, "Present_Velocity": 15, "Present_Load": 10, "Present_Current": 15}
"""Bits that say "negative"."""


class Telemetry:
    """Reads a block of registers that LeRobot's `sync_read` would ask for one by one.

    So positions and speeds are of the same instant, heat and load cost no further exchange, and `Status` says what the
    SDK drops of every answer's error byte. It needs three private methods of LeRobot's bus, which is pinned below 0.7.
    """

    def __init__(self, bus: Any) -> None:
        """Raises `EmbodiedError` for a bus whose servos do not have these registers."""
        self._bus, self._names = bus, tuple(bus.motors)
        self._ids = [bus.motors[name].id for name in self._names]
        table = bus.model_ctrl_table[bus.motors[self._names[0]].model]
        if missing := [name for name in SENSED if name not in table]:
            raise EmbodiedError(f"These servos do not sense {', '.join(missing)}; the Feetech STS series does.")
        self._where = {name: table[name] for name in SENSED}
        self._first = min(address for address, _ in self._where.values())
        self._length = max(address + size for address, size in self._where.values()) - self._first

    def read(self, retries: int) -> tuple[Array, Array, Health]:
        """Positions and speeds in LeRobot's units (per second), health; all `[6]`. Raises `ArmLostError`."""
        bus = self._bus
        bus._setup_sync_reader(self._ids, self._first, self._length)
        for _ in range(1 + retries):
            done = bus.sync_reader.txRxPacket()
            # The SDK passes an answer on whose length is not what was asked for.
            complete = all(len(data) == self._length for data in bus.sync_reader.data_dict.values())
            if bus._is_comm_success(done) and complete:
                break
        else:
            raise ArmLostError(f"The arm on {bus.port} does not answer: {bus.packet_handler.getTxRxResult(done)}")
        data = np.array([bus.sync_reader.data_dict[number] for number in self._ids], np.int64)
        values = {name: self._values(data, name) for name in SENSED}
        position = bus._normalize(dict(zip(self._ids, values["Present_Position"].tolist(), strict=True)))
        health = Health(
            load=values["Present_Load"] / 1000,
            current=np.abs(values["Present_Current"]) * CURRENT,
            temperature=values["Present_Temperature"].astype(np.float64),
            voltage=values["Present_Voltage"] / 10,
            errors=tuple(tuple(word for bit, word in ERRORS.items() if status & bit) for status in values["Status"]),
        )
        return np.array([position[number] for number in self._ids]), values["Present_Velocity"] * self._speed, health

    @cached_property
    def _speed(self) -> Array:
        """`[6]` LeRobot's units in a count."""
        # At the lower end of every range; beyond it LeRobot cuts some off.
        least = {motor.id: self._bus.calibration[name].range_min for name, motor in self._bus.motors.items()}
        low, high = (self._bus._normalize({number: least[number] + more for number in self._ids}) for more in (0, 1))
        return np.array([high[number] - low[number] for number in self._ids])

    def _values(self, data: Array, name: str) -> Array:
        """`[6]` of a register, from the bytes `[6 L]` of the block."""
        address, size = self._where[name]
        first = address - self._first
        raw = data[:, first] if size == 1 else data[:, first] + (data[:, first + 1] << 8)
        if name not in SIGNS:
            return raw
        magnitude = raw & ((1 << SIGNS[name]) - 1)
        return np.where(raw >> SIGNS[name] & 1, -magnitude, magnitude)
