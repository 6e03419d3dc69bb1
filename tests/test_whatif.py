"""What-if scores: identities every score must obey, and the suite's exactness against the simulator."""

import numpy as np
import pytest

from embodied.evaluation.whatif_metrics import (
    Branches,
    Cases,
    Scores,
    copy_factual,
    influenced,
    persistence,
    rotation_angle,
    score,
    strata,
)
from envs.errors import EmbodiedError

KINDS = ("move", "remove", "action")


def synthetic(contexts: int = 40, horizon: int = 6) -> Cases:
    """One case of each kind per context, three objects; the first is edited by object edits, a third feels it."""
    generator = np.random.default_rng(0)
    cases = contexts * len(KINDS)
    steps = np.linspace(0, 1, horizon + 1)[None, :, None, None]
    factual = generator.normal(scale=0.1, size=(cases, 1, 3, 3)) + steps * generator.normal(
        scale=0.02, size=(cases, 1, 3, 3)
    )
    felt = generator.random((cases, 1, 3, 1)) < 1 / 3
    effect = steps * felt * generator.normal(scale=0.03, size=(cases, 1, 3, 3))
    turn = np.zeros((cases, horizon + 1, 3, 4))
    turn[..., 0] = 1
    kind = KINDS * contexts
    scored = np.ones((cases, 3), bool)
    scored[[k != "action" for k in kind], 0] = False
    truth = Branches(factual, turn, factual + effect, turn)
    return Cases(np.repeat(np.arange(contexts), len(KINDS)), kind, scored, truth)


def scores(cases: Cases, model: Branches) -> Scores:
    return score(cases, model, np.random.default_rng(0), resamples=50)


def test_the_truth_scores_one_and_copy_factual_nothing() -> None:
    cases = synthetic()
    perfect, copied = scores(cases, cases.truth), scores(cases, copy_factual(cases.truth))
    for kind in (*KINDS, "spillover"):
        assert perfect.skill[kind].value == pytest.approx(1)
        assert copied.skill[kind].value == pytest.approx(0)
    assert perfect.influence_auroc.value == 1
    assert copied.influence_auroc.value == pytest.approx(0.5)
    assert copied.influence_precision.value == pytest.approx(strata(cases)["edge"])
    assert copied.factual_ade.value == 0
    assert copied.counterfactual_fde.value > 0.002
    assert scores(cases, persistence(cases.truth)).skill["action"].value == pytest.approx(0)


def test_skill_is_the_written_formula() -> None:
    cases = synthetic()
    truth = cases.truth
    model = Branches(
        truth.factual_position,
        truth.factual_quaternion,
        truth.factual_position + 0.5 * truth.effect,
        truth.counterfactual_quaternion,
    )
    assert scores(cases, model).skill["spillover"].value == pytest.approx(0.75)  # 1 - 0.5**2
    overshoot = Branches(
        truth.factual_position,
        truth.factual_quaternion,
        truth.factual_position + 3 * truth.effect,
        truth.counterfactual_quaternion,
    )
    assert scores(cases, overshoot).skill["spillover"].value == pytest.approx(-3)  # 1 - 2**2


def test_edited_objects_never_count() -> None:
    cases = synthetic()
    truth = cases.truth
    wrong = np.array(truth.counterfactual_position)
    wrong[[kind != "action" for kind in cases.kind], :, 0] += 5.0
    model = Branches(truth.factual_position, truth.factual_quaternion, wrong, truth.counterfactual_quaternion)
    assert scores(cases, model).skill["spillover"].value == pytest.approx(1)
    assert scores(cases, model).counterfactual_fde.value == 0


def test_an_error_shared_by_both_branches_leaves_the_effect_alone() -> None:
    cases = synthetic()
    truth = cases.truth
    shifted = Branches(
        truth.factual_position + 0.01,
        truth.factual_quaternion,
        truth.counterfactual_position + 0.01,
        truth.counterfactual_quaternion,
    )
    result = scores(cases, shifted)
    assert result.skill["spillover"].value == pytest.approx(1)
    assert result.factual_fde.value == pytest.approx(0.01 * np.sqrt(3))


def test_false_influence_is_what_the_untouched_seem_to_feel() -> None:
    cases = synthetic()
    truth = cases.truth
    still = (influenced(truth) == 0)[:, None, :, None]
    position = truth.counterfactual_position + still * np.array([0.003, 0.004, 0.0])
    model = Branches(truth.factual_position, truth.factual_quaternion, position, truth.counterfactual_quaternion)
    assert scores(cases, model).false_influence.value == pytest.approx(0.005)
    assert scores(cases, model).missed_influence.value == pytest.approx(0)


def test_rotation_angle_knows_double_cover_and_small_angles() -> None:
    half = 0.5e-9
    a, b = np.array([1.0, 0, 0, 0]), np.array([np.cos(half), 0, 0, np.sin(half)])
    assert rotation_angle(a, b) == pytest.approx(1e-9, rel=1e-6)
    assert rotation_angle(a, -b) == pytest.approx(1e-9, rel=1e-6)
    assert rotation_angle(a, np.array([0.0, 1, 0, 0])) == pytest.approx(np.pi)


def test_scores_survive_json_and_refuse_nonsense() -> None:
    cases = synthetic(contexts=5)
    result = scores(cases, cases.truth)
    assert Scores.from_dict(result.as_dict()) == result
    broken = np.array(cases.truth.counterfactual_position)
    broken[2, 3, 1] = np.nan
    truth = cases.truth
    with pytest.raises(EmbodiedError, match="not finite"):
        scores(
            cases,
            Branches(truth.factual_position, truth.factual_quaternion, broken, truth.counterfactual_quaternion),
        )
    with pytest.raises(EmbodiedError, match="two objects or more"):
        scores(Cases(cases.context, cases.kind, np.zeros_like(cases.scored), truth), truth)
