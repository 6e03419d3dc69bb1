"""Fitting the planar model to Push-T trajectories, and how far its imagined futures stray."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from embodied.data.pusht import PARTS_OF_STEP, Trajectories
from envs.pusht import AGENT_RADIUS, PARTS, WALL, clearance
from envs.types import Array
from world_models.planar.agent import fit_motion
from world_models.planar.geometry import Body
from world_models.planar.model import PlanarModel

BODY = Body(PARTS, AGENT_RADIUS, WALL)
ARM = 60.0
"""[px] an error of one radian weighs as much as this far."""
PART_UNIT, STEP_UNIT = 0.5, 4.0
"""[px] where the loss turns from squared to linear, for a part of a step and for whole steps."""


@dataclass(frozen=True)
class FitConfig:
    """How the model is trained: on single parts of a step first, then on imagined futures of growing length."""

    rounds: int = 2
    hidden: int = 64
    width: int = 32
    part_steps: int = 3000
    part_batch: int = 512
    rollout_steps: int = 300
    rollout_batch: int = 128
    horizons: tuple[int, ...] = (1, 2, 4)
    """Env steps imagined, for an equal number of optimiser steps each."""
    rate: float = 2e-3
    rollout_rate: float = 5e-4
    moving: float = 0.9
    """Share of imagined windows in which the block moves."""


def fit(data: Trajectories, config: FitConfig, seed: int, report: Callable[[str], None]) -> PlanarModel:
    """A trained model; the agent's own motion is found by least squares first."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = PlanarModel(BODY, PARTS_OF_STEP, config.rounds, config.width, config.hidden)
    before, after, target = _parts(data)
    model.motion.copy_(fit_motion(before[:, :2], before[:, 5:7], target, after[:, :2], after[:, 5:7]))
    before, after, target = (array.float() for array in (before, after, target))
    moved = (before[:, 2:5] != after[:, 2:5]).any(-1)
    rows_of = before.numpy()
    near = moved | torch.as_tensor(clearance(rows_of[:, :2], rows_of[:, 2:4], rows_of[:, 4]) < 12.0)
    rows = near.nonzero()[:, 0]
    begin = time.process_time()

    def part_loss() -> Tensor:
        chosen = rows[torch.as_tensor(rng.integers(len(rows), size=config.part_batch))]
        states, command = torch.stack([before[chosen], after[chosen]], 1), target[chosen][:, None]
        states, command = _some_mirrored(states, command, rng)
        return rollout_loss(model.part(states[:, 0], command[:, 0]), states[:, 1], PART_UNIT)

    _descend(model, config.part_steps, config.rate, part_loss, partial(_say, report, "parts, "))
    states, actions = (torch.as_tensor(array, dtype=torch.float32) for array in (data.states, data.actions))
    for index, horizon in enumerate(config.horizons):
        windows = _Windows(data.states, horizon, config.moving)

        def window_loss(horizon: int = horizon, windows: _Windows = windows) -> Tensor:
            episode, start = windows.draw(config.rollout_batch, rng)
            index = start[:, None] + np.arange(horizon + 1)
            truth, command = states[episode[:, None], index], actions[episode[:, None], index[:, :-1]]
            truth, command = _some_mirrored(truth, command, rng)
            return rollout_loss(model.rollout(truth[:, 0], command)[:, 1:], truth[:, 1:], STEP_UNIT)

        name = f"{horizon} steps imagined, "
        rate = config.rollout_rate / (1 + index)
        _descend(model, config.rollout_steps, rate, window_loss, partial(_say, report, name))
    report(f"trained in {time.process_time() - begin:.0f} s of processor time")
    return model.eval().requires_grad_(False)


def _say(report: Callable[[str], None], name: str, text: str) -> None:
    report(name + text)


def _descend(
    model: PlanarModel, steps: int, rate: float, loss_of: Callable[[], Tensor], report: Callable[[str], None]
) -> None:
    """Minimise with AdamW, warm-up and cosine."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=1e-4, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _schedule(step, steps))
    smooth, begin = math.nan, time.process_time()
    for step in range(steps):
        loss = loss_of()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        smooth = loss.item() if math.isnan(smooth) else 0.99 * smooth + 0.01 * loss.item()
        if (step + 1) % max(steps // 3, 1) == 0:
            report(f"step {step + 1}: loss {smooth:.4f}, {time.process_time() - begin:.0f} s")


def _parts(data: Trajectories) -> tuple[Tensor, Tensor, Tensor]:
    """States before and after every part of every step `[M 10]`, and the targets `[M 2]`."""
    before = np.concatenate([data.states[:, :-1, None], data.parts[:, :, :-1]], axis=2)
    target = np.broadcast_to(data.actions[:, :, None], (*data.parts.shape[:3], 2))
    return tuple(torch.as_tensor(array.reshape(-1, array.shape[-1])) for array in (before, data.parts, target))  # type: ignore[return-value]


def rollout_loss(imagined: Tensor, truth: Tensor, unit: float) -> Tensor:
    """Huber loss of the block's pose, linear beyond `unit` pixels, and a little of its velocity."""
    apart = (imagined[..., 2:4] - truth[..., 2:4]) / unit
    turned = (imagined[..., 4:5] - truth[..., 4:5]) * (ARM / unit)
    faster = (imagined[..., 7:10] - truth[..., 7:10]) / imagined.new_tensor([100.0, 100.0, 2.0])
    pose = torch.cat([apart, turned], -1)
    return functional.smooth_l1_loss(pose, torch.zeros_like(pose)) + 0.05 * functional.smooth_l1_loss(
        faster, torch.zeros_like(faster)
    )


@torch.no_grad()
def errors(model: PlanarModel, data: Trajectories, horizon: int, count: int = 1000) -> dict[str, float]:
    """Mean and 90th percentile of the block's error after `horizon` steps open loop, where it really moved > 1 px."""
    moving = _Windows(data.states, horizon, 1.0)
    episode, start = moving.draw(count, np.random.default_rng(0))
    index = start[:, None] + np.arange(horizon + 1)
    truth = torch.as_tensor(data.states[episode[:, None], index], dtype=torch.float32)
    command = torch.as_tensor(data.actions[episode[:, None], index[:, :-1]], dtype=torch.float32)
    end, real = model.rollout(truth[:, 0], command)[:, -1], truth[:, -1]
    apart = (end[:, 2:4] - real[:, 2:4]).norm(dim=-1).double().numpy()
    turned = np.degrees((end[:, 4] - real[:, 4]).abs().double().numpy())
    moved = (truth[:, 0, 2:4] - real[:, 2:4]).norm(dim=-1).double().numpy()
    names = (
        "position_mean",
        "position_median",
        "position_p90",
        "angle_mean",
        "angle_median",
        "angle_p90",
        "moved_mean",
    )
    values = (
        apart.mean(),
        *np.percentile(apart, [50, 90]),
        turned.mean(),
        *np.percentile(turned, [50, 90]),
        moved.mean(),
    )
    return dict(zip(names, map(float, values), strict=True))


class _Windows:
    """Starts of windows, most of them such that the block moves within."""

    def __init__(self, states: Array, horizon: int, moving: float) -> None:
        moves = np.abs(np.diff(states[:, :, 2:5], axis=1) * (1.0, 1.0, ARM)).max(-1) > 0.1
        total = np.cumsum(np.pad(moves, ((0, 0), (1, 0))), axis=1)
        any_move = total[:, horizon:] > total[:, : total.shape[1] - horizon]
        self._moving, self._all = np.argwhere(any_move), np.argwhere(np.ones_like(any_move))
        self._share = moving

    def draw(self, count: int, rng: np.random.Generator) -> tuple[Array, Array]:
        """Episodes and first steps of `count` windows."""
        chosen = round(self._share * count)
        rows = np.concatenate(
            [self._moving[rng.integers(len(self._moving), size=chosen)],
             self._all[rng.integers(len(self._all), size=count - chosen)]]
        )  # fmt: skip
        return rows[:, 0], rows[:, 1]


def mirrored(states: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
    """States `[... 10]` and targets `[... 2]` of the table mirrored left to right.

    The T is its own mirror image along its stem: the block's x axis turns over with the table's.
    """
    size = sum(WALL)
    flip = states.new_tensor([-1, 1, -1, 1, -1, -1, 1, -1, 1, -1])
    shift = states.new_tensor([size, 0, size, 0, 0, 0, 0, 0, 0, 0])
    return states * flip + shift, actions * flip[:2] + shift[:2]


def _some_mirrored(states: Tensor, actions: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Half of the rows mirrored."""
    chosen = torch.as_tensor(rng.random(len(states)) < 0.5)[:, None, None]
    other, command = mirrored(states, actions)
    return torch.where(chosen, other, states), torch.where(chosen, command, actions)


def _schedule(step: int, steps: int) -> float:
    warm = min(1.0, (step + 1) / 100)
    return warm * (0.005 + 0.995 * 0.5 * (1.0 + math.cos(math.pi * step / steps)))
