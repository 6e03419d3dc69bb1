"""Simulated seconds per CPU second of our `place` and of the peers' tasks nearest to it, timed in turn within one run.

All threads are counted. Ours includes the episodes that end and begin; the peers' resets are off the clock, see
`peer_scripts/speed.py`. EnvPool steps 64 worlds per call; the other peers have one world per environment.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

import numpy as np

from embodied.bench import peers
from embodied.bench.harness import Figure, over_repeats
from embodied.console import Console
from envs.errors import EmbodiedError
from envs.gym import TabletopVectorEnv

OURS = ("ours", "sleeping")
"""Our environment, and the same where objects at rest sleep."""
SECONDS = 0.5
"""[s] of CPU time per repeat and contestant."""


def measure(
    envs: Mapping[str, TabletopVectorEnv], seed: int, repeats: int, console: Console
) -> Mapping[str, Sequence[float]]:
    """Per contestant the rate `[repeats]` [s/s]; a peer that cannot run is named and left out, `envs` are `OURS`."""
    random = np.random.default_rng(seed)
    rates: dict[str, list[float]] = {name: [] for name in envs}
    with ExitStack() as stack:
        workers: dict[str, peers.Worker] = {}
        if not peers.installed():
            console.say(peers.MISSING)
        for name in _names():
            # Each in a process of its own: what one imports does not slow down another.
            worker = stack.enter_context(peers.Worker("speed.py"))
            try:
                worker.ask("make", name=name)
            except EmbodiedError as error:
                console.say(f"{name} is left out: {error}")
                continue
            workers[name], rates[name] = worker, []
        for env in envs.values():
            _ours(env, random)
        for _ in range(repeats):
            for name, env in envs.items():
                rates[name].append(_ours(env, random))
            for name, worker in workers.items():
                rates[name].append(worker.ask("play", name=name, seconds=SECONDS))
    return rates


def summarise(raws: Sequence[Mapping[str, Sequence[float]]]) -> Mapping[str, Figure]:
    """A rate per peer, and ours over the best of them in every repeat."""
    names = sorted({name for raw in raws for name in raw} - set(OURS))
    figures = {
        f"{name}_sim_s_per_cpu_s": over_repeats(
            np.concatenate([raw[name] for raw in raws if name in raw]), "s/s", len(raws)
        )
        for name in names
    }
    for ours, figure in zip(OURS, ("ratio_to_best_peer", "sleeping_ratio_to_best_peer"), strict=True):
        beside = [raw for raw in raws if ours in raw and raw.keys() - set(OURS)]
        if beside:
            best = [np.max([raw[name] for name in raw.keys() - set(OURS)], axis=0) for raw in beside]
            ratio = np.concatenate([raw[ours] for raw in beside]) / np.concatenate(best)
            figures[figure] = over_repeats(ratio, "times", len(beside))
    return figures


def _names() -> list[str]:
    if not peers.installed():
        return []
    with peers.Worker("speed.py") as worker:
        names: list[str] = worker.ask("names")
        return names


def _ours(env: TabletopVectorEnv, random: np.random.Generator) -> float:
    actions = random.uniform(-1.0, 1.0, (64, env.num_envs, env.worlds.spec.size))
    period, steps = 1.0 / env.worlds.spec.rate, 0
    began = time.process_time()
    while (spent := time.process_time() - began) < SECONDS:
        env.step(actions[steps % len(actions)])
        steps += 1
    return steps * env.num_envs * period / spent
