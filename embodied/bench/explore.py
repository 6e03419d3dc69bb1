"""Exploration, each kind beside its plain baseline.

`uniform` and `frontier` learn `place_air` without demonstrations, by the clock of `embodied bench rl`, with the same
eased beginnings to draw from; they differ in the draw alone. Success is measured on the task's own beginnings.

`plain` and `diverse` fine-tune action chunks on `reach`, the second with the bonus for distinct successes. Eight
rollouts as they explore, from each of 32 unseen beginnings, tell how many are solved at all, how distinct the
solutions are, and how many would still be solved with the usual path blocked.
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from embodied.bench.harness import Figure, over_seeds
from embodied.bench.rl import apart, course
from embodied.cli import compose
from embodied.console import Console
from embodied.run import Run
from embodied.schema import to_dict
from envs.types import Array

_WORDS = ("env=place_air", "trainer.demonstrations=0")
DRAWS = {"uniform": "agent=headstart", "frontier": "agent=frontier"}
MINUTES = (0.5, 1.0, 1.5, 2.0)
"""CPU-minutes at which success is measured."""
_CHUNKS = (
    "env=reach", "agent=chunks", "trainer.demonstrations=8", "env.worlds=32", "env.threads=1", "device=cpu",
    "agent.learning_rate=1e-3", "agent.updates_per_episode=16", "agent.width=64",
)  # fmt: skip
BONUSES = {"plain": "agent.diversity=0", "diverse": "agent.diversity=0.3"}
ROLLOUTS, BEGINNINGS, CLONING, EPISODES = 8, 32, 90, 24
BLOCK = 0.02
"""[m] Radius of the block."""
PARTS = (*DRAWS, *BONUSES)
SEEDS = 3


def measure(part: str, seed: int, quick: bool, console: Console) -> Mapping[str, Any]:
    """One learning curve, or what rollouts of one fine-tuned policy do."""
    if part in DRAWS:
        return apart(course, seed, (0.1,) if quick else MINUTES, 16 if quick else 200, (*_WORDS, DRAWS[part]))
    return _ways(seed, quick, BONUSES[part])


def summarise(samples: Mapping[str, Sequence[Mapping[str, Any]]]) -> Mapping[str, Figure]:
    """The mean success over all marks, which is the area under the curve, and that at the last; and of the rollouts."""
    figures: dict[str, Figure] = {}
    for part, rows in samples.items():
        if part in DRAWS:
            curves = [[point["success"] for point in row["curve"]] for row in rows]
            figures[f"{part}_area"] = over_seeds([100.0 * float(np.mean(curve)) for curve in curves], "%")
            figures[f"{part}_final"] = over_seeds([100.0 * curve[-1] for curve in curves], "%")
        else:
            for key, unit in (("success", "%"), ("pass_at_8", "%"), ("blocked_pass_at_8", "%"), ("distinctness", "1")):
                scale = 100.0 if unit == "%" else 1.0
                figures[f"{part}_{key}"] = over_seeds([scale * row[key] for row in rows], unit)
    return figures


def unblocked(path: Array, success: Array) -> Array:
    """`[M]` whether a success of each group keeps off where its successes are on average a quarter into the episode.

    Paths `[M G T 3]`, successes `[M G]`; a group without any success has none.
    """
    weight = success[..., None] / np.maximum(success.sum(axis=1), 1)[:, None, None]
    middle = (path[:, :, path.shape[2] // 4] * weight).sum(axis=1)
    clear = np.linalg.norm(path - middle[:, None, None], axis=-1).min(axis=-1) > BLOCK
    result: Array = (clear & success).any(axis=1)
    return result


def _ways(seed: int, quick: bool, word: str) -> dict[str, float]:
    import torch

    from embodied.agents.chunks import ChunkPolicy
    from embodied.agents.diversity import distinctness
    from embodied.evaluation.success import held_out_seeds
    from embodied.training.collect import collect_demonstrations, task_worlds
    from embodied.training.train import chunk_trainer

    torch.set_num_threads(1)
    (config,) = compose("train", [*_CHUNKS, word, f"seed={seed}"])
    with tempfile.TemporaryDirectory() as folder, Run.open(Path(folder) / "run", to_dict(config)) as run:
        collect_demonstrations(config, run.folder, lambda done, of: None)
        trainer = chunk_trainer(config, run)
    trainer.clone(10 if quick else CLONING)
    trainer.advance((1 if quick else EPISODES) * trainer.worlds.task.horizon)
    rng, spread = np.random.default_rng(seed), config.agent.noise

    class Drawn:
        """The actor as it explores."""

        def act(self, state: Array) -> Array:
            mean = trainer.learner.act(state)
            return np.clip(mean + spread * rng.standard_normal(mean.shape), -1.0, 1.0)

    count = 4 if quick else BEGINNINGS
    seeds = np.repeat(held_out_seeds(seed, count), ROLLOUTS)
    worlds = task_worlds(config, len(seeds), 0)
    policy, observation = ChunkPolicy(Drawn(), config.agent.chunk), worlds.reset(seeds=seeds)
    hand = observation.objects.index("gripper")
    path = [observation.objects.position_in_world[:, hand]]
    for _ in range(worlds.task.horizon):
        transition = worlds.step(policy.act(worlds.observation, worlds.task.goal))
        path.append(transition.next_observation.objects.position_in_world[:, hand])
    ways = np.stack(path, axis=1).reshape(count, ROLLOUTS, -1, 3)
    success = np.asarray(transition.success).reshape(count, ROLLOUTS)
    return {
        "success": float(success.mean()),
        "pass_at_8": float(success.any(axis=1).mean()),
        "blocked_pass_at_8": float(unblocked(ways, success).mean()),
        "distinctness": float(distinctness(ways, success)[success].mean()) if success.any() else 0.0,
    }
