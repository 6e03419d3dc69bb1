"""X-series servos on one wire: which of them hears a packet, what it does, what they answer."""

from collections.abc import Sequence
from itertools import batched

from robots.twin.dynamixel.protocol import BROADCAST, Instruction, Packet, Refusal, status
from robots.twin.dynamixel.registers import BAUD_RATES, TABLE
from robots.twin.dynamixel.servo import XServo


class Bus:
    """See `robots.twin.bus.Bus`. What a servo may not do, and what it does not know, it answers with an error."""

    def __init__(self, servos: Sequence[XServo]) -> None:
        self.servos = tuple(servos)
        self._registered: dict[XServo, bytes] = {}

    def answer(self, packet: Packet, baud_rate: int | None = None) -> list[bytes]:
        """Carry out `packet`; one encoded status packet per servo that answers, in the order they do."""
        listening = [servo for servo in self.servos if servo.powered and _hears(servo, baud_rate)]
        addressed = [servo for servo in listening if packet.id in (BROADCAST, servo.memory["ID"])]
        data = packet.parameters
        match packet.code:
            case Instruction.PING:
                by_id = sorted(addressed, key=lambda servo: servo.memory["ID"])
                return [_answer(servo, Refusal.NONE, _read(servo, 0, 2) + _read(servo, 6, 1)) for servo in by_id]
            case Instruction.SYNC_READ if len(data) >= 4:
                address, length, ids = _word(data), _word(data[2:]), data[4:]
                asked = [servo for identity in ids for servo in listening if servo.memory["ID"] == identity]
                return [_answer(servo, *_told(servo, address, length)) for servo in asked if _level(servo) > 0]
            case Instruction.SYNC_WRITE if len(data) >= 4:
                address, length = _word(data), _word(data[2:])
                if length and (len(data) - 4) % (length + 1) == 0:
                    for identity, *values in batched(data[4:], length + 1):
                        for servo in [servo for servo in listening if servo.memory["ID"] == identity]:
                            servo.write(address, bytes(values))
                return []
            case Instruction.STATUS:
                return []
        replies = [(servo, servo.memory["ID"], *self._one(servo, packet)) for servo in addressed]
        least = 1 if packet.code == Instruction.READ else 2
        return [
            status(identity, error | servo.alert, told)
            for servo, identity, error, told in replies
            if packet.id != BROADCAST and _level(servo) >= least
        ]

    def _one(self, servo: XServo, packet: Packet) -> tuple[int, bytes]:
        """What one servo does, its error and what it tells."""
        data = packet.parameters
        match packet.code:
            case Instruction.READ if len(data) == 4:
                return _told(servo, _word(data), _word(data[2:]))
            case Instruction.WRITE if len(data) > 2:
                return servo.write(_word(data), data[2:]), b""
            case Instruction.REG_WRITE if len(data) > 2:
                self._registered[servo] = data
                return Refusal.NONE, b""
            case Instruction.ACTION:
                pending = self._registered.pop(servo, b"")
                return servo.write(_word(pending), pending[2:]) if pending else Refusal.NONE, b""
            case Instruction.REBOOT:
                servo.reboot()
                return Refusal.NONE, b""
            case Instruction.READ | Instruction.WRITE | Instruction.REG_WRITE:
                return Refusal.LENGTH, b""
        return Refusal.INSTRUCTION, b""


def _told(servo: XServo, address: int, length: int) -> tuple[int, bytes]:
    if address + length > TABLE.size:
        return Refusal.RANGE, b""
    return Refusal.NONE, _read(servo, address, length)


def _answer(servo: XServo, error: int, data: bytes) -> bytes:
    return status(servo.memory["ID"], error | servo.alert, data)


def _read(servo: XServo, address: int, length: int) -> bytes:
    return servo.memory.read(address, length)


def _word(data: bytes) -> int:
    return int.from_bytes(data[:2], "little")


def _level(servo: XServo) -> int:
    return servo.memory["Status_Return_Level"]


def _hears(servo: XServo, baud_rate: int | None) -> bool:
    own = servo.memory["Baud_Rate"]
    return baud_rate is None or (own < len(BAUD_RATES) and BAUD_RATES[own] == baud_rate)
