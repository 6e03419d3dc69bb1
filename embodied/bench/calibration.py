"""How well calibration finds the truth, against noise, blur, shaky joints and the number of views, on rendered boards.

Each rehearsal draws a camera and an arm whose zeros are off by degrees, takes pictures of a board, finds the lens from
other pictures as bad as these, and then the camera and the zeros. Errors are against the truth behind the pictures.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from embodied.bench.harness import Figure, over_seeds
from embodied.bench.rendered_boards import (
    FIXED_CAMERA,
    LENS,
    TABLE_BOARD,
    Degradation,
    handheld,
    photographs,
    rehearse,
)
from embodied.bench.rendered_tags import CUBES, photograph
from embodied.console import Console
from envs.errors import EmbodiedError
from robots.calibration.hand_eye import Mount
from robots.calibration.intrinsics import Intrinsics, calibrate_camera
from robots.calibration.poses import difference, from_vector, inverse
from robots.calibration.rendering import Photographer
from robots.calibration.sightings import find_all
from robots.calibration.zeros import calibrate_hand_eye
from robots.perception.tags import TagDetector

VIEWS = 18
LENS_PICTURES = 14
RETAKES = 3
"""So many times as many pictures are taken: in blurred ones the board is found in some alone; the first are used."""
ZERO_SPREAD = np.deg2rad(3.0)
"""[rad] Standard deviation of the zeros that are drawn, as arms have it after LeRobot's calibration."""

CASES: Mapping[str, tuple[Degradation, int]] = {
    "clean": (Degradation(), VIEWS),
    "noise4": (Degradation(noise=4.0), VIEWS),
    "noise12": (Degradation(noise=12.0), VIEWS),
    "blur1": (Degradation(blur=1.0, noise=4.0), VIEWS),
    "blur2": (Degradation(blur=2.0, noise=4.0), VIEWS),
    "joints0.2": (Degradation(blur=0.7, noise=4.0, joints=np.deg2rad(0.2)), VIEWS),
    "joints1": (Degradation(blur=0.7, noise=4.0, joints=np.deg2rad(1.0)), VIEWS),
    "views8": (Degradation(blur=0.7, noise=4.0), 8),
    "views30": (Degradation(blur=0.7, noise=4.0), 30),
}
"""Noise in grey levels of 255, blur in pixels, each joint off by degrees at random in each picture; and views."""

TAGS: Mapping[str, Degradation] = {
    "tags_clean": Degradation(),
    "tags_noisy": Degradation(blur=0.7, noise=4.0),
    "tags_blurred": Degradation(blur=1.5, noise=8.0),
}
"""Two tagged cubes on the table before the fixed camera, 0.4 to 0.6 m away from it."""
TAG_PICTURES = 12

PARTS = (*CASES, *TAGS)
SEEDS = 5


def measure(part: str, seed: int, quick: bool, console: Console) -> Mapping[str, Any]:
    """Errors of the lens and, by mount, of closed form, camera and zeros, in one rehearsal each; or of cubes.

    Where too few boards are found calibration says so, and there are no errors: `solved` is the share of both mounts.
    """
    random = np.random.default_rng(seed)
    if part in TAGS:
        return _tags(TAGS[part], 3 if quick else TAG_PICTURES, random)
    worse, views = CASES[part]
    wanted, lens_pictures = (min(views, 8), 8) if quick else (views, LENS_PICTURES)
    boards = handheld(TABLE_BOARD, LENS, RETAKES * lens_pictures, random)
    pictures = photographs(TABLE_BOARD, boards, LENS, random, worse)
    raw: dict[str, Any] = {"found_share": 0.0, "solved": 0.0}
    try:
        seen = find_all(TABLE_BOARD, pictures)
        raw["found_share"] = len(seen) / len(boards)
        found = calibrate_camera(seen[:lens_pictures])
    except EmbodiedError:
        return raw
    raw["focal_percent"] = 100 * abs(found.intrinsics.matrix[0, 0] / LENS.matrix[0, 0] - 1)
    raw["lens_px"] = _lens_error(found.intrinsics)
    mounts: tuple[Mount, ...] = ("wrist", "fixed")
    for mount in mounts:
        # Zeros of pan and roll are not to be found, and change nothing but names.
        zeros = random.normal(0.0, ZERO_SPREAD, 5) * np.array([0, 1, 1, 1, 0])
        truth = rehearse(mount, RETAKES * wanted, random, worse, zeros)
        try:
            sightings = find_all(truth.board, truth.pictures)[:wanted]
            reported = truth.reported[[int(sighting.name[:3]) for sighting in sightings]]
            answer = calibrate_hand_eye(mount, reported, sightings, found.intrinsics)
        except EmbodiedError:
            continue
        raw["solved"] += 1 / len(mounts)
        plain, fitted = difference(answer.closed_form.camera, truth.camera), difference(answer.camera, truth.camera)
        raw[mount] = {
            "closed_form_mm": 1e3 * plain[0],
            "closed_form_degrees": float(np.rad2deg(plain[1])),
            "mm": 1e3 * fitted[0],
            "degrees": float(np.rad2deg(fitted[1])),
            "zeros_degrees": float(np.rad2deg(np.abs(answer.zeros - truth.zeros)[1:4].max())),
            "park_horaud_mm": 1e3 * answer.closed_form.disagreement[0],
            "error_over_told": fitted[0] / answer.camera_error[0],
            "rms_px": answer.rms,
            "play_degrees": float(np.rad2deg(answer.play)),
        }
    return raw


def summarise(samples: Mapping[str, Sequence[Mapping[str, Any]]]) -> Mapping[str, Figure]:
    """Means over seeds by case and mount, of errors over those that were solved."""
    units = {"mm": "mm", "degrees": "degree", "px": "px", "percent": "%", "told": "times", "seen": "1", "share": "1",
             "solved": "1"}  # fmt: skip
    figures: dict[str, Figure] = {}
    for part, seeds in samples.items():
        if part in TAGS:
            for key in seeds[0]:
                _over(figures, f"{part}_{key}", [raw[key] for raw in seeds], units[key.rpartition("_")[2]])
            continue
        case = part.replace(".", "_")
        for key in ("solved", "found_share", "focal_percent", "lens_px"):
            _over(figures, f"{case}_{key}", [raw.get(key) for raw in seeds], units[key.rpartition("_")[2]])
        for mount in ("wrist", "fixed"):
            solved = [raw[mount] for raw in seeds if mount in raw]
            for key in solved[0] if solved else ():
                unit = units[key.rpartition("_")[2]]
                _over(figures, f"{case}_{mount}_{key}", [errors[key] for errors in solved], unit)
    return figures


def _over(figures: dict[str, Figure], name: str, values: Sequence[float | None], unit: str) -> None:
    """Enter the mean of what is known, if anything is."""
    known = [value for value in values if value is not None]
    if known:
        figures[name] = over_seeds(known, unit)


def _tags(worse: Degradation, pictures: int, random: np.random.Generator) -> Mapping[str, Any]:
    """Errors of position and orientation of tagged cubes through the true lens, and the part of them that is seen."""
    photographer, detector = Photographer(LENS), TagDetector(CUBES)
    errors = []
    for _ in range(pictures):
        poses = {
            box.name: inverse(FIXED_CAMERA)
            @ from_vector(np.array([0, 0, random.uniform(-np.pi, np.pi), random.uniform(0.16, 0.34), side, 0.014]))
            for box, side in zip(CUBES, (-0.06, 0.06), strict=True)
        }
        found = detector.estimate(photograph(photographer, CUBES, poses, random, worse), LENS)
        errors += [difference(each.in_camera, poses[name]) for name, each in found.items()]
    raw: dict[str, float | None] = {"seen": len(errors) / (pictures * len(CUBES))}
    if not errors:
        return raw | dict.fromkeys(("mm", "p90_mm", "degrees"))
    distance, angle = np.array(errors).T
    return raw | {
        "mm": 1e3 * float(distance.mean()),
        "p90_mm": 1e3 * float(np.percentile(distance, 90)),
        "degrees": float(np.rad2deg(angle.mean())),
    }


def _lens_error(found: Intrinsics) -> float:
    """Mean distance between where the found and the true lens show a grid of rays [px]."""
    across, up = 0.85 * LENS.matrix[:2, 2] / LENS.matrix[[0, 1], [0, 1]]
    grid = np.stack(np.meshgrid(np.linspace(-across, across, 17), np.linspace(-up, up, 13), [1.0]), -1).reshape(-1, 3)
    return float(np.linalg.norm(found.project(grid) - LENS.project(grid), axis=-1).mean())
