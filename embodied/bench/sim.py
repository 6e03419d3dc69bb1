"""How close stepping worlds comes to bare MuJoCo, and how far from Gymnasium's vector environments and from peers.

`ratio_to_raw` is our vector environment (observations, goal margins, reward, episodes that end and begin at different
times), `ratio_full` the same with the physics of every episode drawn anew and noise on all that is sensed, `sleeping_`
the same as the first where objects at rest sleep, in the bare loops as well; `engine_` is the simulation alone. The
limit is the faster of two bare loops that step the same model from the same states under the same commands:
`mujoco.batch` with precomputed controls and nothing read back, and one `mj_step(nstep)` loop per thread over `MjData`.
That model has what can collide, not what is only drawn, in the loops as in ours.
For the simulation alone they must end in the same bits. All are timed in turn within one run, since the speed of a
shared machine drifts; a ratio is formed within a repeat, and its median taken over repeats.

Environments of other frame skips are compared in simulated seconds per CPU second: `sim_peers`.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv

from embodied.bench import on_warp, sim_peers
from embodied.bench.bare import Bare
from embodied.bench.harness import Figure, over_repeats
from embodied.bench.plain import PlainPlace
from embodied.console import Console
from envs.control import targets
from envs.engine import BATCH, Engine
from envs.gym import TabletopVectorEnv
from envs.types import Array
from envs.variation import Variation

BARE = ("vector_env", "full", "engine", "one_thread", "one_world", "clutter")
"""Parts beside the limit; the first is `place` with 256 worlds on all cores."""
PARTS = (*BARE, "sleeping", "gymnasium", "peers", "resets", "worlds", "warp")
SLEEPING = Engine("sleeping")
SEEDS = 3
WORLDS = 256
STEPS = 12
REPEATS = 15
COUNTS = (1, 4, 16, 64, 256, 1024, 4096)
"""Numbers of worlds."""
VARIATION = Variation(mass=(0.5, 2.0), friction=(0.5, 2.0), size=(0.9, 1.1), surface_friction=(0.7, 1.4),
                      servo_gain=(0.8, 1.25), gravity=(0.97, 1.03))  # fmt: skip


def measure(part: str, seed: int, quick: bool, console: Console) -> Mapping[str, Any]:
    """Seconds per repeat, for one part and seed; see `PARTS`."""
    if part == "gymnasium":
        return _gymnasium(seed, quick)
    if part == "sleeping":
        return {**_beside_bare(part, seed, quick, SLEEPING), "gymnasium": _gymnasium(seed, quick, SLEEPING)}
    if part == "peers":
        return _peers(seed, quick, console)
    if part == "resets":
        return _resets(seed, quick)
    if part == "worlds":
        return _worlds(seed, quick)
    if part == "warp":
        return on_warp.measure(seed, quick)
    return _beside_bare(part, seed, quick)


def summarise(samples: Mapping[str, Sequence[Mapping[str, Any]]]) -> Mapping[str, Figure]:
    """Ratios (to the limit, 1: nothing lost) and rates, medians over the repeats of all seeds."""
    figures: dict[str, Figure] = {}
    for part, raws in samples.items():
        seeds = len(raws)
        if part in BARE:
            figures |= _beside_limit(part, raws)
        elif part == "sleeping":
            figures |= _beside_limit(part, raws) | _beside_gymnasium([raw["gymnasium"] for raw in raws], "sleeping_")
        elif part == "gymnasium":
            figures |= _beside_gymnasium(raws)
        elif part == "peers":
            figures |= sim_peers.summarise(raws)
        elif part == "resets":
            for name in ("", "staggered_"):
                share = np.concatenate([raw[f"{name}share"] for raw in raws])
                figures[f"{name}resets_share"] = over_repeats(share, "1", seeds)
        elif part == "warp":
            figures |= on_warp.summarise(raws)
        else:
            for count in raws[0]["rates"]:
                each = np.concatenate([raw["rates"][count] for raw in raws])
                figures[f"env_steps_per_s_of_{count}_worlds"] = over_repeats(each, "1/s", seeds)
            figures["memory_per_world"] = over_repeats(np.array([raw["kilobytes"] for raw in raws]), "kB", seeds)
    return figures


def _beside_bare(part: str, seed: int, quick: bool, engine: Engine = BATCH) -> Mapping[str, Any]:
    worlds = 1 if part == "one_world" else 32 if quick else WORLDS
    threads = 1 if part in ("one_thread", "one_world") else _cores()
    steps = 8 if quick else STEPS * (40 if part == "one_world" else 1)
    task = "place_clutter" if part == "clutter" else "place"
    sensors = "noisy" if part == "full" else None
    env = TabletopVectorEnv(task, worlds, threads=threads, engine=engine, sensors=sensors)
    if part == "full":
        env.worlds.variation = VARIATION
    env.reset(seed=seed)
    simulation = env.worlds.simulation
    start = simulation.save()
    random = np.random.default_rng(seed)
    actions = random.uniform(-1.0, 1.0, (steps, worlds, simulation.control.spec.size))
    elapsed = _staggered(env, random)
    before = simulation.joint_target
    plan = [before, *np.moveaxis(targets(simulation.control, before, np.moveaxis(actions, 0, 1)), 1, 0)]
    bare = Bare(simulation, start.rows, plan, threads)
    around = part in ("vector_env", "full", "sleeping")

    def ours() -> None:
        for action in actions:
            if around:
                env.step(action)
            else:
                simulation.step(action)

    def rewind() -> None:
        simulation.restore(start)
        env.worlds.elapsed[:] = elapsed
        env.worlds.observation = simulation.observe()

    runs: dict[str, tuple[Callable[[], None], Callable[[], None]]] = {
        "ours": (rewind, ours),
        "batch": (bare.rewind_batch, bare.run_batch),
        "loop": (bare.rewind_loop, bare.run_loop),
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    cpu: list[float] = []
    # The first repeat warms caches and is left out.
    for repeat in range(1 + (3 if quick else REPEATS)):
        for name, (prepare, run) in runs.items():
            prepare()
            began, cpu_began = time.perf_counter(), time.process_time()
            run()
            if repeat:
                seconds[name].append(time.perf_counter() - began)
                if name == "ours":
                    cpu.append(time.process_time() - cpu_began)
    if not around:
        bare.check(simulation.save().rows, simulation.present.all(axis=1))
    return {"seconds": seconds, "cpu": cpu, "env_steps": steps * worlds, "substeps": simulation.substeps,
            "period": 1.0 / simulation.control.spec.rate}  # fmt: skip


def _beside_limit(part: str, raws: Sequence[Mapping[str, Any]]) -> dict[str, Figure]:
    ratios, rates, simulated = [], [], []
    for raw in raws:
        ours, batch, loop = (np.array(raw["seconds"][name]) for name in ("ours", "batch", "loop"))
        ratios.append(np.minimum(batch, loop) / ours)
        rates.append(raw["env_steps"] / ours)
        simulated.append(raw["period"] * raw["env_steps"] / np.array(raw["cpu"]))
    prefix, seeds = "" if part == BARE[0] else f"{part}_", len(raws)
    ratio = over_repeats(np.concatenate(ratios), "1", seeds)
    if part == "full":
        return {"ratio_full": ratio}
    return {
        f"{prefix}ratio_to_raw": ratio,
        f"{prefix}env_steps_per_s": over_repeats(np.concatenate(rates), "1/s", seeds),
        f"{prefix}physics_steps_per_s": over_repeats(raws[0]["substeps"] * np.concatenate(rates), "1/s", seeds),
        f"{prefix}sim_s_per_cpu_s": over_repeats(np.concatenate(simulated), "s/s", seeds),
    }


def _beside_gymnasium(raws: Sequence[Mapping[str, Any]], prefix: str = "") -> dict[str, Figure]:
    rates = {name: np.concatenate([raw[name] for raw in raws]) for name in ("ours", "async", "sync")}
    return {
        f"{prefix}ratio_to_{name}": over_repeats(rates["ours"] / rates[name], "times", len(raws))
        for name in ("async", "sync")
    }


def _gymnasium(seed: int, quick: bool, engine: Engine = BATCH) -> Mapping[str, Any]:
    """Env steps per second of ours and of Gymnasium's vector environments over a plain single one, in turn."""
    worlds, steps = (16, 4) if quick else (WORLDS, STEPS)
    env = TabletopVectorEnv("place", worlds, engine=engine)
    # Twice as many processes as cores, so that those that wait for the others leave no core idle.
    workers = 2 * _cores()
    plain = {"async": AsyncVectorEnv([PlainPlace] * workers, context="forkserver"),
             "sync": SyncVectorEnv([PlainPlace] * workers)}  # fmt: skip
    everything: dict[str, Any] = {"ours": env, **plain}
    random = np.random.default_rng(seed)
    for each in everything.values():
        each.reset(seed=seed)
    _stagger(env, random)
    rates: dict[str, list[float]] = {name: [] for name in everything}
    for repeat in range(1 + (1 if quick else REPEATS)):
        for name, each in everything.items():
            count = each.num_envs
            rounds = max(1, steps * worlds // (4 * count)) if name in plain else steps
            actions = random.uniform(-1.0, 1.0, (rounds, count, 5)).astype(np.float32)
            began = time.perf_counter()
            for action in actions:
                each.step(action)
            if repeat:
                rates[name].append(rounds * count / (time.perf_counter() - began))
    for vector in plain.values():
        vector.close()
    return rates


def _peers(seed: int, quick: bool, console: Console) -> Mapping[str, Any]:
    envs = {}
    for name, engine in zip(sim_peers.OURS, (BATCH, SLEEPING), strict=True):
        envs[name] = TabletopVectorEnv("place", 16 if quick else WORLDS, engine=engine)
        envs[name].reset(seed=seed)
        _stagger(envs[name], np.random.default_rng(seed))
    return sim_peers.measure(envs, seed, 1 if quick else 5, console)


def _resets(seed: int, quick: bool) -> Mapping[str, Any]:
    """Share of the time that a random policy's run spends in resets: of whole episodes, and of worlds out of step."""
    env = TabletopVectorEnv("place", 16 if quick else WORLDS)
    random = np.random.default_rng(seed)
    spent = [0.0]
    reset = env.worlds.reset

    def timed(*arguments: Any, **more: Any) -> Any:
        began = time.perf_counter()
        observation = reset(*arguments, **more)
        spent[0] += time.perf_counter() - began
        return observation

    env.worlds.reset = timed  # type: ignore[method-assign]
    shares: dict[str, list[float]] = {"share": [], "staggered_share": []}
    for repeat in range(1 + (1 if quick else 3)):
        for name, each in shares.items():
            env.reset(seed=seed)
            if name == "staggered_share":
                _stagger(env, random)
            spent[0] = 0.0
            began = time.perf_counter()
            for _ in range(env.task.horizon):
                env.step(random.uniform(-1.0, 1.0, env.action_space.shape))
            if repeat:
                each.append(spent[0] / (time.perf_counter() - began))
    return shares


def _worlds(seed: int, quick: bool) -> Mapping[str, Any]:
    """Env steps per second by number of worlds, and resident memory of a world."""
    random, kilobytes = np.random.default_rng(seed), 0.0
    rates: dict[str, list[float]] = {}
    for count in COUNTS[:3] if quick else COUNTS:
        before = _resident()
        env = TabletopVectorEnv("place", count)
        env.reset(seed=seed)
        steps = max(3, min(1024, 4096 // count) // (16 if quick else 1))
        rates[str(count)] = []
        for repeat in range(3):
            actions = random.uniform(-1.0, 1.0, (steps, count, 5))
            began = time.perf_counter()
            for action in actions:
                env.step(action)
            if repeat:
                rates[str(count)].append(steps * count / (time.perf_counter() - began))
        kilobytes = (_resident() - before) / 1024 / count
    return {"rates": rates, "kilobytes": kilobytes}


def _staggered(env: TabletopVectorEnv, random: np.random.Generator) -> Array:
    """`[N]` control steps since reset, as after long play: as many worlds end in one step as in another."""
    return np.asarray(random.permutation(env.num_envs) * env.task.horizon // env.num_envs)


def _stagger(env: TabletopVectorEnv, random: np.random.Generator) -> None:
    env.worlds.elapsed[:] = _staggered(env, random)


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
