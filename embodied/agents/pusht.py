"""Reaching Push-T states by search: the cost, the pushes that a search begins from, and when it plans again."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from embodied.agents.search import Cost, Found, SearchConfig, Step, plan
from embodied.data.pusht import FACES, MIDDLE, turn, way_round
from envs.pusht import AGENT_RADIUS, ANGLE_TOLERANCE, BUDGET, HORIZON, POSITION_TOLERANCE, SIDE, wrap
from envs.types import Array

LAG = 2
"""Env steps that the agent trails its target at constant speed: the target runs ahead of the wanted path by them."""
SEARCH = SearchConfig(low=0.0, high=SIDE, enough=0.1)
Doubt = tuple[float, float, float]
"""Standard deviations [px, px, rad] by which the block's pose is shaken to tell steady plans."""
KNOWN: Doubt = (1.5, 1.5, 0.02)
"""For a pose that is known: what the model errs by within a few steps."""
SEEN: Doubt = (3.0, 3.0, 0.03)
"""For a pose that is seen: with what the eye errs by."""
PROMISING, TRIES = 0.8, 3
"""A plan whose mean cost from shaken starts is above this is searched for again, so many times in all."""
SPACING = 25.0
"""[px] between the points of the outline that a search begins from."""
Eye = Callable[[Tensor], Tensor]
"""Pictures `[N S S 3]` uint8 to agent x, y, block x, y, angle `[N 5]`."""


@dataclass(frozen=True)
class Protocol:
    """When plans are made."""

    execute: int
    """Steps of a plan that are carried out before the next one."""
    shortest: int = 12
    """A later plan looks ahead as far as the first one's end, and at least this far."""


STRICT = Protocol(execute=HORIZON, shortest=HORIZON)
"""The published one: all 25 steps open loop, so two plans at most."""
REPLANNING = Protocol(execute=3)
"""Model-predictive control."""


class Planner:
    """Acts towards a goal state; make one per episode."""

    def __init__(
        self,
        step: Step,
        goal: Array,
        protocol: Protocol,
        seed: int,
        config: SearchConfig = SEARCH,
        doubt: Doubt = KNOWN,
    ) -> None:
        self._step, self._goal, self._protocol, self._config = step, np.asarray(goal), protocol, config
        self._doubt = doubt
        self._rng = np.random.default_rng(seed)
        self._generator = torch.Generator().manual_seed(seed)
        self._taken = 0
        self._plan: Array = np.zeros((0, 2))
        self.found: list[Found] = []
        """Every plan made."""

    def act(self, state: Array) -> Array:
        """The next target `[2]` from a state `[10]`."""
        if self._taken % self._protocol.execute == 0 or not len(self._plan):
            self._think(state)
        action, self._plan = self._plan[0], self._plan[1:]
        self._taken += 1
        return action

    def _think(self, state: Array) -> None:
        horizon = min(max(HORIZON - self._taken, self._protocol.shortest), BUDGET - self._taken)
        tries: list[Found] = []
        # A plan that is soon replaced need not be searched for again.
        patient = not self._taken or self._protocol.execute == HORIZON
        for index in range(TRIES if patient else 1):
            tries.append(self._search(state, horizon, spread=(1.0 + 0.5 * index) * (0.7 if self._taken else 1.0)))
            if tries[-1].steadiness < PROMISING:
                break
        best = min(tries, key=lambda found: found.steadiness)
        self.found.append(best)
        self._plan = best.actions.double().numpy()

    def _search(self, state: Array, horizon: int, spread: float) -> Found:
        begun = list(pushes(state, self._goal, horizon, self._rng))
        if len(self._plan):
            last = np.concatenate([self._plan, np.repeat(self._plan[-1:], horizon, axis=0)])[:horizon]
            begun.append(last)
        return plan(
            self._step,
            goal_cost(self._goal),
            torch.as_tensor(state, dtype=torch.float32),
            torch.as_tensor(np.stack(begun), dtype=torch.float32),
            replace(self._config, spread=spread * self._config.spread),
            self._generator,
            partial(shaken, self._doubt),
        )


class Seeing:
    """Acts on pictures alone: poses are seen, velocities are what the model expects of the actions so far.

    At first everything is taken to be at rest.
    """

    def __init__(self, eye: Eye, step: Step, planner: Planner) -> None:
        """`planner` has a goal that was seen, too; see `seen`."""
        self._eye, self._step, self._planner = eye, step, planner
        self._expected = np.zeros(10)

    def act(self, picture: Array) -> Array:
        """The next target `[2]` from a picture `[S S 3]`."""
        state = seen(self._eye, picture)
        state[5:] = self._expected[5:]
        action = self._planner.act(state)
        rows = (torch.as_tensor(each[None], dtype=torch.float32) for each in (state, action))
        self._expected = self._step(*rows)[0].double().numpy()
        return action


def seen(eye: Eye, picture: Array) -> Array:
    """The state `[10]` that a picture `[S S 3]` shows, at rest."""
    pose = eye(torch.as_tensor(picture[None]))[0].double().numpy()
    return np.concatenate([pose, np.zeros(5)])


def shaken(doubt: Doubt, state: Float[Tensor, " S"], count: int, generator: torch.Generator) -> Float[Tensor, "N S"]:
    """States with the block a little elsewhere; the first as it is."""
    noise = torch.randn(count, 3, generator=generator) * torch.tensor(doubt)
    noise[0] = 0.0
    return state + torch.nn.functional.pad(noise, (2, len(state) - 5))


def goal_cost(goal: Array) -> Cost:
    """Squared distance of the last state from a goal, in tolerances: below 1 the published test is passed."""
    target = torch.as_tensor(np.asarray(goal), dtype=torch.float32)

    def cost(states: Float[Tensor, "N T 10"]) -> Float[Tensor, " N"]:
        last = states[:, -1]
        apart = ((last[:, :4] - target[:4]) / POSITION_TOLERANCE).square().sum(-1)
        turned = torch.remainder(last[:, 4] - target[4] + math.pi, 2.0 * math.pi) - math.pi
        return apart + (turned / ANGLE_TOLERANCE).square()

    return cost


def pushes(state: Array, goal: Array, horizon: int, rng: np.random.Generator) -> Iterator[Array]:
    """Targets `[H 2]` of simple plans: go behind a point of the T, push it along the straight way to its goal, leave.

    One for points all over the outline and for where the agent leans on the block in the goal, each at several paces;
    and the ways that leave the block alone.
    """
    for share in (0.4, 0.7, 1.0):
        yield _targets(np.stack([state[:2], goal[:2]]), horizon, share)
    yield np.repeat(state[None, :2], horizon, axis=0)
    angle = float(wrap(goal[4] - state[4]))
    for contact, normal in _contacts(state, goal, rng):
        # What is turned by nearly half a circle may be turned either way.
        other_way = abs(angle) > 2.0 and rng.random() < 0.5
        way = _way(state, goal, contact, normal, angle - math.copysign(2.0 * math.pi, angle) if other_way else angle)
        for share in (0.7, 1.0):
            yield _targets(way, horizon, share)


def _contacts(state: Array, goal: Array, rng: np.random.Generator) -> Iterator[tuple[Array, Array]]:
    """Points on the outline and outward normals, in the block's frame."""
    for where in (goal, state):
        local = turn(where[4]).T @ (where[:2] - where[2:4])
        face = min(FACES, key=lambda each: _to_face(local, *each[:2])[0])
        yield _to_face(local, *face[:2])[1], np.array(face[2])
    for start, end, normal in FACES:
        count = max(1, round(math.dist(start, end) / SPACING))
        for place in (np.arange(count) + rng.uniform(0.2, 0.8, count)) / count:
            yield (1.0 - place) * np.array(start) + place * np.array(end), np.array(normal)


def _to_face(point: Array, start: tuple[float, float], end: tuple[float, float]) -> tuple[float, Array]:
    """Distance of a point to a face, and the nearest point of the face."""
    along = np.subtract(end, start)
    share = float(np.clip((point - start) @ along / (along @ along), 0.05, 0.95))
    nearest = np.asarray(start) + share * along
    return float(np.linalg.norm(point - nearest)), nearest


def _way(state: Array, goal: Array, contact: Array, normal: Array, angle: float) -> Array:
    """The agent's wanted path `[M 2]`: round the block, along with it as it turns by `angle`, to the agent's goal."""
    rotation = turn(state[4])
    ready = state[2:4] + rotation @ (contact + (AGENT_RADIUS + 6.0) * normal)
    points = [state[:2]]
    for _ in range(8):
        points.append(way_round(points[-1], ready, state))
        if points[-1] is ready:
            break
    middle = np.array(MIDDLE)
    begin, end = (pose[2:4] + turn(pose[4]) @ middle for pose in (state, goal))
    leaning = contact - middle + (AGENT_RADIUS - 1.0) * normal
    along = [
        (1.0 - share) * begin + share * end + turn(state[4] + share * angle) @ leaning
        for share in np.linspace(0.0, 1.0, 7)
    ]
    return np.stack([*points, *along, goal[:2]])


def _targets(way: Array, horizon: int, share: float) -> Array:
    """Targets `[H 2]` that follow a path at one speed, done after a share of the horizon."""
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(way, axis=0), axis=-1))])
    wanted = np.minimum(1.0, (np.arange(horizon) + 1 + LAG) / max(1.0, share * horizon)) * length[-1]
    return np.stack([np.interp(wanted, length, way[:, axis]) for axis in (0, 1)], axis=-1)
