"""Processes that make one update together: each takes rows of the same batch, and their gradients are averaged.

What an update divides by, such as the number of rows to imitate, is that of the whole batch, so that any number of
processes make the update that one makes, up to rounding.
"""

from typing import Protocol

from torch import Tensor


class Over(Protocol):
    """The processes that an update is made by."""

    ranks: int

    def rows(self, whole: Tensor) -> Tensor:
        """This process's rows of what all have `[B ...]`."""
        ...

    def mean(self, value: Tensor) -> Tensor:
        """The mean over processes; in place where there are several."""
        ...


class Alone:
    """One process."""

    ranks = 1

    def rows(self, whole: Tensor) -> Tensor:
        """See `Over`."""
        return whole

    def mean(self, value: Tensor) -> Tensor:
        """See `Over`."""
        return value


class Together:
    """All processes that `torchrun` started."""

    def __init__(self) -> None:
        from torch import distributed

        self.ranks, self._rank = distributed.get_world_size(), distributed.get_rank()

    def rows(self, whole: Tensor) -> Tensor:
        """See `Over`. Every `ranks`-th row: parts of a batch that differ in kind are shared evenly."""
        return whole[self._rank :: self.ranks].contiguous()

    def mean(self, value: Tensor) -> Tensor:
        """See `Over`."""
        from torch import distributed

        distributed.all_reduce(value)
        return value.div_(self.ranks)


def imitated(clone: Tensor, over: Over) -> Tensor:
    """By how much the mean over this process's rows to imitate counts in the mean over all processes, a scalar.

    Its own number of them over the mean number.
    """
    if over.ranks == 1:
        return clone.new_ones(())
    own = clone.sum()
    return own.clamp(min=1.0) / over.mean(own.clone()).clamp(min=1.0 / over.ranks)
