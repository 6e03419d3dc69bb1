"""The policy that a run has: what it learned, or a planner over its world model."""

import numpy as np

from embodied.agents.chunks import ChunkPolicy
from embodied.agents.history import HistoryPolicy
from embodied.agents.planner import Planner, PlannerConfig
from embodied.agents.policies import ActorPolicy, NumpyActor
from embodied.config import AgentConfig, Config
from embodied.evaluation.model import load_ensemble
from embodied.run import Run
from embodied.training.collect import chosen_control
from envs.episode import Policy
from envs.goals import Goal
from envs.types import Array, ObjectState
from world_models.cjepa.ahead import Ahead
from world_models.reward.analytic import AnalyticReward
from world_models.reward.ladder import bringing

_FINISHED = 0.1
"""Share of progress that is won only where the whole goal holds."""


def load_policy(run: Run, config: Config) -> Policy:
    """The policy of a run; raises `EmbodiedError` where it has none."""
    if config.agent.name == "planner":
        return planner(run, config)
    state, meta = run.restore("policy")
    actor, distractors = NumpyActor(state), tuple(meta["distractors"])
    if config.agent.name == "chunks":
        return ChunkPolicy(actor, config.agent.chunk, distractors)
    if config.agent.history > 1:
        return HistoryPolicy(actor, config.agent.history, chosen_control(config).spec.size, distractors)
    return ActorPolicy(actor, distractors)


def planner(run: Run, config: Config) -> Planner:
    """A search over the world model of a run, towards progress as the analytic reward sees it."""
    control = chosen_control(config)
    model = Ahead(load_ensemble(run, config), control)
    rng = np.random.default_rng((config.seed, 3))
    return Planner(model.begin, progress, control.spec, rng, search(config.agent), history=config.world_model.history)


def search(chosen: AgentConfig) -> PlannerConfig:
    """Sizes of the search that a configuration asks for."""
    return PlannerConfig(
        horizon=chosen.plan_horizon,
        candidates=chosen.candidates,
        elites=max(1, chosen.candidates // 10),
        iterations=chosen.iterations,
    )


def progress(objects: ObjectState, goal: Goal) -> Array:
    """How far along the goal is `[*B]`, 0..1, as a planner should see it: letting go counts only at the end.

    The whole ladder of a goal that ends with letting go climbs by way of a grasp. A search of a second or two finds
    pushes sooner, and a world model foresees them better.
    """
    brought = AnalyticReward().score(objects, bringing(goal)).progress
    return (1.0 - _FINISHED) * brought + _FINISHED * goal.satisfied(objects)
