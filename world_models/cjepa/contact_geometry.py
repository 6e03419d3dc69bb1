"""Where two boxes are nearest, as features in the axes of the box that feels the contact.

Points with signed distances are what lets a small network see a contact coming: without any, most of the skill in
predicting who pushes whom was lost (measured on three boxes and a pusher: 0.58 against 0.41 on moves and removals).
Points are kept as `[E 3 4]`, components first: plain matrix products and long inner loops.
A packed pose is the position in the world [m], then the rotation body to world, row by row (12 numbers).
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from world_models.slots.bodies import Bodies

SCALE = 0.02
"""[m] distances are divided by this and clamped to +-2."""
SKIN = 0.003
"""[m] width of the sigmoid that says `touching`."""
FINE = 0.002
"""[m] depths of points are divided by this, too, and clamped to +-2."""
POINTS = 3
"""Nearest points kept of each box, see `features`."""
ORDER = 0.02
"""[m per m] by how much nearer a point further along y must be to come first: of two as near, always the same does."""
GLANCE = 3 + 3 + 3 + 1
"""Length of `glance`."""
FEATURES = GLANCE + 9 + 2 * POINTS * 6
"""Length of `features`."""
WEDGES = 2 * 2 * POINTS
"""Of each point kept, what would undo its overlap and what would undo its slip, see `features`."""
FEET = 4
"""Points of an object that may stand on the table, see `footing`."""
SUNK = 0.0015
"""[m] the most that a foot's overlap with the table counts: what has fallen through is not to be flung up."""
FOOTING = 2 * FEET
"""Length of the features of `footing`."""
GRAVITY = 9.81
"""[m/s^2]."""
TREADS = 2 * FEET
"""Of each foot, what would undo its overlap with the table and what would undo its slip, see `footing`."""
RIM = 0.5**0.5
"""Of the radius: where the feet of round objects are along their two other axes."""
_SIGNS = tuple((0.0, x, y) for x in (-1.0, 1.0) for y in (-1.0, 1.0))


def relation(
    receiver: Float[Tensor, "E 12"],
    receiver_half: Float[Tensor, "E 3"],
    sender: Float[Tensor, "E 12"],
    sender_half: Float[Tensor, "E 3"],
) -> tuple[Tensor, Tensor, Tensor]:
    """How two packed poses lie to each other.

    Returns:
        across `[E 3 3]`: the sender's axes in the receiver's.
        offsets `[2 E 3]`: the sender's centre in the receiver's axes, and the receiver's in the sender's [m].
        gaps `[2 E 3]`: signed separation along the receiver's axes and along the sender's [m]; the largest is a lower
            bound of the gap, negative where the boxes overlap.
    """
    own_axes, other_axes = axes_of(receiver), axes_of(sender)
    apart = sender[:, :3] - receiver[:, :3]
    across = own_axes.mT @ other_axes
    offsets = torch.stack([(apart[:, :, None] * own_axes).sum(1), -(apart[:, :, None] * other_axes).sum(1)])
    size = across.abs()
    reach = torch.stack([(size * sender_half[:, None]).sum(2), (size * receiver_half[:, :, None]).sum(1)])
    return across, offsets, offsets.abs() - torch.stack([receiver_half, sender_half]) - reach


def axes_of(pose: Float[Tensor, "E 12"]) -> Float[Tensor, "E 3 3"]:
    """The rotation of packed poses."""
    return pose[:, 3:].reshape(-1, 3, 3)


def glance(
    across: Tensor, offsets: Float[Tensor, "2 E 3"], gaps: Float[Tensor, "2 E 3"], radius: Float[Tensor, " E"]
) -> Float[Tensor, "E G"]:
    """Features of a relation without points; `radius` is that of both together [m]."""
    gaps = gaps - radius[:, None]
    gap = gaps.amax((0, 2))
    return torch.cat(
        [offsets[0] / 0.05, (gaps[0] / SCALE).clamp(-2, 2), (gaps[1] / SCALE).clamp(-2, 2),
         torch.sigmoid(-gap / SKIN)[:, None]],
        -1,
    )  # fmt: skip


def most_upright(receiver: Float[Tensor, "E 12"], sender: Float[Tensor, "E 12"]) -> Int[Tensor, "2 E"]:
    """The axis of each that is nearest to the vertical."""
    return torch.stack([receiver[:, 9:], sender[:, 9:]]).abs().argmax(2)


def features(
    across: Tensor,
    offsets: Float[Tensor, "2 E 3"],
    gaps: Float[Tensor, "2 E 3"],
    receiver_half: Float[Tensor, "E 3"],
    sender_half: Float[Tensor, "E 3"],
    radius: Float[Tensor, " E"],
    receiver_radius: Float[Tensor, " E"],
    upright: Int[Tensor, "2 E"],
    before: tuple[Float[Tensor, "E 3 3"], Float[Tensor, "E 3"]],
) -> tuple[Float[Tensor, "E F"], Float[Tensor, "E C 6"]]:
    """All features of a relation, in the receiver's axes, and what would undo overlap and slip at each point.

    `upright` is `most_upright` of the pairs; `before` the sender's axes and centre in the receiver's at the step's
    beginning.

    The points of a box are those of its four most upright edges that are nearest to the other's centre: what stands on
    one table touches along such edges, be they as high as each other or not, and of what lies on something they are the
    lower corners. Points are ordered by distance. An overlap is undone by a shift of the receiver along the contact's
    normal [m], or by a turn [rad], here as a ball of its size would answer a push there; so is the slip, which is how
    far the two have slid along each other since the step's beginning.
    """
    half = torch.stack([receiver_half, sender_half])
    # Row 0: the sender's points in the receiver's axes; row 1: the receiver's in the sender's.
    sizes, into = half.flip(0), torch.stack([across, across.mT])
    axis = functional.one_hot(upright.flip(0), 3).to(half.dtype)
    signs = torch.stack([half.new_tensor(_SIGNS).mT.roll(turns, 0) for turns in range(3)])
    middle = sizes[..., None] * signs[upright.flip(0)]
    apart, along = into @ middle + offsets[..., None], (into @ axis[..., None])[..., 0]
    longest = (sizes * axis).sum(2, keepdim=True)
    height = (-(apart * along[..., None]).sum(2)).clamp(-longest, longest)
    points = apart + along[..., None] * height[:, :, None]
    own = middle + axis[..., None] * height[:, :, None]
    excess = points.abs() - half[..., None]
    outside = excess.clamp(min=0)
    # The small constant keeps the root's gradient finite on the surface.
    distance = ((outside * outside).sum(2) + 1e-10).sqrt() + excess.amax(2).clamp(max=0) - radius[:, None]
    with torch.no_grad():
        # Both in the receiver's axes.
        places = torch.stack([points[0], own[1]])
        order = (distance + ORDER * places[:, :, 1]).topk(POINTS, dim=-1, largest=False, sorted=True).indices
        mine = places[1].gather(2, order[1, :, None].expand(-1, 3, -1))
    theirs = points[0].gather(2, order[0, :, None].expand(-1, 3, -1))
    depth = distance.gather(2, order).transpose(0, 1).flatten(1)
    seen = torch.cat(
        [
            glance(across, offsets, gaps, radius),
            across.flatten(1),
            (theirs / 0.05).flatten(1),
            (mine / 0.05).flatten(1),
            (depth / SCALE).clamp(-2, 2),
            torch.sigmoid(-depth / SKIN),
            (depth / FINE).clamp(-2, 2),
        ],
        -1,
    )
    # The way out of a box: from its surface to a point outside, and to the nearest side from a point within.
    deepest = functional.one_hot(excess.argmax(2), 3).transpose(2, 3)
    straight = outside / (outside.square().sum(2, keepdim=True) + 1e-10).sqrt()
    away = torch.where(excess.amax(2, keepdim=True) > 0, straight, deepest)
    away = (away * torch.where(points >= 0, 1.0, -1.0)).gather(3, order[:, :, None].expand(-1, -1, 3, -1))
    normal = torch.cat([-away[0], across @ away[1]], 2).mT
    push = (-depth).clamp(min=0)[..., None] * normal
    lever = torch.cat([theirs, mine], 2).mT
    # Where the surfaces meet, and where that point of the sender was at the step's beginning.
    sender_radius = radius - receiver_radius
    round_ = torch.stack([sender_radius, -receiver_radius], 1).repeat_interleave(POINTS, 1)
    meeting = lever + round_[..., None] * normal
    earlier = ((meeting - offsets[0][:, None]) @ across) @ before[0].mT + before[1][:, None]
    slip = meeting - earlier
    slip = slip - (slip * normal).sum(2, keepdim=True) * normal
    # Friction does no more than the push does: Coulomb's cone for a coefficient of 1.
    slip = slip * ((-depth).clamp(min=0) / (slip.square().sum(2) + 1e-12).sqrt()).clamp(max=1)[..., None]
    push = torch.cat([push, slip], 1)
    lever = torch.cat([lever, meeting], 1)
    size = 1e-6 + (2.0 / 9.0) * receiver_half.square().sum(-1) + 0.5 * receiver_radius.square()
    return seen, torch.cat([push, torch.linalg.cross(lever, push) / size[:, None, None]], -1)


def footing(
    now: Float[Tensor, "A 12"], after: Float[Tensor, "A 12"], core: Float[Tensor, "A 3"], radius: Float[Tensor, " A"]
) -> tuple[Float[Tensor, "A F"], Float[Tensor, "A T 6"]]:
    """How objects would stand on the table: heights of their feet, and what would undo each one's overlap and slip.

    Feet are the corners of the lower end of the most upright axis, of round objects four points of its rim. As in
    `features`, an overlap is undone by a shift [m], straight up, or by a turn [rad]; so is the slip since the step's
    beginning, as far as friction may. All in the object's own axes at the step's beginning.
    """
    upright = after[:, 9:].abs().argmax(1)
    axis = functional.one_hot(upright, 3).to(core.dtype)
    signs = torch.stack([core.new_tensor(_SIGNS).mT.roll(turns, 0) for turns in range(3)])
    half = core + RIM * radius[:, None] * (1.0 - axis)
    down = -torch.where((after[:, 9:] * axis).sum(1) >= 0, 1.0, -1.0)
    own = half[..., None] * (signs[upright] + (axis * down[:, None])[..., None])
    lever = axes_of(after) @ own
    height = lever[:, 2] + after[:, 2:3]
    seen = torch.cat([(height / SCALE).clamp(-2, 2), (height / FINE).clamp(-2, 2)], 1)
    depth = (-height).clamp(0, SUNK)
    slip = (lever + after[:, :3, None]) - (axes_of(now) @ own + now[:, :3, None])
    slip = slip * slip.new_tensor([1.0, 1.0, 0.0])[:, None]
    slip = -slip * (depth / (slip.square().sum(1) + 1e-12).sqrt()).clamp(max=1)[:, None]
    push = depth[:, None] * depth.new_tensor([0.0, 0.0, 1.0])[:, None]
    undone, lever = torch.cat([push, slip], 2).mT, lever.mT.repeat(1, 2, 1)
    size = 1e-6 + (2.0 / 9.0) * core.square().sum(-1) + 0.5 * radius.square()
    turned = torch.linalg.cross(lever, undone) / size[:, None, None]
    return seen, torch.cat([undone @ axes_of(now), turned @ axes_of(now)], 2)


def turn(rotation_vector: Float[Tensor, "*B 3"]) -> Float[Tensor, "*B 3 3"]:
    """A rotation matrix by Cayley's map: exact to second order in the rotation vector [rad], smooth everywhere."""
    v = rotation_vector
    squared = (v * v).sum(-1, keepdim=True)
    x, y, z = v.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*v.shape, 3)
    identity = torch.eye(3, device=v.device, dtype=v.dtype)
    square = v[..., :, None] * v[..., None, :] - squared[..., None] * identity
    matrix: Tensor = identity + (4.0 / (4.0 + squared))[..., None] * (cross + 0.5 * square)
    return matrix


def rotation_vector(rotation: Float[Tensor, "*B 3 3"]) -> Float[Tensor, "*B 3"]:
    """Axis times the sine of the angle: the rotation vector of small turns."""
    skew = 0.5 * (rotation - rotation.mT)
    return torch.stack([skew[..., 2, 1], skew[..., 0, 2], skew[..., 1, 0]], -1)


def lowest(bodies: Bodies) -> Float[Tensor, "*B N"]:
    """Height of an object's lowest point above the table [m]."""
    upright = bodies.rotation[..., 2, :]
    rim = bodies.radius * (1 - upright[..., 2].square()).clamp(min=0).sqrt()
    return bodies.position[..., 2] - (upright.abs() * bodies.core).sum(-1) - rim
