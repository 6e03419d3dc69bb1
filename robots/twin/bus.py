"""Servos on one wire: which of them hears a packet, what it does, what they answer."""

from collections.abc import Sequence
from itertools import batched

from robots.twin.protocol import BROADCAST, Instruction, Packet
from robots.twin.registers import BAUD_RATES, SIZE
from robots.twin.servo import Servo


class Bus:
    """Answers instruction packets for the servos on it.

    A servo without power, at another baud rate or of another ID is silent. A packet that makes no sense is not
    answered, either: the protocol has no error for it.
    """

    def __init__(self, servos: Sequence[Servo]) -> None:
        self.servos = tuple(servos)
        self._registered: dict[Servo, bytes] = {}

    def answer(self, packet: Packet, baud_rate: int | None = None) -> list[bytes]:
        """Carry out `packet`; one encoded status packet per servo that answers, in the order they do.

        `baud_rate` is that of the line [bit/s]; None is heard by all.
        """
        listening = [servo for servo in self.servos if servo.powered and _hears(servo, baud_rate)]
        addressed = [servo for servo in listening if packet.id in (BROADCAST, servo.memory["ID"])]
        data = packet.parameters
        match packet.code:
            case Instruction.PING:
                # In the order of IDs: each waits for those before it.
                return [_status(servo) for servo in sorted(addressed, key=lambda servo: servo.memory["ID"])]
            case Instruction.READ if len(data) == 2 and data[1] <= SIZE and packet.id != BROADCAST:
                return [_status(servo, servo.memory.read(*data)) for servo in addressed]
            case Instruction.WRITE if len(data) >= 2:
                return [reply for servo in addressed for reply in self._write(servo, data, packet.id)]
            case Instruction.REG_WRITE if len(data) >= 2:
                self._registered.update(dict.fromkeys(addressed, data))
                return [_status(servo) for servo in addressed if _replies(servo, packet.id)]
            case Instruction.ACTION:
                pending = [(servo, self._registered.pop(servo, b"")) for servo in addressed]
                return [reply for servo, data in pending for reply in self._write(servo, data, packet.id)]
            case Instruction.SYNC_READ if len(data) >= 2 and data[1] <= SIZE:
                address, length, *ids = data
                asked = [servo for identity in ids for servo in listening if servo.memory["ID"] == identity]
                return [_status(servo, servo.memory.read(address, length)) for servo in asked]
            case Instruction.SYNC_WRITE if len(data) >= 2 and data[1] and (len(data) - 2) % (data[1] + 1) == 0:
                for identity, *values in batched(data[2:], data[1] + 1):
                    for servo in [servo for servo in listening if servo.memory["ID"] == identity]:
                        servo.write(data[0], bytes(values))
        return []

    def _write(self, servo: Servo, data: bytes, identity: int) -> list[bytes]:
        # Asked before: a servo answers under the ID that it was addressed by.
        own = servo.memory["ID"]
        if data:
            servo.write(data[0], data[1:])
        return [_status(servo, identity=own)] if _replies(servo, identity) else []


def _hears(servo: Servo, baud_rate: int | None) -> bool:
    own = servo.memory["Baud_Rate"]
    return baud_rate is None or (own < len(BAUD_RATES) and BAUD_RATES[own] == baud_rate)


def _replies(servo: Servo, identity: int) -> bool:
    """Whether a servo answers what is not a question."""
    return identity != BROADCAST and servo.memory["Response_Status_Level"] > 0


def _status(servo: Servo, data: bytes = b"", identity: int | None = None) -> bytes:
    return Packet(servo.memory["ID"] if identity is None else identity, servo.memory["Status"], data).encode()
