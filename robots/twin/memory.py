"""The memory of one servo: what it runs on, and the part of that which outlives its power."""

from collections.abc import Mapping

from robots.twin.registers import EEPROM, REGISTERS, SIZE, WRITABLE, register


class Memory:
    """The control table of one servo as bytes.

    Writes into the EEPROM area hold at once. They outlive the power if `Lock` is 0 when they are made; with 1, the
    servo comes back with what it had before.
    """

    def __init__(self, **eeprom: int) -> None:
        """Fresh from the factory, but for the values in `eeprom`, by register name."""
        self._bytes = bytearray(SIZE)
        for entry in REGISTERS.values():
            self._bytes[entry.address : entry.address + entry.size] = entry.encode(entry.initial)
        self.set(eeprom)
        self._kept = bytes(self._bytes)

    def __getitem__(self, name: str) -> int:
        """The value of a register; raises `EmbodiedError` for an unknown one."""
        entry = register(name)
        return entry.decode(bytes(self._bytes[entry.address : entry.address + entry.size]))

    def __setitem__(self, name: str, value: int) -> None:
        """Set a register from inside the servo, read-only ones too."""
        entry = register(name)
        self._bytes[entry.address : entry.address + entry.size] = entry.encode(value)

    def set(self, values: Mapping[str, int]) -> None:
        """Set several registers."""
        for name, value in values.items():
            self[name] = value

    def read(self, address: int, length: int) -> bytes:
        """`length` bytes from `address` on; beyond the table there are zeros."""
        return bytes(self._bytes[address : address + length]).ljust(length, b"\0")

    def write(self, address: int, data: bytes) -> None:
        """What a host writes; bytes that it may not write stay as they are."""
        unlocked = not self["Lock"]
        for place, byte in enumerate(data, address):
            if place in WRITABLE:
                self._bytes[place] = byte
                if unlocked and place in EEPROM:
                    self._kept = self._kept[:place] + bytes((byte,)) + self._kept[place + 1 :]

    def power_cycle(self) -> None:
        """What is left after the power was gone."""
        self._bytes[:] = self._kept
        self["Torque_Limit"] = self["Max_Torque_Limit"]
