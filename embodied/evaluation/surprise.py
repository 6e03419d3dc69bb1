"""Whether a model is surprised by what cannot be: one-step errors on frames that break physics, against true ones.

Violations of expectation as in IntPhys and LeWorldModel, but made by the simulator in instants of unseen episodes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embodied.evaluation.branches import Imagine
from embodied.evaluation.contexts import Contexts
from embodied.evaluation.statistics import Estimate, Floats, auroc, bootstrap_blocks
from embodied.evaluation.violations import CONTROL, STEPS, VIOLATIONS, in_play, violated, watch
from envs.errors import EmbodiedError
from envs.simulation import Simulation
from envs.types import Observation

MISSING = 0.1
"""[m] Counted as the error of an object that is expected and not there: about four cubes."""
SPEEDS = (0.005, 0.05)
"""[m/s] Objects at rest, slow and fast are compared with their like."""
LEAST = 1e-4
"""[m] The smallest spread of errors that a surprise is measured by."""


def measure(
    simulation: Simulation, model: Imagine, contexts: Contexts, generator: np.random.Generator, resamples: int = 1000
) -> dict[str, Estimate]:
    """AUROC of surprise between true and violated continuations, per violation.

    `auroc` pools them; `colour` is the control, at which a model of motion should not be surprised: 0.5. Surprise is
    the largest one-step error over frames and objects, each as a z-score among true frames of the validation half in
    which objects move as fast. Only violations that shift something by `TOLERANCE`, or take it away, count, each
    against the true continuation of the same instant; NaN where there is none.

    Raises `EmbodiedError` for a model whose predictions are not finite, or too few contexts to calibrate on.
    """
    half = contexts.validation
    if not half.any() or half.all():
        raise EmbodiedError("Surprise needs contexts of two episodes or more: one half calibrates the other.")
    clean = watch(simulation, contexts)
    normal = errors(model, contexts, clean)
    scale = Scale.fit(normal[half], speeds(contexts, clean)[half])
    calm = scale.surprise(normal, speeds(contexts, clean))
    target = in_play(contexts, clean)
    rows: dict[str, tuple[NDArray[np.int64], Floats]] = {}
    for name in (*VIOLATIONS, CONTROL):
        seen = violated(name, simulation, contexts, clean, target, generator)
        surprise = scale.surprise(errors(model, contexts, seen.frames), speeds(contexts, seen.frames))
        chosen = np.flatnonzero(seen.broken & ~half)
        rows[name] = (chosen, surprise[chosen])
    found = {name: _auroc([rows[name]], calm, ~half, generator, resamples) for name in rows}
    return {"auroc": _auroc([rows[name] for name in VIOLATIONS], calm, ~half, generator, resamples), **found}


def errors(model: Imagine, contexts: Contexts, frames: Observation) -> Floats:
    """`[C STEPS K]` one-step errors on frames `[C W+STEPS ...]` [m]; NaN for what is absent before and after.

    Raises `EmbodiedError` where a prediction is not finite.
    """
    window, movable = frames.proprioception.shape[1] - STEPS, contexts.movable
    found = np.full((len(contexts), STEPS, len(movable)), np.nan)
    position = np.asarray(frames.objects.position_in_world)[:, :, movable]
    present = np.asarray(frames.objects.present)[:, :, movable]
    for step in range(STEPS):
        rollout = model(frames[:, step : step + window], contexts.action[:, step : step + 1])
        said = np.asarray(rollout.observation.objects.position_in_world, dtype=np.float64)[:, 1, movable]
        before, after = present[:, step + window - 1], present[:, step + window]
        if not np.isfinite(said[before]).all():
            raise EmbodiedError("The model's prediction is not finite: its training diverged.")
        off = np.linalg.norm(said - position[:, step + window], axis=-1)
        found[:, step] = np.where(before & after, off, np.where(before | after, MISSING, np.nan))
    return found


def speeds(contexts: Contexts, frames: Observation) -> NDArray[np.int64]:
    """`[C STEPS K]` how fast each object moves before each step, as an index among `SPEEDS`."""
    velocity = np.asarray(frames.objects.linear_velocity_in_world)[:, -STEPS - 1 : -1][:, :, contexts.movable]
    return np.asarray(np.searchsorted(np.array(SPEEDS), np.linalg.norm(velocity, axis=-1)), dtype=np.int64)


@dataclass(frozen=True)
class Scale:
    """What errors are usual."""

    median: Floats
    """`[STEPS len(SPEEDS)+1]` [m]."""
    spread: Floats
    """`[STEPS len(SPEEDS)+1]` from the median to the 90 % quantile [m]."""

    @classmethod
    def fit(cls, error: Floats, speed: NDArray[np.int64]) -> "Scale":
        """From true frames `[C STEPS K]`; a class of speed without any takes what is usual among all."""
        shape = (error.shape[1], len(SPEEDS) + 1)
        median, spread = np.zeros(shape), np.zeros(shape)
        for step, part in np.ndindex(shape):
            known = ~np.isnan(error[:, step])
            values = error[:, step][known & (speed[:, step] == part)]
            values = values if len(values) else error[:, step][known]
            if not len(values):
                raise EmbodiedError("No object is there to learn from what errors are usual.")
            median[step, part], high = np.quantile(values, (0.5, 0.9))
            spread[step, part] = max(high - median[step, part], LEAST)
        return cls(median, spread)

    def surprise(self, error: Floats, speed: NDArray[np.int64]) -> Floats:
        """`[C]` the largest z-score over steps and objects."""
        step = np.arange(error.shape[1])[:, None]
        z = (error - self.median[step, speed]) / self.spread[step, speed]
        return np.asarray(np.where(np.isnan(z), -np.inf, z).max((1, 2)))


def _auroc(
    rows: list[tuple[NDArray[np.int64], Floats]],
    calm: Floats,
    test: NDArray[np.bool_],
    generator: np.random.Generator,
    resamples: int,
) -> Estimate:
    # Each violated continuation against the true one of its own instant: violations show where much moves anyway.
    chosen = np.concatenate([contexts for contexts, _ in rows])
    value = np.concatenate([calm[chosen], *(surprise for _, surprise in rows)])
    label = np.arange(len(value)) >= len(chosen)
    owner = (np.cumsum(test) - 1)[np.concatenate([chosen, chosen])]
    return bootstrap_blocks(lambda weight: auroc(value, label, weight[:, owner]), int(test.sum()), generator, resamples)
