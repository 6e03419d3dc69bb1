"""Every visual factor changes the pixels that it speaks of, and neither the state nor anything else in the picture."""

import colorsys
from dataclasses import replace

import numpy as np
import pytest

from envs.appearance import HUES
from envs.cameras import CameraConfig, Cameras
from envs.looks import looks_of, tinted
from envs.objects import OBJECTS
from envs.tasks import TASKS
from envs.variation import FACTORS, Variation
from envs.worlds import TaskWorlds

VISUAL = [name for name, factor in FACTORS.items() if factor.group == "visual"]
WORLDS = TaskWorlds(TASKS["place_clutter"], 2, seed=3, threads=1)
SCENE = WORLDS.simulation.scene
CAMERAS = Cameras(SCENE, [CameraConfig(name, 48, 48) for name in ("front", "wrist")], threads=1)
PLAIN = CAMERAS.frames(WORLDS.observation)


def varied(name: str, value: float | None = None):
    chosen = Variation.wide(name) if value is None else Variation().fixed({name: value})
    WORLDS.variation = chosen
    WORLDS.reset(seeds=[(3, 0, 0), (3, 1, 0)])
    return WORLDS.looks


@pytest.mark.parametrize("name", VISUAL)
def test_a_visual_factor_changes_what_it_says_and_nothing_else(name: str) -> None:
    before = WORLDS.simulation.save().rows
    looks = varied(name)
    assert looks is not None
    assert set(WORLDS.factors) >= {name}
    np.testing.assert_array_equal(WORLDS.simulation.save().rows, before)
    drawn = CAMERAS.frames(WORLDS.observation, looks)
    objects = [SCENE.index(each) for each in SCENE.objects]
    for camera, plain in PLAIN.items():
        frames = drawn[camera]
        moved = name.startswith("camera")
        assert (frames.entity != plain.entity).any() == moved
        changed = (frames.rgb != plain.rgb).any(axis=-1)
        assert changed.mean() > (0.001 if name == "colour" else 0.02)
        if name == "colour":
            assert not changed[~np.isin(plain.entity, objects)].any()
        elif name == "texture":
            assert not changed[plain.entity != SCENE.index("table")].any()
        elif name == "table_colour":
            assert not changed[plain.entity > 0].any()
        elif name == "robot_colour":
            assert not changed[(plain.entity == SCENE.index("table")) | np.isin(plain.entity, objects)].any()
        elif not moved:
            np.testing.assert_allclose(frames.depth, plain.depth, rtol=1e-4)


def test_the_nominal_looks_are_the_scenes_own() -> None:
    looks = looks_of({"colour": np.zeros((2, 3, 3))}, WORLDS._many, 2)
    for camera, frames in CAMERAS.frames(WORLDS.observation, looks).items():
        np.testing.assert_allclose(frames.rgb.astype(int), PLAIN[camera].rgb, atol=1)
        np.testing.assert_array_equal(frames.entity, PLAIN[camera].entity)


def test_a_camera_moves_along_its_own_axes() -> None:
    """Ahead by 5 mm, what is on the optical axis is 5 mm nearer, in the camera on the wrist, too."""
    looks = varied("camera_position", 0.0)
    assert looks is None
    base = looks_of({"camera_position": np.zeros((2, 3, 3))}, WORLDS._many, 2)
    ahead = replace(base, shift=base.shift + np.array([0.0, 0.0, -0.005]))
    middle = np.s_[:, 23:25, 23:25]
    for camera, frames in CAMERAS.frames(WORLDS.observation, ahead).items():
        nearer = PLAIN[camera].depth[middle] - frames.depth[middle]
        same = frames.entity[middle] == PLAIN[camera].entity[middle]
        assert same.any()
        assert np.median(nearer[same]) == pytest.approx(0.005, abs=0.001)


def test_objects_keep_the_hue_of_their_names() -> None:
    change = np.random.default_rng(0).uniform(-1.0, 1.0, (500, 3))
    for word, (low, high) in HUES.items():
        colours = tinted(np.tile(OBJECTS[f"{word}_cube"].colour, (500, 1)), change)
        hue = np.array([360.0 * colorsys.rgb_to_hsv(*rgb)[0] for rgb in colours])
        assert (((hue - low) % 360.0) <= high - low).all()
        assert np.ptp(colours, axis=0).max() > 0.2
    grey = np.full((1, 3), 0.4)
    np.testing.assert_allclose(tinted(grey, np.zeros((1, 3))), grey)
    np.testing.assert_allclose(tinted(np.array([[0.1, 0.7, 0.3]]), np.zeros((1, 3))), [[0.1, 0.7, 0.3]], atol=1e-12)
