"""Episodes on disk: a folder of immutable shards, appended to, never rewritten.

A shard is one safetensors file: its arrays are the episodes' arrays laid end to end, its header holds one JSON text
with what is said once per episode. A shard appears under its name in one atomic rename, so a killed process leaves
whole shards alone. One writer at a time; any number of readers.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from embodied.checkpoint import write_atomically
from envs.episode import Episode, Origin
from envs.errors import EmbodiedError
from envs.folders import made
from envs.goals import Goal
from envs.interventions import Intervention
from envs.types import MOVABLE, Array, Kind, ObjectState, Observation

FORMAT = 1
_OBJECT_ARRAYS = tuple(field.name for field in fields(ObjectState) if field.name not in ("names", "kind"))


class EpisodeStore:
    """An append-only sequence of episodes in one folder.

    `store[i]` reads an episode back bit for bit; `len(store)`, iteration and `lengths` cost no array reads.
    """

    def __init__(self, folder: str | Path) -> None:
        """Open a store, or begin one where there is none. Raises `EmbodiedError` for an unreadable shard."""
        self.folder = Path(folder)
        if self.folder.exists() and not self.folder.is_dir():
            raise EmbodiedError(f"Episode store {str(self.folder)!r} is a file; it must be a folder.")
        self._shards: list[_Shard] = []
        self._locations: list[tuple[int, int]] = []
        for path in sorted(self.folder.glob("shard-*.safetensors")):
            self._register(_Shard(path))

    def _register(self, shard: "_Shard") -> None:
        self._locations += [(len(self._shards), i) for i in range(len(shard.lengths))]
        self._shards.append(shard)

    def __len__(self) -> int:
        """Number of episodes."""
        return len(self._locations)

    def __getitem__(self, index: int) -> Episode:
        """Read one episode; negative indices count from the end."""
        if not -len(self) <= index < len(self):
            raise EmbodiedError(f"Episode {index} does not exist: {str(self.folder)!r} holds {len(self)} episodes.")
        shard, place = self._locations[index]
        return self._shards[shard].read(place)

    def __iter__(self) -> Iterator[Episode]:
        """All episodes in the order they were appended."""
        return (self[index] for index in range(len(self)))

    @property
    def lengths(self) -> Array:
        """`[E]` number of actions of each episode."""
        return np.array([self._shards[shard].lengths[place] for shard, place in self._locations], dtype=np.int64)

    @property
    def heads(self) -> list[Mapping[str, Any]]:
        """Per episode what is said once, as JSON: `length seed task robot goal interventions versions origin`."""
        return [self._shards[shard].heads[place] for shard, place in self._locations]

    @property
    def shards(self) -> list[list[Any]]:
        """Name and size in bytes of each file, in order: what tells one state of the store from another."""
        return [[shard.path.name, shard.path.stat().st_size] for shard in self._shards]

    @property
    def movable(self) -> list[int]:
        """Per shard, how many of its entities can move."""
        return [shard.movable for shard in self._shards]

    def observations(self) -> Iterator[Observation]:
        """Shard by shard, all frames of its episodes end to end, without images: far faster than one by one."""
        return (shard.observation() for shard in self._shards)

    def append(self, episodes: Sequence[Episode]) -> None:
        """Write episodes behind the others; those of one layout (entities, array shapes) share a shard."""
        made(self.folder)
        for _, group in groupby(episodes, key=_layout):
            path = self.folder / f"shard-{self._next_number():08d}.safetensors"
            write_atomically(path, _pack(list(group)))
            self._register(_Shard(path))

    def _next_number(self) -> int:
        return int(self._shards[-1].path.stem.split("-")[1]) + 1 if self._shards else 0


class _Shard:
    """One file: heads in memory, arrays read by slice from the mapped file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = safe_open(str(path), framework="np")
            header = json.loads(self._file.metadata()["embodied"])
            written = header["format"]
            self.names: tuple[str, ...] = tuple(header["names"])
            self.heads: list[Mapping[str, Any]] = header["episodes"]
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            message = f"Episode shard {str(path)!r} cannot be read ({error}); move it away to use the other episodes."
            raise EmbodiedError(message) from error
        if written != FORMAT:
            raise EmbodiedError(f"Episode shard {str(path)!r} has format {written}; this version reads {FORMAT}.")
        self._keys = set(self._file.keys())
        self.lengths = [int(head["length"]) for head in self.heads]
        self._action_start = np.concatenate([[0], np.cumsum(self.lengths)])
        self._step_start = self._action_start + np.arange(len(self.lengths) + 1)

    def read(self, place: int) -> Episode:
        steps = slice(int(self._step_start[place]), int(self._step_start[place + 1]))
        actions = slice(int(self._action_start[place]), int(self._action_start[place + 1]))

        def stepwise(name: str) -> Array:
            if f"still.{name}" in self._keys:
                row = self._file.get_slice(f"still.{name}")[place : place + 1]
                return np.repeat(row, steps.stop - steps.start, axis=0)
            return self._file.get_slice(name)[steps]

        head = self.heads[place]
        images = {key.removeprefix("image."): stepwise(key) for key in self._keys if key.startswith("image.")}
        return Episode(
            observation=replace(self._observed(stepwise), images=images),
            action=self._file.get_slice("action")[actions],
            success=stepwise("success"),
            goal=Goal.parse(head["goal"]),
            seed=head["seed"],
            task=head["task"],
            robot=head["robot"],
            interventions=tuple(Intervention.parse(text) for text in head["interventions"]),
            simulator_state=stepwise("simulator_state") if "simulator_state" in self._keys else None,
            versions=head["versions"],
            origin=read_origin(head.get("origin")),
        )

    @property
    def movable(self) -> int:
        return sum(Kind(int(kind)) in MOVABLE for kind in self._file.get_tensor("kind"))

    def observation(self) -> Observation:
        """All frames of the shard."""

        def stepwise(name: str) -> Array:
            if f"still.{name}" in self._keys:
                return np.repeat(self._file.get_tensor(f"still.{name}"), np.diff(self._step_start), axis=0)
            return self._file.get_tensor(name)

        return self._observed(stepwise)

    def _observed(self, stepwise: Callable[[str], Array]) -> Observation:
        """Without images, from what gives an array `[T+1 ...]` by name."""
        objects = ObjectState(
            names=self.names,
            kind=self._file.get_tensor("kind"),
            **{name: stepwise(f"objects.{name}") for name in _OBJECT_ARRAYS},
        )
        return Observation(stepwise("proprioception"), objects, stepwise("time"))


def _stepwise_arrays(episode: Episode) -> dict[str, Array]:
    """The episode's arrays `[T+1 ...]` by name."""
    observation = episode.observation
    arrays = {f"objects.{name}": getattr(observation.objects, name) for name in _OBJECT_ARRAYS}
    arrays |= {f"image.{name}": image for name, image in observation.images.items()}
    arrays |= {"proprioception": observation.proprioception, "time": observation.time, "success": episode.success}
    if episode.simulator_state is not None:
        arrays["simulator_state"] = episode.simulator_state
    return {name: np.asarray(array) for name, array in arrays.items()}


def _layout(episode: Episode) -> tuple[Any, ...]:
    """What episodes of one shard have in common."""
    kinds = np.asarray(episode.observation.objects.kind)
    arrays = {**_stepwise_arrays(episode), "action": np.asarray(episode.action)}
    shapes = tuple((name, str(array.dtype), array.shape[1:]) for name, array in sorted(arrays.items()))
    for name, array in arrays.items():
        rows = episode.length + (name != "action")
        if array.shape[0] != rows:
            raise EmbodiedError(
                f"An episode of {episode.length} actions has {array.shape[0]} rows of {name!r}, not {rows}."
            )
    return episode.observation.objects.names, tuple(kinds.tolist()), shapes


def _pack(episodes: Sequence[Episode]) -> bytes:
    """A shard's bytes. Arrays that stand still within every episode are written once per episode as `still.NAME`."""
    columns = [_stepwise_arrays(episode) for episode in episodes]
    arrays: dict[str, Array] = {"kind": np.asarray(episodes[0].observation.objects.kind)}
    arrays["action"] = np.concatenate([np.asarray(episode.action) for episode in episodes])
    for name in columns[0]:
        parts = [column[name] for column in columns]
        if all(np.array_equal(part, np.broadcast_to(part[:1], part.shape), equal_nan=False) for part in parts):
            arrays[f"still.{name}"] = np.concatenate([part[:1] for part in parts])
        else:
            arrays[name] = np.concatenate(parts)
    header = {
        "format": FORMAT,
        "names": list(episodes[0].observation.objects.names),
        "episodes": [_head(episode) for episode in episodes],
    }
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    return bytes(save(contiguous, metadata={"embodied": json.dumps(header)}))


def _head(episode: Episode) -> Mapping[str, Any]:
    return {
        "length": episode.length,
        "seed": int(episode.seed),
        "task": episode.task,
        "robot": episode.robot,
        "goal": str(episode.goal),
        "interventions": [str(intervention) for intervention in episode.interventions],
        "versions": dict(episode.versions),
        "origin": None if episode.origin is None else plain_origin(episode.origin),
    }


def plain_origin(origin: Origin) -> Mapping[str, Any]:
    """For JSON, whose numbers are read back to the same bits."""
    return {**vars(origin), "factors": {name: np.asarray(value).tolist() for name, value in origin.factors.items()}}


def read_origin(values: Mapping[str, Any] | None) -> Origin | None:
    """What `plain_origin` gave."""
    if values is None:
        return None
    factors = {name: np.array(value, np.float64) for name, value in values["factors"].items()}
    return Origin(**{**values, "beginning": tuple(values["beginning"]), "factors": factors})
