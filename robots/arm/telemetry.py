"""All that the servos of a Feetech bus sense, in one exchange through LeRobot's own bus object."""

from typing import Any

import numpy as np

from envs.errors import EmbodiedError
from envs.types import Array
from robots.arm.contract import ArmLostError, Health

SENSED = ("Present_Position", "Present_Velocity", "Present_Load", "Present_Voltage", "Present_Temperature", "Status",
          "Present_Current")  # fmt: skip
"""Registers that lie together in the control table."""
DEGREES = 360 / 4096
"""[degree] of a count, of speeds."""
CURRENT = 0.0065
"""[A] of `Present_Current` (Feetech, memory table of the STS series)."""
ERRORS = {1: "voltage", 2: "angle", 4: "heat", 8: "current", 32: "overload"}
"""Bits of `Status`."""


class Telemetry:
    """Reads a block of registers that LeRobot's `sync_read` would ask for one by one.

    So positions and speeds are of the same instant, heat and load cost no further exchange, and `Status` says what the
    SDK drops of every answer's error byte. It needs four private methods of LeRobot's bus, which is pinned below 0.7.
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
        """Positions in LeRobot's units, speeds [degree/s], health; all `[6]`. Raises `ArmLostError`."""
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
        position = bus._normalize(self._raw("Present_Position"))
        values = {name: np.array(list(self._raw(name).values()), np.float64) for name in SENSED}
        health = Health(
            load=values["Present_Load"] / 1000,
            current=np.abs(values["Present_Current"] % 2**15) * CURRENT,
            temperature=values["Present_Temperature"],
            voltage=values["Present_Voltage"] / 10,
            errors=tuple(
                tuple(word for bit, word in ERRORS.items() if int(status) & bit) for status in values["Status"]
            ),
        )
        return np.array([position[number] for number in self._ids]), values["Present_Velocity"] * DEGREES, health

    def _raw(self, name: str) -> dict[int, int]:
        address, size = self._where[name]
        read: dict[int, int] = self._bus._decode_sign(
            name, {number: self._bus.sync_reader.getData(number, address, size) for number in self._ids}
        )
        return read
