"""Push-T on its own physics: gym-pusht's simulation behind exact states, and the geometry of its scene.

Source: Chi et al. 2023 (Diffusion Policy, arXiv 2303.04137) as packaged in gym-pusht 0.1: a circle under PD control
(100 Hz inside, 10 Hz outside) pushes a T of two rectangles on a 512 x 512 px table without inertia (damping 0) or
friction. Units are pixels, radians and seconds; x to the right, y down. The `pusht` extra's libraries are imported
when a world is made, and nowhere else.
"""

import math
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from envs.errors import EmbodiedError
from envs.types import Array

STATE = (
    *("agent_x", "agent_y", "block_x", "block_y", "block_angle"),
    *("agent_vx", "agent_vy", "block_vx", "block_vy", "block_spin"),
)
"""What a state row holds: positions [px], angle [rad, not wrapped], velocities [px/s, rad/s].

The first seven are the published benchmark's. The block's velocity is the last tick's; damping 0 forgets it 10 ms
later.
"""
SIDE = 512.0
"""[px] side of the table; actions are targets of the agent in [0, SIDE]."""
AGENT_RADIUS = 15.0
PARTS = ((0.0, 15.0, 60.0, 15.0), (0.0, 75.0, 15.0, 45.0))
"""The T's rectangles in the block's frame: centre x, y and half extents x, y [px]; bar first, then stem."""
WALL = (7.0, 504.0)
"""[px] inner faces of the walls, the same along x and y."""
CONTROL_PERIOD = 0.1
"""[s] one env step."""
POSITION_TOLERANCE = 20.0
"""[px] success: the four numbers agent x, y, block x, y are together nearer to the goal's than this."""
ANGLE_TOLERANCE = math.pi / 9
"""[rad] success: the block's angle is nearer to the goal's than this."""

HORIZON = 25
"""Env steps between a start and its goal in the published protocol, and the length of its plans."""
BUDGET = 50
"""Env steps of a published attempt."""


class PushT:
    """One world of gym-pusht, restored to a state exactly and stepped without rendering or scoring."""

    def __init__(self) -> None:
        """Raises `EmbodiedError` where the `pusht` extra is not installed."""
        self._env: Any = _environment()()
        self._env._setup()

    @property
    def state(self) -> Array:
        """`[10]` float64, see `STATE`."""
        agent, block = self._env.agent, self._env.block
        values = (*agent.position, *block.position, block.angle, *agent.velocity, *block.velocity)
        return np.array([*values, block.angular_velocity])

    def restore(self, state: Array) -> None:
        """Put the world into a state `[10]`, or `[7]` with the block at rest.

        The same state and the same actions give the same future bit for bit: the solver starts without memory.

        Raises:
            EmbodiedError: for another number of values, or values that are not finite.
        """
        row = np.asarray(state, dtype=np.float64)
        if row.shape not in ((7,), (len(STATE),)) or not np.isfinite(row).all():
            raise EmbodiedError(
                f"A Push-T state has 7 or {len(STATE)} finite numbers ({', '.join(STATE)}), got {row.tolist()}."
            )
        values = [*row.tolist(), 0.0, 0.0, 0.0][: len(STATE)]
        self._env._setup()
        agent, block = self._env.agent, self._env.block
        agent.position, agent.velocity = tuple(values[:2]), tuple(values[5:7])
        # The angle first: turning is about the centre of gravity and moves the position, which is the frame's origin.
        block.angle = values[4]
        block.position = tuple(values[2:4])
        block.velocity, block.angular_velocity = tuple(values[7:9]), values[9]
        self._env.space.reindex_shapes_for_body(agent)
        self._env.space.reindex_shapes_for_body(block)

    def step(self, action: Array) -> Array:
        """The state after 0.1 s of pursuing a target `[2]` in pixels, clipped to the table."""
        for _ in self.ticks(action):
            pass
        return self.state

    def ticks(self, action: Array) -> Iterator[Array]:
        """`step`, stopping after each of its ten ticks of 10 ms to give the state; gym-pusht's loop without its score.

        The score costs more than the physics. That both loops give the same bits is tested.
        """
        env, target = self._env, np.clip(np.asarray(action, dtype=np.float64), 0.0, SIDE)
        for _ in range(round(CONTROL_PERIOD / env.dt)):
            acceleration = env.k_p * (target - env.agent.position) - env.k_v * np.array(env.agent.velocity)
            env.agent.velocity += acceleration * env.dt
            env.space.step(env.dt)
            yield self.state

    def rollout(self, state: Array, actions: Array) -> Array:
        """States `[T+1 10]` under actions `[T 2]` from a restored state."""
        self.restore(state)
        return np.stack([self.state, *(self.step(action) for action in actions)])

    def image(self, size: int = 96) -> Array:
        """The benchmark's picture of the world, `[size size 3]` uint8."""
        self._env.observation_width = self._env.observation_height = size
        return np.asarray(self._env._render())


def solved(state: Array, goal: Array) -> Array:
    """Whether states `[*B 5+]` meet goals `[*B 5+]`: the published test, see `POSITION_TOLERANCE`."""
    apart = np.linalg.norm(np.asarray(state)[..., :4] - np.asarray(goal)[..., :4], axis=-1)
    turned = np.abs(wrap(np.asarray(state)[..., 4] - np.asarray(goal)[..., 4]))
    return np.asarray((apart < POSITION_TOLERANCE) & (turned < ANGLE_TOLERANCE))


def wrap(angle: Array) -> Array:
    """Angles in (-pi, pi]."""
    return -((-np.asarray(angle) + math.pi) % (2.0 * math.pi) - math.pi)


def random_state(rng: np.random.Generator) -> Array:
    """A start `[10]` at rest, from the benchmark's ranges, with the agent clear of the block."""
    while True:
        agent, block = rng.uniform(50.0, 450.0, 2), rng.uniform(100.0, 400.0, 2)
        angle = rng.uniform(-math.pi, math.pi)
        if clearance(agent, block, angle) > 1.0 and outline_inside(block, angle):
            return np.concatenate([agent, block, [angle], np.zeros(5)])


def clearance(agent: Array, block: Array, angle: Array) -> Array:
    """Gap `[*B]` between the agent at `[*B 2]` and a block at `[*B 2]` turned by `[*B]` [px]; negative inside."""
    apart = np.asarray(agent) - np.asarray(block)
    cosine, sine = np.cos(angle), np.sin(angle)
    local = np.stack([cosine * apart[..., 0] + sine * apart[..., 1], cosine * apart[..., 1] - sine * apart[..., 0]], -1)
    gaps = []
    for x, y, half_x, half_y in PARTS:
        excess = np.abs(local - (x, y)) - (half_x, half_y)
        gaps.append(np.linalg.norm(np.maximum(excess, 0.0), axis=-1) + np.minimum(excess.max(-1), 0.0))
    return np.asarray(np.minimum(*gaps) - AGENT_RADIUS)


def corners() -> Array:
    """The T's eight corners `[8 2]` in the block's frame, part by part."""
    signs = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])
    return np.concatenate([np.array(part[:2]) + signs * np.array(part[2:]) for part in PARTS])


def outline_inside(block: Array, angle: float) -> bool:
    """Whether a block at `[2]` turned by `angle` touches no wall."""
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    points = corners() @ turn.T + np.asarray(block)
    return bool((points > WALL[0]).all() and (points < WALL[1]).all())


def _environment() -> Any:
    """gym-pusht's environment class."""
    try:
        with warnings.catch_warnings():
            # pygame asks setuptools for its resources in a way that setuptools warns of.
            warnings.simplefilter("ignore")
            from gym_pusht.envs.pusht import PushTEnv
    except ImportError as error:
        raise EmbodiedError(
            f"Push-T needs gym-pusht and pymunk < 7 ({error}). Install them with `pip install -e '.[pusht]'` and "
            "`pip install --no-deps 'gym-pusht>=0.1.6,<0.2'` (without its own OpenCV, which would overwrite ours)."
        ) from error
    return PushTEnv
