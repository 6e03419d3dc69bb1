"""What `test_scale` does in processes of its own.

With a folder, train a member, resumed half way, as each process of `torchrun` does. Without, compile a step: traced as
for a GPU, without the minutes that generating code takes, and without shape checks, which cannot be traced.
"""

import functools
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from slot_scenes import observations

from embodied import checkpoint
from embodied.data.windows import Windows
from embodied.training import ranks
from embodied.training.world_model import MemberTrainer, TrainConfig
from envs.episode import Episode
from envs.goals import Goal
from world_models.cjepa.model import ModelConfig

MODEL = ModelConfig(width=8, heads=2, embedding=8, hidden=8, parts=1, future=2, rounds=1)
TRAINING = TrainConfig(steps=6, batch=7, warmup=2, horizon=(1, 2), robot_batch=9)


def episodes(count: int = 6, steps: int = 9) -> list[Episode]:
    """Cubes that slide evenly under a resting hand; in half of them, one is not there."""
    goal, action = Goal.parse("on(red_cube, table)"), np.zeros((count, steps, 5))
    whole, lacking = (observations(3, count, frames=steps + 1, absent=absent) for absent in ((), (1,)))
    return [
        Episode((whole, lacking)[n % 2][n], action[n], np.zeros(steps + 1, bool), goal, seed=n, task="t", robot="sim")
        for n in range(count)
    ]


def trainer(seed: int = 0, model: ModelConfig = MODEL, **changes: object) -> MemberTrainer:
    return MemberTrainer(model, replace(TRAINING, **changes), Windows(episodes(), model.history), seed)


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    with ranks.joined():
        first = trainer(accumulate=2)
        losses = [first.train_step() for _ in range(3)]
        second = trainer(seed=4, accumulate=2)
        second.load_state_dict(first.state_dict())
        losses += [second.train_step() for _ in range(3)]
        state = {**second.state_dict(), "losses": torch.stack(losses)}
        checkpoint.save(folder / f"rank{ranks.rank()}.safetensors", state)


def compiled() -> None:
    torch.compile = functools.partial(torch.compile, backend="eager")
    small = replace(MODEL, layers=0)
    one, other = trainer(model=small), trainer(model=small, compile=True)
    torch.testing.assert_close(other.train_step(), one.train_step(), rtol=1e-4, atol=1e-6)
    for (name, expected), found in zip(one.model.named_parameters(), other.model.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6, msg=name)


if __name__ == "__main__":
    main(Path(sys.argv[1])) if sys.argv[1:] else compiled()
