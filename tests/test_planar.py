"""The planar contact model: equivariance, stillness, its compiled twin, and that it learns."""

import math

import numpy as np
import pytest
import torch

from embodied.data.pusht import Trajectories
from embodied.training.planar import BODY, FitConfig, errors, fit, mirrored
from world_models.planar import kernel
from world_models.planar.agent import fit_motion
from world_models.planar.geometry import Body, into, out_of, rectangle_distance, smallest_gap, touch_features
from world_models.planar.model import PlanarModel

TURN = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
"""A quarter turn takes the walls onto one another."""


@pytest.fixture
def model():
    torch.manual_seed(0)
    made = PlanarModel(BODY, rounds=2).requires_grad_(False)
    made.motion.copy_(torch.tensor([[0.97, 0.0143], [-1.79, 0.63]]))
    made.coasting.fill_(0.05)
    for network in (*made.touch, *made.wall, *made.update):
        network[-1].weight.mul_(3.0)
    return made


def scenes(count, seed=0, spread=60.0):
    """States `[N 10]` with the agent about the block, and targets."""
    generator = torch.Generator().manual_seed(seed)
    block = 120.0 + 270.0 * torch.rand(count, 2, generator=generator)
    agent = block + spread * torch.randn(count, 2, generator=generator)
    angle = 2.0 * math.pi * torch.rand(count, 1, generator=generator)
    velocity = torch.randn(count, 5, generator=generator) * torch.tensor([80.0, 80.0, 40.0, 40.0, 1.0])
    action = block + 40.0 * torch.randn(count, 2, generator=generator)
    return torch.cat([agent, block, angle, velocity], 1), action


def turned(states, actions):
    """Everything a quarter turn about the table's middle."""
    middle = sum(BODY.walls) / 2.0
    out = states.clone()
    for first in (0, 2):
        out[:, first : first + 2] = (states[:, first : first + 2] - middle) @ TURN.T + middle
    for first in (5, 7):
        out[:, first : first + 2] = states[:, first : first + 2] @ TURN.T
    out[:, 4] += math.pi / 2
    return out, (actions - middle) @ TURN.T + middle


def test_turning_the_table_turns_the_prediction(model):
    states, actions = scenes(200)
    # Some blocks at walls, too.
    states[:60, 2] = 20.0 + 40.0 * torch.rand(60)
    states[:60, 0:2] = states[:60, 2:4] + 40.0 * torch.randn(60, 2)
    after = model.step(states, actions)
    assert ((after[:, 2:5] - states[:, 2:5]).abs().amax(0) > torch.tensor([1.0, 1.0, 0.01])).all()
    torch.testing.assert_close(model.step(*turned(states, actions)), turned(after, actions)[0], rtol=1e-4, atol=2e-3)


def test_moving_the_scene_moves_the_prediction_away_from_walls(model):
    states, actions = scenes(100, spread=40.0)
    states[:, 2:4] = 256.0
    states[:, 0:2] = 256.0 + 50.0 * torch.randn(100, 2)
    shift = torch.tensor([11.0, -7.0])
    moved = states.clone()
    moved[:, 0:2] += shift
    moved[:, 2:4] += shift
    expected = model.step(states, actions)
    expected[:, 0:2] += shift
    expected[:, 2:4] += shift
    torch.testing.assert_close(model.step(moved, actions + shift), expected, rtol=1e-4, atol=2e-3)


def test_what_nothing_is_near_stays(model):
    states, _ = scenes(50)
    states[:, 0:2] = states[:, 2:4] + torch.tensor([240.0, 0.0])
    states[:, 5:] = 0.0
    after = model.rollout(states, (states[:, :2] + torch.tensor([30.0, 0.0]))[:, None].expand(-1, 5, -1))
    assert torch.equal(after[:, -1, 2:5], states[:, 2:5])
    assert (after[:, -1, 0] > states[:, 0] + 10.0).all()


def test_rows_do_not_know_each_other(model):
    states, actions = scenes(64)
    together = model.step(states, actions)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(model.step(states[order], actions[order]), together[order], rtol=1e-5, atol=1e-3)
    torch.testing.assert_close(model.step(states[7:8], actions[7:8]), together[7:8], rtol=1e-5, atol=1e-3)


def test_the_compiled_geometry_is_the_plain_one(model):
    states, _ = scenes(500, spread=50.0)
    start, end = states[:, :2].contiguous(), states[:, :2] + 6.0
    pose = states[:, 2:5].contiguous()
    axes = torch.stack([pose[:, 2].cos(), pose[:, 2].sin()], -1)
    ends = into(axes, torch.stack([start, end], 1) - pose[:, None, :2])
    arrays = (start.numpy(), end.numpy(), pose.numpy(), model.shapes.numpy())
    plain = touch_features(ends[:, 0], ends[:, 1], model.shapes, BODY.radius)
    for mine, theirs in zip(kernel.touch(*arrays, BODY.radius), plain, strict=True):
        torch.testing.assert_close(torch.from_numpy(mine), theirs, rtol=1e-4, atol=2e-3)
    gaps = smallest_gap(ends, model.shapes, BODY.radius)
    clear = (gaps - 6.0).abs() > 1e-3
    found = torch.zeros(500, dtype=torch.bool)
    found[torch.from_numpy(kernel.near(*arrays, BODY.radius, 6.0))] = True
    assert torch.equal(found[clear], (gaps < 6.0)[clear])


@pytest.mark.parametrize("rounds", [1, 2])
def test_the_compiled_step_is_the_plain_one(model, rounds):
    if rounds == 1:
        del model.touch[1:], model.wall[1:], model.update[1:]
    states, actions = scenes(500, spread=50.0)
    states[:100, 2] = 20.0 + 40.0 * torch.rand(100)
    states[:100, 0:2] = states[:100, 2:4] + 40.0 * torch.randn(100, 2)
    with_gradients = model.step(states, actions)
    with torch.no_grad():
        fast = model.step(states, actions)
    model.compiled = False
    plain = model.step(states, actions)
    assert ((plain[:, 2:5] - states[:, 2:5]).abs().amax(0) > torch.tensor([1.0, 1.0, 0.01])).all()
    for each in (with_gradients, fast):
        torch.testing.assert_close(each, plain, rtol=1e-4, atol=1e-2)


def test_distance_to_a_rectangle_grows_along_its_normal():
    points = 40.0 * torch.randn(300, 2, generator=torch.Generator().manual_seed(0))
    half = torch.tensor([20.0, 10.0])
    distance, normal = rectangle_distance(points, half)
    further, _ = rectangle_distance(points + 0.01 * normal, half)
    torch.testing.assert_close(further - distance, torch.full_like(distance, 0.01), rtol=0, atol=2e-3)
    assert ((distance < 0) == ((points.abs() < half).all(-1))).all()
    assert rectangle_distance(torch.tensor([[23.0, 14.0]]), half)[0].item() == pytest.approx(5.0, abs=1e-3)


def test_axes_and_back():
    vectors = torch.randn(5, 3, 2, generator=torch.Generator().manual_seed(0))
    angle = torch.linspace(-3.0, 3.0, 5)
    axes = torch.stack([angle.cos(), angle.sin()], -1)
    torch.testing.assert_close(out_of(axes, into(axes, vectors)), vectors)
    torch.testing.assert_close(into(axes[:1] * 0 + torch.tensor([0.0, 1.0]), torch.tensor([[1.0, 0.0]])),
                               torch.tensor([[0.0, -1.0]]))  # fmt: skip


def test_the_centroid_is_of_the_area():
    assert Body(((0.0, 0.0, 1.0, 1.0), (4.0, 0.0, 1.0, 1.0)), 1.0, (0.0, 1.0)).centroid == (2.0, 0.0)
    assert BODY.centroid == pytest.approx((0.0, 40.714), abs=1e-3)


def test_the_agents_motion_is_found_from_data():
    truth = torch.tensor([[0.97, 0.014], [-1.8, 0.63]], dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    position, velocity, target = (100.0 * torch.randn(50, 2, generator=generator) for _ in range(3))
    after = torch.stack([position - target, velocity], -1).double() @ truth.T
    found = fit_motion(position, velocity, target, after[..., 0] + target, after[..., 1])
    torch.testing.assert_close(found, truth, rtol=0, atol=1e-5)


def test_mirroring_twice_is_nothing():
    states, actions = scenes(6)
    states, actions = states[:, None], actions[:, None]
    once = mirrored(states, actions)
    assert not torch.allclose(once[0], states)
    torch.testing.assert_close(mirrored(*once), (states, actions))


def slid(episodes=24, steps=12):
    """Trajectories of a made-up world: a free agent, and a block that is carried along when the agent is upon it."""
    rng = np.random.default_rng(0)
    motion = np.array([[0.97, 0.0143], [-1.79, 0.63]])
    states, actions = np.zeros((episodes, steps + 1, 10)), np.zeros((episodes, steps, 2))
    parts = np.zeros((episodes, steps, 5, 10))
    for e in range(episodes):
        state = np.concatenate([rng.uniform(240, 270, 2), [256.0, 256.0, rng.uniform(-3, 3)], np.zeros(5)])
        states[e, 0] = state
        for t in range(steps):
            actions[e, t] = state[:2] + rng.uniform(-60, 60, 2)
            for k in range(5):
                lag = np.stack([state[:2] - actions[e, t], state[5:7]], -1) @ motion.T
                after = state.copy()
                after[:2], after[5:7] = lag[:, 0] + actions[e, t], lag[:, 1]
                after[2:4] += after[:2] - state[:2]
                parts[e, t, k] = state = after
            states[e, t + 1] = state
    return Trajectories(states, actions, parts, np.zeros(episodes, bool))


def test_it_learns_to_follow():
    data, said = slid(), []
    config = FitConfig(part_steps=150, part_batch=96, rollout_steps=2, rollout_batch=16, horizons=(1,))
    found = errors(fit(data, config, 0, said.append), data, 2, 60)
    assert found["position_mean"] < 0.4 * found["moved_mean"]
    assert said


def test_the_same_seed_trains_the_same_model():
    config = FitConfig(part_steps=3, part_batch=16, rollout_steps=1, rollout_batch=8, horizons=(1,))
    first, again, other = (fit(slid(4), config, seed, str) for seed in (0, 0, 1))
    assert torch.equal(first.touch[0][0].weight, again.touch[0][0].weight)
    assert not torch.equal(first.touch[0][0].weight, other.touch[0][0].weight)
