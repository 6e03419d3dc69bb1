"""The learned tier: the reward contract, what uncertainty does to a score, and the gate."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tabletop import NAMES, random_tabletop, tabletop
from test_reward import GOALS, observed

from envs.errors import EmbodiedError
from envs.goals import ABSENT_MARGIN, Goal
from world_models.reward.analytic import RewardModel
from world_models.reward.learned import LearnedConfig, LearnedReward, bent
from world_models.reward.network import NetworkConfig, RelationNetwork
from world_models.reward.relations import NAMES as PREDICATES
from world_models.reward.relations import Pairs
from world_models.reward.relations_kernel import features_fast

NETWORK = RelationNetwork(NetworkConfig(members=3, width=16), seed=1)
FIELDS = ("margins", "probability", "progress", "success", "rung_done", "rung_closeness", "variance", "uncertainty",
          "goal_probability", "unlike")  # fmt: skip


def sharpened(network: RelationNetwork) -> RelationNetwork:
    """The same with outputs that reach from surely false to surely true."""
    sharp = RelationNetwork(network.config)
    sharp.load_state_dict(network.state_dict())
    with torch.no_grad():
        sharp.heads *= 20.0
    return sharp


model = LearnedReward(sharpened(NETWORK))


def test_it_is_a_reward_model():
    assert isinstance(model, RewardModel)


@pytest.mark.parametrize("goal", GOALS, ids=str)
def test_batches_torch_and_order_of_entities_do_not_matter(goal):
    states = random_tabletop(np.random.default_rng(0), 2, 3)
    score = model.score(states, goal)
    assert score.progress.shape == score.success.shape == (2, 3)
    assert score.margins.shape == score.variance.shape == (2, 3, len(goal.literals))
    order = np.random.default_rng(1).permutation(len(NAMES))
    shuffled = replace(
        states.map(lambda array: np.take(array, order, 2)),
        names=tuple(NAMES[i] for i in order),
        kind=states.kind[order],
    )
    as_torch, other = model.score(states.map(torch.as_tensor), goal), model.score(shuffled, goal)
    for name in FIELDS:
        value = getattr(score, name)
        np.testing.assert_allclose(getattr(as_torch, name).numpy(), value, atol=2e-4, rtol=2e-4, err_msg=name)
        np.testing.assert_allclose(getattr(other, name), value, atol=1e-5, rtol=1e-5, err_msg=name)
        np.testing.assert_allclose(getattr(model.score(states[1, 2], goal), name), value[1, 2], atol=1e-5, rtol=1e-5)
    assert ((score.progress >= 0) & (score.progress <= 1)).all()
    np.testing.assert_array_equal(model.score(observed(states), goal).progress, score.progress)


def test_answers_are_those_of_the_network():
    # The slow twin: the torch module, literal by literal.
    states = random_tabletop(np.random.default_rng(2), 6)
    states = replace(states, present=np.ones_like(states.present))
    goal = Goal.parse("on(red_cube, blue_cube) & ~left_of(red_cube, bin) & released(red_cube)")
    network = sharpened(NETWORK)
    network.temperature[:] = torch.linspace(0.5, 2.0, len(PREDICATES))
    score = LearnedReward(network, LearnedConfig(pessimism=0.0)).score(states, goal)
    for index, literal in enumerate(goal.literals):
        pairs = Pairs.of([replace(literal, negated=False)], states)
        rows = torch.as_tensor(features_fast(states, pairs)[:, 0]).expand(3, -1, -1)
        kind = torch.as_tensor(pairs.predicate).expand(3, len(rows[0]))
        logit, level, _ = network(rows, kind).detach().numpy().transpose(2, 0, 1)
        sign = -1.0 if literal.negated else 1.0
        chance = 1.0 / (1.0 + np.exp(-sign * logit / float(network.temperature[pairs.predicate[0]])))
        np.testing.assert_allclose(score.probability[:, index], chance.mean(0), atol=1e-4)
        np.testing.assert_allclose(score.uncertainty[:, index], chance.std(0), atol=1e-4)
        level = np.clip(level, -6, 6).mean(0)
        np.testing.assert_allclose(bent(score.margins[:, index], 0.005), sign * level, atol=1e-3, rtol=1e-3)
    np.testing.assert_allclose(score.goal_probability, score.probability.prod(-1), atol=1e-5)


def test_negated_literals_are_the_opposite():
    states = random_tabletop(np.random.default_rng(3), 8)
    states = replace(states, present=np.ones_like(states.present))
    plain, negated = (model.score(states, Goal.parse(text)) for text in ("on(red_cube, bin)", "~on(red_cube, bin)"))
    np.testing.assert_allclose(plain.probability, 1.0 - negated.probability, atol=1e-5)
    np.testing.assert_allclose(plain.margins, -negated.margins, rtol=1e-4)


def test_disagreement_lowers_what_is_claimed():
    states = random_tabletop(np.random.default_rng(4), 50)
    goal = Goal.parse("near(red_cube, target) & on(red_cube, table)")
    scores = [LearnedReward(sharpened(NETWORK), LearnedConfig(pessimism=k)).score(states, goal) for k in (0.0, 1.0)]
    assert (scores[1].progress <= scores[0].progress + 1e-6).all()
    assert (scores[1].goal_probability < scores[0].goal_probability - 1e-3).any()
    np.testing.assert_array_equal(scores[0].probability, scores[1].probability)


def test_what_is_absent_holds_for_nobody():
    state = tabletop()
    away = replace(state, present=state.present & (np.arange(len(NAMES)) != NAMES.index("bin")))
    for text in ("in(red_cube, bin)", "~in(red_cube, bin)"):
        score = model.score(away, Goal.parse(text))
        assert score.margins[0] == ABSENT_MARGIN
        assert score.probability[0] == 0.0
        assert not score.success


def test_features_unlike_those_of_training_refuse_success():
    network = sharpened(NETWORK)
    kind = PREDICATES.index("near")
    with torch.no_grad():
        network.head_bias[:, kind, 0] = 100.0
    goal = Goal.parse("near(red_cube, target)")
    state = tabletop()
    assert LearnedReward(network).score(state, goal).success
    seen = features_fast(state, Pairs.of(goal.literals, state))[0]
    network.centre[kind] = torch.as_tensor(seen)
    network.whitening[kind] = torch.eye(len(seen))
    network.limit[kind] = 0.5
    assert LearnedReward(network).score(state, goal).success
    far = tabletop(red_cube=(0.2, 0.3, 0.3))
    score = LearnedReward(network).score(far, goal)
    assert score.unlike
    assert not score.success
    assert LearnedReward(network, LearnedConfig(gated=False)).score(far, goal).success


def test_later_training_does_not_change_a_reward():
    network = sharpened(NETWORK)
    reward, goal = LearnedReward(network), Goal.parse("lifted(red_cube)")
    before = reward.score(tabletop(), goal).probability
    with torch.no_grad():
        network.head_bias += 3.0
    np.testing.assert_array_equal(reward.score(tabletop(), Goal.parse("lifted(red_cube)")).probability, before)
    assert (LearnedReward(network).score(tabletop(), goal).probability != before).all()


def test_what_is_missing_is_told():
    with pytest.raises(EmbodiedError, match="Unknown object 'green_cube'"):
        model.score(tabletop(), Goal.parse("lifted(green_cube)"))
    with pytest.raises(EmbodiedError, match="needs members, width and features"):
        NetworkConfig(members=0)
