"""Training of the encoder of camera frames, from pictures that the simulator labels."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from embodied.data.pictures import Pictures, PictureSource, join
from embodied.training.optimiser import load_state, precision, set_rate, share, state_of
from world_models.slots.pixels import Percepts, PixelEncoder, PixelModelConfig, prepare

LOSSES = ("attention", "position", "spread", "yaw", "up", "size", "colour", "here", "visible")
WEIGHTS = (1.0, 1.0, 0.1, 1.0, 1.0, 0.1, 0.2, 0.3, 0.2)
"""Of the losses; larger ones of size and colour cost accuracy of the pose."""
GOOD_VIEW = 4
"""Pixels an object must show in some view to count as visible."""
CLOSE = 0.03
"""[m] an object this near to the point looked at is `here`."""


@dataclass(frozen=True)
class PixelTrainConfig:
    """How the encoder is trained."""

    steps: int = 2000
    """Gradient steps."""
    batch: int = 64
    """States per step."""
    attended: float = 0.3
    """Share of a batch on which the attending network is trained: it learns faster than the other one."""
    chunk: int = 512
    """States drawn at a time."""
    steps_per_chunk: int = 16
    """Gradient steps before the next chunk is drawn."""
    pool: int = 4
    """Chunks that batches are drawn from, the latest ones."""
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    warmup: int = 50
    clip: float = 5.0
    mixed_precision: bool = False
    """bfloat16 autocast; pays on a GPU only."""


class PixelTrainer:
    """Trains one `PixelEncoder`; `state_dict` holds all that is needed to go on bit for bit."""

    def __init__(
        self, model: PixelModelConfig, config: PixelTrainConfig, source: PictureSource, seed: int, device: str = "cpu"
    ) -> None:
        """Weights and order of data come from `seed` alone, the data from the source."""
        self.config, self.source, self.seed, self.device = config, source, seed, torch.device(device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.model = PixelEncoder(model)
        self.model.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimiser = torch.optim.AdamW(
            self.model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.step = 0
        self._chunks: dict[int, Pictures] = {}
        self._pool: Pictures | None = None

    @property
    def done(self) -> bool:
        """Whether all steps are made."""
        return self.step >= self.config.steps

    def train_step(self) -> Float[Tensor, " 9"]:
        """One gradient step; returns the losses as in `LOSSES`."""
        generator = torch.Generator().manual_seed((self.seed << 24) + self.step)
        pool = self._data()
        rows = torch.randint(pool.count, (self.config.batch,), generator=generator)
        batch = _on(pool[rows], self.device)
        config = self.config
        set_rate(self.optimiser, config.learning_rate * share(self.step, config.steps, config.warmup))
        with precision(self.device, config.mixed_precision):
            parts = losses(self.model, batch, round(self.config.attended * self.config.batch), generator)
        self.optimiser.zero_grad(set_to_none=True)
        (parts * parts.new_tensor(WEIGHTS)).sum().backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        self.optimiser.step()
        self.step += 1
        return parts.detach()

    def state_dict(self) -> dict[str, Tensor]:
        """Weights, optimiser moments and step as a flat mapping of tensors."""
        return state_of(self.model, self.optimiser, self.step)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a `state_dict`. Raises `EmbodiedError` if it is of another model."""
        self.step = load_state(self.model, self.optimiser, state)

    def _data(self) -> Pictures:
        newest = self.step // self.config.steps_per_chunk
        wanted = range(max(0, newest - self.config.pool + 1), newest + 1)
        if self._pool is None or newest not in self._chunks:
            self._chunks = {n: self._chunks.get(n) or self.source.chunk(n) for n in wanted}
            self._pool = join(list(self._chunks.values()))
        return self._pool


def losses(model: PixelEncoder, batch: Pictures, attended: int, generator: torch.Generator) -> Float[Tensor, " 9"]:
    """The parts of the loss, as in `LOSSES`."""
    pixels = prepare(batch.images, model.config)
    logits = model.attention_logits(pixels[:attended], batch.queries[:attended])
    attention = attention_loss(logits, batch.owner[:attended])
    point = draw_points(batch, generator).to(pixels.device)
    percepts = model.look(pixels, batch.views, point, batch.queries, batch.hand)
    return torch.stack([attention, *pose_losses(percepts, batch, point)])


def attention_loss(logits: Float[Tensor, "B C S g g"], owner: Tensor) -> Tensor:
    """Cross entropy against the share of each cell that every object covers; covered cells count tenfold."""
    K, g = logits.shape[2] - 1, logits.shape[-1]
    cell = owner.shape[-1] // g
    shown = (owner[:, :, None] == torch.arange(K, device=owner.device)[:, None, None]).float()
    shares = functional.avg_pool2d(shown.flatten(0, 1), cell).reshape(*logits.shape[:2], K, g, g)
    shares = torch.cat([shares, 1.0 - shares.sum(2, keepdim=True)], 2)
    each = -(shares * logits.log_softmax(2)).sum(2)
    weight = 1.0 + 9.0 * (shares[:, :, :K].sum(2) > 0)
    return 10.0 * (each * weight).mean()


def draw_points(batch: Pictures, generator: torch.Generator) -> Float[Tensor, "N K 3"]:
    """Points to look at: mostly near the objects, as attention and a first look give them, sometimes elsewhere."""
    shape = batch.present.shape

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=generator)

    chance = torch.rand(shape, generator=generator)
    spread = torch.where(chance < 0.5, 0.002, torch.where(chance < 0.85, 0.007, 0.016))
    near = batch.position.cpu() + spread[..., None] * torch.randn((*shape, 3), generator=generator)
    anywhere = torch.stack([uniform(0.10, 0.38), uniform(-0.20, 0.20), 0.014 + uniform(0.0, 0.12) * (chance < 0.3)], -1)
    # The trap for a missing object: where another one is.
    other = torch.rand(shape, generator=generator) < 0.4
    order = torch.randint(1, max(2, shape[1]), shape, generator=generator)
    index = (torch.arange(shape[1]) + order) % shape[1]
    beside = near.gather(1, index[..., None].expand(-1, -1, 3))
    present = batch.present.cpu()
    other = other & present.gather(1, index)
    missing = torch.where(other[..., None], beside, anywhere)
    astray = torch.rand(shape, generator=generator)
    # The trap of a single view: on the ray to the object, before or behind it.
    view = torch.randint(batch.views.position.shape[1], shape, generator=generator)
    eye = batch.views.position.cpu().gather(1, view[..., None].expand(-1, -1, 3))
    ray = functional.normalize(near - eye, dim=-1)
    side = torch.where(torch.rand(shape, generator=generator) < 0.5, -1.0, 1.0)
    behind = near + (side * uniform(0.035, 0.15))[..., None] * ray
    missing = torch.where(((astray < 0.08) & present)[..., None], behind, missing)
    return torch.where((present & (astray > 0.16))[..., None], near, missing)


def pose_losses(percepts: Percepts, batch: Pictures, point: Float[Tensor, "N K 3"]) -> list[Tensor]:
    """Position [mm / 5] to visible, each a mean over the objects that it is about."""
    away = (batch.position - point).norm(dim=-1)
    visible = (batch.visible.max(1).values >= GOOD_VIEW) & batch.present
    here = (batch.present & (away < CLOSE)).float()
    weight = here * torch.where(visible, 1.0, 0.1)
    count = weight.sum().clamp(min=1.0)

    def mean(each: Tensor) -> Tensor:
        weighed: Tensor = (each * weight).sum() / count
        return weighed

    error = (percepts.position - batch.position) / 0.005
    distance = 0.005 * error.detach().norm(dim=-1)
    quarter = quarter_turn(batch.rotation)
    ratio = (percepts.half_extents / batch.half_extents.clamp(min=1e-3)).log() / 0.2
    return [
        mean(functional.smooth_l1_loss(error, torch.zeros_like(error), beta=0.2, reduction="none").sum(-1)),
        # Laplace's likelihood of the distance in three dimensions.
        mean(distance / percepts.spread + 3.0 * (percepts.spread / 0.005).log()),
        mean((percepts.quarter_turn - quarter).square().sum(-1)),
        mean((percepts.up - batch.rotation[..., 2]).square().sum(-1)),
        mean(ratio.square().sum(-1) * (batch.half_extents[..., 0] > 0)),
        mean((percepts.colour - batch.colour).square().sum(-1)),
        functional.binary_cross_entropy_with_logits(percepts.here, here),
        functional.binary_cross_entropy_with_logits(percepts.visible, here * visible),
    ]


def quarter_turn(rotation: Float[Tensor, "*B 3 3"]) -> Float[Tensor, "*B 2"]:
    """Cosine and sine of four times the yaw: the turn about the vertical once the box's lean is taken back."""
    cosine = rotation[..., 0, 0] + rotation[..., 1, 1]
    sine = rotation[..., 1, 0] - rotation[..., 0, 1]
    yaw = torch.atan2(sine, cosine)
    return torch.stack([torch.cos(4 * yaw), torch.sin(4 * yaw)], -1)


def _on(pictures: Pictures, device: torch.device) -> Pictures:
    if device.type == "cpu":
        return pictures
    views = pictures.views.map(lambda array: array.to(device))
    return Pictures(views=views, **{k: v.to(device) for k, v in vars(pictures).items() if k != "views"})
