"""Random looks: they change pictures and nothing that pictures are labelled with."""

import colorsys
from dataclasses import replace

import numpy as np
import pytest

from envs.appearance import HUES, draw_appearance, object_colours, photograph
from envs.cameras import CameraConfig, Cameras
from envs.errors import EmbodiedError
from envs.scene import SceneConfig, build_scene
from envs.simulation import Simulation
from envs.types import PROPRIOCEPTION
from envs.views import views_of

CUBES = ("red_cube", "blue_cube", "green_cube")
NAMES = ("front", "top")


@pytest.fixture(scope="module")
def setting():
    scene = build_scene(SceneConfig(CUBES))
    observation = Simulation(scene, 2, 1).observe()
    cameras = Cameras(scene, [CameraConfig(name, 64, 64) for name in NAMES], threads=1)
    return scene, observation.proprioception[:, PROPRIOCEPTION["joint_position"]], observation.objects, cameras


def plain(scene, generator):
    """An appearance that is the scene's own."""
    drawn = draw_appearance(generator, scene, NAMES, 2)
    base = views_of(scene, NAMES)
    views = base.map(lambda array: np.broadcast_to(array, (2, *array.shape)))
    model = scene.model
    own = np.where((model.geom_matid >= 0)[:, None], model.mat_rgba[model.geom_matid], model.geom_rgba)[:, :3]
    return replace(
        drawn,
        views=views,
        fovy=model.cam_fovy[[model.camera(name).id for name in NAMES]],
        turn=np.broadcast_to(np.eye(3), (2, 3, 3)),
        paint=np.broadcast_to(own, (2, *own.shape)),
        clutter=replace(drawn.clutter, shown=np.zeros_like(drawn.clutter.shown)),
    )


def test_the_scenes_own_looks_draw_the_same_picture(setting):
    scene, joints, objects, cameras = setting
    mine = cameras.draw(joints, objects, appearance=plain(scene, np.random.default_rng(0)))
    for name, frames in cameras.draw(joints, objects).items():
        assert np.array_equal(frames.rgb, mine[name].rgb)
        assert np.array_equal(frames.entity, mine[name].entity)


def test_light_and_paint_change_colours_alone(setting):
    scene, joints, objects, cameras = setting
    generator = np.random.default_rng(1)
    base, drawn = plain(scene, generator), draw_appearance(generator, scene, NAMES, 2)
    lit = cameras.draw(joints, objects, appearance=replace(base, turn=drawn.turn, paint=drawn.paint))
    for name, frames in cameras.draw(joints, objects).items():
        assert (frames.entity != lit[name].entity).mean() < 1e-3
        same = frames.entity == lit[name].entity
        finite = np.isfinite(frames.depth) & np.isfinite(lit[name].depth) & same
        assert np.allclose(frames.depth[finite], lit[name].depth[finite], atol=1e-4)
        assert np.abs(frames.rgb.astype(int) - lit[name].rgb).mean() > 5.0


def test_objects_are_where_the_moved_cameras_say(setting):
    scene, joints, objects, cameras = setting
    drawn = draw_appearance(np.random.default_rng(2), scene, NAMES, 2)
    bare = replace(drawn, clutter=replace(drawn.clutter, shown=np.zeros_like(drawn.clutter.shown)))
    frames = cameras.draw(joints, objects, appearance=bare)
    for view, name in enumerate(NAMES):
        for k in map(objects.index, CUBES):
            place, depth = bare.views.project(objects.position_in_world[:, [k]])
            column, row = ((place[:, view, 0] + 1) / 2 * 64).astype(int).T
            for n in range(2):
                if frames[name].entity[n, row[n], column[n]] == k:
                    seen = frames[name].depth[n, row[n], column[n]]
                    assert 0.0 < depth[n, view, 0] - seen < 0.03
    shown = sum((frames[name].entity == objects.index(cube)).any() for name in NAMES for cube in CUBES)
    assert shown >= 4


def test_rays_go_through_the_places_they_came_from():
    views = views_of(build_scene(SceneConfig(CUBES)), NAMES)
    points = np.random.default_rng(0).uniform((0.1, -0.2, 0.0), (0.4, 0.2, 0.2), (5, 3))
    place, depth = views.project(points)
    ray = views.rays(place)
    way = points - views.position[:, None]
    assert np.allclose(ray, way / np.linalg.norm(way, axis=-1, keepdims=True))
    assert (depth > 0).all()
    with pytest.raises(EmbodiedError, match="Unknown fixed camera 'wrist'"):
        views_of(build_scene(SceneConfig(CUBES)), ["wrist"])


def test_objects_keep_the_hue_of_their_names():
    colours = object_colours(np.random.default_rng(0), CUBES, 200)
    for k, name in enumerate(CUBES):
        low, high = HUES[name.partition("_")[0]]
        hue = np.array([360.0 * colorsys.rgb_to_hsv(*rgb)[0] for rgb in colours[:, k]])
        assert (((hue - low) % 360.0) <= high - low + 1e-6).all()
    with pytest.raises(EmbodiedError, match="no range of hues"):
        object_colours(np.random.default_rng(0), ["pink_cube"], 1)


def test_a_sensor_keeps_the_picture_and_its_type(setting):
    _, joints, objects, cameras = setting
    rgb = cameras.draw(joints, objects)["front"].rgb
    taken = photograph(np.random.default_rng(0), rgb)
    assert taken.dtype == np.uint8
    assert taken.shape == rgb.shape
    assert np.corrcoef(taken.ravel(), rgb.ravel())[0, 1] > 0.9
    assert np.array_equal(taken, photograph(np.random.default_rng(0), rgb))
