"""The control table of the X series as data, for the XL330-M288 and the XL430-W250.

Names are LeRobot 0.6.1's; addresses, widths, units and initial values are of ROBOTIS' e-Manual pages of both models,
whose tables agree but for what `MODELS` says. LeRobot's table of the whole series has an `Acceleration_Limit`, which
neither of them has.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cached_property

from robots.twin.registers import Register, Table


@dataclass(frozen=True)
class Signed(Register):
    """A number in two's complement."""

    @property
    def span(self) -> tuple[int, int]:
        """See `Register.span`."""
        half = 1 << (8 * self.size - 1)
        return -half, half - 1

    def encode(self, value: int) -> bytes:
        """See `Register.encode`."""
        return value.to_bytes(self.size, "little", signed=True)

    def decode(self, data: bytes) -> int:
        """See `Register.decode`."""
        return int.from_bytes(data, "little", signed=True)


class Hardware(IntEnum):
    """Bits of `Hardware_Error_Status` and `Shutdown`."""

    VOLTAGE = 1
    HEAT = 4
    OVERLOAD = 32


class Mode(IntEnum):
    """Operating modes that hold a position; in others the twin's motor has no torque."""

    POSITION = 3
    EXTENDED_POSITION = 4
    CURRENT_POSITION = 5


VELOCITY_UNIT = 0.229 / 60 * 4096
"""[counts/s] of velocities: 0.229 revolutions per minute."""
ACCELERATION_UNIT = 214.577 / 3600 * 4096
"""[counts/s^2] of `Profile_Acceleration`: 214.577 revolutions per minute squared."""

TABLE = Table(
    {
        "Model_Number": Register(0, 2, writable=False),
        "Model_Information": Register(2, 4, writable=False),
        "Firmware_Version": Register(6, initial=52, writable=False),
        "ID": Register(7, initial=1),
        "Baud_Rate": Register(8, initial=1),
        "Return_Delay_Time": Register(9, initial=250),
        "Drive_Mode": Register(10),
        "Operating_Mode": Register(11, initial=Mode.POSITION),
        "Secondary_ID": Register(12, initial=255),
        "Protocol_Type": Register(13, initial=2),
        "Homing_Offset": Signed(20, 4),
        "Moving_Threshold": Register(24, 4, 10),
        "Temperature_Limit": Register(31, initial=70),
        "Max_Voltage_Limit": Register(32, 2, 70),
        "Min_Voltage_Limit": Register(34, 2, 35),
        "PWM_Limit": Register(36, 2, 885),
        "Current_Limit": Register(38, 2, 1750),
        "Velocity_Limit": Register(44, 4, 445),
        "Max_Position_Limit": Register(48, 4, 4095),
        "Min_Position_Limit": Register(52, 4),
        "Startup_Configuration": Register(60),
        "PWM_Slope": Register(62, initial=140),
        "Shutdown": Register(63, initial=53),
        "Torque_Enable": Register(64),
        "LED": Register(65),
        "Status_Return_Level": Register(68, initial=2),
        "Registered_Instruction": Register(69, writable=False),
        "Hardware_Error_Status": Register(70, writable=False),
        "Velocity_I_Gain": Register(76, 2, 1600),
        "Velocity_P_Gain": Register(78, 2, 180),
        "Position_D_Gain": Register(80, 2),
        "Position_I_Gain": Register(82, 2),
        "Position_P_Gain": Register(84, 2, 400),
        "Feedforward_2nd_Gain": Register(88, 2),
        "Feedforward_1st_Gain": Register(90, 2),
        "Bus_Watchdog": Register(98),
        "Goal_PWM": Signed(100, 2, 885),
        "Goal_Current": Signed(102, 2, 1750),
        "Goal_Velocity": Signed(104, 4),
        "Profile_Acceleration": Register(108, 4),
        "Profile_Velocity": Register(112, 4),
        "Goal_Position": Signed(116, 4),
        "Realtime_Tick": Register(120, 2, writable=False),
        "Moving": Register(122, writable=False),
        "Moving_Status": Register(123, writable=False),
        "Present_PWM": Signed(124, 2, writable=False),
        "Present_Current": Signed(126, 2, writable=False),
        "Present_Velocity": Signed(128, 4, writable=False),
        "Present_Position": Signed(132, 4, writable=False),
        "Velocity_Trajectory": Signed(136, 4, writable=False),
        "Position_Trajectory": Signed(140, 4, writable=False),
        "Present_Input_Voltage": Register(144, 2, writable=False),
        "Present_Temperature": Register(146, writable=False),
        "Backup_Ready": Register(147, writable=False),
    },
    size=148,
    eeprom=range(0, 64),
)

BAUD_RATES = (9_600, 57_600, 115_200, 1_000_000, 2_000_000, 3_000_000, 4_000_000)
"""[bit/s] by the number in `Baud_Rate`."""


@dataclass(frozen=True)
class Model:
    """What sets one model apart."""

    number: int
    rated: float
    """[V]."""
    full_load: int
    """`Present_Current` at stall: [mA], or 0.1 % of load for a model that has no current sensor."""
    modes: tuple[int, ...]
    """Operating modes that it knows."""
    initial: Mapping[str, int]
    """Values from the factory that differ from the table's."""
    lacks: tuple[str, ...] = ()
    """Registers of the table that it does not have."""

    @cached_property
    def table(self) -> Table:
        """Its own control table."""
        own = {name: entry for name, entry in TABLE.registers.items() if name not in self.lacks}
        given = {"Model_Number": self.number} | dict(self.initial)
        return replace(TABLE, registers=own | {name: replace(own[name], initial=x) for name, x in given.items()})


MODELS: Mapping[str, Model] = {
    "xl330-m288": Model(1200, 5.0, 1470, (0, 1, 3, 4, 5, 16), {}),
    "xl430-w250": Model(
        1060, 12.0, 1000, (1, 3, 4, 16),
        {"Temperature_Limit": 72, "Max_Voltage_Limit": 140, "Min_Voltage_Limit": 60, "Velocity_Limit": 265,
         "Shutdown": 52, "Velocity_I_Gain": 1000, "Velocity_P_Gain": 100, "Position_D_Gain": 4000,
         "Position_P_Gain": 640},
        lacks=("Current_Limit", "Goal_Current", "PWM_Slope"),
    ),
}  # fmt: skip
"""By LeRobot's names."""
