"""An episode while it happens: every step is in the file before the next, and what a killed process leaves is kept.

Beside the shards of an `EpisodeStore` lies one `episode.journal`. It begins with a record of what is said once, as
JSON; then come records of one step each, as safetensors. A record is its length and its CRC-32 (four bytes each, little
endian) and its bytes; a torn one ends the file. When the episode ends it becomes a shard, and the journal goes.
"""

import fcntl
import json
import os
import struct
import time
import uuid
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
from safetensors.numpy import load, save

from embodied.data.episodes import EpisodeStore, plain_origin, read_origin
from envs.episode import Episode, Origin
from envs.errors import EmbodiedError
from envs.folders import made
from envs.goals import Goal
from envs.robot import FILES, ROBOTS
from envs.types import Array, ObjectState, Observation

NAME = "episode.journal"
RECORDING = "recording"
"""Among an episode's versions: the identity of its recording. Its actions are commands as in `JointAbsolute`, of the
robot that its `robot` begins with."""
SYNC = 0.5
"""[s] A power cut loses at most this; a killed process loses the step it was writing."""
_HEADER = struct.Struct("<II")
_ARRAYS = tuple(field.name for field in fields(ObjectState) if field.name not in ("names", "kind"))


@dataclass(frozen=True)
class Told:
    """What is said once per episode."""

    goal: Goal
    seed: int
    task: str
    robot: str
    versions: Mapping[str, str]
    origin: Origin | None = None
    """On a twin, what its table was laid from; its servos are not the simulator's, and its moments neither."""


class Journal:
    """Writes one episode at a time into a store. Opening it keeps what an earlier process left unfinished."""

    def __init__(self, store: EpisodeStore) -> None:
        """Raises `EmbodiedError` where another process records into the store, or its folder cannot be made."""
        self.store, self._path = store, made(store.folder) / NAME
        # The system lets go of it when the process ends, however it ends.
        self._lock = (store.folder / ".lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            raise EmbodiedError(
                f"Another process records into {store.folder}; wait, or name another folder."
            ) from error
        self._file: BinaryIO | None = None
        self._synced = 0.0
        self.recovered = self._recover()
        """Steps of an unfinished episode that was found and stored."""

    def begin(self, told: Told, observation: Observation, success: bool) -> None:
        """Start an episode with its first observation, without a batch."""
        if self._file is not None:
            raise EmbodiedError("An episode is being recorded; end it before the next begins.")
        self._file = self._path.open("wb")
        head = {
            "names": observation.objects.names, "kind": np.asarray(observation.objects.kind).tolist(),
            "goal": str(told.goal), "seed": told.seed, "task": told.task, "robot": told.robot,
            "versions": {**told.versions, RECORDING: uuid.uuid4().hex},
            "origin": None if told.origin is None else plain_origin(told.origin),
        }  # fmt: skip
        self._write(json.dumps(head).encode())
        self._write(save(_packed(observation, success)))

    def add(self, action: Array, observation: Observation, success: bool) -> None:
        """One step: the action that was carried out `[6]`, see `RECORDING`, and what was seen after it."""
        if self._file is None:
            raise EmbodiedError("No episode is being recorded; begin one first.")
        self._write(save({**_packed(observation, success), "action": np.asarray(action, np.float64)}))

    def end(self) -> None:
        """The episode is whole: make a shard of it. One without a step leaves nothing."""
        if self._file is not None:
            self._file.close()
            self._file = None
            self._recover()

    def close(self) -> None:
        """Let another process record; an episode that was begun ends."""
        self.end()
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self, data: bytes) -> None:
        assert self._file is not None
        self._file.write(_HEADER.pack(len(data), zlib.crc32(data)) + data)
        self._file.flush()
        if time.monotonic() - self._synced > SYNC:
            os.fsync(self._file.fileno())
            self._synced = time.monotonic()

    def _recover(self) -> int:
        """Store what the journal holds, unless that was done before the process ended; steps stored."""
        if not self._path.exists():
            return 0
        episode = _read(self._path)
        steps = 0
        if episode is not None:
            recording = episode.versions[RECORDING]
            if not any(head["versions"].get(RECORDING) == recording for head in self.store.heads):
                self.store.append([episode])
                steps = episode.length
        self._path.unlink()
        return steps


def recorded_robot(episode: Episode) -> str | None:
    """What an episode moved, a name that `envs.robot.robot_of` takes; None where it names none."""
    name = episode.robot.partition(" (")[0]
    return name if name in (*ROBOTS, *FILES) or name.endswith((".yaml", ".yml")) else None


def _packed(observation: Observation, success: bool) -> dict[str, Array]:
    arrays = {f"objects.{name}": getattr(observation.objects, name) for name in _ARRAYS}
    arrays |= {f"image.{name}": image for name, image in observation.images.items()}
    arrays |= {"proprioception": observation.proprioception, "time": observation.time, "success": success}
    # Not `ascontiguousarray`, which gives a number an axis.
    return {name: np.array(array, order="C") for name, array in arrays.items()}


def _read(path: Path) -> Episode | None:
    """The episode up to its last whole step; None of less than one."""
    records = _records(path.read_bytes())
    head: Any = json.loads(next(records, b"null"))
    rows = [load(record) for record in records]
    if head is None or len(rows) < 2:
        return None
    action = np.stack([row.pop("action") for row in rows[1:]])
    column = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    objects = ObjectState(
        names=tuple(head["names"]), kind=np.array(head["kind"], np.int64),
        **{name: column[f"objects.{name}"] for name in _ARRAYS},
    )  # fmt: skip
    seen = Observation(column["proprioception"], objects, column["time"])
    images = {name.removeprefix("image."): array for name, array in column.items() if name.startswith("image.")}
    return Episode(
        observation=replace(seen, images=images), action=action, success=column["success"],
        goal=Goal.parse(head["goal"]), seed=head["seed"], task=head["task"], robot=head["robot"],
        versions=head["versions"], origin=read_origin(head.get("origin")),
    )  # fmt: skip


def _records(data: bytes) -> Iterator[bytes]:
    place = 0
    while place + _HEADER.size <= len(data):
        length, check = _HEADER.unpack_from(data, place)
        place += _HEADER.size
        record = data[place : place + length]
        if len(record) < length or zlib.crc32(record) != check:
            return
        yield record
        place += length
