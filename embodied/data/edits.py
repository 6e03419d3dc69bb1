"""The edits of play's second lives: which object of which world is changed, how, and when."""

import numpy as np
from numpy.typing import NDArray

from envs.geometry import box_signed_distance
from envs.interventions import Intervention, apply_to_state
from envs.types import Kind, ObjectState, Observation

SHIFTS = 4
"""Different edits of a sort per object and batch: worlds that share one are edited in one call."""
SHIFT = (0.01, 0.07)
"""[m] how far an object is moved."""
REMOVED = 0.35
"""Share of edits that take an object away."""
DECLARED = ("mass", "friction", "size", "velocity")
"""Edits of what is declared, and of velocities."""
MASS, FRICTION, SIDE, SPEED = (0.008, 0.7), (0.04, 1.3), (0.036, 0.064), (0.05, 0.4)
"""[kg], sliding coefficient, [m] edges, [m/s] that they set."""
Edits = dict[int, dict[Intervention, NDArray[np.int64]]]
"""Per control step, edits and the worlds they are made in."""


def draw_edits(
    generator: np.random.Generator,
    observations: Observation,
    when: NDArray[np.int64],
    objects: tuple[str, ...],
    share: float,
    declared: float,
) -> Edits:
    """Edits for a `share` of worlds `[n]`, seen in `observations` `[n T]`, each at the control step `when` `[n]`.

    A share `declared` of them sets mass, friction, size or velocity; the rest move or remove. Edits that would make an
    object overlap something are left out. `when` indexes the frames of `observations`.
    """
    worlds = np.arange(len(when))
    now = observations[worlds, when].objects
    columns = np.array([now.index(name) for name in objects])
    present = now.present[:, columns]
    chosen = np.argmax(present * generator.random(present.shape), axis=1)
    use = (generator.random(len(when)) < share) & present.any(axis=1)
    removed = generator.random(len(when)) < REMOVED
    distance = generator.uniform(*SHIFT, (len(objects), SHIFTS))
    heading = generator.uniform(-np.pi, np.pi, (len(objects), SHIFTS))
    pick = generator.integers(SHIFTS, size=len(when))
    sort = np.where(removed, "remove", "move")
    settings: dict[str, list[list[Intervention]]] = {"remove": [[Intervention("remove", name)] for name in objects]}
    settings["move"] = [
        [_shift("move", name, far, angle) for far, angle in zip(distance[i], heading[i], strict=True)]
        for i, name in enumerate(objects)
    ]
    if declared > 0:
        other = generator.random(len(when)) < declared
        sort = np.where(other, generator.choice(DECLARED, len(when)), sort)
        kinds = now.kind[columns]
        for word in DECLARED:
            settings[word] = [
                [_declared(generator, word, name, int(kind)) for _ in range(SHIFTS)]
                for name, kind in zip(objects, kinds, strict=True)
            ]
    edits: Edits = {}
    for step in np.unique(when):
        here: dict[Intervention, NDArray[np.int64]] = {}
        for index, column in enumerate(columns):
            mine = use & (when == step) & (chosen == index)
            for word, made in settings.items():
                for k, edit in enumerate(made[index]):
                    group = np.flatnonzero(mine & (sort == word) & ((pick == k) | (word == "remove")))
                    if len(group) and word in ("move", "size"):
                        group = group[_free(apply_to_state(edit, now[group]), int(column))]
                    if len(group):
                        here[edit] = group
        edits[int(step)] = here
    return edits


def _shift(word: str, name: str, far: float, angle: float) -> Intervention:
    return Intervention(word, name, {"x": far * np.cos(angle), "y": far * np.sin(angle)})


def _declared(generator: np.random.Generator, word: str, name: str, kind: int) -> Intervention:
    """One edit of what is declared, or of the velocity."""
    if word == "velocity":
        return _shift(word, name, generator.uniform(*SPEED), generator.uniform(-np.pi, np.pi))
    if word == "size":
        x, y, z = generator.uniform(*SIDE, 3)
        return Intervention(word, name, {"x": x, "y": x if kind == Kind.CYLINDER else y, "z": min(z, 0.06)})
    low, high = MASS if word == "mass" else FRICTION
    return Intervention(word, name, {"value": low * (high / low) ** generator.random()})


def _free(state: ObjectState, k: int) -> NDArray[np.bool_]:
    """Whether entity `k` keeps a millimetre from every other solid but the table, and stays on it."""
    others = [i for i in range(len(state.names)) if i != k and state.names[i] not in ("table", "gripper")]
    gap = box_signed_distance(
        state.position_in_world[:, None, k], state.quaternion_in_world[:, None, k], state.half_extents[:, None, k],
        state.position_in_world[:, others], state.quaternion_in_world[:, others], state.half_extents[:, others],
    )  # fmt: skip
    apart = np.where(state.present[:, others], gap, 1.0).min(axis=1) > 0.001
    x, y = state.position_in_world[:, k, 0], state.position_in_world[:, k, 1]
    free: NDArray[np.bool_] = apart & (x > 0.10) & (x < 0.40) & (np.abs(y) < 0.18)
    return free
