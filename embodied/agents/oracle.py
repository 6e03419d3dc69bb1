"""MuJoCo itself as a planner's model: what a world model is measured against.

It knows what no model could: the exact state that the search begins from, true masses and the solver's warm start.
"""

from dataclasses import replace

import numpy as np

from embodied.agents.planner import Outlook, over_time
from envs.simulation import Simulation
from envs.types import Array, ObjectState, Observation


class Oracle:
    """Rolls plans forward in copies of worlds that go on being acted in."""

    def __init__(self, worlds: Simulation, candidates: int, threads: int = 0) -> None:
        """`worlds` is what the planner acts in; `candidates` is N, at most, of each of its plans."""
        self._worlds, self._candidates = worlds, candidates
        self._copies = Simulation(worlds.scene, worlds.worlds * candidates, threads, worlds.control)

    def begin(self, history: Observation) -> Outlook:
        """See `planner.Begin`; the histories must be of the worlds as they are now."""
        now = self._worlds.save()

        def outlook(plans: Array, scattered: bool = False) -> tuple[ObjectState, None]:
            worlds, count, horizon, size = plans.shape
            self._copies.restore(replace(now, rows=np.repeat(now.rows, self._candidates, axis=0)))
            actions = np.zeros((worlds, self._candidates, horizon, size))
            actions[:, :count] = plans
            frames = [self._copies.observe()]
            frames += [self._copies.step(actions[:, :, step].reshape(-1, size)) for step in range(horizon)]
            objects = over_time(frames).objects
            objects = objects.map(lambda array: array.reshape(worlds, self._candidates, *array.shape[1:]))
            return objects[:, :count], None

        return outlook
