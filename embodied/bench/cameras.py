"""Images per second and core: the ray-caster on the SO-101 scene, beside MuJoCo's OpenGL renderer where that works.

One image of ours is colour, entity mask and depth; one of OpenGL's is colour alone, without shadows and multisampling.
Both take CPU time of all their threads, in turn within a repeat, so that a busy machine slows both alike. `iou_gl` and
`depth_error_mm` compare masks and depth of both, pixel by pixel.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from embodied.bench.harness import Figure, figure, over_seeds
from embodied.console import Console
from envs.cameras import CameraConfig, Cameras
from envs.frames import Frames
from envs.rendering import BACKENDS, Renderer, gl_backends
from envs.scene import SceneConfig, build_scene
from envs.simulation import Simulation
from envs.types import PROPRIOCEPTION, Array, Observation

PARTS = ("front", "top", "wrist")
"""Cameras."""
SEEDS = 3
SIZES = (64, 96, 128, 224)
WORLDS, REPEATS, OPENGL_FRAMES = 64, 5, 8
AGREEMENT = 224
"""Side of the images whose masks and depth are compared."""


def measure(part: str, seed: int, quick: bool, console: Console) -> Mapping[str, Any]:
    """Seconds per frame of one camera by repeat: CPU by size, wall on all cores, OpenGL; and agreement with OpenGL."""
    worlds = 16 if quick else WORLDS
    observation = _states(worlds, seed)
    scene = build_scene(SceneConfig(_CUBES, "bin"))
    joints = observation.proprioception[:, PROPRIOCEPTION["joint_position"]]
    runs: dict[str, tuple[int, Callable[[], object]]] = {}
    for size in SIZES[:: 3 if quick else 1]:
        one, many = (Cameras(scene, [CameraConfig(part, size, size)], threads) for threads in (1, 0))
        runs[f"raycast{size}"] = (worlds, lambda one=one: one.frames(observation))  # type: ignore[misc]
        runs[f"all_cores{size}"] = (worlds, lambda many=many: many.frames(observation))  # type: ignore[misc]
    backend = next((name for name in BACKENDS if gl_backends()[name] is None), None)
    if backend is None:
        console.say("no OpenGL back end works here; measured without")
        return dict(_seconds(runs, quick))
    some = min(worlds, OPENGL_FRAMES)
    with Renderer(scene, part, SIZES[0], SIZES[0], backend=backend) as renderer:
        runs["opengl"] = (some, lambda: renderer.draw(joints[:some], observation.objects[:some]))
        seconds = _seconds(runs, quick)
    with Renderer(scene, part, AGREEMENT, AGREEMENT, backend=backend) as renderer:
        labels = renderer.labels(joints[:some], observation.objects[:some])
    ours = Cameras(scene, [CameraConfig(part, AGREEMENT, AGREEMENT)], threads=1).frames(observation[:some])[part]
    return {**seconds, **agreement(ours, *labels)}


def agreement(ours: Frames, entity: Array, depth: Array) -> dict[str, Any]:
    """Intersections and unions `[K]` of the masks of entities, and the mean depth error [mm] where both agree on it."""
    known = range(max(int(entity.max()), int(ours.entity.max())) + 1)
    pairs = [(ours.entity == k, entity == k) for k in known]
    both = (ours.entity == entity) & np.isfinite(ours.depth) & np.isfinite(depth)
    return {
        "intersection": [int((a & b).sum()) for a, b in pairs],
        "union": [int((a | b).sum()) for a, b in pairs],
        "depth_error_mm": float(1000 * np.abs(ours.depth[both].astype(np.float64) - depth[both]).mean()),
    }


def summarise(samples: Mapping[str, Sequence[Mapping[str, Any]]]) -> Mapping[str, Figure]:
    """Frames per second by size, how many times OpenGL's, and agreement with it: means over cameras, by seed."""
    figures: dict[str, Figure] = {}
    for size in SIZES:
        figures |= _rates(samples, f"raycast{size}", f"raycast{size}_fps_core")
        figures |= _rates(samples, f"all_cores{size}", f"raycast{size}_fps_all_cores")
    for part, raws in samples.items():
        figures[f"raycast{SIZES[0]}_fps_core_{part}"] = over_seeds(
            [1 / np.median(raw[f"raycast{SIZES[0]}"]) for raw in raws], "1/s"
        )
    compared = [[raw for raw in raws if "opengl" in raw] for raws in samples.values()]
    if not all(compared):
        return figures | {"ratio_to_opengl": figure(float("nan"), "times", 0)}
    by_seed = list(zip(*compared, strict=False))
    ratios = [np.mean([np.median(np.divide(raw["opengl"], raw["raycast64"])) for raw in raws]) for raws in by_seed]
    overlaps = [np.mean([_iou(raw) for raw in raws]) for raws in by_seed]
    errors = [np.mean([raw["depth_error_mm"] for raw in raws]) for raws in by_seed]
    return figures | {
        "ratio_to_opengl": over_seeds([float(ratio) for ratio in ratios], "times"),
        "iou_gl": over_seeds([float(overlap) for overlap in overlaps], "1"),
        "depth_error_mm": over_seeds([float(error) for error in errors], "mm"),
    }


def _rates(samples: Mapping[str, Sequence[Mapping[str, Any]]], run: str, key: str) -> dict[str, Figure]:
    rates = [[1 / np.median(raw[run]) for raw in raws if run in raw] for raws in samples.values()]
    if not all(rates):
        return {}
    return {key: over_seeds([float(np.mean(each)) for each in zip(*rates, strict=False)], "1/s")}


def _iou(raw: Mapping[str, Any]) -> float:
    """Mean over the entities that either shows."""
    union = np.array(raw["union"])
    return float(np.mean(np.array(raw["intersection"])[union > 0] / union[union > 0]))


_CUBES = ("red_cube", "blue_cube", "green_cube")


def _states(worlds: int, seed: int) -> Observation:
    """States after a second of random actions."""
    simulation = Simulation(build_scene(SceneConfig(_CUBES, "bin")), worlds)
    random = np.random.default_rng(seed)
    for _ in range(10):
        simulation.step(random.uniform(-1.0, 1.0, (worlds, simulation.control.spec.size)))
    return simulation.observe()


def _seconds(runs: Mapping[str, tuple[int, Callable[[], object]]], quick: bool) -> dict[str, list[float]]:
    """Seconds per frame, by repeat: wall time of runs on all cores, else CPU time; a first repeat is left out."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(1 + (2 if quick else REPEATS)):
        for name, (frames, run) in runs.items():
            clock = time.perf_counter if name.startswith("all_cores") else time.process_time
            began = clock()
            run()
            if repeat:
                seconds[name].append((clock() - began) / frames)
    return seconds
