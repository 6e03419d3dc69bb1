"""Ranking plans: the truth ranks best, and a source that sees no difference is worth nothing."""

import importlib.util

import numpy as np
import pytest
from whatif_scenes import drifting, row_contexts, row_simulation

from embodied.evaluation.benchmark import decisions, outcomes
from embodied.evaluation.branches import simulate, unedited
from embodied.evaluation.decision import Candidates, candidates, decide
from embodied.evaluation.suite import MODEL
from embodied.evaluation.wamprobe import probe
from envs.errors import EmbodiedError


def returns(contexts: int = 50) -> np.ndarray:
    return -np.abs(np.random.default_rng(0).normal(0.05, 0.02, (contexts, 16)))


def found(truth: np.ndarray, said: np.ndarray) -> dict[str, float]:
    return {name: each.value for name, each in decide(truth, said, np.random.default_rng(0), 20).items()}


def test_the_truth_decides_best_and_its_opposite_worst() -> None:
    truth = returns()
    best, worst, blind = found(truth, truth), found(truth, -truth), found(truth, np.zeros_like(truth))
    assert best == {"spearman": pytest.approx(1), "regret": 0, "value": pytest.approx(1), "decidable": 1}
    assert worst["spearman"] == pytest.approx(-1)
    assert worst["regret"] == pytest.approx(np.ptp(truth, axis=1).mean())
    assert worst["value"] < 0
    assert blind["spearman"] == 0
    assert blind["value"] == pytest.approx(0)


def test_contexts_in_which_nothing_matters_do_not_count() -> None:
    truth = returns()
    truth[10:] = truth[10:, :1]
    noisy = truth + np.random.default_rng(1).normal(0, 1e-9, truth.shape)
    assert found(truth, noisy)["decidable"] == pytest.approx(0.2)
    assert found(truth, noisy)["spearman"] > 0.99
    with pytest.raises(EmbodiedError, match="nothing to decide"):
        found(truth[10:], truth[10:])
    with pytest.raises(EmbodiedError, match="diverged"):
        found(returns(), np.where(returns() < -0.06, np.nan, returns()))
    with pytest.raises(EmbodiedError, match="contexts, plans"):
        found(returns(), returns()[:, :3])


@pytest.fixture(scope="module")
def plans() -> Candidates:
    return candidates(row_contexts()[:6], np.random.default_rng(0), 8)


def test_candidates_start_with_the_recorded_plan_and_aim_at_what_moves(plans: Candidates) -> None:
    contexts = row_contexts()[:6]
    assert plans.count == 8
    action = plans.contexts.action.reshape(6, 8, *contexts.action.shape[1:])
    np.testing.assert_array_equal(action[:, 0], contexts.action)
    assert all(not np.array_equal(action[c, n], contexts.action[c]) for c in range(6) for n in range(1, 8))
    assert (np.abs(action) <= 1).all()
    path = plans.paths(simulate(row_simulation(), plans.contexts, unedited(plans.contexts)).position[
        :, :, contexts.movable
    ])  # fmt: skip
    recorded = contexts.recorded.position_in_world[:, :, contexts.movable]
    np.testing.assert_array_equal(path[:, 0], recorded[np.arange(6), :, plans.target])
    far = np.linalg.norm(plans.goal - path[:, 0, 0], axis=-1)
    assert ((far > 0.019) & (far < 0.081)).all()
    with pytest.raises(EmbodiedError, match="two or more"):
        candidates(contexts, np.random.default_rng(0), 1)


def test_the_nudged_simulator_decides_better_than_a_model_blind_to_plans() -> None:
    plans = candidates(row_contexts()[:8], np.random.default_rng(0))
    truth, said = outcomes(row_simulation(), {MODEL: drifting}, plans, np.random.default_rng(0))
    ranked = decisions(plans, truth, said, np.random.default_rng(0), 20)
    assert ranked["nudged simulator"]["spearman"].value > 0.8
    assert ranked["nudged simulator"]["value"].value > 0.6
    assert ranked[MODEL]["spearman"].value == 0  # It ignores the plan.
    assert ranked["copy factual"]["value"].value == pytest.approx(0)


@pytest.mark.skipif(importlib.util.find_spec("wamprobe") is None, reason="the optional package wamprobe is not here")
def test_wamprobe_scores_the_truth_as_perfect(plans: Candidates) -> None:
    truth = simulate(row_simulation(), plans.contexts, unedited(plans.contexts)).position
    truth = truth[:, :, plans.contexts.movable]
    perfect = probe(plans, truth, truth)
    assert perfect["state_ade"] == 0
    assert perfect["top1_regret"] == 0
    assert perfect["candidate_ranking_spearman"] == pytest.approx(1)
    still = probe(plans, truth, np.repeat(truth[:, :1], truth.shape[1], axis=1))
    assert still["action_dependence"] == 0
    assert still["state_fde"] > 0.005


@pytest.mark.skipif(importlib.util.find_spec("wamprobe") is not None, reason="the package is here")
def test_without_wamprobe_the_message_says_how_to_get_it(plans: Candidates, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embodied.evaluation.wamprobe.installed", lambda: False)
    with pytest.raises(EmbodiedError, match="pip install"):
        probe(plans, np.zeros(0), np.zeros(0))
