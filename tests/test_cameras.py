"""Cameras: the ray-caster against MuJoCo's own rays, and pictures of true and imagined states."""

import copy
from dataclasses import replace

import mujoco
import numpy as np
import pytest
import torch
from mujoco.batch import Batch

from envs import light, raycast, rays
from envs.cameras import MODES, CameraConfig, Cameras, picture, picture_of
from envs.entity_geoms import entity_of_geoms
from envs.errors import EmbodiedError
from envs.scene import SceneConfig, build_scene
from envs.simulation import Simulation
from envs.types import PROPRIOCEPTION, Observation

SHAPES = {
    "sphere": lambda r: [r(), 0, 0],
    "capsule": lambda r: [r(), r(), 0],
    "ellipsoid": lambda r: [r(), r(), r()],
    "cylinder": lambda r: [r(), r(), 0],
    "box": lambda r: [r(), r(), r()],
}


def random_model(rng: np.random.Generator, geoms: int = 14) -> mujoco.MjModel:
    """Overlapping primitives of all kinds over a plane; one of them is invisible."""
    lines = ['<geom type="plane" size="0 0 1" pos="0 0 -1"/>']
    for i in range(geoms):
        kind = list(SHAPES)[i % len(SHAPES)]
        size = " ".join(str(v) for v in SHAPES[kind](lambda: rng.uniform(0.03, 0.4)))
        pos, quat = rng.uniform(-1, 1, 3), rng.normal(size=4)
        alpha = 0 if i == 3 else rng.choice([0.3, 1.0])
        lines.append(
            f'<geom type="{kind}" size="{size}" pos="{pos[0]} {pos[1]} {pos[2]}" '
            f'quat="{quat[0]} {quat[1]} {quat[2]} {quat[3]}" rgba="1 1 1 {alpha}"/>'
        )
    return mujoco.MjModel.from_xml_string(f"<mujoco><worldbody>{''.join(lines)}</worldbody></mujoco>")


@pytest.mark.parametrize("seed", range(6))
def test_single_rays_hit_what_mujoco_hits(seed: int) -> None:
    rng = np.random.default_rng(seed)
    model = random_model(rng)
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    count = 3000
    origins, directions = rng.uniform(-1.5, 1.5, (count, 3)), rng.normal(size=(count, 3))
    distance, geom = np.empty(count), np.empty(count, np.int64)
    rays.cast(
        model.geom_type.astype(np.int64), model.geom_size, model.geom_rgba[:, 3].astype(float), data.geom_xpos,
        data.geom_xmat.reshape(-1, 3, 3), origins, directions, distance, geom,
    )  # fmt: skip
    found = np.zeros(1, np.int32)
    for i in range(count):
        expected = mujoco.mj_ray(model, data, origins[i], directions[i], None, 1, -1, found)
        assert geom[i] == found[0]
        assert distance[i] == pytest.approx(expected, abs=1e-6)
    assert 0.3 < np.mean(geom >= 0) < 1.0


@pytest.mark.parametrize("seed", range(6))
def test_images_agree_with_single_rays(seed: int) -> None:
    """Cameras amid clutter: geoms of every kind ahead of, beside and behind them."""
    rng = np.random.default_rng(seed)
    model, size = random_model(rng, 10), 32
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    eyes, axes = [], []
    while len(eyes) < 4:
        eye = rng.uniform(-1.0, 1.0, 3)
        if np.all(np.linalg.norm(eye - data.geom_xpos, axis=1)[1:] > model.geom_rbound[1:]):
            eyes.append(eye)
            axes.append(np.linalg.qr(rng.normal(size=(3, 3)))[0])
    count, kinds, alpha = len(eyes), model.geom_type.astype(np.int64), model.geom_rgba[:, 3].astype(float)
    matrix, tangent = data.geom_xmat.reshape(-1, 3, 3), 0.8

    def repeated(array: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(np.broadcast_to(array, (count, *array.shape)))

    rgb, entity = np.empty((count, size, size, 3), np.uint8), np.empty((count, size, size), np.int16)
    depth = np.empty((count, size, size), np.float32)
    raycast.draw(
        kinds, repeated(model.geom_size), repeated(model.geom_rgba[:, :3].astype(float)), repeated(alpha),
        np.zeros(model.ngeom), np.arange(model.ngeom, dtype=np.int16), repeated(data.geom_xpos), repeated(matrix),
        np.array(eyes), np.array(axes), tangent, light.TONE, 1, 0, 0, rgb, entity, depth, 0, count,
    )  # fmt: skip
    across = ((np.arange(size) + 0.5) * 2 / size - 1) * tangent
    local = np.stack(np.broadcast_arrays(across[None, :], -across[:, None], -1.0), axis=-1).reshape(-1, 3)
    for n in range(count):
        distance, geom = np.empty(size * size), np.empty(size * size, np.int64)
        rays.cast(
            kinds, model.geom_size, alpha, data.geom_xpos, matrix, np.repeat(eyes[n][None], size * size, 0),
            np.ascontiguousarray(local @ axes[n].T), distance, geom,
        )  # fmt: skip
        assert np.array_equal(entity[n].ravel(), geom)
        np.testing.assert_allclose(depth[n].ravel(), np.where(geom >= 0, distance, np.inf), rtol=1e-6, atol=1e-6)


def lit(model: mujoco.MjModel, data: mujoco.MjData, geom: int, point: np.ndarray, ray: np.ndarray) -> np.ndarray:
    """`[3]` linear light of one point, from the definitions."""
    matrix, size, kind = data.geom_xmat[geom].reshape(3, 3), model.geom_size[geom], model.geom_type[geom]
    x = matrix.T @ (point - data.geom_xpos[geom])
    if kind == rays.BOX:
        face = np.argmin(size - np.abs(x))
        normal = np.eye(3)[face] * np.sign(x[face])
    elif kind == rays.CYLINDER:
        normal = np.array([*x[:2], 0]) if size[0] - np.hypot(*x[:2]) < size[1] - abs(x[2]) else np.array([0, 0, x[2]])
    elif kind == rays.CAPSULE:
        normal = x - [0, 0, np.clip(x[2], -size[1], size[1])]
    else:
        normal = np.array([0, 0, 1]) if kind == rays.PLANE else x / (size if kind == rays.ELLIPSOID else 1) ** 2
    normal = matrix @ normal / np.linalg.norm(normal)
    half = light.LIGHT - ray
    key, up = max(0.0, normal @ light.LIGHT), 0.5 + 0.5 * normal[2]
    ambient = (1 - up) * np.array(light.GROUND) + up * np.array(light.SKY)
    spark = 0.4 * max(0.0, normal @ half / np.linalg.norm(half)) ** 48 * min(1.0, 4.0 * key)
    return model.geom_rgba[geom, :3] * (ambient + np.array(light.KEY) * key) + spark * np.array(light.KEY)


@pytest.mark.parametrize("seed", range(3))
def test_pixels_are_lit_as_defined_and_nothing_is_seen_from_within(seed: int) -> None:
    rng = np.random.default_rng(seed)
    model, size, tangent = random_model(rng, 20), 24, 0.5
    model.geom_rgba[:] = rng.uniform(0.1, 0.6, model.geom_rgba.shape)
    model.geom_rgba[:, 3] = 1.0
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    # From the middle of every geom in turn, and from above them all.
    eyes = np.concatenate([data.geom_xpos[1:], [[0.0, 0.0, 3.0]]])
    axes = np.array([np.linalg.qr(rng.normal(size=(3, 3)))[0] for _ in eyes[:-1]] + [np.eye(3)])
    count, kinds = len(eyes), model.geom_type.astype(np.int64)

    def repeated(array: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(np.broadcast_to(array, (count, *array.shape)))

    rgb, entity = np.empty((count, size, size, 3), np.uint8), np.empty((count, size, size), np.int16)
    depth = np.empty((count, size, size), np.float32)
    raycast.draw(
        kinds, repeated(model.geom_size), repeated(model.geom_rgba[:, :3].astype(float)), repeated(np.ones(len(kinds))),
        np.full(model.ngeom, 0.4), np.arange(model.ngeom, dtype=np.int16), repeated(data.geom_xpos),
        repeated(data.geom_xmat.reshape(-1, 3, 3)), eyes, axes, tangent, light.TONE, 1, 0, 0, rgb, entity, depth, 0,
        count,
    )  # fmt: skip
    assert not np.any(entity[:-1] == np.arange(1, count)[:, None, None])
    across = ((np.arange(size) + 0.5) * 2 / size - 1) * tangent
    wrong = []
    for n, y, x in np.argwhere(entity >= 0)[:: 1 + 2 * seed]:
        ray = axes[n] @ [across[x], -across[y], -1.0]
        point = eyes[n] + depth[n, y, x] * ray
        linear = lit(model, data, int(entity[n, y, x]), point, ray / np.linalg.norm(ray))
        expected = light.TONE[np.minimum(4095, np.rint(linear * 2047.5).astype(int))]
        wrong.append(np.abs(expected.astype(int) - rgb[n, y, x]).max() > 1)
    # Depth has 24 bits: at an edge it does not tell which face is meant.
    assert len(wrong) > 500
    assert np.mean(wrong) < 0.01


@pytest.fixture(scope="module")
def simulation() -> Simulation:
    scene = build_scene(SceneConfig(objects=("red_cube", "blue_cube", "green_cube"), goal_entity="bin"))
    simulation = Simulation(scene, 4)
    rng = np.random.default_rng(0)
    for _ in range(6):
        simulation.step(rng.uniform(-1, 1, (4, simulation.control.spec.size)))
    return simulation


@pytest.fixture(scope="module")
def observation(simulation: Simulation) -> Observation:
    return simulation.observe()


def joints_of(observation: Observation) -> np.ndarray:
    joints: np.ndarray = observation.proprioception[..., PROPRIOCEPTION["joint_position"]]
    return joints


def hide_geoms_around(model: mujoco.MjModel, camera: int) -> mujoco.MjModel:
    """MuJoCo's rays meet the inside of a geom they start in; cameras look out of it."""
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    for g in range(model.ngeom):
        offset = data.geom_xmat[g].reshape(3, 3).T @ (data.cam_xpos[camera] - data.geom_xpos[g])
        kind, size = model.geom_type[g], model.geom_size[g]
        inside_box = kind == rays.BOX and np.all(np.abs(offset) < size)
        inside_cylinder = kind == rays.CYLINDER and np.hypot(*offset[:2]) < size[0] and abs(offset[2]) < size[1]
        if inside_box or inside_cylinder:
            model.geom_group[g] = 5
    return model


@pytest.mark.parametrize("camera", ["front", "top", "wrist"])
def test_images_of_the_arm_agree_with_batched_rays(
    simulation: Simulation, observation: Observation, camera: str
) -> None:
    scene, size = simulation.scene, 48
    model = copy.copy(scene.model)
    number = model.camera(camera).id
    frames = Cameras(scene, [CameraConfig(camera, size, size)]).frames(observation)[camera]
    batch = Batch(hide_geoms_around(model, number), simulation.worlds, 1)
    rows = batch.bind("qpos"), batch.bind("mocap_pos")
    rows[0][:, scene.joint_qpos] = joints_of(observation)
    for k, name in enumerate(scene.names):
        objects = observation.objects
        pose = np.concatenate([objects.position_in_world, objects.quaternion_in_world], -1)[:, k]
        if name in scene.objects:
            rows[0][:, scene.qpos[k] : scene.qpos[k] + 7] = pose
        elif name == "bin":
            rows[1][:, 0] = pose[:, :3]
    eyes, axes = batch.bind("cam_xpos"), batch.bind("cam_xmat")
    batch.forward()
    tangent = np.tan(np.deg2rad(model.cam_fovy[number]) / 2)
    across = ((np.arange(size) + 0.5) * 2 / size - 1) * tangent
    local = np.stack(np.broadcast_arrays(across[None, :], -across[:, None], -1.0), axis=-1).reshape(-1, 3)
    rays = np.einsum("nij,rj->nri", axes[:, number].reshape(-1, 3, 3), local)
    shown = np.array([1, 1, 1, 0, 0, 0], np.uint8)
    distance, geom = batch.ray(eyes[:, None, number], rays, geomgroup=shown)[:2]
    entity = np.where(geom >= 0, entity_of_geoms(scene)[geom], -1).reshape(frames.entity.shape)
    depth = np.where(geom >= 0, distance, np.inf).reshape(frames.depth.shape)
    np.testing.assert_allclose(frames.depth, depth, rtol=1e-6, atol=1e-6)
    assert np.array_equal(frames.entity, entity)
    assert len(np.unique(entity)) >= 4


def test_threads_do_not_change_a_bit(simulation: Simulation, observation: Observation) -> None:
    scene, wanted = simulation.scene, [CameraConfig("front")]
    pair = [Cameras(scene, wanted, threads).frames(observation)["front"] for threads in (1, 3)]
    for name in ("rgb", "entity", "depth"):
        assert np.array_equal(getattr(pair[0], name), getattr(pair[1], name))


@pytest.mark.parametrize("mode", MODES)
def test_masks_colours_and_shadows(simulation: Simulation, observation: Observation, mode: str) -> None:
    frames = Cameras(simulation.scene, [CameraConfig("front", 64, 48, mode)]).frames(observation[:1])["front"]
    for name, channel in (("red_cube", 0), ("blue_cube", 2), ("green_cube", 1)):
        pixels = frames.rgb[frames.entity == simulation.scene.index(name)]
        assert len(pixels) > 4
        assert np.all(np.argmax(pixels.mean(0)) == channel)
    table = frames.rgb[frames.entity == simulation.scene.index("table")].astype(float).mean(-1)
    contrast = np.percentile(table, 99) - np.percentile(table, 1)
    assert (contrast > 30) == (MODES[mode].shadow > 0)


def test_declared_size_colour_and_absence_are_drawn(simulation: Simulation, observation: Observation) -> None:
    red, blue = simulation.scene.index("red_cube"), simulation.scene.index("blue_cube")
    objects = observation.objects.map(np.copy)
    objects.half_extents[1, red] *= 2.0
    objects.colour[2, red] = (0.9, 0.9, 0.0)
    objects.present[3, red] = False
    cameras = Cameras(simulation.scene, [CameraConfig("top", 96, 96)])
    still = observation[[0, 0, 0, 0]]
    same = replace(still.objects, half_extents=objects.half_extents, colour=objects.colour, present=objects.present)
    frames = cameras.draw(joints_of(still), same)["top"]
    area = (frames.entity == red).sum((1, 2))
    assert area[1] > 2.5 * area[0]
    assert area[3] == 0
    assert area[2] == area[0] > 0
    assert frames.rgb[2][frames.entity[2] == red].mean(0)[1] > 150
    assert np.all((frames.entity == blue).sum((1, 2)) > 0)


def test_ghosts_tint_but_do_not_hide(simulation: Simulation, observation: Observation) -> None:
    scene = simulation.scene
    one = observation[0]
    moved = one.objects.map(np.copy)
    red = scene.index("red_cube")
    moved.position_in_world[red] += (0.0, -0.06, 0.0)
    plain = picture_of(scene, joints_of(one), one.objects, width=120, height=90, mode="fast").astype(int)
    ghost = picture_of(scene, joints_of(one), one.objects, width=120, height=90, ghosts=moved, mode="fast").astype(int)
    real = picture_of(scene, joints_of(one), moved, width=120, height=90, mode="fast").astype(int)
    where = np.abs(real - plain).sum(-1) > 60
    assert where.sum() > 30
    change = np.abs(ghost - plain).sum(-1)[where]
    assert 10 < change.mean() < np.abs(real - plain).sum(-1)[where].mean()


def test_torch_states_and_simulations_draw_alike(simulation: Simulation, observation: Observation) -> None:
    cameras = Cameras(simulation.scene, [CameraConfig("wrist"), CameraConfig("top", 32, 24)])
    ours = cameras.render(simulation)
    theirs = cameras.render(observation.map(torch.as_tensor))
    assert ours["top"].shape == (4, 24, 32, 3)
    assert ours["wrist"].dtype == np.uint8
    assert all(np.array_equal(ours[name], theirs[name]) for name in ("wrist", "top"))
    assert picture(simulation, 2, "top", 32, 24, mode="fast").shape == (24, 32, 3)


def test_bad_requests_are_named(simulation: Simulation, observation: Observation) -> None:
    with pytest.raises(EmbodiedError, match=r"Unknown camera .frnt.\. Did you mean .front."):
        Cameras(simulation.scene, [CameraConfig("frnt")])
    with pytest.raises(EmbodiedError, match="Unknown camera mode"):
        CameraConfig("front", mode="pretty")
    with pytest.raises(EmbodiedError, match="0 x 64 pixels"):
        CameraConfig("front", 0)
    with pytest.raises(EmbodiedError, match="this scene draws"):
        picture_of(build_scene(SceneConfig()), joints_of(observation[0]), observation.objects[0])
