"""The world model of a run, as the what-if suite asks it: histories and plans in, rollouts out."""

import numpy as np

from embodied.config import Config
from embodied.evaluation.branches import Imagine
from embodied.run import Run
from embodied.training.members import load_members, model_config
from embodied.training.train import member_name
from envs.control import Controller
from envs.episode import Rollout
from envs.types import Array, Observation
from world_models.cjepa.ensemble import Ensemble
from world_models.imagination import Dynamics, imagine

BATCH = 256
"""Branches imagined at once: more only costs memory."""


def load_model(run: Run, config: Config, control: Controller) -> Imagine:
    """The ensemble that a run trained, asked in the actions of `control`.

    Raises `EmbodiedError` where a member is missing, damaged or foreign.
    """
    return imagining(load_ensemble(run, config), control)


def load_ensemble(run: Run, config: Config) -> Ensemble:
    """The ensemble that a run trained.

    Raises `EmbodiedError` where a member is missing, damaged or foreign.
    """
    paths = [run.path(member_name(member)) for member in range(config.world_model.members)]
    return Ensemble(load_members(paths, model_config(config)))


def imagining(dynamics: Dynamics, control: Controller) -> Imagine:
    """Any dynamics as a function of histories and plans, a batch at a time.

    The model itself sees joint targets; `control` turns the plans into them, and must be what the plans were made for.
    """

    def ask(history: Observation, actions: Array) -> Rollout:
        return joined(
            [
                imagine(dynamics, history[some], actions[some], control=control)
                for some in (slice(start, start + BATCH) for start in range(0, len(actions), BATCH))
            ]
        )

    return ask


def joined(parts: list[Rollout]) -> Rollout:
    """Numpy rollouts of one model and horizon one after the other."""
    uncertain = parts[0].uncertainty is not None
    return Rollout(
        "model",
        Observation.concat([part.observation for part in parts]),
        np.concatenate([np.asarray(part.action) for part in parts]),
        uncertainty=np.concatenate([np.asarray(part.uncertainty) for part in parts]) if uncertain else None,
    )
