"""Planning by sampling over any dynamics model: CEM with reused elites, or MPPI, behind the `Policy` contract.

Sources: Pinneri et al. 2020 (iCEM: coloured noise, kept elites, shifted means), Williams et al. 2017 (MPPI: weights
exp(return / temperature)).
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal, Protocol

import numpy as np

from envs.errors import EmbodiedError
from envs.features import roles
from envs.goals import Goal
from envs.types import ActionSpec, Array, ObjectState, Observation


class Outlook(Protocol):
    """Where everything is under plans, to a model that has seen what led to the present."""

    def __call__(self, plans: Array, scattered: bool = False) -> tuple[ObjectState, Array | None]:
        """States `[M N H+1 ...]` under plans `[M N H A]`, the present first, and the model's doubt `[M N H+1 K]` [m].

        A model without doubt gives None for it. One of several members may have each of `scattered` plans imagined by
        one member alone, and then does not know its doubt.
        """
        ...


Begin = Callable[[Observation], Outlook]
"""A model: what it says after histories `[M W ...]` of M worlds, the present last. What plans share is done once."""
Progress = Callable[[ObjectState, Goal], Array]
"""How far along the goal is `[*B]`, larger is better, e.g. the reward model's progress in 0..1."""


@dataclass(frozen=True)
class PlannerConfig:
    """Sizes of the search."""

    method: Literal["cem", "mppi"] = "cem"
    horizon: int = 12
    """H, control steps looked ahead."""
    candidates: int = 256
    """N, action sequences per iteration."""
    elites: int = 24
    """Best sequences that the next distribution is fitted to (CEM), some of which are tried again."""
    iterations: int = 4
    spread: float = 0.6
    """Standard deviation of the first iteration, in units of half the action's range."""
    least_spread: float = 0.05
    momentum: float = 0.1
    """Share of the former mean and spread that survives a fit."""
    persistence: float = 0.7
    """Correlation of the noise from one step to the next: hands that shake get nowhere."""
    temperature: float = 0.05
    """MPPI: returns this much apart differ e-fold in weight."""
    final_weight: float = 2.0
    """Weight of the last step's progress beside the mean over all steps."""
    doubt_weight: float = 1.0
    """Return lost per metre of the subject's uncertainty (standard deviation over the ensemble)."""
    trusted: float = 0.05
    """[m] an imagined future counts up to the step where the subject's uncertainty first exceeds this."""

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        if not 0 < self.elites <= self.candidates:
            raise EmbodiedError(f"{self.elites} elites of {self.candidates} candidates; use fewer elites.")


class Planner:
    """Plans anew at every step from what it sees; remembers its last plan as the next start."""

    def __init__(
        self,
        begin: Begin,
        progress: Progress,
        spec: ActionSpec,
        rng: np.random.Generator,
        config: PlannerConfig = PlannerConfig(),
        history: int = 1,
    ) -> None:
        """`begin` and `progress` see numpy arrays in and give numpy arrays or CPU tensors out.

        `history` is W, the frames that the model looks back on.
        """
        self.config, self.spec = config, spec
        self._begin, self._progress, self._rng = begin, progress, rng
        self._middle = (np.asarray(spec.high) + np.asarray(spec.low)) / 2.0
        self._half = (np.asarray(spec.high) - np.asarray(spec.low)) / 2.0
        self._mean: Array | None = None
        self._seen: deque[Observation] = deque(maxlen=history)

    def reset(self) -> None:
        """Forget the last plan, and what was seen."""
        self._mean = None
        self._seen.clear()

    def act(self, observation: Observation, goal: Goal) -> Array:
        """The first actions `[*B A]` of the best plans found."""
        return self.plan(observation, goal)[..., 0, :]

    def plan(self, observation: Observation, goal: Goal) -> Array:
        """The best plans found, `[*B H A]` within the spec's bounds."""
        batch, config = observation.objects.shape, self.config
        flat = _flat(observation)
        worlds, steps, size = flat.objects.shape[0], config.horizon, self.spec.size
        outlook = self._begin(self._remember(flat))
        mean: Array = self._warm_start(worlds)
        spread = np.full((worlds, steps, size), config.spread)
        kept: Array = np.zeros((worlds, 0, steps, size))
        for left in reversed(range(config.iterations)):
            plans = np.concatenate([self._draw(mean, spread, config.candidates - kept.shape[1]), kept], axis=1)
            # What one member praises is shown to all in the end.
            returns = self._returns(outlook, plans, flat.objects, goal, scattered=left > 0)
            order = np.argsort(-returns, axis=1)[:, : config.elites]
            elites = np.take_along_axis(plans, order[:, :, None, None], axis=1)
            top = np.take_along_axis(returns, order, axis=1)
            mean, spread = self._fit(elites, top, mean, spread)
            kept = elites[:, : max(1, config.elites // 4)]
        self._mean = mean if config.method == "mppi" else elites[:, 0]
        # Clipped, for the middle plus half the range may pass the end by one rounding.
        plan = np.clip(self._middle + self._half * self._mean, self.spec.low, self.spec.high)
        return plan.reshape(*batch, steps, size)

    def _remember(self, observation: Observation) -> Observation:
        """The last W observations `[M W ...]`; the first stands in for those before it."""
        if self._seen and self._seen[-1].objects.shape != observation.objects.shape:
            self._seen.clear()
        self._seen.append(observation)
        missing = (self._seen.maxlen or 1) - len(self._seen)
        return over_time([self._seen[0]] * missing + list(self._seen))

    def _warm_start(self, worlds: int) -> Array:
        """The last plan, moved on by one step; zeros at first or for another number of worlds."""
        if self._mean is None or len(self._mean) != worlds:
            return np.zeros((worlds, self.config.horizon, self.spec.size))
        return np.concatenate([self._mean[:, 1:], self._mean[:, -1:]], axis=1)

    def _draw(self, mean: Array, spread: Array, count: int) -> Array:
        """Plans `[W count H A]` in -1..1 with noise that persists over steps; the first is the mean itself."""
        worlds, steps, size = mean.shape
        noise = self._rng.standard_normal((worlds, count, steps, size))
        keep = self.config.persistence
        for step in range(1, steps):
            noise[:, :, step] = keep * noise[:, :, step - 1] + np.sqrt(1.0 - keep**2) * noise[:, :, step]
        noise[:, 0] = 0.0
        return np.clip(mean[:, None] + spread[:, None] * noise, -1.0, 1.0)

    def _returns(self, outlook: Outlook, plans: Array, objects: ObjectState, goal: Goal, scattered: bool) -> Array:
        """Returns `[W N]` of plans `[W N H A]`: progress over the trusted steps, less a charge for doubt."""
        worlds, count, steps, _ = plans.shape
        futures, uncertainty = outlook(self._middle + self._half * plans, scattered)
        progress: Array = np.asarray(self._progress(futures, goal), dtype=np.float64).reshape(-1, steps + 1)
        doubt = np.zeros_like(progress)
        if uncertainty is not None:
            subject = objects.index(roles(goal).subject)
            doubt = np.asarray(uncertainty, dtype=np.float64)[..., subject].reshape(-1, steps + 1)
        trusted = np.cumsum(doubt > self.config.trusted, axis=1) == 0
        trusted[:, 0] = True
        # Beyond the trusted steps nothing more is won or lost: the last trusted progress stands.
        last = np.maximum.accumulate(np.where(trusted, np.arange(steps + 1), 0), axis=1)
        progress = np.take_along_axis(progress, last, axis=1)
        value = progress[:, 1:].mean(axis=1) + self.config.final_weight * progress[:, -1]
        value = value - self.config.doubt_weight * (doubt * trusted).mean(axis=1)
        if not np.isfinite(value).all():
            raise EmbodiedError("The planner's imagined returns are not finite: the model or the observation has NaN.")
        return value.reshape(worlds, count)

    def _fit(self, elites: Array, returns: Array, mean: Array, spread: Array) -> tuple[Array, Array]:
        """The next mean and spread `[W H A]` from the best plans `[W E H A]` and their returns `[W E]`."""
        config = self.config
        weights = np.full(returns.shape, 1.0 / returns.shape[1])
        if config.method == "mppi":
            weights = np.exp((returns - returns[:, :1]) / config.temperature)
            weights /= weights.sum(axis=1, keepdims=True)
        weights = weights[:, :, None, None]
        fitted = (weights * elites).sum(axis=1)
        deviation = np.sqrt((weights * (elites - fitted[:, None]) ** 2).sum(axis=1))
        mean = config.momentum * mean + (1.0 - config.momentum) * fitted
        spread = config.momentum * spread + (1.0 - config.momentum) * deviation
        return mean, np.maximum(spread, config.least_spread)


def _flat(observation: Observation) -> Observation:
    """With one leading dimension `[M ...]`."""
    batch = observation.objects.shape
    worlds = int(np.prod(batch))
    return observation.map(lambda array: np.asarray(array).reshape(worlds, *np.shape(array)[len(batch) :]))


def over_time(frames: Sequence[Observation]) -> Observation:
    """Observations `[M ...]` of successive instants as one `[M T ...]`, without images."""
    first = frames[0].objects
    names = [field.name for field in fields(first) if field.name not in ("names", "kind")]
    arrays: dict[str, Array] = {
        name: np.stack([getattr(frame.objects, name) for frame in frames], axis=1) for name in names
    }
    return Observation(
        np.stack([frame.proprioception for frame in frames], axis=1),
        replace(first, **arrays),
        np.stack([frame.time for frame in frames], axis=1),
    )
