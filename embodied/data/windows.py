"""Windows of episodes for the world model: a few frames of history, the commands that followed and what happened."""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from envs.errors import EmbodiedError
from envs.types import Episode
from world_models.cjepa.model import History
from world_models.embodiment.joints import Joints
from world_models.slots.bodies import Bodies, bodies_of, labels_of

MOVING = 0.02
"""[m/s] An object that travels faster is in motion."""
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
    """All frames of many episodes as tensors on one device, and where windows may start.

    Episodes with fewer movable objects than others are filled up with absent ones.
    """

    def __init__(
        self, episodes: Iterable[Episode], history: int, parts: int = 1, device: torch.device | str = "cpu"
    ) -> None:
        """Frames are recorded `parts` times in a control step, see `PlayConfig.parts`.

        Raises `EmbodiedError` if there is no episode longer than the history, or numbers that are not finite.
        """
        before = (history - 1) * parts
        kept = [episode for episode in episodes if episode.length > before]
        if not kept:
            raise EmbodiedError(
                f"The world model needs episodes of at least {before + 1} steps to learn from; got none."
            )
        self.history, self.parts = history, parts
        self.device = torch.device(device)
        bodies = [bodies_of(episode.observation.objects) for episode in kept]
        most = max(part.present.shape[-1] for part in bodies)
        padded = [_filled_up(part, most) for part in bodies]
        self.bodies = Bodies(
            **{f.name: torch.cat([getattr(part, f.name) for part in padded]).to(device) for f in fields(Bodies)}
        )
        self.proprioception = torch.cat(
            [torch.as_tensor(np.asarray(e.observation.proprioception), dtype=torch.float32) for e in kept]
        ).to(device)
        for name, array in (("poses", self.bodies.position), ("proprioception", self.proprioception)):
            if not array.isfinite().all():
                raise EmbodiedError(f"The episodes' {name} are not all finite: the recording is damaged.")
        lengths = np.array([episode.length + 1 for episode in kept])
        self._first = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        self._lengths = lengths
        moving = self.bodies.linear_velocity.norm(dim=-1) > MOVING
        self._moving = np.concatenate([moving[1:].cpu().numpy(), np.zeros((1, most), bool)])
        self._starts: dict[int, tuple[Tensor, Tensor, Tensor]] = {}

    def __len__(self) -> int:
        """Number of frames."""
        return int(self.proprioception.shape[0])

    def starts(self, future: int) -> tuple[Int[Tensor, " S"], Int[Tensor, " M"], Int[Tensor, " L"]]:
        """Frames at which a window of `future` small steps can begin (its last frame of history).

        All of them; the moving ones, in which an object is in motion in one of the next steps; and the busy ones, in
        which two or more are at once: chains of contacts are learned there.
        """
        if future not in self._starts:
            before = (self.history - 1) * self.parts
            present = np.concatenate(
                [
                    np.arange(first + before, first + length - future)
                    for first, length in zip(self._first, self._lengths, strict=True)
                ]
            )
            if not len(present):
                raise EmbodiedError(f"No episode is long enough for {before + 1} frames and {future} steps ahead.")
            ahead = np.arange(0, min(AHEAD * self.parts, future), max(1, self.parts // 2))
            frames = np.minimum(present[:, None] + ahead, len(self._moving) - 1)
            count = self._moving[frames].sum(-1).max(1)
            self._starts[future] = tuple(  # type: ignore[assignment]
                torch.as_tensor(rows, device=self.device)
                for rows in (present, present[count >= 1], present[count >= 2])
            )
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
        """Single small steps: the objects before `[B N ...]`, and the robot before and after `[B P]`."""
        everywhere, _, _ = self.starts(1)
        frame = everywhere[torch.randint(len(everywhere), (batch,), generator=generator, device=self.device)]
        return self.bodies[frame], self.proprioception[frame], self.proprioception[frame + 1]

    def at(self, present: Int[Tensor, " B"], future: int) -> Window:
        """The windows whose last frame of history is `present`, with `future` small steps."""
        past = present[:, None] + self.parts * torch.arange(1 - self.history, 1, device=self.device)
        coming = present[:, None] + torch.arange(1, future + 1, device=self.device)
        # Whether an object is there is decided by the present: later frames are masked by it.
        axes = labels_of(self.bodies[present])[:, None]
        return Window(
            History(self.bodies[past].relabelled(axes), self.proprioception[past]),
            self.bodies[coming].relabelled(axes),
            self.proprioception[coming],
            self.parts,
        )


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
