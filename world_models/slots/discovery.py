"""Slots without labels: slot attention for video that learns by drawing its frames again, for comparison.

SAVi (Kipf et al. 2022) at a size for one core: a convolutional encoder, slots that compete for its features and are
carried from frame to frame, a spatial broadcast decoder whose masks share out the pixels. Which slot holds which object
is not told and not known.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from envs.errors import EmbodiedError


@dataclass(frozen=True)
class DiscoveryConfig:
    """Sizes of the model."""

    size: int = 64
    """Side of the frames [pixel]; a multiple of 4."""
    slots: int = 6
    """Slots, one of which usually takes the background and one the arm."""
    width: int = 48
    """Features of a slot."""
    channels: int = 32
    """Of the encoder and the decoder."""
    iterations: tuple[int, int] = (3, 1)
    """Rounds of attention in the first frame and in later ones."""


@dataclass(frozen=True)
class Discovered:
    """What S slots make of a video."""

    slots: Float[Tensor, "B T S D"]
    masks: Float[Tensor, "B T S h w"]
    """Share of every pixel; over slots they sum to 1."""
    drawn: Float[Tensor, "B T 3 h w"]
    """The frames as drawn again, in 0..1."""


class SlotDiscovery(nn.Module):
    """Videos to slots, learned by drawing them again."""

    def __init__(self, config: DiscoveryConfig) -> None:
        super().__init__()
        self.config = config
        c, D, grid = config.channels, config.width, config.size // 4
        self.encode = nn.Sequential(
            nn.Conv2d(3, c, 5, 2, 2),
            nn.ReLU(),
            nn.Conv2d(c, c, 5, 2, 2),
            nn.ReLU(),
            nn.Conv2d(c, c, 5, 1, 2),
            nn.ReLU(),
        )
        self.places = nn.Conv2d(4, c, 1)
        self.features = nn.Sequential(nn.LayerNorm(c), nn.Linear(c, D), nn.ReLU(), nn.Linear(D, D), nn.LayerNorm(D))
        self.start = nn.Parameter(torch.randn(1, config.slots, D))
        self.ask, self.key, self.value = (nn.Linear(D, D, bias=False) for _ in range(3))
        self.norm = nn.LayerNorm(D)
        self.update = nn.GRUCell(D, D)
        self.mix = nn.Sequential(nn.LayerNorm(D), nn.Linear(D, 2 * D), nn.ReLU(), nn.Linear(2 * D, D))
        self.carry = nn.Sequential(nn.LayerNorm(D), nn.Linear(D, D), nn.ReLU(), nn.Linear(D, D))
        self.spread = nn.Conv2d(4, D, 1)
        # Narrow: it is run for every slot of every frame, and takes most of the time.
        self.decode = nn.Sequential(
            nn.ConvTranspose2d(D, c * 3 // 4, 4, 2, 1), nn.ReLU(),
            nn.ConvTranspose2d(c * 3 // 4, c * 3 // 8, 4, 2, 1), nn.ReLU(),
            nn.Conv2d(c * 3 // 8, 4, 3, 1, 1),
        )  # fmt: skip
        steps = (2.0 * torch.arange(grid) + 1.0) / grid - 1.0
        y, x = torch.meshgrid(steps, steps, indexing="ij")
        self.register_buffer("grid", torch.stack([x, y, -x, -y])[None], persistent=False)

    def forward(self, video: Tensor) -> Discovered:
        """Slots of videos `[B T h w 3]` uint8; raises `EmbodiedError` for another shape or type."""
        size = self.config.size
        if video.ndim != 5 or tuple(video.shape[2:]) != (size, size, 3) or video.dtype != torch.uint8:
            raise EmbodiedError(
                f"A video {tuple(video.shape)} of {video.dtype} was given; uint8 [B T {size} {size} 3] is needed."
            )
        B, T = video.shape[:2]
        frames = scaled(video).flatten(0, 1)
        seen = self.encode(frames) + self.places(self.grid)
        features = self.features(seen.flatten(2).transpose(1, 2)).unflatten(0, (B, T))
        slots, found = self.start.expand(B, -1, -1), []
        for t in range(T):
            slots = self._attend(slots, features[:, t], self.config.iterations[min(t, 1)])
            found.append(slots)
            slots = slots + self.carry(slots)
        every = torch.stack(found, 1)
        canvas = every.flatten(0, 2)[..., None, None] + self.spread(self.grid)
        drawn = self.decode(canvas.contiguous(memory_format=torch.channels_last)).unflatten(0, (B, T, -1))
        masks = drawn[:, :, :, 3].softmax(2)
        whole = (masks[:, :, :, None] * drawn[:, :, :, :3]).sum(2)
        return Discovered(every, masks, whole)

    def loss(self, video: Tensor) -> Tensor:
        """Mean squared error of the frames drawn again."""
        return functional.mse_loss(self(video).drawn, scaled(video))

    def _attend(self, slots: Tensor, features: Tensor, rounds: int) -> Tensor:
        keys, values = self.key(features), self.value(features)
        for _ in range(rounds):
            logits = self.ask(self.norm(slots)) @ keys.mT / self.config.width**0.5
            share = logits.softmax(1) + 1e-6
            share = share / share.sum(-1, keepdim=True)
            given = share @ values
            slots = self.update(given.flatten(0, 1), slots.flatten(0, 1)).unflatten(0, slots.shape[:2])
            slots = slots + self.mix(slots)
        return slots


def scaled(video: Tensor) -> Float[Tensor, "B T 3 h w"]:
    """Frames in 0..1."""
    return video.movedim(-1, 2).float() / 255.0
