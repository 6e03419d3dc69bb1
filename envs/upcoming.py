"""The episodes that worlds will begin next, drawn for all of them at once: drawing few costs nearly as much as many.

Worlds end a few at a time once they are out of step. What they begin with is a function of the seed, the world and the
number of the episode, so that it does not matter when it is drawn.
"""

from collections.abc import Callable, Mapping

import numpy as np

from envs.types import Array

Drawn = tuple[Array, Mapping[str, Array]]
"""State rows `[n S]`, and the values of factors of variation `[n ...]` by name."""


class Upcoming:
    """What was drawn for N worlds and not yet begun."""

    def __init__(self, worlds: int) -> None:
        self._episode = np.full(worlds, -1)
        """`[N]` the number of the episode that was drawn; -1 for none."""
        self._under: object = None
        self._rows: Array = np.zeros((worlds, 0))
        self._values: dict[str, Array] = {}

    def take(self, ids: Array, episode: Array, under: object, draw: Callable[[Array], Drawn]) -> Drawn:
        """What the worlds `ids` `[n]` begin their next episodes with, numbered by `episode` `[N]`.

        `under` is all else that decides it, by value: where it changes, what was drawn is of no use. `draw` draws for
        worlds.
        """
        if under != self._under:
            self._episode[:], self._under = -1, under
        missing = self._episode != episode
        if missing[ids].any():
            worlds = np.flatnonzero(missing)
            rows, values = draw(worlds)
            self._put(worlds, rows, values)
            self._episode[worlds] = episode[worlds]
        self._episode[ids] = -1
        return self._rows[ids], {name: array[ids] for name, array in self._values.items()}

    def _put(self, worlds: Array, rows: Array, values: Mapping[str, Array]) -> None:
        count = len(self._episode)
        if self._rows.shape[1] != rows.shape[1] or self._values.keys() != values.keys():
            self._rows = np.zeros((count, rows.shape[1]))
            self._values = {name: np.zeros((count, *array.shape[1:]), array.dtype) for name, array in values.items()}
        self._rows[worlds] = rows
        for name, array in values.items():
            self._values[name][worlds] = array
