"""Camera frames to `ObjectState`, frame after frame: who is where, how fast, and how sure that is.

A slot is bound to its name by the colour the name stands for, and stays bound through time: what the last frame knew is
looked at again in the next one. A hidden object is remembered where it was, or carried along where the hand held it; it
is given up when its place is in plain view and empty.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from envs.errors import EmbodiedError
from envs.geometry import matrix_to_quat, quat_to_matrix
from envs.kinematics import body_poses
from envs.types import PROPRIOCEPTION, Kind, ObjectState, Observation
from envs.views import Views
from world_models.cjepa.contact_geometry import rotation_vector
from world_models.slots.bodies import nearest_labels
from world_models.slots.pixels import GRASP, Percepts, PixelEncoder, hand_of
from world_models.slots.slots import NOMINAL_FRICTION, NOMINAL_MASS

ROBOT = ("gripper", "fixed_jaw", "moving_jaw")
"""Entities that follow the arm's joints."""
PATIENCE = 5
"""Frames in a row in which an object's place is seen to be empty before it is given up."""
EMPTY = -1.0
"""Log-odds of being here below which a place counts as empty."""
STILL_POSITION, STILL_TURN = 0.003, 0.05
"""[m], [rad] per frame: changes below these are noise of the encoder, and are averaged away; from twice these on they
are motion."""
SETTLING = 0.3
"""Weight of one frame in that average."""
SUNK = 0.00095
"""[m] how deep a resting box gives way to the table, see `envs.physics`."""
LYING, UPRIGHT = 0.003, 0.99
"""[m] an estimate this near to where a box would lie on the table, and standing (cosine of its lean), is taken to lie
there: 1.2 instead of 1.4 mm off on play of the arm. What-if skill does not tell the two apart, nor velocities that are
true, none, or the model's own forecast from the frame before (spill-over 0.51 to 0.55 on 300 what-ifs)."""
REACH = 0.01
"""[m] confidence is the probability that the position is right to this."""
FADING = 0.9
"""Of confidence, per frame unseen."""


@dataclass
class _Tracks:
    """What is known of N x K objects."""

    known: Tensor
    position: Tensor
    rotation: Tensor
    linear: Tensor
    angular: Tensor
    half_extents: Tensor
    colour: Tensor
    spread: Tensor
    unseen: Tensor
    """Frames since it was seen last."""
    empty: Tensor
    """Frames in a row that showed its place empty."""
    frames: Tensor
    """Frames that showed it."""


class Perceiver:
    """Perceives N worlds at once; call `reset` before other worlds or another episode."""

    def __init__(
        self, encoder: PixelEncoder, views: Views, queries: Mapping[str, tuple[float, float, float]], rate: float = 10.0
    ) -> None:
        """Of an encoder, the calibration `[C ...]` of its cameras, the colours of names, and frames per second [Hz].

        Raises `EmbodiedError` where the calibration is of other cameras than the encoder's.
        """
        if views.names != encoder.config.cameras:
            raise EmbodiedError(
                f"A calibration of {', '.join(views.names)} was given; the encoder's cameras are "
                f"{', '.join(encoder.config.cameras)}, in this order."
            )
        self.encoder, self.queries, self.rate = encoder.eval(), dict(queries), rate
        self.views = views.map(lambda array: torch.as_tensor(array, dtype=torch.float32))
        self._tracks: _Tracks | None = None
        self._hand: Tensor | None = None

    def reset(self) -> None:
        """Forget everything about past frames."""
        self._tracks = self._hand = None

    def perceive(self, observation: Observation) -> ObjectState:
        """The state that images and joints show `[*B ...]`, in the kind of arrays given.

        Of `observation.objects` only what is declared is used: names, kinds, masses, frictions, and all of entities
        that are neither boxes nor parts of the robot.

        Raises:
            EmbodiedError: for missing images, images that are no uint8, an object whose name stands for no colour, or
                another number of worlds than in the last frame.
        """
        told = observation.objects
        batch = told.shape
        boxes = [k for k, kind in enumerate(told.kind) if int(kind) == Kind.BOX]
        names = [told.names[k] for k in boxes]
        images, joints, joint_velocity = self._inputs(observation, batch)
        queries = self._queries(names).expand(len(joints), -1, -1)
        with torch.no_grad():
            self._see(images, joints, queries, _table(told))
        assert self._tracks is not None
        return _filled(told, boxes, self._tracks, joints, joint_velocity, batch)

    def _inputs(self, observation: Observation, batch: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
        cameras = self.encoder.config.cameras
        missing = [name for name in cameras if name not in observation.images]
        if missing:
            there = ", ".join(observation.images) or "none"
            raise EmbodiedError(f"Images of {', '.join(missing)} are needed; the observation has {there}.")
        images = torch.stack([torch.as_tensor(observation.images[name]) for name in cameras], len(batch))
        images = images.reshape(-1, *images.shape[len(batch) :])
        body = torch.as_tensor(observation.proprioception).double().reshape(len(images), -1)
        return images, body[:, PROPRIOCEPTION["joint_position"]], body[:, PROPRIOCEPTION["joint_velocity"]]

    def _queries(self, names: list[str]) -> Tensor:
        for name in names:
            if name not in self.queries:
                raise EmbodiedError(
                    f"No colour is known for {name!r}; there are colours for {', '.join(self.queries)}."
                )
        return torch.tensor([self.queries[name] for name in names], dtype=torch.float32).reshape(1, -1, 3)

    def _see(self, images: Tensor, joints: Tensor, queries: Tensor, table: Tensor) -> None:
        position, quaternion = body_poses(joints)
        rotation = quat_to_matrix(quaternion[:, 0])
        hand = hand_of(position[:, 0], rotation, joints[:, 5]).float()
        N, K = queries.shape[:2]
        tracks = self._tracks or _nothing(N, K)
        if tracks.known.shape != (N, K):
            raise EmbodiedError(
                f"{N} worlds with {K} objects were given after frames of {tracks.known.shape[0]} with "
                f"{tracks.known.shape[1]}; call reset() between them."
            )
        _carry(tracks, self._hand, hand)
        views = self.views[None].map(lambda array: array.expand(N, *array.shape[1:]))
        percepts = self.encoder(images, views, queries, hand, tracks.position, tracks.known.float())
        _update(tracks, _laid(percepts, table), self.rate)
        self._tracks, self._hand = tracks, hand


def rotation_of(quarter_turn: Tensor, up: Tensor) -> Tensor:
    """Rotations `[*B 3 3]` of a turn about the vertical (cosine and sine of four times it), leant so that z is `up`."""
    yaw = 0.25 * torch.atan2(quarter_turn[..., 1], quarter_turn[..., 0] + 1e-9)
    zero, one = torch.zeros_like(yaw), torch.ones_like(yaw)
    turn = torch.stack([yaw.cos(), -yaw.sin(), zero, yaw.sin(), yaw.cos(), zero, zero, zero, one], -1)
    x, y, z = up.unbind(-1)
    # Rodrigues' formula for the smallest rotation that takes the vertical to `up`.
    scale = 1.0 / (1.0 + z).clamp(min=1e-3)
    lean = torch.stack([1 - scale * x * x, -scale * x * y, x, -scale * x * y, 1 - scale * y * y, y, -x, -y, z], -1)
    rotation: Tensor = lean.unflatten(-1, (3, 3)) @ turn.unflatten(-1, (3, 3))
    return rotation


def _nothing(N: int, K: int) -> _Tracks:
    zeros, vector = torch.zeros(N, K), torch.zeros(N, K, 3)
    return _Tracks(
        known=torch.zeros(N, K, dtype=torch.bool),
        position=vector.clone(),
        rotation=torch.eye(3).repeat(N, K, 1, 1),
        linear=vector.clone(),
        angular=vector.clone(),
        half_extents=vector.clone(),
        colour=vector.clone(),
        spread=torch.ones(N, K),
        unseen=zeros.clone(),
        empty=zeros.clone(),
        frames=zeros.clone(),
    )


def _carry(tracks: _Tracks, before: Tensor | None, hand: Tensor) -> None:
    """Move what vanished within `GRASP` of the tool along with the hand."""
    if before is None:
        return
    carried = tracks.known & (tracks.unseen > 0) & ((tracks.position - before[:, None, :3]).norm(dim=-1) < GRASP)
    turn = (_axes(hand) @ _axes(before).mT)[:, None]
    moved = hand[:, None, :3] + (turn @ (tracks.position - before[:, None, :3])[..., None])[..., 0]
    tracks.position = torch.where(carried[..., None], moved, tracks.position)
    tracks.rotation = torch.where(carried[..., None, None], turn @ tracks.rotation, tracks.rotation)


def _axes(hand: Tensor) -> Tensor:
    """The hand's rotation `[N 3 3]`."""
    first, second = hand[:, 3:6], hand[:, 6:9]
    return torch.stack([first, second, torch.linalg.cross(first, second)], -1)


def _table(told: ObjectState) -> Tensor:
    """Height of the table's top `[N]` [m]."""
    k = next(k for k, kind in enumerate(told.kind) if int(kind) == Kind.TABLE)
    position, half = (torch.as_tensor(each)[..., k, 2] for each in (told.position_in_world, told.half_extents))
    return (position + half).float().reshape(-1)


def _laid(percepts: Percepts, table: Tensor) -> Percepts:
    """Boxes that nearly lie on the table do: their height is the table's."""
    position = percepts.position
    height = table[:, None] + percepts.half_extents[..., 2] - SUNK
    lies = ((position[..., 2] - height).abs() < LYING) & (percepts.up[..., 2] > UPRIGHT)
    height = torch.where(lies, height, position[..., 2])
    return replace(percepts, position=torch.cat([position[..., :2], height[..., None]], -1))


def _update(tracks: _Tracks, percepts: Percepts, rate: float) -> None:
    """Take over what is seen; remember what is not."""
    seen = (percepts.visible > 0) & (percepts.here > 0)
    again = seen & tracks.known & (tracks.unseen == 0)
    rotation = rotation_of(percepts.quarter_turn, percepts.up)
    # Of a cube's equal orientations, the one that continues the last frame's.
    relative = tracks.rotation.mT @ rotation
    rotation = torch.where(tracks.known[..., None, None], rotation @ nearest_labels(relative), rotation)
    shift = percepts.position - tracks.position
    turned = rotation @ tracks.rotation.mT
    moving = _motion(shift.norm(dim=-1), STILL_POSITION, again)
    turning = _motion(rotation_vector(turned).norm(dim=-1), STILL_TURN, again)
    position = tracks.position + (SETTLING + (1.0 - SETTLING) * moving) * shift
    share = (SETTLING + (1.0 - SETTLING) * turning)[..., None]
    blended = _orthonormal(tracks.rotation + share * (rotation - tracks.rotation))

    def keep(new: Tensor, old: Tensor) -> Tensor:
        return torch.where(seen.reshape(*seen.shape, *[1] * (new.ndim - 2)), new, old)

    was = again[..., None]
    tracks.linear = torch.where(was, rate * moving * shift, 0.0)
    tracks.angular = torch.where(was, rate * turning * rotation_vector(turned), 0.0)
    tracks.position, tracks.rotation = keep(position, tracks.position), keep(blended, tracks.rotation)
    share = 1.0 / (1.0 + tracks.frames.clamp(max=20.0))[..., None]
    tracks.half_extents = keep(
        tracks.half_extents + share * (percepts.half_extents - tracks.half_extents), tracks.half_extents
    )
    tracks.colour = keep(tracks.colour + share * (percepts.colour - tracks.colour), tracks.colour)
    tracks.spread = keep(percepts.spread, tracks.spread)
    tracks.frames = tracks.frames + seen
    tracks.unseen = torch.where(seen, 0.0, tracks.unseen + 1.0)
    tracks.empty = torch.where(percepts.here < EMPTY, tracks.empty + 1.0, 0.0)
    tracks.known = (tracks.known | seen) & (tracks.empty < PATIENCE)
    tracks.frames = tracks.frames * tracks.known


def _motion(change: Tensor, noise: float, again: Tensor) -> Tensor:
    """How much of a change since the last frame is motion, 0..1 `[N K 1]`: all of it where there was no last frame."""
    share = ((change - noise) / noise).clamp(0.0, 1.0)
    return torch.where(again, share, 1.0)[..., None]


def _orthonormal(matrix: Tensor) -> Tensor:
    """The rotation nearest to a matrix that is nearly one: its z axis kept."""
    z = torch.nn.functional.normalize(matrix[..., 2], dim=-1)
    x = matrix[..., 0] - (matrix[..., 0] * z).sum(-1, keepdim=True) * z
    x = torch.nn.functional.normalize(x, dim=-1)
    return torch.stack([x, torch.linalg.cross(z, x), z], -1)


def _filled(
    told: ObjectState, boxes: list[int], tracks: _Tracks, joints: Tensor, joint_velocity: Tensor, batch: tuple[int, ...]
) -> ObjectState:
    """What is declared, with boxes as tracked and the hand by forward kinematics."""
    numpy = not isinstance(told.position_in_world, Tensor)
    known = tracks.known
    there = known[..., None]
    identity = torch.tensor([1.0, 0.0, 0.0, 0.0])
    sure = (1.0 - (-REACH / tracks.spread).exp()) * FADING**tracks.unseen
    columns: dict[str, Tensor] = {
        "position_in_world": tracks.position * there,
        "quaternion_in_world": torch.where(there, matrix_to_quat(tracks.rotation), identity),
        "linear_velocity_in_world": tracks.linear * there,
        "angular_velocity_in_world": tracks.angular * there,
        "half_extents": tracks.half_extents * there,
        "colour": tracks.colour * there,
        "confidence": sure * known,
        "present": known,
    }
    where = [told.index(name) for name in ROBOT]
    position, quaternion = body_poses(joints)
    moment = 1e-3
    later_position, later_quaternion = body_poses(joints + moment * joint_velocity)
    turned = quat_to_matrix(later_quaternion) @ quat_to_matrix(quaternion).mT
    hand = {
        "position_in_world": position,
        "quaternion_in_world": quaternion,
        "linear_velocity_in_world": (later_position - position) / moment,
        "angular_velocity_in_world": rotation_vector(turned) / moment,
    }

    def put(array: Any, name: str) -> Any:
        whole = np.array(array) if numpy else array.clone()
        for indices, values in ((boxes, columns.get(name)), (where, hand.get(name))):
            if values is not None:
                shaped = values.reshape(*batch, *values.shape[1:])
                value: Any = shaped.numpy() if numpy else shaped.to(torch.as_tensor(whole).dtype)
                at = (..., indices) if values.ndim == 2 else (..., indices, slice(None))
                whole[at] = value
        return whole

    changes = {name: put(getattr(told, name), name) for name in {*columns, *hand}}
    for name, nominal in (("mass", NOMINAL_MASS), ("friction", NOMINAL_FRICTION)):
        whole = put(getattr(told, name), name)
        part = torch.as_tensor(whole)[..., boxes].reshape(known.shape)
        part = torch.where(known, torch.where(part > 0, part, nominal), 0.0).reshape(*batch, len(boxes))
        whole[..., boxes] = part.numpy() if numpy else part
        changes[name] = whole
    return replace(told, **changes)
