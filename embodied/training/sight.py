"""Teaching the planar world's eye: pictures of Push-T states, with the simulator's poses as labels."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from embodied.data.pusht import Trajectories
from envs.pusht import SIDE, PushT, wrap
from envs.types import Array
from world_models.planar.sight import PoseNet

ARM = 120.0
"""[px] the second point on the block is the end of its stem."""
UNIT = 4.0
"""[px] where the loss of a point turns from squared to linear."""


@dataclass(frozen=True)
class SightConfig:
    """How the eye is trained."""

    pictures: int = 6000
    size: int = 96
    """Pixels along an edge."""
    steps: int = 900
    batch: int = 48
    rate: float = 8e-3


def pictures_of(data: Trajectories, count: int, size: int, seed: int) -> tuple[Array, Array]:
    """Pictures `[N S S 3]` uint8 of random states of trajectories, and the states `[N 10]`."""
    rng, world = np.random.default_rng(seed), PushT()
    states = data.states.reshape(-1, data.states.shape[-1])
    chosen = states[rng.choice(len(states), count, replace=False)]
    pictures = np.zeros((count, size, size, 3), np.uint8)
    for index, state in enumerate(chosen):
        world.restore(state)
        pictures[index] = world.image(size)
    return pictures, chosen


def fit_sight(data: Trajectories, config: SightConfig, seed: int, report: Callable[[str], None]) -> PoseNet:
    """A trained eye."""
    torch.manual_seed(seed)
    rng, begin = np.random.default_rng(seed), time.process_time()
    pictures, states = (torch.as_tensor(each) for each in pictures_of(data, config.pictures, config.size, seed))
    report(f"{config.pictures} pictures drawn in {time.process_time() - begin:.0f} s of processor time")
    model = PoseNet(SIDE, ARM)
    goals = model.targets(states[:, :5].float())
    optimiser = torch.optim.AdamW(model.parameters(), lr=config.rate, weight_decay=1e-4, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, config.rate, config.steps, pct_start=0.1)
    smooth = math.nan
    for step in range(config.steps):
        rows = torch.as_tensor(rng.integers(len(pictures), size=config.batch))
        looked = model.look(pictures[rows])
        near = functional.smooth_l1_loss(model.points(looked) / UNIT, goals[rows] / UNIT)
        # Which cell: a strong teacher at first, which would keep points in the middles of cells at last.
        loss = 0.25 * near + (1.0 - step / config.steps) * functional.nll_loss(
            looked.flatten(2).flatten(0, 1), _cells(goals[rows], looked.shape[-1]).flatten()
        )
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        smooth = near.item() if math.isnan(smooth) else 0.98 * smooth + 0.02 * near.item()
        if (step + 1) % max(config.steps // 5, 1) == 0:
            report(f"sight, step {step + 1}: loss {smooth:.4f}, {time.process_time() - begin:.0f} s")
    return model.eval().requires_grad_(False)


def _cells(points: Tensor, cells: int) -> Tensor:
    """Numbers of the cells `[N K]` that hold points `[N K 2]`."""
    column, row = (points / (SIDE / cells)).long().clamp(0, cells - 1).unbind(-1)
    return row * cells + column


def sight_errors(model: PoseNet, data: Trajectories, count: int, size: int) -> dict[str, float]:
    """Median and 90th percentile of the eye's errors on other trajectories."""
    pictures, states = pictures_of(data, count, size, seed=0)
    seen = np.concatenate([model(torch.as_tensor(part)).numpy() for part in np.array_split(pictures, 8)])
    errors = {
        "agent": np.linalg.norm(seen[:, :2] - states[:, :2], axis=-1),
        "block": np.linalg.norm(seen[:, 2:4] - states[:, 2:4], axis=-1),
        "angle": np.degrees(np.abs(wrap(seen[:, 4] - states[:, 4]))),
    }
    shares = {"median": 50, "p90": 90, "p99": 99}
    return {
        f"{name}_{label}": float(np.percentile(each, share))
        for name, each in errors.items()
        for label, share in shares.items()
    }
