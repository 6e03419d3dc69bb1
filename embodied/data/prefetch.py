"""The next batch, made in a thread while the present one is learned from."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor


class Prefetch[Batch]:
    """Batches by their step, drawn with one generator; which batches they are does not depend on when they are made."""

    def __init__(self, make: Callable[[int], Batch], generator: torch.Generator) -> None:
        """`make` gives the batch of a step, and is the only one to use `generator` from now on."""
        self._make, self._generator = make, generator
        # How many threads torch may use is said per thread.
        self._pool = ThreadPoolExecutor(1, "data", torch.set_num_threads, (torch.get_num_threads(),))
        self._coming: tuple[int, Tensor, Future[Batch]] | None = None
        self.waited = 0.0
        """[s] that batches were waited for."""

    def take(self, step: int, *, last: bool) -> Batch:
        """The batch of `step`; unless it is the `last`, the next one is begun."""
        start = time.perf_counter()
        coming = self._coming
        batch = coming[2].result() if coming is not None and coming[0] == step else self._make(step)
        self.waited += time.perf_counter() - start
        self._coming = None
        if not last:
            before = self._generator.get_state()
            self._coming = (step + 1, before, self._pool.submit(self._make, step + 1))
        return batch

    @property
    def state(self) -> Tensor:
        """Of the generator, before the first batch that was not taken."""
        return self._generator.get_state() if self._coming is None else self._coming[1]

    def go_on(self, state: Tensor) -> None:
        """From this `state`: what was begun is dropped."""
        if self._coming is not None:
            self._coming[2].exception()
            self._coming = None
        self._generator.set_state(state)
