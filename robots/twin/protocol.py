"""Feetech's serial protocol (LeRobot's "protocol 0"): packets to bytes and back.

    instruction  FF FF ID LENGTH INSTRUCTION PARAMETERS.. CHECKSUM
    status       FF FF ID LENGTH ERROR       PARAMETERS.. CHECKSUM

`LENGTH` counts what follows it; the checksum is the inverted low byte of the sum from `ID` on. Source: Feetech's "SCS
communication protocol" manual and what LeRobot 0.6.1 was seen to send.
"""

from dataclasses import dataclass
from enum import IntEnum

from robots.twin.stream import Stream

HEADER = b"\xff\xff"
BROADCAST = 0xFE
LONGEST = 250
"""The largest `LENGTH` in use; anything above is noise that looks like a header."""


class Instruction(IntEnum):
    """What a host asks for."""

    PING = 0x01
    READ = 0x02
    WRITE = 0x03
    REG_WRITE = 0x04
    ACTION = 0x05
    SYNC_READ = 0x82
    SYNC_WRITE = 0x83


@dataclass(frozen=True)
class Packet:
    """One packet of either direction."""

    id: int
    code: int
    """The instruction; of a status packet, the error bits."""
    parameters: bytes = b""

    def encode(self) -> bytes:
        """The packet as it travels."""
        body = bytes((self.id, len(self.parameters) + 2, self.code)) + self.parameters
        return HEADER + body + bytes((checksum(body),))


def checksum(body: bytes) -> int:
    """Of everything between header and checksum."""
    return ~sum(body) & 0xFF


class Parser(Stream[Packet]):
    """Packets of either direction."""

    header = HEADER
    told = 4

    def length(self, begun: bytes) -> int | None:
        """See `Stream`."""
        return begun[3] + 4 if begun[2] <= BROADCAST and 2 <= begun[3] <= LONGEST else None

    def packet(self, whole: bytes) -> Packet | None:
        """See `Stream`."""
        body = whole[2:-1]
        return Packet(body[0], body[2], body[3:]) if whole[-1] == checksum(body) else None
