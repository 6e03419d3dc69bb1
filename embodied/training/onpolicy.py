"""Fine-tuning an actor of chunks by what its own episodes returned, also where an older actor collected them.

Several rollouts begin alike; a chunk's advantage is what was returned from it on, less the mean of the others at the
same time (leave-one-out baseline: Kool et al. 2019), so that no critic has to be learned. `agent.lag` makes the actor
that collects that many updates older than the one that learns, as it is where collection runs apart.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch

from embodied.agents.chunks import ChunkActor, ChunkPolicy
from embodied.agents.diversity import bonus
from embodied.config import AgentConfig
from embodied.training.spread import SpreadWorlds
from envs.episode import Episode
from envs.errors import EmbodiedError
from envs.features import policy_input, roles
from envs.types import Array, Observation
from envs.worlds import TaskWorlds

_STREAM = 0x63686E6B
"""In a beginning's numbers: episodes of their own."""


class OnPolicyTrainer:
    """The actor, its worlds and the episode under way; has the face of `PolicyTrainer`."""

    def __init__(
        self,
        worlds: TaskWorlds | SpreadWorlds,
        config: AgentConfig,
        seed: int,
        demonstrations: Iterable[Episode] = (),
        distractors: tuple[str, ...] = (),
    ) -> None:
        """Raises `EmbodiedError` where groups or chunks do not come out even."""
        horizon, length, group = worlds.task.horizon, config.chunk, config.rollouts
        if horizon % length or worlds.worlds % group or group < 2:
            raise EmbodiedError(
                f"Episodes of {horizon} steps and {worlds.worlds} worlds need a whole number of chunks "
                f"(agent.chunk={length}) and of groups of at least two (agent.rollouts={group})."
            )
        self.worlds, self.config, self.distractors = worlds, config, distractors
        self._groups = worlds.worlds // group
        actor_seed, *streams = np.random.SeedSequence(seed).spawn(3)
        self._explore, self._sample = (np.random.default_rng(stream) for stream in streams)
        self._seed = seed
        size, actions = self._inputs(worlds.observation).shape[-1], worlds.spec.size
        self.learner = ChunkActor(
            size, actions, length, config.width, config.learning_rate, config.noise,
            int(actor_seed.generate_state(1)[0]),
        )  # fmt: skip
        self._shown = _chunks(demonstrations, length, distractors)
        self.cloned = self.steps = self.updates = 0
        shape = (worlds.worlds, horizon // length)
        self._episode: dict[str, Array] = {
            "state": np.zeros((*shape, size), np.float32),
            "chunk": np.zeros((*shape, length * actions), np.float32),
            "mean": np.zeros((*shape, length * actions), np.float32),
            "success": np.zeros((worlds.worlds, horizon), bool),
            "path": np.zeros((worlds.worlds, horizon + 1, 3)),
        }
        """Of the episode under way: per chunk its input, what was drawn and from which mean; per step the outcome."""
        self._older = [self.learner.mean.flat.clone()]
        """Weights after the last `lag` updates, oldest first."""
        self._collector = self.learner.mean.copy()
        self._subject = worlds.observation.objects.index(roles(worlds.task.goal).subject)
        self._metrics = {"loss": 0.0, "effective_share": 1.0, "return": 0.0, "clone_loss": 0.0}

    @property
    def env_steps(self) -> int:
        """Steps taken so far, over all worlds."""
        return self.steps * self.worlds.worlds

    @property
    def policy(self) -> ChunkPolicy:
        """The current policy without exploration; it follows further training."""
        return ChunkPolicy(self.learner, self.config.chunk, self.distractors)

    def metrics(self) -> Mapping[str, float]:
        """Of the last update and the last episodes."""
        return {**self._metrics, "env_steps": self.env_steps, "updates": self.updates}

    def clone(self, updates: int) -> None:
        """Imitate the demonstrations for that many updates; without demonstrations they only count as done."""
        self.cloned += updates
        if self._shown is None:
            return
        state, chunk = self._shown
        for _ in range(updates):
            rows = self._sample.integers(0, len(state), self.config.batch)
            self._metrics["clone_loss"] = self.learner.clone(state[rows], chunk[rows])
        self._older = [self.learner.mean.flat.clone()]

    def advance(self, steps: int) -> None:
        """Step all worlds that often; whenever an episode is over, learn from it."""
        length, horizon = self.config.chunk, self.worlds.task.horizon
        for _ in range(steps):
            at, within = divmod(self.steps % horizon, length)
            if at == within == 0:
                self._begin()
            if within == 0:
                self._decide(at)
            chunk = self._episode["chunk"][:, at].reshape(self.worlds.worlds, length, -1)
            transition = self.worlds.step(np.clip(chunk[:, within], -1.0, 1.0))
            now = at * length + within
            self._episode["success"][:, now] = transition.success
            self._episode["path"][:, now + 1] = self._place(transition.next_observation)
            self.steps += 1
            if now + 1 == horizon:
                self._learn()

    def _begin(self) -> None:
        """Every group begins alike; the collector is as old as it is told to be."""
        episode = self.steps // self.worlds.task.horizon
        seeds = [(self._seed, episode, group, _STREAM) for group in range(self._groups)]
        observation = self.worlds.reset(seeds=[seed for seed in seeds for _ in range(self.config.rollouts)])
        self._episode["path"][:, 0] = self._place(observation)
        self._collector.flat.copy_(self._older[0])

    def _decide(self, at: int) -> None:
        state = self._inputs(self.worlds.observation)
        mean = self.learner.means(self._collector, state)
        drawn = mean + self.config.noise * self._explore.standard_normal(mean.shape)
        for name, array in (("state", state), ("mean", mean), ("chunk", drawn)):
            self._episode[name][:, at] = array

    def _learn(self) -> None:
        config, episode = self.config, self._episode
        rows = {name: episode[name].reshape(-1, episode[name].shape[-1]) for name in ("state", "chunk", "mean")}
        old = self.learner.log_density(torch.from_numpy(rows["mean"]), torch.from_numpy(rows["chunk"])).numpy()
        gain = self.advantage().reshape(-1)
        self._metrics["return"] = float(episode["success"].mean())
        for _ in range(config.updates_per_episode):
            drawn = self._sample.integers(0, len(gain), config.batch)
            self._metrics["loss"], self._metrics["effective_share"] = self.learner.update(
                rows["state"][drawn], rows["chunk"][drawn], old[drawn], gain[drawn],
                config.correction, config.length_exponent,
            )  # fmt: skip
            self.updates += 1
            self._older = [*self._older, self.learner.mean.flat.clone()][-(config.lag + 1) :]

    def advantage(self) -> Array:
        """`[N C]` of each chunk of the episode: return from it on, less the others', in standard deviations."""
        config, success = self.config, self._episode["success"]
        worlds, horizon = success.shape
        per_chunk = success.reshape(worlds, -1, config.chunk).sum(axis=-1) / horizon
        returned = per_chunk[:, ::-1].cumsum(axis=1)[:, ::-1].reshape(self._groups, config.rollouts, -1)
        if config.diversity:
            path = self._episode["path"].reshape(self._groups, config.rollouts, *self._episode["path"].shape[1:])
            done = success[:, -1].reshape(self._groups, config.rollouts)
            returned = returned + bonus(path, done, config.diversity)[..., None]
        others = (returned.sum(axis=1, keepdims=True) - returned) / (config.rollouts - 1)
        gain = returned - others
        result: Array = (gain / (gain.std() + 1e-6)).reshape(worlds, -1)
        return result

    def _inputs(self, observation: Observation) -> Array:
        return policy_input(observation, self.worlds.task.goal, self.distractors)

    def _place(self, observation: Observation) -> Array:
        place: Array = observation.objects.position_in_world[:, self._subject]
        return place

    def state_dict(self) -> dict[str, Any]:
        """All that decides the rest of the training; demonstrations are given again on resuming."""
        return {
            "learner": self.learner.state_dict(),
            "worlds": self.worlds.state_dict(),
            "episode": {name: array.copy() for name, array in self._episode.items()},
            "older": torch.stack(self._older).numpy(),
            "collector": self._collector.flat.numpy().copy(),
            "counts": [self.cloned, self.steps, self.updates],
            "metrics": dict(self._metrics),
            "random": [rng.bit_generator.state for rng in (self._explore, self._sample)],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state_dict` was taken, bit for bit."""
        self.learner.load_state_dict(state["learner"])
        self.worlds.load_state_dict(state["worlds"])
        self._episode = {name: np.array(array) for name, array in state["episode"].items()}
        self._older = list(torch.from_numpy(np.array(state["older"])))
        self._collector.flat.copy_(torch.from_numpy(np.array(state["collector"])))
        self.cloned, self.steps, self.updates = (int(count) for count in state["counts"])
        self._metrics = dict(state["metrics"])
        for rng, saved in zip((self._explore, self._sample), state["random"], strict=True):
            rng.bit_generator.state = saved


def _chunks(episodes: Iterable[Episode], length: int, distractors: tuple[str, ...]) -> tuple[Array, Array] | None:
    """Inputs `[n S]` and the chunks `[n HA]` that were executed from there on, in full only; None without episodes."""
    states, chunks = [], []
    for episode in episodes:
        starts = np.arange(episode.length - length + 1)
        states.append(policy_input(episode.observation[starts], episode.goal, distractors))
        chunks.append(episode.action[starts[:, None] + np.arange(length)].reshape(len(starts), -1))
    return (np.concatenate(states), np.concatenate(chunks)) if states else None
