"""A run folder: everything one experiment leaves behind, continued by the same command.

`config.json` settings, `versions.json` one entry per start, `metrics.jsonl` one line per measurement, `stages.json`
what is finished and its results, `checkpoints/NAME.safetensors`.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from embodied import checkpoint
from embodied.config import Config
from embodied.machine import command_line, start_record
from embodied.schema import differences, leaves, to_dict
from envs.errors import EmbodiedError
from envs.folders import made

SAME_RUN = ("run", "device")
"""Settings that do not change what is computed, and may differ between two starts of one run."""


class Run:
    """One run folder. `open` for the command that writes it, `load` for those that read it."""

    def __init__(self, folder: Path, config: Mapping[str, Any], lock: TextIO | None = None) -> None:
        self.folder = folder
        self.config = config
        self._lock = lock
        self._metrics: TextIO | None = None

    @classmethod
    def open(cls, folder: str | Path, config: Mapping[str, Any]) -> Self:
        """Begin a run in `folder`, or continue the one that is there.

        Args:
            folder: made where it is missing.
            config: plain nested settings, as of `embodied.schema.to_dict`.

        Raises:
            EmbodiedError: where the folder holds something else, a run of other settings, or a run in progress.
        """
        folder = Path(folder)
        path = folder / "config.json"
        if folder.exists() and not path.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise EmbodiedError(f"{folder} is there and is not a run; choose another folder with run=FOLDER.")
        made(folder)
        lock = _locked(folder)
        try:
            if path.exists():
                _same(folder, _read_json(path), config)
            else:
                _write_json(path, config)
            starts = _read_json(folder / "versions.json")["starts"] if (folder / "versions.json").exists() else []
            _write_json(folder / "versions.json", {"starts": [*starts, start_record(command_line())]})
            run = cls(folder, config, lock)
            run._keep_lines(list(run.metrics()))
        except BaseException:
            lock.close()
            raise
        return run

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """An existing run, to read; raises `EmbodiedError` where there is none."""
        folder = Path(folder)
        if not (folder / "config.json").is_file():
            near = sorted(str(p.parent) for p in folder.parent.glob("*/config.json")) if folder.parent.is_dir() else []
            hint = f" Runs there: {', '.join(near)}." if near else " Make one with: embodied demo"
            raise EmbodiedError(f"There is no run in {folder}.{hint}")
        return cls(folder, _read_json(folder / "config.json"))

    def log(self, stage: str, step: int, **values: float) -> None:
        """Append one line of measurements; it is on its way to the disk when this returns."""
        if self._metrics is None:
            self._metrics = (self.folder / "metrics.jsonl").open("a")
        self._metrics.write(json.dumps({"stage": stage, "step": step, **values}) + "\n")
        self._metrics.flush()

    def metrics(self, stage: str | None = None) -> Iterator[dict[str, Any]]:
        """All lines logged, or those of one stage; a line torn by a crash ends the reading."""
        path = self.folder / "metrics.jsonl"
        if not path.exists():
            return
        with path.open() as file:
            for text in file:
                try:
                    line = json.loads(text)
                except ValueError:
                    return
                if stage is None or line["stage"] == stage:
                    yield line

    def rewind(self, stage: str, step: int, **same: float) -> None:
        """Drop what was logged after `step` of `stage`: a stage that continues from a checkpoint logs it again.

        With `same` values, e.g. `member=0`, only lines that carry them go.
        """

        def again(line: Mapping[str, Any]) -> bool:
            return line["stage"] == stage and line["step"] > step and same.items() <= line.items()

        self._keep_lines([line for line in self.metrics() if not again(line)])

    def _keep_lines(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Replace the metrics by these lines."""
        path = self.folder / "metrics.jsonl"
        if not path.exists():
            return
        if self._metrics is not None:
            self._metrics.close()
            self._metrics = None
        checkpoint.write_atomically(path, "".join(json.dumps(line) + "\n" for line in lines).encode())

    def save(self, name: str, state: Any, **meta: Any) -> None:
        """Save a checkpoint over the last one of this name, atomically; see `embodied.checkpoint.save`."""
        checkpoint.save(self.path(name), state, meta)

    def restore(self, name: str) -> tuple[Any, dict[str, Any]]:
        """The state and meta last saved under `name`; raises `EmbodiedError` where missing, damaged or foreign."""
        return checkpoint.load(self.path(name))

    def has(self, name: str) -> bool:
        """Whether there is a checkpoint of this name."""
        return self.path(name).is_file()

    def path(self, name: str) -> Path:
        """Where the checkpoint `name` is."""
        return self.folder / "checkpoints" / f"{name}.safetensors"

    def finished(self, stage: str) -> dict[str, Any] | None:
        """`{"seconds", "numbers", "results"}` of a finished stage, None of one that is not."""
        done: dict[str, Any] | None = self.stages().get(stage)
        return done

    def stages(self) -> dict[str, Any]:
        """All finished stages by name, in order."""
        path = self.folder / "stages.json"
        return _read_json(path) if path.exists() else {}

    def finish(self, stage: str, seconds: float, numbers: Sequence[str], results: Mapping[str, Any]) -> None:
        """Note that a stage is done: the time it took [s], the numbers it showed and its results (JSON values)."""
        entry = {"seconds": seconds, "numbers": list(numbers), "results": dict(results)}
        _write_json(self.folder / "stages.json", {**self.stages(), stage: entry})

    def close(self) -> None:
        """Let another process open this run."""
        for handle in (self._metrics, self._lock):
            if handle is not None:
                handle.close()
        self._metrics = self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _locked(folder: Path) -> TextIO:
    """The folder's lock, which the system lets go of when the process ends, however it ends."""
    lock = (folder / ".lock").open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.seek(0)
        holder = lock.read().strip() or "unknown"
        lock.close()
        raise EmbodiedError(
            f"Another process (id {holder}) is working in {folder}; wait, or name another run."
        ) from error
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock


def _same(folder: Path, there: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Raise `EmbodiedError` naming the settings that differ; one that is newer than the run had its default then."""
    old, new = {**dict(leaves(to_dict(Config()))), **dict(leaves(there))}, dict(leaves(given))
    different = [key for key in differences(there, given) if key not in SAME_RUN and old.get(key) != new.get(key)]
    if different:
        named = ", ".join(f"{key}={old.get(key)} (now {new.get(key)})" for key in different[:6])
        more = f" and {len(different) - 6} more" if len(different) > 6 else ""
        raise EmbodiedError(
            f"{folder} was made with {named}{more}; repeat its settings to continue it, or name another run=FOLDER."
        )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise EmbodiedError(f"{path} is damaged ({error}); the run cannot be read.") from error
    if not isinstance(value, dict):
        raise EmbodiedError(f"{path} is damaged (not an object); the run cannot be read.")
    return value


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    checkpoint.write_atomically(path, (json.dumps(value, indent=2) + "\n").encode())
