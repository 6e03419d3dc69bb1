"""What a box sees of each box near it: the inputs of contact messages, in its own axes.

Its axes are turned by quarters about its upright one, pair by pair, until x points at the side that faces the sender: a
push is then the same push from whichever side it comes, and is learned once instead of four times.

Looked at, never differentiated through: gradients reach earlier steps through the poses that add up, not through
corners and distances. That trains as well (it is the pushforward trick of Brandstetter et al. 2022) at half the cost,
and lets one compiled pass on the CPU do what is a hundred small tensor operations; `contact_geometry` is its slow twin
and what runs on a GPU.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from world_models.cjepa import contact_kernel
from world_models.cjepa.contact_geometry import (
    FEATURES,
    GLANCE,
    axes_of,
    features,
    glance,
    relation,
    rotation_vector,
)
from world_models.cjepa.contact_kernel import BODY_MARGIN, HAND_MARGIN, REACH
from world_models.cjepa.hand import HAND_BOXES, Hand
from world_models.slots.bodies import Bodies

MOTION = 9
"""The sender's velocity relative to the receiver's, its spin, and its velocity at the step's end where known."""
CARRIED = 6
"""The sender's rigid motion over the step at the receiver's centre."""
EDGE = GLANCE + FEATURES + CARRIED + MOTION
"""Length of what is seen of a pair."""
SHIFT_UNIT, TURN_UNIT = 0.02, 0.2
"""[m], [rad] one unit of `CARRIED`; the same as the network's changes of pose."""
PERIOD = 0.1
"""[s] a control step."""


@dataclass(frozen=True)
class Edges:
    """Pairs that may touch within the step."""

    receiver: Int[Tensor, " E"]
    """Row `b N + i` of the box that feels."""
    sender: Int[Tensor, " E"]
    """Row `b (N + 4) + j`: the boxes, then the hand's."""
    weight: Float[Tensor, " E"]
    """1, or 0 for a pair listed only to keep the shape fixed."""


@dataclass(frozen=True)
class Sight:
    """What is seen of E pairs, in the receiver's axes as turned towards the sender."""

    seen: Float[Tensor, "E S"]
    """Inputs of a message."""
    carried: Float[Tensor, "E 6"]
    """The sender's rigid motion at the receiver's centre: shift and turn, in their units."""
    weight: Float[Tensor, " E"]
    """Fades from 1 to 0 with the gap."""
    turned: Float[Tensor, "E 3 3"]
    """From these axes back to the receiver's own."""


class Neighbourhood:
    """One control step's boxes and hand, as rows ready to be compared."""

    def __init__(self, bodies: Bodies, hand: Hand, hand_after: Hand, *, between_bodies: bool, sparse: bool) -> None:
        """Find who is near whom.

        Args:
            bodies: `[B N ...]`.
            hand: the hand now.
            hand_after: the hand at the end of the step.
            between_bodies: whether boxes may send to boxes.
            sparse: list near pairs only, found in one compiled pass; otherwise list all pairs and weigh the others 0:
                no shape depends on values, which a GPU would have to wait for.
        """
        self.shape = bodies.present.shape
        entities = self.shape[1]
        self.sparse = sparse
        here = packed(bodies.position, bodies.rotation)
        self.now = torch.cat([here, packed(hand.position, hand.rotation)], 1).flatten(0, 1)
        self.hand_after = packed(hand_after.position, hand_after.rotation)
        self.half = torch.cat([bodies.half_extents, hand.half], 1).flatten(0, 1)
        turned = rotation_vector(hand_after.rotation @ hand.rotation.mT) / PERIOD
        velocity = torch.cat([bodies.linear_velocity, hand.linear_velocity], 1)
        spin = torch.cat([bodies.angular_velocity, turned], 1)
        final = torch.cat([bodies.linear_velocity, hand_after.linear_velocity], 1)
        self.velocity = torch.cat([velocity, spin, final], -1).flatten(0, 1)
        after = torch.cat([here, self.hand_after], 1).flatten(0, 1)
        self.edges = self._edges(bodies.present, after, between_bodies)
        row = self.edges.receiver
        self.receiver_row = (row // entities) * (entities + HAND_BOXES) + row % entities

    def see(self, position: Float[Tensor, "B N 3"], rotation: Float[Tensor, "B N 3 3"]) -> "Sight":
        """What is seen of each pair if the boxes end the step there."""
        after = torch.cat([packed(position, rotation), self.hand_after], 1).flatten(0, 1)
        if self.sparse:
            seen = after.new_empty(len(self.receiver_row), EDGE)
            weight = after.new_empty(len(self.receiver_row))
            quarter = torch.empty_like(self.receiver_row)
            rows = (self.now, after, self.half, self.velocity, self.receiver_row, self.edges.sender)
            contact_kernel.see(*(array.contiguous().numpy() for array in (*rows, seen, weight, quarter)))
        else:
            seen, weight, quarter = see(self.now, after, self.half, self.velocity, self.receiver_row, self.edges.sender)
        carried = seen[:, GLANCE + FEATURES : GLANCE + FEATURES + CARRIED]
        return Sight(seen, carried, weight * self.edges.weight, _quarters(seen)[quarter])

    def _edges(self, present: Tensor, after: Tensor, between_bodies: bool) -> Edges:
        batch, entities = self.shape
        if self.sparse:
            receiver, sender = contact_kernel.near(
                self.now.numpy(), after.numpy(), self.half.numpy(), present.contiguous().numpy(), between_bodies
            )
            return Edges(torch.from_numpy(receiver), torch.from_numpy(sender), self.now.new_ones(len(receiver)))
        senders = entities + HAND_BOXES
        index = torch.arange(batch * entities * senders, device=present.device)
        receiver, other = index // senders, index % senders
        row, sender = (receiver // entities) * senders + receiver % entities, (receiver // entities) * senders + other
        there = present.flatten() > 0
        is_hand = other >= entities
        allowed = there[receiver] & (row != sender) & (is_hand | between_bodies)
        body = (receiver // entities) * entities + other.clamp(max=entities - 1)
        allowed &= is_hand | there[body]
        gap = self._gap(self.now, row, sender)
        gap = torch.where(is_hand, torch.minimum(gap, self._gap(after, row, sender)), gap)
        allowed &= gap < torch.where(is_hand, REACH + HAND_MARGIN, REACH + BODY_MARGIN)
        return Edges(receiver, sender, allowed.to(self.now.dtype))

    def _gap(self, poses: Tensor, row: Tensor, sender: Tensor) -> Tensor:
        return relation(self.now[row], self.half[row], poses[sender], self.half[sender])[2].amax((0, 2))


def see(
    now: Float[Tensor, "M 12"],
    after: Float[Tensor, "M 12"],
    half: Float[Tensor, "M 3"],
    velocity: Float[Tensor, "M 9"],
    receiver: Int[Tensor, " E"],
    sender: Int[Tensor, " E"],
) -> tuple[Float[Tensor, "E S"], Float[Tensor, " E"], Int[Tensor, " E"]]:
    """The slow twin of `contact_kernel.see`: what is seen, a weight that fades with the gap, quarters turned."""
    own = axes_of(now[receiver])
    offset = ((now[sender, :3] - now[receiver, :3])[:, :, None] * own).sum(1)[:, :2]
    x, y = offset.unbind(1)
    along_x = x.abs() - half[receiver, 0] >= y.abs() - half[receiver, 1]
    quarter = torch.where(along_x, 2 * (x < 0).long(), 1 + 2 * (y < 0).long())
    turned = _quarters(now)[quarter]
    axes = own @ turned
    near_half = (turned.abs().mT @ half[receiver][..., None])[..., 0]
    near_now = torch.cat([now[receiver, :3], axes.flatten(1)], 1)
    near_after = torch.cat([after[receiver, :3], (axes_of(after[receiver]) @ turned).flatten(1)], 1)
    before = relation(near_now, near_half, now[sender], half[sender])
    then = relation(near_after, near_half, after[sender], half[sender])
    twist = axes_of(after[sender]) @ axes_of(now[sender]).mT
    arm = now[receiver, :3] - now[sender, :3]
    shift = (twist * arm[:, None]).sum(-1) + after[sender, :3] - now[receiver, :3]
    relative = velocity[sender, :3] - velocity[receiver, :3]
    vectors = torch.stack(
        [
            shift / SHIFT_UNIT,
            rotation_vector(twist) / TURN_UNIT,
            relative / 0.3,
            velocity[sender, 3:6] / 3.0,
            velocity[sender, 6:] / 0.3,
        ],
        1,
    )
    gap = torch.minimum(before[2].amax((0, 2)), then[2].amax((0, 2)))
    weight = ((REACH - gap) / (0.5 * REACH)).clamp(0, 1)
    parts = [glance(*before), features(*then, near_half, half[sender]), (vectors @ axes).flatten(1)]
    return torch.cat(parts, -1), weight, quarter


def _quarters(like: Tensor) -> Float[Tensor, "4 3 3"]:
    """Turns about z by 0 to 3 quarters."""
    x, y, z = [1, 0, 0], [0, 1, 0], [0, 0, 1]
    back_x, back_y = [-1, 0, 0], [0, -1, 0]
    rows = [[x, y, z], [back_y, x, z], [back_x, back_y, z], [y, back_x, z]]
    return like.new_tensor(rows)


def packed(position: Float[Tensor, "B M 3"], rotation: Float[Tensor, "B M 3 3"]) -> Float[Tensor, "B M 12"]:
    """Poses as rows of numbers."""
    return torch.cat([position, rotation.flatten(-2)], -1)
