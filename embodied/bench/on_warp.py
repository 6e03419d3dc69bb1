"""Stepping on MuJoCo Warp beside MuJoCo's own batch: the same vector environment of `place`, in turn, by worlds."""

import time
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

from embodied.bench.harness import Figure, over_seeds
from envs.engine import Engine
from envs.gym import TabletopVectorEnv

COUNTS = {"cpu": (16, 256), "cuda": (256, 1024, 4096, 16384)}
"""Numbers of worlds, by device."""
ENV_STEPS = 1024
"""Of a timed run, at least four of all worlds."""
REPEATS = 3


def measure(seed: int, quick: bool) -> Mapping[str, Any]:
    """Env steps per second of both engines by number of worlds; nothing where the extra `warp` is not installed."""
    if find_spec("mujoco_warp") is None:
        return {}
    random = np.random.default_rng(seed)
    engines = {"batch": Engine(), "warp": Engine("warp")}
    device = TabletopVectorEnv("place", 1, engine=engines["warp"]).worlds.simulation.batch.device
    rates: dict[str, dict[str, list[float]]] = {}
    for count in (2,) if quick else COUNTS[device]:
        envs = {name: TabletopVectorEnv("place", count, engine=engine) for name, engine in engines.items()}
        each = rates[str(count)] = {name: [] for name in engines}
        steps = 1 if quick else max(4, ENV_STEPS // count)
        actions = random.uniform(-1.0, 1.0, (1 + REPEATS, steps, count, 5))
        for env in envs.values():
            env.reset(seed=seed)
        # The first repeat compiles kernels and warms caches, and is left out.
        for repeat, plan in enumerate(actions[:2] if quick else actions):
            for name, env in envs.items():
                began = time.perf_counter()
                for action in plan:
                    env.step(action)
                if repeat:
                    each[name].append(steps * count / (time.perf_counter() - began))
    return {"device": device, "rates": rates}


def summarise(raws: Sequence[Mapping[str, Any]]) -> dict[str, Figure]:
    """Rates, and ratios to MuJoCo's batch formed within a repeat."""
    figures: dict[str, Figure] = {}
    for count in raws[0].get("rates", ()):
        prefix = f"warp_{raws[0]['device']}"
        pairs = [raw["rates"][count] for raw in raws]
        rate = [float(np.median(pair["warp"])) for pair in pairs]
        ratio = [float(np.median(np.divide(pair["warp"], pair["batch"]))) for pair in pairs]
        figures[f"{prefix}_env_steps_per_s_of_{count}_worlds"] = over_seeds(rate, "1/s")
        figures[f"{prefix}_ratio_to_batch_of_{count}_worlds"] = over_seeds(ratio, "times")
    return figures
