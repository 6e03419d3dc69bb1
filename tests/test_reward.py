"""The analytic reward: ladders, progress, confirmation, and shaping that leaves the optimal policy alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tabletop import NAMES, held, random_tabletop, tabletop

from envs.errors import EmbodiedError
from envs.goals import Goal
from envs.types import ObjectState, Observation
from world_models.reward.analytic import AnalyticReward, confirmed
from world_models.reward.ladder import bringing, ladders
from world_models.reward.progress import Scales
from world_models.reward.shaping import potential, shaping

PLACE = Goal.parse("near(red_cube, target, 0.02) & released(red_cube)")
INTO_BIN = Goal.parse("in(red_cube, bin) & released(red_cube) & static(red_cube)")
GOALS = [
    PLACE,
    INTO_BIN,
    Goal.parse("near(gripper, target, 0.02)"),
    Goal.parse("near(red_cube, target, 0.03) & on(red_cube, table)"),
    Goal.parse("lifted(red_cube, 0.04) & grasped(red_cube)"),
    Goal.parse("on(red_cube, blue_cube) & left_of(blue_cube, bin) & ~touching(gripper, red_cube)"),
    Goal.parse("~on(red_cube, blue_cube) & upright(blue_cube)"),
]
reward = AnalyticReward()
seeds = st.integers(0, 2**32 - 1)


def stack(states) -> ObjectState:
    """Single states as one batch."""
    arrays = {}
    for name in vars(states[0]):
        if name not in ("names", "kind"):
            arrays[name] = np.stack([getattr(state, name) for state in states])
    return replace(states[0], **arrays)


def observed(objects) -> Observation:
    batch = objects.shape
    return Observation(np.zeros((*batch, 18)), objects, np.zeros(batch))


def test_bringing_leaves_letting_go_out():
    assert bringing(PLACE) == Goal.parse("near(red_cube, target, 0.02)")
    assert bringing(INTO_BIN) == Goal.parse("in(red_cube, bin)")
    holding = Goal.parse("lifted(red_cube, 0.04) & grasped(red_cube)")
    assert bringing(holding) == holding
    alone = Goal.parse("released(red_cube)")
    assert bringing(alone) == alone


@pytest.mark.parametrize(
    ("text", "rungs"),
    [
        ("near(gripper, target)", ["near(gripper, target)"]),
        ("released(red_cube)", ["released(red_cube)"]),
        ("near(red_cube, target) & on(red_cube, table)",
         ["near(gripper, red_cube, 0.06)", "near(red_cube, target) & on(red_cube, table)"]),
        ("released(red_cube) & near(red_cube, target)",
         ["near(gripper, red_cube, 0.03)", "grasped(red_cube)", "near(red_cube, target)", "released(red_cube)"]),
        ("near(target, red_cube) & ~grasped(red_cube)",
         ["near(gripper, red_cube, 0.03)", "grasped(red_cube)", "near(target, red_cube)", "~grasped(red_cube)"]),
        ("lifted(red_cube) & grasped(red_cube)",
         ["near(gripper, red_cube, 0.03)", "grasped(red_cube)", "lifted(red_cube) & grasped(red_cube)"]),
        ("in(red_cube, bin)",
         ["near(gripper, red_cube, 0.03)", "grasped(red_cube)", "lifted(red_cube, 0.005)", "above(red_cube, bin)",
          "in(red_cube, bin)"]),
        ("~on(red_cube, blue_cube)",
         ["near(gripper, red_cube, 0.03)", "grasped(red_cube)", "~on(red_cube, blue_cube)"]),
    ],
)  # fmt: skip
def test_rungs_of_goals(text, rungs):
    (ladder,) = ladders(Goal.parse(text), tabletop())
    assert [rung.name for rung in ladder.rungs] == rungs


def test_each_moved_object_has_its_ladder():
    goal = Goal.parse("on(red_cube, blue_cube) & near(blue_cube, target) & static(red_cube)")
    assert [ladder.subject for ladder in ladders(goal, tabletop())] == ["red_cube", "blue_cube"]
    with pytest.raises(EmbodiedError, match="Unknown object 'green_cube'"):
        reward.score(tabletop(), Goal.parse("lifted(green_cube)"))


def way_into_the_bin():
    """Waypoints of placing the red cube into the bin, from the first move to letting go."""
    start = tabletop(gripper=(0.1, -0.1, 0.15))
    over = tabletop(gripper=(0.2, 0, 0.06))
    around = {"gripper": (0.2, 0, 0.014), "fixed_jaw": (0.18, 0, 0.014), "moving_jaw": (0.23, 0, 0.014)}
    open_jaws = tabletop(**around)
    closing = tabletop(**(around | {"moving_jaw": (0.222, 0, 0.014)}))
    carried = [held(0.014), held(0.05)]
    for x, y, z in [(0.21, 0.1, 0.1), (0.22, 0.2, 0.1), (0.22, 0.2, 0.018)]:
        jaws = {"fixed_jaw": (x - 0.016, y, z), "moving_jaw": (x + 0.016, y, z)}
        carried.append(tabletop(gripper=(x, y, z), red_cube=(x, y, z), **jaws))
    free = {"fixed_jaw": (0.2, 0.2, 0.018), "moving_jaw": (0.24, 0.2, 0.018)}
    done = tabletop(gripper=(0.22, 0.2, 0.018), red_cube=(0.22, 0.2, 0.018), **free)
    return stack([start, over, open_jaws, closing, *carried, done])


@pytest.mark.parametrize("goal", [INTO_BIN, Goal.parse("on(red_cube, bin) & ~touching(gripper, red_cube)")])
def test_progress_rises_all_the_way(goal):
    score = reward.score(way_into_the_bin(), goal)
    assert (np.diff(score.progress) > 0).all(), score.progress
    assert score.progress[0] < 0.25
    assert score.progress[-1] == 1.0
    np.testing.assert_array_equal(score.success, [False] * 9 + [True])


def test_what_holds_from_the_start_earns_nothing_by_itself():
    # Untouched and at rest are true before anything happened: two of three literals, no progress beyond nearness.
    far = tabletop(gripper=(0.2, 0, 0.5))
    score = reward.score(far, INTO_BIN)
    assert (score.probability == [0, 1, 1]).all()
    assert score.progress < 0.01
    assert reward.score(held(), INTO_BIN).progress > 0.3


def test_progress_by_hand():
    # Two of four rungs done (near, grasped). The third is 40 mm short of its 20 mm, exp(-0.04 / 0.08), and the fourth
    # counts as far as the third: the jaws touch where they must leave 3 mm, exp(-0.003 / 0.02).
    state = held(0.1, target=(0.26, 0, 0.1))
    near = np.exp(-0.5)
    assert reward.score(state, PLACE).progress == pytest.approx((2 + near + near * np.exp(-0.15)) / 4)
    assert reward.score(state, PLACE).rungs[2] == "near(red_cube, target, 0.02)"
    np.testing.assert_array_equal(reward.score(state, PLACE).rung_done, [True, True, False, False])


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(GOALS), seeds)
def test_batches_torch_and_order_of_entities_do_not_matter(goal, seed):
    states = random_tabletop(np.random.default_rng(seed), 2, 3)
    score = reward.score(states, goal)
    as_torch = reward.score(states.map(torch.as_tensor), goal)
    order = np.random.default_rng(seed).permutation(len(NAMES))
    axis = len(states.shape)
    shuffled = replace(
        states.map(lambda array: np.take(array, order, axis)),
        names=tuple(NAMES[i] for i in order),
        kind=states.kind[order],
    )
    for name in ("margins", "probability", "progress", "success", "rung_done", "rung_closeness"):
        value = getattr(score, name)
        np.testing.assert_allclose(getattr(as_torch, name).numpy(), value, atol=1e-9, err_msg=name)
        np.testing.assert_allclose(getattr(reward.score(shuffled, goal), name), value, atol=1e-12, err_msg=name)
        np.testing.assert_allclose(getattr(reward.score(states[1, 2], goal), name), value[1, 2], atol=1e-12)
    assert score.progress.shape == (2, 3)
    assert ((score.progress >= 0) & (score.progress <= 1)).all()
    np.testing.assert_array_equal(score.success, goal.satisfied(states))
    np.testing.assert_array_equal(score.success, score.progress == 1.0)
    np.testing.assert_array_equal(reward.score(observed(states), goal).progress, score.progress)


def test_losing_an_early_rung_by_a_hair_costs_a_hair():
    # A pushed cube slips out of reach by a tenth of a millimetre.
    goal = Goal.parse("near(red_cube, target, 0.03) & on(red_cube, table)")
    inside, outside = (tabletop(gripper=(0.2, 0, 0.014 + 0.06 + 1e-4 * sign)) for sign in (-1, 1))
    before, after = (reward.score(state, goal) for state in (inside, outside))
    assert before.rung_done[0]
    assert not after.rung_done[0]
    assert 0 < before.progress - after.progress < 0.002


def test_scales_must_be_positive():
    with pytest.raises(EmbodiedError, match="must be positive"):
        AnalyticReward(Scales(distance=0.0))


@given(st.lists(st.booleans(), min_size=1, max_size=12), st.integers(1, 14))
def test_confirmation_needs_the_whole_window(success, window):
    slow = [t + 1 >= window and all(success[t + 1 - window : t + 1]) for t in range(len(success))]
    np.testing.assert_array_equal(confirmed(np.array(success), window), slow)
    np.testing.assert_array_equal(confirmed(torch.tensor(success), window).numpy(), slow)


def test_confirmation_of_batches_is_along_time():
    success = np.array([[True, True, False], [False, True, True]])
    np.testing.assert_array_equal(confirmed(success, 2), [[False, True, False], [False, False, True]])
    with pytest.raises(EmbodiedError, match="at least 1 step"):
        confirmed(success, 0)


def test_a_terminal_state_has_no_potential_and_a_time_limit_keeps_it():
    now, following = np.array([-0.5, -0.5]), np.array([-0.2, -0.2])
    term = shaping(now, following, np.array([True, False]), 0.9)
    np.testing.assert_allclose(term, [0.5, 0.9 * -0.2 + 0.5])


def test_reaching_the_goal_makes_no_jump():
    # Almost there, then there: with the shift by -1 ending adds next to nothing, without it the agent is charged.
    near, there, ended = np.array([0.999]), np.array([1.0]), np.array([True])
    assert abs(shaping(potential(near), potential(there), ended, 0.97)[0]) < 0.002
    assert shaping(near, there, ended, 0.97)[0] < -0.99


def discounted(rewards, discount):
    """What rewards `[h]` are worth at the first of their steps."""
    return float(rewards @ discount ** np.arange(len(rewards)))


@given(seeds, st.integers(1, 6), st.booleans())
def test_chunks_earn_what_their_steps_earn(seed, steps, ends):
    psi = np.random.default_rng(seed).uniform(-1, 0, steps + 1)
    ended = np.arange(1, steps + 1) == (steps if ends else -1)
    singles = shaping(psi[:-1], psi[1:], ended, 0.95)
    whole = shaping(psi[:1], psi[-1:], ended[-1:], 0.95, steps)
    assert discounted(singles, 0.95) == pytest.approx(whole[0])
    lengths = torch.tensor([float(steps)], dtype=torch.float64)
    as_torch = shaping(torch.tensor(psi[:1]), torch.tensor(psi[-1:]), torch.tensor(ended[-1:]), 0.95, lengths)
    assert as_torch.item() == pytest.approx(whole[0])


def random_mdp(rng, states=6, actions=3):
    """Transition probabilities `[S A S]` and rewards `[S A S]`; the last state ends the episode."""
    chance = rng.dirichlet(np.full(states, 0.3), size=(states, actions))
    return chance, rng.normal(size=(states, actions, states)) * (rng.random((states, actions, states)) < 0.3)


def optimal_actions(chance, rewards, discount):
    """Which actions are optimal `[S-1 A]` by value iteration; nothing follows the last state."""
    value = np.zeros(len(chance))
    for _ in range(600):
        q = (chance * (rewards + discount * value)).sum(-1)
        value = np.append(q.max(-1)[:-1], 0.0)
    # An absolute tolerance: shaping changes the size of q, and with it what a relative one would call a tie.
    return np.isclose(q, q.max(-1, keepdims=True), rtol=0.0, atol=1e-9)[:-1]


def shaped_everywhere(psi, discount):
    """The shaping term `[S 1 S]` for every pair of states; the last is terminal."""
    ended = np.arange(len(psi)) == len(psi) - 1
    now, following = np.broadcast_arrays(psi[:, None], psi[None])
    return shaping(now, following, np.broadcast_to(ended, now.shape), discount)[:, None]


@settings(max_examples=25, deadline=None)
@given(seeds)
def test_shaping_leaves_the_optimal_policy_alone(seed):
    rng = np.random.default_rng(seed)
    chance, rewards = random_mdp(rng)
    psi = potential(rng.uniform(0, 1, len(chance)))
    plain = optimal_actions(chance, rewards, 0.9)
    dense = optimal_actions(chance, rewards + 5.0 * shaped_everywhere(psi, 0.9), 0.9)
    np.testing.assert_array_equal(plain, dense)


def test_other_dense_rewards_do_change_the_policy():
    # The invariance above is not for want of power: paying progress per step, paying its difference without the
    # discount, or keeping the potential of terminal states, each changes the policy in many such decision processes.
    changed = np.zeros(3)
    for seed in range(30):
        rng = np.random.default_rng(seed)
        chance, rewards = random_mdp(rng)
        progress = rng.uniform(0, 1, len(chance))
        psi = potential(progress)
        plain = optimal_actions(chance, rewards, 0.9)
        never = np.zeros((len(psi), len(psi)), bool)
        wrong = [
            progress[None, None],
            (psi[None] - psi[:, None])[:, None],
            shaping(*np.broadcast_arrays(psi[:, None], psi[None]), never, 0.9)[:, None],
        ]
        changed += [(optimal_actions(chance, rewards + 5.0 * dense, 0.9) != plain).any() for dense in wrong]
    assert (changed >= 10).all(), changed


def test_hovering_near_success_does_not_pay():
    # One agent finishes in 10 steps, the other parks at progress 0.9 until the time limit and bootstraps from there.
    discount, steps = 0.97, 100
    finish = np.append(np.linspace(0, 0.9, 10), 1.0)
    hover = np.append(np.linspace(0, 0.9, 10), np.full(steps - 9, 0.9))

    def earned(progress, ends):
        psi = potential(progress)
        ended = np.arange(1, len(psi)) == (len(psi) - 1 if ends else -1)
        dense = shaping(psi[:-1], psi[1:], ended, discount)
        return discounted(dense + ended * 1.0, discount)

    assert earned(finish, True) > earned(hover, False)
    # What parking for ever earns tends to what it earned on arriving: -Psi at the start, nothing for staying.
    assert earned(hover, False) == pytest.approx(1.0 - 0.1 * discount ** (len(hover) - 1))
    naive = [discounted(finish[1:], discount) + discount**9, discounted(hover[1:], discount)]
    assert naive[1] > naive[0], "paying progress per step rewards hovering: the test can tell"
