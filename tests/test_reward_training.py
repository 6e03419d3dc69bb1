"""What the reward network learns from, how it is trained and calibrated, and who tries to deceive it."""

import io

import numpy as np
import pytest
import torch

from embodied.cli import compose
from embodied.console import Console
from embodied.data.arrangements import FIXED, arrange, perturb
from embodied.data.goals import draw_literals, goals_that_hold
from embodied.data.lessons import Lessons, drawn_pairs, drawn_states, episode_lessons, lessons_of
from embodied.data.pairs import minimal_pairs
from embodied.data.ways import way
from embodied.evaluation.rewards import TRUTH
from embodied.run import Run
from embodied.schema import to_dict
from embodied.training import reward_trainer
from embodied.training.adversary import AttackConfig, attack, attackable, deceived
from embodied.training.calibrate import REFUSED, calibrate, calibration_error
from embodied.training.reward import learned_reward, load_reward, reward
from embodied.training.reward_trainer import RewardTrainer, TrainConfig
from envs.goals import Goal, margins
from envs.predicates import PREDICATES
from envs.types import ObjectState
from world_models.reward.learned import LearnedConfig, LearnedReward
from world_models.reward.network import NetworkConfig, RelationNetwork
from world_models.reward.relations import FEATURES
from world_models.reward.relations import NAMES as PREDICATES_SEEN

SMALL = NetworkConfig(members=2, width=16)


def rng():
    return np.random.default_rng(0)


def test_arrangements_make_every_predicate_true_and_false():
    state = arrange(rng(), 256, 4)
    assert state.shape == (256,)
    assert len(state.names) == len(FIXED) + 4
    np.testing.assert_allclose(np.linalg.norm(state.quaternion_in_world, axis=-1), 1.0)
    literals = draw_literals(rng(), state, 150)
    assert len(set(literals)) == 150
    holds = np.asarray(margins(literals, state)) > 0
    for name in PREDICATES:
        rows = holds[:, [one.predicate == name for one in literals]]
        assert rows.any(), name
        assert not rows.all(), name


def test_perturbed_states_are_off_by_as_much_as_they_say():
    state = arrange(rng(), 400, 3)
    seen = perturb(rng(), state, np.full(400, 0.01), np.full(400, 0.1), hidden=0.2)
    off = seen.position_in_world - state.position_in_world
    first = len(FIXED)
    sure = 1 - np.exp(-1.0)
    plain = np.isclose(seen.confidence, sure)
    assert plain[:, first:].mean() == pytest.approx(0.8, abs=0.05)
    assert off[plain].std() == pytest.approx(0.01, rel=0.05)
    assert off[~plain & (seen.confidence < sure)].std() == pytest.approx(0.03, rel=0.1)
    assert not off[:, :4].any(), "the robot knows its own hand, and the table"
    exact = perturb(rng(), state, np.zeros(400))
    np.testing.assert_array_equal(exact.position_in_world, state.position_in_world)
    np.testing.assert_array_equal(exact.quaternion_in_world, state.quaternion_in_world)
    assert (exact.confidence == 1).all()


def test_goals_hold_where_they_were_found():
    state = arrange(rng(), 32, 4)
    goals, worlds = goals_that_hold(rng(), state, 3)
    assert len(goals) > 16
    assert any(one.negated for goal in goals for one in goal.literals)
    for goal, world in zip(goals, worlds, strict=True):
        assert len(goal.literals) == 3
        assert goal.satisfied(state[int(world)])


def test_minimal_pairs_differ_by_one_literal_and_one_thing():
    generator, state = rng(), arrange(rng(), 64, 4)
    found, smallest = 0, []
    for literal in draw_literals(generator, state, 40):
        other = Goal.parse("lifted(box_0, 0.001)").literals[0]
        pairs = minimal_pairs(generator, (literal, other), 0, state)
        if not len(pairs.world):
            continue
        found += len(pairs.world)
        signs = [np.asarray(margins((literal, other), each)) > 0 for each in (pairs.better, pairs.worse)]
        assert signs[0][:, 0].all()
        assert not signs[1][:, 0].any()
        np.testing.assert_array_equal(signs[0][:, 1], signs[1][:, 1])
        apart = abs(pairs.better.position_in_world - pairs.worse.position_in_world).max(-1)
        assert ((apart > 1e-9).sum(axis=1) <= 3).all(), "one thing moves, of the hand its three parts"
        smallest.append(apart.max())
    assert found > 200
    assert np.median(smallest) < 0.03


def test_ways_end_where_the_goal_holds():
    state = arrange(rng(), 32, 4)
    goals, worlds = goals_that_hold(rng(), state, 2)
    for goal, world in zip(goals[:5], worlds[:5], strict=True):
        end = state[int(world)]
        path = way(rng(), goal, end)
        assert goal.satisfied(path)[-1]
        steps = np.linalg.norm(np.diff(path.position_in_world[:-1], axis=0), axis=-1)
        assert steps.max() < 0.35
    on = Goal.parse("at(box_0, 0.25, 0, 0.05, 0.03) & released(box_0)")
    end = arrange(rng(), 1, 1)[0]
    end.position_in_world[end.index("box_0")] = [0.25, 0, 0.05]
    end.position_in_world[[1, 2, 3]] = [0.3, 0.2, 0.2]
    progress = TRUTH.score(way(rng(), on, end), on).progress
    assert progress[0] < 0.4
    assert progress[-1] == 1.0


def test_labels_are_true_margins_of_plain_literals():
    state = arrange(rng(), 5, 2)
    goal = Goal.parse("~near(box_0, box_1, 0.1) & upright(box_0)")
    lessons = lessons_of(state, perturb(rng(), state, np.full(5, 0.02)), goal.literals)
    plain = Goal.parse("near(box_0, box_1, 0.1) & upright(box_0)")
    true = np.asarray(plain.margins(state))
    np.testing.assert_array_equal(lessons.level.reshape(5, 2) > 0, true > 0)
    np.testing.assert_allclose(np.expm1(abs(lessons.level.reshape(5, 2))) * [0.005, 0.025], abs(true), rtol=1e-4)


def test_pairs_name_the_higher_row_first():
    lessons = Lessons.join([drawn_states(rng(), 2, 8, 8), drawn_pairs(rng(), 3, 16, 6), drawn_pairs(rng(), 2, 16, 6)])
    assert len(lessons.pairs) > 10
    better, worse = lessons.level[lessons.pairs.T]
    assert (better > 0).all()
    assert (worse < 0).all()
    film = ObjectState.stack([arrange(rng(), 4, 2), arrange(np.random.default_rng(1), 4, 2)], axis=1)
    rewound = episode_lessons(rng(), film, 12)
    better, worse = rewound.level[rewound.pairs.T]
    assert (better > worse).all()


def lessons():
    return Lessons.join([*(drawn_states(rng(), n, 32, 32) for n in (1, 2, 3)), drawn_pairs(rng(), 3, 32, 12)])


def test_training_learns_and_resumes_bit_for_bit():
    data = lessons()
    config = TrainConfig(steps=60, batch=64, warmup=5, mining=(0.5,), goals=1, boxes=2)
    whole = RewardTrainer(SMALL, config, data, seed=0)
    losses = [whole.train_step().tolist() for _ in range(40)]
    kept = {name: value.clone() for name, value in whole.state_dict().items()}
    assert whole.mined is not None, "half-way an adversary was asked"
    assert len(whole.mined.level) >= 25
    while not whole.done:
        losses.append(whole.train_step().tolist())
    # What the adversary adds from then on is harder.
    assert np.mean(losses[20:30], axis=0)[1] < 0.8 * losses[0][1]
    resumed = RewardTrainer(SMALL, config, data, seed=0)
    resumed.load_state_dict(kept)
    while not resumed.done:
        resumed.train_step()
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_pair_loss_is_a_bradley_terry_of_gaussians():
    # Two rows that count alone, one pair: means 1 and 0.4, variances e^0 and e^-1.
    said = torch.tensor([[[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.4, -1.0]]])
    level = torch.tensor([[1.0, 1.0, -1.0]])
    z = 0.6 / np.sqrt(1 + np.exp(-1.0))
    expected = -torch.log(torch.distributions.Normal(0.0, 1.0).cdf(torch.tensor(z)))
    assert reward_trainer._losses(said, level, 1)[0, 2] == pytest.approx(float(expected), rel=1e-4)


def test_calibration_mends_confidence_and_refuses_what_it_should():
    data = Lessons.join([lessons(), *(drawn_states(rng(), boxes) for boxes in (2, 3))])
    trainer = RewardTrainer(SMALL, TrainConfig(steps=80, batch=128, mining=()), data, seed=1)
    while not trainer.done:
        trainer.train_step()
    network = trainer.network
    with torch.no_grad():
        network.heads[..., 0] *= 4.0
        network.head_bias[..., 0] *= 4.0
    rows = np.random.default_rng(2).random(len(data.level)) < 0.5
    parts = [Lessons(data.features[r], data.predicate[r], data.level[r], data.pairs[:0]) for r in (rows, ~rows)]
    found = calibrate(network, *parts)
    assert found["ece"] < found["ece_raw"]
    assert (network.temperature >= 1).float().mean() > 0.7
    kind = PREDICATES_SEEN.index("upright")
    own = parts[1].features[parts[1].predicate == kind]

    def length(features):
        return ((torch.as_tensor(features) - network.centre[kind]) @ network.whitening[kind]).square().sum(-1)

    assert torch.isfinite(network.limit[kind])
    assert 0 < (length(own) >= network.limit[kind]).float().mean() <= 2 * REFUSED
    far = own.copy()
    far[:, FEATURES.index("coarse_slip")] += 7.0
    assert (length(far) > network.limit[kind]).all()


def test_calibration_error_by_hand():
    chance = np.array([0.95, 0.95, 0.05, 0.05])
    assert calibration_error(chance, np.array([True, True, False, False])) == pytest.approx(0.05)
    assert calibration_error(chance, np.array([False, False, True, True])) == pytest.approx(0.95)


def test_an_adversary_deceives_an_untrained_network():
    network = RelationNetwork(SMALL, seed=3)
    with torch.no_grad():
        network.heads[..., 0] *= 30.0
    model = LearnedReward(network, LearnedConfig(pessimism=0.0))
    goal, start = attackable(rng(), 2, 8, literals=1)[0]
    objective = deceived(model)
    found = attack(objective, goal, start, rng(), AttackConfig(candidates=24, elites=4, iterations=6))
    assert found.shape == (6,)
    value = objective(found, goal)
    assert value[-1] > objective(start.map(lambda array: array[None]), goal)[0]
    assert not goal.satisfied(found)[-1]
    np.testing.assert_array_equal(found.position_in_world[:, 0], start.position_in_world[None, 0].repeat(6, 0))


def test_the_command_trains_saves_and_continues(tmp_path):
    words = ["quick=true", "reward.steps=12", "reward.batch=16", "reward.members=2", f"run={tmp_path / 'r'}"]
    (config,) = compose("reward", words)
    with Run.open(config.run, to_dict(config)) as run:
        reward(config, run, Console(io.StringIO()))
        assert run.finished("reward")["results"]["mined"] > 0
        score = load_reward(run, config).score(arrange(rng(), 3, 2), Goal.parse("on(box_0, table)"))
        assert np.isfinite(score.progress).all()
        elsewhere = learned_reward(config.run).score(arrange(rng(), 3, 2), Goal.parse("on(box_0, table)"))
        np.testing.assert_array_equal(elsewhere.progress, score.progress)
        before = run.path("reward").stat().st_mtime_ns
        reward(config, run, Console(io.StringIO()))
        assert run.path("reward").stat().st_mtime_ns == before
