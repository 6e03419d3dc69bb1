"""Closed-form kinematics against MuJoCo, against themselves, and numpy against torch."""

import math

import mujoco
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.kinematics import body_poses, forward, inverse, project
from envs.robot import HOME
from envs.scene import SceneConfig, build_scene
from envs.so101 import JOINT_HIGH, JOINT_LOW, ROLL_OFFSET, TCP_IN_GRIPPER, TILT_LIMIT, TOOL_CEILING, TOOL_FLOOR

LOW, HIGH = np.array(JOINT_LOW), np.array(JOINT_HIGH)


@pytest.fixture(scope="module")
def model():
    return build_scene(SceneConfig(objects=())).model


def random_joints(count, seed=0):
    return np.random.default_rng(seed).uniform(LOW, HIGH, (count, 6))


def anywhere(count, seed=0):
    """Tool positions and yaws in and well outside the workspace."""
    generator = np.random.default_rng(seed)
    position = generator.uniform((-0.1, -0.35, -0.05), (0.48, 0.35, 0.25), (count, 3))
    return position, generator.uniform(-4.0, 4.0, count)


def test_forward_and_body_poses_are_mujocos(model):
    data = mujoco.MjData(model)
    joints = random_joints(200)
    tool, (positions, quaternions) = forward(joints), body_poses(joints)
    for row in range(len(joints)):
        data.qpos[:] = joints[row]
        mujoco.mj_kinematics(model, data)
        geoms = [data.geom("fixed_jaw_pad"), data.geom("moving_jaw_pad")]
        expected = [(data.site("tcp").xpos, data.body("gripper").xmat)] + [(geom.xpos, geom.xmat) for geom in geoms]
        assert tool.position[row] == pytest.approx(data.site("tcp").xpos, abs=1e-9)
        for part, (position, matrix) in enumerate(expected):
            rotation = np.zeros(9)
            mujoco.mju_quat2Mat(rotation, quaternions[row, part])
            assert positions[row, part] == pytest.approx(position, abs=1e-9)
            assert rotation == pytest.approx(matrix, abs=2e-6)


def test_tilt_and_yaw_are_what_the_docstring_says(model):
    """A vertical tool has yaw = roll - pan - offset; a positive tilt moves the tip away from the base."""
    data = mujoco.MjData(model)
    data.qpos[:] = [0.4, -0.3, 0.3, math.pi / 2, 0.9, 0.3]
    mujoco.mj_kinematics(model, data)
    tool = forward(data.qpos)
    assert tool.tilt == pytest.approx(0.0)
    assert tool.yaw == pytest.approx(0.9 - 0.4 - ROLL_OFFSET)
    x_axis = data.body("gripper").xmat.reshape(3, 3)[:, 0]
    assert math.atan2(x_axis[1], x_axis[0]) == pytest.approx(float(tool.yaw), abs=1e-6)
    leaning = forward(np.array([0.0, -0.3, 0.3, math.pi / 2 - 0.2, ROLL_OFFSET, 0.3]))
    upright = forward(np.array([0.0, -0.3, 0.3, math.pi / 2, ROLL_OFFSET, 0.3]))
    assert leaning.tilt == pytest.approx(0.2)
    assert leaning.position[0] > upright.position[0]


def test_inverse_undoes_forward():
    joints = random_joints(2000)
    tool = forward(joints)
    found, reachable = inverse(tool.position, tool.yaw, tool.tilt, joints[:, 5])
    again = forward(found)
    # The rest are poses with the elbow down or the tool behind the base.
    assert reachable.mean() > 0.7
    assert again.position[reachable] == pytest.approx(tool.position[reachable], abs=1e-9)
    assert again.tilt[reachable] == pytest.approx(tool.tilt[reachable], abs=1e-9)
    assert np.cos(again.yaw - tool.yaw)[reachable] == pytest.approx(1.0)
    assert np.all((found[reachable] >= LOW) & (found[reachable] <= HIGH))


def test_inverse_says_what_is_out_of_reach():
    position = np.array([[0.2, 0.0, 0.03], [0.6, 0.0, 0.03], [0.2, 0.0, 0.12], [0.0, -0.3, 0.03], [-0.2, 0.02, 0.03]])
    _, reachable = inverse(position, np.zeros(5), np.zeros(5), np.full(5, 0.3))
    assert reachable.tolist() == [True, False, False, False, False]
    _, reachable = inverse(position[:1], np.zeros(1), np.zeros(1), np.full(1, 2.0))
    assert reachable.tolist() == [False]


def test_projection_is_reached_by_its_joints():
    projection = project(*anywhere(4000))
    tool = forward(projection.joints)
    assert tool.position == pytest.approx(projection.position, abs=1e-9)
    assert tool.yaw == pytest.approx(projection.yaw, abs=1e-9)
    assert tool.tilt == pytest.approx(projection.tilt, abs=1e-9)
    assert np.all((projection.joints >= LOW[:5]) & (projection.joints <= HIGH[:5]))
    assert np.all((projection.tilt >= 0.0) & (projection.tilt <= TILT_LIMIT))
    height = projection.position[:, 2]
    assert np.all((height >= TOOL_FLOOR - 1e-9) & (height <= TOOL_CEILING + 1e-9))


def test_projection_is_idempotent():
    once = project(*anywhere(4000, seed=1))
    twice = project(once.position, once.yaw)
    assert twice.position == pytest.approx(once.position, abs=1e-9)
    assert twice.tilt == pytest.approx(once.tilt, abs=1e-6)
    assert twice.joints == pytest.approx(once.joints, abs=1e-5)


def test_upright_poses_are_left_alone():
    position, yaw = anywhere(4000, seed=2)
    _, reachable = inverse(position, yaw, np.zeros(len(yaw)), np.full(len(yaw), 0.3))
    reachable &= position[:, 2] >= TOOL_FLOOR
    projection = project(position[reachable], yaw[reachable])
    assert reachable.sum() > 100
    assert projection.position == pytest.approx(position[reachable], abs=1e-9)
    assert np.all(projection.tilt == 0.0)


def test_tilt_is_the_least_and_the_point_the_nearest():
    """The slow twin: try many tilts, and where none does, many distances along the arm's plane."""
    position, yaw = anywhere(300, seed=3)
    position[:, 2] = np.clip(position[:, 2], TOOL_FLOOR, TOOL_CEILING)
    got = project(position, yaw)
    tilts = np.linspace(0.0, TILT_LIMIT, 251)
    kept = np.linalg.norm(got.position - position, axis=-1) < 1e-9
    assert 50 < kept.sum() < 250
    for row in range(len(yaw)):
        if abs(got.joints[row, 0]) == HIGH[0] or got.joints[row, 4] in (LOW[4], HIGH[4]):
            continue
        _, reachable = inverse(np.tile(position[row], (251, 1)), np.full(251, yaw[row]), tilts, np.full(251, 0.3))
        assert reachable.any() == kept[row]
        if kept[row]:
            assert got.tilt[row] == pytest.approx(tilts[np.argmax(reachable)], abs=0.0021)
            continue
        # Points in the arm's plane between the one asked for and the one given: none of them can be reached.
        between = position[row] + np.linspace(0.0, 0.98, 30)[:, None] * (got.position[row] - position[row])
        for tilt in tilts[::10]:
            _, reachable = inverse(between, np.full(30, got.yaw[row]), np.full(30, tilt), np.full(30, 0.3))
            assert not reachable.any()


def test_height_is_kept_at_the_rim():
    projection = project(np.array([[0.5, 0.0, 0.05], [0.05, 0.0, 0.05]]), np.zeros(2))
    assert projection.position[:, 2] == pytest.approx(0.05)
    assert 0.35 < projection.position[0, 0] < 0.40
    assert 0.08 < projection.position[1, 0] < 0.13


def test_workspace_facts():
    """Measured facts of the arm: a strictly vertical tool gets no higher than 9.1 cm; at 1 cm it reaches x 0.325."""
    heights = np.linspace(0.02, 0.15, 261)
    x = np.linspace(0.1, 0.4, 301)
    grid = np.stack(np.meshgrid(x, heights, indexing="ij"), axis=-1)
    position = np.stack([grid[..., 0], np.zeros_like(grid[..., 0]), grid[..., 1]], axis=-1)
    upright = project(position, np.zeros(grid.shape[:2])).tilt == 0.0
    upright &= np.linalg.norm(project(position, np.zeros(grid.shape[:2])).position - position, axis=-1) < 1e-9
    assert grid[upright][:, 1].max() == pytest.approx(0.091, abs=0.002)
    low = project(np.array([[0.324, 0.0, 0.012], [0.350, 0.0, 0.012]]), np.zeros(2))
    assert low.tilt[0] == 0.0
    assert 0.0 < low.tilt[1] < 0.15


def test_roll_takes_the_short_way_round():
    """Yaws a turn apart are the same pose, and give the same joints."""
    position = np.tile([0.2, 0.0, 0.05], (50, 1))
    yaw = np.random.default_rng(4).uniform(-2.5, 2.5, 50)
    one, other = project(position, yaw).joints, project(position, yaw + 2.0 * math.pi).joints
    assert one == pytest.approx(other, abs=1e-9)


def test_home_holds_the_tool_upright():
    tool = forward(np.array(HOME))
    assert tool.position == pytest.approx((0.21, 0.0, 0.085), abs=1e-5)
    assert tool.tilt == pytest.approx(0.0, abs=1e-4)


def test_numpy_and_torch_agree():
    position, yaw = anywhere(500, seed=5)
    joints = random_joints(500)
    one, other = project(position, yaw), project(torch.tensor(position), torch.tensor(yaw))
    assert other.joints.numpy() == pytest.approx(one.joints, abs=1e-6)
    assert other.position.numpy() == pytest.approx(one.position, abs=1e-9)
    assert forward(torch.tensor(joints)).position.numpy() == pytest.approx(forward(joints).position, abs=1e-12)
    for numpy_poses, torch_poses in zip(body_poses(joints), body_poses(torch.tensor(joints)), strict=True):
        assert torch_poses.numpy() == pytest.approx(numpy_poses, abs=1e-12)
    tool = forward(joints)
    asked = (tool.position, tool.yaw, tool.tilt, joints[:, 5])
    found, reachable = inverse(*asked)
    torch_found, torch_reachable = inverse(*map(torch.tensor, asked))
    assert torch_found.numpy() == pytest.approx(found, abs=1e-9)
    assert (torch_reachable.numpy() == reachable).all()


def test_single_precision_stays_within_the_joints():
    position, yaw = anywhere(2000, seed=6)
    projection = project(torch.tensor(position, dtype=torch.float32), torch.tensor(yaw, dtype=torch.float32))
    assert projection.joints.dtype == torch.float32
    assert torch.isfinite(projection.joints).all()
    exact = project(position, yaw)
    gap = np.linalg.norm(projection.position.numpy() - exact.position, axis=-1)
    assert np.max(gap) < 1e-3


def test_a_batch_is_many_single_poses():
    """Any leading shape, none included."""
    position, yaw = anywhere(24, seed=7)
    whole = project(position.reshape(4, 6, 3), yaw.reshape(4, 6))
    assert whole.joints.shape == (4, 6, 5)
    for row in range(24):
        single = project(position[row], yaw[row])
        assert single.joints == pytest.approx(whole.joints.reshape(24, 5)[row], abs=1e-12)
        assert single.position.shape == (3,)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-0.6, 0.6), min_size=3, max_size=3), st.floats(-20.0, 20.0))
def test_projection_never_fails(position, yaw):
    projection = project(np.array(position), np.array(yaw))
    assert np.isfinite(projection.joints).all()
    assert np.all((projection.joints >= LOW[:5]) & (projection.joints <= HIGH[:5]))


def test_gradients_flow_through_forward():
    joints = torch.tensor(HOME, dtype=torch.float64, requires_grad=True)
    forward(joints).position.sum().backward()
    assert torch.isfinite(joints.grad).all()
    assert joints.grad[:5].abs().sum() > 0.1


def test_constants_are_the_models(model):
    assert model.site("tcp").pos == pytest.approx(TCP_IN_GRIPPER)
