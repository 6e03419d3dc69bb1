"""Baselines that regress progress from states and goals, without a notion of literals being true.

`flat` concatenates all slots and the goal, as a goal-conditioned value network does; `pooled` sees the same pairs of
objects as the literals' own network and averages over them. Both learn true progress and success.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from embodied.data.arrangements import FIXED
from embodied.evaluation.rewards import TRUTH, Judge, Question
from envs.geometry import quat_to_matrix
from envs.goals import Goal, Literal
from envs.predicates import PREDICATES
from envs.types import ObjectState
from world_models.reward.relations import FEATURES, NAMES, Pairs
from world_models.reward.relations_kernel import features_fast

Floats = NDArray[np.float64]
Encode = Callable[[ObjectState, Goal], NDArray[np.float32]]
SLOTS, LITERALS = len(FIXED) + 8, 4
"""Most entities and literals that a flat network has inputs for."""
STEPS, BATCH, RATE = 3000, 256, 1e-3


def flat(state: ObjectState, goal: Goal) -> NDArray[np.float32]:
    """`[N D]`: pose, size and velocity of every slot, then predicate, arguments and numbers of every literal."""
    count, entities = state.shape[0], len(state.names)
    turned = quat_to_matrix(state.quaternion_in_world)[..., :2].reshape(count, entities, 6)
    parts = (state.position_in_world / 0.1, turned, state.half_extents / 0.02, state.linear_velocity_in_world,
             state.angular_velocity_in_world, np.ones((count, entities, 1)))  # fmt: skip
    slots = np.zeros((count, SLOTS, 19))
    slots[:, :entities] = np.concatenate(parts, axis=-1)
    names = tuple(PREDICATES)
    told = np.zeros((LITERALS, len(names) + 3 * SLOTS + 4))
    for row, literal in zip(told, goal.literals, strict=False):
        row[names.index(literal.predicate)] = -1.0 if literal.negated else 1.0
        places = [*literal.arguments, *[""] * (2 - len(literal.arguments)), literal.frame]
        for slot, name in enumerate(places):
            if name in state.names:
                row[len(names) + slot * SLOTS + state.index(name)] = 1.0
        row[len(row) - len(literal.parameters) :] = np.array(literal.parameters) / 0.1
    wide = np.broadcast_to(told.reshape(-1), (count, told.size))
    return np.concatenate([slots.reshape(count, -1), wide], axis=-1).astype(np.float32)


def pooled(state: ObjectState, goal: Goal) -> NDArray[np.float32]:
    """`[N LITERALS F+P+1]`: features of each literal's pair, its predicate, and whether the row is one."""
    plain = [Literal(one.predicate, one.arguments, one.parameters, one.frame) for one in goal.literals]
    pairs = Pairs.of(plain, state)
    rows = np.zeros((state.shape[0], LITERALS, len(FEATURES) + len(NAMES) + 1), np.float32)
    count = len(plain)
    rows[:, :count, : len(FEATURES)] = features_fast(state, pairs)
    for index, literal in enumerate(goal.literals):
        rows[:, index, len(FEATURES) + pairs.predicate[index]] = -1.0 if literal.negated else 1.0
    rows[:, :count, -1] = 1.0
    return rows


class _Flat(nn.Module):
    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(inputs, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 2)
        )

    def forward(self, x: Tensor) -> Tensor:
        said: Tensor = self.layers(x)
        return said


class _Pooled(nn.Module):
    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.each = nn.Sequential(nn.Linear(inputs - 1, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU())
        self.whole = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))

    def forward(self, x: Tensor) -> Tensor:
        there = x[..., -1:]
        said: Tensor = self.whole((self.each(x[..., :-1]) * there).sum(-2) / there.sum(-2))
        return said


def fit(kind: str, asked: Sequence[Question], seed: int, steps: int = STEPS) -> Judge:
    """Train `flat` or `pooled` on the states of many questions."""
    encode, network_of = (flat, _Flat) if kind == "flat" else (pooled, _Pooled)
    inputs, labels = [], []
    for question in asked:
        states = ObjectState.concat([question.path, question.better, question.worse])
        score = TRUTH.score(states, question.goal)
        inputs.append(encode(states, question.goal))
        labels.append(np.stack([score.progress, score.success], axis=-1))
    x, y = torch.as_tensor(np.concatenate(inputs)), torch.as_tensor(np.concatenate(labels)).float()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = network_of(x.shape[-1])
    chance = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(network.parameters(), lr=RATE)
    for _ in range(steps):
        some = torch.randint(len(x), (BATCH,), generator=chance)
        said = network(x[some])
        progress = functional.mse_loss(said[:, 0].sigmoid(), y[some, 0])
        loss = 10.0 * progress + functional.binary_cross_entropy_with_logits(said[:, 1], y[some, 1])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return _judge(network, encode)


def _judge(network: nn.Module, encode: Encode) -> Judge:
    @torch.no_grad()
    def ask(state: ObjectState, goal: Goal, end: ObjectState) -> tuple[Floats, Floats]:
        said = network(torch.as_tensor(encode(state, goal))).sigmoid().numpy().astype(np.float64)
        return said[:, 0], said[:, 1]

    return ask
