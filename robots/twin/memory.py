"""The memory of one servo: what it runs on, and the part of that which outlives its power."""

from collections.abc import Mapping

from envs.errors import unknown
from robots.twin.registers import STS, Table


class Memory:
    """The control table of one servo, as values by name for its firmware and as bytes for the bus.

    Writes into the EEPROM area hold at once. They outlive the power unless the servo has a `Lock` that is 1 when they
    are made; it then comes back with what it had before.
    """

    def __init__(self, table: Table = STS, **eeprom: int) -> None:
        """Fresh from the factory, but for the values in `eeprom`, by register name."""
        self._table = table
        self._bytes = bytearray(table.size)
        self._values: dict[str, int] = {}
        self._changed: set[str] = set()
        """Names of values that are not in the bytes yet: sensors change far more often than they are read."""
        self.update({name: entry.initial for name, entry in table.registers.items()} | eeprom)
        self._kept = bytearray(self.read(0, table.size))

    def __getitem__(self, name: str) -> int:
        """The value of a register; raises `EmbodiedError` for an unknown one."""
        try:
            return self._values[name]
        except KeyError:
            raise unknown("register", name, self._table.registers) from None

    def __setitem__(self, name: str, value: int) -> None:
        """Set a register from inside the servo, read-only ones too; what does not fit is cut to what does."""
        if name not in self._table.registers:
            raise unknown("register", name, self._table.registers)
        lowest, highest = self._table.registers[name].span
        self._values[name] = min(max(value, lowest), highest)
        self._changed.add(name)

    def update(self, values: Mapping[str, int]) -> None:
        """Set several registers."""
        for name, value in values.items():
            self[name] = value

    def read(self, address: int, length: int) -> bytes:
        """`length` bytes from `address` on; beyond the table there are zeros."""
        for name in self._changed:
            entry = self._table.registers[name]
            self._bytes[entry.address : entry.address + entry.size] = entry.encode(self._values[name])
        self._changed.clear()
        return bytes(self._bytes[address : address + length]).ljust(length, b"\0")

    def write(self, address: int, data: bytes) -> None:
        """What a host writes; bytes that it may not write stay as they are."""
        table, unlocked = self._table, not self._values.get("Lock", 0)
        self.read(0, 0)
        for place, byte in enumerate(data, address):
            if place in table.writable:
                self._bytes[place] = byte
                if unlocked and place in table.eeprom:
                    self._kept[place] = byte
        self._decode({table.at[place] for place in range(address, address + len(data)) if place in table.at})

    def power_cycle(self) -> None:
        """What is left after the power was gone."""
        self._bytes[:] = self._kept
        self._changed.clear()
        self._decode(set(self._table.registers))

    def _decode(self, names: set[str]) -> None:
        for name in names:
            entry = self._table.registers[name]
            self._values[name] = entry.decode(bytes(self._bytes[entry.address : entry.address + entry.size]))
