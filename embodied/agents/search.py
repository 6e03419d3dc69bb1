"""Search for an action sequence by sampling a batched model: several distributions at once, the worse ones dropped.

Sources: Rubinstein & Kroese 2004 (cross-entropy method), Pinneri et al. 2020 (iCEM: coloured noise, kept elites).
Starting from several distributions matters where contact cuts the space of plans into valleys: which side to push from
cannot be reached by small changes of a plan that pushes from another.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from envs.errors import EmbodiedError

Step = Callable[[Tensor, Tensor], Tensor]
"""States `[N S]` under actions `[N A]` to the next states `[N S]`."""
Cost = Callable[[Tensor], Tensor]
"""Costs `[N]` of futures `[N H+1 S]`, the present first; smaller is better."""


@dataclass(frozen=True)
class SearchConfig:
    """Sizes of the search; actions are in their own units."""

    low: float
    high: float
    """Bounds of every action."""
    candidates: int = 256
    """Sequences tried per iteration, all distributions together."""
    iterations: int = 12
    modes: int = 8
    """Distributions at first; every `halving` iterations the worse half is dropped."""
    halving: int = 3
    elite_share: float = 0.12
    spread: float = 30.0
    """Standard deviation of the first iteration."""
    shrink: float = 0.85
    """The first deviation, shrunk by this at every iteration, is the most that a distribution may have."""
    persistence: float = 0.8
    """Correlation of the noise from one step to the next."""
    enough: float = 0.0
    """A plan that costs less than this ends the search."""


@dataclass(frozen=True)
class Found:
    """The best plan of a search."""

    actions: Float[Tensor, "H A"]
    states: Float[Tensor, "T S"]
    """Imagined, T = H + 1."""
    cost: float
    evaluations: int
    """Sequences imagined."""


def plan(
    step: Step,
    cost: Cost,
    state: Float[Tensor, " S"],
    starts: Float[Tensor, "M H A"],
    config: SearchConfig,
    generator: torch.Generator,
) -> Found:
    """The cheapest action sequence found.

    Args:
        step: the model.
        cost: of imagined futures.
        state: the present.
        starts: sequences to begin from, all of which are imagined once; the best become the means of distributions.
        config: sizes.
        generator: of the noise.

    Raises:
        EmbodiedError: for no start, or sizes that leave a distribution without elites.
    """
    share = config.candidates // max(config.modes, 1)
    if not len(starts) or config.modes < 1 or share < 4:
        raise EmbodiedError(
            f"A search needs a start and four candidates per distribution, got {len(starts)} starts and "
            f"{config.candidates} candidates for {config.modes} distributions."
        )
    starts = starts.clamp(config.low, config.high)
    costs, futures = _imagine(step, cost, state, starts)
    order = costs.argsort()[: config.modes]
    mean, mean_cost = starts[order], costs[order]
    best, best_cost, best_future = starts[order[0]], float(costs[order[0]]), futures[order[0]]
    evaluations, ceiling = len(starts), config.spread
    spread = torch.full_like(mean, config.spread)
    for iteration in range(config.iterations):
        if best_cost < config.enough:
            break
        if iteration and iteration % config.halving == 0 and len(mean) > 1:
            keep = mean_cost.argsort()[: (len(mean) + 1) // 2]
            mean, spread, mean_cost = mean[keep], spread[keep], mean_cost[keep]
        count = config.candidates // len(mean)
        plans = mean[:, None] + spread[:, None] * _noise(len(mean), count, mean, config.persistence, generator)
        plans[:, 0] = mean
        plans = plans.clamp(config.low, config.high)
        costs, futures = _imagine(step, cost, state, plans.flatten(0, 1))
        evaluations += len(futures)
        costs = costs.unflatten(0, (len(mean), count))
        elite = costs.argsort(1)[:, : max(2, round(config.elite_share * count))]
        chosen = plans.gather(1, elite[:, :, None, None].expand(-1, -1, *plans.shape[2:]))
        mean_cost = costs.gather(1, elite[:, :1])[:, 0]
        ceiling *= config.shrink
        spread = (0.3 * spread + 0.7 * chosen.std(1)).clamp(0.1 * ceiling, ceiling)
        # The best of a distribution is its next mean: an average of plans in contact may miss the contact.
        mean = chosen[:, 0]
        top = int(mean_cost.argmin())
        if float(mean_cost[top]) < best_cost:
            best, best_cost = mean[top], float(mean_cost[top])
            best_future = futures[top * count + int(elite[top, 0])]
    return Found(best, best_future, best_cost, evaluations)


@torch.no_grad()
def _imagine(step: Step, cost: Cost, state: Tensor, plans: Tensor) -> tuple[Tensor, Tensor]:
    states = [state.expand(len(plans), -1)]
    for action in plans.unbind(1):
        states.append(step(states[-1], action))
    futures = torch.stack(states, 1)
    costs = cost(futures)
    if not bool(torch.isfinite(costs).all()):
        raise EmbodiedError("A search's costs are not finite: the model or the state has NaN.")
    return costs, futures


def _noise(modes: int, count: int, like: Tensor, persistence: float, generator: torch.Generator) -> Tensor:
    """Standard normal noise `[modes count H A]` that persists over steps."""
    white = torch.randn(modes, count, *like.shape[1:], generator=generator, dtype=like.dtype)
    rest = (1.0 - persistence**2) ** 0.5
    steps = [white[:, :, 0]]
    for index in range(1, white.shape[2]):
        steps.append(persistence * steps[-1] + rest * white[:, :, index])
    return torch.stack(steps, 2)
