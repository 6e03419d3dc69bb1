"""The baseline without objects: one network over everything laid end to end, trained on the same episodes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from embodied.evaluation.contexts import movable
from embodied.evaluation.strata import TOOLS
from envs.episode import Episode, Rollout
from envs.errors import EmbodiedError
from envs.geometry import matrix_to_quat, quat_to_matrix
from envs.types import Array, ObjectState, Observation

WIDTH = 192
"""Units of its three hidden layers: 190,000 parameters with three objects, no fewer than what it is compared with."""
MOVING, FIXED = 15, 6
"""Numbers of an object that change (position, two axes, velocities) and that do not (sizes, mass, friction, there)."""
_SCALE = (0.01,) * 3 + (0.1,) * 6 + (0.1,) * 3 + (1.0,) * 3
"""What a change of each moving number is measured in: [m], 1, [m/s], [rad/s]."""
_ARM = 0.1
"""The same for proprioception [rad] or [m]."""


@dataclass(frozen=True)
class Recipe:
    """How it is trained."""

    steps: int = 1600
    """Gradient steps; as many as the model it is compared with."""
    batch: int = 128
    history: int = 3
    """Frames seen."""
    horizon: int = 3
    """Steps of the open-loop rollout in the loss."""
    learning_rate: float = 2e-3
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        if min(self.steps, self.batch, self.history, self.horizon) < 1:
            raise EmbodiedError(f"A monolithic model needs positive numbers, got {self}.")


class Monolithic(nn.Module):
    """A perceptron from `history` flat frames and an action to the change of the flat state.

    A flat frame is the moving numbers of all N `entities`, then proprioception, then the fixed numbers. Its `imagine`
    is a `branches.Imagine`.
    """

    def __init__(self, objects: int, proprioception: int, action: int, history: int, width: int = WIDTH) -> None:
        super().__init__()
        self.objects, self.history = objects, history
        self.moving = objects * MOVING + proprioception
        size = self.moving + objects * FIXED
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("deviation", torch.ones(size))
        scale = torch.tensor([*(_SCALE * objects), *(_ARM,) * proprioception])
        self.register_buffer("scale", scale)
        self.mean: Tensor
        self.deviation: Tensor
        self.scale: Tensor
        layers: list[nn.Module] = []
        inputs = history * size + action
        for _ in range(3):
            layers += [nn.Linear(inputs, width), nn.LayerNorm(width), nn.SiLU()]
            inputs = width
        last = nn.Linear(width, self.moving)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.net = nn.Sequential(*layers, last)

    def forward(self, frames: Tensor, action: Tensor) -> Tensor:
        """The next frame `[B S]` after frames `[B W S]` under an action `[B A]`; what is absent stays as it is."""
        seen = ((frames - self.mean) / self.deviation).flatten(1)
        change = self.net(torch.cat([seen, action], -1)) * self.scale
        now = frames[:, -1]
        there = now[:, self.moving :].reshape(len(now), self.objects, FIXED)[..., -1:].expand(-1, -1, MOVING)
        arm = torch.ones_like(change[:, self.objects * MOVING :])
        change = change * torch.cat([there.flatten(1), arm], -1)
        return torch.cat([now[:, : self.moving] + change, now[:, self.moving :]], -1)

    def roll(self, frames: Tensor, actions: Tensor) -> Tensor:
        """`[B H S]` open loop under actions `[B H A]`."""
        found = []
        for step in range(actions.shape[1]):
            following = self(frames, actions[:, step])
            frames = torch.cat([frames[:, 1:], following[:, None]], 1)
            found.append(following)
        return torch.stack(found, 1)

    @torch.no_grad()
    def imagine(self, history: Observation, actions: Array) -> Rollout:
        """See `branches.Imagine`."""
        frames = flat(history.objects, history.proprioception)[:, -self.history :]
        following = self.roll(frames, torch.as_tensor(actions, dtype=torch.float32)).double()
        batch, horizon = following.shape[:2]
        chosen = entities(history.objects.kind)
        parts = following[..., : self.objects * MOVING].reshape(batch, horizon, self.objects, MOVING)
        now = history[:, -1].map(lambda array: np.repeat(np.asarray(array)[:, None], horizon + 1, axis=1))
        position, quaternion = (np.array(getattr(now.objects, name)) for name in _POSE)
        position[:, 1:, chosen] = parts[..., :3].numpy()
        quaternion[:, 1:, chosen] = matrix_to_quat(_orthonormal(parts[..., 3:9])).numpy()
        arm = np.array(now.proprioception)
        arm[:, 1:] = following[..., self.objects * MOVING : self.moving].numpy()
        objects = replace(now.objects, position_in_world=position, quaternion_in_world=quaternion)
        return Rollout("model", replace(now, objects=objects, proprioception=arm), actions)


def entities(kinds: Array) -> list[int]:
    """Indices of what moves: objects and the parts of the robot that touch them."""
    return sorted([*movable(kinds), *(k for k, kind in enumerate(kinds) if int(kind) in TOOLS)])


_POSE = ("position_in_world", "quaternion_in_world")


def flat(objects: ObjectState, proprioception: Array) -> Tensor:
    """`[*B S]` float32: everything end to end."""
    chosen = entities(objects.kind)

    def take(name: str) -> Tensor:
        return torch.as_tensor(np.asarray(getattr(objects, name)), dtype=torch.float32)[..., chosen, :]

    def one(name: str) -> Tensor:
        return torch.as_tensor(np.asarray(getattr(objects, name)), dtype=torch.float32)[..., chosen, None]

    axes = quat_to_matrix(take("quaternion_in_world"))[..., :2].mT.flatten(-2)
    velocities = [take("linear_velocity_in_world"), take("angular_velocity_in_world")]
    moving = torch.cat([take("position_in_world"), axes, *velocities], -1).flatten(-2)
    fixed = torch.cat([take("half_extents"), one("mass"), one("friction"), one("present")], -1).flatten(-2)
    return torch.cat([moving, torch.as_tensor(np.asarray(proprioception), dtype=torch.float32), fixed], -1)


def _orthonormal(axes: Tensor) -> Tensor:
    """Rotation matrices `[*B 3 3]` from two axes that are nearly so `[*B 6]`, by Gram and Schmidt."""
    first = nn.functional.normalize(axes[..., :3], dim=-1)
    second = axes[..., 3:] - (first * axes[..., 3:]).sum(-1, keepdim=True) * first
    second = nn.functional.normalize(second, dim=-1)
    return torch.stack([first, second, torch.linalg.cross(first, second)], -1)


def train(episodes: Sequence[Episode], recipe: Recipe = Recipe()) -> Monolithic:
    """Learn from episodes of one scene. Raises `EmbodiedError` where none is long enough or they differ in scene."""
    kept = [episode for episode in episodes if episode.length >= recipe.history - 1 + recipe.horizon]
    if not kept:
        raise EmbodiedError(f"No episode has {recipe.history - 1 + recipe.horizon} steps to learn from.")
    if len({episode.observation.objects.names for episode in kept}) > 1:
        raise EmbodiedError("A monolithic model needs episodes of one scene: its input is laid out for it.")
    frames = [flat(episode.observation.objects, episode.observation.proprioception) for episode in kept]
    actions = [torch.as_tensor(np.asarray(episode.action), dtype=torch.float32) for episode in kept]
    every = torch.cat(frames)
    plan = torch.cat([torch.cat([action, torch.zeros_like(action[:1])]) for action in actions])
    first = np.concatenate([[0], np.cumsum([len(part) for part in frames])[:-1]])
    starts = torch.as_tensor(
        np.concatenate(
            [
                start + np.arange(recipe.history - 1, episode.length + 1 - recipe.horizon)
                for start, episode in zip(first, kept, strict=True)
            ]
        )
    )
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        objects = len(entities(kept[0].observation.objects.kind))
        arm = int(np.asarray(kept[0].observation.proprioception).shape[-1])
        model = Monolithic(objects, arm, plan.shape[-1], recipe.history)
    model.mean.copy_(every.mean(0))
    model.deviation.copy_(every.std(0).clamp_min(1e-3))
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, total_steps=recipe.steps + 1)
    generator = torch.Generator().manual_seed(recipe.seed)
    back, ahead = torch.arange(1 - recipe.history, 1), torch.arange(1, recipe.horizon + 1)
    for _ in range(recipe.steps):
        now = starts[torch.randint(len(starts), (recipe.batch,), generator=generator)]
        said = model.roll(every[now[:, None] + back], plan[now[:, None] + ahead - 1])
        truth = every[now[:, None] + ahead]
        loss = nn.functional.smooth_l1_loss(
            said[..., : model.moving] / model.scale, truth[..., : model.moving] / model.scale
        )
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return model.eval()
