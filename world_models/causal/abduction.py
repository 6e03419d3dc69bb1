"""Hidden physics inferred from what was seen: the first of a counterfactual's three steps, abduct, act, predict.

How heavy an object is and how it rubs shows when something pushes it (Pearl, Causality, 7.1; CoPhy, arXiv 1909.12000).
Hypotheses about both are drawn for every object, the model goes through what was seen in short pieces under each, and
those whose pieces end where the objects were seen to end are drawn around next: a cross-entropy search, in which every
object chooses by its own error, so that its cost does not grow with the number of objects.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from envs.types import Observation
from world_models.cjepa.model import History
from world_models.embodiment.joints import Joints
from world_models.imagination import Dynamics
from world_models.slots.bodies import Bodies, bodies_of, body_indices

PRIOR = 0.5
"""Standard deviation of both factors' logarithms before anything was seen: 0.4 to 2.7 times in nineteen of twenty."""
NOISE = 0.0015
"""[m] that the model is off after a piece even with the right physics."""
OUTLIER = 0.02
"""[m] errors count no more than this: at a piece that bifurcates no physics explains what was seen."""
CHUNKS = 2
"""Of the model's steps in a piece: what a mass does to a path grows with the square of time, in 0.3 s to about a
millimetre."""
CANDIDATES, ROUNDS, ELITE = 48, 4, 8
BATCH = 4096
"""Scenes stepped at once."""


@dataclass(frozen=True)
class Abduced:
    """The likeliest physics of the N movable objects of B scenes, as logarithms of factors on what is declared.

    About 0 where nothing was learnt.
    """

    mass: Float[Tensor, "B N"]
    friction: Float[Tensor, "B N"]

    def shown(self, seen: Observation) -> Observation:
        """`seen` `[B T ...]` with masses [kg] and frictions as believed, in every frame."""
        chosen = body_indices(seen.objects)
        mass, friction = np.array(seen.objects.mass), np.array(seen.objects.friction)
        mass[..., chosen] *= self.mass.exp().numpy()[:, None]
        friction[..., chosen] *= self.friction.exp().numpy()[:, None]
        return replace(seen, objects=replace(seen.objects, mass=mass, friction=friction))


def abduct(dynamics: Dynamics, seen: Observation, generator: torch.Generator) -> Abduced:
    """Infer masses and frictions from frames `[B T ...]` (numpy) of scenes that stay the same throughout.

    The joint targets that were reached in between are read from the proprioception. With fewer frames than one look
    back and one piece nothing is learnt.
    """
    bodies, arm = bodies_of(seen.objects), torch.as_tensor(np.asarray(seen.proprioception), dtype=torch.float32)
    scenes, frames, objects = bodies.mass.shape
    piece, back = CHUNKS * dynamics.chunk, dynamics.history
    starts = range(back - 1, frames - piece, piece)
    mean = torch.zeros(scenes, objects, 2)
    spread = torch.full_like(mean, PRIOR)
    for _ in range(ROUNDS if starts else 0):
        drawn = mean[:, None] + spread[:, None] * torch.randn(scenes, CANDIDATES, objects, 2, generator=generator)
        drawn[:, 0] = mean
        cost = 0.5 * (drawn / PRIOR).square().sum(-1)
        for start in starts:
            cost += _misfit(dynamics, bodies[:, start - back + 1 : start + piece + 1],
                            arm[:, start - back + 1 : start + piece + 1], back, drawn)  # fmt: skip
        best = cost.argsort(1)[:, :ELITE, :, None].expand(-1, -1, -1, 2)
        elite = drawn.gather(1, best)
        mean, spread = elite.mean(1), elite.std(1)
    return Abduced(mean[..., 0], mean[..., 1])


def _misfit(
    dynamics: Dynamics, bodies: Bodies, arm: Float[Tensor, "B L P"], back: int, drawn: Float[Tensor, "B M N 2"]
) -> Float[Tensor, "B M N"]:
    """Negative log-likelihood of where each object was at the end of one piece, under each hypothesis."""
    scenes, count, objects, _ = drawn.shape
    commands = Joints.of(arm[:, back:]).target
    rows = torch.arange(scenes).repeat_interleave(count)
    factor = drawn.flatten(0, 1).exp()[:, None]
    misfit = []
    for some in torch.arange(len(rows)).split(BATCH):
        first = bodies[rows[some], :back]
        first = replace(first, mass=first.mass * factor[some, ..., 0], friction=first.friction * factor[some, ..., 1])
        belief = dynamics.begin(History(first, arm[rows[some], :back]))
        for command in commands[rows[some]].split(dynamics.chunk, dim=1):
            belief, _ = dynamics.step(belief, command)
        said, _ = belief.bodies()
        off = (said.position - bodies.position[rows[some], -1]).norm(dim=-1).clamp(max=OUTLIER)
        misfit.append(0.5 * (off / NOISE).square() * first.present[:, -1])
    return torch.cat(misfit).reshape(scenes, count, objects)
