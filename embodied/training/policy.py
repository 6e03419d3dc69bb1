"""Training a policy off-policy: clone demonstrations, then explore, relabel and improve, in one resumable loop."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np

from embodied.agents.batch import Batch
from embodied.agents.history import HistoryPolicy
from embodied.agents.losses import LearnerConfig
from embodied.agents.policies import ActorPolicy
from embodied.agents.td3 import CHECKED, Learner
from embodied.config import AgentConfig
from embodied.data.replay import Judge, Replay
from embodied.training.imagined import Imagine, Imagined, ImaginedConfig
from embodied.training.shaped import shaper
from embodied.training.shared import shared
from envs.episode import Episode, Policy, Transition
from envs.errors import EmbodiedError
from envs.goals import Goal
from envs.types import ActionSpec, Array, Observation
from world_models.reward.analytic import RewardModel
from world_models.reward.audit import Audit


class Errand(Protocol):
    """The part of a task that training reads."""

    @property
    def goal(self) -> Goal:
        """The formula to bring about."""
        ...

    @property
    def horizon(self) -> int:
        """Control steps per episode."""
        ...


class Resumable(Protocol):
    """Anything whose future is a function of the nested arrays and plain values it gives out."""

    def state_dict(self) -> dict[str, Any]:
        """All that decides its future."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        ...


class Worlds(Resumable, Protocol):
    """What training asks of an environment: N worlds of one task that are reset together; `TaskWorlds` is one."""

    worlds: int
    observation: Observation
    """The present `[N ...]`."""

    @property
    def task(self) -> Errand:
        """The task of every world."""
        ...

    @property
    def spec(self) -> ActionSpec:
        """The actions."""
        ...

    def reset(self) -> Observation:
        """Begin an episode in every world."""
        ...

    def step(self, action: Array) -> Transition:
        """One control step under actions `[N A]`."""
        ...


class DivergedError(EmbodiedError):
    """Learning has come to numbers that are not finite."""

    def __init__(self, batch: Batch, update: int) -> None:
        """`batch` is the first whose loss was not finite, at that `update`, counted from 1."""
        self.batch, self.update = batch, update
        bad = [field.name for field in fields(batch) if not np.isfinite(getattr(batch, field.name)).all()]
        cause = f"the {' and '.join(bad)} is not finite" if bad else "all is finite; try a smaller agent.learning_rate"
        super().__init__(f"The policy's loss was not finite at update {update}. Of the batch it was made of, {cause}.")


@dataclass(frozen=True)
class _Newest:
    """The actor as it is now, not its average: what explores must show the critic the actor's latest mistakes."""

    learner: Learner

    def act(self, state: Array) -> Array:
        return self.learner.act(state, averaged=False)


@dataclass(frozen=True)
class _Exploring:
    """A policy whose actions are disturbed."""

    policy: Policy
    disturb: Callable[[Array], Array]

    def reset(self) -> None:
        self.policy.reset()

    def act(self, observation: Observation, goal: Goal) -> Array:
        return self.disturb(self.policy.act(observation, goal))


class PolicyTrainer:
    """The learner, its replay and its worlds; `advance` does the work, `state_dict` holds all that decides the rest."""

    def __init__(
        self,
        worlds: Worlds,
        config: AgentConfig,
        seed: int,
        demonstrations: Iterable[Episode] = (),
        demonstrator: Policy | None = None,
        *,
        capacity: int = 4000,
        distractors: tuple[str, ...] = (),
        device: str = "cpu",
        reward: RewardModel | None = None,
        shaping: float = 0.0,
        imagine: Imagine | None = None,
        judge: Judge | None = None,
        audit: Audit | None = None,
    ) -> None:
        """`demonstrator` relabels demonstrations with what it would have done (DART: Laskey et al. 2017).

        Without it the executed actions are imitated. `capacity` counts episodes. With `shaping`, progress by `reward`
        is paid as it is made. `imagine` is needed where `config.imagined` is not 0. `judge` says what is success, in
        place of exact margins of what is observed; `audit` compares what it claims with the worlds' own word, and once
        it is alarmed nothing more is learned. Raises `EmbodiedError` for combinations that cannot work.
        """
        self.worlds, self.config, self.distractors = worlds, config, distractors
        if (shaping and reward is None) or (config.imagined and imagine is None):
            raise EmbodiedError("Shaping needs a reward model, and agent.imagined a trained world model.")
        if config.imagined and config.history > 1:
            raise EmbodiedError("What is imagined begins without a past: agent.imagined needs agent.history=1.")
        self._shaper = shaper(reward, worlds.task.goal, shaping, config.discount) if reward and shaping else None
        if audit is not None and judge is None:
            raise EmbodiedError("Exact margins need no audit: it checks the claims of a judge.")
        self._judge, self.audit = judge, audit
        self._claimed: Array = np.zeros(worlds.worlds, bool)
        self._updates_per_step = round(config.updates_per_step * worlds.worlds)
        if self._updates_per_step < 1:
            raise EmbodiedError(
                f"agent.updates_per_step={config.updates_per_step} with {worlds.worlds} worlds is less than one "
                f"update per step; use at least {1 / worlds.worlds:.3g}."
            )
        learner_seed, *streams = np.random.SeedSequence(seed).spawn(3)
        self._explore, self._sample = (np.random.default_rng(stream) for stream in streams)
        example = worlds.observation
        self.replay = self._new_replay(capacity, example, config.relabel)
        self.demonstrations = self._with_demonstrations(list(demonstrations), demonstrator, example)
        learner_config = LearnerConfig(
            width=config.width,
            learning_rate=config.learning_rate,
            discount=config.discount,
            value_low=-1.0 / (1.0 - config.discount),
            value_high=shaping,
            q_ramp=config.ramp if self.demonstrations else 0,
            squash_penalty=config.squash_penalty,
            device=device,
            bfloat16=config.bfloat16,
            compile=config.compile,
        )
        state_size = self.replay.state_size
        learner_number = int(learner_seed.generate_state(1)[0])
        self.learner = shared(state_size, worlds.spec.size, learner_config, learner_number, config.batch)
        self.imagined: Imagined | None = None
        if imagine is not None and config.imagined:
            imagined = ImaginedConfig(horizon=config.imagined_horizon)
            self.imagined = Imagined(imagine, imagined, self.replay)
        self.cloned = self.steps = 0
        self._worlds_thread = ThreadPoolExecutor(1)
        self._newest = ActorPolicy(_Newest(self.learner), distractors)
        self._slots: Array = np.arange(worlds.worlds)
        self._observation = example
        self._spread = np.linspace(0.3, 1.7, worlds.worlds)[:, None] * config.noise

    def _new_replay(self, capacity: int, example: Observation, relabel: float) -> Replay:
        task, size = self.worlds.task, self.worlds.spec.size
        shaper = self._shaper
        return Replay(
            capacity, task.horizon, task.goal, example, size, relabel, self.distractors, shaper, self._judge,
            self.config.history,
        )  # fmt: skip

    def _with_demonstrations(
        self, episodes: list[Episode], demonstrator: Policy | None, example: Observation
    ) -> Replay | None:
        if not episodes:
            return None
        # Half the demonstrated rows keep their goal, for only those can be imitated.
        replay = self._new_replay(len(episodes), example, min(0.5, self.config.relabel))
        for episode in episodes:
            label = None if demonstrator is None else demonstrator.act(episode.observation[:-1], episode.goal)
            replay.add(episode, label)
        return replay

    @property
    def env_steps(self) -> int:
        """Steps taken so far, over all worlds."""
        return self.steps * self.worlds.worlds

    def clone(self, updates: int) -> None:
        """Imitate the demonstrations for that many updates; without demonstrations they only count as done."""
        self.cloned += updates
        if self.demonstrations is None:
            return
        for _ in range(updates):
            self.learner.clone(self.demonstrations.sample(self.config.batch, self._sample, imitate=True))

    def advance(self, steps: int) -> None:
        """Step all worlds that often, with the configured number of updates after each step."""
        for _ in range(steps):
            if self.steps % self.worlds.task.horizon == 0:
                self._observation = self.worlds.reset()
                self._slots = self.replay.begin(self._observation)
                self._claimed[:] = False
            chosen = self._chosen()
            action = self._disturbed(chosen, self._spread)
            # The worlds step on a core of their own while this one learns from what there was before.
            stepping = self._worlds_thread.submit(self.worlds.step, action)
            try:
                if not self.frozen and len(self.replay):
                    self.learn(self._updates_per_step)
            finally:
                transition = stepping.result()
            self._observation = transition.next_observation
            self.replay.extend(self._slots, action, self._observation, chosen)
            self.steps += 1
            if self.frozen or self._drifts(transition):
                continue
            if self.imagined is not None and self.steps % self.imagined.config.every == 0:
                self.imagined.renew(self._explorer(), self._sample)

    def _chosen(self) -> Array:
        """What the newest actor would do `[N A]`; where it reads earlier frames, the replay remembers them."""
        if self.config.history == 1:
            return self._newest.act(self._observation, self.worlds.task.goal)
        return self.learner.act(self.replay.inputs(self._slots), averaged=False)

    def learn(self, updates: int) -> None:
        """That many updates from what has been experienced; raises `DivergedError` where a loss is not finite."""
        for start in range(0, updates, CHECKED):
            batches = list(self._batches(min(CHECKED, updates - start)))
            for batch in batches:
                self.learner.update(batch)
            broken = self.learner.diverged(len(batches))
            if broken is not None:
                raise DivergedError(batches[broken], self.learner.updates - len(batches) + broken + 1)

    @property
    def frozen(self) -> bool:
        """Whether the audit found too many false claims, and learning has stopped."""
        return self.audit is not None and self.audit.alarmed

    def _drifts(self, transition: Transition) -> bool:
        """Audit the first claim of every episode: later ones are mostly of the same state. Returns `frozen`."""
        if self.audit is None or self._judge is None:
            return False
        claims = np.asarray(self._judge(transition.next_observation.objects, self.worlds.task.goal)) & ~self._claimed
        self._claimed |= claims
        self.audit.note(np.asarray(transition.success)[self.audit.choose(claims)])
        return self.frozen

    def _disturbed(self, action: Array, spread: Array | float) -> Array:
        """Actions `[N A]` with noise; each world has a width of its own, from nearly none to bold."""
        noise = spread * self._explore.standard_normal(action.shape)
        return np.clip(action + noise, -1.0, 1.0)

    def _explorer(self) -> Policy:
        """The newest actor with exploration noise, for imagined worlds."""
        return _Exploring(self._newest, lambda action: self._disturbed(action, self.config.noise))

    def _batches(self, count: int) -> Iterator[Batch]:
        """That many batches, drawn together: sampling costs calls, not rows."""
        sources: list[tuple[Replay, int, bool]] = []
        size = self.config.batch
        if self.imagined is not None and len(self.imagined.replay):
            sources.append((self.imagined.replay, round(size * self.config.imagined), False))
        real = size - sum(rows for _, rows, _ in sources)
        if self.demonstrations is not None:
            shown = round(real * self.config.demonstration_fraction)
            sources.append((self.demonstrations, shown, True))
            real -= shown
        # Own successes are imitated as well (self-imitation: Oh et al. 2018): without, the young critic unlearns by
        # its errors in states that no demonstration visits what cloning had taught.
        sources.append((self.replay, real, self.demonstrations is not None))
        drawn = [
            (replay.sample(rows * count, self._sample, imitate=imitate), rows)
            for replay, rows, imitate in sources
            if rows
        ]
        for i in range(count):
            parts = [whole[i * rows : (i + 1) * rows] for whole, rows in drawn]
            yield sum(parts[1:], parts[0])

    @property
    def policy(self) -> Policy:
        """The current policy without exploration; it follows further training."""
        if self.config.history > 1:
            return HistoryPolicy(self.learner, self.config.history, self.worlds.spec.size, self.distractors)
        return ActorPolicy(self.learner, self.distractors)

    def metrics(self) -> Mapping[str, float]:
        """The learner's last losses. Raises `EmbodiedError` naming a loss that is not finite."""
        return {**self.learner.metrics(), "env_steps": self.env_steps, "updates": self.learner.updates}

    def state_dict(self) -> dict[str, Any]:
        """All that decides the rest of the training; demonstrations are given again on resuming."""
        return {
            **{name: part.state_dict() for name, part in self._parts().items()},
            "cloned": self.cloned,
            "steps": self.steps,
            "slots": self._slots.copy(),
            "claimed": self._claimed.copy(),
            "random": [rng.bit_generator.state for rng in (self._explore, self._sample)],
        }

    def _parts(self) -> Mapping[str, Resumable]:
        parts: dict[str, Resumable] = {"learner": self.learner, "replay": self.replay, "worlds": self.worlds}
        parts |= {} if self.imagined is None else {"imagined": self.imagined.replay}
        return parts | ({} if self.audit is None else {"audit": self.audit})

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state_dict` was taken, bit for bit on a CPU."""
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self.cloned, self.steps = int(state["cloned"]), int(state["steps"])
        self._slots, self._claimed = np.array(state["slots"]), np.array(state["claimed"], bool)
        for rng, saved in zip((self._explore, self._sample), state["random"], strict=True):
            rng.bit_generator.state = saved
        self._observation = self.worlds.observation
