"""Images per second and core: the ray-caster on the SO-101 scene, beside MuJoCo's OpenGL renderer where that works.

One image of ours is colour, entity mask and depth; one of OpenGL's is colour alone, without shadows and multisampling.
Both take CPU time of all their threads, in turn within a repeat, so that a busy machine slows both alike.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from embodied.bench.harness import Figure, figure, over_seeds
from embodied.console import Console
from envs.cameras import CameraConfig, Cameras
from envs.rendering import BACKENDS, Renderer, gl_backends
from envs.scene import SceneConfig, build_scene
from envs.simulation import Simulation
from envs.types import PROPRIOCEPTION, Observation

PARTS = ("front", "top", "wrist")
"""Cameras."""
SEEDS = 3
SIZE = 64
WORLDS, REPEATS, OPENGL_FRAMES = 128, 5, 8


def measure(part: str, seed: int, quick: bool, console: Console) -> Mapping[str, Any]:
    """CPU seconds per frame of one camera: `raycast`, and `opengl` where a back end works."""
    worlds = 16 if quick else WORLDS
    observation = _states(worlds, seed)
    scene = build_scene(SceneConfig(_CUBES, "bin"))
    joints = observation.proprioception[:, PROPRIOCEPTION["joint_position"]]
    fast = Cameras(scene, [CameraConfig(part, SIZE, SIZE)], threads=1)
    runs: dict[str, tuple[int, Callable[[], object]]] = {"raycast": (worlds, lambda: fast.frames(observation))}
    backend = next((name for name in BACKENDS if gl_backends()[name] is None), None)
    if backend is None:
        console.say("no OpenGL back end works here; measured without")
        return {"raycast": _seconds(runs, quick)["raycast"], "opengl": None}
    some = min(worlds, OPENGL_FRAMES)
    with Renderer(scene, part, SIZE, SIZE, backend=backend) as renderer:
        runs["opengl"] = (some, lambda: renderer.draw(joints[:some], observation.objects[:some]))
        return dict(_seconds(runs, quick))


def summarise(samples: Mapping[str, Sequence[Mapping[str, Any]]]) -> Mapping[str, Figure]:
    """Frames per second and core by camera and over all, and how many times OpenGL's."""
    figures: dict[str, Figure] = {}
    rates: dict[int, list[float]] = {}
    ratios: dict[int, list[float]] = {}
    for part, seeds in samples.items():
        figures[f"frames_per_s_per_core_64_{part}"] = over_seeds(
            [1 / np.median(raw["raycast"]) for raw in seeds], "1/s"
        )
        for seed, raw in enumerate(seeds):
            rates.setdefault(seed, []).append(float(1 / np.median(raw["raycast"])))
            if raw["opengl"] is not None:
                ratio = np.divide(raw["opengl"], raw["raycast"])
                ratios.setdefault(seed, []).append(float(np.median(ratio)))
    figures["frames_per_s_per_core_64"] = over_seeds([float(np.mean(each)) for each in rates.values()], "1/s")
    if ratios:
        figures["ratio_to_opengl"] = over_seeds([float(np.mean(each)) for each in ratios.values()], "times")
    else:
        figures["ratio_to_opengl"] = figure(float("nan"), "times", 0)
    return figures


_CUBES = ("red_cube", "blue_cube", "green_cube")


def _states(worlds: int, seed: int) -> Observation:
    """States after a second of random actions."""
    simulation = Simulation(build_scene(SceneConfig(_CUBES, "bin")), worlds)
    random = np.random.default_rng(seed)
    for _ in range(10):
        simulation.step(random.uniform(-1.0, 1.0, (worlds, simulation.control.spec.size)))
    return simulation.observe()


def _seconds(runs: Mapping[str, tuple[int, Callable[[], object]]], quick: bool) -> dict[str, list[float]]:
    """CPU seconds per frame, by repeat; a first repeat compiles and is left out."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(1 + (2 if quick else REPEATS)):
        for name, (frames, run) in runs.items():
            began = time.process_time()
            run()
            if repeat:
                seconds[name].append((time.process_time() - began) / frames)
    return seconds
