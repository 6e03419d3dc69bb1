"""Windows of episodes for the world model: a few frames of history, the commands that followed and what happened."""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from embodied.data.frames import Frames
from envs.episode import Episode
from envs.errors import EmbodiedError
from world_models.cjepa.model import History
from world_models.embodiment.joints import Joints
from world_models.slots.bodies import Bodies, labels_of

MOVING = 0.02
"""[m/s] An object that travels faster is in motion."""
FALLEN = -0.01
"""[m] An object this low has left the table: a model of the table has nothing to learn from its fall to the floor."""
AHEAD = 4
"""Control steps over which a window is judged to be one of several objects in motion."""


@dataclass(frozen=True)
class Window:
    """B windows with body axes relabelled at the last frame of history."""

    history: History
    """`[B T ...]`, a control step apart."""
    bodies: Bodies
    """`[B K N ...]` what followed, in every part of every control step."""
    proprioception: Float[Tensor, "B K P"]
    """Of the robot in what followed; its targets are the commands."""
    parts: int
    """Small steps in a control step: K of them make up K / parts."""

    @property
    def commands(self) -> Float[Tensor, "B K J"]:
        """The command followed in each small step [rad] or [m]."""
        return Joints.of(self.proprioception).target

    @property
    def targets(self) -> Float[Tensor, "B F J"]:
        """The command reached at the end of each control step."""
        return self.commands[:, self.parts - 1 :: self.parts]

    def mirrored(self, which: Bool[Tensor, " B"], joints: Float[Tensor, " J"]) -> "Window":
        """The windows with those of `which` reflected in y; `joints` are -1 where that turns a joint round, else 1."""
        sign = torch.where(which[:, None, None], joints.repeat(3), torch.ones_like(joints).repeat(3))
        history = History(_mirrored(self.history.bodies, which), self.history.proprioception * sign)
        return replace(
            self, history=history, bodies=_mirrored(self.bodies, which), proprioception=self.proprioception * sign
        )


class Windows:
    """Where windows may start in many episodes, and the windows themselves."""

    def __init__(
        self, episodes: Iterable[Episode], history: int, parts: int = 1, device: torch.device | str = "cpu"
    ) -> None:
        """Frames are recorded `parts` times in a control step, see `PlayConfig.parts`.

        Those of a store are read from a memory-mapped file, see `Frames.of`. On a GPU they are copied to it where they
        fit; where not, windows are gathered here and sent.

        Raises `EmbodiedError` if there is no episode longer than the history, or numbers that are not finite.
        """
        before = (history - 1) * parts
        self.history, self.parts = history, parts
        self.device = torch.device(device)
        frames = Frames.of(episodes)
        if not (frames.lengths > before + 1).any():
            raise EmbodiedError(
                f"The world model needs episodes of at least {before + 1} steps to learn from; got none."
            )
        place = self.device if _fits(frames, self.device) else torch.device("cpu")
        self.bodies = Bodies(**{f.name: getattr(frames.bodies, f.name).to(place) for f in fields(Bodies)})
        self.proprioception = frames.proprioception.to(place)
        self.present = frames.bodies.present
        """`[M N]` of all frames, on the CPU always: what is drawn depends on it."""
        self._first = np.concatenate([[0], np.cumsum(frames.lengths)[:-1]])
        self._lengths = frames.lengths
        moving = frames.bodies.linear_velocity.norm(dim=-1).numpy() > MOVING
        self._moving = np.concatenate([moving[1:], np.zeros_like(moving[:1])])
        low = (frames.bodies.position[..., 2] < FALLEN) & (frames.bodies.present > 0)
        self._fallen = low.any(-1).numpy()
        self._starts: dict[int, tuple[Tensor, Tensor, Tensor]] = {}

    def __len__(self) -> int:
        """Number of frames."""
        return int(self.proprioception.shape[0])

    def starts(self, future: int) -> tuple[Int[Tensor, " S"], Int[Tensor, " M"], Int[Tensor, " L"]]:
        """Frames at which a window of `future` small steps can begin (its last frame of history).

        All of them but those in which something has fallen off the table; the moving ones, in which an object is in
        motion in one of the next steps; and the busy ones, in which two or more are at once: chains of contacts are
        learned there.
        """
        if future not in self._starts:
            before = (self.history - 1) * self.parts
            present = np.concatenate(
                [
                    np.arange(first + before, first + length - future)
                    for first, length in zip(self._first, self._lengths, strict=True)
                ]
            )
            present = present[~self._fallen[present + future]]
            if not len(present):
                raise EmbodiedError(f"No episode is long enough for {before + 1} frames and {future} steps ahead.")
            ahead = np.arange(0, min(AHEAD * self.parts, future), max(1, self.parts // 2))
            frames = np.minimum(present[:, None] + ahead, len(self._moving) - 1)
            count = self._moving[frames].sum(-1).max(1)
            self._starts[future] = tuple(  # type: ignore[assignment]
                torch.as_tensor(rows) for rows in (present, present[count >= 1], present[count >= 2])
            )
        return self._starts[future]

    def draw(
        self, batch: int, future: int, moving: float, busy: float, generator: torch.Generator
    ) -> Int[Tensor, " B"]:
        """Draw the starts of `batch` windows; shares of them among the moving and the busy ones, if there are any."""
        everywhere, some, several = self.starts(future)
        first = round(batch * busy) if len(several) else 0
        second = round(batch * moving) if len(some) else 0
        picks = [
            pool[torch.randint(len(pool), (size,), generator=generator)]
            for pool, size in ((several, first), (some, second), (everywhere, batch - first - second))
            if size
        ]
        return torch.cat(picks)

    def transitions(self, frame: Int[Tensor, " B"]) -> tuple[Bodies, Tensor, Tensor]:
        """Single small steps from `frame` on: the objects before `[B N ...]`, the robot before and after `[B P]`."""
        return self._bodies(frame), self._robot(frame), self._robot(frame + 1)

    def at(self, present: Int[Tensor, " B"], future: int) -> Window:
        """The windows whose last frame of history is `present`, with `future` small steps."""
        past = present[:, None] + self.parts * torch.arange(1 - self.history, 1)
        coming = self.coming(present, future)
        history = self._bodies(past)
        # Whether an object is there is decided by the present: later frames are masked by it.
        axes = labels_of(history[:, -1])[:, None]
        return Window(
            History(history.relabelled(axes), self._robot(past)),
            self._bodies(coming).relabelled(axes),
            self._robot(coming),
            self.parts,
        )

    @staticmethod
    def coming(present: Int[Tensor, " B"], future: int) -> Int[Tensor, "B K"]:
        """The frames that follow `present`."""
        return present[:, None] + torch.arange(1, future + 1)

    def _bodies(self, frame: Tensor) -> Bodies:
        return Bodies(**{f.name: self._rows(getattr(self.bodies, f.name), frame) for f in fields(Bodies)})

    def _robot(self, frame: Tensor) -> Tensor:
        return self._rows(self.proprioception, frame)

    def _rows(self, array: Tensor, frame: Tensor) -> Tensor:
        rows: Tensor = array.index_select(0, frame.flatten().to(array.device)).unflatten(0, frame.shape)
        return rows.to(self.device, non_blocking=True)


def _fits(frames: Frames, device: torch.device) -> bool:
    """Whether frames leave at least half of the free memory of a GPU free."""
    if device.type != "cuda":
        return True
    arrays = [getattr(frames.bodies, f.name) for f in fields(Bodies)] + [frames.proprioception]
    free: int = torch.cuda.mem_get_info(device)[0]
    return bool(2 * sum(array.nbytes for array in arrays) < free)


def _mirrored(bodies: Bodies, which: Bool[Tensor, " B"]) -> Bodies:
    """Objects `[B T N ...]`, those of `which` reflected in y. Spins are axial vectors."""
    chosen = which[:, None, None, None]
    reflect = torch.where(chosen, bodies.position.new_tensor([1.0, -1.0, 1.0]), 1.0)
    return replace(
        bodies,
        position=bodies.position * reflect,
        rotation=bodies.rotation * reflect[..., :, None] * reflect[..., None, :],
        linear_velocity=bodies.linear_velocity * reflect,
        angular_velocity=bodies.angular_velocity * torch.where(chosen, -reflect, reflect),
    )
