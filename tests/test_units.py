"""LeRobot's degrees and percents against the model's radians."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.errors import EmbodiedError
from robots.units import JOINTS, Units, from_features, to_features

ZERO = Units(zero=(0.02, -0.1, 0.12, 0.0, -0.8), gripper_closed=-0.1, gripper_open=2.1)
NUMBERS = st.lists(st.floats(-180, 180), min_size=6, max_size=6)


def test_known_angles():
    radians = Units().to_radians(np.array([90.0, -90.0, 45.0, 0.0, 180.0, 0.0]))
    np.testing.assert_allclose(radians, [np.pi / 2, -np.pi / 2, np.pi / 4, 0, np.pi, -0.17453], atol=1e-12)
    assert Units().to_radians(np.array([0, 0, 0, 0, 0, 100.0]))[5] == pytest.approx(1.74533)


def test_an_arms_own_zero_moves_its_angles():
    np.testing.assert_allclose(ZERO.to_radians(np.zeros(6)), [0.02, -0.1, 0.12, 0.0, -0.8, -0.1])


@given(NUMBERS)
def test_there_and_back(numbers):
    batch = np.array([numbers, numbers[::-1]])
    np.testing.assert_allclose(ZERO.to_lerobot(ZERO.to_radians(batch)), batch, atol=1e-9)


@given(NUMBERS, NUMBERS)
def test_speed_is_the_slope_of_position(start, speed):
    start, speed = np.array(start), np.array(speed)
    moved = ZERO.to_radians(start + speed) - ZERO.to_radians(start)
    np.testing.assert_allclose(ZERO.speed_to_radians(speed), moved, atol=1e-9)
    np.testing.assert_allclose(ZERO.speed_to_lerobot(moved), speed, atol=1e-9)


def test_features_round_trip_in_lerobots_order():
    numbers = np.arange(6.0)
    features = to_features(numbers)
    assert list(features) == [f"{joint}.pos" for joint in JOINTS]
    np.testing.assert_array_equal(from_features(dict(reversed(features.items()))), numbers)


def test_faults_are_named():
    with pytest.raises(EmbodiedError, match="did not report gripper"):
        from_features({f"{joint}.pos": 0.0 for joint in JOINTS[:5]})
    with pytest.raises(EmbodiedError, match=r"6 joints.*\(5,\)"):
        Units().to_radians(np.zeros(5))
