"""All that the servos of a bus sense, in one exchange through LeRobot's own bus object."""

from functools import cached_property
from typing import Any

import numpy as np

from envs.errors import EmbodiedError
from envs.types import Array
from robots.arm.contract import ArmLostError, Health
from robots.arm.servos import Servos


class Telemetry:
    """Reads a block of registers that LeRobot's `sync_read` would ask for one by one.

    So positions and speeds are of the same instant, heat and load cost no further exchange, and a register says what
    the SDK drops of every answer's error byte. It needs three private methods of LeRobot's bus, which is pinned below
    0.7.
    """

    def __init__(self, bus: Any, servos: Servos) -> None:
        """Raises `EmbodiedError` for a bus whose servos are of another make."""
        self._bus, self._servos, self._names = bus, servos, tuple(bus.motors)
        self._ids = [bus.motors[name].id for name in self._names]
        self._models = tuple(bus.motors[name].model for name in self._names)
        if foreign := sorted(set(self._models) - set(servos.models)):
            raise EmbodiedError(f"{', '.join(foreign)} were found among servos of {servos.name}: {servos.models}.")
        table = bus.model_ctrl_table[self._models[0]]
        self._where = {name: table[name] for name in servos.sensed}
        self._first = min(address for address, _ in self._where.values())
        self._length = max(address + size for address, size in self._where.values()) - self._first

    def read(self, retries: int) -> tuple[Array, Array, Health]:
        """Positions and speeds in LeRobot's units (per second), health; all `[J]`. Raises `ArmLostError`."""
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
        data = np.array([list(bus.sync_reader.data_dict[number]) for number in self._ids], np.int64)
        values = {name: self._values(data, name) for name in self._servos.sensed}
        position = bus._normalize(dict(zip(self._ids, values["Present_Position"].tolist(), strict=True)))
        speed = values["Present_Velocity"] * self._servos.speed * self._unit
        return np.array([position[number] for number in self._ids]), speed, self._servos.health(values, self._models)

    @cached_property
    def _unit(self) -> Array:
        """`[J]` LeRobot's units in a count."""
        # At the lower end of every range; beyond it LeRobot cuts some off.
        least = {motor.id: self._bus.calibration[name].range_min for name, motor in self._bus.motors.items()}
        low, high = (self._bus._normalize({number: least[number] + more for number in self._ids}) for more in (0, 1))
        return np.array([high[number] - low[number] for number in self._ids])

    def _values(self, data: Array, name: str) -> Array:
        """`[J]` of a register, from the bytes `[J L]` of the block, lowest first."""
        address, size = self._where[name]
        first = address - self._first
        raw = sum(data[:, first + place] << 8 * place for place in range(size))
        return self._servos.signed(name, raw, size)
