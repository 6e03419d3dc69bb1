"""From camera frames to slots: learning, order, identity through time, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from embodied.cli import main
from embodied.data.pictures import PictureSource, hand_at, labelled, queries_of
from embodied.evaluation.seeing import compare, perceived, switches
from embodied.training.pixel_trainer import PixelTrainConfig, PixelTrainer, quarter_turn
from embodied.training.pixels import load_encoder, perceiver_of, save_encoder, shipped_card, shipped_encoder
from envs.cameras import CameraConfig, Cameras
from envs.control import CartesianDelta
from envs.episode import Episode
from envs.errors import EmbodiedError
from envs.geometry import quat_to_matrix
from envs.objects import CUBE_HALF_EXTENT, OBJECTS
from envs.scene import SceneConfig, build_scene
from envs.simulation import Simulation
from envs.types import PROPRIOCEPTION, Observation
from envs.views import views_of
from world_models.slots.bodies import nearest_labels
from world_models.slots.frozen import FrozenAttend, PatchFeatures, load_frozen
from world_models.slots.perceive import SUNK, Perceiver, rotation_of
from world_models.slots.pixels import Percepts, PixelEncoder, PixelModelConfig, cut, locate, prepare, settled

TINY = PixelModelConfig(size=96, channels=(8, 8, 8), crop=16, crop_channels=(8, 16, 16), width=64)
CUBES = ("red_cube", "blue_cube", "green_cube")
LYING_HEIGHT = CUBE_HALF_EXTENT - SUNK


@pytest.fixture(scope="module")
def pictures():
    return PictureSource(TINY.cameras, TINY.size, seed=3, count=8).chunk(0)


@pytest.fixture(scope="module")
def world():
    """A scene of three cubes, a world in it and cameras as large as the shipped encoder wants them."""
    scene = build_scene(SceneConfig(CUBES))
    simulation = Simulation(scene, 1, 1, CartesianDelta())
    cameras = Cameras(scene, [CameraConfig(name, 128, 128) for name in ("front", "top")], threads=1)
    return scene, simulation, cameras


class Fixed:
    """Eight pictures, whatever is asked for."""

    def __init__(self, pictures):
        self.pictures = pictures

    def chunk(self, number):
        return self.pictures


def trainer_of(pictures, steps=200, **settings):
    config = PixelTrainConfig(steps=steps, batch=8, pool=1, warmup=5, learning_rate=1e-2, **settings)
    return PixelTrainer(TINY, config, Fixed(pictures), seed=0)


def see(model, pictures):
    with torch.no_grad():
        return model(pictures.images, pictures.views, pictures.queries, pictures.hand)


def test_a_tiny_network_learns_eight_pictures_by_heart(pictures):
    trainer = trainer_of(pictures, attended=1.0)
    while not trainer.done:
        trainer.train_step()
    seen = see(trainer.model, pictures)
    visible = (pictures.visible.min(1).values >= 2) & pictures.present
    error = (seen.position - pictures.position).norm(dim=-1)[visible]
    assert visible.sum() > 8
    assert error.mean() < 0.007


def test_the_same_seed_learns_the_same_and_goes_on_bit_for_bit(pictures):
    whole = trainer_of(pictures, steps=6)
    parts = [whole.train_step() for _ in range(6)]
    first, second = trainer_of(pictures, steps=6), trainer_of(pictures, steps=6)
    for _ in range(3):
        first.train_step()
    second.load_state_dict(first.state_dict())
    again = [second.train_step() for _ in range(3)]
    assert torch.equal(torch.stack(parts[3:]), torch.stack(again))
    assert all(
        torch.equal(a, b) for a, b in zip(whole.state_dict().values(), second.state_dict().values(), strict=True)
    )


def test_slots_in_another_order_are_seen_in_that_order(pictures):
    model, order = PixelEncoder(TINY), [2, 0, 1]
    seen = see(model, pictures)
    other = see(model, replace(pictures, queries=pictures.queries[:, order]))
    for name in ("position", "quarter_turn", "up", "half_extents", "colour", "here"):
        assert torch.allclose(getattr(seen, name)[:, order], getattr(other, name), atol=1e-5)
    assert torch.allclose(seen.attention[:, :, [*order, 3]], other.attention, atol=1e-5)


def test_places_attended_in_two_views_meet_at_the_point(pictures):
    """Perfect attention: all of an object's weight on the cell its centre projects into."""
    point = torch.tensor([[[0.25, 0.05, 0.10], [0.2, -0.1, 0.014], [0.3, 0.0, 0.05]]]).repeat(8, 1, 1)
    place, _ = pictures.views.project(point)
    g = 256
    cells = ((place + 1) / 2 * g).long()
    attention = torch.zeros(8, 2, 4, g, g)
    n, c, k = torch.meshgrid(torch.arange(8), torch.arange(2), torch.arange(3), indexing="ij")
    attention[n, c, k, cells[..., 1], cells[..., 0]] = 1.0
    found, views, _ = locate(attention, pictures.views)
    assert (views == 2).all()
    assert (found - point).norm(dim=-1).max() < 0.003
    attention[:, 1] = 0.0
    found, views, _ = locate(attention, pictures.views)
    assert (views == 1).all()
    # One ray alone meets the height at which objects rest.
    assert (found - point)[:, 1].norm(dim=-1).max() < 0.005
    assert (locate(0.0 * attention, pictures.views)[1] == 0).all()


def test_a_window_shows_what_is_around_the_point(pictures):
    """The pixel in the middle of a window is the one its point projects to."""
    pixels = prepare(pictures.images, TINY)
    place, _ = pictures.views.project(pictures.position)
    windows, ray, depth = cut(pixels, pictures.views, pictures.position, replace(TINY, crop=15))
    column, row = ((place + 1) / 2 * TINY.size).long().clamp(0, TINY.size - 1).unbind(-1)
    n, c, _ = torch.meshgrid(torch.arange(8), torch.arange(2), torch.arange(3), indexing="ij")
    direct = pixels[n, c, :, row, column]
    middle = windows[..., 7, 7]
    there = pictures.present[:, None].expand(-1, 2, -1)
    assert (direct - middle)[there].abs().mean() < 0.35
    assert torch.allclose(
        pictures.views.position[:, :, None] + 0.0 * ray, pictures.views.position[:, :, None] + 0.0 * ray
    )
    reached = pictures.views.position[:, :, None] + ray * (
        pictures.position[:, None] - pictures.views.position[:, :, None]
    ).norm(dim=-1, keepdim=True)
    assert torch.allclose(reached, pictures.position[:, None].expand_as(reached), atol=1e-5)
    assert (depth > 0.3).all()


def test_turn_and_lean_give_the_rotation_back(pictures):
    rotation = pictures.rotation[pictures.present]
    again = rotation_of(quarter_turn(rotation), rotation[:, :, 2])
    same = again @ nearest_labels(again.mT @ rotation)
    assert torch.allclose(same, rotation, atol=1e-4)


def test_labels_fit_the_pictures(pictures):
    """Objects project into the pixels that are labelled as theirs."""
    place, _ = pictures.views.project(pictures.position)
    column, row = ((place + 1) / 2 * TINY.size).long().clamp(0, TINY.size - 1).unbind(-1)
    n, c, k = torch.meshgrid(torch.arange(8), torch.arange(2), torch.arange(3), indexing="ij")
    whole = pictures.visible >= 6
    assert whole.sum() > 10
    assert (pictures.owner[n, c, row, column] == k)[whole].float().mean() > 0.9


def test_images_that_cannot_be_read_are_refused(pictures):
    model = PixelEncoder(TINY)
    broken = pictures.images.float()
    broken[0, 0, 3, 3, 1] = float("nan")
    with pytest.raises(EmbodiedError, match="no numbers"):
        see(model, replace(pictures, images=broken))
    with pytest.raises(EmbodiedError, match="uint8 RGB is needed"):
        see(model, replace(pictures, images=pictures.images.float()))
    with pytest.raises(EmbodiedError, match=r"takes \[B 2 96 96 3\]"):
        see(model, replace(pictures, images=pictures.images[:, :, :32]))


def test_an_encoder_comes_back_from_disk_and_another_configuration_is_refused(tmp_path, pictures):
    model = PixelEncoder(TINY).eval()
    save_encoder(tmp_path / "encoder.safetensors", model)
    again = load_encoder(tmp_path / "encoder.safetensors")
    assert again.config == TINY
    assert torch.equal(see(model, pictures).position, see(again, pictures).position)
    trainer = trainer_of(pictures)
    with pytest.raises(EmbodiedError, match="another configuration"):
        trainer.load_state_dict({f"model.{k}": v for k, v in PixelEncoder(PixelModelConfig()).state_dict().items()})


class Patches:
    """Random frozen features of the interface of DINOv2."""

    width, patch = 12, 14

    def __init__(self):
        self.weight = torch.randn(12, 3, 14, 14, generator=torch.Generator().manual_seed(0)) * 0.05

    def __call__(self, images):
        return torch.nn.functional.conv2d(images, self.weight, stride=14)


def test_frozen_patch_features_take_the_place_of_the_attending_network(pictures):
    assert isinstance(Patches(), PatchFeatures)
    frozen = FrozenAttend(Patches(), grid=16)
    model = PixelEncoder(TINY, attend=frozen)
    seen = see(model, pictures)
    assert seen.attention.shape == (8, 2, 4, 16, 16)
    assert not any("weight" in name and "_features" in name for name in model.state_dict())
    trainer = trainer_of(pictures, steps=1)
    trainer.model = model
    frozen.requires_grad_(True)
    loss = trainer.train_step()
    assert torch.isfinite(loss).all()


def test_frozen_weights_that_are_not_here_are_said_to_be_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with pytest.raises(EmbodiedError, match="not on this machine"):
        load_frozen("dinov2_vits14")
    with pytest.raises(EmbodiedError, match="Did you mean 'dinov2_vits14'"):
        load_frozen("dinov2_vits")


class Oracle(PixelEncoder):
    """An encoder that knows: poses come from a table by time step, seen only where told."""

    def __init__(self, poses, visible):
        super().__init__(PixelModelConfig())
        self.poses, self.shown, self.step, self.calls = poses, visible, 0, 0

    def attention(self, pixels, queries):
        self.step = self.calls
        self.calls += 1
        return torch.zeros(len(pixels), 2, queries.shape[1] + 1, 32, 32)

    def look(self, pixels, views, point, queries, hand):
        position = self.poses[self.step].expand(len(pixels), -1, -1)
        near = (position - point).norm(dim=-1) < 0.03
        seen = self.shown[self.step].expand_as(near)
        like = torch.zeros_like(position)
        return Percepts(
            position=position, quarter_turn=like[..., :2] + torch.tensor([1.0, 0.0]),
            up=like + torch.tensor([0.0, 0.0, 1.0]), half_extents=like + 0.014, colour=like + 0.5,
            spread=like[..., 0] + 0.001, here=torch.where(seen, 5.0, 0.5), visible=torch.where(seen, 5.0, -5.0),
        )  # fmt: skip


def test_a_hidden_object_keeps_its_name_and_place(world):
    scene, simulation, cameras = world
    observation = simulation.observe()
    observation = replace(observation, images=cameras.render(observation))
    start = torch.tensor([[[0.2, 0.0, LYING_HEIGHT], [0.25, 0.05, LYING_HEIGHT], [0.3, -0.05, LYING_HEIGHT]]])
    shown = torch.tensor([[True, True, True], [True, False, True], [True, False, True], [True, True, True]])
    path = torch.stack(
        [start[0] + torch.tensor([0.0, 0.01 * t, 0.0]) * torch.tensor([[1.0], [0.0], [0.0]]) for t in range(4)]
    )
    perceiver = perceiver_of(Oracle(path, shown), scene)
    states = [perceiver.perceive(observation) for _ in range(4)]
    k = states[0].index("blue_cube")
    for state in states:
        assert state.present[0, -3:].all()
        assert np.allclose(state.position_in_world[0, k], start[0, 1], atol=1e-5)
    assert states[0].confidence[0, k] > states[1].confidence[0, k] > states[2].confidence[0, k] > 0
    assert states[3].confidence[0, k] == pytest.approx(states[0].confidence[0, k])
    red = states[0].index("red_cube")
    assert states[2].linear_velocity_in_world[0, red] == pytest.approx([0.0, 0.1, 0.0], abs=1e-4)
    with pytest.raises(EmbodiedError, match=r"call reset\(\) between"):
        perceiver.perceive(Observation.stack([observation[0], observation[0]]))


def test_boxes_that_nearly_lie_on_the_table_do(world):
    scene, simulation, cameras = world
    observation = simulation.observe()
    observation = replace(observation, images=cameras.render(observation))
    heights = torch.tensor([0.0152, 0.0125, 0.0190])
    path = torch.stack([torch.tensor([0.2, 0.25, 0.3]), torch.tensor([0.0, 0.05, -0.05]), heights], -1)[None]
    seen = perceiver_of(Oracle(path, torch.ones(1, 3, dtype=torch.bool)), scene).perceive(observation)
    found = seen.position_in_world[0, [seen.index(name) for name in CUBES]]
    assert found == pytest.approx(
        np.array([[0.2, 0.0, LYING_HEIGHT], [0.25, 0.05, LYING_HEIGHT], [0.3, -0.05, 0.019]]), abs=1e-6
    )


def test_nothing_of_the_true_boxes_is_used(world):
    """An observation whose boxes are unknown gives the same estimate."""
    scene, simulation, cameras = world
    observation = simulation.observe()
    observation = replace(observation, images=cameras.render(observation))
    blind = observation.objects.map(np.array)
    boxes = [blind.index(name) for name in CUBES]
    for name in ("position_in_world", "quaternion_in_world", "linear_velocity_in_world", "half_extents", "colour"):
        getattr(blind, name)[:, boxes] = np.nan
    encoder = shipped_encoder()
    seen = perceiver_of(encoder, scene).perceive(observation)
    guessed = perceiver_of(encoder, scene).perceive(replace(observation, objects=blind))
    for name in ("position_in_world", "quaternion_in_world", "half_extents", "present", "confidence"):
        assert np.array_equal(getattr(seen, name), getattr(guessed, name))
    hand = [seen.index(name) for name in ("gripper", "fixed_jaw", "moving_jaw")]
    true = observation.objects
    assert np.allclose(seen.position_in_world[:, hand], true.position_in_world[:, hand], atol=1e-6)
    assert np.allclose(
        quat_to_matrix(seen.quaternion_in_world[:, hand]), quat_to_matrix(true.quaternion_in_world[:, hand]), atol=1e-5
    )


def test_the_shipped_encoder_sees_an_unseen_table(world):
    scene, simulation, cameras = world
    observation = simulation.observe()
    episode = Episode(
        observation=Observation.stack([observation[0]] * 3), action=np.zeros((2, 5)), success=np.zeros(3, bool),
        goal=None, seed=0, task="play", robot="sim",
    )  # fmt: skip
    (seen,) = perceived([episode], perceiver_of(shipped_encoder(), scene), cameras)
    sight = compare(episode.observation.objects, seen.observation.objects)
    assert sight.found.all()
    assert np.nanmax(sight.position) < 0.01
    assert np.rad2deg(np.nanmax(sight.yaw)) < 12.0
    assert switches(sight.other) == 0


def test_the_card_says_how_the_shipped_encoder_was_made():
    card = shipped_card()
    assert {"command", "seed", "train_seconds", "errors"} <= card.keys()


def test_the_calibration_must_be_of_the_encoders_cameras(world):
    scene, *_ = world
    with pytest.raises(EmbodiedError, match="the encoder's cameras are front, top"):
        Perceiver(
            PixelEncoder(PixelModelConfig()),
            views_of(scene, ("top", "front")),
            {name: each.colour for name, each in OBJECTS.items()},
        )


def test_missing_images_and_unknown_names_are_refused(world):
    scene, simulation, cameras = world
    observation = simulation.observe()
    perceiver = perceiver_of(PixelEncoder(PixelModelConfig()), scene)
    with pytest.raises(EmbodiedError, match="Images of front, top are needed; the observation has none"):
        perceiver.perceive(observation)
    bare = Perceiver(PixelEncoder(PixelModelConfig()), perceiver.views, {"red_cube": OBJECTS["red_cube"].colour})
    with pytest.raises(EmbodiedError, match="No colour is known for 'blue_cube'"):
        bare.perceive(replace(observation, images=cameras.render(observation)))


def test_the_command_trains_and_continues(tmp_path, capsys):
    words = ["pixels", f"run={tmp_path / 'run'}", "slots.steps=2", "slots.batch=2", "slots.chunk=8", "env.threads=1"]
    assert main([*words, "trainer.checkpoint_every=1"]) == 0
    assert load_encoder(tmp_path / "run/checkpoints/pixels.safetensors").config == PixelModelConfig()
    assert main([*words, "trainer.checkpoint_every=1"]) == 0
    assert "kept" in capsys.readouterr().out
    with pytest.raises(EmbodiedError, match="holds no encoder"):
        load_encoder(tmp_path / "run/checkpoints/pixels_trainer.safetensors")


def test_chunks_are_the_same_whenever_asked_for():
    source = PictureSource(TINY.cameras, TINY.size, seed=5, count=8)
    first, _, again = source.chunk(0), source.chunk(1), source.chunk(0)
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.position, again.position)


def test_drawn_states_of_the_scene_itself_are_labelled(world):
    scene, simulation, cameras = world
    observation = simulation.observe()
    frames = cameras.frames(observation)
    rgb = np.stack([frames[name].rgb for name in ("front", "top")], 1)
    entity = np.stack([frames[name].entity for name in ("front", "top")], 1)
    views = perceiver_of(PixelEncoder(PixelModelConfig()), scene).views.map(lambda array: array[None].numpy())
    joints = observation.proprioception[:, PROPRIOCEPTION["joint_position"]]
    told = labelled(rgb, entity, views, joints, observation.objects)
    assert torch.equal(told.queries[0], queries_of(list(CUBES)))
    assert torch.allclose(
        told.hand[0, :3], torch.as_tensor(observation.objects.position_in_world[0, 1]).float(), atol=1e-6
    )
    assert torch.equal(told.hand, hand_at(torch.as_tensor(joints).float()))


def test_what_one_view_sees_nearly_on_the_table_is_put_on_it(pictures):
    point = torch.tensor([[[0.25, 0.05, 0.020], [0.2, -0.1, 0.060], [0.3, 0.0, 0.020]]])
    like = torch.zeros_like(point)
    seen = Percepts(
        position=point, quarter_turn=like[..., :2], up=like + torch.tensor([0.0, 0.0, 1.0]), half_extents=like + 0.014,
        colour=like, spread=like[..., 0], here=like[..., 0], visible=like[..., 0],
    )  # fmt: skip
    eye = pictures.views.position[:1, 0, None].expand(-1, 3, -1)
    ray = torch.cat([eye, torch.nn.functional.normalize(point - eye, dim=-1)], -1)
    put = settled(seen, ray, torch.tensor([[True, True, False]])).position
    assert put[0, 0, 2] == pytest.approx(0.014, abs=1e-6)
    assert torch.linalg.cross(put[0, 0] - point[0, 0], ray[0, 0, 3:]).norm() < 1e-6
    assert torch.equal(put[0, 1:], point[0, 1:])
