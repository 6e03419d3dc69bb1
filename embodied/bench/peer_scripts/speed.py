"""Random play in the peers' tasks that are nearest to ours, timed in CPU seconds of all threads.

Environments are as their packages make them, without pictures. Resets and the drawing of actions are off the clock, and
so are first steps, in which some compile.
"""

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray
from serve import cpu_seconds, serve

WORLDS = 64
"""Of EnvPool, on one thread: twice as many are no faster."""


class Single:
    """One Gymnasium environment; simulated time is read off its MuJoCo data."""

    worlds = 1

    def __init__(self, env: Any, data: Callable[[Any], Any], horizon: int = 1000) -> None:
        self.env, self.horizon = env, horizon
        self.reset()
        before = data(env.unwrapped).time
        self.step(self.env.action_space.sample())
        self.period = float(data(env.unwrapped).time - before)

    def reset(self) -> None:
        """Begin an episode."""
        self.env.reset()

    def actions(self, count: int) -> list[Any]:
        """Random ones."""
        return [self.env.action_space.sample() for _ in range(count)]

    def step(self, action: Any) -> bool:
        """One step; returns whether the episode has ended."""
        _, _, terminated, truncated, _ = self.env.step(action)
        return bool(terminated or truncated)


class Robosuite(Single):
    """robosuite's own interface: an array of actions, four results."""

    def __init__(self, env: Any) -> None:
        self.env = env
        self.period = float(env.control_timestep)
        self.reset()

    def actions(self, count: int) -> list[Any]:
        """As above."""
        low, high = self.env.action_spec
        return list(np.random.default_rng(0).uniform(low, high, (count, len(low))))

    def step(self, action: Any) -> bool:
        """As above."""
        return bool(self.env.step(action)[2])


class Pool(Single):
    """EnvPool steps its own MuJoCo, and begins episodes anew by itself, which cannot be kept off the clock."""

    worlds = WORLDS

    def __init__(self, name: str, period: float) -> None:
        import envpool

        self.env = envpool.make(name, "gymnasium", num_envs=WORLDS, seed=0, num_threads=1)
        self.period = period
        self.reset()

    def actions(self, count: int) -> list[Any]:
        """For all worlds."""
        shape = (count, WORLDS, *self.env.action_space.shape)
        return list(np.random.default_rng(0).uniform(-1.0, 1.0, shape).astype(np.float32))

    def step(self, action: Any) -> bool:
        """All worlds; never ends."""
        self.env.step(action)
        return False


class Blank:
    """A renderer that draws nothing."""

    def __init__(self, model: Any, height: int = 1, width: int = 1) -> None:
        self.picture = np.zeros((height, width, 3), np.uint8)

    def update_scene(self, data: Any, camera: Any = -1) -> None:
        """Nothing to see."""

    def render(self) -> NDArray[Any]:
        """Black."""
        return self.picture


def _gymnasium_robotics() -> Single:
    import gymnasium_robotics as package

    gymnasium.register_envs(package)
    return Single(gymnasium.make("FetchPickAndPlace-v4"), lambda env: env.data)


def _metaworld() -> Single:
    import metaworld as package

    assert package
    return Single(gymnasium.make("Meta-World/MT1", env_name="pick-place-v3", seed=0), lambda env: env.data)


def _lerobot_env_so101() -> Single:
    import lerobot_env_so101 as package

    return Single(gymnasium.make(package.PICK_PLACE_ENV_ID), lambda env: env._data)


def _gym_hil() -> Single:
    import mujoco

    # It asks for an OpenGL context, although pictures are not asked for.
    mujoco.Renderer = Blank
    import gym_hil as package

    assert package
    return Single(gymnasium.make("gym_hil/PandaPickCubeBase-v0"), lambda env: env._data)


def _robosuite() -> Single:
    import robosuite as package

    quiet = {"has_renderer": False, "has_offscreen_renderer": False, "use_camera_obs": False}
    return Robosuite(package.make("Lift", robots="Panda", **quiet))


PEERS = {
    "envpool_panda": lambda: Pool("PandaPickCube-v1", 0.02),
    "envpool_fetch": lambda: Pool("FetchPickAndPlace-v4", 0.04),
    "gymnasium_robotics": _gymnasium_robotics,
    "metaworld": _metaworld,
    "lerobot_env_so101": _lerobot_env_so101,
    "gym_hil": _gym_hil,
    "robosuite": _robosuite,
}


def play(peer: Single, seconds: float) -> float:
    """Simulated seconds per CPU second over at least `seconds` of the latter."""
    spent, steps = 0.0, 0
    while spent < seconds:
        ended = False
        actions = peer.actions(8)
        began = cpu_seconds()
        for action in actions:
            ended = peer.step(action)
            steps += 1
            if ended:
                break
        spent += cpu_seconds() - began
        if ended:
            peer.reset()
    return steps * peer.worlds * peer.period / spent


if __name__ == "__main__":
    opened: dict[str, Single] = {}

    def _make(name: str) -> dict[str, float]:
        opened[name] = PEERS[name]()
        play(opened[name], 0.2)
        return {"period": opened[name].period, "worlds": opened[name].worlds}

    serve(names=lambda: list(PEERS), make=_make, play=lambda name, seconds: play(opened[name], seconds))
