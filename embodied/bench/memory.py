"""What a few earlier frames and actions are worth where sensors are late: `reach`, learned without demonstrations.

Joints arrive 0.1 s late and objects, the hand among them, 0.2 s. Both learners take as many steps and updates; success
is at the end of unseen episodes, under the same sensors. With `exact`, what history costs where nothing is hidden.
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from embodied.bench.harness import Figure, over_seeds
from embodied.cli import compose
from embodied.console import Console
from embodied.run import Run
from embodied.schema import to_dict

WORDS = ("env=reach", "trainer.demonstrations=0", "env.worlds=16", "env.threads=1", "device=cpu", "agent.width=64")
CASES = {
    "late_frame": ("env.sensors=late", "agent.history=1"),
    "late_history": ("env.sensors=late", "agent.history=4"),
    "exact_frame": ("agent.history=1",),
    "exact_history": ("agent.history=4",),
}
MARKS = (6_000, 12_000)
"""Environment steps at which success is measured."""
PARTS = tuple(CASES)
SEEDS = 5


def measure(part: str, seed: int, quick: bool, console: Console) -> Mapping[str, Any]:
    """Success at each mark."""
    import torch

    from embodied.evaluation.success import held_out_seeds, success
    from embodied.training.collect import chosen_control, chosen_task
    from embodied.training.train import policy_trainer
    from envs.sensing import sensors

    torch.set_num_threads(1)
    (config,) = compose("train", [*WORDS, *CASES[part], f"seed={seed}"])
    with tempfile.TemporaryDirectory() as folder, Run.open(Path(folder) / "run", to_dict(config)) as run:
        trainer = policy_trainer(config, run)
    seeds, found = held_out_seeds(seed, 8 if quick else 200), []
    for mark in (64,) if quick else MARKS:
        trainer.advance((mark - trainer.env_steps) // config.env.worlds)
        fared = success(trainer.policy, chosen_task(config), seeds, chosen_control(config), config.env.threads,
                        sensors=sensors(config.env.sensors))  # fmt: skip
        found.append({"steps": mark, "success": fared.at_end.value})
    return {"curve": found}


def summarise(samples: Mapping[str, Sequence[Mapping[str, Any]]]) -> Mapping[str, Figure]:
    """Success by part and mark."""
    return {
        f"{part}_success_{rows[0]['curve'][at]['steps'] // 1000}k": over_seeds(
            [100.0 * row["curve"][at]["success"] for row in rows], "%"
        )
        for part, rows in samples.items()
        for at in range(len(rows[0]["curve"]))
    }
