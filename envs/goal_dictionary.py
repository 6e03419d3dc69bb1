"""Observations as goal-conditioned dictionaries, and what of a goal can be told from them."""

import numpy as np

from envs.compiled import kernel
from envs.goals import Literal
from envs.task import Task
from envs.types import Array, ObjectState, Observation

ObservationDict = dict[str, Array]


def flatten(observation: Observation, chosen: Task) -> ObservationDict:
    """The observation `[*B ...]` as the dictionary that `envs.gym` describes, float32."""
    objects = observation.objects
    lead = observation.proprioception.shape[:-1]
    arrays = (
        observation.proprioception, objects.position_in_world, objects.quaternion_in_world,
        objects.linear_velocity_in_world, objects.angular_velocity_in_world, objects.present,
    )  # fmt: skip
    rows = [np.ascontiguousarray(array).reshape(-1, *array.shape[len(lead) :]) for array in arrays]
    size, entities = rows[0].shape[1], rows[1].shape[1] - 1
    flat = np.empty((len(rows[0]), size + ENTITY * entities), np.float32)
    _flatten(*rows, flat)
    achieved, desired = _goals(objects, chosen)
    return {
        "observation": flat.reshape(*lead, -1),
        "achieved_goal": _bounded(achieved),
        "desired_goal": _bounded(desired),
        **observation.images,
    }


def _bounded(array: Array) -> Array:
    return np.clip(array, -BOUND, BOUND).astype(np.float32)


def _goals(objects: ObjectState, chosen: Task) -> tuple[Array, Array]:
    """What is achieved and what is desired `[*B 3]` or `[*B L]`, see `envs.gym`."""
    place = place_of(chosen)
    if place is not None:
        where = objects.position_in_world
        return where[..., objects.index(place.arguments[0]), :], where[..., objects.index(place.arguments[1]), :]
    margins = np.asarray(chosen.goal.margins(objects))
    return margins, np.full_like(margins, HELD)


def place_of(chosen: Task) -> Literal | None:
    """The literal that says how near the subject is to be to the goal entity; None where the goal is another."""
    wanted = ("near", (chosen.subject, chosen.goal_entity), False)
    literals = chosen.goal.literals
    return next((each for each in literals if (each.predicate, each.arguments, each.negated) == wanted), None)


BOUND = 100.0
"""Every number of an observation lies within plus and minus this; only an object shot away would reach it."""
HELD = 1e-9
"""A literal holds where its margin is more than 0."""
ENTITY = 16
"""Numbers per entity in `observation`."""


@kernel()
def _flatten(
    proprioception: Array, position: Array, quaternion: Array, linear: Array, angular: Array, present: Array, out: Array
) -> None:
    """Rows of `observation`; numpy would pass a dozen times over what fits in a cache once."""
    size = proprioception.shape[1]
    for n in range(out.shape[0]):
        row = out[n]
        for i in range(size):
            row[i] = min(max(proprioception[n, i], -BOUND), BOUND)
        for k in range(1, position.shape[1]):
            at = size + ENTITY * (k - 1)
            w, x, y, z = quaternion[n, k, 0], quaternion[n, k, 1], quaternion[n, k, 2], quaternion[n, k, 3]
            row[at + 3], row[at + 6] = 1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y - w * z)
            row[at + 4], row[at + 7] = 2.0 * (x * y + w * z), 1.0 - 2.0 * (x * x + z * z)
            row[at + 5], row[at + 8] = 2.0 * (x * z - w * y), 2.0 * (y * z + w * x)
            for c in range(3):
                row[at + c] = min(max(position[n, k, c], -BOUND), BOUND)
                row[at + 9 + c] = min(max(linear[n, k, c], -BOUND), BOUND)
                row[at + 12 + c] = min(max(angular[n, k, c], -BOUND), BOUND)
            row[at + 15] = present[n, k]


def others(chosen: Task) -> list[int]:
    """Which literals of the goal `achieved_goal` does not speak of."""
    place = place_of(chosen)
    return [] if place is None else [i for i, one in enumerate(chosen.goal.literals) if one != place]


def is_achieved(achieved: Array, desired: Array, chosen: Task) -> Array:
    """`[*B]` whether places are as near to each other as the goal asks, or margins as large as is desired."""
    place = place_of(chosen)
    if place is None:
        return np.asarray((achieved >= desired).all(axis=-1))
    return np.asarray(np.linalg.norm(achieved - desired, axis=-1) < place.parameters[0])
