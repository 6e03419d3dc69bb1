"""Our `Observation`s as LeRobot's batches have them, and back: joints in LeRobot's units, objects as in `states`.

What an SO-101 tells through LeRobot's driver, `observation.state`, is where its joints are. Our environment tells two
things more, which a policy else makes do without: how fast they move, and what was commanded last.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from envs.errors import EmbodiedError
from envs.types import PROPRIOCEPTION, Array, Observation
from robots.lerobot_plugin.states import KEY, kinds_of, rows_of, state_of
from robots.units import JOINTS, Units

STATE, VELOCITY, COMMAND = "observation.state", "observation.velocity", "observation.command"
"""Of six joints each: degrees and 0..100, the same per second, and degrees and 0..100."""
UNITS = Units()


def to_lerobot(observation: Observation) -> dict[str, Array]:
    """Float32 arrays `[*B 6]` under `STATE`, `VELOCITY` and `COMMAND`, and `[*B K*W]` under `states.KEY`."""
    body = {name: observation.proprioception[..., part] for name, part in PROPRIOCEPTION.items()}
    told = {
        STATE: UNITS.to_lerobot(body["joint_position"]),
        VELOCITY: UNITS.speed_to_lerobot(body["joint_velocity"]),
        COMMAND: UNITS.to_lerobot(body["joint_target"]),
        KEY: rows_of(observation.objects),
    }
    return {name: value.astype(np.float32) for name, value in told.items()}


def joints(batch: Mapping[str, Array], key: str) -> Array:
    """Joint positions `[B 6]` [rad] under `key`; raises `EmbodiedError` for something else than an SO-101's."""
    if key not in batch or batch[key].ndim != 2 or batch[key].shape[-1] != len(JOINTS):
        given = f"has shape {tuple(batch[key].shape)}" if key in batch else "is missing"
        raise EmbodiedError(f"{key} {given}; a batch of {', '.join(JOINTS)} is needed.")
    return UNITS.to_radians(numbers(batch[key]))


def from_lerobot(
    batch: Mapping[str, Array], entities: Sequence[str], velocity: Array | None = None, command: Array | None = None
) -> Observation:
    """The observation `[B]` of a batch of numpy arrays or torch tensors, float64.

    What the batch does not tell is `velocity` `[B 6]` [rad/s], else 0, and `command` `[B 6]` [rad], else where the
    joints are. Raises `EmbodiedError` without joints, or without objects.
    """
    position = joints(batch, STATE)
    if KEY not in batch:
        raise EmbodiedError(f"The objects, {KEY}, are missing; there is {', '.join(batch)}.")
    if VELOCITY in batch:
        velocity = UNITS.speed_to_radians(numbers(batch[VELOCITY]))
    if COMMAND in batch:
        command = joints(batch, COMMAND)
    rows = numbers(batch[KEY])
    body = [
        position,
        np.zeros_like(position) if velocity is None else velocity,
        position if command is None else command,
    ]
    return Observation(
        proprioception=np.concatenate(body, axis=-1),
        objects=state_of(rows, entities, kinds_of(rows, len(entities))),
        time=np.zeros(len(position)),
    )


def numbers(array: Array) -> Array:
    """Float64 numpy of an array or a tensor."""
    return np.asarray(array.detach().cpu() if hasattr(array, "detach") else array, np.float64)
