"""Fitting the planar model to Push-T trajectories, and how far its imagined futures stray."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from embodied.data.pusht import PARTS_OF_STEP, Trajectories
from envs.pusht import AGENT_RADIUS, PARTS, WALL, clearance
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

    rounds: int = 1
    hidden: int = 64
    width: int = 32
    part_steps: int = 8000
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
    model, begin = PlanarModel(BODY, PARTS_OF_STEP, config.rounds, config.width, config.hidden), time.process_time()
    parts = _Parts(data)
    model.motion.copy_(parts.motion)

    def part_loss() -> Tensor:
        states, actions = _some_mirrored(*parts.draw(config.part_batch, rng), rng)
        return rollout_loss(model.part(states[:, 0], actions[:, 0]), states[:, 1], PART_UNIT)

    _descend(model, config.part_steps, config.rate, part_loss, lambda text: report(f"parts of a step, {text}"))
    for index, horizon in enumerate(config.horizons):
        windows = _Windows(data, horizon, config.moving)

        def window_loss(windows: _Windows = windows) -> Tensor:
            states, actions = _some_mirrored(*windows.draw(config.rollout_batch, rng), rng)
            return rollout_loss(model.rollout(states[:, 0], actions)[:, 1:], states[:, 1:], STEP_UNIT)

        report(f"imagining {horizon} steps")
        _descend(model, config.rollout_steps, config.rollout_rate / (1 + index), window_loss, report)
    report(f"trained in {time.process_time() - begin:.0f} s of processor time")
    return model.eval().requires_grad_(False)


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
    """The block's error after `horizon` steps open loop from random instants after which it moves [px, deg].

    Mean, median and 90th percentile of position and angle, and of how far the block really `moved`.
    """
    truth, actions = _Windows(data, horizon, 1.0).draw(count, np.random.default_rng(0))
    end, start, real = model.rollout(truth[:, 0], actions)[:, -1], truth[:, 0], truth[:, -1]
    named = {
        "position": (end[:, 2:4] - real[:, 2:4]).norm(dim=-1),
        "angle": (end[:, 4] - real[:, 4]).abs() * (180.0 / math.pi),
        "moved": (start[:, 2:4] - real[:, 2:4]).norm(dim=-1),
    }
    found = {f"{name}_mean": float(each.mean()) for name, each in named.items()}
    for share, label in ((0.5, "median"), (0.9, "p90")):
        found |= {f"{name}_{label}": float(each.quantile(share)) for name, each in named.items()}
    return found


class _Parts:
    """Single parts of a step in which the block moves or the agent is near it."""

    def __init__(self, data: Trajectories) -> None:
        before = np.concatenate([data.states[:, :-1, None], data.parts[:, :, :-1]], axis=2).reshape(-1, 10)
        after = data.parts.reshape(-1, 10)
        target = np.repeat(data.actions.reshape(-1, 2), data.parts.shape[2], axis=0)
        agent = [torch.as_tensor(each) for each in (before[:, :2], before[:, 5:7], target, after[:, :2], after[:, 5:7])]
        self.motion = fit_motion(*agent)
        near = clearance(before[:, :2], before[:, 2:4], before[:, 4]) < 12.0
        rows = np.flatnonzero(near | (before[:, 2:5] != after[:, 2:5]).any(-1))
        self._states = torch.as_tensor(np.stack([before[rows], after[rows]], axis=1), dtype=torch.float32)
        self._actions = torch.as_tensor(target[rows, None], dtype=torch.float32)

    def draw(self, count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """States before and after `[N 2 10]` and the targets `[N 1 2]`."""
        rows = torch.as_tensor(rng.integers(len(self._states), size=count))
        return self._states[rows], self._actions[rows]


class _Windows:
    """Stretches of `horizon` env steps, most of them such that the block moves within."""

    def __init__(self, data: Trajectories, horizon: int, moving: float) -> None:
        self._states, self._actions = (
            torch.as_tensor(each, dtype=torch.float32) for each in (data.states, data.actions)
        )
        moves = np.abs(np.diff(data.states[:, :, 2:5], axis=1) * (1.0, 1.0, ARM)).max(-1) > 0.1
        total = np.cumsum(np.pad(moves, ((0, 0), (1, 0))), axis=1)
        any_move = total[:, horizon:] > total[:, : total.shape[1] - horizon]
        self._moving, self._all = np.argwhere(any_move), np.argwhere(np.ones_like(any_move))
        self._share, self._horizon = moving, horizon

    def draw(self, count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """States `[N H+1 10]` and targets `[N H 2]`."""
        chosen = round(self._share * count)
        rows = np.concatenate(
            [
                self._moving[rng.integers(len(self._moving), size=chosen)],
                self._all[rng.integers(len(self._all), size=count - chosen)],
            ]
        )
        index = rows[:, 1:] + np.arange(self._horizon + 1)
        return self._states[rows[:, :1], index], self._actions[rows[:, :1], index[:, :-1]]


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
