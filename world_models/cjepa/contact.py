"""One control step of the boxes: free motion, then rounds of contact messages between where boxes would be by then.

An interaction network on tentative poses. Each round looks at every pair near one another both where it is and where it
would go if nothing more happened, so the second round sees a chain (jaw pushes red, red pushes blue) within one step.
Everything is in the receiver's own axes, where gravity is one more input: moving or turning the whole scene about the
vertical turns the prediction with it.
"""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from world_models.cjepa.contact_geometry import SKIN, lowest, rotation_vector, turn
from world_models.cjepa.edges import EDGE, SHIFT_UNIT, TURN_UNIT, Edges, Neighbourhood
from world_models.cjepa.hand import HAND_BOXES, Hand
from world_models.slots.bodies import Bodies
from world_models.slots.slots import declared

UNITS = (SHIFT_UNIT, TURN_UNIT, 0.2, 2.0)
"""One unit of the network's change of position [m], orientation [rad], velocity [m/s] and spin [rad/s]."""
NODE = 32


class Message(nn.Module):
    """What a pair sends to its receiver: an MLP whose first layer is taken apart, so that boxes are multiplied once."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.seen = nn.Linear(EDGE, hidden)
        self.receiver = nn.Linear(width, hidden, bias=False)
        self.sender = nn.Linear(width, hidden, bias=False)
        self.hand = nn.Parameter(0.1 * torch.randn(HAND_BOXES, hidden))
        self.deep = nn.Linear(hidden, hidden)
        self.out = nn.Linear(hidden, width + 2 + 12)
        with torch.no_grad():
            self.out.weight[width:].zero_()
            self.out.bias[width:].zero_()

    def forward(self, hidden: Float[Tensor, "B N W"], seen: Float[Tensor, "E S"], edges: Edges) -> Float[Tensor, "E M"]:
        """What is said, in three parts.

        The message; how much of the sender's rigid motion (shift, turn) the receiver takes over; and what is added to
        the receiver's change, in the axes of the pair.
        """
        batch = hidden.shape[0]
        receiver = self.receiver(hidden).flatten(0, 1)
        sender = torch.cat([self.sender(hidden), self.hand.expand(batch, -1, -1)], 1).flatten(0, 1)
        first = self.seen(seen) + receiver.index_select(0, edges.receiver) + sender.index_select(0, edges.sender)
        message: Tensor = self.out(functional.silu(self.deep(functional.silu(first))))
        return message


class ContactModel(nn.Module):
    """Moves `Bodies` by one control step."""

    def __init__(self, context: int, width: int = 48, hidden: int = 64, rounds: int = 2) -> None:
        """`context` is the width of the embedding that comes with each box; 0 for none."""
        super().__init__()
        self.width = width
        self.free = _mlp(NODE, hidden, width + 12)
        self.context = nn.Linear(context, width) if context else None
        self.messages = nn.ModuleList(Message(width, hidden) for _ in range(rounds))
        self.updates = nn.ModuleList(_mlp(2 * width + 14, hidden, width + 12) for _ in range(rounds))
        with torch.no_grad():
            for mlp in (self.free, *self.updates):
                last = mlp[-1]
                last.weight[-12:].zero_()
                last.bias[-12:].zero_()
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
            sparse: see `Neighbourhood`; True on a CPU only.
        """
        device = bodies.position.device.type
        # Geometry is millimetres in tens of centimetres: more digits than bfloat16 has.
        with torch.no_grad(), torch.autocast(device, enabled=False):
            nodes = _node_features(bodies, before)
            around = Neighbourhood(bodies, hand, hand_after, between_bodies=between_bodies, sparse=sparse)
        hidden, delta = self.free(nodes).split([self.width, 12], -1)
        if self.context is not None and context is not None:
            hidden = hidden + self.context(context)
        for message, update in zip(self.messages, self.updates, strict=True):
            hidden, delta = self._round(bodies, around, message, update, hidden, delta)
        with torch.autocast(device, enabled=False):
            return moved(bodies, delta.float())

    def _round(
        self,
        bodies: Bodies,
        around: Neighbourhood,
        message: nn.Module,
        update: nn.Module,
        hidden: Tensor,
        delta: Tensor,
    ) -> tuple[Tensor, Tensor]:
        with torch.no_grad(), torch.autocast(bodies.position.device.type, enabled=False):
            tentative = moved(bodies, delta.float())
            sight = around.see(tentative.position, tentative.rotation)
            height = _height_features(lowest(tentative.position, tentative.rotation, bodies.half_extents))
        said = message(hidden, sight.seen, around.edges)
        sent, gates, added = said.split([self.width, 2, 12], -1)
        # A held box moves rigidly with what holds it: one number says how much of that motion it takes over.
        taken = added + functional.pad(gates.repeat_interleave(3, 1) * sight.carried, (0, 6))
        taken = (taken.float().reshape(-1, 4, 3) @ sight.turned.mT).flatten(1)
        rows = torch.cat([sent.float(), taken], -1) * sight.weight[:, None]
        total = rows.new_zeros(hidden.shape[0] * hidden.shape[1], rows.shape[1])
        total = total.index_add(0, around.edges.receiver, rows).reshape(*hidden.shape[:2], -1)
        delta = delta + total[..., self.width :]
        change_hidden, change = update(torch.cat([hidden, total[..., : self.width], delta, height], -1)).split(
            [self.width, 12], -1
        )
        return hidden + change_hidden, delta + change


def moved(bodies: Bodies, delta: Float[Tensor, "B N 12"]) -> Bodies:
    """The boxes after a change given in their own axes, in `UNITS`."""
    scale = delta.new_tensor(UNITS)[:, None]
    move, rotate, faster, spin = ((delta.reshape(*delta.shape[:-1], 4, 3) * scale) @ bodies.rotation.mT).unbind(-2)
    return replace(
        bodies,
        position=bodies.position + move,
        rotation=turn(rotate) @ bodies.rotation,
        linear_velocity=bodies.linear_velocity + faster,
        angular_velocity=bodies.angular_velocity + spin,
    )


def _node_features(bodies: Bodies, before: Bodies) -> Float[Tensor, "B N F"]:
    vectors = torch.stack(
        [
            bodies.linear_velocity / 0.3,
            bodies.angular_velocity / 3.0,
            before.linear_velocity / 0.3,
            before.angular_velocity / 3.0,
            (before.position - bodies.position) / SHIFT_UNIT,
            rotation_vector(before.rotation @ bodies.rotation.mT) / TURN_UNIT,
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
            torch.stack(declared(bodies), -1),
            bodies.present[..., None],
        ],
        -1,
    )


def _height_features(height: Float[Tensor, "B N"]) -> Float[Tensor, "B N 2"]:
    return torch.stack([(height / 0.02).clamp(-2, 2), torch.sigmoid(-height / SKIN)], -1)


def _mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, outputs)
    )
