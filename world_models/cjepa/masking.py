"""Which tokens of a history are hidden in training.

C-JEPA (arXiv 2602.11389, 2.2) hides whole objects: the history of every object in a set M, but for its first frame, the
identity anchor. M is drawn for every sample and every step anew and its size varies; its theory rests on diverse masks.
`token` and `tube` masks of the same budget are the controls without which no claim about object masking can be made.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Mask = Literal["object", "token", "tube", "none"]


def draw_mask(
    present: Float[Tensor, "B N"], frames: int, kind: Mask, budget: float, generator: torch.Generator
) -> Bool[Tensor, "B T N"]:
    """True where an entity's history token is hidden; frame 0 and absent entities never are.

    Args:
        present: 1 where there is an entity.
        frames: T, the history's length.
        kind: `object` hides entities from frame 1 on; `tube` hides one stretch of frames of every entity of M, which
            may end before the history does; `token` hides single tokens.
        budget: the largest share of a sample's entities (tokens) to hide; the share itself is uniform in 0..budget.
        generator: the only source of randomness.
    """
    batch, entities = present.shape
    device = present.device

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, device=device)

    share = budget * uniform(batch)
    there = present > 0
    if kind == "none" or frames < 2:
        return torch.zeros(batch, frames, entities, dtype=torch.bool, device=device)
    if kind == "token":
        # The anchor frame is never hidden, so the other frames carry the same number of hidden tokens.
        hidden = uniform(batch, frames, entities) < share[:, None, None]
    else:
        count = _stochastic_round(share * there.sum(-1), uniform(batch))
        rank = (uniform(batch, entities) + (~there) * 2.0).argsort(-1).argsort(-1)
        hidden = (rank < count[:, None])[:, None].expand(batch, frames, entities)
        if kind == "tube":
            ends = 1 + (uniform(batch, entities) * frames).long().clamp(max=frames - 1)
            starts = 1 + (uniform(batch, entities) * ends).long().clamp(max=frames - 1)
            time = torch.arange(frames, device=device)[None, :, None]
            hidden = hidden & (time >= starts[:, None].minimum(ends[:, None])) & (time <= ends[:, None])
    hidden = hidden & there[:, None]
    anchor = torch.arange(frames, device=device) == 0
    return hidden & ~anchor[None, :, None]


def _stochastic_round(value: Tensor, chance: Tensor) -> Tensor:
    """An integer whose mean is `value`: a budget below one object still hides one now and then."""
    return (value + chance).floor().long()
