"""Rigid transforms as `[*B 4 4]` matrices: made, inverted, compared."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from envs.geometry import matrix_to_quat, quat_to_matrix
from envs.kinematics import body_poses

Floats = NDArray[np.float64]


def pose(turn: Floats, shift: Floats) -> Floats:
    """`[*B 4 4]` from rotation matrices `[*B 3 3]` and translations `[*B 3]` [m]."""
    result = np.zeros((*np.shape(turn)[:-2], 4, 4))
    result[..., :3, :3], result[..., :3, 3], result[..., 3, 3] = turn, shift, 1.0
    return result


def rotation(vector: Any) -> Floats:
    """The rotation matrix `[3 3]` of a rotation vector `[3]` [rad]."""
    return np.asarray(cv2.Rodrigues(np.asarray(vector, np.float64))[0], np.float64)


def from_vector(vector: Floats) -> Floats:
    """`[4 4]` from a rotation vector [rad] and a translation [m], `[6]`."""
    return pose(rotation(vector[:3]), vector[3:])


def to_vector(matrix: Floats) -> Floats:
    """`[6]` rotation vector [rad] and translation [m] of `[4 4]`."""
    return np.append(cv2.Rodrigues(matrix[:3, :3])[0].ravel(), matrix[:3, 3])


def inverse(matrix: Floats) -> Floats:
    """The inverse of `[*B 4 4]`."""
    turn = np.swapaxes(matrix[..., :3, :3], -1, -2)
    return pose(turn, -(turn @ matrix[..., :3, 3:])[..., 0])


def difference(one: Floats, other: Floats) -> tuple[float, float]:
    """Distance of the origins [m] and angle between the axes [rad] of two poses `[4 4]`."""
    turn = cv2.Rodrigues(one[:3, :3].T @ other[:3, :3])[0]
    return float(np.linalg.norm(one[:3, 3] - other[:3, 3])), float(np.linalg.norm(turn))


def gripper_in_base(joints: Floats) -> Floats:
    """The gripper's pose `[*B 4 4]` at joints `[*B 6]` [rad]."""
    position, quaternion = body_poses(joints)
    return pose(quat_to_matrix(quaternion[..., 0, :]), position[..., 0, :])


def to_json(matrix: Floats) -> dict[str, list[float]]:
    """A pose `[4 4]` as `{"position": [3] m, "quaternion": [4] wxyz}`."""
    return {"position": matrix[:3, 3].tolist(), "quaternion": matrix_to_quat(matrix[:3, :3]).tolist()}


def from_json(values: dict[str, list[float]]) -> Floats:
    """The inverse of `to_json`; the quaternion need not be of unit length."""
    quaternion = np.array(values["quaternion"], np.float64)
    return pose(quat_to_matrix(quaternion / np.linalg.norm(quaternion)), np.array(values["position"], np.float64))
