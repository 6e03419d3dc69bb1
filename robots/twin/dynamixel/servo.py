"""The firmware of one X-series servo: from registers and sensors to what its motor does, one tick at a time."""

import math

from robots.twin.dynamixel.protocol import Refusal
from robots.twin.dynamixel.registers import ACCELERATION_UNIT, MODELS, VELOCITY_UNIT, Hardware, Mode
from robots.twin.memory import Memory
from robots.twin.profile import Profile, Trail
from robots.twin.registers import COUNTS
from robots.twin.servo import AMBIENT, RADIANS, Drive

NO_LIMIT = 32_767
"""Of profile velocities."""
WHOLE_PWM = 885
"""`Goal_PWM` of the whole supply."""
OVERLOAD_SHARE, OVERLOAD_TIME = 0.95, 2.0
"""Share of stall torque and [s] that make an overload; ROBOTIS publishes neither."""


class XServo:
    """One servo in its position modes; in any other the motor has no torque. A shutdown lasts until it is rebooted.

    Gains count relative to usual ones, for no X-series arm has been identified: at these the motor has the gain of the
    named servo. Only faults heat it.
    """

    def __init__(
        self, model: str, mount: float = COUNTS / 2, stall: float = 3.35, usual_gain: int | None = None, **eeprom: int
    ) -> None:
        """`mount` is the encoder's count at the joint's zero, `stall` the torque at rated voltage [N m].

        `usual_gain` is the `Position_P_Gain` of a configured arm; None is the factory's.
        """
        self.model = MODELS[model]
        self.memory = Memory(self.model.table, **eeprom)
        self.usual_gain = self.memory["Position_P_Gain"] if usual_gain is None else usual_gain
        self.mount, self.stall = mount, stall
        self.powered = True
        self.overloaded = False
        """An overload that a reboot does not clear."""
        self.hot: float | None = None
        """[C] A temperature that replaces its own."""
        self.slip = 0.0
        """[rad] by which the horn has turned on its spline."""
        self.lag = 0.0
        """[s] from a goal that is written to a motor that knows."""
        self.angle = 0.0
        """[rad] of the joint at the last tick."""
        self._setpoint, self._trail = Profile(0.0), Trail()
        self._strained = 0.0
        """[s] for which the load has been too high."""

    @property
    def position(self) -> float:
        """What the encoder says [counts], not rounded: homing offset applied, in one turn in `Mode.POSITION` alone."""
        counts = self._way * (self.mount + (self.angle + self.slip) / RADIANS) + self.memory["Homing_Offset"]
        return counts % COUNTS if self.memory["Operating_Mode"] == Mode.POSITION else counts

    @property
    def goal(self) -> float:
        """The joint's angle [rad] that a host last asked for."""
        return self.angle + self._way * (self.memory["Goal_Position"] - self.position) * RADIANS

    @property
    def alert(self) -> int:
        """The bit of every answer that says that the hardware has an error."""
        return Refusal.ALERT if self.memory["Hardware_Error_Status"] else 0

    @property
    def _way(self) -> int:
        """1, or -1 for a servo that counts the other way."""
        return -1 if self.memory["Drive_Mode"] & 1 else 1

    def supply(self, sag: float | None) -> float:
        """[V] that it gets, while the supply has `sag` [V]; None is as it should be."""
        return self.model.rated if sag is None else min(sag, self.model.rated)

    def start(self, angle: float) -> None:
        """Power on with the joint at `angle` [rad]."""
        self.angle = angle
        self._hold()

    def write(self, address: int, data: bytes) -> int:
        """What a host writes, or why it may not."""
        memory, table, places = self.memory, self.model.table, range(address, address + len(data))
        before = memory["Torque_Enable"]
        names = [table.at[place] for place in places if place in table.at]
        if not names or not table.writable.issuperset(place for place in places if place in table.at):
            return Refusal.ACCESS
        if before and any(place in table.eeprom for place in places):
            return Refusal.ACCESS
        fresh = {name: self._given(name, address, data) for name in dict.fromkeys(names)}
        if fresh.get("Torque_Enable") and self._shut():
            return Refusal.ACCESS
        goal = fresh.get("Goal_Position")
        lowest, highest = memory["Min_Position_Limit"], memory["Max_Position_Limit"]
        if goal is not None and memory["Operating_Mode"] == Mode.POSITION and not lowest <= goal <= highest:
            return Refusal.LIMIT
        for goal_of, limit in (("Goal_Current", "Current_Limit"), ("Goal_PWM", "PWM_Limit")):
            if goal_of in fresh and abs(fresh[goal_of]) > memory[limit]:
                return Refusal.LIMIT
        if fresh.get("Operating_Mode", self.model.modes[0]) not in self.model.modes:
            return Refusal.LIMIT
        memory.write(address, data)
        if "Operating_Mode" in fresh or (memory["Torque_Enable"] and not before):
            self._hold()
        return Refusal.NONE

    def reboot(self) -> None:
        """Start anew, as after power."""
        self.memory.power_cycle()
        self.memory["Goal_PWM"] = self.memory["PWM_Limit"]
        if Mode.CURRENT_POSITION in self.model.modes:
            self.memory["Goal_Current"] = self.memory["Current_Limit"]
        self._strained = 0.0
        self._hold()

    def switch(self, powered: bool) -> None:
        """Take the power away, or give it back: the servo starts from its EEPROM, limp and without errors."""
        if powered and not self.powered:
            self.overloaded = False
            self.reboot()
        self.powered = powered

    def tick(self, angle: float, velocity: float, torque: float, voltage: float, seconds: float) -> Drive:
        """See `robots.twin.servo.Servo.tick`."""
        memory, self.angle = self.memory, angle
        limp = Drive(angle, 0.0, 0.0, 0.0)
        if not self.powered:
            return limp
        position, load = self.position, self._way * torque / self.stall
        self._protect(load, voltage, seconds)
        memory.update({
            "Present_Position": round(position),
            "Present_Velocity": round(self._way * velocity / RADIANS / VELOCITY_UNIT),
            "Present_Current": round(self.model.full_load * load),
            "Present_Input_Voltage": round(10 * voltage),
            "Present_Temperature": round(AMBIENT if self.hot is None else self.hot),
            "Moving": int(abs(velocity) / RADIANS / VELOCITY_UNIT > memory["Moving_Threshold"]),
        })  # fmt: skip
        if not memory["Torque_Enable"] or memory["Operating_Mode"] not in tuple(Mode):
            return limp
        top = min(memory["Profile_Velocity"] or NO_LIMIT, NO_LIMIT) * VELOCITY_UNIT
        setpoint = self._setpoint.advance(
            memory["Goal_Position"], top, ACCELERATION_UNIT * memory["Profile_Acceleration"], seconds
        )
        setpoint = self._trail.push(setpoint, self.lag / seconds)
        # The last of all limits: without speed, torque goes with the share of the supply that the motor gets.
        share = min(abs(memory["Goal_PWM"]), memory["PWM_Limit"]) / WHOLE_PWM
        if memory["Operating_Mode"] == Mode.CURRENT_POSITION:
            share = min(share, abs(memory["Goal_Current"]) / max(memory["Current_Limit"], 1))
        supply = voltage / self.model.rated
        return Drive(
            goal=angle + self._way * RADIANS * (setpoint - position),
            stiffness=supply * memory["Position_P_Gain"] / self.usual_gain,
            damping=supply,
            limit=supply * share * self.stall,
        )

    def _hold(self) -> None:
        self.memory["Goal_Position"] = round(self.position)
        self._setpoint = Profile(self.position)
        self._trail.clear()

    def _given(self, name: str, address: int, data: bytes) -> int:
        """The value that a register would have."""
        entry = self.model.table.registers[name]
        whole = bytearray(self.memory.read(entry.address, entry.size))
        for place, byte in enumerate(data, address - entry.address):
            if 0 <= place < entry.size:
                whole[place] = byte
        return entry.decode(bytes(whole))

    def _shut(self) -> bool:
        return bool(self.memory["Hardware_Error_Status"] & self.memory["Shutdown"])

    def _protect(self, load: float, voltage: float, seconds: float) -> None:
        """Note errors, which stay, and shut down for those that are a reason to."""
        memory, error = self.memory, self.memory["Hardware_Error_Status"]
        if not memory["Min_Voltage_Limit"] <= round(10 * voltage) <= memory["Max_Voltage_Limit"]:
            error |= Hardware.VOLTAGE
        if self.hot is not None and self.hot > memory["Temperature_Limit"]:
            error |= Hardware.HEAT
        self._strained = self._strained + seconds if math.fabs(load) > OVERLOAD_SHARE else 0.0
        if self.overloaded or self._strained >= OVERLOAD_TIME:
            error |= Hardware.OVERLOAD
        memory["Hardware_Error_Status"] = error
        if self._shut():
            memory["Torque_Enable"] = 0
