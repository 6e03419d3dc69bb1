"""What a world was whose physics diverged, kept in a file for inspection."""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from envs.types import Array
from envs.world_states import SimulationState


@dataclass(frozen=True)
class Divergence:
    """One world and the step that made its physics diverge."""

    state: SimulationState
    """Before the step; its one row restores into any simulation of the task's scene."""
    action: Array
    """`[A]`; stepping the state with it diverges again."""

    def keep(self, name: str) -> Path:
        """The file, in the system's folder for temporary ones, that `load` reads."""
        folder = Path(tempfile.gettempdir()) / "embodied-whatif"
        folder.mkdir(exist_ok=True)
        file = folder / f"diverged-{os.getpid()}-{name}.npz"
        np.savez(file, rows=self.state.rows, scene=self.state.scene, action=self.action)
        return file


def load(file: str | Path) -> Divergence:
    """What a diverged world was; `Simulation.restore` and `step` show it happen."""
    with np.load(file) as stored:
        return Divergence(SimulationState(stored["rows"], str(stored["scene"])), stored["action"])
