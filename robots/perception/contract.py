"""What the rest of the house asks of perception, wherever it gets objects from."""

from typing import Protocol, runtime_checkable

from envs.layout import Layout
from envs.types import Array, Observation
from robots.arm.contract import Reading


@runtime_checkable
class Senses(Protocol):
    """The arm by its own sensors, and the objects before it."""

    @property
    def source(self) -> str:
        """Where objects come from, in words."""
        ...

    def begin(self, layout: Layout) -> None:
        """Forget the past; another episode begins, with places of the goal and of objects as in `layout`, of one."""
        ...

    def observe(self, reading: Reading, target: Array, time: float) -> Observation:
        """What a policy sees, without a batch; `target` `[6]` [rad] is commanded, `time` [s] is since the beginning.

        Raises `EmbodiedError` where nothing can be seen.
        """
        ...
