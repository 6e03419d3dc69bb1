"""The memory of one servo: what it runs on, and the part of that which outlives its power."""

from collections.abc import Mapping

from envs.errors import unknown
from robots.twin.registers import EEPROM, REGISTERS, SIZE, WRITABLE

_AT = {entry.address + offset: name for name, entry in REGISTERS.items() for offset in range(entry.size)}
"""The register at every address."""


class Memory:
    """The control table of one servo, as values by name for its firmware and as bytes for the bus.

    Writes into the EEPROM area hold at once. They outlive the power if `Lock` is 0 when they are made; with 1, the
    servo comes back with what it had before.
    """

    def __init__(self, **eeprom: int) -> None:
        """Fresh from the factory, but for the values in `eeprom`, by register name."""
        self._bytes = bytearray(SIZE)
        self._values: dict[str, int] = {}
        self._changed: set[str] = set()
        """Names of values that are not in the bytes yet: sensors change far more often than they are read."""
        self.update({name: entry.initial for name, entry in REGISTERS.items()} | eeprom)
        self._kept = bytearray(self.read(0, SIZE))

    def __getitem__(self, name: str) -> int:
        """The value of a register; raises `EmbodiedError` for an unknown one."""
        try:
            return self._values[name]
        except KeyError:
            raise unknown("register", name, REGISTERS) from None

    def __setitem__(self, name: str, value: int) -> None:
        """Set a register from inside the servo, read-only ones too; what does not fit is cut to what does."""
        if name not in REGISTERS:
            raise unknown("register", name, REGISTERS)
        lowest, highest = REGISTERS[name].span
        self._values[name] = min(max(value, lowest), highest)
        self._changed.add(name)

    def update(self, values: Mapping[str, int]) -> None:
        """Set several registers."""
        for name, value in values.items():
            self[name] = value

    def read(self, address: int, length: int) -> bytes:
        """`length` bytes from `address` on; beyond the table there are zeros."""
        for name in self._changed:
            entry = REGISTERS[name]
            self._bytes[entry.address : entry.address + entry.size] = entry.encode(self._values[name])
        self._changed.clear()
        return bytes(self._bytes[address : address + length]).ljust(length, b"\0")

    def write(self, address: int, data: bytes) -> None:
        """What a host writes; bytes that it may not write stay as they are."""
        unlocked = not self["Lock"]
        self.read(0, 0)
        for place, byte in enumerate(data, address):
            if place in WRITABLE:
                self._bytes[place] = byte
                if unlocked and place in EEPROM:
                    self._kept[place] = byte
        self._decode({_AT[place] for place in range(address, address + len(data)) if place in _AT})

    def power_cycle(self) -> None:
        """What is left after the power was gone."""
        self._bytes[:] = self._kept
        self._changed.clear()
        self._decode(set(REGISTERS))
        self["Torque_Limit"] = self["Max_Torque_Limit"]

    def _decode(self, names: set[str]) -> None:
        for name in names:
            entry = REGISTERS[name]
            self._values[name] = entry.decode(bytes(self._bytes[entry.address : entry.address + entry.size]))
