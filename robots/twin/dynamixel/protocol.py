"""Dynamixel's protocol 2.0: packets to bytes and back.

    FF FF FD 00 ID LENGTH(2) INSTRUCTION PARAMETERS.. CRC(2)

Numbers are little-endian. `LENGTH` counts what follows it; the CRC is over everything before it; where instruction and
parameters hold `FF FF FD`, another `FD` is put behind. A status packet has the instruction 0x55 and its error as the
first parameter. Source: ROBOTIS e-Manual, "DYNAMIXEL Protocol 2.0".
"""

from dataclasses import dataclass
from enum import IntEnum

from robots.twin.stream import Stream

HEADER = b"\xff\xff\xfd\x00"
_LOOKS_LIKE_HEADER = b"\xff\xff\xfd"
BROADCAST = 0xFE
LONGEST = 1024
"""The largest `LENGTH` in use; anything above is noise that looks like a header."""
_POLYNOMIAL = 0x8005


class Instruction(IntEnum):
    """What a host asks for, and `STATUS`, which answers."""

    PING = 0x01
    READ = 0x02
    WRITE = 0x03
    REG_WRITE = 0x04
    ACTION = 0x05
    REBOOT = 0x08
    STATUS = 0x55
    SYNC_READ = 0x82
    SYNC_WRITE = 0x83


class Refusal(IntEnum):
    """Errors of a status packet; `ALERT` is added where the servo's hardware reports one."""

    NONE = 0
    INSTRUCTION = 2
    RANGE = 4
    LENGTH = 5
    LIMIT = 6
    ACCESS = 7
    ALERT = 0x80


@dataclass(frozen=True)
class Packet:
    """One packet of either direction."""

    id: int
    code: int
    """The instruction."""
    parameters: bytes = b""

    def encode(self) -> bytes:
        """The packet as it travels."""
        body = (bytes((self.code,)) + self.parameters).replace(_LOOKS_LIKE_HEADER, _LOOKS_LIKE_HEADER + b"\xfd")
        head = HEADER + bytes((self.id,)) + (len(body) + 2).to_bytes(2, "little")
        return head + body + crc(head + body).to_bytes(2, "little")


def status(identity: int, error: int, data: bytes = b"") -> bytes:
    """An answer as it travels."""
    return Packet(identity, Instruction.STATUS, bytes((error,)) + data).encode()


def crc(data: bytes) -> int:
    """CRC-16 with polynomial 0x8005, from 0 on, highest bit first."""
    value = 0
    for byte in data:
        value = (value << 8) & 0xFFFF ^ _TABLE[value >> 8 ^ byte]
    return value


def _step(value: int) -> int:
    for _ in range(8):
        value = value << 1 ^ (_POLYNOMIAL if value & 0x8000 else 0)
    return value & 0xFFFF


_TABLE = tuple(_step(byte << 8) for byte in range(256))


class Parser(Stream[Packet]):
    """Packets of either direction."""

    header = HEADER
    told = 7

    def length(self, begun: bytes) -> int | None:
        """See `Stream`."""
        follows = int.from_bytes(begun[5:7], "little")
        return follows + 7 if begun[4] <= BROADCAST and 3 <= follows <= LONGEST else None

    def packet(self, whole: bytes) -> Packet | None:
        """See `Stream`."""
        if int.from_bytes(whole[-2:], "little") != crc(whole[:-2]):
            return None
        body = whole[7:-2].replace(_LOOKS_LIKE_HEADER + b"\xfd", _LOOKS_LIKE_HEADER)
        return Packet(whole[4], body[0], body[1:])
