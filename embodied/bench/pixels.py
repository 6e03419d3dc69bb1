"""How well frames become slots, on scenes that training never drew: the shipped encoder, and slots without labels.

`play`: whole episodes of play in the scene's own looks, tracked frame by frame. `looks`: single states of
play with random cameras, light, paint and clutter, told nothing of the past. `discovery`: slot attention
that learns from frames alone, trained here for minutes on play in the scene's own looks, read by a linear probe.
`whatif`: the world model of `embodied bench whatif part=tabletop` (trained here, if it is not), asked the same what-ifs
twice: with histories as the simulator tells them, and as the shipped encoder sees them through two cameras.
"""

import resource
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from embodied.bench.harness import Figure, figure, over_seeds
from embodied.bench.whatif import over, world_config
from embodied.console import Console
from embodied.data.pictures import NOBODY, PictureSource, queries_of
from embodied.data.play import PlayConfig, play_batch
from embodied.evaluation.discovery import discover
from embodied.evaluation.model import load_model
from embodied.evaluation.seeing import (
    SHOWN,
    as_seen,
    compare,
    foreground_ari,
    owner_of,
    perceive_all,
    switches,
    turn_errors,
)  # fmt: skip
from embodied.evaluation.seen_skill import ASKED, PIXELS, STATE, SeenSkill, paired_skills
from embodied.evaluation.statistics import bootstrap
from embodied.evaluation.whatif import held_out
from embodied.run import Run
from embodied.schema import to_dict
from embodied.training.collect import play_control
from embodied.training.pixels import perceiver_of, shipped_card, shipped_encoder
from envs.cameras import CameraConfig, Cameras
from envs.control import CartesianDelta
from envs.episode import Episode
from envs.geometry import matrix_to_quat, quat_to_matrix
from envs.scene import build_scene
from envs.simulation import Simulation
from envs.types import Array, Kind, ObjectState, Observation
from world_models.slots.perceive import rotation_of
from world_models.slots.pixels import PixelEncoder, prepare

PARTS = ("play", "looks", "discovery", "whatif")
SEEDS = 3
UNSEEN = 2**31
"""Scenes are drawn from seeds from here on; training draws below."""
EPISODES, STATES, VIDEOS, INSTANTS = 32, 512, 256, 100
DISCOVERY_STEPS = 500
"""Gradient steps of the comparison."""

Floats = NDArray[np.float64]


def measure(part: str, seed: int, quick: bool, console: Console) -> Mapping[str, Any]:
    """Raw errors, scene by scene."""
    torch.set_num_threads(1)
    if part == "play":
        return _play(seed, 4 if quick else EPISODES)
    if part == "looks":
        return _looks(seed, 32 if quick else STATES)
    if part == "whatif":
        return _whatif(seed, quick, console)
    _, episodes = _episodes(seed, 16 if quick else VIDEOS)
    return discover(episodes, 4 if quick else DISCOVERY_STEPS, seed)


def summarise(samples: Mapping[str, Sequence[Mapping[str, Any]]]) -> Mapping[str, Figure]:
    """Figures with bootstrap intervals over scenes (episodes of play, single states of looks)."""
    figures: dict[str, Figure] = {}
    for part in ("play", "looks"):
        raws = samples.get(part, [])
        if not raws:
            continue
        scenes = [scene for raw in raws for scene in raw["scenes"]]
        for name, unit in (("position_mm", "mm"), ("yaw_deg", "degree"), ("tilt_deg", "degree"), ("speed_mm_s", "mm/s"),
                           ("hidden_position_mm", "mm"), ("moved_position_mm", "mm"),
                           ("moved_yaw_deg", "degree")):  # fmt: skip
            rows = [np.array(scene[name], float) for scene in scenes if name in scene]
            if not sum(map(len, rows)):
                continue
            for label, statistic in (("mean", None), ("median", 0.5), ("p90", 0.9)):
                figures[f"{part}_{name}_{label}"] = _over(rows, statistic, unit, len(raws))
        figures[f"{part}_presence_accuracy"] = _over(
            [np.array(scene["presence"], float) for scene in scenes], None, "1", len(raws)
        )
        masks = [np.array(scene["fg_ari"], float) for scene in scenes]
        figures[f"{part}_fg_ari"] = _over(masks, None, "1", len(raws))
        if part == "play":
            rate = [np.array([1000.0 * scene["switches"] / scene["frames"]]) for scene in scenes]
            figures["play_switches_per_1000_frames"] = _over(rate, None, "1", len(raws))
        figures[f"{part}_ms_per_frame"] = over_seeds([1e3 * raw["seconds"] / raw["frames"] for raw in raws], "ms")
    if samples.get("looks"):
        # The headlines, where everything is drawn at random and no past helps.
        figures |= {name: figures[f"looks_{name}_mean"] for name in ("position_mm", "yaw_deg")}
        figures["pictures_per_s"] = over_seeds([raw["pictures_per_s"] for raw in samples["looks"]], "1/s")
        figures["memory_mib"] = figure(max(raw["memory_mib"] for raw in samples["looks"]), "MiB", 1)
        figures["train_seconds"] = figure(float(shipped_card()["train_seconds"]), "s", 1)
    if samples.get("whatif"):
        figures |= _gaps(samples["whatif"])
    for name, unit in (
        ("fg_ari", "1"),
        ("probe_position_mm", "mm"),
        ("mean_position_mm", "mm"),
        ("train_seconds", "s"),
    ):
        values = [raw[name] for raw in samples.get("discovery", [])]
        if values:
            figures[f"discovery_{name}"] = over_seeds(values, unit)
    return figures


def _over(rows: Sequence[Floats], quantile: float | None, unit: str, seeds: int) -> Figure:
    """A mean or a quantile of what all scenes hold, with its interval over scenes."""
    rows = [row[np.isfinite(row)] for row in rows]
    rows = [row for row in rows if len(row)]
    if not rows:
        return figure(float("nan"), unit, seeds)
    values = np.concatenate(rows)
    scene = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    order = np.argsort(values)

    def statistic(drawn: Floats) -> float:
        weight = drawn[scene]
        if quantile is None:
            return float(np.average(values, weights=weight))
        reached = np.cumsum(weight[order])
        return float(values[order][np.searchsorted(reached, quantile * reached[-1])])

    estimate = bootstrap(statistic, len(rows), np.random.default_rng(0), resamples=400)
    return figure(estimate.value, unit, seeds, (estimate.low, estimate.high))


def _episodes(seed: int, count: int) -> tuple[Simulation, list[Episode]]:
    config = PlayConfig(worlds=count, branches=0.0, threads=1)
    simulation = Simulation(build_scene(config.scene), count, 1, CartesianDelta())
    return simulation, play_batch(simulation, config, (UNSEEN + seed, 0))


def _play(seed: int, count: int) -> Mapping[str, Any]:
    simulation, episodes = _episodes(seed, count)
    encoder = shipped_encoder()
    size, names = encoder.config.size, encoder.config.cameras
    cameras = Cameras(simulation.scene, [CameraConfig(name, size, size) for name in names], threads=1)
    perceiver = perceiver_of(encoder, simulation.scene)
    seen = perceive_all([episode.observation for episode in episodes], perceiver, cameras)
    scenes = []
    for episode, view in zip(episodes, seen, strict=True):
        truth = episode.observation
        frames = cameras.frames(truth)
        owner = owner_of(truth.objects, np.stack([frames[name].entity for name in names], axis=1))
        images = np.stack([frames[name].rgb for name in names], axis=1)
        scene = _errors(truth.objects, view.objects, owner)
        scene["switches"] = switches(compare(truth.objects, view.objects).other)
        scene["frames"] = len(truth.time)
        scene["fg_ari"] = _attention_ari(encoder, torch.from_numpy(images), owner, seen_names(truth.objects))
        scenes.append(scene)
    seconds, frames_timed = _seconds_alone(episodes[0].observation, perceiver, cameras)
    return {"scenes": scenes, "seconds": seconds, "frames": frames_timed}


def seen_names(objects: ObjectState) -> list[str]:
    """Names of the boxes."""
    return [objects.names[k] for k, kind in enumerate(objects.kind) if int(kind) == Kind.BOX]


def _seconds_alone(observation: Observation, perceiver: Any, cameras: Cameras) -> tuple[float, int]:
    """CPU seconds that one world's frames take, drawn beforehand."""
    images = cameras.render(observation)
    frames = [replace(observation[t : t + 1], images={name: image[t : t + 1] for name, image in images.items()})
              for t in range(len(observation.time))]  # fmt: skip
    perceiver.reset()
    perceiver.perceive(frames[0])
    began = time.process_time()
    for frame in frames:
        perceiver.perceive(frame)
    perceiver.reset()
    return time.process_time() - began, len(frames)


def _errors(truth: ObjectState, seen: ObjectState, owner: Array) -> dict[str, Any]:
    """Errors of one scene's frames: all, of objects that some camera does not see, of lifted or leaning ones."""
    sight = compare(truth, seen)
    boxes = [k for k, kind in enumerate(truth.kind) if int(kind) == Kind.BOX]
    shown = np.stack([(owner == k).sum((-1, -2)) for k in range(len(boxes))], axis=-1)
    hidden = (shown < SHOWN).any(axis=1)
    up = _upright(np.asarray(truth.quaternion_in_world)[:, boxes])
    half = np.asarray(truth.half_extents)[:, boxes, 2]
    moved = (np.asarray(truth.position_in_world)[:, boxes, 2] > half + 0.01) | (up < np.cos(np.deg2rad(8.0)))

    def kept(array: Floats, unit: float, which: Any = True) -> list[float]:
        chosen = array[np.isfinite(array) & which]
        return [round(float(x), 4) for x in unit * chosen]

    return {
        "position_mm": kept(sight.position, 1e3),
        "yaw_deg": kept(np.rad2deg(sight.yaw), 1.0),
        "tilt_deg": kept(np.rad2deg(sight.tilt), 1.0),
        "speed_mm_s": kept(sight.speed, 1e3),
        "hidden_position_mm": kept(sight.position, 1e3, hidden),
        "moved_position_mm": kept(sight.position, 1e3, moved),
        "moved_yaw_deg": kept(np.rad2deg(sight.yaw), 1.0, moved),
        "presence": [float(x) for x in (sight.present == sight.found).ravel()],
    }


def _upright(quaternion: Array) -> Floats:
    """Cosine of the angle between the vertical and a box's nearest axis."""
    matrix = np.abs(np.asarray(quat_to_matrix(quaternion))[..., 2, :])
    nearest: Floats = matrix.max(axis=-1)
    return nearest


def _attention_ari(encoder: PixelEncoder, images: torch.Tensor, owner: Array, names: list[str]) -> list[float]:
    """Of frames `[T C h w 3]`: the objects' attention, scaled up to the image, as a segmentation."""
    with torch.no_grad():
        queries = queries_of(names).expand(len(images), -1, -1)
        logits = encoder.attention_logits(prepare(images, encoder.config), queries)[:, :, :-1]
        fine = torch.nn.functional.interpolate(logits.flatten(0, 1), images.shape[2:4], mode="bilinear")
    labels = fine.argmax(1).reshape(owner.shape).numpy()
    scores = [foreground_ari(t, p) for t, p in zip(owner.reshape(-1, *owner.shape[2:]),
                                                    labels.reshape(-1, *owner.shape[2:]), strict=True)]  # fmt: skip
    return [score for score in scores if np.isfinite(score)]


def _looks(seed: int, count: int) -> Mapping[str, Any]:
    encoder = shipped_encoder()
    config = encoder.config
    source = PictureSource(config.cameras, config.size, UNSEEN + seed, count, played=1.0)
    source.chunk(1)
    began = time.process_time()
    pictures = source.chunk(0)
    drawn = time.process_time() - began
    began = time.process_time()
    with torch.no_grad():
        parts = [encoder(pictures.images[i : i + 1], pictures.views[i : i + 1], pictures.queries[i : i + 1],
                         pictures.hand[i : i + 1]) for i in range(count)]  # fmt: skip
    seconds = time.process_time() - began
    position = torch.cat([part.position for part in parts]).numpy()
    rotation = rotation_of(torch.cat([p.quarter_turn for p in parts]), torch.cat([p.up for p in parts]))
    found = (torch.cat([part.here for part in parts]) > 0).numpy()
    yaw, tilt = turn_errors(matrix_to_quat(pictures.rotation).numpy(), matrix_to_quat(rotation).numpy())
    away = np.linalg.norm(position - pictures.position.numpy(), axis=-1)
    present, shown = pictures.present.numpy(), pictures.visible.numpy()
    seen = present & (shown >= SHOWN).any(axis=1)
    hidden = np.asarray((shown < SHOWN).any(axis=1))
    lifted = (pictures.position[..., 2] > pictures.half_extents[..., 2] + 0.01) | (pictures.rotation[..., 2, 2] < 0.99)
    moved = lifted.numpy()
    owner = np.where(pictures.owner.numpy() == NOBODY, -1, pictures.owner.numpy().astype(np.int64))
    scenes = []
    for n in range(count):
        use, lone, off = seen[n], seen[n] & hidden[n], seen[n] & moved[n]
        scenes.append({
            "position_mm": (1e3 * away[n][use]).tolist(),
            "yaw_deg": np.rad2deg(yaw[n][use]).tolist(),
            "tilt_deg": np.rad2deg(tilt[n][use]).tolist(),
            "hidden_position_mm": (1e3 * away[n][lone]).tolist(),
            "moved_position_mm": (1e3 * away[n][off]).tolist(),
            "moved_yaw_deg": np.rad2deg(yaw[n][off]).tolist(),
            "presence": (present[n] == found[n]).astype(float).tolist(),
            "fg_ari": _attention_ari(encoder, pictures.images[n : n + 1], owner[n : n + 1], list(_NAMES)),
        })  # fmt: skip
    return {
        "scenes": scenes,
        "seconds": seconds,
        "frames": count,
        "pictures_per_s": count * len(config.cameras) / drawn,
        "memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0,
    }


def _whatif(seed: int, quick: bool, console: Console) -> Mapping[str, Any]:
    """The same what-ifs from state and from pixels: skills, their differences, and how the instants were seen."""
    # Training needs much that the other parts do without.
    from embodied.training.train import train

    config = world_config("tabletop", seed, quick)
    with Run.open(config.run, to_dict(config)) as run:
        train(config, run, console)
        model = load_model(run, config, play_control(config))
    console.say("recording unseen play")
    held = held_out(config, config.trainer.whatif_pairs if quick else INSTANTS)
    console.say(f"looking at {len(held.contexts)} instants")
    encoder = shipped_encoder()
    views = [CameraConfig(name, encoder.config.size, encoder.config.size) for name in encoder.config.cameras]
    cameras = Cameras(held.simulation.scene, views, threads=1)
    seen = as_seen(held.contexts, held.episodes, perceiver_of(encoder, held.simulation.scene), cameras)
    console.say(f"asking {len(held.contexts)} instants twice")
    return paired_skills(held.simulation, model, held.contexts, seen, np.random.default_rng((seed, 1))).as_dict()


def _gaps(raws: Sequence[Mapping[str, Any]]) -> dict[str, Figure]:
    """Means over training seeds; intervals span those of the single seeds, each a bootstrap over instants."""
    told = [SeenSkill.from_dict(raw) for raw in raws]
    figures = {"skill_gap": over([each.gap["spillover"] for each in told], "1")}
    for kind in ASKED:
        for source in (STATE, PIXELS):
            figures[f"skill_{kind}_{source}"] = over([each.skill[source][kind] for each in told], "1")
        if kind != "spillover":
            figures[f"skill_gap_{kind}"] = over([each.gap[kind] for each in told], "1")
    for source in (STATE, PIXELS):
        figures[f"factual_ade_mm_{source}"] = over([each.factual_ade[source] for each in told], "mm", 1000.0)
    figures["whatif_position_mm_mean"] = over_seeds([1e3 * each.position for each in told], "mm")
    figures["whatif_speed_mm_s_mean"] = over_seeds([1e3 * each.speed for each in told], "mm/s")
    return figures


_NAMES = PlayConfig().scene.objects
