"""The control table of a Feetech STS3215 as data: where each number is, who may write it, what it is at first.

Names, sign bits and model 777 are what LeRobot 0.6.1 expects; addresses, widths, units and initial values are of
Feetech's memory table of the STS series, for the 7.4 V servo. The factory's own block, from address 80 on, has no
published initial values; ours limit nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

SIZE = 87
"""Bytes in the table."""
EEPROM = range(0, 40)
"""Kept without power, if `Lock` was 0 when they were written."""

COUNTS = 4096
"""Of the magnetic encoder in a turn."""
CURRENT_UNIT = 0.0065
"""[A] of `Present_Current` and `Protection_Current`."""
TIME_UNIT = 0.01
"""[s] of `Protection_Time` and `Over_Current_Protection_Time`."""
ACCELERATION_UNIT = 100
"""[counts/s^2] of `Acceleration`."""


class Error(IntEnum):
    """Bits of `Status`, which every status packet carries too."""

    VOLTAGE = 1
    ANGLE = 2
    HEAT = 4
    CURRENT = 8
    OVERLOAD = 32


@dataclass(frozen=True)
class Register:
    """One entry of the control table."""

    address: int
    size: int = 1
    """Bytes, the lowest first."""
    initial: int = 0
    """Value from the factory, or after power-on for those outside the EEPROM."""
    writable: bool = True
    sign_bit: int | None = None
    """The bit that says "negative" beside a magnitude, for those that have a sign."""

    @cached_property
    def span(self) -> tuple[int, int]:
        """The least and the greatest value that fit."""
        most = (1 << (8 * self.size if self.sign_bit is None else self.sign_bit)) - 1
        return (0 if self.sign_bit is None else -most), most

    def encode(self, value: int) -> bytes:
        """`value`, which must fit, as bytes."""
        if value < 0 and self.sign_bit is not None:
            value = -value | 1 << self.sign_bit
        return value.to_bytes(self.size, "little")

    def decode(self, data: bytes) -> int:
        """The value of `size` bytes; above the sign, what is not in use is ignored."""
        raw = int.from_bytes(data, "little")
        if self.sign_bit is None:
            return raw
        magnitude = raw & ((1 << self.sign_bit) - 1)
        return -magnitude if raw >> self.sign_bit & 1 else magnitude


REGISTERS: Mapping[str, Register] = {
    "Firmware_Major_Version": Register(0, initial=3, writable=False),
    "Firmware_Minor_Version": Register(1, initial=10, writable=False),
    "Model_Number": Register(3, 2, 777, writable=False),
    "ID": Register(5, initial=1),
    "Baud_Rate": Register(6),
    "Return_Delay_Time": Register(7, initial=250),
    "Response_Status_Level": Register(8, initial=1),
    "Min_Position_Limit": Register(9, 2),
    "Max_Position_Limit": Register(11, 2, 4095),
    "Max_Temperature_Limit": Register(13, initial=70),
    "Max_Voltage_Limit": Register(14, initial=80),
    "Min_Voltage_Limit": Register(15, initial=40),
    "Max_Torque_Limit": Register(16, 2, 1000),
    "Phase": Register(18, initial=12),
    "Unloading_Condition": Register(19, initial=Error.HEAT | Error.CURRENT | Error.OVERLOAD),
    "LED_Alarm_Condition": Register(20, initial=47),
    "P_Coefficient": Register(21, initial=32),
    "D_Coefficient": Register(22, initial=32),
    "I_Coefficient": Register(23),
    "Minimum_Startup_Force": Register(24, 2, 16),
    "CW_Dead_Zone": Register(26, initial=1),
    "CCW_Dead_Zone": Register(27, initial=1),
    "Protection_Current": Register(28, 2, 500),
    "Angular_Resolution": Register(30, initial=1),
    "Homing_Offset": Register(31, 2, sign_bit=11),
    "Operating_Mode": Register(33),
    "Protective_Torque": Register(34, initial=20),
    "Protection_Time": Register(35, initial=200),
    "Overload_Torque": Register(36, initial=80),
    "Velocity_closed_loop_P_proportional_coefficient": Register(37, initial=10),
    "Over_Current_Protection_Time": Register(38, initial=200),
    "Velocity_closed_loop_I_integral_coefficient": Register(39, initial=10),
    "Torque_Enable": Register(40),
    "Acceleration": Register(41),
    "Goal_Position": Register(42, 2, sign_bit=15),
    "Goal_Time": Register(44, 2),
    "Goal_Velocity": Register(46, 2, sign_bit=15),
    "Torque_Limit": Register(48, 2, 1000),
    "Lock": Register(55, initial=1),
    "Present_Position": Register(56, 2, writable=False, sign_bit=15),
    "Present_Velocity": Register(58, 2, writable=False, sign_bit=15),
    "Present_Load": Register(60, 2, writable=False, sign_bit=10),
    "Present_Voltage": Register(62, writable=False),
    "Present_Temperature": Register(63, writable=False),
    "Status": Register(65, writable=False),
    "Moving": Register(66, writable=False),
    "Present_Current": Register(69, 2, writable=False, sign_bit=15),
    "Goal_Position_2": Register(71, 2, writable=False, sign_bit=15),
    "Moving_Velocity_Threshold": Register(80, initial=10),
    "DTs": Register(81, initial=10),
    "Velocity_Unit_factor": Register(82, initial=1),
    "Hts": Register(83),
    "Maximum_Velocity_Limit": Register(84, initial=80),
    "Maximum_Acceleration": Register(85, initial=254),
    "Acceleration_Multiplier": Register(86, initial=1),
}

BAUD_RATES = (1_000_000, 500_000, 250_000, 128_000, 115_200, 57_600, 38_400, 19_200)
"""[bit/s] by the number in `Baud_Rate`, as LeRobot numbers them."""


@dataclass(frozen=True)
class Table:
    """The control table of one kind of servo."""

    registers: Mapping[str, Register]
    size: int
    """Bytes."""
    eeprom: range
    """Addresses of what is kept without power."""

    @cached_property
    def at(self) -> Mapping[int, str]:
        """The register at every address that has one."""
        return {entry.address + offset: name for name, entry in self.registers.items() for offset in range(entry.size)}

    @cached_property
    def writable(self) -> frozenset[int]:
        """Addresses that a host may write; what it writes elsewhere is ignored."""
        return frozenset(place for place, name in self.at.items() if self.registers[name].writable)


STS = Table(REGISTERS, SIZE, EEPROM)
"""The table of the STS series."""
