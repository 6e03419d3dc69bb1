"""All frames of many episodes as the tensors that windows are cut from, memory-mapped where they come from a store.

What a model of objects needs of an episode is a third of what its shard holds. It is written once, beside the shards
and in single precision, as one safetensors file that maps into memory: a start is then a matter of milliseconds, data
may be larger than memory, and processes that train on the same play share one copy of it.
"""

import json
import os
import struct
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from embodied.data.episodes import EpisodeStore
from envs.episode import Episode
from envs.errors import EmbodiedError
from envs.types import Observation
from world_models.slots.bodies import Bodies, bodies_of

FILE = "frames.safetensors"
"""Beside the shards."""
FORMAT = 1


@dataclass(frozen=True)
class Frames:
    """M frames of E episodes end to end, of N objects; episodes with fewer are filled up with absent ones."""

    bodies: Bodies
    """`[M N ...]`, float32."""
    proprioception: Float[Tensor, "M P"]
    lengths: NDArray[np.int64]
    """`[E]` frames of each episode."""

    @classmethod
    def of(cls, episodes: Iterable[Episode]) -> Self:
        """Of a store, mapped from its file, which is written where it is missing or older than a shard; else in memory.

        Raises `EmbodiedError` where there is no episode, or for numbers that are not finite.
        """
        if isinstance(episodes, EpisodeStore):
            return cls._mapped(episodes)
        given = list(episodes)
        lengths = np.array([episode.length + 1 for episode in given], dtype=np.int64)
        pieces = [_tensors(episode.observation) for episode in given]
        if not pieces:
            raise EmbodiedError("The world model needs episodes to learn from; got none.")
        most = max(piece["present"].shape[1] for piece in pieces)
        full = [_filled_up(piece, most) for piece in pieces]
        return cls._from({name: torch.cat([piece[name] for piece in full]) for name in full[0]}, lengths)

    @classmethod
    def _mapped(cls, store: EpisodeStore) -> Self:
        if not len(store):
            raise EmbodiedError("The world model needs episodes to learn from; got none.")
        path, about = store.folder / FILE, {"format": FORMAT, "shards": store.shards}
        if _about(path) != about:
            _write(path, store, about)
        with safe_open(path, framework="pt") as file:
            return cls._from({name: file.get_tensor(name) for name in file.keys()}, store.lengths + 1)  # noqa: SIM118

    @classmethod
    def _from(cls, tensors: dict[str, Tensor], lengths: NDArray[np.int64]) -> Self:
        proprioception = tensors.pop("proprioception")
        return cls(Bodies(**tensors), proprioception, lengths)

    def __len__(self) -> int:
        """M."""
        return int(self.proprioception.shape[0])


def _tensors(observation: Observation) -> dict[str, Tensor]:
    """Bodies and proprioception `[M ...]` by name; raises `EmbodiedError` where poses or joints are not finite."""
    bodies = bodies_of(observation.objects)
    found = {f.name: getattr(bodies, f.name) for f in fields(Bodies)}
    found["proprioception"] = torch.as_tensor(np.asarray(observation.proprioception), dtype=torch.float32)
    for name, array in (("poses", bodies.position), ("proprioception", found["proprioception"])):
        if not array.isfinite().all():
            raise EmbodiedError(f"The episodes' {name} are not all finite: the recording is damaged.")
    return found


def _filled_up(tensors: dict[str, Tensor], most: int) -> dict[str, Tensor]:
    """With absent objects up to `most`."""
    missing = most - tensors["present"].shape[1]
    if missing == 0:
        return tensors
    result = {"proprioception": tensors["proprioception"]}
    for name in (f.name for f in fields(Bodies)):
        array = tensors[name]
        shape = (len(array), missing, *array.shape[2:])
        filler = torch.eye(3).expand(shape) if name == "rotation" else torch.zeros(shape)
        result[name] = torch.cat([array, filler], 1)
    return result


def _about(path: Path) -> Any:
    """What the file says it was made of; None where there is none, or it is damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            return json.loads((file.metadata() or {}).get("embodied", "null"))
    except (OSError, SafetensorError, ValueError):
        return None


def _write(path: Path, store: EpisodeStore, about: Any) -> None:
    """Write the file shard by shard, never more than one in memory, and put it in its place in one rename."""
    rows = int(store.lengths.sum() + len(store))
    most = max(store.movable)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        places: dict[str, Any] = {}
        start = 0
        for observation in store.observations():
            piece = _filled_up(_tensors(observation), most)
            if not places:
                places = _laid_out(Path(temporary), {name: (rows, *a.shape[1:]) for name, a in piece.items()}, about)
            stop = start + len(piece["proprioception"])
            for name, array in piece.items():
                places[name][start:stop] = array.numpy()
            start = stop
        for place in places.values():
            place.flush()
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _laid_out(path: Path, shapes: dict[str, tuple[int, ...]], about: Any) -> dict[str, Any]:
    """An empty safetensors file of float32 arrays of these shapes, and each of them mapped to be written to."""
    header: dict[str, Any] = {"__metadata__": {"embodied": json.dumps(about)}}
    end = 0
    for name, shape in shapes.items():
        begin, end = end, end + 4 * int(np.prod(shape))
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    # The format asks for data that is aligned to eight bytes, by blanks behind the header.
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)
    return {
        name: np.memmap(
            path, np.float32, "r+", offset=8 + len(text) + header[name]["data_offsets"][0], shape=shape
        )
        for name, shape in shapes.items()
    }  # fmt: skip
