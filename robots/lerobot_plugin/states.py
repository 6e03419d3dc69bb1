"""`ObjectState`s as one vector per frame, `observation.environment_state`, which LeRobot's datasets keep as they are.

The feature's `names` say what is where (`red_cube.x`, ...), so that a dataset explains itself. SI units, world frame.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from envs.errors import EmbodiedError
from envs.types import Array, ObjectState

KEY = "observation.environment_state"
PARTS = {
    "position_in_world": ("x", "y", "z"), "quaternion_in_world": ("qw", "qx", "qy", "qz"),
    "linear_velocity_in_world": ("vx", "vy", "vz"), "angular_velocity_in_world": ("wx", "wy", "wz"),
    "half_extents": ("half_x", "half_y", "half_z"), "confidence": ("confidence",), "present": ("present",),
    "kind": ("kind",),
}  # fmt: skip
COLUMNS = tuple(name for names in PARTS.values() for name in names)


def feature(entities: Sequence[str]) -> dict[str, Any]:
    """The entry of a LeRobot dataset's features for so many entities."""
    names = [f"{entity}.{column}" for entity in entities for column in COLUMNS]
    return {"dtype": "float32", "shape": (len(names),), "names": names}


def rows_of(state: ObjectState) -> Array:
    """Vectors `[*B K*W]` float32 of numpy states."""
    kind = np.broadcast_to(np.asarray(state.kind, np.float32), (*state.shape, len(state.names)))
    parts = [kind if name == "kind" else np.asarray(getattr(state, name)) for name in PARTS]
    wide = [part[..., None] if len(PARTS[name]) == 1 else part for name, part in zip(PARTS, parts, strict=True)]
    return np.concatenate(wide, axis=-1).reshape(*state.shape, -1).astype(np.float32)


def entities_of(names: Sequence[str] | None) -> list[str]:
    """The entities that a feature's names tell of; raises `EmbodiedError` for names other than those of `feature`."""
    entities = list(dict.fromkeys(name.partition(".")[0] for name in names or ()))
    if not entities or list(names or ()) != feature(entities)["names"]:
        given = ", ".join(list(names or ())[:3]) or "none"
        raise EmbodiedError(
            f"{KEY} needs names as robots.lerobot_plugin.states.feature gives them (red_cube.x, ...); it has {given}."
        )
    return entities


def state_of(rows: Array, entities: Sequence[str], kinds: Sequence[int]) -> ObjectState:
    """States `[*B ...]` of vectors `[*B K*W]`; colours, masses and frictions, which no goal asks for, are 0.

    Quaternions are made unit again: float32 has rounded them. Raises `EmbodiedError` for vectors of another width.
    """
    count = len(entities)
    if rows.shape[-1] != count * len(COLUMNS):
        raise EmbodiedError(
            f"{KEY} of {count} entities has {count * len(COLUMNS)} numbers, {rows.shape[-1]} were given."
        )
    xp = array_namespace(rows)
    table = rows.reshape(*rows.shape[:-1], count, len(COLUMNS))
    edges = np.cumsum([0, *(len(names) for names in PARTS.values())])
    found = {name: table[..., edges[i] : edges[i + 1]] for i, name in enumerate(PARTS)}
    quaternion = found["quaternion_in_world"]
    length = xp.sum(quaternion**2, axis=-1, keepdims=True) ** 0.5
    nothing = xp.zeros_like(table[..., 0])
    return ObjectState(
        names=tuple(entities),
        kind=np.asarray(kinds),
        position_in_world=found["position_in_world"],
        quaternion_in_world=quaternion / xp.where(length > 0, length, 1.0 + nothing[..., None]),
        linear_velocity_in_world=found["linear_velocity_in_world"],
        angular_velocity_in_world=found["angular_velocity_in_world"],
        half_extents=found["half_extents"],
        colour=xp.zeros_like(found["half_extents"]),
        mass=nothing,
        friction=nothing,
        present=found["present"][..., 0] > 0.5,
        confidence=found["confidence"][..., 0],
    )


def kinds_of(rows: Array, count: int) -> list[int]:
    """What the entities are, by the first of vectors `[B K*W]`."""
    first = np.asarray(rows[0]).reshape(count, len(COLUMNS))
    return [round(float(kind)) for kind in first[:, COLUMNS.index("kind")]]
