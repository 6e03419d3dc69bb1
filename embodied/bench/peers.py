"""Other people's packages, in a Python of their own: a script there answers questions over pipes, a line of JSON each.

`make peers` builds that Python in `.peers`; see docs/peers.md. The scripts in `peer_scripts` import nothing of ours.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from envs.errors import EmbodiedError

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".peers/bin/python"
SCRIPTS = Path(__file__).resolve().parent / "peer_scripts"
MISSING = f"The peers are not installed in {ROOT / '.peers'}: run `make peers`. Until then our own figures stand alone."
_ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS", "NUMBA")}


def installed() -> bool:
    """Whether `make peers` was run."""
    return PYTHON.exists()


def borrow() -> None:
    """Let this process import what only the peers have, such as Stable-Baselines3, which is plain Python.

    What both have is still imported from here, MuJoCo above all: the search path grows at its end.
    """
    for folder in PYTHON.parent.parent.glob("lib/python*/site-packages"):
        if str(folder) not in sys.path:
            sys.path.append(str(folder))


class Worker:
    """A running script of the peers' Python, used as a context."""

    def __init__(self, script: str, folder: Path = SCRIPTS, python: Path = PYTHON) -> None:
        """Start `folder / script`. Raises `EmbodiedError` where there is no such Python."""
        if not python.exists():
            raise EmbodiedError(MISSING)
        self.script = script
        self._told = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by `close`
        outside = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        self._process = subprocess.Popen(
            [python, "-W", "ignore", folder / script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._told,
            env=outside | _ONE_THREAD,
            text=True,
        )

    def ask(self, verb: str, **words: Any) -> Any:
        """What the script answers; raises `EmbodiedError` with its last words where it fails."""
        return self.tell(verb, **words)()

    def tell(self, verb: str, **words: Any) -> Callable[[], Any]:
        """Ask, and go on with something else; what is returned waits for the answer."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"verb": verb, **words}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._failed(verb) from None
        return lambda: self._hear(verb)

    def _hear(self, verb: str) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise self._failed(verb)
        answer = json.loads(line)
        if "error" in answer:
            raise EmbodiedError(f"{self.script} could not {verb}: {answer['error']}")
        return answer["answer"]

    def _failed(self, verb: str) -> EmbodiedError:
        code = self._process.wait()
        self._told.seek(0)
        last = next((line.strip() for line in reversed(self._told.readlines()) if line.strip()), "no words")
        return EmbodiedError(f"{self.script} died with exit code {code} when asked to {verb}: {last}")

    def close(self) -> None:
        """End the script; its CPU time is then counted among that of our children."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._told.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._process.kill()
        self.close()
