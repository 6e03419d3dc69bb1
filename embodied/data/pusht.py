"""Push-T trajectories by our own pushers: scripted ones that go behind the T and push it about, and weak ones.

The published demonstrations are not needed: the benchmark asks for held-out trajectories in which the block moves, and
these move and turn it over the whole table.
"""

import math
from dataclasses import dataclass

import numpy as np

from envs.pusht import AGENT_RADIUS, SIDE, PushT, clearance, outline_inside, random_state
from envs.types import Array

REACH = 100.0
"""[px] targets lie within this of the agent along x and y, as in the published action space."""
PARTS_OF_STEP = 5
"""States are kept every 20 ms."""
ROUND = 128.0
"""[px] radius about the T's middle at which the agent travels round it."""
MIDDLE = (0.0, 41.0)
"""Centroid of the T's outline in its own frame [px]."""
FACES = (
    ((-60.0, 0.0), (60.0, 0.0), (0.0, -1.0)),
    ((-60.0, 0.0), (-60.0, 30.0), (-1.0, 0.0)),
    ((60.0, 0.0), (60.0, 30.0), (1.0, 0.0)),
    ((-60.0, 30.0), (-15.0, 30.0), (0.0, 1.0)),
    ((15.0, 30.0), (60.0, 30.0), (0.0, 1.0)),
    ((-15.0, 30.0), (-15.0, 120.0), (-1.0, 0.0)),
    ((15.0, 30.0), (15.0, 120.0), (1.0, 0.0)),
    ((-15.0, 120.0), (15.0, 120.0), (0.0, 1.0)),
)
"""The T's faces in its own frame: both ends [px] and the outward normal."""
_LENGTHS = np.array([math.dist(start, end) for start, end, _ in FACES])


@dataclass(frozen=True)
class Trajectories:
    """N trajectories of T env steps."""

    states: Array
    """`[N T+1 10]`, see `envs.pusht.STATE`."""
    actions: Array
    """`[N T 2]` targets of the agent [px]."""
    parts: Array
    """`[N T PARTS 10]` states at equal parts of every env step, the last being its end."""
    weak: Array
    """`[N]` bool: made by aimless motion near the block instead of by a pusher."""


def collect(episodes: int, seed: int, steps: int = 100, weak_share: float = 0.25) -> Trajectories:
    """Trajectories from random starts; the same seed gives the same ones, and the first n of them for any n."""
    world = PushT()
    states = np.zeros((episodes, steps + 1, 10))
    actions = np.zeros((episodes, steps, 2))
    parts = np.zeros((episodes, steps, PARTS_OF_STEP, 10))
    weak = np.zeros(episodes, bool)
    for episode in range(episodes):
        rng = np.random.default_rng([seed, episode])
        world.restore(random_state(rng))
        weak[episode] = rng.random() < weak_share
        policy = Aimless(rng) if weak[episode] else Pusher(rng)
        states[episode, 0] = world.state
        for step in range(steps):
            actions[episode, step] = policy.act(states[episode, step])
            ticks = np.stack(list(world.ticks(actions[episode, step])))
            parts[episode, step] = ticks[len(ticks) // PARTS_OF_STEP - 1 :: len(ticks) // PARTS_OF_STEP]
            states[episode, step + 1] = ticks[-1]
    return Trajectories(states, actions, parts, weak)


def random_contact(rng: np.random.Generator) -> tuple[Array, Array]:
    """A point on the T's outline, uniform over its length, and the outward normal there, in the block's frame."""
    start, end, normal = FACES[rng.choice(len(FACES), p=_LENGTHS / _LENGTHS.sum())]
    share = rng.uniform(0.05, 0.95)
    return (1.0 - share) * np.array(start) + share * np.array(end), np.array(normal)


def turn(angle: float) -> Array:
    """`[2 2]` rotation from the block's frame to the table's."""
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


def way_round(agent: Array, goal: Array, state: Array) -> Array:
    """Where to head from `agent` towards `goal` without touching the block: the goal itself if the way is free."""
    between = agent + np.linspace(0.0, 1.0, 12)[:, None] * (goal - agent)
    if (clearance(between, state[2:4], state[4]) > 3.0).all():
        return goal
    middle = state[2:4] + turn(state[4]) @ np.array(MIDDLE)
    here, there = (math.atan2(*(point - middle)[::-1]) for point in (agent, goal))
    side = (there - here + math.pi) % (2.0 * math.pi) - math.pi
    heading = here + math.copysign(min(0.7, abs(side)), side)
    waypoint = middle + ROUND * np.array([math.cos(heading), math.sin(heading)])
    return np.clip(waypoint, AGENT_RADIUS, SIDE - AGENT_RADIUS)


class Pusher:
    """Goes behind the T, pushes along the inward normal of a random face, lets go, and picks the next face."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._noise = rng.choice([0.0, 4.0, 12.0])
        self._hurry = rng.uniform(40.0, REACH)
        self._left = 0
        self._phase = "choose"
        self._contact, self._normal = random_contact(rng)
        self._lead = 0.0

    def act(self, state: Array) -> Array:
        """The agent's next target `[2]` [px]."""
        if self._phase == "choose" or (self._left <= 0 and self._phase != "push"):
            self._choose(state)
        rotation = turn(state[4])
        self._left -= 1
        if self._phase == "approach":
            ready = state[2:4] + rotation @ (self._contact + (AGENT_RADIUS + 10.0) * self._normal)
            if np.linalg.norm(ready - state[:2]) < 9.0:
                self._phase, self._left = "push", int(self._rng.integers(5, 22))
                self._lead = self._rng.uniform(25.0, 70.0)
            target = way_round(state[:2], ready, state)
        if self._phase == "push":
            target = state[2:4] + rotation @ (self._contact + (AGENT_RADIUS - self._lead) * self._normal)
            jammed = not outline_inside(state[2:4] - 4.0 * rotation @ self._normal, float(state[4]))
            if self._left <= 0 or jammed or clearance(state[:2], state[2:4], state[4]) > 30.0:
                self._phase, self._left = "retreat", 3
        if self._phase == "retreat":
            target = state[:2] + rotation @ self._normal * 40.0
            if self._left <= 0:
                self._phase = "choose"
        aim = target + self._noise * self._rng.standard_normal(2)
        return np.clip(state[:2] + np.clip(aim - state[:2], -self._hurry, self._hurry), 0.0, SIDE)

    def _choose(self, state: Array) -> None:
        """The face of a few that pushes best towards a random place on the table."""
        wish = self._rng.uniform(130.0, 380.0, 2) - state[2:4]
        rotation = turn(state[4])
        options = [random_contact(self._rng) for _ in range(int(self._rng.integers(1, 5)))]
        self._contact, self._normal = max(options, key=lambda option: float(-wish @ rotation @ option[1]))
        self._phase, self._left = "approach", 40


class Aimless:
    """Targets drawn uniformly about the agent and kept near the block, as the field's weak data is made."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def act(self, state: Array) -> Array:
        """The agent's next target `[2]` [px]."""
        target = np.clip(state[:2] + self._rng.uniform(-REACH, REACH, 2), state[2:4] - REACH, state[2:4] + REACH)
        return np.clip(state[:2] + np.clip(target - state[:2], -REACH, REACH), 0.0, SIDE)
