"""One control step of the boxes: free motion, then rounds of contact messages between where boxes would be by then.

An interaction network on tentative poses. Each round looks at every pair near one another both where it is and where it
would go if nothing more happened, so the second round sees a chain (jaw pushes red, red pushes blue) within one step.
Everything is in the receiver's own axes, where gravity is one more input: moving or turning the whole scene about the
vertical turns the prediction with it.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from world_models.cjepa import contact_geometry
from world_models.cjepa.contact_geometry import lowest, rotation_vector, turn
from world_models.cjepa.hand import HAND_BOXES, Hand
from world_models.slots.bodies import Bodies
from world_models.slots.slots import declared

REACH = 0.02
"""[m] messages fade to zero as the gap of two boxes, now and at the step's end, grows from half of this to all of it."""
MARGIN = 0.035
"""[m] boxes whose bounding spheres are further apart are not looked at: one moves at most 3 cm in a step."""
UNITS = (0.02, 0.2, 0.2, 2.0)
"""One unit of the network's change of position [m], orientation [rad], velocity [m/s] and spin [rad/s]."""
NODE = 32
_PERIOD = 0.1
_EDGE = contact_geometry.GLANCE + contact_geometry.FEATURES + 6 + 6 + 5 + 3


@dataclass(frozen=True)
class Edges:
    """Pairs that may touch within the step."""

    receiver: Int[Tensor, " E"]
    """Row `b N + i` of the box that feels."""
    sender: Int[Tensor, " E"]
    """Row `b (N + 4) + j`: the boxes, then the hand's."""
    weight: Float[Tensor, " E"]
    """1, or 0 for a pair listed only to keep the shape fixed."""


class ContactModel(nn.Module):
    """Moves `Bodies` by one control step."""

    def __init__(self, context: int, width: int = 48, hidden: int = 64, rounds: int = 2) -> None:
        super().__init__()
        self.width = width
        self.free = _mlp(NODE, hidden, width + 12)
        self.context = nn.Linear(context, width) if context else None
        self.messages = nn.ModuleList(_mlp(_EDGE + 2 * width, hidden, width + 2) for _ in range(rounds))
        self.updates = nn.ModuleList(_mlp(2 * width + 14, hidden, width + 12) for _ in range(rounds))
        self.hand = nn.Parameter(torch.zeros(HAND_BOXES, width))
        with torch.no_grad():
            for mlp in (self.free, *self.updates):
                _zero_last(mlp, slice(-12, None))
            for mlp in self.messages:
                _zero_last(mlp, slice(-2, None))
            if self.context is not None:
                self.context.weight.zero_()

    def forward(
        self,
        bodies: Bodies,
        before: Bodies,
        hand: Hand,
        hand_after: Hand,
        context: Float[Tensor, "B N C"] | None = None,
        *,
        between_bodies: bool = True,
        sparse: bool = True,
    ) -> Bodies:
        """The boxes one control step later.

        Args:
            bodies: where they are, `[B N ...]`.
            before: where they were one step earlier.
            hand: the hand now.
            hand_after: the hand at the end of the step.
            context: what the history says about each of them.
            between_bodies: False cuts the messages between boxes; the no-interaction baseline.
            sparse: look at near pairs only. False looks at all pairs and weighs the others 0: the same numbers with no
                dependence of shapes on values, which a GPU would have to wait for.
        """
        properties = torch.stack(declared(bodies), -1)
        hidden, delta = self.free(_node_features(bodies, before, properties)).split([self.width, 12], -1)
        if self.context is not None and context is not None:
            hidden = hidden + self.context(context)
        edges = near_pairs(bodies, hand, hand_after, between_bodies=between_bodies, sparse=sparse)
        pairs = _Pairs(bodies, hand, hand_after, edges, properties)
        for message, update in zip(self.messages, self.updates, strict=True):
            hidden, delta = self._round(pairs, message, update, hidden, delta)
        return _moved(bodies, delta)

    def _round(
        self, pairs: "_Pairs", message: nn.Sequential, update: nn.Sequential, hidden: Tensor, delta: Tensor
    ) -> tuple[Tensor, Tensor]:
        bodies, edges = pairs.bodies, pairs.edges
        tentative = _moved(bodies, delta)
        geometry, carried, weight = pairs.at(tentative)
        batch = hidden.shape[0]
        senders = torch.cat([hidden, self.hand.expand(batch, -1, -1)], 1).flatten(0, 1)
        inputs = torch.cat(
            [geometry, hidden.flatten(0, 1).index_select(0, edges.receiver), senders.index_select(0, edges.sender)], -1
        )
        sent, gates = message(inputs).split([self.width, 2], -1)
        # A box that is held or carried moves rigidly with what holds it: one number says how much of that motion it takes.
        taken = (gates[:, :, None] * carried).flatten(1)
        rows = torch.cat([sent, taken], -1) * weight[:, None]
        total = rows.new_zeros(hidden.shape[0] * hidden.shape[1], rows.shape[1]).index_add(0, edges.receiver, rows)
        total = total.unflatten(0, hidden.shape[:2])
        delta = torch.cat([delta[..., :6] + total[..., self.width :], delta[..., 6:]], -1)
        height = lowest(tentative.position, tentative.rotation, bodies.half_extents)
        inputs = torch.cat([hidden, total[..., : self.width], delta, _height_features(height)], -1)
        change_hidden, change = update(inputs).split([self.width, 12], -1)
        return hidden + change_hidden, delta + change


class _Pairs:
    """The pairs of one step: what stays the same over the rounds is gathered once."""

    def __init__(self, bodies: Bodies, hand: Hand, hand_after: Hand, edges: Edges, properties: Tensor) -> None:
        self.bodies, self.edges = bodies, edges
        batch, entities = bodies.present.shape
        self.hand_after = _packed(hand_after.position, hand_after.rotation)
        here = _packed(bodies.position, bodies.rotation)
        kinds = torch.arange(entities + HAND_BOXES, device=edges.sender.device) - entities
        kind = torch.stack([kinds < 0, (kinds >= 0) & (kinds < 2), kinds >= 2], -1).to(here.dtype)
        half = torch.cat([bodies.half_extents, hand.half], 1)
        properties = torch.cat([properties, properties.new_zeros(batch, HAND_BOXES, 2)], 1)
        moved = (hand_after.position - hand.position) / _PERIOD
        turned = rotation_vector(hand_after.rotation @ hand.rotation.mT) / _PERIOD
        velocity = torch.cat([bodies.linear_velocity, moved], 1)
        spin = torch.cat([bodies.angular_velocity, turned], 1)
        there = torch.cat([here, _packed(hand.position, hand.rotation)], 1)
        senders = torch.cat([there, half, velocity, spin, kind.expand(batch, -1, -1), properties], -1)
        receivers = torch.cat([here, bodies.half_extents, bodies.linear_velocity], -1)
        receiver = receivers.flatten(0, 1).index_select(0, edges.receiver)
        sender = senders.flatten(0, 1).index_select(0, edges.sender)
        self.receiver, self.receiver_half, receiver_velocity = receiver.split([12, 3, 3], -1)
        self.sender, self.sender_half, sender_velocity, sender_spin, fixed = sender.split([12, 3, 3, 3, 5], -1)
        self.axes = self.receiver[:, 3:].unflatten(1, (3, 3))
        motion = torch.stack([(sender_velocity - receiver_velocity) / 0.3, sender_spin / 3.0], 1) @ self.axes
        self.fixed = torch.cat([motion.flatten(1), fixed, self.sender_half / 0.014 - 1.0], -1)
        relation = contact_geometry.relation(self.receiver, self.receiver_half, self.sender, self.sender_half)
        self.now = contact_geometry.glance(*relation)
        self.gap = relation[2].amax((0, 2))

    def at(self, tentative: Bodies) -> tuple[Tensor, Tensor, Tensor]:
        """Edge inputs `[E F]`, the sender's rigid motion at the receiver's centre `[E 2 3]`, and the weight `[E]`."""
        edges = self.edges
        there = _packed(tentative.position, tentative.rotation)
        receiver = there.flatten(0, 1).index_select(0, edges.receiver)
        sender = torch.cat([there, self.hand_after], 1).flatten(0, 1).index_select(0, edges.sender)
        relation = contact_geometry.relation(receiver, self.receiver_half, sender, self.sender_half)
        then = contact_geometry.features(*relation, self.receiver_half, self.sender_half)
        gap = relation[2].amax((0, 2))
        twist = sender[:, 3:].unflatten(1, (3, 3)) @ self.sender[:, 3:].unflatten(1, (3, 3)).mT
        arm = self.receiver[:, :3] - self.sender[:, :3]
        shift = (twist * arm[:, None]).sum(-1) + sender[:, :3] - self.receiver[:, :3]
        carried = torch.stack([shift / UNITS[0], rotation_vector(twist) / UNITS[1]], 1) @ self.axes
        near = ((REACH - torch.minimum(gap, self.gap)) / (0.5 * REACH)).clamp(0, 1)
        return torch.cat([self.now, then, carried.flatten(1), self.fixed], -1), carried, near * edges.weight


def near_pairs(bodies: Bodies, hand: Hand, hand_after: Hand, *, between_bodies: bool, sparse: bool) -> Edges:
    """Which pairs are looked at in this step; a box that is absent is in none."""
    batch, entities = bodies.present.shape
    with torch.no_grad():
        radius = bodies.half_extents.square().sum(-1).sqrt()
        hand_radius = hand.half.square().sum(-1).sqrt()
        to_bodies = torch.cdist(bodies.position, bodies.position) - radius[:, None] - MARGIN
        to_hand = torch.minimum(
            torch.cdist(bodies.position, hand.position), torch.cdist(bodies.position, hand_after.position)
        )
        # Where the hand will be is known, so its reach needs no margin.
        apart = torch.cat([to_bodies, to_hand - hand_radius[:, None] - REACH], -1) - radius[..., None]
        there = bodies.present > 0
        pair = there[:, :, None] & there[:, None] & ~torch.eye(entities, dtype=torch.bool, device=there.device)
        pair = pair & between_bodies
        allowed = torch.cat([pair, there[..., None].expand(-1, -1, HAND_BOXES)], -1) & (apart < 0.0)
        if not sparse:
            index = torch.arange(allowed.numel(), device=there.device)
            receiver, sender = _pair_rows(index, entities)
            return Edges(receiver, sender, allowed.flatten().to(bodies.position.dtype))
        receiver, sender = _pair_rows(allowed.flatten().nonzero()[:, 0], entities)
        weight = torch.ones_like(receiver, dtype=bodies.position.dtype)
        return Edges(receiver, sender, weight)


def _pair_rows(index: Int[Tensor, " E"], entities: int) -> tuple[Int[Tensor, " E"], Int[Tensor, " E"]]:
    """Receiver and sender rows of entries of a flattened `[B N N+4]`."""
    senders = entities + HAND_BOXES
    receiver = index // senders
    return receiver, (receiver // entities) * senders + index % senders


def _node_features(bodies: Bodies, before: Bodies, properties: Tensor) -> Tensor:
    vectors = torch.stack(
        [
            bodies.linear_velocity / 0.3,
            bodies.angular_velocity / 3.0,
            before.linear_velocity / 0.3,
            before.angular_velocity / 3.0,
            (before.position - bodies.position) / 0.02,
            rotation_vector(before.rotation @ bodies.rotation.mT) / 0.2,
        ],
        -2,
    )
    height = lowest(bodies.position, bodies.rotation, bodies.half_extents)
    return torch.cat(
        [
            (vectors @ bodies.rotation).flatten(-2),
            bodies.rotation[..., 2, :],
            bodies.half_extents / 0.014 - 1.0,
            bodies.position[..., 2:] / 0.05,
            _height_features(height),
            _height_features(height - 0.028),
            properties,
            bodies.present[..., None],
        ],
        -1,
    )


def _height_features(height: Tensor) -> Tensor:
    return torch.stack([(height / 0.02).clamp(-2, 2), torch.sigmoid(-height / contact_geometry.SKIN)], -1)


def _moved(bodies: Bodies, delta: Float[Tensor, "B N 12"]) -> Bodies:
    """The boxes after a change given in their own axes, in `UNITS`."""
    scale = delta.new_tensor(UNITS)[:, None]
    change = (delta.unflatten(-1, (4, 3)) * scale) @ bodies.rotation.mT
    move, rotate, faster, spin = change.unbind(-2)
    return replace(
        bodies,
        position=bodies.position + move,
        rotation=turn(rotate) @ bodies.rotation,
        linear_velocity=bodies.linear_velocity + faster,
        angular_velocity=bodies.angular_velocity + spin,
    )


def _packed(position: Tensor, rotation: Tensor) -> Float[Tensor, "B M 12"]:
    return torch.cat([position, rotation.flatten(-2)], -1)


def _mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, outputs)
    )


def _zero_last(mlp: nn.Sequential, outputs: slice) -> None:
    last = mlp[-1]
    assert isinstance(last, nn.Linear)
    last.weight[outputs].zero_()
    last.bias[outputs].zero_()
