"""What-if scores: identities every score must obey, on made-up truths."""

import json
from dataclasses import replace

import numpy as np
import pytest

from embodied.evaluation.effects import Branches, Cases, copy_factual, influenced, persistence, rotation_angle
from embodied.evaluation.influence import Edges, recovered
from embodied.evaluation.scoring import Scores, gain, score
from embodied.evaluation.sources import mean_of
from embodied.evaluation.statistics import ranks, spearman
from embodied.evaluation.strata import STRATA, shares
from envs.errors import EmbodiedError

KINDS = ("move", "remove", "hold")


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
    scored[[k != "hold" for k in kind], 0] = False
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
    assert copied.influence_precision.value == pytest.approx(shares(cases)["edge"])
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
    wrong[[kind != "hold" for kind in cases.kind], :, 0] += 5.0
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


def test_the_gain_is_paired():
    """Two sources that share their errors differ more surely than their own intervals say; equal ones not at all."""
    rng = np.random.default_rng(0)
    shape = (60, 4, 1)
    zero = np.zeros((*shape, 3))
    effect, shared = rng.normal(size=(*shape, 3)), 0.6 * rng.normal(size=(*shape, 3))
    still = np.broadcast_to([1.0, 0, 0, 0], (*shape, 4))

    def said(change):
        return Branches(zero, still, change, still)

    cases = Cases(np.arange(60), ("move",) * 60, np.ones((60, 1), bool), said(effect))
    better, worse = said(effect + 0.9 * shared), said(effect + shared)
    found = gain(cases, better, worse, rng)["move"]
    alone = score(cases, better, rng).skill["move"]
    assert 0 < found.low < found.value < found.high
    assert found.high - found.low < 0.5 * (alone.high - alone.low)
    nothing = gain(cases, better, better, rng)["move"]
    assert (nothing.low, nothing.value, nothing.high) == (0, 0, 0)


def shrunk(truth: Branches, factor: float) -> Branches:
    changed = truth.factual_position + factor * truth.effect
    return replace(truth, counterfactual_position=changed)


def test_size_and_direction_are_told_apart() -> None:
    cases = synthetic()
    half, turned = scores(cases, shrunk(cases.truth, 0.5)), scores(cases, shrunk(cases.truth, -1.0))
    assert half.effect_correlation.value == pytest.approx(1)
    assert half.effect_cosine.value == pytest.approx(1)
    assert half.effect_slope.value == pytest.approx(2)
    assert turned.effect_correlation.value == pytest.approx(-1)
    assert turned.effect_cosine.value == pytest.approx(-1)
    assert scores(cases, copy_factual(cases.truth)).effect_correlation.value == 0


def test_scores_do_not_depend_on_the_order_of_objects_or_cases() -> None:
    cases = synthetic()
    generator = np.random.default_rng(1)
    said = shrunk(cases.truth, 0.7)
    said = replace(
        said, counterfactual_position=said.counterfactual_position + generator.normal(0, 0.01, said.effect.shape)
    )
    rows, columns = generator.permutation(len(cases.kind)), generator.permutation(3)

    def moved(branches: Branches) -> Branches:
        a, b, c, d = (part[rows][:, :, columns] for part in branches.parts)
        return Branches(a, b, c, d)

    again = Cases(
        cases.context[rows], tuple(cases.kind[row] for row in rows), cases.scored[rows][:, columns], moved(cases.truth)
    )
    first, second = scores(cases, said).as_dict(), scores(again, moved(said)).as_dict()
    for name in ("influence_auroc", "influence_f1", "influence_shd", "effect_slope", "counterfactual_ade"):
        assert first[name]["value"] == pytest.approx(second[name]["value"])
    for kind in first["skill"]:
        assert first["skill"][kind]["value"] == pytest.approx(second["skill"][kind]["value"])


def test_what_is_not_answered_copies_the_factual_and_says_so() -> None:
    cases = synthetic()
    of_move = cases.of("move")
    none = scores(cases, replace(cases.truth, answered=~of_move))
    assert none.answered["move"] == 0
    assert np.isnan(none.skill["move"].value)
    assert none.skill["remove"].value == pytest.approx(1)
    some = of_move & (np.arange(len(of_move)) % 2 == 0)
    partly = scores(cases, replace(cases.truth, answered=~some))
    assert partly.answered["move"] == pytest.approx(1 - some.sum() / of_move.sum())
    assert 0 < partly.skill["move"].value < 1
    assert np.isnan(Scores.from_dict(json.loads(json.dumps(none.as_dict()))).skill["move"].value)


def test_strata_are_scored_apart() -> None:
    cases = synthetic()
    felt = influenced(cases.truth) > 0
    stratum = np.where(felt, STRATA.index("spillover"), STRATA.index("none"))
    stratum[felt & (np.arange(len(felt)) % 2 == 0)[:, None]] = STRATA.index("multi_hop")
    cases = replace(cases, stratum=stratum)
    # Knows everything but what took more than one touch.
    blind = np.where((stratum == STRATA.index("multi_hop"))[:, None, :, None], 0.0, cases.truth.effect)
    said = replace(cases.truth, counterfactual_position=cases.truth.factual_position + blind)
    found = scores(cases, said)
    assert found.stratum["spillover"].value == pytest.approx(1)
    assert found.stratum["multi_hop"].value == pytest.approx(0)
    assert found.stratum["move/spillover"].value == pytest.approx(1)
    assert "none" not in found.stratum
    share = shares(cases)
    assert sum(share[name] for name in STRATA) == pytest.approx(1)
    assert share["none"] == pytest.approx((stratum == 0)[cases.scored].mean())


def test_the_edited_object_itself_is_scored_apart() -> None:
    cases = synthetic()
    kind = tuple("mass" if each == "move" else each for each in cases.kind)
    own = np.zeros_like(cases.scored)
    own[[each == "mass" for each in kind], 0] = True
    cases = replace(cases, kind=kind, own=own)
    changed = np.array(cases.truth.counterfactual_position)
    changed[own.nonzero()[0], :, 0] = cases.truth.factual_position[own.nonzero()[0], :, 0]
    found = scores(cases, replace(cases.truth, counterfactual_position=changed))
    assert found.skill["mass"].value == pytest.approx(1)
    assert found.skill["physics"].value == pytest.approx(1)
    assert found.own["mass"].value == pytest.approx(0)
    assert found.own["physics"].value == pytest.approx(0)


def test_the_threshold_is_fixed_on_the_other_half() -> None:
    """Ten edges on known contexts choose a threshold between 1 and 2; the counts are those of the unknown ones."""
    context = np.repeat(np.arange(4), 5)
    score_ = np.tile([3.0, 2.0, 1.0, 0.5, 0.1], 4)
    label = np.tile([True, True, False, False, False], 4)
    label[[12, 15]] = True, False  # In unknown context 2 one edge is missed, in unknown context 3 one is in excess.
    edges = Edges(context, label, score_, np.array([True, True, False, False]))
    assert edges.threshold == pytest.approx(1.5)
    found = recovered(edges, np.random.default_rng(0), 20)
    assert found["shd"].value == pytest.approx(1.0)
    assert found["f1"].value == pytest.approx(2 * 3 / (2 * 3 + 1 + 1))
    assert np.isnan(recovered(replace(edges, label=np.zeros(20, bool)), np.random.default_rng(0), 5)["auroc"].value)


def test_a_mean_of_answers_is_one_answer() -> None:
    truth = synthetic(contexts=4).truth
    same = mean_of([truth, replace(truth, factual_quaternion=-truth.factual_quaternion)])
    np.testing.assert_allclose(same.counterfactual_position, truth.counterfactual_position)
    np.testing.assert_allclose(same.factual_quaternion, truth.factual_quaternion)


def test_wrong_shapes_and_no_cases_are_refused() -> None:
    cases = synthetic(contexts=4)
    with pytest.raises(EmbodiedError, match="have shape"):
        scores(cases, cases.truth[:3])
    empty = Cases(cases.context[:0], (), cases.scored[:0], cases.truth[:0])
    with pytest.raises(EmbodiedError, match="two objects or more"):
        scores(empty, cases.truth[:0])


def test_rank_correlation() -> None:
    np.testing.assert_array_equal(ranks(np.array([3.0, 1.0, 3.0, 2.0])), [2.5, 0, 2.5, 1])
    truth = np.array([0.0, 1.0, 2.0, 3.0])
    assert spearman(np.exp(truth), truth) == pytest.approx(1)
    assert spearman(-truth, truth) == pytest.approx(-1)
    assert spearman(np.ones(4), truth) == 0
    assert np.isnan(spearman(truth, np.ones(4)))
