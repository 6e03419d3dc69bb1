import numpy as np
import torch

from envs.control import CartesianDelta
from envs.geometry import quat_to_matrix
from envs.kinematics import body_poses, project
from envs.kinematics_compiled import cartesian_target, hand_poses
from envs.robot import HOME
from envs.so101 import JOINT_HIGH, JOINT_LOW


def test_compiled_targets_equal_the_array_code():
    """Random walks that lean on every limit: the floor, the ceiling, the rim, the base, the roll's range."""
    generator, control = np.random.default_rng(0), CartesianDelta()
    joints = np.tile(HOME, (300, 1))
    drift = generator.uniform(-1.0, 1.0, (300, 5))
    upright, leaning = 0, 0
    for _ in range(40):
        action = np.clip(drift + generator.uniform(-1.0, 1.0, (300, 5)), -1.0, 1.0)
        expected = control.target(torch.from_numpy(joints), torch.from_numpy(action)).numpy()
        compiled = control.target(joints, action)
        # At the rim the elbow is straight, and acos turns one rounding into its square root.
        assert np.abs(compiled - expected).max() < 1e-6
        tilt = 0.5 * np.pi - expected[:, 1:4].sum(axis=1)
        upright, leaning = upright + (tilt < 1e-9).sum(), leaning + (tilt > 0.1).sum()
        joints = expected
    assert upright > 1000
    assert leaning > 1000


def test_a_row_does_not_depend_on_its_company():
    joints = np.tile(HOME, (7, 1))
    action = np.random.default_rng(1).uniform(-1.0, 1.0, (7, 5))
    together = cartesian_target(joints, action, 0.03, 0.3)
    alone = np.stack([cartesian_target(joints[i], action[i], 0.03, 0.3) for i in range(7)])
    assert np.array_equal(together, alone)


def test_leading_shapes_and_dtypes_are_kept():
    joints = np.tile(HOME, (2, 3, 1)).astype(np.float32)
    target = CartesianDelta().target(joints, np.zeros((2, 3, 5), np.float32))
    assert target.shape == (2, 3, 6)
    assert target.dtype == np.float32


def test_compiled_hand_equals_the_array_code():
    joints = np.random.default_rng(2).uniform(JOINT_LOW, JOINT_HIGH, (4, 50, 6))
    poses = hand_poses(joints)
    position, quaternion = body_poses(joints)
    np.testing.assert_allclose(poses[..., :3], position, rtol=0, atol=1e-12)
    np.testing.assert_allclose(poses[..., 3:].reshape(4, 50, 3, 3, 3), quat_to_matrix(quaternion), rtol=0, atol=1e-12)


def test_compiled_projections_equal_the_array_code():
    generator = np.random.default_rng(3)
    position = generator.uniform((-0.1, -0.4, -0.05), (0.5, 0.4, 0.4), (20, 50, 3))
    yaw = generator.uniform(-4.0, 4.0, (20, 50))
    compiled, expected = project(position, yaw), project(torch.from_numpy(position), torch.from_numpy(yaw))
    for name in ("position", "yaw", "tilt", "joints"):
        np.testing.assert_allclose(getattr(compiled, name), getattr(expected, name).numpy(), rtol=0, atol=1e-6)
    assert 100 < (compiled.tilt > 0.1).sum() < 900
