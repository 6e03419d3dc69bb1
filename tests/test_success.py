"""Success over fixed beginnings: the expert near one, random near nothing, the same beginnings for everyone."""

import numpy as np
import pytest

from embodied.agents.policies import RandomPolicy
from embodied.evaluation.robustness import robustness, rows_of
from embodied.evaluation.success import held_out_seeds, success
from envs.control import CartesianDelta
from envs.errors import EmbodiedError
from envs.experts import expert
from envs.goals import Goal
from envs.tasks import task
from envs.types import Array, Observation
from envs.variation import Variation
from envs.worlds import HELD_OUT


def test_expert_and_random_bound_what_a_policy_can_do() -> None:
    chosen, seeds = task("place"), held_out_seeds(0, 24)
    best = success(expert("place"), chosen, seeds, threads=1)
    worst = success(RandomPolicy(CartesianDelta().spec, np.random.default_rng(0)), chosen, seeds, threads=1)
    assert best.at_end.value >= 0.85
    assert worst.at_end.value <= 0.1
    assert best.ever.value >= best.at_end.value
    assert best.at_end.count == 24
    assert 0 < best.steps <= chosen.horizon
    assert best.succeeded.sum() == round(24 * best.at_end.value)


class _Recorder:
    """Stands still and remembers the first thing it saw."""

    def reset(self) -> None:
        self.first: Observation | None = None

    def act(self, observation: Observation, goal: Goal) -> Array:
        self.first = self.first or observation
        return np.zeros((*observation.objects.shape, 5))


def test_beginnings_depend_on_seeds_alone() -> None:
    chosen = task("place", horizon=2)
    one, other = _Recorder(), _Recorder()
    success(one, chosen, held_out_seeds(0, 5), threads=1)
    success(other, chosen, held_out_seeds(0, 3), threads=1)
    assert one.first is not None
    assert other.first is not None
    np.testing.assert_array_equal(one.first.objects.position_in_world[:3], other.first.objects.position_in_world)
    success(other, chosen, held_out_seeds(1, 3), threads=1)
    assert not np.array_equal(one.first.objects.position_in_world[:3], other.first.objects.position_in_world)


class _Opens:
    """Succeeds, then spoils it: what counts is the end."""

    def __init__(self) -> None:
        self.expert, self.step = expert("reach"), 0

    def reset(self) -> None:
        self.step = 0

    def act(self, observation: Observation, goal: Goal) -> Array:
        self.step += 1
        if self.step <= 20:
            return self.expert.act(observation, goal)
        return np.broadcast_to(np.array([-1.0, 0, 0, 0, 0]), (*observation.objects.shape, 5))


def test_success_counts_at_the_end() -> None:
    result = success(_Opens(), task("reach"), held_out_seeds(0, 8), threads=1)
    assert result.ever.value >= 0.8
    assert result.at_end.value == 0


def test_seeds_never_meet_those_of_training() -> None:
    seeds = np.concatenate([held_out_seeds(0, 200), held_out_seeds(1, 200)])
    assert len(np.unique(seeds)) == 400
    assert seeds.min() >= HELD_OUT
    with pytest.raises(EmbodiedError, match="Episodes"):
        held_out_seeds(0, 0)
    with pytest.raises(EmbodiedError, match="at least one beginning"):
        success(_Opens(), task("reach"), np.zeros(0, np.int64))


def test_the_robustness_table_tells_what_a_factor_costs() -> None:
    """Twice the weight is nothing to the expert; no gain in the servos is its end."""
    rows = rows_of("mass=2, servo_gain=0.01")
    assert list(rows) == ["nominal", "mass", "servo_gain", "all of these"]
    assert rows["all of these"] == Variation(mass=(2.0, 2.0), servo_gain=(0.01, 0.01))
    chosen, seeds = task("lift"), held_out_seeds(0, 8)
    found = robustness({"expert": expert("lift")}, chosen, seeds, rows, CartesianDelta(), threads=1)
    lost = {name: row["expert"].lost.value for name, row in found.items()}
    assert lost["nominal"] == 0.0
    assert lost["mass"] <= 0.25
    assert lost["servo_gain"] == lost["all of these"] == found["nominal"]["expert"].at_end.value >= 0.75
    assert found["mass"]["expert"].variation == "mass=2"
    with pytest.raises(EmbodiedError, match=r"light_turn.*never sees"):
        rows_of("light_turn")
    assert "exposure" not in rows_of("all")
    assert list(rows_of("layout=3")) == ["nominal", "layout"]
