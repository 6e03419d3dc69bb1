"""C-JEPA on state slots: what a history and the coming commands say about every entity at every coming step.

Tokens are (time x entity), plus one token per time for the robot's own sensing and one for its command (C-JEPA, arXiv
2602.11389, fig. 3: separate tokens beat concatenation). Future entity tokens are always hidden, history tokens as
`masking` says; a hidden token is made of its entity's first frame and the learned mask and time embeddings alone.

Departures, on purpose: norms come before attention; entities attend to one another only within `reach` and robot tokens
attend to robot tokens only, so that an entity out of reach, or absent, has exactly no influence.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from world_models.cjepa.transformer import Transformer
from world_models.slots.slots import FEATURES

POSE = 7
"""Length of `Embodiment.pose`."""


@dataclass(frozen=True)
class Context:
    """What the transformer says."""

    embedding: Float[Tensor, "B F N W"]
    """Of every entity at every coming step."""
    recalled: Float[Tensor, "B L N D"]
    """For all L = T + F times, the slots it would fill in, for the masked-prediction loss."""


class ContextEncoder(nn.Module):
    """Encodes T history frames and F coming commands at once.

    A robot token holds the joints' positions, velocities and leads and the tool's pose; a command's, the pose and step
    of the command.
    """

    def __init__(
        self, width: int, layers: int, heads: int, history: int, future: int, reach: float, joints: int
    ) -> None:
        """See the class; `joints` is J."""
        super().__init__()
        self.history, self.future, self.reach = history, future, reach
        self.entity = nn.Linear(FEATURES, width)
        self.anchor = nn.Linear(FEATURES, width)
        self.robot = nn.Linear(3 * joints + POSE, width)
        self.command = nn.Linear(joints + POSE, width)
        self.hidden = nn.Parameter(0.02 * torch.randn(width))
        self.time = nn.Parameter(0.02 * torch.randn(history + future, width))
        self.role = nn.Parameter(0.02 * torch.randn(3, width))
        self.transformer = Transformer(width, layers, heads)
        self.recall = nn.Linear(width, FEATURES)
        nn.init.zeros_(self.recall.weight)
        nn.init.zeros_(self.recall.bias)

    def forward(
        self,
        slots: Float[Tensor, "B T N D"],
        position: Float[Tensor, "B N 3"],
        present: Float[Tensor, "B N"],
        robot: Float[Tensor, "B T R"],
        command: Float[Tensor, "B L C"],
        hidden: Bool[Tensor, "B T N"],
    ) -> Context:
        """See the class.

        `position` [m] is where the entities are last seen; the L = T + F commands stand at the step whose motion they
        cause.
        """
        _, frames, entities, _ = slots.shape
        steps = command.shape[1]
        anchor = slots[:, :1]
        unseen = self.anchor(anchor) + self.hidden
        seen = torch.where(hidden[..., None], unseen, self.entity(slots))
        coming = unseen.expand(-1, steps - frames, -1, -1)
        time = self.time[:steps, None]
        things = torch.cat([seen, coming], 1) + time + self.role[0]
        robots = self.robot(robot)[:, :, None] + time[:frames] + self.role[1]
        commands = self.command(command)[:, :, None] + time + self.role[2]
        tokens = torch.cat([things.flatten(1, 2), robots.flatten(1, 2), commands.flatten(1, 2)], 1)
        mixed = self.transformer(tokens, self._bias(position, present, steps, frames))
        mixed = mixed[:, : steps * entities].unflatten(1, (steps, entities))
        # A residual on the anchor: with its last layer at zero the encoder recalls that nothing has changed.
        recalled = anchor + self.recall(mixed) * present[:, None, :, None]
        return Context(mixed[:, frames:], recalled)

    def _bias(
        self, position: Float[Tensor, "B N 3"], present: Float[Tensor, "B N"], steps: int, frames: int
    ) -> Float[Tensor, "B 1 L L"]:
        batch, entities = present.shape
        apart = (position[:, :, None] - position[:, None]).square().sum(-1).clamp(min=1e-12).sqrt()
        # Fades from 1 to 0 over the last 3 cm of the reach, so that no influence jumps on.
        near = ((self.reach - apart) / 0.03).clamp(0, 1) * present[:, None] * present[:, :, None]
        itself = torch.eye(entities, device=near.device, dtype=near.dtype)
        near = torch.maximum(near * (1 - itself), itself)
        things = near.log()[:, None, :, None, :].expand(-1, steps, -1, steps, -1)
        things = things.reshape(batch, steps * entities, steps * entities)
        when = torch.arange(steps, device=near.device)
        when = torch.cat([when.repeat_interleave(entities), when[:frames], when])
        is_thing = torch.arange(len(when), device=near.device) < steps * entities
        # The past is seen whole; of the future, what is earlier: an answer must not depend on later commands.
        forbidden = (when[None] > when[:, None].clamp(min=frames - 1)) | (~is_thing[:, None] & is_thing[None])
        base = torch.zeros_like(forbidden, dtype=near.dtype).masked_fill(forbidden, -torch.inf)
        rest = base.shape[0] - things.shape[1]
        return (base + nn.functional.pad(things, (0, rest, 0, rest)))[:, None]
