"""Processes that train one model together, as `torchrun` starts them: rank 0 leads, the others help it train.

Rank 0 does all that the command does. The others wait for members of a world model or for a policy to train, until rank
0 is done. Without `torchrun` there is one rank, and nothing here costs anything.
"""

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

PATIENCE = timedelta(days=30)
"""How long a rank waits for another: collecting play and learning a policy take rank 0 as long as they take."""


def rank() -> int:
    """Of this process."""
    return int(os.environ.get("RANK", "0")) if world() > 1 else 0


def world() -> int:
    """How many processes there are."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def joined() -> Iterator[None]:
    """Join the others for as long as the context lasts."""
    if world() == 1:
        yield
        return
    import torch
    from torch import distributed

    gpus = torch.cuda.device_count()
    if gpus:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % gpus)
    distributed.init_process_group("cpu:gloo,cuda:nccl" if gpus else "gloo", timeout=PATIENCE)
    yield
    # Not after an error: the others may be within a step, and would be waited for. `torchrun` ends them.
    distributed.barrier()
    # What still holds the group would outlive it, and its threads with it: the process could not end well.
    gc.collect()
    distributed.destroy_process_group()


def send(work: Any) -> None:
    """Tell the helpers what to call, or what it needs, if there are any; None lets them go. Rank 0 only."""
    if world() == 1:
        return
    from torch import distributed

    distributed.broadcast_object_list([work], src=0, device=_cpu())


def received() -> Any:
    """What rank 0 sends; None is nothing more."""
    from torch import distributed

    box = [None]
    distributed.broadcast_object_list(box, src=0, device=_cpu())
    return box[0]


def _cpu() -> Any:
    import torch

    return torch.device("cpu")
