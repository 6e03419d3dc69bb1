"""The reward bench: what its figures count, and that everything it measures runs."""

import numpy as np
import pytest

from embodied.bench import reward as bench
from embodied.console import Console
from embodied.data.arrangements import arrange
from embodied.evaluation.gaming import alone, guards, targets, through_physics, under_attack, violation
from embodied.evaluation.progress_regression import fit
from embodied.evaluation.rewards import TRUTH, ask, goal_distance, judge, questions
from envs.goals import Goal
from world_models.reward.learned import LearnedReward
from world_models.reward.network import NetworkConfig, RelationNetwork

NETWORK = RelationNetwork(NetworkConfig(members=2, width=8))


@pytest.fixture(scope="module")
def asked():
    return questions(np.random.default_rng(0), 3, 8, 4)


def test_questions_compose_and_the_exact_tier_answers_them_all(asked):
    for question in asked:
        assert len(question.goal.literals) == 4
        assert question.goal.satisfied(question.end)
        assert question.goal.satisfied(question.better).all()
        failing = (np.asarray(question.goal.margins(question.worse)) <= 0).sum(axis=1)
        assert (failing == 1).all()
    answers = ask(judge(TRUTH), asked)
    chance, holds = np.array(answers["chance"]), np.array(answers["holds"])
    np.testing.assert_array_equal(chance > 0, holds)
    assert all(right == 1.0 for _, right in answers["pairs"])
    assert np.nanmin(answers["voc"]) == pytest.approx(1.0)
    noisy = ask(judge(TRUTH), asked, spread=0.02, turn=0.2)
    assert ((np.array(noisy["chance"]) > 0) != holds).any()
    assert noisy["holds"] == answers["holds"]


def test_baselines_answer_the_same_questions(asked):
    for each in (goal_distance, fit("flat", asked, 0, steps=3), fit("pooled", asked, 0, steps=3)):
        answers = ask(each, asked)
        assert len(answers["chance"]) == len(answers["holds"])
        assert np.isfinite(answers["chance"]).all()
    near, _ = goal_distance(asked[0].path, asked[0].goal, asked[0].end)
    assert near[-1] == pytest.approx(0.0, abs=1e-3)
    assert near[0] < -0.01


def test_violations_are_metres():
    state = arrange(np.random.default_rng(0), 4, 2)
    goal = Goal.parse("lifted(box_0, 0.5) & aligned(box_0, box_1, 3)")
    margins = np.asarray(goal.margins(state))
    np.testing.assert_allclose(violation(state, goal), np.maximum(-margins[:, 0], -0.3 * margins[:, 1]))
    assert (violation(state, goal) > 0).all()


def test_one_member_is_the_ensemble_of_it():
    state, goal = arrange(np.random.default_rng(1), 5, 2), Goal.parse("on(box_0, box_1)")
    own = [LearnedReward(alone(NETWORK, member)).score(state, goal).probability for member in range(2)]
    both = LearnedReward(NETWORK).score(state, goal)
    np.testing.assert_allclose((own[0] + own[1]) / 2, both.probability, atol=1e-6)
    assert abs(own[0] - own[1]).max() > 1e-4


def test_attacks_are_counted_by_guard():
    rows = guards(NETWORK, NETWORK)
    assert list(rows) == ["single", "ensemble", "lower", "lower_gate", "hardened", "guarded"]
    # A model that claims everything is deceived by whatever does not hold.
    found = under_attack(
        lambda state, goal: np.zeros(state.shape[0]), lambda state, goal: np.ones(state.shape[0], bool), targets(0, 2),
        seed=0, box=1.0,
    )  # fmt: skip
    assert found["claimed"] == [True, True]
    claims = [True, True, True, False]
    paid = {"claimed": claims, "violation": [0.03, -0.01, -0.02, 0.2]}
    informed = {"claimed": claims, "violation": [0.0005, 0.004, 0.001, 0.3]}
    answer = {"paid": {"1.0": paid, "1.6": paid}, "informed": {"1.0": informed, "1.6": informed}}
    figures = bench.summarise({"attack": [dict.fromkeys(rows, answer)]})
    assert figures["claimed_guarded"]["value"] == 0.75
    assert figures["false_guarded"]["value"] == pytest.approx(1 / 3)
    assert figures["false_success"]["value"] == pytest.approx(1 / 3)
    assert figures["false_success_mm"]["value"] == pytest.approx(30.0)
    assert figures["informed_guarded"]["value"] == 0.25
    # The worst adversary counts: one claim of two by learning, none of three by actions.
    held = {"claimed": [True] * 3, "violation": [-0.1] * 3}
    moved = {"gamed": {"0": held | {f"confirmed_{key}": value for key, value in held.items()}}, "order": {}}
    learned = {"claimed": [True, True], "violation": [-0.1, 0.004], "true": [True, False]}
    paid_for = {"push_0mm": learned, "confirmed_push_0mm": learned}
    boxes = {"1.0": held, "1.6": held}
    honest = {"attack": [{name: {"paid": boxes, "informed": boxes} for name in rows}]}
    figures = bench.summarise(honest | {"physics": [moved], "policy": [paid_for]})
    assert figures["false_states"]["value"] == figures["false_actions_confirmed_0mm"]["value"] == 0.0
    assert figures["false_success"]["value"] == figures["false_policies_confirmed"]["value"] == 0.5
    assert figures["false_success_mm"]["value"] == pytest.approx(4.0)
    assert figures["true_policy_push_0mm"]["value"] == 0.5


def test_policies_and_mined_goals_are_measured():
    raw = bench._policies(LearnedReward(NETWORK), 0, True, Console())
    assert set(raw) == {"push_3mm", "confirmed_push_3mm"}
    read = bench.measure("mining", 0, True, None)
    figures = bench.summarise({"policy": [raw], "mining": [read]})
    assert figures["mining_recall_1_0mm"]["value"] == read["push_1_0mm"]["recall"] > 0.9
    assert figures["mining_false_1_3mm"]["value"] == read["push_1_3mm"]["false"] < 0.1


@pytest.mark.parametrize(("part", "paid"), [("policy_stack", {"learned", "dense"}), ("policy_unseen", {"learned"})])
def test_policies_paid_by_the_network_and_by_hand_are_set_side_by_side(part, paid):
    raw = bench._rivals(LearnedReward(NETWORK), *bench.RIVALS[part], 0, True, Console())
    assert raw.keys() == paid
    assert all(len(each["true"]) == 8 for each in raw.values())


def test_success_is_of_both_tasks_and_of_the_unseen_goal():
    def sample(learned, dense=None):
        raw = {"learned": {"true": learned, "frozen": False}}
        return raw | ({} if dense is None else {"dense": {"true": dense, "frozen": False}})

    parts = {"policy_place": [sample([True] * 4, [True, False] * 2)], "policy_unseen": [sample([True, False])]}
    figures = bench.summarise(parts)
    assert figures["learned_reward_success_place"]["value"] == 1.0
    assert figures["unseen_goal_success"]["value"] == 0.5
    assert "learned_reward_success" not in figures
    figures = bench.summarise(parts | {"policy_stack": [sample([False] * 4, [True] * 4)]})
    assert figures["learned_reward_success"]["value"] == 0.5
    assert figures["dense_reward_success"]["value"] == 0.75


def test_actions_are_searched_in_physics():
    found = through_physics(LearnedReward(NETWORK), 0, 3, 0.005, 3, quick=True)
    assert len(found["claimed"]) == len(found["violation"]) == len(found["confirmed_claimed"]) > 0
    assert not any(a and not b for a, b in zip(found["confirmed_claimed"], found["claimed"], strict=True))


def test_answers_become_figures(asked):
    answers = {size: ask(judge(LearnedReward(NETWORK)), asked) for size in ("", "small_")}
    figures = bench.summarise({"compose": [{"": answers, "distance_": answers}]})
    assert figures["compose_auroc"]["value"] == figures["distance_auroc"]["value"]
    assert 0 <= figures["pair_accuracy"]["value"] <= 1
    noise = {"": ask(judge(LearnedReward(NETWORK)), asked, 0.01), "analytic_": ask(judge(TRUTH), asked, 0.01)}
    frames = {"holds": [True, False], "learned": [[True] * 5, [False] * 4 + [True]], "analytic": [[True] * 5] * 2}
    figures = bench.summarise({"noise": [{"10mm_0deg": noise, "frames": frames}]})
    assert figures["learned_frame_5mm_false"]["value"] == 0.5
    assert figures["learned_confirmed_5mm_false"]["value"] == 0.0
    assert figures["analytic_confirmed_5mm_false"]["value"] == 0.5


def test_alarms_are_counted():
    raw = bench.measure("audit", 0, True, None)
    figures = bench.summarise({"audit": [raw]})
    assert figures["alarms_100_percent_false"]["value"] == 1.0
    assert figures["alarms_0_percent_false"]["value"] == 0.0
    assert figures["claims_to_alarm_100_percent_false"]["value"] <= 400
