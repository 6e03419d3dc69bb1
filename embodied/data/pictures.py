"""Pictures to learn seeing from: states of play and scattered cubes, drawn with random looks, labelled by simulation.

A chunk depends on its seed and number alone, so that training can stop anywhere and go on.
"""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from embodied.data.play import PlayConfig, play_batch
from envs.appearance import draw_appearance, object_colours, photograph
from envs.cameras import CameraConfig, Cameras
from envs.control import CartesianDelta
from envs.geometry import quat_from_yaw, quat_multiply, quat_to_matrix
from envs.kinematics import body_poses, project
from envs.objects import CUBE_HALF_EXTENT, OBJECTS
from envs.scene import Scene, build_scene
from envs.simulation import Simulation
from envs.so101 import JOINT_HIGH, JOINT_LOW
from envs.types import PROPRIOCEPTION, Array, Kind, ObjectState, Observation
from envs.views import Views
from world_models.slots.bodies import nearest_labels
from world_models.slots.pixels import hand_of

NOBODY = 255
"""In `Pictures.owner`: no object."""
PLAYED = 0.55
"""Share of a chunk's states that come from play."""
PLAY_WORLDS, PLAY_STEPS = 32, 30
MODES = (("fast", 1, 0.75), ("fast", 2, 0.15), ("shadow", 1, 0.10))
"""Camera mode, rays per pixel and side, and how often: a chunk is drawn in one way."""


@dataclass(frozen=True)
class Pictures:
    """N states as C cameras see them and as they are, for K named objects; torch, on one device."""

    images: Tensor
    """`[N C h w 3]` uint8."""
    owner: Tensor
    """`[N C h w]` uint8, which object a pixel shows; `NOBODY` for none."""
    views: Views
    """Calibration as told, arrays `[N C ...]`."""
    queries: Tensor
    """`[N K 3]` RGB in 0..1 that the objects' names stand for."""
    hand: Tensor
    """`[N 10]`, see `world_models.slots.pixels.HAND`."""
    position: Tensor
    """`[N K 3]` [m]."""
    rotation: Tensor
    """`[N K 3 3]` to the world, axes relabelled to be nearest to the world's."""
    half_extents: Tensor
    """`[N K 3]` [m] along those axes."""
    colour: Tensor
    """`[N K 3]` RGB in 0..1 of the object's paint."""
    present: Tensor
    """`[N K]` bool."""
    visible: Tensor
    """`[N C K]` how many pixels show the object."""

    def __getitem__(self, key: Any) -> "Pictures":
        """Some of the states."""
        return Pictures(**{f.name: getattr(self, f.name)[key] for f in fields(self)})

    @property
    def count(self) -> int:
        """N."""
        return len(self.images)


def join(parts: list[Pictures]) -> Pictures:
    """The states of all parts."""
    first = parts[0]
    views = Views(first.views.names, *(torch.cat([getattr(p.views, name) for p in parts])
                                       for name in ("position", "rotation", "tangent")))  # fmt: skip
    arrays = {f.name: torch.cat([getattr(p, f.name) for p in parts]) for f in fields(Pictures) if f.name != "views"}
    return Pictures(views=views, **arrays)


class PictureSource:
    """Draws chunks of pictures of the three-cube scene."""

    def __init__(
        self, cameras: tuple[str, ...], size: int, seed: int, count: int = 512, threads: int = 1, played: float = PLAYED
    ) -> None:
        """`count` states per chunk, the share `played` of them from play."""
        self.play = PlayConfig(worlds=PLAY_WORLDS, steps=PLAY_STEPS, branches=0.0, threads=threads, variation=0.5)
        self.scene: Scene = build_scene(self.play.scene)
        self.cameras, self.size, self.seed, self.count, self.threads = cameras, size, seed, count, threads
        self.played = round(played * count)
        self._simulation = Simulation(self.scene, PLAY_WORLDS, threads, CartesianDelta())
        self._drawing: dict[tuple[str, int], Cameras] = {}

    def chunk(self, number: int) -> Pictures:
        """Chunk `number`; the same whenever asked for."""
        generator = np.random.default_rng((self.seed, number))
        episodes = play_batch(self._simulation, self.play, (self.seed, number))
        everything = Observation.stack([episode.observation for episode in episodes])
        row = generator.integers(PLAY_WORLDS, size=self.played)
        seen = everything[row, generator.integers(PLAY_STEPS + 1, size=self.played)]
        scattered_joints, scattered = scatter(generator, self.scene, seen.objects, self.count - self.played)
        joints = np.concatenate([seen.proprioception[:, PROPRIOCEPTION["joint_position"]], scattered_joints])
        objects = _joined(seen.objects, scattered)
        return self.draw(generator, joints, objects)

    def draw(self, generator: np.random.Generator, joints: Array, objects: ObjectState) -> Pictures:
        """Pictures of states `[N ...]` with random looks."""
        boxes = [k for k, kind in enumerate(objects.kind) if int(kind) == Kind.BOX]
        names = [objects.names[k] for k in boxes]
        colour = np.array(objects.colour)
        colour[:, boxes] = object_colours(generator, names, len(joints))
        mode, fine, _ = MODES[generator.choice(len(MODES), p=[share for *_, share in MODES])]
        appearance = draw_appearance(generator, self.scene, self.cameras, len(joints))
        drawing = self._cameras(mode, fine)
        frames = drawing.draw(joints, replace(objects, colour=colour), appearance=appearance)
        rgb = np.stack([frames[name].rgb for name in self.cameras], axis=1)
        entity = np.stack([frames[name].entity for name in self.cameras], axis=1)
        if fine > 1:
            rgb = _averaged(rgb, fine)
            entity = entity[:, :, ::fine, ::fine]
        return labelled(photograph(generator, rgb), entity, appearance.told, joints, replace(objects, colour=colour))

    def _cameras(self, mode: str, fine: int) -> Cameras:
        if (mode, fine) not in self._drawing:
            size = self.size * fine
            configs = [CameraConfig(name, size, size, mode) for name in self.cameras]
            self._drawing[mode, fine] = Cameras(self.scene, configs, self.threads)
        return self._drawing[mode, fine]


def labelled(rgb: Array, entity: Array, views: Views, joints: Array, objects: ObjectState) -> Pictures:
    """Images `[N C h w 3]` and entities `[N C h w]` of numpy states `[N ...]` as `Pictures`."""
    boxes = [k for k, kind in enumerate(objects.kind) if int(kind) == Kind.BOX]
    table = np.full(len(objects.names) + 1, NOBODY, np.uint8)
    table[boxes] = np.arange(len(boxes))
    owner = table[entity]
    visible = np.stack([(owner == k).sum((-1, -2)) for k in range(len(boxes))], axis=-1)
    rotation = torch.as_tensor(quat_to_matrix(objects.quaternion_in_world[:, boxes]), dtype=torch.float32)
    labels = nearest_labels(rotation)
    half = torch.as_tensor(objects.half_extents[:, boxes], dtype=torch.float32)

    def tensor(array: Array) -> Tensor:
        return torch.as_tensor(np.ascontiguousarray(array), dtype=torch.float32)

    return Pictures(
        images=torch.from_numpy(np.ascontiguousarray(rgb)),
        owner=torch.from_numpy(owner),
        views=views.map(tensor),
        queries=queries_of([objects.names[k] for k in boxes]).expand(len(rgb), -1, -1),
        hand=hand_at(tensor(joints)),
        position=tensor(objects.position_in_world[:, boxes]),
        rotation=rotation @ labels,
        half_extents=(labels.abs().mT @ half[..., None])[..., 0],
        colour=tensor(objects.colour[:, boxes]),
        present=torch.from_numpy(np.ascontiguousarray(objects.present[:, boxes])),
        visible=torch.from_numpy(visible),
    )


def queries_of(names: list[str]) -> Tensor:
    """`[K 3]` the colours that names stand for."""
    return torch.tensor([OBJECTS[name].colour for name in names])


def hand_at(joints: Tensor) -> Tensor:
    """`[*B 10]` the hand at joints `[*B 6]` [rad], by forward kinematics."""
    position, quaternion = body_poses(joints)
    return hand_of(position[..., 0, :], quat_to_matrix(quaternion[..., 0, :]), joints[..., 5])


def scatter(
    generator: np.random.Generator, scene: Scene, like: ObjectState, count: int
) -> tuple[NDArray[np.float64], ObjectState]:
    """Random arms `[count 6]` and cubes anywhere: on the table, in the air, tilted, between the jaws."""
    boxes = [k for k, kind in enumerate(scene.kind) if int(kind) == Kind.BOX]
    things = len(boxes)
    tool = np.stack([generator.uniform(0.12, 0.34, count), generator.uniform(-0.15, 0.15, count),
                     generator.uniform(0.012, 0.14, count)], axis=-1)  # fmt: skip
    arm = project(tool, generator.uniform(-np.pi / 2, np.pi / 2, count)).joints
    anyhow = generator.random(count) < 0.1
    low, high = np.array(JOINT_LOW[:5]), np.array(JOINT_HIGH[:5])
    arm[anyhow] = generator.uniform(0.7 * low, 0.7 * high, (int(anyhow.sum()), 5))
    joints = np.concatenate([arm, generator.uniform(-0.1, 0.9, (count, 1))], axis=1)

    half = CUBE_HALF_EXTENT * np.where(
        generator.random((count, 1)) < 0.5, generator.uniform(0.75, 1.2, (count, things)), 1.0
    )
    flying = generator.random((count, things)) < 0.25
    position = np.stack(
        [generator.uniform(0.10, 0.38, (count, things)), generator.uniform(-0.20, 0.20, (count, things)),
         np.where(flying, half + generator.uniform(0.0, 0.14, (count, things)), half)], axis=-1,
    )  # fmt: skip
    near = generator.random((count, things)) < 0.4
    near[:, 0] = False
    angle, far = generator.uniform(-np.pi, np.pi, (count, things)), generator.uniform(0.029, 0.06, (count, things))
    beside = position[:, :1, :2] + far[..., None] * np.stack([np.cos(angle), np.sin(angle)], -1)
    position[..., :2] = np.where(near[..., None], beside, position[..., :2])
    quaternion = quat_from_yaw(generator.uniform(-np.pi, np.pi, (count, things)))
    lean = np.deg2rad(45.0) * generator.random((count, things)) * (generator.random((count, things)) < 0.6) * flying
    towards = generator.uniform(-np.pi, np.pi, (count, things))
    tilt = np.stack([np.cos(lean / 2), np.sin(lean / 2) * np.cos(towards), np.sin(lean / 2) * np.sin(towards),
                     np.zeros_like(lean)], axis=-1)  # fmt: skip
    quaternion = quat_multiply(tilt, quaternion)
    hand_position, hand_quaternion = body_poses(joints)
    held = generator.random(count) < 0.3
    which = generator.integers(things, size=count)
    rows = np.flatnonzero(held)
    position[rows, which[rows]] = hand_position[rows, 0] + generator.normal(0.0, 0.004, (len(rows), 3))
    small = np.concatenate([np.ones((len(rows), 1)), generator.normal(0.0, 0.06, (len(rows), 3))], axis=-1)
    quaternion[rows, which[rows]] = quat_multiply(
        hand_quaternion[rows, 0], small / np.linalg.norm(small, axis=-1, keepdims=True)
    )
    present = generator.random((count, things)) < 0.75
    # Cubes do not overlap: of two that would, the later is absent.
    for k in range(1, things):
        gap = np.linalg.norm(position[:, k, None] - position[:, :k], axis=-1)
        present[:, k] &= ~((gap < 0.028) & present[:, :k]).any(axis=1)

    def whole(name: str, value: Array) -> Array:
        array = np.array(np.broadcast_to(getattr(like, name)[:1], (count, *getattr(like, name).shape[1:])))
        array[:, boxes] = value
        return array

    nowhere = np.array([1.0, 0.0, 0.0, 0.0])
    there = present[..., None]
    objects = replace(
        like.map(lambda array: np.array(np.broadcast_to(array[:1], (count, *array.shape[1:])))),
        position_in_world=whole("position_in_world", position * there),
        quaternion_in_world=whole("quaternion_in_world", np.where(there, quaternion, nowhere)),
        half_extents=whole("half_extents", half[..., None] * there),
        present=whole("present", present),
    )
    return joints, objects


def _joined(first: ObjectState, second: ObjectState) -> ObjectState:
    names = [f.name for f in fields(ObjectState) if f.name not in ("names", "kind")]
    return replace(first, **{name: np.concatenate([getattr(first, name), getattr(second, name)]) for name in names})


def _averaged(rgb: Array, fine: int) -> Array:
    """Images `[N C h w 3]` uint8 with the mean of `fine` x `fine` pixels as one."""
    N, C, h, w, _ = rgb.shape
    blocks = rgb.reshape(N, C, h // fine, fine, w // fine, fine, 3).astype(np.uint16).sum((3, 5))
    averaged: Array = ((blocks + fine * fine // 2) // (fine * fine)).astype(np.uint8)
    return averaged
