"""Windows of episodes for the world model: a few frames of history, the commands that followed and what happened."""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from envs.errors import EmbodiedError
from envs.types import PROPRIOCEPTION, Episode
from world_models.cjepa.model import History
from world_models.slots.bodies import Bodies, bodies_of, nearest_labels

MOVED = 0.002
"""[m] An object that travels further in one step is in motion."""
AHEAD = 4
"""Steps over which a window is judged to be one of several objects in motion."""


@dataclass(frozen=True)
class Window:
    """B windows with body axes relabelled at the last frame of history."""

    history: History
    """`[B T ...]`."""
    bodies: Bodies
    """`[B F N ...]` what followed."""
    proprioception: Float[Tensor, "B F P"]
    """Of the arm in what followed; its targets are the commands."""

    @property
    def targets(self) -> Float[Tensor, "B F 6"]:
        """The command followed in each step [rad]."""
        return self.proprioception[..., PROPRIOCEPTION["joint_target"]]


class Windows:
    """All frames of many episodes as tensors on one device, and where windows may start.

    Episodes with fewer movable objects than others are filled up with absent ones.
    """

    def __init__(self, episodes: Iterable[Episode], history: int, device: torch.device | str = "cpu") -> None:
        """Raises `EmbodiedError` if there is no episode longer than the history."""
        kept = [episode for episode in episodes if episode.length >= history]
        if not kept:
            raise EmbodiedError(f"The world model needs episodes of at least {history} steps to learn from; got none.")
        self.history = history
        self.device = torch.device(device)
        parts = [bodies_of(episode.observation.objects) for episode in kept]
        most = max(part.present.shape[-1] for part in parts)
        padded = [_filled_up(part, most) for part in parts]
        self.bodies = Bodies(
            **{f.name: torch.cat([getattr(part, f.name) for part in padded]).to(device) for f in fields(Bodies)}
        )
        self.proprioception = torch.cat(
            [torch.as_tensor(np.asarray(e.observation.proprioception), dtype=torch.float32) for e in kept]
        ).to(device)
        lengths = np.array([episode.length + 1 for episode in kept])
        self._first = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        self._lengths = lengths
        moving = (self.bodies.position[1:] - self.bodies.position[:-1]).norm(dim=-1) > MOVED
        self._moving = np.concatenate([moving.cpu().numpy(), np.zeros((1, most), bool)])
        self._starts: dict[int, tuple[Tensor, Tensor, Tensor]] = {}

    def __len__(self) -> int:
        """Number of frames."""
        return int(self.proprioception.shape[0])

    def starts(self, future: int) -> tuple[Int[Tensor, " S"], Int[Tensor, " M"], Int[Tensor, " L"]]:
        """Frames at which a window of `future` steps can begin (its last frame of history).

        All of them; the moving ones, in which an object is in motion in one of the next steps; and the busy ones, in
        which two or more are at once: chains of contacts are learned there.
        """
        if future not in self._starts:
            present = np.concatenate(
                [
                    np.arange(first + self.history - 1, first + length - future)
                    for first, length in zip(self._first, self._lengths, strict=True)
                ]
            )
            if not len(present):
                raise EmbodiedError(f"No episode is long enough for {self.history} frames and {future} steps ahead.")
            ahead = np.minimum(present[:, None] + np.arange(min(AHEAD, future)), len(self._moving) - 1)
            count = self._moving[ahead].sum(-1).max(-1)
            everywhere, moving, several = (
                torch.as_tensor(chosen, device=self.device)
                for chosen in (present, present[count >= 1], present[count >= 2])
            )
            self._starts[future] = everywhere, moving, several
        return self._starts[future]

    def sample(self, batch: int, future: int, moving: float, busy: float, generator: torch.Generator) -> Window:
        """Draw `batch` windows; shares of them among the moving and the busy ones, if there are any."""
        everywhere, some, several = self.starts(future)
        first = round(batch * busy) if len(several) else 0
        second = round(batch * moving) if len(some) else 0
        picks = [
            pool[torch.randint(len(pool), (size,), generator=generator, device=self.device)]
            for pool, size in ((several, first), (some, second), (everywhere, batch - first - second))
            if size
        ]
        return self.at(torch.cat(picks), future)

    def transitions(self, batch: int, generator: torch.Generator) -> tuple[Bodies, Tensor, Tensor]:
        """Single steps: the boxes before `[B N ...]`, and the arm before and after `[B P]`."""
        everywhere, _, _ = self.starts(1)
        frame = everywhere[torch.randint(len(everywhere), (batch,), generator=generator, device=self.device)]
        return self.bodies[frame], self.proprioception[frame], self.proprioception[frame + 1]

    def at(self, present: Int[Tensor, " B"], future: int) -> Window:
        """The windows whose last frame of history is `present`."""
        frames = present[:, None] + torch.arange(1 - self.history, future + 1, device=self.device)
        bodies, proprioception = self.bodies[frames], self.proprioception[frames]
        # Whether an object is there is decided by the present: later frames are masked by it.
        axes = nearest_labels(bodies.rotation[:, self.history - 1])
        bodies = bodies.relabelled(axes[:, None])
        return Window(
            History(bodies[:, : self.history], proprioception[:, : self.history]),
            bodies[:, self.history :],
            proprioception[:, self.history :],
        )


def _filled_up(bodies: Bodies, most: int) -> Bodies:
    missing = most - bodies.present.shape[-1]
    if missing == 0:
        return bodies
    changes = {}
    for f in fields(Bodies):
        array = getattr(bodies, f.name)
        shape = (*array.shape[:1], missing, *array.shape[2:])
        filler = torch.eye(3).expand(shape) if f.name == "rotation" else torch.zeros(shape)
        changes[f.name] = torch.cat([array, filler.to(array)], 1)
    return replace(bodies, **changes)
