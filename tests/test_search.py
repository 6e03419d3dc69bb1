"""The search finds what it should on worlds whose answers are known, and Push-T's plans begin sensibly."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from embodied.agents import pusht as agent
from embodied.agents.pusht import REPLANNING, SEARCH, STRICT, Planner, goal_cost, pushes
from embodied.agents.search import SearchConfig, plan
from envs.errors import EmbodiedError
from envs.pusht import BUDGET, HORIZON, SIDE, solved

CONFIG = SearchConfig(low=-1.0, high=1.0, candidates=64, iterations=15, modes=4, spread=0.5)


def slide(state, action):
    return state + 0.5 * action


def distance_to(goal):
    return lambda states: (states[:, -1] - torch.tensor(goal)).square().sum(-1)


def found(cost, starts=None, config=CONFIG, seed=0):
    starts = torch.zeros(1, 4, 2) if starts is None else starts
    return plan(slide, cost, torch.zeros(2), starts, config, torch.Generator().manual_seed(seed))


def test_a_quadratic_is_solved():
    result = found(distance_to([1.2, -0.7]))
    assert result.cost < 1e-3
    torch.testing.assert_close(0.5 * result.actions.sum(0), torch.tensor([1.2, -0.7]), rtol=0, atol=0.04)
    torch.testing.assert_close(result.states[-1], 0.5 * result.actions.sum(0))
    assert result.states.shape == (5, 2)


def test_what_is_out_of_reach_is_approached_within_bounds():
    result = found(distance_to([9.0, 0.0]))
    assert result.actions.abs().max() <= 1.0
    assert result.states[-1, 0] > 1.9


def test_the_same_seed_finds_the_same_plan():
    cost = distance_to([0.3, 0.4])
    assert torch.equal(found(cost).actions, found(cost).actions)
    assert not torch.equal(found(cost).actions, found(cost, seed=1).actions)


def test_a_start_in_the_right_valley_is_kept():
    """Two wells, the deeper one far from most starts: distributions keep apart what an average would lose."""

    def wells(states):
        last = states[:, -1]
        near, far = ((last - torch.tensor([x, 0.0])).square().sum(-1) for x in (-0.5, 1.8))
        return torch.minimum(0.2 + near, 4.0 * far)

    starts = torch.cat([torch.tensor([-0.3, 0.0]).expand(5, 4, 2), torch.tensor([0.8, 0.0]).expand(1, 4, 2)])
    assert found(wells, starts).cost < 0.01
    assert found(wells, starts[:5], replace(CONFIG, spread=0.1)).cost > 0.15


def test_of_two_good_plans_the_steadier_is_chosen():
    """A narrow well that is a little deeper than a wide one: a start that is a little off misses the narrow one."""

    def wells(states):
        last = states[:, -1]
        narrow, wide = (((last - torch.tensor([x, 0.0])) / w).square().sum(-1) for x, w in ((0.5, 0.02), (-0.5, 0.5)))
        return torch.minimum(narrow, 0.05 + wide)

    def shake(state, count, generator):
        return state + 0.1 * torch.randn(count, 2, generator=generator)

    starts = torch.stack([torch.full((4, 2), 0.0) + torch.tensor([x, 0.0]) for x in (0.25, -0.25)])
    config = replace(CONFIG, enough=0.1, iterations=2)
    arguments = (slide, wells, torch.zeros(2), starts, config)
    bold = plan(*arguments, torch.Generator().manual_seed(0))
    steady = plan(*arguments, torch.Generator().manual_seed(0), shake)
    assert bold.states[-1, 0] > 0.4
    assert bold.cost == bold.steadiness
    assert steady.states[-1, 0] < -0.4
    assert steady.steadiness > steady.cost > bold.cost


def test_enough_is_enough():
    assert found(distance_to([0.0, 0.0]), config=replace(CONFIG, enough=0.01)).evaluations == 1
    assert found(distance_to([1.0, 0.0])).evaluations > 64


@pytest.mark.parametrize(
    ("starts", "config"),
    [(torch.zeros(0, 4, 2), CONFIG), (torch.zeros(1, 4, 2), replace(CONFIG, candidates=8, modes=4))],
)
def test_impossible_sizes_are_refused(starts, config):
    with pytest.raises(EmbodiedError, match="a start and four candidates per distribution"):
        found(distance_to([0.0, 0.0]), starts, config)


def test_a_model_that_breaks_is_noticed():
    with pytest.raises(EmbodiedError, match="not finite"):
        found(lambda states: states[:, -1, 0] * math.nan)


def test_the_cost_is_the_published_test():
    rng = np.random.default_rng(0)
    goal = np.array([100.0, 120.0, 250.0, 260.0, 3.0] + [0.0] * 5)
    off = rng.normal(0, 1, (200, 10)) * np.array([10, 10, 10, 10, 0.3, 0, 0, 0, 0, 0])
    off[:, 4] += 2 * math.pi * rng.integers(-2, 3, 200)
    states = goal + off
    cost = goal_cost(goal)(torch.tensor(states[:, None], dtype=torch.float32)).numpy()
    assert solved(states[cost < 1.0], goal).all()
    assert not solved(states[cost >= 2.0], goal).any()
    assert (cost < 1.0).any()


def glide(state, action):
    """A world where the agent jumps to its target and the block is never touched."""
    return torch.cat([action, state[:, 2:5], torch.zeros(len(state), 5)], 1)


STATE = np.array([60.0, 60.0, 300.0, 300.0, 0.4] + [0.0] * 5)


@pytest.mark.parametrize(("protocol", "plans"), [(STRICT, 2), (REPLANNING, 17)])
def test_plans_are_made_when_the_protocol_says(protocol, plans):
    goal = STATE.copy()
    goal[:2] = 400.0, 90.0
    planner = Planner(glide, goal, protocol, seed=0, config=replace(SEARCH, iterations=1, candidates=32))
    state = STATE.copy()
    for _ in range(BUDGET):
        state[:2] = planner.act(state)
    assert len(planner.found) == plans
    assert solved(state, goal)
    assert len(planner.found[0].actions) == HORIZON


def test_pushes_begin_anywhere_about_the_block_and_end_at_the_goal():
    goal = STATE.copy()
    goal[:5] = 250.0, 420.0, 280.0, 330.0, 1.0
    begun = np.stack(list(pushes(STATE, goal, 25, np.random.default_rng(0))))
    assert begun.shape[1:] == (25, 2)
    assert len(begun) > 30
    assert np.isfinite(begun).all()
    assert ((begun > -SIDE) & (begun < 2 * SIDE)).all()
    at_goal = np.linalg.norm(begun[:, -1] - goal[:2], axis=-1) < 1e-6
    assert at_goal.sum() >= len(begun) - 1
    around = begun[4:, 8:20].reshape(-1, 2) - STATE[2:4]
    assert len({int(angle // (math.pi / 4)) for angle in np.arctan2(around[:, 1], around[:, 0])}) == 8


def test_what_looks_hopeless_is_searched_for_again(monkeypatch):
    tried = []
    monkeypatch.setattr(agent, "plan", lambda *arguments: tried.append(arguments[4].spread) or plan(*arguments))
    config = replace(SEARCH, iterations=1, candidates=32)
    near, beyond = STATE.copy(), STATE.copy()
    near[:2] = 90.0, 60.0
    beyond[2:4] = 100.0, 480.0
    Planner(glide, near, STRICT, seed=0, config=config).act(STATE)
    assert tried == [30.0]
    Planner(glide, beyond, STRICT, seed=0, config=config).act(STATE)
    assert tried[1:] == [30.0, 45.0, 60.0]


def test_half_turns_are_tried_both_ways(monkeypatch):
    angles = []
    monkeypatch.setattr(agent, "_way", lambda *arguments: angles.append(arguments[4]) or np.zeros((2, 2)))
    goal = STATE.copy()
    goal[4] += 2.8
    list(pushes(STATE, goal, 25, np.random.default_rng(0)))
    assert {round(angle, 6) for angle in angles} == {2.8, round(2.8 - 2 * math.pi, 6)}
    goal[4] = STATE[4] - 1.0
    angles.clear()
    list(pushes(STATE, goal, 25, np.random.default_rng(0)))
    assert {round(angle, 6) for angle in angles} == {-1.0}
