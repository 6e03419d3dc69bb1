"""How well an encoder sees: episodes as it perceives them, errors of pose, identities, presence, and masks."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from embodied.evaluation.contexts import Contexts
from envs.cameras import Cameras
from envs.episode import Episode
from envs.geometry import quat_to_matrix
from envs.types import Array, Kind, ObjectState, Observation
from world_models.slots.bodies import nearest_labels
from world_models.slots.perceive import Perceiver

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

GATE = 0.02
"""[m] an estimate this near to another object than its own, and farther from its own, is on the other one."""
SHOWN = 4
"""Pixels from which on a view is said to show an object."""


@dataclass(frozen=True)
class Sight:
    """How N frames of K boxes were seen; arrays `[N K]`."""

    position: Floats
    """Distance from the truth [m]; NaN where object or estimate is missing."""
    yaw: Floats
    """Error of the yaw modulo a quarter turn [rad], once leans are taken back; NaN likewise."""
    tilt: Floats
    """Angle between the upright axes [rad]; NaN likewise."""
    speed: Floats
    """Error of the linear velocity [m/s]; NaN likewise."""
    present: Bools
    """The object is there."""
    found: Bools
    """It is said to be there."""
    other: NDArray[np.int64]
    """Which object's place the estimate is at; its own, -1 where at none."""


def perceived(episodes: Sequence[Episode], perceiver: Perceiver, cameras: Cameras) -> list[Episode]:
    """The episodes as seen: images drawn of what was, objects estimated from them frame by frame.

    Everything that reads an `Observation` runs on the result. Simulator states are kept, for judging.
    """
    seen = perceive_all([episode.observation for episode in episodes], perceiver, cameras)
    return [replace(episode, observation=one) for episode, one in zip(episodes, seen, strict=True)]


def perceive_all(observations: Sequence[Observation], perceiver: Perceiver, cameras: Cameras) -> list[Observation]:
    """Observations `[T ...]` of one scene with estimated objects; those of one length are perceived together."""
    result: list[Observation | None] = [None] * len(observations)
    lengths = [len(observation.time) for observation in observations]
    for length in sorted(set(lengths)):
        which = [n for n, each in enumerate(lengths) if each == length]
        together = Observation.stack([observations[n] for n in which])
        perceiver.reset()
        states = []
        for t in range(length):
            now = together[:, t]
            states.append(perceiver.perceive(replace(now, images=cameras.render(now))))
        perceiver.reset()
        whole = ObjectState.stack(states, axis=1)
        for row, n in enumerate(which):
            result[n] = replace(observations[n], objects=whole[row])
    return [one for one in result if one is not None]


def as_seen(contexts: Contexts, episodes: Sequence[Episode], perceiver: Perceiver, cameras: Cameras) -> Contexts:
    """The same instants, their histories as whoever watched each episode from its first frame would know them.

    Masses and frictions, which no camera shows, are not told either. Exact states, plans and what followed stay.
    """
    width = int(contexts.history.time.shape[1])
    used, row = np.unique(contexts.place[:, 0], return_inverse=True)
    frames = int(contexts.place[:, 1].max()) + 1
    seen = perceive_all([_undeclared(episodes[n].observation[:frames]) for n in used], perceiver, cameras)
    steps = contexts.place[:, 1]
    histories = [seen[n].objects[t - width + 1 : t + 1] for n, t in zip(row, steps, strict=True)]
    return replace(contexts, history=replace(contexts.history, objects=ObjectState.stack(histories)))


def _undeclared(observation: Observation) -> Observation:
    """Without the physics of boxes."""
    objects = observation.objects
    box = np.asarray(objects.kind) == Kind.BOX
    mass, friction = (np.where(box, 0.0, np.asarray(each)) for each in (objects.mass, objects.friction))
    return replace(observation, objects=replace(objects, mass=mass, friction=friction))


def compare(truth: ObjectState, seen: ObjectState) -> Sight:
    """How the boxes of states `[N ...]` were seen."""
    boxes = [k for k, kind in enumerate(truth.kind) if int(kind) == Kind.BOX]
    there = np.asarray(truth.present)[:, boxes]
    found = np.asarray(seen.present)[:, boxes]
    both = there & found
    true_position = np.asarray(truth.position_in_world)[:, boxes]
    position = np.asarray(seen.position_in_world)[:, boxes]
    yaw, tilt = turn_errors(
        np.asarray(truth.quaternion_in_world)[:, boxes], np.asarray(seen.quaternion_in_world)[:, boxes]
    )
    velocity = np.asarray(truth.linear_velocity_in_world) - np.asarray(seen.linear_velocity_in_world)
    away = np.linalg.norm(position[:, :, None] - true_position[:, None], axis=-1)
    away = np.where(there[:, None], away, np.inf)
    own = np.diagonal(away, axis1=1, axis2=2)
    nearest = away.argmin(axis=2)
    other = np.where(own < GATE, np.arange(len(boxes)), np.where(away.min(axis=2) < GATE, nearest, -1))

    def where_both(array: Floats) -> Floats:
        return np.where(both, array, np.nan)

    return Sight(
        position=where_both(np.where(np.isfinite(own), own, np.nan)),
        yaw=where_both(yaw),
        tilt=where_both(tilt),
        speed=where_both(np.linalg.norm(velocity[:, boxes], axis=-1)),
        present=there,
        found=found,
        other=np.where(both, other, -1),
    )


def turn_errors(true: Array, seen: Array) -> tuple[Floats, Floats]:
    """Errors `[*B]` of yaw modulo a quarter turn and of the upright axis, of cubes' quaternions `[*B 4]` [rad]."""

    def labelled(quaternion: Array) -> torch.Tensor:
        rotation = torch.as_tensor(quat_to_matrix(np.asarray(quaternion, np.float64)))
        relabelled: torch.Tensor = rotation @ nearest_labels(rotation)
        return relabelled

    a, b = labelled(true), labelled(seen)

    def heading(rotation: torch.Tensor) -> torch.Tensor:
        return torch.atan2(rotation[..., 1, 0] - rotation[..., 0, 1], rotation[..., 0, 0] + rotation[..., 1, 1])

    difference = torch.remainder(heading(a) - heading(b) + torch.pi / 4, torch.pi / 2) - torch.pi / 4
    tilt = (a[..., 2] * b[..., 2]).sum(-1).clamp(-1.0, 1.0).arccos()
    return difference.abs().numpy(), tilt.numpy()


def switches(other: NDArray[np.int64]) -> int:
    """How often, over frames `[T K]` of one episode, an estimate moves onto another object's place, or back."""
    count = 0
    for k in range(other.shape[1]):
        track = [int(x) for x in other[:, k] if x >= 0]
        count += sum(a != b for a, b in pairwise([k, *track]))
    return count


def foreground_ari(truth: Array, predicted: Array) -> float:
    """Adjusted Rand index (Hubert and Arabie 1985) of two labellings `[h w]` over the pixels whose truth is >= 0.

    1 is the same grouping, 0 is chance. NaN where fewer than two true groups leave nothing to tell apart.
    """
    inside = np.asarray(truth) >= 0
    groups, a = np.unique(np.asarray(truth)[inside], return_inverse=True)
    if len(groups) < 2:
        return float("nan")
    _, b = np.unique(np.asarray(predicted)[inside], return_inverse=True)
    table = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(table, (a, b), 1.0)

    def pairs(counts: Floats) -> float:
        return float((counts * (counts - 1.0) / 2.0).sum())

    together, rows, columns = pairs(table), pairs(table.sum(1)), pairs(table.sum(0))
    total = len(a) * (len(a) - 1.0) / 2.0
    expected = rows * columns / max(total, 1.0)
    most = 0.5 * (rows + columns)
    return 1.0 if most == expected else (together - expected) / (most - expected)


def owner_of(objects: ObjectState, entity: Array) -> Array:
    """Which of the boxes each pixel of `Frames.entity` shows, counted among boxes; -1 for none."""
    boxes = [k for k, kind in enumerate(objects.kind) if int(kind) == Kind.BOX]
    table = np.full(len(objects.names) + 1, -1, np.int64)
    table[boxes] = np.arange(len(boxes))
    return table[entity]
