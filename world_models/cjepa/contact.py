"""One short step of the objects: free motion, then rounds of contact messages between where they would be by then.

An interaction network on tentative poses. Each round looks at every pair near one another both where it is and where it
would go if nothing more happened, so the second round sees a chain (jaw pushes red, red pushes blue) within one step.
Everything is in the receiver's own axes, where gravity is one more input: moving or turning the whole scene about the
vertical turns the prediction with it. What rests on the table while nothing near it moves stays exactly where it
is, and costs nothing.

What a step may do to an object is bounded, see `restraint`.
"""

from dataclasses import fields, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from world_models.cjepa.contact_geometry import FOOTING, SKIN, TREADS, WEDGES, footing, lowest, turn
from world_models.cjepa.edges import EDGE, Edges, Neighbourhood, Scale, packed
from world_models.cjepa.restraint import restrained
from world_models.embodiment.joints import Effector
from world_models.slots.bodies import Bodies
from world_models.slots.slots import declared

FASTER, SPIN = 0.2, 2.0
"""One unit of the network's change of velocity [m/s] and spin [rad/s]."""
NODE = 21
GATES = 2 + 4 * WEDGES
"""Numbers of a message that say how much of a motion known from geometry the receiver takes over."""


class Message(nn.Module):
    """What a pair sends to its receiver: an MLP, its first layer taken apart to multiply objects once."""

    def __init__(self, solids: int, width: int, hidden: int) -> None:
        super().__init__()
        self.seen = nn.Linear(EDGE, hidden)
        self.receiver = nn.Linear(width, hidden, bias=False)
        self.sender = nn.Linear(width, hidden, bias=False)
        self.effector = nn.Parameter(0.1 * torch.randn(solids + 1, hidden))
        """Of the effector's solids, and of all objects that sleep."""
        self.deep = nn.Linear(hidden, hidden)
        self.out = nn.Linear(hidden, width + GATES + 12)
        with torch.no_grad():
            self.out.weight[width:].zero_()
            self.out.bias[width:].zero_()

    def forward(self, hidden: Float[Tensor, "A W"], seen: Float[Tensor, "E S"], edges: Edges) -> Float[Tensor, "E M"]:
        """What is said, in four parts.

        The message; how much of the sender's rigid motion (shift, turn) the receiver takes over; how much of what would
        undo each overlap and slip (shift, turn, and as velocity and spin); and what is added to the receiver's change,
        in the axes of the pair.
        """
        sender = torch.cat([self.sender(hidden), self.effector])
        first = self.seen(seen) + self.receiver(hidden).index_select(0, edges.receiver)
        first = first + sender.index_select(0, edges.who)
        message: Tensor = self.out(functional.silu(self.deep(functional.silu(first))))
        return message


class ContactModel(nn.Module):
    """Moves `Bodies` by one step."""

    def __init__(
        self, period: float, solids: int, context: int, width: int = 48, hidden: int = 64, rounds: int = 2
    ) -> None:
        """A step lasts `period` [s]; an embedding of width `context` comes with each object, 0 is none."""
        super().__init__()
        self.width = width
        self.scale = Scale(period)
        self.free = _mlp(NODE, hidden, width + 12)
        self.context = nn.Linear(context, width) if context else None
        self.messages = nn.ModuleList(Message(solids, width, hidden) for _ in range(rounds))
        self.updates = nn.ModuleList(
            _mlp(2 * width + 12 + FOOTING, hidden, width + 12 + 4 * TREADS) for _ in range(rounds)
        )
        with torch.no_grad():
            for mlp in (self.free, *self.updates):
                last = mlp[-1]
                last.weight[width:].zero_()
                last.bias[width:].zero_()
            if self.context is not None:
                self.context.weight.zero_()

    @property
    def units(self) -> tuple[float, float, float, float]:
        """Of a change's four vectors: shift [m], turn [rad], velocity [m/s], spin [rad/s]."""
        return self.scale.shift, self.scale.turn, FASTER, SPIN

    def forward(
        self,
        bodies: Bodies,
        effector: Effector,
        effector_after: Effector,
        context: Float[Tensor, "B N C"] | None = None,
        *,
        between_bodies: bool = True,
        sparse: bool = True,
    ) -> Bodies:
        """The objects one step later.

        Args:
            bodies: where they are, `[B N ...]`.
            effector: the robot's solids now.
            effector_after: the same at the end of the step.
            context: what the history says about each object.
            between_bodies: False cuts the messages between objects; the no-interaction baseline.
            sparse: see `Neighbourhood`; True on a CPU only.
        """
        device = bodies.position.device.type
        # Geometry is millimetres in tens of centimetres: more digits than bfloat16 has.
        with torch.no_grad(), torch.autocast(device, enabled=False):
            around = Neighbourhood(
                bodies, effector, effector_after, self.scale, between_bodies=between_bodies, sparse=sparse
            )
        own = Bodies(**{f.name: getattr(bodies, f.name).flatten(0, 1)[around.awake] for f in fields(Bodies)})
        with torch.no_grad(), torch.autocast(device, enabled=False):
            nodes = _node_features(own)
        hidden, change = self.free(nodes).split([self.width, 12], -1)
        if self.context is not None and context is not None:
            hidden = hidden + self.context(context.flatten(0, 1)[around.awake])
        delta = self._drift(own) + change
        for message, update in zip(self.messages, self.updates, strict=True):
            hidden, delta = self._round(own, around, message, update, hidden, delta)
        with torch.autocast(device, enabled=False):
            delta = delta.float()
            # Straight through: what goes too far is still told which way is right.
            delta = delta + (restrained(own, around, delta.detach(), self.units) - delta).detach()
            after = self._moved(own, delta * around.moves[:, None])
            return _put_back(bodies, after, around.awake)

    def _round(
        self,
        own: Bodies,
        around: Neighbourhood,
        message: nn.Module,
        update: nn.Module,
        hidden: Tensor,
        delta: Tensor,
    ) -> tuple[Tensor, Tensor]:
        with torch.no_grad(), torch.autocast(own.position.device.type, enabled=False):
            tentative = self._moved(own, delta.float())
            sight = around.see(tentative.position, tentative.rotation)
            standing, treads = footing(
                packed(own.position, own.rotation), packed(tentative.position, tentative.rotation), own.core, own.radius
            )
            treads = treads / treads.new_tensor([self.scale.shift] * 3 + [self.scale.turn] * 3)
        said = message(hidden, sight.seen, around.edges)
        sent, gates, shares, added = said.split([self.width, 2, 4 * WEDGES, 12], -1)
        # A held box moves rigidly with what holds it: one number says how much of that motion it takes over.
        taken = added + functional.pad(gates.repeat_interleave(3, 1) * sight.carried, (0, 6))
        # And a struck one goes as far as it was overlapped or slid along, wholly or in part, whatever the distance.
        taken = taken + _undone(shares, sight.wedges)
        taken = (taken.float().reshape(-1, 4, 3) @ sight.turned.mT).flatten(1)
        rows = torch.cat([sent.float(), taken], -1) * sight.weight[:, None]
        total = rows.new_zeros(hidden.shape[0], rows.shape[1]).index_add(0, around.edges.receiver, rows)
        delta = delta + total[:, self.width :]
        change_hidden, change, shares = update(torch.cat([hidden, total[:, : self.width], delta, standing], -1)).split(
            [self.width, 12, 4 * TREADS], -1
        )
        return hidden + change_hidden, delta + change + _undone(shares, treads)

    def _drift(self, own: Bodies) -> Float[Tensor, "A 12"]:
        """The change of pose if velocities stayed what they are."""
        velocity = torch.stack([own.linear_velocity / FASTER, own.angular_velocity / SPIN], -2)
        return functional.pad((velocity @ own.rotation.detach()).flatten(-2), (0, 6))

    def _moved(self, own: Bodies, delta: Float[Tensor, "A 12"]) -> Bodies:
        """The objects after a change given in their own axes, in units; those axes are taken as fixed."""
        scale = delta.new_tensor(self.units)[:, None]
        axes = own.rotation.detach().mT
        move, rotate, faster, spin = ((delta.reshape(-1, 4, 3) * scale) @ axes).unbind(-2)
        return replace(
            own,
            position=own.position + move,
            rotation=turn(rotate) @ own.rotation,
            linear_velocity=own.linear_velocity + faster,
            angular_velocity=own.angular_velocity + spin,
        )


def _put_back(bodies: Bodies, moved: Bodies, awake: Tensor) -> Bodies:
    """`bodies` with the awake ones moved."""

    def put(name: str) -> Tensor:
        old = getattr(bodies, name)
        new: Tensor = old.flatten(0, 1).index_copy(0, awake, getattr(moved, name)).view(old.shape)
        return new

    names = ("position", "rotation", "linear_velocity", "angular_velocity")
    return replace(bodies, **{name: put(name) for name in names})


def _node_features(own: Bodies) -> Float[Tensor, "A F"]:
    vectors = torch.stack([own.linear_velocity / 0.3, own.angular_velocity / 3.0], -2)
    height = lowest(own)
    return torch.cat(
        [
            (vectors @ own.rotation).flatten(-2),
            own.rotation[..., 2, :],
            own.half_extents / 0.014 - 1.0,
            own.radius[..., None] / 0.014,
            own.position[..., 2:] / 0.05,
            _height_features(height),
            _height_features(height - 0.028),
            torch.stack(declared(own), -1),
            own.present[..., None],
        ],
        -1,
    )


def _undone(shares: Float[Tensor, "M S"], wedges: Float[Tensor, "M C 6"]) -> Float[Tensor, "M 12"]:
    """What shares of wedges, four of each, add up to: shift, turn, and both again as velocity and spin."""
    apart: Tensor = shares.unflatten(-1, (-1, 4, 1)) * wedges.unflatten(-1, (2, 3)).repeat(1, 1, 2, 1)
    return apart.sum(1).flatten(1)


def _height_features(height: Float[Tensor, "*B"]) -> Float[Tensor, "*B 2"]:
    return torch.stack([(height / 0.02).clamp(-2, 2), torch.sigmoid(-height / SKIN)], -1)


def _mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, outputs)
    )
