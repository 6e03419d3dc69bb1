"""Worlds whose resting objects sleep: MuJoCo's sleeping islands, behind the contract of every engine.

What has moved slower than MuJoCo's `sleep_tolerance` for ten physics steps, and all that it touches as well, is left
out of the steps after, until something that is awake touches it. Who sleeps, and for how long what is awake has been
slow, is no part of a state row: it is what a world remembers of the steps since it was last woken. So whoever reads
rows to go on from them, or writes rows or model fields, wakes these worlds, see `wake`; after that they are what their
rows say, as with any engine.

Bodies that each world puts where it likes, such as bins and fixtures (MuJoCo's mocap), are always awake, and wake what
lies on them again and again.
"""

import copy

import mujoco
import numpy as np
from mujoco.batch import Batch

from envs.types import Array

_NOTHING = int(mujoco.mjtStage.mjSTAGE_NONE)


class SleepingBatch(Batch):
    """A `Batch` of a model with sleep enabled, which keeps an `MjData` per world."""

    def __init__(self, model: mujoco.MjModel, nsim: int, nthread: int = 0) -> None:
        """`model` itself stays as it is."""
        sleeping = copy.copy(model)
        sleeping.opt.enableflags |= int(mujoco.mjtEnableBit.mjENBL_SLEEP)
        super().__init__(sleeping, nsim, nthread, persistent=True)

    def wake(self, ids: Array) -> None:
        """Forget all that the worlds `ids` `[n]` remember besides their rows, model fields and warnings."""
        ordered = np.sort(ids)
        rows, warnings = self.state[ordered], self.warning[ordered]
        self.reset(ordered, stage=_NOTHING)
        self.state[ordered], self.warning[ordered] = rows, warnings


def wake(batch: Batch, ids: Array) -> None:
    """Have the worlds `ids` `[n]` go on as functions of their rows; where nothing sleeps, they always do."""
    if isinstance(batch, SleepingBatch):
        batch.wake(ids)
