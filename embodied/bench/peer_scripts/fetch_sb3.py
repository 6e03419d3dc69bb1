"""Stable-Baselines3's SAC with HER on the Fetch tasks, all in the peers' Python.

Settings of RL Zoo for these tasks (learning rate 1e-3, discount 0.95, target rate 0.05, four hindsight goals of
"future", one update per step), with batches of 256 and three layers of 256 where it has 2048 and 512: those cost ten
times the CPU, which is what is counted here.
"""

import numpy as np
import torch
from fetch import HORIZON, Worlds, reached, single
from serve import cpu_seconds, serve
from stable_baselines3 import SAC, HerReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback

HIDDEN = {"FetchReach-v4": [64, 64]}
"""Units of the layers where the task needs fewer."""
JUDGES = 10


class Until(BaseCallback):
    """Stops learning when the CPU clock passes a mark."""

    def __init__(self) -> None:
        super().__init__()
        self.mark = 0.0

    def _on_step(self) -> bool:
        return bool(cpu_seconds() < self.mark)


class Course:
    """One run, whose clock leaves out what judging costs."""

    def __init__(self, name: str, seed: int, judged: int) -> None:
        torch.set_num_threads(1)
        self.until, self.off = Until(), 0.0
        self.model = SAC(
            "MultiInputPolicy",
            single(name),
            replay_buffer_class=HerReplayBuffer,
            replay_buffer_kwargs={"n_sampled_goal": 4, "goal_selection_strategy": "future"},
            learning_rate=1e-3,
            gamma=0.95,
            tau=0.05,
            batch_size=256,
            learning_starts=1000,
            policy_kwargs={"net_arch": HIDDEN.get(name, [256, 256, 256])},
            seed=seed,
            device="cpu",
        )
        began = cpu_seconds()
        self.judge = Worlds(name, JUDGES, judged)
        self.off += cpu_seconds() - began

    def learn(self, minutes: float) -> dict[str, float]:
        """Go on to that many CPU-minutes since the process began."""
        self.until.mark = 60.0 * minutes + self.off
        self.model.learn(10**9, callback=self.until, reset_num_timesteps=False)
        return {"cpu": cpu_seconds() - self.off, "steps": self.model.num_timesteps, "updates": self.model._n_updates}

    def success(self, episodes: int) -> float:
        """Share of episodes whose goal is reached at their end."""
        began, successes = cpu_seconds(), []
        for _ in range(episodes // JUDGES):
            seen = self.judge.reset()
            for _ in range(HORIZON):
                seen = self.judge.step(self.model.predict(seen, deterministic=True)[0])
            successes.append(reached(seen))
        self.off += cpu_seconds() - began
        return float(np.mean(successes))


if __name__ == "__main__":
    courses: list[Course] = []

    def _make(name: str, seed: int, judged: int) -> None:
        courses[:] = [Course(name, seed, judged)]

    serve(
        make=_make,
        learn=lambda minutes: courses[0].learn(minutes),
        success=lambda episodes: courses[0].success(episodes),
    )
