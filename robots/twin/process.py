"""Twins as processes of their own, as LeRobot's SDK spins while it waits and would starve a thread."""

import json
import signal
import socket
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from envs.errors import EmbodiedError

if TYPE_CHECKING:
    from robots.twin.server import TwinConfig


class TwinProcess:
    """A running twin; it ends with `close`, with the `with` block, or with the process that started it."""

    def __init__(self, config: "TwinConfig") -> None:
        """Returns when the port is there; raises `EmbodiedError` with the twin's own sentence if it does not start."""
        self.folder = Path(config.folder)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "robots.twin.process", json.dumps(asdict(config))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        answer = self._process.stdout.readline()
        if not answer.startswith("port "):
            self.close()
            raise EmbodiedError(answer.strip() or "The twin did not start; what it printed says why.")
        self.port = answer.removeprefix("port ").strip()

    def tell(self, text: str) -> dict[str, Any]:
        """See `tell`."""
        return tell(self.folder, text)

    def close(self) -> int:
        """Stop it and wait; its exit code. May be called twice."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        return self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def tell(folder: Path, text: str) -> dict[str, Any]:
    """Send a command of `Server.tell` to the twin that runs in `folder`, and give its answer.

    Raises `EmbodiedError` where none runs, and for a command that it does not understand.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        try:
            line.connect(str(folder / "control"))
        except OSError as error:
            raise EmbodiedError(f"No twin runs in {folder}; start one: embodied twin folder={folder}.") from error
        line.sendall(text.encode() + b"\n")
        with line.makefile() as reader:
            answer: dict[str, Any] = json.loads(reader.readline() or "{}")
    if "error" in answer:
        raise EmbodiedError(answer["error"])
    return answer


def folder_behind(port: str) -> Path | None:
    """The folder of the twin whose port that is; None of any other port. Whether it still runs, `tell` says."""
    path = Path(port)
    return path.parent if path.name == "port" and (path.parent / "control").exists() else None


def main(config: str) -> int:
    """Serve the twin that the JSON text `config` describes until stdin ends."""
    from robots.twin.server import Server, TwinConfig

    try:
        server = Server(TwinConfig(**json.loads(config)))
    except EmbodiedError as error:
        sys.stdout.write(f"{error}\n")
        return 2
    with server:
        signal.signal(signal.SIGTERM, server.stop)
        # A terminal's ctrl-C goes to all of its processes; this one ends when its starter does.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        server.stop_when_closed(sys.stdin.fileno())
        sys.stdout.write(f"port {server.port}\n")
        sys.stdout.flush()
        server.serve()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
