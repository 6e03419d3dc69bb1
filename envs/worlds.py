"""N worlds of one task, stepped together: the one engine under the Gymnasium classes, collection and evaluation."""

import numpy as np

from envs.control import Controller
from envs.errors import EmbodiedError
from envs.scene import build_scene
from envs.simulation import Simulation
from envs.tasks import Task
from envs.types import Array, Observation, Transition
from envs.variation import Variation


class TaskWorlds:
    """Resets, steps and judges N worlds of a task. Episodes are drawn from per-world streams of one seed."""

    def __init__(
        self,
        task: Task,
        worlds: int,
        seed: int = 0,
        control: Controller | None = None,
        threads: int = 0,
        variation: Variation | None = None,
    ) -> None:
        """Starts with every world freshly reset."""
        self.task = task
        self.simulation = Simulation(build_scene(task.scene), worlds, threads, control)
        self.worlds = worlds
        self.variation = variation
        self.elapsed = np.zeros(worlds, np.int64)
        """`[N]` control steps since each world's reset."""
        self.episode = np.zeros(worlds, np.int64)
        """`[N]` resets so far, which number the episodes of each world's stream."""
        self.seed = seed
        self.observation = self.reset()

    def reset(self, ids: Array | None = None, seeds: Array | list[int] | None = None) -> Observation:
        """Begin episodes in the worlds `ids` (all by default); returns the observation of all worlds.

        `seeds` `[n]` choose the beginnings; without, each world's next episode is `(seed, world, episode)`.
        """
        ids = np.arange(self.worlds) if ids is None else np.asarray(ids)
        if seeds is not None:
            if len(seeds) != len(ids):
                raise EmbodiedError(f"{len(seeds)} seeds were given for {len(ids)} worlds; give one each.")
            generators = [np.random.default_rng(int(seed)) for seed in seeds]
        else:
            generators = [np.random.default_rng((self.seed, int(i), int(self.episode[i]))) for i in ids]
        if len(ids):
            self.simulation.reset(self.task.layout(generators), ids)
            self.elapsed[ids] = 0
            self.episode[ids] += 1
        self.observation = self.simulation.observe()
        return self.observation

    def step(self, action: Array) -> Transition:
        """One control step of every world. Nothing is reset: worlds at their horizon are `truncated`."""
        before = self.observation
        self.observation = self.simulation.step(action)
        self.elapsed += 1
        return Transition(
            observation=before,
            action=np.asarray(action, dtype=np.float64),
            next_observation=self.observation,
            success=np.asarray(self.task.goal.satisfied(self.observation.objects)),
            terminated=np.zeros(self.worlds, bool),
            truncated=self.elapsed >= self.task.horizon,
        )
