"""What planning over the world model costs on one thread: the search of the published predictors, and one in real time.

The full search is 300 candidates, 30 iterations and 5 model steps ahead for one scene. The model has the shape and the
cost of a trained one but random weights: what it costs depends on who moves, and random weights keep everyone moving.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from embodied.agents.planner import Planner, PlannerConfig
from embodied.bench.harness import Figure, over_seeds
from embodied.config import Config, EnvConfig
from embodied.console import Console
from embodied.evaluation.model import imagining
from embodied.evaluation.whatif import held_out
from embodied.training.collect import play_control
from embodied.training.members import model_config
from embodied.training.policies import progress
from envs.goals import Goal

PARTS = ("boxes", "tabletop")
SEEDS = 3
FULL = PlannerConfig(horizon=5, candidates=300, elites=30, iterations=30)
REAL_TIME = PlannerConfig(horizon=5, candidates=32, elites=6, iterations=2)
DECISIONS = 5
"""Decisions timed per seed in real time, warm-started each by the one before."""
_GOAL = "left_of(red_cube, blue_cube)"


def measure(part: str, seed: int, quick: bool, console: Console) -> Mapping[str, Any]:
    """CPU and wall seconds of one full search, and wall seconds of decisions in real time, of one model."""
    import torch

    from world_models.cjepa.ensemble import Ensemble
    from world_models.cjepa.model import WorldModel

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    config = Config(seed=seed, env=EnvConfig(play=part))  # type: ignore[arg-type]
    held = held_out(config, 16)
    ensemble = Ensemble([WorldModel(model_config(config))]).eval()
    seen, goal = held.contexts.history[:1, -1], Goal.parse(_GOAL)
    control = play_control(config)

    def planner(search: PlannerConfig) -> Planner:
        rng = np.random.default_rng(seed)
        return Planner(imagining(ensemble, control), progress, control.spec, rng, search, config.world_model.history)

    planner(PlannerConfig(horizon=5, candidates=8, elites=2, iterations=1)).plan(seen, goal)
    started, cpu = time.perf_counter(), time.process_time()
    planner(FULL).plan(seen, goal)
    full = {"wall": time.perf_counter() - started, "cpu": time.process_time() - cpu}
    quickly, decisions = planner(REAL_TIME), []
    for _ in range(DECISIONS + 1):
        started = time.perf_counter()
        quickly.plan(seen, goal)
        decisions.append(time.perf_counter() - started)
    torch.set_num_threads(threads)
    return {"full": full, "real_time": decisions[1:]}


def summarise(samples: Mapping[str, Sequence[Mapping[str, Any]]]) -> Mapping[str, Figure]:
    """Seconds of a full search, and milliseconds of a decision in real time (its median)."""
    figures: dict[str, Figure] = {}
    for part, rows in samples.items():
        prefix = "" if part == "tabletop" else f"{part}_"
        figures[f"{prefix}cpu_seconds_full"] = over_seeds([row["full"]["cpu"] for row in rows], "s")
        figures[f"{prefix}realtime_ms"] = over_seeds([1000 * float(np.median(row["real_time"])) for row in rows], "ms")
    return figures
