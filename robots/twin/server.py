"""The twin as a process: one loop that answers the line, lets time pass, takes commands and draws pictures."""

import json
import os
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Literal

from envs.errors import EmbodiedError, unknown
from envs.folders import made
from envs.text import parse_call, parse_number
from robots.twin.arm import Arm, ArmConfig
from robots.twin.calibration import write_file
from robots.twin.faults import KINDS, Fault
from robots.twin.picture import Painter
from robots.twin.protocol import Instruction
from robots.twin.terminal import Terminal

LATE = 0.05
"""[s] Time that the twin is behind by more than this is given up, not caught up with while a host waits."""
SILENCE = 0.02
"""[s] An unfinished packet is over after this long without a byte."""
MOST_BEGINNINGS = 2**53
"""Beyond it, numbers in a command are not exact."""
COMMANDS = (*KINDS, "clear", "hand", "lay", "advance", "truth")


@dataclass(frozen=True)
class TwinConfig(ArmConfig):
    """One twin."""

    folder: str = "runs/twin"
    """Where `port` (a link to the pseudo-terminal), `control` (a socket), `twin.json` (LeRobot's calibration file of
    this arm) and `scene.png` are while it runs."""
    clock: Literal["wall", "packets", "reads"] = "wall"
    """What makes time pass: the clock on the wall; every instruction packet; or every question to all servos at once,
    which is answered after its time has passed. With the last two, runs can be repeated; with `reads`, what is told on
    the side is of the instant of the last answer, whether or not what was written since has come in already."""
    packet_time: float = 0.01
    """[s] that a packet takes with `packets`, where a loop that reads and writes then runs at 50 Hz; and a question
    with `reads`."""
    faults: str = ""
    """Faults that hold from the start, e.g. `drop(0.02); stall(elbow_flex)`."""
    picture: float = 1.0
    """[s] between pictures of the scene; 0 for none."""

    def __post_init__(self) -> None:
        """Raise `EmbodiedError` for values that mean nothing."""
        if self.clock not in ("wall", "packets", "reads"):
            raise unknown("clock", self.clock, ("wall", "packets", "reads"))
        if self.packet_time < 0 or self.picture < 0:
            raise EmbodiedError("packet_time and picture must be 0 or more.")


class Server:
    """One twin in its folder. Use it in a `with` block."""

    def __init__(self, config: TwinConfig) -> None:
        """Raises `EmbodiedError` where the folder has a running twin, or a setting is unknown."""
        self.config, self.folder = config, Path(config.folder)
        self.arm = Arm(config)
        faults = [Fault.parse(text) for text in config.faults.split(";") if text.strip()]
        self._control = _listen(self.folder)
        write_file(self.folder / "twin.json", self.arm.eeprom, self.arm.make.first)
        self._parser, self._random = self.arm.make.parser(), Random(config.seed)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._control, selectors.EVENT_READ, self._accept)
        self._terminal: Terminal | None = None
        self._late: deque[tuple[float, bytes]] = deque()
        """When delayed answers are due, and what they are."""
        self._heard = self._lost = 0.0
        self._painter = Painter(self.arm.simulation, self.folder / "scene.png", config.picture)
        self._running = True
        # The first time loads compiled code, for which no host may have to wait.
        self.arm.truth()
        self._plug(True)
        for fault in faults:
            self.arm.faults.add(fault)
        self._refresh()

    @property
    def port(self) -> str:
        """What a driver opens; it stays the same when the cable is unplugged and plugged in again."""
        return str(self.folder / "port")

    def stop(self, *_: object) -> None:
        """Let `serve` return; fit to be a signal handler."""
        self._running = False

    def stop_when_closed(self, stream: int) -> None:
        """Let `serve` return when the file descriptor `stream` ends."""
        self._selector.register(stream, selectors.EVENT_READ, lambda: None if os.read(stream, 4096) else self.stop())

    def serve(self) -> None:
        """Answer until `stop`."""
        wall, step = self.config.clock == "wall", self.arm.timestep
        due = time.monotonic()
        while self._running:
            # Without a tick to wait for, it looks now and then whether it should stop.
            deadlines = [due if wall else due + 0.1, *(moment for moment, _ in list(self._late)[:1])]
            for key, _ in self._selector.select(max(min(deadlines) - time.monotonic(), 0.0)):
                key.data()
            now = time.monotonic()
            while self._late and self._late[0][0] <= now:
                self._send(self._late.popleft()[1])
            if not wall:
                due = now
            elif now >= due:
                # One at a time: a host that asks meanwhile is answered before the next.
                self.arm.advance()
                due += step
                if now - due > LATE:
                    self._lost += now - due
                    due = now
            self._painter.paint(now)

    def tell(self, text: str) -> dict[str, Any]:
        """Carry out one command and give the answer.

        A fault of `robots.twin.faults` holds until `clear()` or `clear(kind)`. `hand(...)` leads limp joints, see
        `robots.twin.hand`. `lay(3)` lays the table anew, as beginning number 3 of the task, under the arm as it is.
        `advance(0.5)` lets that much time [s] pass at once. `truth()` is what no driver can read; every answer is that,
        after the command, and `lost`, the time [s] that the twin gave up because it was late, and its `clock` and
        `packet_time` [s].

        Raises `EmbodiedError` for anything else.
        """
        call = parse_call(text)
        arm = self.arm
        if call.name not in COMMANDS:
            raise unknown("command", call.name, COMMANDS)
        if call.name in KINDS:
            arm.faults.add(Fault.from_call(call))
            self._refresh()
        elif call.name == "clear":
            arm.faults.clear(*_words(text, call.positional, 1, least=0))
            self._refresh()
        elif call.name == "hand":
            arm.hand.lead(call, arm.angles)
        elif call.name in ("lay", "advance"):
            (word,) = _words(text, call.positional, 1)
            number = parse_number(word, "The number", text)
            if number < 0:
                raise EmbodiedError(f"{text!r}: the number must be 0 or more.")
            if call.name == "lay":
                if number != int(number) or number >= MOST_BEGINNINGS:
                    raise EmbodiedError(
                        f"{text!r}: beginnings have whole numbers below {MOST_BEGINNINGS}, e.g. lay(3)."
                    )
                arm.lay(int(number), keep_arm=True)
            else:
                arm.advance(round(number / arm.timestep))
        own = {"lost": self._lost, "clock": self.config.clock, "packet_time": self.config.packet_time}
        return {**arm.truth(), **own}

    def close(self) -> None:
        """Take the port away. May be called twice."""
        if self._selector.get_map() is None:
            return
        self._plug(False)
        self._painter.close()
        self._selector.close()
        self._control.close()
        (self.folder / "control").unlink(missing_ok=True)

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _refresh(self) -> None:
        self.arm.refresh()
        if self.arm.faults.value("delay") is None:
            # What still waits would come after, and pass for, answers to later questions.
            self._late.clear()
        self._plug(self.arm.faults.value("unplug") is None)

    def _plug(self, plugged: bool) -> None:
        link = Path(self.port)
        if plugged and self._terminal is None:
            self._terminal = Terminal()
            self._selector.register(self._terminal, selectors.EVENT_READ, self._hear)
            link.unlink(missing_ok=True)
            link.symlink_to(self._terminal.path)
        elif not plugged and self._terminal is not None:
            link.unlink(missing_ok=True)
            self._selector.unregister(self._terminal)
            self._terminal.close()
            self._terminal = None
            self._parser.clear()
            self._late.clear()

    def _hear(self) -> None:
        if self._terminal is None:
            return
        now = time.monotonic()
        if now - self._heard > SILENCE:
            self._parser.clear()
        self._heard = now
        for packet in self._parser.feed(self._terminal.read()):
            if self.config.clock == "reads" and packet.code == Instruction.SYNC_READ:
                self._pass()
            if not self._happens("drop"):
                self._answer(self.arm.bus.answer(packet, self._terminal.baud_rate), now)
            if self.config.clock == "packets":
                self._pass()

    def _pass(self) -> None:
        self.arm.advance(round(self.config.packet_time / self.arm.timestep))

    def _answer(self, answers: list[bytes], now: float) -> None:
        # In one piece: every write wakes the host.
        data = b"".join(self._spoilt(answer) for answer in answers if not self._happens("drop"))
        delay = self.arm.faults.value("delay")
        if delay is None:
            self._send(data)
        else:
            self._late.append((now + delay / 1000, data))

    def _spoilt(self, data: bytes) -> bytes:
        if not self._happens("corrupt"):
            return data
        place = self._random.randrange(len(data))
        return data[:place] + bytes((data[place] ^ self._random.randrange(1, 256),)) + data[place + 1 :]

    def _happens(self, kind: str) -> bool:
        share = self.arm.faults.value(kind)
        return share is not None and self._random.random() < share

    def _send(self, data: bytes) -> None:
        if data and self._terminal is not None:
            self._terminal.write(data)

    def _accept(self) -> None:
        connection, _ = self._control.accept()
        connection.setblocking(False)
        self._selector.register(connection, selectors.EVENT_READ, self._listener(connection))

    def _listener(self, connection: socket.socket) -> Callable[[], None]:
        """Answers every line of a connection with one line of JSON."""
        pending = bytearray()

        def hear() -> None:
            try:
                data = connection.recv(4096)
                pending.extend(data)
                while b"\n" in pending:
                    line, _, rest = bytes(pending).partition(b"\n")
                    pending[:] = rest
                    connection.sendall(self._reply(line.decode(errors="replace")))
            except OSError:
                data = b""
            if not data:
                self._selector.unregister(connection)
                connection.close()

        return hear

    def _reply(self, text: str) -> bytes:
        try:
            answer = self.tell(text)
        except EmbodiedError as error:
            answer = {"error": str(error)}
        return json.dumps(answer).encode() + b"\n"


def _words(text: str, given: tuple[str, ...], most: int, least: int = 1) -> tuple[str, ...]:
    if not least <= len(given) <= most:
        raise EmbodiedError(f"{text!r} has {len(given)} values; it takes {most}.")
    return given


def _listen(folder: Path) -> socket.socket:
    """The socket for commands in `folder`; raises `EmbodiedError` where another twin has it."""
    path = made(folder) / "control"
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.exists():
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                if probe.connect_ex(str(path)) == 0:
                    raise EmbodiedError(f"A twin is running in {folder} already; stop it, or choose another folder.")
            path.unlink()
        server.bind(str(path))
        server.listen()
    except OSError as error:
        server.close()
        raise EmbodiedError(f"No socket can be made at {path} ({error}); choose another folder.") from error
    except EmbodiedError:
        server.close()
        raise
    return server
