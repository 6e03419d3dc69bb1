"""Feetech's serial protocol (LeRobot's "protocol 0"): packets to bytes and back.

    instruction  FF FF ID LENGTH INSTRUCTION PARAMETERS.. CHECKSUM
    status       FF FF ID LENGTH ERROR       PARAMETERS.. CHECKSUM

`LENGTH` counts what follows it; the checksum is the inverted low byte of the sum from `ID` on. Source: Feetech's "SCS
communication protocol" manual and what LeRobot 0.6.1 was seen to send.
"""

from dataclasses import dataclass
from enum import IntEnum

HEADER = b"\xff\xff"
BROADCAST = 0xFE
LAST_ID = 0xFD
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


class Parser:
    """Cuts a stream of bytes into packets. What is no packet is skipped byte by byte, so that none behind it is lost.

    A header that noise made may announce more bytes than will come, and swallow packets until they have: call `clear`
    when the line has been silent for longer than there are pauses within a packet.
    """

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, data: bytes) -> list[Packet]:
        """The packets that `data` completes."""
        pending = self._pending
        pending += data
        packets: list[Packet] = []
        while (start := pending.find(HEADER)) >= 0:
            del pending[:start]
            if len(pending) < 4:
                return packets
            identity, length = pending[2], pending[3]
            if identity > BROADCAST or not 2 <= length <= LONGEST:
                del pending[0]
                continue
            if len(pending) < length + 4:
                return packets
            body = bytes(pending[2 : length + 3])
            if pending[length + 3] != checksum(body):
                del pending[0]
                continue
            packets.append(Packet(identity, body[2], body[3:]))
            del pending[: length + 4]
        # The last byte may be the first half of a header.
        del pending[: len(pending) - (pending[-1:] == HEADER[:1])]
        return packets

    def clear(self) -> None:
        """Forget an unfinished packet."""
        self._pending.clear()
