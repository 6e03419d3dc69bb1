"""The Fetch tasks of gymnasium-robotics, untouched: EnvPool's port of them to learn in, the original to judge by."""

from typing import Any, Protocol

import gymnasium
import numpy as np
from serve import serve

HORIZON, ACTION_SIZE = 50, 4
TOLERANCE = 0.05
"""[m] as `distance_threshold` there."""


class Worlds(Protocol):
    """N worlds of a task that begin and end together."""

    def reset(self) -> dict[str, Any]:
        """Gymnasium's goal dictionary, `[N ...]`."""
        ...

    def step(self, action: np.ndarray) -> dict[str, Any]:
        """The same after one step under actions `[N 4]`."""
        ...


class Original:
    """Single environments of gymnasium-robotics, stepped in turn."""

    def __init__(self, name: str, worlds: int, seed: int) -> None:
        import gymnasium_robotics

        gymnasium.register_envs(gymnasium_robotics)
        self.envs = [gymnasium.make(name) for _ in range(worlds)]
        self.next_seed = seed

    def reset(self) -> dict[str, Any]:
        """Every episode has a seed of its own."""
        first = self.next_seed
        self.next_seed += len(self.envs)
        return _stacked([env.reset(seed=first + i)[0] for i, env in enumerate(self.envs)])

    def step(self, action: np.ndarray) -> dict[str, Any]:
        """See `Worlds`."""
        return _stacked([env.step(each)[0] for env, each in zip(self.envs, action, strict=True)])


class Port:
    """EnvPool's, on one thread."""

    def __init__(self, name: str, worlds: int, seed: int) -> None:
        import envpool

        self.env = envpool.make(name, "gymnasium", num_envs=worlds, seed=seed, num_threads=1)

    def reset(self) -> dict[str, Any]:
        """See `Worlds`."""
        return dict(self.env.reset()[0])

    def step(self, action: np.ndarray) -> dict[str, Any]:
        """See `Worlds`."""
        return dict(self.env.step(np.asarray(action, np.float32))[0])


KINDS: dict[str, type[Original] | type[Port]] = {"original": Original, "port": Port}


def reached(achieved: np.ndarray, desired: np.ndarray) -> np.ndarray:
    """Whether goals `[N 3]` are within the tolerance: `[N]`."""
    return np.asarray(np.linalg.norm(achieved - desired, axis=-1) < TOLERANCE)


def _stacked(seen: list[dict[str, Any]]) -> dict[str, Any]:
    return {key: np.stack([each[key] for each in seen]) for key in seen[0]}


def _plain(seen: dict[str, Any]) -> dict[str, list[list[float]]]:
    """In single precision, in which a learner reads them anyway."""
    names = {"observation": "observation", "achieved": "achieved_goal", "desired": "desired_goal"}
    return {ours: np.asarray(seen[theirs], np.float32).tolist() for ours, theirs in names.items()}


if __name__ == "__main__":
    opened: list[Worlds] = []

    def _make(kind: str, name: str, worlds: int, seed: int) -> dict[str, float]:
        opened[:] = [KINDS[kind](name, worlds, seed)]
        return {"horizon": HORIZON, "action_size": ACTION_SIZE, "tolerance": TOLERANCE}

    serve(
        make=_make,
        reset=lambda: _plain(opened[0].reset()),
        step=lambda action: _plain(opened[0].step(np.array(action))),
    )
