"""Worlds whose physics diverges: what they were is kept for inspection, they begin anew, the others never notice."""

import os
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from envs.errors import DivergedError
from envs.simulation import SimulationState
from envs.types import Array

if TYPE_CHECKING:
    from envs.worlds import TaskWorlds

ATTEMPTS = 3
"""Times a control step is tried; what still diverges then is no accident."""


@dataclass(frozen=True)
class Divergence:
    """One world and the step that made its physics diverge."""

    state: SimulationState
    """Before the step; its one row restores into any simulation of the task's scene."""
    action: Array
    """`[A]`; stepping the state with it diverges again."""


def advance(worlds: "TaskWorlds", action: Array) -> Array:
    """One control step of all worlds; returns `[N]` bool, which of them diverged and began anew instead.

    Each of those is named in a `RuntimeWarning`, with the file that `load` reads. The others are stepped exactly as if
    they had been alone. Raises `EmbodiedError` for wrong actions, like `Simulation.step`, and `DivergedError` where
    worlds that just began diverge again and again.
    """
    simulation = worlds.simulation
    before = simulation.snapshot()
    lost = np.zeros(worlds.worlds, bool)
    for attempt in range(ATTEMPTS):
        try:
            simulation.advance(action)
        except DivergedError as error:
            if attempt == ATTEMPTS - 1:
                raise
            ids = np.asarray(error.worlds)
            simulation.undo(before)
            for world in ids:
                file = _save(worlds, int(world), Divergence(simulation.save(world), np.asarray(action)[world]))
                warnings.warn(
                    f"The physics of world {world} of task {worlds.task.name!r} diverged after "
                    f"{int(worlds.elapsed[world])} steps; it begins anew. Its state and action are in {file}.",
                    RuntimeWarning,
                    stacklevel=3,
                )
            worlds.reset(ids)
            lost[ids] = True
            before = simulation.snapshot()
        else:
            return lost
    raise AssertionError("unreachable")


def load(file: str | Path) -> Divergence:
    """What a diverged world was; `Simulation.restore` and `step` show it happen."""
    with np.load(file) as stored:
        return Divergence(SimulationState(stored["rows"], str(stored["scene"])), stored["action"])


def _save(worlds: "TaskWorlds", world: int, what: Divergence) -> Path:
    folder = Path(tempfile.gettempdir()) / "embodied-whatif"
    folder.mkdir(exist_ok=True)
    file = folder / f"diverged-{worlds.task.name}-{os.getpid()}-{world}-{int(worlds.episode[world])}.npz"
    np.savez(file, rows=what.state.rows, scene=what.state.scene, action=what.action)
    return file
