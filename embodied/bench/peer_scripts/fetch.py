"""The Fetch tasks of gymnasium-robotics, untouched: N single environments, stepped in turn."""

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray
from serve import serve

HORIZON, ACTION_SIZE = 50, 4
TOLERANCE = 0.05
"""[m] as `distance_threshold` there."""


def single(name: str) -> Any:
    """One environment."""
    import gymnasium_robotics

    gymnasium.register_envs(gymnasium_robotics)
    return gymnasium.make(name)


class Worlds:
    """N environments that begin and end together."""

    def __init__(self, name: str, worlds: int, seed: int) -> None:
        self.envs = [single(name) for _ in range(worlds)]
        self.next_seed = seed

    def reset(self) -> dict[str, Any]:
        """Gymnasium's goal dictionary `[N ...]`; every episode has a seed of its own."""
        first = self.next_seed
        self.next_seed += len(self.envs)
        return _stacked([env.reset(seed=first + i)[0] for i, env in enumerate(self.envs)])

    def step(self, action: NDArray[np.float32]) -> dict[str, Any]:
        """The same after one step under actions `[N 4]`."""
        return _stacked([env.step(each)[0] for env, each in zip(self.envs, action, strict=True)])


def reached(seen: dict[str, Any]) -> NDArray[Any]:
    """Whether the goals are reached, as the environments have it: `[N]`."""
    return np.asarray(np.linalg.norm(seen["achieved_goal"] - seen["desired_goal"], axis=-1) < TOLERANCE)


def _stacked(seen: list[dict[str, Any]]) -> dict[str, Any]:
    return {key: np.stack([each[key] for each in seen]) for key in seen[0]}


def _plain(seen: dict[str, Any]) -> dict[str, list[list[float]]]:
    """In single precision, in which a learner reads them anyway."""
    names = {"observation": "observation", "achieved": "achieved_goal", "desired": "desired_goal"}
    return {ours: np.asarray(seen[theirs], np.float32).tolist() for ours, theirs in names.items()}


if __name__ == "__main__":
    opened: list[Worlds] = []

    def _make(name: str, worlds: int, seed: int) -> dict[str, float]:
        opened[:] = [Worlds(name, worlds, seed)]
        return {"horizon": HORIZON, "action_size": ACTION_SIZE, "tolerance": TOLERANCE}

    serve(
        make=_make,
        reset=lambda: _plain(opened[0].reset()),
        step=lambda action: _plain(opened[0].step(np.array(action, np.float32))),
    )
