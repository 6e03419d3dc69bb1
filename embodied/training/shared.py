"""One policy learner on all processes of `torchrun`: rank 0 explores and draws batches, all make the updates."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch

from embodied.agents.batch import Batch
from embodied.agents.losses import LearnerConfig
from embodied.agents.td3 import Learner
from embodied.agents.together import Together
from embodied.training import ranks
from envs.errors import EmbodiedError

_DONE, _UPDATE, _CLONE, _LOAD = range(4)


def shared(state_size: int, action_size: int, config: LearnerConfig, seed: int, batch: int) -> Learner:
    """A learner for batches of that many rows: of this process, or with `torchrun` of all.

    Raises `EmbodiedError` for a batch that the processes cannot share evenly.
    """
    if ranks.world() == 1:
        return Learner(state_size, action_size, config, seed)
    if batch % ranks.world():
        raise EmbodiedError(f"agent.batch={batch} is not a multiple of the {ranks.world()} processes that share it.")
    ranks.send(partial(_help, state_size, action_size, config, seed))
    return SharedLearner(state_size, action_size, config, seed, Together())


class SharedLearner(Learner):
    """What rank 0 holds: a learner whose every change the others make with it."""

    def update(self, batch: Batch) -> None:
        """See `Learner`."""
        _tell(_UPDATE, batch)
        super().update(batch)

    def clone(self, batch: Batch) -> None:
        """See `Learner`."""
        _tell(_CLONE, batch)
        super().clone(batch)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See `Learner`."""
        _tell(_LOAD)
        ranks.send(dict(state))
        super().load_state_dict(state)

    def close(self) -> None:
        """Let the others go."""
        _tell(_DONE)


def dismiss(learner: Learner) -> None:
    """Let those go that help a learner, if any do."""
    if isinstance(learner, SharedLearner):
        learner.close()


def _tell(what: int, batch: Batch | None = None) -> None:
    from torch import distributed

    rows = torch.from_numpy(np.ascontiguousarray(batch.pack())) if batch else torch.empty(0, 0)
    distributed.broadcast(torch.tensor([what, *rows.shape]), src=0)
    if batch:
        distributed.broadcast(rows, src=0)


def _help(state_size: int, action_size: int, config: LearnerConfig, seed: int) -> None:
    """What every other rank does until the learner is closed."""
    from torch import distributed

    learner = Learner(state_size, action_size, config, seed, Together())
    told = torch.zeros(3, dtype=torch.int64)
    while True:
        distributed.broadcast(told, src=0)
        what, *shape = told.tolist()
        if what == _DONE:
            return
        if what == _LOAD:
            learner.load_state_dict(ranks.received())
            continue
        rows = torch.empty(shape)
        distributed.broadcast(rows, src=0)
        (learner.update if what == _UPDATE else learner.clone)(Batch.unpack(rows.numpy(), state_size, action_size))
