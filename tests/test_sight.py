"""The eye: points and poses agree, it learns from pictures, and a policy that sees fills in what pictures lack."""

import math

import numpy as np
import pytest
import torch
from pusht_extra import needs_pusht

from embodied.agents.pusht import STRICT, Planner, Seeing, seen
from embodied.training.sight import ARM, SightConfig, fit_sight, pictures_of, sight_errors
from envs.pusht import SIDE, wrap
from world_models.planar.sight import PoseNet


@pytest.fixture
def eye():
    torch.manual_seed(0)
    return PoseNet(SIDE, ARM).eval().requires_grad_(False)


def test_points_and_poses_are_the_same_thing(eye, monkeypatch):
    poses = 512.0 * torch.rand(50, 5, generator=torch.Generator().manual_seed(0))
    poses[:, 4] = torch.linspace(-7.0, 7.0, 50)
    monkeypatch.setattr(PoseNet, "points", lambda self, looked: self.targets(poses))
    found = eye(torch.zeros(50, 8, 8, 3, dtype=torch.uint8))
    torch.testing.assert_close(found[:, :4], poses[:, :4])
    np.testing.assert_allclose(wrap((found[:, 4] - poses[:, 4]).numpy()), 0.0, atol=1e-5)


def test_points_lie_on_the_table_and_in_its_axes(eye):
    pictures = torch.randint(0, 255, (3, 96, 96, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    points = eye.points(eye.look(pictures))
    assert ((points > 0.0) & (points < SIDE)).all()
    # A map with one hot cell gives that cell's middle: row 5, column 2 of 24.
    hot = torch.full((1, 3, 24, 24), -50.0)
    hot[0, :, 5, 2] = 0.0
    torch.testing.assert_close(eye.points(hot)[0, 0], torch.tensor([2.5, 5.5]) * (SIDE / 24))


@needs_pusht
def test_it_learns_where_the_agent_and_the_block_are():
    from embodied.data.pusht import collect

    data = collect(6, seed=0, steps=30)
    pictures, states = pictures_of(data, 8, 48, seed=0)
    assert pictures.shape == (8, 48, 48, 3)
    assert states.shape == (8, 10)
    said = []
    eye = fit_sight(data, SightConfig(pictures=120, size=48, steps=70, batch=24), 0, said.append)
    errors = sight_errors(eye, data, 60, 48)
    assert errors["agent_median"] < 40.0
    assert errors["block_median"] < 40.0
    assert said


def test_who_sees_expects_velocities_of_its_own_model():
    """A world that shows the agent in its first pixel: the policy must plan from there, moving as the model says."""

    def eye(pictures):
        pose = torch.zeros(len(pictures), 5)
        pose[:, :2] = pictures[:, 0, 0, :2].float()
        return pose

    def step(state, action):
        after = state.clone()
        after[:, :2], after[:, 5:7] = action, action - state[:, :2]
        return after

    planned = []

    class Noting(Planner):
        def act(self, state):
            planned.append(state.copy())
            return np.array([70.0, 30.0])

    policy = Seeing(eye, step, Noting(step, np.zeros(10), STRICT, 0))
    picture = np.zeros((4, 4, 3), np.uint8)
    picture[0, 0] = 50, 40, 0
    policy.act(picture)
    picture[0, 0] = 69, 31, 0
    policy.act(picture)
    np.testing.assert_allclose(planned[0], [50, 40, 0, 0, 0, 0, 0, 0, 0, 0])
    np.testing.assert_allclose(planned[1], [69, 31, 0, 0, 0, 20, -10, 0, 0, 0])
    np.testing.assert_allclose(seen(eye, picture)[:2], [69, 31])
    assert math.isclose(seen(eye, picture)[5], 0.0)
