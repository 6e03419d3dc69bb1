"""Saved instants worth asking about: mid-push moments of held-out episodes, with exact state, past and plan."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.episode import Episode
from envs.errors import EmbodiedError
from envs.types import MOVABLE, Array, ObjectState, Observation

HORIZON = 12
"""Control steps from the instant on; at 10 Hz, 1.2 s: longer, and chaos rather than the model is measured."""
MOVING = 0.005
"""[m] An object that travels less over the horizon is not in play."""


def movable(kinds: Iterable[int]) -> list[int]:
    """Indices of the entities that move by themselves among `kinds` `[K]`."""
    return [k for k, kind in enumerate(kinds) if int(kind) in MOVABLE]


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
        return movable(self.history.objects.kind)

    @property
    def present(self) -> NDArray[np.bool_]:
        """`[C K]` which movable objects are there at the instant."""
        return np.asarray(self.history.objects.present)[:, -1, self.movable]

    @property
    def names(self) -> list[str]:
        """Of the movable entities."""
        return [self.history.objects.names[k] for k in self.movable]

    @property
    def validation(self) -> NDArray[np.bool_]:
        """`[C]` every other episode: thresholds and radii are fixed there, and results reported on the others."""
        episode = np.unique(self.place[:, 0], return_inverse=True)[1]
        return np.asarray(episode % 2 == 0, dtype=bool)

    def __getitem__(self, key: Any) -> "Contexts":
        """Some contexts, in the order and as often as an index array, a mask or a slice says."""
        return replace(self, **{f.name: getattr(self, f.name)[key] for f in fields(self)})


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

    Raises `EmbodiedError` where no episode has such an instant, an episode lacks its simulator state, or the horizon
    or the number asked for is not positive.
    """
    if horizon < 1 or count < 1:
        raise EmbodiedError(f"What-ifs need a horizon and a count of 1 or more, got horizon={horizon}, count={count}.")
    candidates: list[tuple[float, int, int]] = []
    for number, episode in enumerate(episodes):
        if episode.simulator_state is None:
            raise EmbodiedError(f"Episode {number} has no simulator state: what-ifs branch from exact states only.")
        objects = episode.observation.objects
        chosen = movable(objects.kind)
        position = np.asarray(objects.position_in_world)[:, chosen]
        there = np.asarray(objects.present)[:, chosen]
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
    instants = [(episodes[number], int(step)) for number, step in place]
    return Contexts(
        history=Observation.stack([e.observation[t - history + 1 : t + 1] for e, t in instants]),
        state=np.stack([np.asarray(e.simulator_state)[t] for e, t in instants]),
        action=np.stack([np.asarray(e.action, dtype=np.float64)[t : t + horizon] for e, t in instants]),
        previous=np.stack([np.asarray(e.action, dtype=np.float64)[max(t - 1, 0)] for e, t in instants]),
        recorded=Observation.stack([e.observation[t : t + horizon + 1] for e, t in instants]).objects,
        place=place,
    )
