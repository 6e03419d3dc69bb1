"""The firmware of one STS3215: from registers and sensors to what its motor does, one tick at a time."""

import math
from dataclasses import dataclass

from robots.twin.memory import Memory
from robots.twin.profile import Profile, Trail
from robots.twin.registers import ACCELERATION_UNIT, COUNTS, CURRENT_UNIT, STS, TIME_UNIT, Error

RADIANS = 2 * math.pi / COUNTS
"""[rad] of a count."""
TOP_SPEED = 3400
"""[counts/s] The firmware never asks for more (BAM's actuator model of the STS3215)."""
RATED_VOLTAGE = 7.4
"""[V] at which the motor has its stall torque."""
TORQUE_CONSTANT, RESISTANCE = 1.2116, 2.676
"""[N m/A], [ohm] at the output shaft (BAM, 7.4 V unit)."""
AMBIENT = 25.0
"""[C]."""
HEATING, HEATING_TIME = 6.1, 600.0
"""[K/W], [s] First order: 1.5 kg at 10 cm warms it by 15 K in ten minutes (SO-ARM100, issue 134)."""
USUAL_GAIN = 16
"""`P_Coefficient` as LeRobot writes it, for which `envs.servo.SERVOS` hold; half of what the factory sets."""
USUAL_DAMPING = 32
"""`D_Coefficient` of both."""
FULL_ANGLE = 16
"""Bit of `Phase`: positions go on beyond one turn instead of starting anew."""


@dataclass(frozen=True)
class Drive:
    """What the motor does until the next tick: clip(gain (goal - angle) - active damping x velocity, +-limit)."""

    goal: float
    """[rad] of the joint."""
    stiffness: float
    """Factor on the gain that the motor has at the usual `P_Coefficient` and rated voltage."""
    damping: float
    """The same of active damping."""
    limit: float
    """[N m]; 0 leaves the joint limp."""


class Servo:
    """One servo. Position control alone is emulated: in any other operating mode the motor has no torque."""

    def __init__(self, mount: float = COUNTS / 2, stall: float = 3.35, **eeprom: int) -> None:
        """`mount` is the encoder's count at the joint's zero, `stall` the torque at rated voltage [N m]."""
        self.memory = Memory(STS, **eeprom)
        self.mount, self.stall = mount, stall
        self.powered = True
        self.overloaded = False
        """An overload that nothing clears but the power."""
        self.hot: float | None = None
        """[C] A temperature that replaces its own."""
        self.lag = 0.0
        """[s] from a goal that is written to a motor that knows."""
        self.slip = 0.0
        """[rad] by which the horn has turned on its spline."""
        self.temperature = AMBIENT
        self._setpoint, self._trail = Profile(0.0), Trail()
        self._overload = 0.0
        """[s] for which the load has been too high; afterwards the direction it had, as an infinity."""
        self._excess = 0.0
        """[s] for which the current has been too high."""
        self.angle = 0.0
        """[rad] of the joint at the last tick."""

    def supply(self, sag: float | None) -> float:
        """[V] that it gets, while the supply has `sag` [V]; None is as it should be."""
        return RATED_VOLTAGE if sag is None else sag

    @property
    def position(self) -> float:
        """What the encoder says [counts], not rounded: homing offset applied, in one turn unless told otherwise."""
        counts = self.mount + (self.angle + self.slip) / RADIANS - self.memory["Homing_Offset"]
        return counts if self.memory["Phase"] & FULL_ANGLE else counts % COUNTS

    @property
    def goal(self) -> float:
        """The joint's angle [rad] that a host last asked for."""
        return self.angle + (self.memory["Goal_Position"] - self.position) * RADIANS

    def start(self, angle: float) -> None:
        """Power on with the joint at `angle` [rad]."""
        self.angle = angle
        self._hold()

    def write(self, address: int, data: bytes) -> None:
        """What a host writes. Torque that comes on holds the joint where it is until there is another goal."""
        before = self.memory["Torque_Enable"]
        self.memory.write(address, data)
        if self.memory["Torque_Enable"] and not before:
            self._hold()

    def switch(self, powered: bool) -> None:
        """Take the power away, or give it back: the servo starts from its EEPROM, limp and without errors."""
        if powered and not self.powered:
            self.memory.power_cycle()
            self.memory["Torque_Limit"] = self.memory["Max_Torque_Limit"]
            self.overloaded = False
            self._overload = self._excess = 0.0
            self._hold()
        self.powered = powered

    def tick(self, angle: float, velocity: float, torque: float, voltage: float, seconds: float) -> Drive:
        """Take over what the sensors see and decide what the motor does for the next `seconds`.

        `angle` [rad] and `velocity` [rad/s] are the joint's, `torque` [N m] is the motor's during the last tick,
        `voltage` [V] that of the supply.
        """
        memory, self.angle = self.memory, angle
        load = torque / self.stall
        current = abs(torque) / TORQUE_CONSTANT
        warming = HEATING * RESISTANCE * current**2 - (self.temperature - AMBIENT)
        self.temperature += warming * seconds / HEATING_TIME
        if not self.powered:
            return Drive(angle, 0.0, 0.0, 0.0)
        position = self.position
        error = self._protect(load, current, voltage, position, seconds)
        memory.update({
            "Present_Position": round(position) if memory["Phase"] & FULL_ANGLE else round(position) % COUNTS,
            "Present_Velocity": round(velocity / RADIANS),
            "Present_Load": round(1000 * load),
            "Present_Voltage": round(10 * voltage),
            "Present_Temperature": round(self.temperature if self.hot is None else self.hot),
            "Present_Current": round(math.copysign(current, torque) / CURRENT_UNIT),
            "Moving": int(abs(velocity) / RADIANS > memory["Moving_Velocity_Threshold"]),
            "Goal_Position_2": memory["Goal_Position"],
            "Status": error,
        })  # fmt: skip
        off = error & memory["Unloading_Condition"] & ~Error.OVERLOAD
        if not memory["Torque_Enable"] or memory["Operating_Mode"] or off:
            return Drive(angle, 0.0, 0.0, 0.0)
        setpoint = self._trail.push(self._advance(seconds), self.lag / seconds)
        share = min(memory["Torque_Limit"], memory["Max_Torque_Limit"], 1000) / 1000
        if error & memory["Unloading_Condition"] & Error.OVERLOAD:
            share = min(share, memory["Protective_Torque"] / 100)
        supply = voltage / RATED_VOLTAGE
        return Drive(
            goal=angle + RADIANS * self._without_dead_zone(setpoint - position),
            stiffness=supply * memory["P_Coefficient"] / USUAL_GAIN,
            damping=supply * memory["D_Coefficient"] / USUAL_DAMPING,
            limit=supply * share * self.stall,
        )

    def _hold(self) -> None:
        self.memory["Goal_Position"] = round(self.position)
        self._setpoint, self._excess = Profile(self.position), 0.0
        self._trail.clear()

    def _advance(self, seconds: float) -> float:
        """Move the setpoint towards the goal, as far as registers allow; returns it."""
        memory = self.memory
        lowest, highest = memory["Min_Position_Limit"], memory["Max_Position_Limit"]
        goal = memory["Goal_Position"]
        if highest > lowest:
            goal = min(max(goal, lowest), highest)
        top = min(abs(memory["Goal_Velocity"]) or TOP_SPEED, TOP_SPEED)
        acceleration = min(memory["Acceleration"], memory["Maximum_Acceleration"]) if memory["Acceleration"] else 0
        return self._setpoint.advance(goal, top, ACCELERATION_UNIT * acceleration, seconds)

    def _without_dead_zone(self, away: float) -> float:
        if away > 0:
            return max(away - self.memory["CW_Dead_Zone"], 0.0)
        return min(away + self.memory["CCW_Dead_Zone"], 0.0)

    def _protect(self, load: float, current: float, voltage: float, position: float, seconds: float) -> int:
        """The error bits that hold now.

        An overload ends when the goal is on the other side; too much current, when torque is enabled anew.
        """
        memory, error = self.memory, 0
        if not memory["Min_Voltage_Limit"] <= round(10 * voltage) <= memory["Max_Voltage_Limit"]:
            error |= Error.VOLTAGE
        if (self.temperature if self.hot is None else self.hot) > memory["Max_Temperature_Limit"]:
            error |= Error.HEAT
        if self._excess < memory["Over_Current_Protection_Time"] * TIME_UNIT:
            self._excess = self._excess + seconds if current > memory["Protection_Current"] * CURRENT_UNIT else 0.0
        else:
            error |= Error.CURRENT
        if math.isinf(self._overload):
            if (self._setpoint.position - position) * self._overload < 0:
                self._overload = 0.0
        elif 100 * abs(load) < memory["Overload_Torque"]:
            self._overload = 0.0
        else:
            self._overload += seconds
            if self._overload >= memory["Protection_Time"] * TIME_UNIT:
                self._overload = math.copysign(math.inf, load)
        if self.overloaded or math.isinf(self._overload):
            error |= Error.OVERLOAD
        return error
