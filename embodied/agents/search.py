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
    """A plan that costs less than this may end the search."""
    finalists: int = 16
    shakes: int = 8
    """The cheapest plans are imagined again from this many shaken starts, and the one that bears it best is chosen."""
    cap: float = 4.0
    """Most that one shaken future may cost: how badly it fails does not matter."""
    steady: float = 0.4
    """Mean cost from shaken starts below which a plan that costs `enough` ends the search."""


Shake = Callable[[Tensor, int, torch.Generator], Tensor]
"""A state `[S]` to N states `[N S]` that might as well be the present, from noise of the generator."""


@dataclass(frozen=True)
class Found:
    """The best plan of a search."""

    actions: Float[Tensor, "H A"]
    states: Float[Tensor, "T S"]
    """Imagined, T = H + 1."""
    cost: float
    steadiness: float
    """Mean cost from shaken starts; the cost itself where nothing was shaken."""
    evaluations: int
    """Sequences imagined."""


def plan(
    step: Step,
    cost: Cost,
    state: Float[Tensor, " S"],
    starts: Float[Tensor, "M H A"],
    config: SearchConfig,
    generator: torch.Generator,
    shake: Shake | None = None,
) -> Found:
    """The best action sequence found: the cheapest, or of the cheapest the steadiest where starts are shaken.

    A search finds the model's mistakes: plans that succeed in it by a hair's breadth of contact, and nowhere else. They
    do not survive a start that is a little different.

    Args:
        step: the model.
        cost: of imagined futures.
        state: the present.
        starts: sequences to begin from, all of which are imagined once; the best become the means of distributions.
        config: sizes.
        generator: of the noise.
        shake: other states that the present might be.

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
    costs, futures = _imagine(step, cost, state.expand(len(starts), -1), starts)
    order = costs.argsort()[: config.modes]
    mean, mean_cost, spread = starts[order], costs[order], torch.full_like(starts[order], config.spread)
    finals = _Finals(step, cost, state, config, generator, shake)
    done = finals.enter(starts, costs, futures)
    ceiling = config.spread
    for iteration in range(config.iterations):
        if done:
            break
        if iteration and iteration % config.halving == 0 and len(mean) > 1:
            keep = mean_cost.argsort()[: (len(mean) + 1) // 2]
            mean, spread, mean_cost = mean[keep], spread[keep], mean_cost[keep]
        count = config.candidates // len(mean)
        plans = mean[:, None] + spread[:, None] * _noise(len(mean), count, mean, config.persistence, generator)
        plans[:, 0] = mean
        plans = plans.clamp(config.low, config.high)
        costs, futures = _imagine(step, cost, state.expand(len(mean) * count, -1), plans.flatten(0, 1))
        done = finals.enter(plans.flatten(0, 1), costs, futures)
        costs = costs.unflatten(0, (len(mean), count))
        elite = costs.argsort(1)[:, : max(2, round(config.elite_share * count))]
        chosen = plans.gather(1, elite[:, :, None, None].expand(-1, -1, *plans.shape[2:]))
        mean_cost = costs.gather(1, elite[:, :1])[:, 0]
        ceiling *= config.shrink
        spread = (0.3 * spread + 0.7 * chosen.std(1)).clamp(0.1 * ceiling, ceiling)
        # The best of a distribution is its next mean: an average of plans in contact may miss the contact.
        mean = chosen[:, 0]
    return finals.winner()


class _Finals:
    """The cheapest plans so far, and which of them stands a shaken start."""

    def __init__(
        self,
        step: Step,
        cost: Cost,
        state: Tensor,
        config: SearchConfig,
        generator: torch.Generator,
        shake: Shake | None,
    ) -> None:
        self._step, self._cost, self._config, self._evaluations = step, cost, config, 0
        self._shaken = None if shake is None else shake(state, config.shakes, generator)
        self._plans, self._futures, self._costs = state.new_zeros(0), state.new_zeros(0), state.new_zeros(0)
        self._steadiness: Tensor | None = None

    def enter(self, plans: Tensor, costs: Tensor, futures: Tensor) -> bool:
        """Take in imagined plans; whether the search may end with what it has."""
        self._evaluations += len(plans)
        best = costs.argsort()[: self._config.finalists]
        entries = zip((self._plans, self._costs, self._futures), (plans, costs, futures), strict=True)
        self._plans, self._costs, self._futures = (
            torch.cat([old, new[best]]) if len(old) else new[best] for old, new in entries
        )
        order = self._costs.argsort()[: self._config.finalists]
        self._plans, self._costs, self._futures = self._plans[order], self._costs[order], self._futures[order]
        self._steadiness = None
        if float(self._costs[0]) >= self._config.enough:
            return False
        return self._shaken is None or float(self._judge().min()) < self._config.steady

    def winner(self) -> Found:
        """The plan to carry out."""
        steadiness = self._judge()
        top = int(steadiness.argmin())
        return Found(
            self._plans[top], self._futures[top], float(self._costs[top]), float(steadiness[top]), self._evaluations
        )

    def _judge(self) -> Tensor:
        if self._shaken is None:
            return self._costs
        if self._steadiness is None:
            finalists, shakes = len(self._plans), len(self._shaken)
            plans = self._plans.repeat_interleave(shakes, 0)
            costs, _ = _imagine(self._step, self._cost, self._shaken.repeat(finalists, 1), plans)
            self._evaluations += len(plans)
            self._steadiness = costs.clamp(max=self._config.cap).unflatten(0, (finalists, shakes)).mean(1)
        return self._steadiness


@torch.no_grad()
def _imagine(step: Step, cost: Cost, starts: Tensor, plans: Tensor) -> tuple[Tensor, Tensor]:
    states = [starts]
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
