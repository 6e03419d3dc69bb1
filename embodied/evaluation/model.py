"""The world model of a run, as the what-if suite asks it: histories and plans in, rollouts out."""

from dataclasses import fields, replace
from typing import Any

import numpy as np

from embodied.config import Config
from embodied.evaluation.branches import Imagine
from embodied.run import Run
from embodied.training.members import load_members, model_config
from embodied.training.train import member_name
from envs.control import CartesianDelta
from envs.types import Array, ObjectState, Observation, Rollout
from world_models.cjepa.ensemble import Ensemble
from world_models.imagination import Dynamics, imagine

BATCH = 256
"""Branches imagined at once: more only costs memory."""


def load_model(run: Run, config: Config) -> Imagine:
    """The ensemble that a run trained. Raises `EmbodiedError` where a member is missing, damaged or foreign."""
    paths = [run.path(member_name(member)) for member in range(config.world_model.members)]
    return imagining(Ensemble(load_members(paths, model_config(config.world_model))))


def imagining(dynamics: Dynamics) -> Imagine:
    """Any dynamics as a function of histories and plans, a batch at a time.

    Plans are those of play, in Cartesian deltas whatever the run's policy acts in: the model itself sees joint targets.
    """
    control = CartesianDelta()

    def ask(history: Observation, actions: Array) -> Rollout:
        parts = [
            imagine(dynamics, history[some], actions[some], control=control)
            for some in (slice(start, start + BATCH) for start in range(0, len(actions), BATCH))
        ]
        return joined(parts)

    return ask


def joined(parts: list[Rollout]) -> Rollout:
    """Rollouts of one shape one after the other, numpy."""
    first = parts[0]
    names = [f.name for f in fields(ObjectState) if f.name not in ("names", "kind")]

    def along(arrays: list[Any]) -> Array:
        return np.concatenate([np.asarray(array) for array in arrays])

    objects: dict[str, Any] = {
        name: along([getattr(part.observation.objects, name) for part in parts]) for name in names
    }
    observation = Observation(
        along([part.observation.proprioception for part in parts]),
        replace(first.observation.objects, **objects),
        along([part.observation.time for part in parts]),
    )
    uncertainty = None if first.uncertainty is None else along([part.uncertainty for part in parts])
    return Rollout("model", observation, along([part.action for part in parts]), uncertainty=uncertainty)
