"""The policy that a run has: what it learned, or a planner over its world model."""

import numpy as np

from embodied.agents.planner import Planner, PlannerConfig
from embodied.agents.policies import ActorPolicy, NumpyActor
from embodied.config import Config
from embodied.evaluation.model import load_model
from embodied.run import Run
from embodied.training.collect import chosen_control
from envs.goals import Goal
from envs.types import Array, ObjectState, Policy
from world_models.reward.analytic import AnalyticReward


def load_policy(run: Run, config: Config) -> Policy:
    """The policy of a run; raises `EmbodiedError` where it has none."""
    if config.agent.name == "planner":
        return planner(run, config)
    state, meta = run.restore("policy")
    return ActorPolicy(NumpyActor(state), tuple(meta["distractors"]))


def planner(run: Run, config: Config) -> Planner:
    """A search over the world model of a run, towards progress as the analytic reward sees it."""
    search = PlannerConfig(
        horizon=config.agent.plan_horizon,
        candidates=config.agent.candidates,
        elites=max(1, config.agent.candidates // 10),
        iterations=config.agent.iterations,
    )
    rng = np.random.default_rng((config.seed, 3))
    control = chosen_control(config)
    return Planner(
        load_model(run, config, control), progress, control.spec, rng, search, history=config.world_model.history
    )


def progress(objects: ObjectState, goal: Goal) -> Array:
    """How far along the goal is `[*B]`, 0..1."""
    return AnalyticReward().score(objects, goal).progress
