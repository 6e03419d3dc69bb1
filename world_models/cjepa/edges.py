"""What an object sees of each solid near it: the inputs of contact messages, in its own axes.

Its axes are turned about its upright one, pair by pair, until x points at the side that faces the sender: a push is
then the same push from whichever side it comes, and is learned once instead of four times.

Looked at, never differentiated through: gradients reach earlier steps through the poses that add up, not through
points and distances. That trains as well (it is the pushforward trick of Brandstetter et al. 2022) at half the cost,
and lets one compiled pass on the CPU do what is a hundred small tensor operations; `contact_geometry` is its slow twin
and what runs on a GPU.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from world_models.cjepa.contact_geometry import (
    FEATURES,
    GLANCE,
    WEDGES,
    axes_of,
    features,
    glance,
    lowest,
    most_upright,
    relation,
    rotation_vector,
)
from world_models.cjepa.neighbours_kernel import AIRBORNE, SLOW, TURNING, near
from world_models.cjepa.sight_kernel import see as see_compiled
from world_models.embodiment.joints import Effector
from world_models.slots.bodies import Bodies

MOTION = 9
"""The sender's velocity relative to the receiver's, its spin, and its velocity at the step's end where known."""
CARRIED = 6
"""The sender's rigid motion over the step at the receiver's centre."""
EDGE = GLANCE + FEATURES + CARRIED + MOTION
"""Length of what is seen of a pair."""


@dataclass(frozen=True)
class Scale:
    """Lengths that follow from how long a step is."""

    period: float
    """[s]."""

    @property
    def shift(self) -> float:
        """[m] one unit of a change of position."""
        return 0.2 * self.period

    @property
    def turn(self) -> float:
        """[rad] one unit of a change of orientation."""
        return 2.0 * self.period

    @property
    def reach(self) -> float:
        """[m] messages fade to zero as the gap, now and at the step's end, grows from half of this to this."""
        return 0.001 + 0.125 * self.period

    def weight(self, gap: Tensor) -> Tensor:
        """How much a message across a gap [m] counts, 1 to 0."""
        return ((self.reach - gap) / (0.5 * self.reach)).clamp(0, 1)

    @property
    def margin(self) -> float:
        """[m] pairs this much further apart than `reach` are not looked at: objects move at most 0.3 m/s."""
        return 0.3 * self.period

    @property
    def known_margin(self) -> float:
        """[m] the same for the effector, of which is known where it will be."""
        return 0.15 * self.period


@dataclass(frozen=True)
class Edges:
    """Pairs that may touch within the step."""

    receiver: Int[Tensor, " E"]
    """Index into `Neighbourhood.awake` of the object that feels."""
    sender: Int[Tensor, " E"]
    """Row `b (N + S) + j`: the objects, then the effector's solids."""
    who: Int[Tensor, " E"]
    """The sender as an index into the awake objects, followed by the effector's solids and one for all that sleep."""
    weight: Float[Tensor, " E"]
    """1, or 0 for a pair listed only to keep the shape fixed."""


@dataclass(frozen=True)
class Sight:
    """What is seen of E pairs, in the receiver's axes as turned towards the sender."""

    seen: Float[Tensor, "E S"]
    """Inputs of a message."""
    carried: Float[Tensor, "E 6"]
    """The sender's rigid motion at the receiver's centre: shift and turn, in their units."""
    wedges: Float[Tensor, "E C 6"]
    """Shift and turn that would undo overlap and slip at each point, in their units; 0 where there is no overlap."""
    weight: Float[Tensor, " E"]
    """Fades from 1 to 0 with the gap."""
    turned: Float[Tensor, "E 3 3"]
    """From these axes back to the receiver's own."""


class Neighbourhood:
    """One step's objects and effector, as rows ready to be compared."""

    def __init__(
        self,
        bodies: Bodies,
        effector: Effector,
        effector_after: Effector,
        scale: Scale,
        *,
        between_bodies: bool,
        sparse: bool,
    ) -> None:
        """Find who is near whom.

        Args:
            bodies: `[B N ...]`.
            effector: now.
            effector_after: at the end of the step.
            scale: of the step.
            between_bodies: whether objects may send to objects.
            sparse: list awake objects and near pairs alone, found in one compiled pass; otherwise list all and weigh
                the others 0: no shape depends on values, which a GPU would have to wait for.
        """
        self.shape = bodies.present.shape
        self.scale = scale
        self.sparse = sparse
        entities, solids = self.shape[1], effector.radius.shape[1]
        self.senders = entities + solids
        here = packed(bodies.position, bodies.rotation)
        self.now = torch.cat([here, packed(effector.position, effector.rotation)], 1).flatten(0, 1)
        self.after = torch.cat([here, packed(effector_after.position, effector_after.rotation)], 1).flatten(0, 1)
        self.half = torch.cat([bodies.core, effector.half], 1).flatten(0, 1)
        self.radius = torch.cat([bodies.radius, effector.radius], 1).flatten()
        turned = rotation_vector(effector_after.rotation @ effector.rotation.mT) / scale.period
        velocity = torch.cat([bodies.linear_velocity, effector.linear_velocity], 1)
        spin = torch.cat([bodies.angular_velocity, turned], 1)
        final = torch.cat([bodies.linear_velocity, effector_after.linear_velocity], 1)
        self.velocity = torch.cat([velocity, spin, final], -1).flatten(0, 1)
        self.awake, self.moves, self.edges = self._find(bodies, solids, between_bodies)
        self.row = (self.awake // entities) * self.senders + self.awake % entities

    def see(self, position: Float[Tensor, "A 3"], rotation: Float[Tensor, "A 3 3"]) -> "Sight":
        """What is seen of each pair if the awake objects end the step there."""
        after = self.after.index_copy(0, self.row, packed(position, rotation))
        rows = (self.now, after, self.half, self.radius, self.velocity, self.row[self.edges.receiver],
                self.edges.sender)  # fmt: skip
        if self.sparse:
            pairs = len(self.edges.sender)
            seen, weight, facing = after.new_empty(pairs, EDGE), after.new_empty(pairs), after.new_empty(pairs, 2)
            wedges = after.new_empty(pairs, WEDGES, 6)
            see_compiled(
                *(array.numpy() for array in rows), self.scale.reach, self.scale.shift, self.scale.turn,
                *(array.numpy() for array in (seen, wedges, weight, facing)),
            )  # fmt: skip
        else:
            seen, wedges, weight, facing = see(*rows, self.scale)
        carried = seen[:, GLANCE + FEATURES : GLANCE + FEATURES + CARRIED]
        return Sight(seen, carried, wedges, weight * self.edges.weight, _about_z(facing))

    def _find(
        self, bodies: Bodies, solids: int, between_bodies: bool
    ) -> tuple[Int[Tensor, " A"], Float[Tensor, " A"], Edges]:
        batch, entities = self.shape
        scale = self.scale
        if self.sparse:
            awake, receiver, sender, who = near(
                self.now.numpy(), self.after.numpy(), self.half.numpy(), self.radius.numpy(), self.velocity.numpy(),
                bodies.present.contiguous().numpy(), between_bodies, scale.reach, scale.margin, scale.known_margin,
            )  # fmt: skip
            first, second, third = (torch.from_numpy(array) for array in (receiver, sender, who))
            edges = Edges(first, second, third, self.now.new_ones(len(who)))
            return torch.from_numpy(awake), self.now.new_ones(len(awake)), edges
        senders = self.senders
        index = torch.arange(batch * entities * senders, device=bodies.present.device)
        receiver, other = index // senders, index % senders
        row, sender = (receiver // entities) * senders + receiver % entities, (receiver // entities) * senders + other
        there = bodies.present.flatten() > 0
        known = other >= entities
        allowed = there[receiver] & (row != sender) & (known | between_bodies)
        body = (receiver // entities) * entities + other.clamp(max=entities - 1)
        allowed &= known | there[body]
        gap = self._gap(self.now, row, sender)
        gap = torch.where(known, torch.minimum(gap, self._gap(self.after, row, sender)), gap)
        allowed &= gap < scale.reach + torch.where(known, scale.known_margin, scale.margin)
        speeds = self.velocity.view(-1, 3, 3).norm(dim=-1)
        moving = (speeds > speeds.new_tensor([SLOW, TURNING, SLOW])).any(1)
        here = (receiver // entities) * senders + receiver % entities
        stirred = moving[here] | (allowed & moving[sender])
        awake = stirred.view(-1, senders).any(1) | (lowest(bodies).flatten() > AIRBORNE)
        awake &= there
        asleep = batch * entities + solids
        who = torch.where(known, batch * entities + other - entities, torch.where(awake[body], body, asleep))
        everyone = torch.arange(batch * entities, device=bodies.present.device)
        return everyone, awake.to(self.now.dtype), Edges(receiver, sender, who, allowed.to(self.now.dtype))

    def _gap(self, poses: Tensor, row: Tensor, sender: Tensor) -> Tensor:
        gaps = relation(self.now[row], self.half[row], poses[sender], self.half[sender])[2]
        return gaps.amax((0, 2)) - self.radius[row] - self.radius[sender]


def see(
    now: Float[Tensor, "M 12"],
    after: Float[Tensor, "M 12"],
    half: Float[Tensor, "M 3"],
    radius: Float[Tensor, " M"],
    velocity: Float[Tensor, "M 9"],
    receiver: Int[Tensor, " E"],
    sender: Int[Tensor, " E"],
    scale: Scale,
) -> tuple[Float[Tensor, "E S"], Float[Tensor, "E C 6"], Float[Tensor, " E"], Float[Tensor, "E 2"]]:
    """The slow twin of `sight_kernel.see`: what is seen, wedges, a weight that fades with the gap, and the facing."""
    own = axes_of(now[receiver])
    offset = ((now[sender, :3] - now[receiver, :3])[:, :, None] * own).sum(1)[:, :2]
    x, y = offset.unbind(1)
    along_x = x.abs() - half[receiver, 0] >= y.abs() - half[receiver, 1]
    side = torch.stack([torch.where(along_x, _sign(x), 0.0), torch.where(along_x, 0.0, _sign(y))], 1)
    towards = offset / (offset.square().sum(1, keepdim=True) + 1e-12).sqrt()
    facing = torch.where(radius[receiver, None] > 0, towards, side)
    turned = _about_z(facing)
    axes = own @ turned
    swapped = facing[:, 1:].abs() > 0.5
    near_half = torch.where(swapped, half[receiver][:, [1, 0, 2]], half[receiver])
    both = radius[receiver] + radius[sender]
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
            shift / scale.shift,
            rotation_vector(twist) / scale.turn,
            relative / 0.3,
            velocity[sender, 3:6] / 3.0,
            velocity[sender, 6:] / 0.3,
        ],
        1,
    )
    gap = torch.minimum(before[2].amax((0, 2)), then[2].amax((0, 2))) - both
    weight = scale.weight(gap)
    upright = most_upright(near_after, after[sender])
    look, wedges = features(*then, near_half, half[sender], both, radius[receiver], upright, (before[0], before[1][0]))
    wedges = wedges / wedges.new_tensor([scale.shift] * 3 + [scale.turn] * 3)
    return torch.cat([glance(*before, both), look, (vectors @ axes).flatten(1)], -1), wedges, weight, facing


def attention(bodies: Bodies, scale: Scale) -> Float[Tensor, "*B N N"]:
    """How much a message from object i (row) to j (column) counts where all are at rest; 0 to itself."""
    rows = torch.cat([packed(bodies.position, bodies.rotation), bodies.core, bodies.radius[..., None]], -1)
    i, j = torch.broadcast_tensors(rows[..., :, None, :], rows[..., None, :, :])
    shape = i.shape[:-1]
    i, j = i.reshape(-1, 16), j.reshape(-1, 16)
    gap = relation(i[:, :12], i[:, 12:15], j[:, :12], j[:, 12:15])[2].amax((0, 2)) - i[:, 15] - j[:, 15]
    there = bodies.present[..., :, None] * bodies.present[..., None, :]
    others = 1.0 - torch.eye(shape[-1], device=gap.device, dtype=gap.dtype)
    return scale.weight(gap).view(shape) * there * others


def _sign(values: Tensor) -> Tensor:
    return torch.where(values >= 0, 1.0, -1.0)


def _about_z(facing: Float[Tensor, "E 2"]) -> Float[Tensor, "E 3 3"]:
    """Turns about z whose x axis is `facing`."""
    cosine, sine = facing.unbind(1)
    zero, one = torch.zeros_like(cosine), torch.ones_like(cosine)
    rows = [cosine, -sine, zero, sine, cosine, zero, zero, zero, one]
    return torch.stack(rows, -1).view(-1, 3, 3)


def packed(position: Float[Tensor, "*B 3"], rotation: Float[Tensor, "*B 3 3"]) -> Float[Tensor, "*B 12"]:
    """Poses as rows of numbers."""
    return torch.cat([position, rotation.flatten(-2)], -1)
