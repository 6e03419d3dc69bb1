"""What an actor of chunks returns when what it learns from was collected by an older one, under each correction.

`reach` from a policy that was cloned from a few demonstrations, fine-tuned for a fixed number of episodes; the
collector is 0, 4, 16 or 64 updates old. Return is the share of an episode's steps in which the goal holds, of the mean
policy on unseen beginnings; the weights' effective share is of the last update.
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

WORDS = (
    "env=reach", "agent=chunks", "trainer.demonstrations=8", "env.worlds=32", "env.threads=1", "device=cpu",
    "agent.learning_rate=1e-3", "agent.updates_per_episode=16", "agent.width=64",
)  # fmt: skip
CORRECTIONS: Mapping[str, tuple[str, ...]] = {
    "none": ("agent.correction=none",),
    "clip": ("agent.correction=clip",),
    "gipo": ("agent.correction=gipo",),
    "vespo": ("agent.correction=vespo", "agent.length_exponent=1"),
    "vespo_whole": ("agent.correction=vespo", "agent.length_exponent=0"),
}
LAGS = (0, 4, 16, 64)
"""Updates."""
EPISODES = 24
"""Of all worlds; 16 updates follow each."""
CLONING = 90
PARTS = tuple(CORRECTIONS)
SEEDS = 5


def measure(part: str, seed: int, quick: bool, console: Console) -> Mapping[str, Any]:
    """Return and effective share by lag, and what cloning alone returned."""
    import torch

    from embodied.training.collect import collect_demonstrations
    from embodied.training.train import chunk_trainer

    torch.set_num_threads(1)
    measured: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for lag in LAGS:
            words = (*WORDS, *CORRECTIONS[part], f"agent.lag={lag}", f"seed={seed}", f"run={folder}/run")
            (config,) = compose("train", words)
            with Run.open(Path(folder) / f"{lag}", to_dict(config)) as run:
                collect_demonstrations(config, run.folder, lambda done, of: None)
                trainer = chunk_trainer(config, run)
            trainer.clone(20 if quick else CLONING)
            if lag == LAGS[0]:
                measured["cloned"] = _returned(trainer.policy, config, seed, quick)
            trainer.advance((1 if quick else EPISODES) * trainer.worlds.task.horizon)
            measured[str(lag)] = {
                "return": _returned(trainer.policy, config, seed, quick),
                "effective_share": trainer.metrics()["effective_share"],
            }
    return measured


def summarise(samples: Mapping[str, Sequence[Mapping[str, Any]]]) -> Mapping[str, Figure]:
    """Return and effective share by correction and lag, and the cloned policy's return."""
    figures: dict[str, Figure] = {}
    for part, rows in samples.items():
        figures["cloned_return"] = over_seeds([row["cloned"] for row in rows], "1")
        for lag in LAGS:
            at = [row[str(lag)] for row in rows]
            figures[f"{part}_return_lag{lag}"] = over_seeds([each["return"] for each in at], "1")
            figures[f"{part}_share_lag{lag}"] = over_seeds([each["effective_share"] for each in at], "1")
    return figures


def _returned(policy: Any, config: Any, seed: int, quick: bool) -> float:
    from embodied.evaluation.success import held_out_seeds
    from embodied.training.collect import chosen_control, chosen_task
    from envs.worlds import TaskWorlds

    seeds = held_out_seeds(seed, 8 if quick else 100)
    worlds = TaskWorlds(chosen_task(config), len(seeds), 0, chosen_control(config), config.env.threads)
    observation, total = worlds.reset(seeds=seeds), 0.0
    policy.reset()
    for _ in range(worlds.task.horizon):
        transition = worlds.step(policy.act(observation, worlds.task.goal))
        observation, total = transition.next_observation, total + float(transition.success.mean())
    return total / worlds.task.horizon
