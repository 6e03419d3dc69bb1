"""The policy that a run has: what it learned, or a planner over its world model."""

from embodied.agents.policies import ActorPolicy, NumpyActor
from embodied.config import Config
from embodied.run import Run
from envs.types import Policy


def load_policy(run: Run, config: Config) -> Policy:
    """The policy of a run; raises `EmbodiedError` where it has none."""
    state, meta = run.restore("policy")
    return ActorPolicy(NumpyActor(state), tuple(meta["distractors"]))
