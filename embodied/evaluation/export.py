"""Writes what-ifs and MuJoCo's answers as a fixed set that other people's models can be scored on."""

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from embodied.checkpoint import write_atomically
from embodied.evaluation import whatif_reader
from embodied.evaluation.branches import NUDGE, histories, plans
from embodied.evaluation.effects import EDGE
from embodied.evaluation.questions import UNSHOWN, Question
from embodied.evaluation.strata import STRATA, TOLERANCE
from embodied.evaluation.suite import Established
from embodied.machine import versions
from envs.errors import EmbodiedError
from envs.types import Array, Observation

READER, MANIFEST = "whatif_reader.py", "manifest.json"
_OBJECTS = {
    "position": "position_in_world",
    "quaternion": "quaternion_in_world",
    "linear_velocity": "linear_velocity_in_world",
    "angular_velocity": "angular_velocity_in_world",
    "half_extents": "half_extents",
    "colour": "colour",
    "mass": "mass",
    "friction": "friction",
    "present": "present",
}


def export(known: Established, folder: Path, rate: float, action: tuple[str, ...]) -> Path:
    """Write the set and its reader; returns the manifest.

    Args:
        known: what was asked, and the simulator's answers.
        folder: where; its files are overwritten, and nothing else may be in it.
        rate: control steps per second.
        action: names of the numbers of an action.

    Raises:
        EmbodiedError: where the folder holds other files.
    """
    contexts, cases, questions = known.contexts, known.cases, known.questions
    objects = contexts.history.objects
    answerable = np.array([question.answerable for question in questions])
    # What no history can show is shown unedited, and marked: a model that cannot answer should say so.
    shown = [question if question.answerable else Question(question.context) for question in questions]
    movable = contexts.movable
    nudged_factual, nudged = known.copies[0]
    files: dict[str, bytes] = {
        "contexts.npz": _packed({
            **_observed("history", contexts.history),
            "action": contexts.action,
            "previous": contexts.previous,
            "place": contexts.place,
            "validation": contexts.validation,
            "factual_position": known.factual.position[:, :, movable],
            "factual_quaternion": known.factual.quaternion[:, :, movable],
            "nudged_factual_position": nudged_factual.position[:, :, movable],
        }),
        "cases.npz": _packed({
            **_observed("shown", histories(contexts, shown)),
            "plan": plans(contexts, list(questions)),
            "context": cases.context,
            "answerable": answerable,
            "scored": cases.scored,
            "own": np.zeros_like(cases.scored) if cases.own is None else cases.own,
            "stratum": np.full(cases.scored.shape, -1) if cases.stratum is None else cases.stratum,
            "counterfactual_position": known.truth.position[:, :, movable],
            "counterfactual_quaternion": known.truth.quaternion[:, :, movable],
            "nudged_counterfactual_position": nudged.position[:, :, movable],
        }),
        "questions.json": _text({"kind": list(cases.kind), "question": [str(question) for question in questions]}),
        READER: Path(whatif_reader.__file__).read_bytes(),
    }  # fmt: skip
    manifest = {
        "version": whatif_reader.VERSION,
        "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
        "versions": {name: text for name, text in versions().items() if name in ("mujoco", "numpy", "embodied-whatif")},
        "contexts": len(contexts),
        "cases": len(questions),
        "entities": list(objects.names),
        "entity_kinds": [int(kind) for kind in objects.kind],
        "movable": movable,
        "movable_names": contexts.names,
        "action_names": list(action),
        "rate": rate,
        "horizon": contexts.horizon,
        "history": int(contexts.history.proprioception.shape[1]),
        "edge": EDGE,
        "tolerance": TOLERANCE,
        "nudge": NUDGE,
        "strata": list(STRATA),
        "unshown": list(UNSHOWN),
        "units": "m, rad, s, kg; rate in Hz; colours 0..1; actions -1..1",
        "frames": "world: origin at the robot's base on the table, x forward, y left, z up; quaternions wxyz",
        "shapes": "history_* [C W K ...], shown_* [M W K ...], action [C H A], plan [M H A], previous [C A]; "
        "factual_* [C H+1 N ...], counterfactual_* [M H+1 N ...], scored and stratum [M N]; N are the movable "
        "entities, K all of them, the first frame of a path is the instant itself, after the edit",
    }
    files[MANIFEST] = _text(manifest)
    folder.mkdir(parents=True, exist_ok=True)
    foreign = sorted({file.name for file in folder.iterdir()} - set(files))
    if foreign:
        raise EmbodiedError(f"{folder} holds {', '.join(foreign[:3])}: give an empty folder, or an earlier export.")
    for name, content in files.items():
        write_atomically(folder / name, content)
    return folder / MANIFEST


def _observed(prefix: str, observation: Observation) -> dict[str, Array]:
    arrays = {f"{prefix}_{name}": getattr(observation.objects, own) for name, own in _OBJECTS.items()}
    return {**arrays, f"{prefix}_proprioception": observation.proprioception}


def _packed(arrays: Mapping[str, Array]) -> bytes:
    buffer = io.BytesIO()
    packed: dict[str, Any] = {name: np.asarray(array) for name, array in arrays.items()}
    np.savez_compressed(buffer, **packed)
    return buffer.getvalue()


def _text(values: Mapping[str, Any]) -> bytes:
    return (json.dumps(values, indent=1) + "\n").encode()
