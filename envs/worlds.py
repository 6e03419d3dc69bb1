"""N worlds of one task, stepped together: the one engine under the Gymnasium classes, collection and evaluation."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from envs.control import Controller
from envs.divergence import advance
from envs.errors import EmbodiedError
from envs.scene import build_scene
from envs.simulation import Simulation, SimulationState
from envs.task import Task
from envs.types import ActionSpec, Array, Observation, Transition
from envs.variation import Parameters, Variation


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
        self.margins: Array = np.zeros((worlds, len(task.goal.literals)))
        """`[N L]` of the goal's literals after the last step, see `Goal.margins`."""
        self.seed = seed
        self.observation = self.reset()

    @property
    def spec(self) -> ActionSpec:
        """The actions."""
        return self.simulation.control.spec

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
            layout = self.task.layout(generators)
            if self.variation is not None:
                layout = replace(layout, parameters=self._vary(self.variation, generators))
            self.simulation.reset(layout, ids)
            if self.task.settle:
                self.simulation.settle(ids, self.task.settle)
            self.elapsed[ids] = 0
            self.episode[ids] += 1
        self.observation = self.simulation.observe()
        return self.observation

    def step(self, action: Array) -> Transition:
        """One control step of every world. Worlds at their horizon are `truncated`, but not reset.

        So are worlds whose physics diverged, which alone begin anew at once, see `envs.divergence.advance`.
        """
        before = self.observation
        lost = advance(self, action)
        self.observation = self.simulation.observe()
        self.elapsed += 1
        self.margins = np.asarray(self.task.goal.margins(self.observation.objects))
        return Transition(
            observation=before,
            action=np.asarray(action, dtype=np.float64),
            next_observation=self.observation,
            success=(self.margins > 0).all(axis=1),
            terminated=np.zeros(self.worlds, bool),
            truncated=(self.elapsed >= self.task.horizon) | lost,
        )

    def _vary(self, variation: Variation, generators: Sequence[np.random.Generator]) -> Parameters:
        nominal = Parameters.nominal(self.simulation.scene, 1)
        drawn = [variation.sample(nominal, generator) for generator in generators]
        return nominal.like(np.concatenate([one.flat() for one in drawn]))

    def state_dict(self) -> dict[str, Array]:
        """All that decides the worlds' future, as arrays."""
        return {
            "simulation": self.simulation.save().rows,
            "elapsed": self.elapsed.copy(),
            "episode": self.episode.copy(),
        }

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Continue where `state_dict` was taken, bit for bit."""
        self.simulation.restore(SimulationState(np.asarray(state["simulation"])))
        self.elapsed[:], self.episode[:] = state["elapsed"], state["episode"]
        self.observation = self.simulation.observe()
