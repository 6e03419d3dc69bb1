"""Training of a reward ensemble: literals, margins and pairs, and an adversary that is asked now and then.

What the adversary finds is labelled by the analytic tier and joins the lessons. Without it an ensemble shares its blind
spots: members that learned from the same data agree on what none has seen.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from embodied.data.lessons import Lessons, mined_lessons
from embodied.training.adversary import AttackConfig, attack, attackable, claimed, deceived
from embodied.training.optimiser import load_state, set_rate, share, state_of
from envs.goals import Goal
from envs.types import ObjectState
from world_models.reward.learned import LOG_VARIANCE, LearnedConfig, LearnedReward
from world_models.reward.network import NetworkConfig, RelationNetwork

LOSSES = ("literal", "margin", "pair")
MINED = ("features", "predicate", "level")


@dataclass(frozen=True)
class TrainConfig:
    """How a reward network is trained."""

    steps: int = 4000
    """Gradient steps."""
    batch: int = 512
    """Rows per member and step; half as many pairs of rows come on top."""
    learning_rate: float = 3e-3
    warmup: int = 100
    margin_weight: float = 1.0
    pair_weight: float = 0.5
    mining: tuple[float, ...] = (0.4, 0.55, 0.7, 0.85)
    """When an adversary is asked, as shares of the steps; none leaves the network as it is."""
    goals: int = 40
    """Goals it is asked about each time."""
    mined_share: float = 0.25
    """Of rows, once there are mined ones."""
    boxes: int = 4
    """Most boxes of theirs."""


class RewardTrainer:
    """Trains one ensemble; `state_dict` holds all that is needed to go on bit for bit on the same lessons."""

    def __init__(self, network: NetworkConfig, config: TrainConfig, lessons: Lessons, seed: int) -> None:
        """Weights, order of data and attacks come from `seed` alone."""
        self.config, self.seed = config, seed
        self.network = RelationNetwork(network, seed)
        self.optimiser = torch.optim.AdamW(self.network.parameters(), lr=config.learning_rate, weight_decay=1e-4)
        self.step = 0
        self._chance = torch.Generator().manual_seed(seed)
        self._lessons = _Pool(lessons)
        self.mined: Lessons | None = None
        """What adversaries have found so far."""
        self._found: _Pool | None = None

    @property
    def done(self) -> bool:
        """Whether all steps are made."""
        return self.step >= self.config.steps

    def train_step(self) -> Tensor:
        """One gradient step; returns the parts of the loss `[3]` as in `LOSSES`, mean over members."""
        config = self.config
        if self.step in [int(at * config.steps) for at in config.mining]:
            self._mine()
        members, count = self.network.config.members, config.batch
        some = 0 if self._found is None else int(config.mined_share * count)
        better, worse = self._lessons.pairs[self._indices(len(self._lessons.pairs), members, count // 2)].unbind(-1)
        rows = torch.cat([self._indices(len(self._lessons), members, count - some), better, worse], dim=1)
        features, predicate, level = self._lessons[rows]
        if self._found is not None:
            mined = self._found[self._indices(len(self._found), members, some)]
            drawn = zip(mined, (features, predicate, level), strict=True)
            features, predicate, level = (torch.cat(both, dim=1) for both in drawn)
        said = self.network(features, predicate)
        set_rate(self.optimiser, config.learning_rate * share(self.step, config.steps, config.warmup))
        losses = _losses(said, level, count)
        self.optimiser.zero_grad(set_to_none=True)
        weights = torch.tensor([1.0, config.margin_weight, config.pair_weight])
        # A sum over members: each learns as if it were alone.
        (losses.sum(0) * weights).sum().backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimiser.step()
        self.step += 1
        return losses.detach().mean(0)

    def _indices(self, size: int, members: int, count: int) -> Tensor:
        return torch.randint(size, (members, count), generator=self._chance)

    def _mine(self) -> None:
        """Ask an adversary, and add what it found to the lessons."""
        rng = np.random.default_rng((self.seed, 3, self.step))
        reward = LearnedReward(self.network, LearnedConfig(gated=False))
        goals: list[Goal] = []
        states: list[ObjectState] = []
        while len(goals) < self.config.goals:
            for goal, start in attackable(rng, int(rng.integers(1, 1 + self.config.boxes)), 16):
                objective = deceived(reward) if rng.random() < 0.7 else claimed(reward)
                box = AttackConfig(box=float(rng.choice([1.0, 1.6])))
                goals.append(goal)
                states.append(attack(objective, goal, start, rng, box))
                if len(goals) == self.config.goals:
                    break
        found = mined_lessons(goals, states)
        self._add(found if self.mined is None else Lessons.join([self.mined, found]))

    def _add(self, mined: Lessons) -> None:
        self.mined, self._found = mined, _Pool(mined)

    def state_dict(self) -> dict[str, Tensor]:
        """Weights, moments, step, generator and what was mined as a flat mapping of tensors."""
        state = {**state_of(self.network, self.optimiser, self.step), "generator": self._chance.get_state()}
        if self.mined is not None:
            state |= {f"mined.{name}": torch.as_tensor(getattr(self.mined, name)) for name in MINED}
        return state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a `state_dict`. Raises `EmbodiedError` if it is of another network."""
        self.step = load_state(self.network, self.optimiser, state)
        self._chance.set_state(state["generator"])
        if "mined.level" in state:
            features, predicate, level = (state[f"mined.{name}"].numpy() for name in MINED)
            self._add(Lessons(features, predicate, level, np.zeros((0, 2), np.int64)))


class _Pool:
    """Lessons as tensors."""

    def __init__(self, lessons: Lessons) -> None:
        self.features, self.predicate, self.level, self.pairs = (
            torch.as_tensor(array) for array in (lessons.features, lessons.predicate, lessons.level, lessons.pairs)
        )

    def __len__(self) -> int:
        return len(self.level)

    def __getitem__(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.features[rows], self.predicate[rows], self.level[rows]


def _losses(said: Tensor, level: Tensor, rows: int) -> Tensor:
    """`[E 3]`: cross-entropy of literals, Gaussian likelihood of margins, and Bradley-Terry of the pairs.

    The last is that of Gaussian margins, -log NormCDF((m_a - m_b) / sqrt(s_a^2 + s_b^2)): a pair that noise hides is
    answered by a large variance, not by a guess.
    """
    logit, margin, log_variance = said.unbind(-1)
    log_variance = log_variance.clamp(*LOG_VARIANCE)
    literal = functional.binary_cross_entropy_with_logits(logit, (level > 0).float(), reduction="none").mean(1)
    error = (margin - level).clamp(-4.0, 4.0)
    likelihood = 0.5 * (log_variance + error.square() * (-log_variance).exp()).mean(1)
    huber = functional.smooth_l1_loss(margin, level, beta=0.3, reduction="none").mean(1)
    pairs = (said.shape[1] - rows) // 2
    first, second = slice(rows, rows + pairs), slice(rows + pairs, None)
    spread = (log_variance[:, first].exp() + log_variance[:, second].exp()).sqrt()
    pair = -torch.special.log_ndtr((margin[:, first] - margin[:, second]) / spread).mean(1)
    return torch.stack([literal, likelihood + huber, pair], dim=-1)
