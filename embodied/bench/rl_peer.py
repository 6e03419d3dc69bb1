"""Stable-Baselines3's SAC with hindsight replay on our own Gymnasium environment, lent by the peers' Python."""

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np

from embodied.bench import peers
from envs import GYM_IDS
from envs.goal_dictionary import flatten
from envs.goals import Goal
from envs.task import Task
from envs.types import Array, Observation


def importable() -> bool:
    """Whether the peer is there."""
    peers.borrow()
    return importlib.util.find_spec("stable_baselines3") is not None


class PeerPolicy:
    """A snapshot of the peer's actor behind our `Policy` contract."""

    def __init__(self, actor: Any, task: Task) -> None:
        self._actor, self._task = actor, task

    def reset(self) -> None:
        """Nothing to forget."""

    def act(self, observation: Observation, goal: Goal) -> Array:
        """Actions `[B A]`."""
        seen = {key: np.asarray(value) for key, value in flatten(observation, self._task).items()}
        action: Array = self._actor.predict(seen, deterministic=True)[0]
        return action


def learn(task_name: str, seed: int, note: Callable[[Callable[[], dict[str, Any]]], bool]) -> None:
    """Learn until `note`, which is given a snapshot to keep after every step, returns false."""
    import copy

    model = _model(task_name, seed, 256, 256)
    callbacks = importlib.import_module("stable_baselines3.common.callbacks")

    class Watch(callbacks.BaseCallback):  # type: ignore[misc,name-defined]
        def _on_step(self) -> bool:
            return note(lambda: {"steps": self.num_timesteps, "policy": PeerPolicy(copy.deepcopy(model.policy), task)})

    task = model.get_env().envs[0].unwrapped.task
    model.learn(10**9, callback=Watch())


def updater(width: int, rows: int) -> Callable[[int], None]:
    """What makes that many of the peer's updates, on a replay of random episodes."""
    model = _model("place_air", 0, width, rows)
    model.learn(200)
    return lambda count: model.train(gradient_steps=count, batch_size=rows)


def _model(task_name: str, seed: int, width: int, rows: int) -> Any:
    """Settings of RL Zoo for manipulation with the sparse reward, on one world and one thread."""
    import torch

    torch.set_num_threads(1)
    peers.borrow()
    peer = importlib.import_module("stable_baselines3")
    (gym_id,) = (gym_id for gym_id, name in GYM_IDS.items() if name == task_name)
    return peer.SAC(
        "MultiInputPolicy",
        gymnasium.make(f"envs:{gym_id}"),
        replay_buffer_class=peer.HerReplayBuffer,
        replay_buffer_kwargs={"n_sampled_goal": 4, "goal_selection_strategy": "future", "copy_info_dict": True},
        learning_rate=1e-3,
        gamma=0.95,
        batch_size=rows,
        learning_starts=100,
        policy_kwargs={"net_arch": [width, width]},
        seed=seed,
        device="cpu",
    )
