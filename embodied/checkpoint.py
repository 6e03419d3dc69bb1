"""Nested state on disk: one safetensors file per checkpoint, its structure as JSON in the file's header.

Never pickle. One file, so that arrays and structure appear together in one atomic rename.
"""

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from envs.errors import EmbodiedError
from envs.folders import made

FORMAT = 1
"""Version of the structure below; a file of another version is refused, never guessed at."""


def write_atomically(path: Path, content: bytes) -> None:
    """Write a whole file or nothing: a temporary neighbour, synced, then renamed over `path`.

    Raises `EmbodiedError` where its folder cannot be made or written to.
    """
    made(path.parent)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def save(path: Path, state: Any, meta: Mapping[str, Any] | None = None) -> None:
    """Save nested dicts, lists and tuples of numpy arrays, torch tensors and plain values.

    Args:
        path: file to write, atomically.
        state: e.g. `{"model": model.state_dict(), "optimizer": optimizer.state_dict(), "generator": rng state}`.
        meta: JSON values that describe the state, e.g. the step.

    Raises:
        EmbodiedError: for a value of any other type.
    """
    arrays: dict[str, Any] = {}
    tree = _pack(state, "", arrays)
    header = {"embodied": json.dumps({"format": FORMAT, "meta": dict(meta or {}), "tree": tree})}
    if any(_is_tensor(array) for array in arrays.values()):
        import torch
        from safetensors.torch import save as to_bytes

        tensors = {k: a if _is_tensor(a) else torch.from_numpy(np.array(a)) for k, a in arrays.items()}
        # A copy of each: optimisers share storage between entries, which the format refuses.
        content = to_bytes({k: t.detach().cpu().contiguous().clone() for k, t in tensors.items()}, header)
    else:
        from safetensors.numpy import save as arrays_to_bytes

        content = arrays_to_bytes({k: np.ascontiguousarray(a) for k, a in arrays.items()}, header)
    write_atomically(path, content)


def load(path: Path) -> tuple[Any, dict[str, Any]]:
    """State and meta as given to `save`; tensors come back on the CPU.

    Raises:
        EmbodiedError: where the file is missing, damaged, or of another format version.
    """
    header = _header(path)
    tensors = _any_tensor(header["tree"])
    try:
        with safe_open(path, framework="pt" if tensors else "np") as file:
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
        return _unpack(header["tree"], arrays), header["meta"]
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise EmbodiedError(f"Checkpoint {path} is damaged ({error}); delete it and run the command again.") from error


def meta(path: Path) -> dict[str, Any]:
    """The meta of a checkpoint alone; raises like `load`."""
    result: dict[str, Any] = _header(path)["meta"]
    return result


def _header(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise EmbodiedError(f"There is no checkpoint {path}; train first, or name another run with run=FOLDER.")
    try:
        with safe_open(path, framework="np") as file:
            text = (file.metadata() or {}).get("embodied")
        header: dict[str, Any] = json.loads(text) if text else {}
    except (SafetensorError, ValueError, OSError) as error:
        raise EmbodiedError(f"Checkpoint {path} is damaged ({error}); delete it and run the command again.") from error
    if header.get("format") != FORMAT:
        given = header.get("format", "none")
        raise EmbodiedError(
            f"Checkpoint {path} has format version {given}, this program reads version {FORMAT}; "
            "use the program that wrote it, or train in another folder with run=FOLDER."
        )
    return header


def _is_tensor(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] == "torch" and hasattr(value, "detach")


def _pack(value: Any, path: str, arrays: dict[str, Any]) -> Any:
    """JSON for `value`, with arrays moved to `arrays` and named by their place."""
    if _is_tensor(value) or isinstance(value, np.ndarray):
        key = path or "value"
        arrays[key] = value
        return {"$": "tensor" if _is_tensor(value) else "array", "key": key}
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        # Pairs, since optimisers have integer keys and JSON has not.
        return {"$": "dict", "items": [[_key(k), _pack(v, f"{path}/{k}", arrays)] for k, v in value.items()]}
    if isinstance(value, list | tuple):
        items = [_pack(v, f"{path}/{i}", arrays) for i, v in enumerate(value)]
        return {"$": "tuple", "items": items} if isinstance(value, tuple) else items
    raise EmbodiedError(f"A checkpoint holds arrays and plain values, not {type(value).__name__} (at {path or '/'}).")


def _key(key: object) -> str | int:
    if isinstance(key, str | int):
        return key
    raise EmbodiedError(f"A checkpoint's keys are text or whole numbers, not {key!r}.")


def _unpack(tree: Any, arrays: Mapping[str, Any]) -> Any:
    if isinstance(tree, list):
        return [_unpack(item, arrays) for item in tree]
    if not isinstance(tree, dict):
        return tree
    if tree["$"] == "tensor":
        return arrays[tree["key"]]
    if tree["$"] == "array":
        return np.asarray(arrays[tree["key"]])
    if tree["$"] == "tuple":
        return tuple(_unpack(item, arrays) for item in tree["items"])
    return {key: _unpack(value, arrays) for key, value in tree["items"]}


def _any_tensor(tree: Any) -> bool:
    if isinstance(tree, list):
        return any(_any_tensor(item) for item in tree)
    if not isinstance(tree, dict):
        return False
    return tree["$"] == "tensor" or any(_any_tensor(item) for item in tree.get("items", ()))
