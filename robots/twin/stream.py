"""Bytes of a line, cut into packets."""

from abc import ABC, abstractmethod


class Stream[Packet](ABC):
    """Cuts a stream of bytes into packets. What is no packet is skipped byte by byte, so that none behind it is lost.

    A header that noise made may announce more bytes than will come, and swallow packets until they have: call `clear`
    when the line has been silent for longer than there are pauses within a packet.
    """

    header: bytes
    """What every packet begins with."""
    told: int
    """Bytes from a packet's beginning on that tell how long it is."""

    def __init__(self) -> None:
        self._pending = bytearray()

    @abstractmethod
    def length(self, begun: bytes) -> int | None:
        """Bytes of the whole packet that begins so; None where no packet can."""

    @abstractmethod
    def packet(self, whole: bytes) -> Packet | None:
        """The packet that these bytes are; None where its sum is wrong."""

    def feed(self, data: bytes) -> list[Packet]:
        """The packets that `data` completes."""
        pending = self._pending
        pending += data
        packets: list[Packet] = []
        while (start := pending.find(self.header)) >= 0:
            del pending[:start]
            if len(pending) < self.told:
                return packets
            length = self.length(bytes(pending[: self.told]))
            if length is not None and len(pending) < length:
                return packets
            found = None if length is None else self.packet(bytes(pending[:length]))
            if found is None:
                del pending[0]
                continue
            packets.append(found)
            del pending[:length]
        # The last bytes may be the first of a header.
        kept = next((n for n in range(len(self.header) - 1, 0, -1) if pending.endswith(self.header[:n])), 0)
        del pending[: len(pending) - kept]
        return packets

    def clear(self) -> None:
        """Forget an unfinished packet."""
        self._pending.clear()
