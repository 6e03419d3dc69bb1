"""Fitting the planar model to Push-T trajectories, and how far its imagined futures stray."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from embodied.data.pusht import Trajectories
from envs.pusht import AGENT_RADIUS, PARTS, WALL
from envs.types import Array
from world_models.planar.agent import fit_motion
from world_models.planar.geometry import Body
from world_models.planar.model import PlanarModel

BODY = Body(PARTS, AGENT_RADIUS, WALL)
ARM = 60.0
"""[px] an error of one radian weighs as much as this far."""
UNIT = 4.0
"""[px] where the loss turns from squared to linear."""


@dataclass(frozen=True)
class FitConfig:
    """How the model is trained."""

    steps: int = 4000
    batch: int = 128
    rate: float = 2e-3
    horizon: int = 3
    """Env steps imagined per window at first; `longer` from half-time."""
    longer: int = 6
    moving: float = 0.75
    """Share of windows in which the block moves."""
    parts: int = 5
    rounds: int = 2
    hidden: int = 64
    width: int = 32


def fit(data: Trajectories, config: FitConfig, seed: int, report: Callable[[str], None]) -> PlanarModel:
    """A model trained by rollout loss; the agent's own motion is found by least squares first."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    states, actions = (torch.as_tensor(array, dtype=torch.float32) for array in (data.states, data.actions))
    model = PlanarModel(BODY, config.parts, config.rounds, config.width, config.hidden)
    exact = torch.as_tensor(data.states)
    now, after, target = exact[:, :-1].flatten(0, 1), exact[:, 1:].flatten(0, 1), torch.as_tensor(data.actions)
    model.set_motion(fit_motion(now[:, :2], now[:, 5:7], target.flatten(0, 1), after[:, :2], after[:, 5:7]))
    optimiser = torch.optim.AdamW(model.parameters(), lr=config.rate, weight_decay=1e-4, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _schedule(step, config.steps))
    windows = {horizon: _Windows(data.states, horizon, config.moving) for horizon in {config.horizon, config.longer}}
    begin, smooth = time.process_time(), math.nan
    for step in range(config.steps):
        horizon = config.longer if step >= config.steps // 2 else config.horizon
        episode, start = windows[horizon].draw(config.batch, rng)
        index = start[:, None] + np.arange(horizon + 1)
        truth, command = states[episode[:, None], index], actions[episode[:, None], index[:, :-1]]
        truth, command = _mirror(truth, command, torch.as_tensor(rng.random(config.batch) < 0.5))
        loss = rollout_loss(model.rollout(truth[:, 0], command)[:, 1:], truth[:, 1:])
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        smooth = float(loss) if math.isnan(smooth) else 0.99 * smooth + 0.01 * float(loss)
        if (step + 1) % 500 == 0:
            report(f"step {step + 1}: loss {smooth:.4f}, {time.process_time() - begin:.0f} s of processor time")
    return model.eval().requires_grad_(False)


def rollout_loss(imagined: Tensor, truth: Tensor) -> Tensor:
    """Huber loss of the block's pose, and a little of its velocity."""
    apart = (imagined[..., 2:4] - truth[..., 2:4]) / UNIT
    turned = (imagined[..., 4:5] - truth[..., 4:5]) * (ARM / UNIT)
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
    names = ("position_mean", "position_median", "position_p90", "angle_mean", "angle_median", "angle_p90", "moved_mean")
    values = (apart.mean(), *np.percentile(apart, [50, 90]), turned.mean(), *np.percentile(turned, [50, 90]), moved.mean())
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


def _mirror(states: Tensor, actions: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """The table mirrored left to right for the chosen rows: the T is its own mirror image along its stem."""
    size = sum(WALL)
    # The block's x axis turns over with the table's, so that the stem keeps its side.
    flip = states.new_tensor([-1, 1, -1, 1, -1, -1, 1, -1, 1, -1])
    shift = states.new_tensor([size, 0, size, 0, 0, 0, 0, 0, 0, 0])
    mirrored = states * flip + shift
    mirrored_actions = actions * flip[:2] + shift[:2]
    mask = chosen[:, None, None]
    return torch.where(mask, mirrored, states), torch.where(mask, mirrored_actions, actions)


def _schedule(step: int, steps: int) -> float:
    warm = min(1.0, (step + 1) / 100)
    return warm * (0.005 + 0.995 * 0.5 * (1.0 + math.cos(math.pi * step / steps)))
