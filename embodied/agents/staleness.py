"""What a sample counts that an older actor made: coefficients of A grad log pi, for chunks of H actions.

With r_h the ratio of the present actor's density to the older one's at step h of a chunk, and W the product of all:

- `none`: 1, as if the sample were fresh;
- `clip`: r_h, and 0 where PPO's clip lets no gradient through (Schulman et al. 2017);
- `gipo`: r_h exp(-(log r_h)^2 / 2 s^2) (arXiv 2603.03955);
- `vespo`: V^a exp(b (1 - V)) with V = W^(1 / H^exponent) (arXiv 2602.10693, where V is W itself). There a, b are 2, 3
  for advantages from 0 on and 3, 2 below. W of many continuous dimensions is hardly ever near 1, hence the exponent.
"""

from typing import Literal

import torch
from torch import Tensor

Correction = Literal["none", "clip", "gipo", "vespo"]
CLIP = 0.2
"""PPO's epsilon."""
GIPO_WIDTH = 1.0
"""s, of log r."""
_LARGEST = 20.0
"""Of |log W|: exp of more overflows where it is squared."""


def coefficients(log_ratio: Tensor, advantage: Tensor, correction: Correction, exponent: float = 1.0) -> Tensor:
    """`[B H]` from log r `[B H]` and A `[B]`; nothing flows back through them."""
    with torch.no_grad():
        ratio = log_ratio.clamp(-_LARGEST, _LARGEST).exp()
        gain = advantage[:, None]
        if correction == "none":
            return torch.ones_like(ratio)
        if correction == "clip":
            beyond = torch.where(gain >= 0.0, ratio > 1.0 + CLIP, ratio < 1.0 - CLIP)
            return torch.where(beyond, 0.0, ratio)
        if correction == "gipo":
            return ratio * torch.exp(-(log_ratio**2) / (2.0 * GIPO_WIDTH**2))
        whole = log_ratio.sum(dim=1, keepdim=True).clamp(-_LARGEST, _LARGEST) / log_ratio.shape[1] ** exponent
        power, decay = (torch.where(gain >= 0.0, *pair) for pair in ((2.0, 3.0), (3.0, 2.0)))
        return torch.exp(power * whole + decay * (1.0 - whole.exp())).expand_as(log_ratio)


def effective_share(weight: Tensor) -> Tensor:
    """Effective sample size over the number of samples, (sum w)^2 / n sum w^2, a scalar in 0..1."""
    return weight.sum() ** 2 / (weight.numel() * (weight**2).sum()).clamp(min=1e-12)
