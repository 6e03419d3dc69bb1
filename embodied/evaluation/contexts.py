"""Saved instants worth asking about, and what to ask: mid-push moments of held-out episodes, one edit at a time."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from envs.errors import EmbodiedError
from envs.interventions import Intervention
from envs.types import Array, Episode, Kind, ObjectState, Observation

HORIZON = 12
"""Control steps from the instant on; at 10 Hz, 1.2 s: longer, and chaos rather than the model is measured."""
MOVING = 0.005
"""[m] An object that travels less over the horizon is not in play."""
SHIFT = (0.02, 0.06)
"""[m] How far `move` puts an object aside: a fraction of a cube to two cubes."""


@dataclass(frozen=True)
class Contexts:
    """C instants of recorded episodes of one scene, each with what came before and what was done after."""

    history: Observation
    """`[C W ...]`, the instant last."""
    state: Array
    """`[C S]` exact simulator state at the instant."""
    action: Array
    """`[C H A]` float64: the actions that followed."""
    previous: Array
    """`[C A]` the action before; where an edit holds the arm, its gripper command stays."""
    recorded: ObjectState
    """`[C H+1 ...]` what really followed."""
    place: NDArray[np.int64]
    """`[C 2]` episode and step each was taken from."""

    def __len__(self) -> int:
        return len(self.place)

    @property
    def horizon(self) -> int:
        """H."""
        return int(self.action.shape[1])

    @property
    def movable(self) -> list[int]:
        """Indices of the K entities that move and are scored."""
        return [k for k, kind in enumerate(self.history.objects.kind) if int(kind) == Kind.BOX]

    @property
    def present(self) -> NDArray[np.bool_]:
        """`[C K]` which movable objects are there at the instant."""
        return np.asarray(self.history.objects.present)[:, -1, self.movable]


def choose(
    episodes: Sequence[Episode],
    count: int,
    generator: np.random.Generator,
    history: int = 3,
    horizon: int = HORIZON,
) -> Contexts:
    """Draw up to `count` instants at which at least two objects are there and one is in play over the horizon.

    Instants where several objects move are four times as likely: elsewhere most edits change nothing. Instants come
    from as many different episodes as there are, since those of one episode are not independent.

    Raises `EmbodiedError` where no episode has such an instant, or an episode lacks its simulator state.
    """
    candidates: list[tuple[float, int, int]] = []
    for number, episode in enumerate(episodes):
        if episode.simulator_state is None:
            raise EmbodiedError(f"Episode {number} has no simulator state: what-ifs branch from exact states only.")
        objects = episode.observation.objects
        boxes = [k for k, kind in enumerate(objects.kind) if int(kind) == Kind.BOX]
        position = np.asarray(objects.position_in_world)[:, boxes]
        there = np.asarray(objects.present)[:, boxes]
        for step in range(history - 1, episode.length - horizon + 1):
            ahead = slice(step, step + horizon + 1)
            way = np.linalg.norm(np.diff(position[ahead], axis=0), axis=-1).sum(0)
            moving = int(((way > MOVING) & there[step]).sum())
            if moving and there[ahead].sum(1).min() >= 2 and (there[ahead] == there[step]).all():
                # The smallest of exponentials with these rates is a draw with these weights.
                weight = 4.0 if moving > 1 else 1.0
                candidates.append((float(generator.exponential()) / weight, number, step))
    if not candidates:
        raise EmbodiedError(
            f"None of {len(episodes)} episodes has an instant with two objects of which one moves in the next "
            f"{horizon} steps: record play with several objects."
        )
    candidates.sort()
    taken: dict[int, int] = {}
    ranked = []
    for priority, number, step in candidates:
        taken[number] = taken.get(number, 0) + 1
        ranked.append((taken[number], priority, number, step))
    place = np.array([entry[2:] for entry in sorted(ranked)[:count]], dtype=np.int64)
    chosen = [(episodes[number], int(step)) for number, step in place]
    return Contexts(
        history=Observation.stack([e.observation[t - history + 1 : t + 1] for e, t in chosen]),
        state=np.stack([np.asarray(e.simulator_state)[t] for e, t in chosen]),
        action=np.stack([np.asarray(e.action, dtype=np.float64)[t : t + horizon] for e, t in chosen]),
        previous=np.stack([np.asarray(e.action, dtype=np.float64)[max(t - 1, 0)] for e, t in chosen]),
        recorded=Observation.stack([e.observation[t : t + horizon + 1] for e, t in chosen]).objects,
        place=place,
    )


def draw(contexts: Contexts, generator: np.random.Generator) -> tuple[NDArray[np.int64], list[Intervention]]:
    """One `move`, one `remove` and one `action` edit per context: which context `[M]`, and the edits.

    An edited object is drawn among those present. Moves are over the table, in any direction, the object keeping its
    height; whether there is room is for the simulator to say.
    """
    names = [contexts.history.objects.names[k] for k in contexts.movable]
    where, edits = [], []
    for index, there in enumerate(contexts.present):
        moved, removed = generator.choice(np.flatnonzero(there), size=2)
        for edit in (
            move(names[moved], generator),
            Intervention("remove", names[removed]),
            Intervention("action", mode=("hold", "mirror")[int(generator.integers(2))]),
        ):
            where.append(index)
            edits.append(edit)
    return np.array(where, dtype=np.int64), edits


def move(name: str, generator: np.random.Generator) -> Intervention:
    """A random shift over the table; exact in its own text form, so that what is printed can be repeated."""
    distance, heading = generator.uniform(*SHIFT), generator.uniform(-np.pi, np.pi)
    shift = {"x": round(distance * np.cos(heading), 4), "y": round(distance * np.sin(heading), 4)}
    return Intervention("move", name, shift)
