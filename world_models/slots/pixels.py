"""From camera frames to slots: a named object's colour is the query, geometry of calibrated cameras ties the views.

Two passes share one image. *Attend*: a small convolutional network gives every cell of an image a feature; the slots'
queries and a background query compete for each cell by softmax (the competition of slot attention, Locatello et al.
2020, with one learned query per name in place of iterated random ones), and rays through the attended places of all
views meet at a point. *Look closer*: a window of fixed size in metres is cut out of every view around that point at
full resolution, and a second network reads the pose's offset from the point; it is run twice, the second time around
the better point. Nothing depends on the order of the slots.
"""

from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from envs.errors import EmbodiedError
from envs.views import Views

REST_HEIGHT = 0.014
"""[m] how high an object's centre is taken to be where one view alone sees it."""
REST_WEIGHT = 0.003
"""Of that, against a view's ray of weight 1."""
SEEN = 0.3
"""Least attention of a cell that counts as seeing an object."""
UNFOUND = 3.0
"""Log-odds by which an object is less surely seen where no cell attends to it."""
DOUBT = 1.0
"""Log-odds of being seen up to which other places are looked at too."""
HEIGHTS = (0.042, 0.07, 0.1)
"""[m] where else along a single view's ray an object may be: on one other, on two, lifted."""
NEARLY, UPRIGHT = 0.015, 0.97
"""[m] from the table within which an object that one view sees is taken to rest, if its axis is this upright."""
GRASP = 0.03
"""[m] what is nearer to the tool than this may be held."""
UNIT = 0.01
"""[m] one unit of the offset and of the spread that the network gives."""
HAND = 10
"""Numbers that describe the hand: tool centre point [m], first two columns of its rotation, opening [rad]."""


@dataclass(frozen=True)
class PixelModelConfig:
    """Sizes of the encoder."""

    cameras: tuple[str, ...] = ("front", "top")
    """Views it takes, in this order."""
    size: int = 128
    """Side of the images [pixel]."""
    channels: tuple[int, int, int] = (16, 32, 48)
    """Of the attending network at a half, a quarter and an eighth of the image's side."""
    crop: int = 24
    """Side of a window [pixel]."""
    reach: float = 0.032
    """Half side of a window [m]."""
    crop_channels: tuple[int, int, int] = (16, 32, 64)
    """Of the network that looks closer."""
    width: int = 256
    """Features in which the views are joined."""
    rounds: int = 2
    """How often it looks closer."""


@dataclass(frozen=True)
class Percepts:
    """What is seen of K named objects; every field but `attention` is per object."""

    position: Float[Tensor, "B K 3"]
    """In the world [m]."""
    quarter_turn: Float[Tensor, "B K 2"]
    """Cosine and sine of four times the yaw, shorter than 1 where unsure."""
    up: Float[Tensor, "B K 3"]
    """The body axis nearest to the vertical, of length 1."""
    half_extents: Float[Tensor, "B K 3"]
    """[m]."""
    colour: Float[Tensor, "B K 3"]
    """RGB in 0..1."""
    spread: Float[Tensor, "B K"]
    """Expected distance of `position` from the truth [m]."""
    here: Float[Tensor, "B K"]
    """Log-odds that the object is where the encoder looked, seen or hidden."""
    visible: Float[Tensor, "B K"]
    """Log-odds that some view shows it there."""
    attention: Float[Tensor, "B C S g g"] | None = None
    """Share of each cell that is an object's, the background last: S is K + 1."""


class PixelEncoder(nn.Module):
    """Images of calibrated cameras to what is seen of named objects."""

    def __init__(self, config: PixelModelConfig, attend: nn.Module | None = None) -> None:
        """`attend` replaces the attending network, e.g. by `world_models.slots.frozen.FrozenAttend`."""
        super().__init__()
        self.config = config
        self.attend = attend or _Attend(config.channels)
        self.closer = _Closer(config)

    def forward(
        self,
        images: Tensor,
        views: Views,
        queries: Float[Tensor, "B K 3"],
        hand: Float[Tensor, "B 10"],
        memory: Float[Tensor, "B K 3"] | None = None,
        remembered: Float[Tensor, "B K"] | None = None,
    ) -> Percepts:
        """What is seen in images `[B C h w 3]` uint8.

        Args:
            images: of the cameras of the configuration, in its order.
            views: their calibration, arrays `[B C ...]`.
            queries: RGB in 0..1 that each object's name stands for.
            hand: see `HAND`, and `hand_of`.
            memory: where each object was last [m]; looked at where attention finds nothing, or something far away.
            remembered: 1 where there is a memory.

        Raises:
            EmbodiedError: for images of another shape or type.
        """
        pixels = prepare(images, self.config)
        attention = self.attention(pixels, queries)
        point, found, ray = locate(attention, views)
        best = self.closer_look(pixels, views, point, queries, hand)
        sure = torch.where(found > 0, best.visible, best.visible - UNFOUND)
        if memory is not None and remembered is not None and bool((remembered > 0).any()):
            moved = (best.position - memory).norm(dim=-1) > 2.0 * self.config.reach
            if bool(((remembered > 0) & ((sure <= DOUBT) | moved)).any()):
                there = self.closer_look(pixels, views, memory, queries, hand)
                # Where neither is seen, the remembered place says whether the object may still be there.
                use = (remembered > 0) & ((there.visible >= sure) | (sure <= 0))
                best, sure = chosen(use, there, best), torch.where(use, there.visible, sure)
        for number, (point, possible) in enumerate(along(ray, hand)):
            # One view alone does not tell how high: it may be held, and what is not seen at rest may be on others.
            doubtful = (found == 1) & possible & ((sure <= DOUBT) | (number == 0))
            if bool(doubtful.any()):
                there = self.closer_look(pixels, views, point, queries, hand)
                use = doubtful & (there.visible > sure)
                best, sure = chosen(use, there, best), torch.where(use, there.visible, sure)
        return replace(settled(best, ray, found == 1), attention=attention)

    def closer_look(
        self,
        pixels: Float[Tensor, "B C 3 h w"],
        views: Views,
        point: Float[Tensor, "B K 3"],
        queries: Float[Tensor, "B K 3"],
        hand: Float[Tensor, "B 10"],
    ) -> Percepts:
        """`look`, as often as the configuration says, each time around the better point."""
        percepts = self.look(pixels, views, point, queries, hand)
        for _ in range(self.config.rounds - 1):
            percepts = self.look(pixels, views, percepts.position, queries, hand)
        return percepts

    def attention(
        self, pixels: Float[Tensor, "B C 3 h w"], queries: Float[Tensor, "B K 3"]
    ) -> Float[Tensor, "B C S g g"]:
        """Shares of cells, the background last; over objects and background they sum to 1."""
        return self.attention_logits(pixels, queries).softmax(2)

    def attention_logits(
        self, pixels: Float[Tensor, "B C 3 h w"], queries: Float[Tensor, "B K 3"]
    ) -> Float[Tensor, "B C S g g"]:
        """Before the softmax."""
        logits: Tensor = self.attend(pixels, queries)
        return logits

    def look(
        self,
        pixels: Float[Tensor, "B C 3 h w"],
        views: Views,
        point: Float[Tensor, "B K 3"],
        queries: Float[Tensor, "B K 3"],
        hand: Float[Tensor, "B 10"],
    ) -> Percepts:
        """The poses of objects that are near given points."""
        percepts: Percepts = self.closer(pixels, views, point, queries, hand)
        return percepts


def prepare(images: Tensor, config: PixelModelConfig) -> Float[Tensor, "B C 3 h w"]:
    """Images as the networks take them; raises `EmbodiedError` for another shape or type, or NaN among them."""
    wanted = (len(config.cameras), config.size, config.size, 3)
    if images.ndim != 5 or tuple(images.shape[1:]) != wanted:
        raise EmbodiedError(
            f"Images of shape {tuple(images.shape)} were given; this encoder takes [B {' '.join(map(str, wanted))}], "
            f"its cameras being {', '.join(config.cameras)}."
        )
    if images.dtype != torch.uint8:
        if not bool(torch.isfinite(images).all()):
            raise EmbodiedError("Images hold values that are no numbers (NaN or infinite); uint8 RGB is needed.")
        raise EmbodiedError(f"Images of type {images.dtype} were given; uint8 RGB is needed.")
    return images.permute(0, 1, 4, 2, 3).float().sub(127.5).div(64.0)


def hand_of(position: Float[Tensor, "*B 3"], rotation: Float[Tensor, "*B 3 3"], opening: Float[Tensor, "*B"]) -> Tensor:
    """The hand as the encoder takes it `[*B 10]`: tool centre point [m], rotation, gripper joint [rad]."""
    return torch.cat([position, rotation[..., 0], rotation[..., 1], opening[..., None]], -1)


def locate(
    attention: Float[Tensor, "B C S g g"], views: Views
) -> tuple[Float[Tensor, "B K 3"], Float[Tensor, "B K"], Float[Tensor, "B K 6"]]:
    """Where the rays through the attended places meet [m], how many views see each object, and the surest ray.

    A place is the centre of attention within two cells around its peak; a view without a cell of `SEEN` has no say.
    An object that one view sees is taken to be near the table, one that none sees to be in the middle of it. A ray is
    its view's position [m] and a direction of length 1.
    """
    K, g = attention.shape[2] - 1, attention.shape[-1]
    share = attention[:, :, :K]
    score, peak = share.flatten(3).max(-1)
    steps = torch.arange(g, device=share.device)
    near_x = ((steps - (peak % g)[..., None]).abs() <= 2).to(share.dtype)
    near_y = ((steps - (peak // g)[..., None]).abs() <= 2).to(share.dtype)
    around = share.square() * near_y[..., :, None] * near_x[..., None, :]
    total = around.sum((-1, -2)).clamp(min=1e-9)
    centres = (2.0 * steps.to(share.dtype) + 1.0) / g - 1.0
    place = torch.stack([(around.sum(-2) * centres).sum(-1), (around.sum(-1) * centres).sum(-1)], -1) / total[..., None]
    sees = (score > SEEN).to(share.dtype)
    ray: Tensor = views.rays(place)
    weight = (sees * score.square())[..., None, None]
    across = (torch.eye(3, device=share.device) - ray[..., :, None] * ray[..., None, :]) * weight
    prior = torch.diag(torch.tensor([1e-6, 1e-6, REST_WEIGHT], device=share.device))
    middle = torch.tensor([0.24, 0.0, REST_HEIGHT], device=share.device)
    matrix = across.sum(1) + prior
    vector = (across @ views.position[:, :, None, :, None]).sum(1)[..., 0] + prior @ middle
    surest = score.argmax(1)[:, None, :, None].expand(-1, -1, -1, 6)
    lines = torch.cat([views.position[:, :, None].expand_as(ray), ray], -1).gather(1, surest)[:, 0]
    return torch.linalg.solve(matrix, vector), sees.sum(1), lines


def along(
    ray: Float[Tensor, "B K 6"], hand: Float[Tensor, "B 10"]
) -> list[tuple[Float[Tensor, "B K 3"], Bool[Tensor, "B K"]]]:
    """Points of rays [m] where an object may be that does not rest on the table, the hand's first; which make sense."""
    start, way, tool = ray[..., :3], ray[..., 3:], hand[:, None, :3]
    nearest = start + ((tool - start) * way).sum(-1, keepdim=True) * way
    places = [(nearest, (nearest - tool).norm(dim=-1) < GRASP)]
    down = way[..., 2:] < -0.1
    for height in HEIGHTS:
        far = (height - start[..., 2:]) / torch.where(down, way[..., 2:], -1.0)
        places.append((start + far * way, down[..., 0]))
    return places


def settled(percepts: Percepts, ray: Float[Tensor, "B K 6"], lone: Bool[Tensor, "B K"]) -> Percepts:
    """Upright objects that one view sees nearly resting on the table, moved along its ray until they do.

    A few pixels of one view say little of the distance, and a lift of a few millimetres hardly ever lasts.
    """
    way = functional.normalize(percepts.position - ray[..., :3], dim=-1)
    gap = percepts.position[..., 2] - percepts.half_extents[..., 2]
    use = lone & (gap.abs() < NEARLY) & (percepts.up[..., 2] > UPRIGHT) & (way[..., 2] < -0.1)
    far = -gap / way[..., 2].clamp(max=-0.1)
    position = torch.where(use[..., None], percepts.position + far[..., None] * way, percepts.position)
    return replace(percepts, position=position)


def chosen(condition: Bool[Tensor, "B K"], first: Percepts, second: Percepts) -> Percepts:
    """Object by object, the one or the other; without attention."""

    def choose(a: Tensor, b: Tensor) -> Tensor:
        return torch.where(condition.reshape(*condition.shape, *[1] * (a.ndim - 2)), a, b)

    names = [f.name for f in fields(Percepts) if f.name != "attention"]
    return Percepts(**{name: choose(getattr(first, name), getattr(second, name)) for name in names})


class _Attend(nn.Module):
    """Features of cells a quarter of the image's resolution apart, against queries."""

    def __init__(self, channels: tuple[int, int, int]) -> None:
        super().__init__()
        a, b, c = channels
        self.to_half = nn.Conv2d(3, a, 5, 2, 2)
        self.to_quarter = nn.Conv2d(a, b, 3, 2, 1)
        self.to_eighth = nn.Conv2d(b, c, 3, 2, 1)
        self.context = nn.Conv2d(c, c, 3, 1, 1)
        self.back = nn.Conv2d(c, b, 1)
        self.join = nn.Conv2d(b, b, 3, 1, 1)
        self.key = nn.Conv2d(b, b + 1, 1)
        self.query = nn.Sequential(nn.Linear(3, 64), nn.ReLU(), nn.Linear(64, b))
        # Nearly every cell is background: begin there.
        nn.init.constant_(self.key.bias[-1:], 4.0)  # type: ignore[index]

    def forward(self, pixels: Tensor, queries: Tensor) -> Tensor:
        B, C = pixels.shape[:2]
        x = pixels.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        quarter = functional.relu(self.to_quarter(functional.relu(self.to_half(x))))
        eighth = functional.relu(self.context(functional.relu(self.to_eighth(quarter))))
        back = functional.interpolate(self.back(eighth), scale_factor=2, mode="nearest")
        keys = self.key(functional.relu(self.join(quarter + back)))
        keys = keys.reshape(B, C, -1, *keys.shape[-2:])
        objects = torch.einsum("bkd,bcdij->bckij", self.query(2.0 * queries - 1.0), keys[:, :, :-1])
        return torch.cat([objects, keys[:, :, -1:]], 2)


class _Closer(nn.Module):
    """Reads poses from windows of every view around points."""

    def __init__(self, config: PixelModelConfig) -> None:
        super().__init__()
        a, b, c = config.crop_channels
        views = len(config.cameras)
        self.config = config
        self.first = nn.Conv2d(3, a, 3, 1, 1)
        self.second = nn.Conv2d(a, b, 3, 2, 1)
        self.third = nn.Conv2d(b, b, 3, 1, 1)
        self.fourth = nn.Conv2d(b, c, 3, 2, 1)
        self.fifth = nn.Conv2d(c, c, 3, 2, 1)
        self.condition = nn.Linear(6, b)
        self.flat = nn.Linear(c * (config.crop // 8) ** 2, 128)
        self.join = nn.Sequential(
            nn.Linear(views * (128 + 4) + 3 + 3 + HAND, config.width),
            nn.ReLU(),
            nn.Linear(config.width, config.width),
            nn.ReLU(),
            nn.Linear(config.width, 3 + 1 + 2 + 3 + 3 + 3 + 2),
        )

    def forward(self, pixels: Tensor, views: Views, point: Tensor, queries: Tensor, hand: Tensor) -> Percepts:
        B, C, K = *pixels.shape[:2], point.shape[1]
        windows, ray, depth = cut(pixels, views, point, self.config)
        colour = 2.0 * queries - 1.0
        told = torch.cat([colour[:, None].expand(-1, C, -1, -1), ray], -1).flatten(0, 2)
        bias = self.condition(told)[..., None, None]
        x = windows.flatten(0, 2).contiguous(memory_format=torch.channels_last)
        x = functional.relu(self.first(x))
        x = functional.relu(self.second(x) + bias)
        x = functional.relu(self.third(x))
        x = functional.relu(self.fifth(functional.relu(self.fourth(x))))
        seen = functional.relu(self.flat(x.flatten(1))).reshape(B, C, K, -1)
        seen = torch.cat([seen, ray, depth[..., None] - 0.7], -1).transpose(1, 2).flatten(2)
        tool = ((hand[:, None, :3] - point) / 0.03).clamp(-3.0, 3.0)
        held = hand[:, None, 3:].expand(-1, K, -1)
        where = (point - point.new_tensor([0.24, 0.0, 0.03])) / 0.1
        out = self.join(torch.cat([seen, colour, where, tool, held], -1))
        offset, spread, turn, up, half, paint, here, visible = out.split([3, 1, 2, 3, 3, 3, 1, 1], -1)
        vertical = up.new_tensor([0.0, 0.0, 1.0])
        return Percepts(
            position=point + UNIT * offset,
            quarter_turn=turn,
            up=functional.normalize(up + vertical, dim=-1),
            half_extents=REST_HEIGHT * (0.2 * half).clamp(-1.5, 1.5).exp(),
            colour=torch.sigmoid(paint),
            spread=UNIT * functional.softplus(spread[..., 0] - 1.0) + 2e-4,
            here=here[..., 0],
            visible=visible[..., 0],
        )


def cut(
    pixels: Float[Tensor, "B C 3 h w"], views: Views, point: Float[Tensor, "B K 3"], config: PixelModelConfig
) -> tuple[Float[Tensor, "B C K 3 n n"], Float[Tensor, "B C K 3"], Float[Tensor, "B C K"]]:
    """Windows of `2 reach` metres around points, the rays to the points and their depths [m]; black outside images."""
    B, C, K, n = *pixels.shape[:2], point.shape[1], config.crop
    place, depth = views.project(point)
    depth = depth.clamp(min=0.1)
    ray: Tensor = views.rays(place)
    half = config.reach / depth[..., None] / views.tangent[:, :, None]
    steps = (2.0 * torch.arange(n, device=point.device, dtype=point.dtype) + 1.0) / n - 1.0
    x = place[..., 0, None] + half[..., 0, None] * steps
    y = place[..., 1, None] + half[..., 1, None] * steps
    grid = torch.stack([x[..., None, :].expand(-1, -1, -1, n, -1), y[..., None].expand(-1, -1, -1, -1, n)], -1)
    # One row of windows per image: sampled in one call.
    sampled = functional.grid_sample(
        pixels.flatten(0, 1), grid.reshape(B * C, K * n, n, 2), mode="bilinear", align_corners=False
    )
    return sampled.reshape(B, C, 3, K, n, n).transpose(2, 3), ray, depth
