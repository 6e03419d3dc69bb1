"""What a model is worth to a planner: candidate plans ranked by it, against what they truly lead to."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from embodied.evaluation.contexts import Contexts
from embodied.evaluation.statistics import Estimate, Floats, bootstrap_blocks, ratio, spearman
from envs.errors import EmbodiedError

CANDIDATES = 16
"""Plans per context: its own, others' and disturbed ones."""
NOISE = 0.5
"""Standard deviation of what disturbs a plan, constant over it: it goes elsewhere, not just less smoothly."""
REACH = (0.02, 0.08)
"""[m] How far the goal lies from where the object is."""
MATTERS = 0.005
"""[m] Where true returns differ by less, any choice will do, and the context does not count."""


@dataclass(frozen=True)
class Candidates:
    """N plans for each of C contexts, and what they are to bring about."""

    contexts: Contexts
    """`C * N` contexts, those of one instant together, each with a plan of its own."""
    target: NDArray[np.int64]
    """`[C]` which movable object is to be brought to the goal."""
    goal: Floats
    """`[C 3]` in the world [m]."""

    @property
    def count(self) -> int:
        """N."""
        return len(self.contexts) // len(self.target)

    def paths(self, position: Floats) -> Floats:
        """`[C N H+1 3]` of the targets, from positions of the movable objects `[C*N H+1 K 3]` [m]."""
        found = position.reshape(len(self.target), self.count, *position.shape[1:])
        chosen: Floats = np.take_along_axis(found, self.target[:, None, None, None, None], axis=3)[:, :, :, 0]
        return chosen

    def returns(self, position: Floats) -> Floats:
        """`[C N]` minus the target's distance to the goal at the horizon [m]."""
        return -np.asarray(np.linalg.norm(self.paths(position)[:, :, -1] - self.goal[:, None], axis=-1))


def candidates(contexts: Contexts, generator: np.random.Generator, count: int = CANDIDATES) -> Candidates:
    """Draw plans and goals: half of the plans are other contexts', half are disturbed; the first is the context's own.

    The object is the one that moves most in what was recorded: the others are hard to reach with any plan. Raises
    `EmbodiedError` where fewer than two plans are asked for, or there is no other context to borrow one from.
    """
    total, horizon, size = contexts.action.shape
    if count < 2 or total < 2:
        raise EmbodiedError(f"{count} plans of {total} contexts cannot be ranked; give two or more of both.")
    position = np.asarray(contexts.recorded.position_in_world)[:, :, contexts.movable]
    way = np.linalg.norm(position[:, -1] - position[:, 0], axis=-1)
    target = np.where(contexts.present, way, -1.0).argmax(1)
    far = generator.uniform(*REACH, total)
    heading = generator.uniform(-np.pi, np.pi, total)
    shift = np.stack([far * np.cos(heading), far * np.sin(heading), np.zeros(total)], axis=-1)
    actions = np.repeat(contexts.action[:, None], count, axis=1)
    others = (np.arange(total)[:, None] + generator.integers(1, total, (total, count))) % total
    borrowed = slice(1, 1 + count // 2)
    actions[:, borrowed] = contexts.action[others[:, borrowed]]
    noise = NOISE * generator.normal(size=(total, count - 1 - count // 2, 1, size))
    actions[:, 1 + count // 2 :] = np.clip(actions[:, 1 + count // 2 :] + noise, -1.0, 1.0)
    repeated = contexts[np.repeat(np.arange(total), count)]
    planned = replace(repeated, action=actions.reshape(total * count, horizon, size))
    return Candidates(planned, target, position[np.arange(total), 0, target] + shift)


def decide(truth: Floats, said: Floats, generator: np.random.Generator, resamples: int = 1000) -> dict[str, Estimate]:
    """How good a ranking of plans is, with bootstrap over contexts.

    Args:
        truth: `[C N]` true returns [m].
        said: `[C N]` returns as the source says.
        generator: of the bootstrap.
        resamples: of it.

    Returns:
        `spearman`, rank correlation per context, averaged; `regret`, what the best plan brings more than the chosen
        one [m]; `value`, 1 minus the regret over that of a plan chosen blindly; `decidable`, the share of contexts in
        which plans differ by `MATTERS` at all: the others do not count.

    Raises:
        EmbodiedError: for shapes that differ, a return that is not finite, or where no context can be decided.
    """
    if truth.shape != said.shape or truth.ndim != 2:
        raise EmbodiedError(f"True returns {truth.shape} and imagined ones {said.shape} must be [contexts, plans].")
    if not (np.isfinite(truth).all() and np.isfinite(said).all()):
        raise EmbodiedError("A return is not finite: the model's prediction has diverged.")
    counts = np.ptp(truth, axis=1) > MATTERS
    if not counts.any():
        raise EmbodiedError("No plan makes a difference in any context: there is nothing to decide.")
    total = len(truth)
    correlation = np.array([spearman(b, a) if use else 0.0 for a, b, use in zip(truth, said, counts, strict=True)])
    # Plans that look equally good are equally likely to be taken.
    best = said == said.max(axis=1, keepdims=True)
    regret = truth.max(1) - (truth * best).sum(1) / best.sum(1)
    blind = truth.max(1) - truth.mean(1)

    def mean(top: Floats, bottom: Floats) -> Estimate:
        above, below = top * counts, bottom * counts

        return bootstrap_blocks(lambda weight: ratio(weight @ above, weight @ below), total, generator, resamples)

    ones = np.ones(total)
    return {
        "spearman": mean(correlation, ones),
        "regret": mean(regret, ones),
        "value": mean(blind - regret, blind),
        "decidable": bootstrap_blocks(lambda weight: weight @ counts / total, total, generator, resamples),
    }
