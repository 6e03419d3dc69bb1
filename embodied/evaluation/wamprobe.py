"""A model's action what-ifs scored by WAMProbe, an independent package, for comparison with other people's numbers.

WAMProbe asks what several plans lead to from one instant; here those are the candidate plans of `decision`, seen from
above, with the chosen object as its point and the negative distance to the goal as its score.
"""

import importlib.util
from collections.abc import Mapping
from typing import Any

from embodied.evaluation.decision import Candidates
from embodied.evaluation.statistics import Floats
from envs.errors import EmbodiedError

BENCHMARK = "embodied-whatif"
METRICS = (
    "action_dependence",
    "action_dependence_permutation_effect",
    "counterfactual_direction_accuracy",
    "state_ade",
    "state_fde",
    "candidate_ranking_spearman",
    "candidate_ranking_kendall_tau",
    "candidate_ranking_ndcg",
    "candidate_ranking_pairwise_accuracy",
    "top1_regret",
)
"""Means over contexts; its no-op stability is left out, for no plan here is one."""


MISSING = "WAMProbe is not installed, its metrics are left out: pip install 'embodied-whatif[whatif]'."


def installed() -> bool:
    """Whether the package is there."""
    return importlib.util.find_spec("wamprobe") is not None


def probe(
    candidates: Candidates, truth: Floats, said: Floats, name: str = "world model", seed: int = 0
) -> dict[str, float]:
    """WAMProbe's metrics of what a source says of candidate plans.

    Args:
        candidates: the plans.
        truth: `[C*N H+1 K 3]` true positions of the movable objects [m].
        said: the same as the source says.
        name: of the source.
        seed: of the permutation test.

    Raises:
        EmbodiedError: where the package is not installed.
    """
    if not installed():
        raise EmbodiedError(MISSING)
    from wamprobe.api.types import Action2D, Context2D, InterventionGroup, InterventionSuite, Vec2
    from wamprobe.evaluation import evaluate

    true_path, said_path = candidates.paths(truth), candidates.paths(said)
    actions = tuple(Action2D(f"plan_{index:02d}", Vec2(0.0, 0.0)) for index in range(candidates.count))
    groups = []
    for index, goal in enumerate(candidates.goal):
        start = true_path[index, 0, 0]
        context = Context2D(f"{index}", Vec2(float(start[0]), float(start[1])), Vec2(float(goal[0]), float(goal[1])))
        groups.append(InterventionGroup(context, actions))
    result = evaluate(
        _Told(name, said_path), _Benchmark(true_path), InterventionSuite(BENCHMARK, tuple(groups)), seed=seed
    )
    return {metric: float(result.metrics[metric]) for metric in METRICS}


class _Benchmark:
    """The simulator's answers, in the shape of WAMProbe's benchmarks."""

    benchmark_id = BENCHMARK

    def __init__(self, paths: Floats) -> None:
        self.paths, self.horizon = paths, paths.shape[2] - 1

    def rollout(self, context: Any, action: Any) -> Any:
        """What truly follows."""
        return _trajectory(self.paths, context, action)

    def score(self, context: Any, trajectory: Any) -> float:
        """The return."""
        return -float((trajectory.final_state - context.goal).norm())


class _Told:
    """A source's answers, in the shape of WAMProbe's adapters."""

    def __init__(self, name: str, paths: Floats) -> None:
        from types import SimpleNamespace

        self.capabilities, self.paths = SimpleNamespace(model_id=name), paths

    def predict_future(self, context: Any, action: Any, **_: Mapping[str, Any]) -> Any:
        """What the source says follows."""
        return _trajectory(self.paths, context, action)

    def close(self) -> None:
        """Nothing is held."""


def _trajectory(paths: Floats, context: Any, action: Any) -> Any:
    from wamprobe.api.types import Trajectory2D, Vec2

    path = paths[int(context.context_id), int(action.name.removeprefix("plan_"))]
    return Trajectory2D(context.context_id, action.name, tuple(Vec2(float(x), float(y)) for x, y, _ in path))
