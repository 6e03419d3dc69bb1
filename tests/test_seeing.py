"""Metrics of seeing: errors up to a cube's symmetry, identities, and grouping of pixels."""

import numpy as np
import pytest
from tabletop import tabletop

from embodied.evaluation.seeing import compare, foreground_ari, switches, turn_errors
from envs.geometry import quat_from_yaw, quat_multiply


def test_quarter_turns_and_faces_are_the_same_cube():
    yaw = np.linspace(-3.0, 3.0, 25)
    true = quat_from_yaw(yaw)
    for quarter in range(4):
        error, tilt = turn_errors(true, quat_from_yaw(yaw + quarter * np.pi / 2 + 0.03))
        assert error == pytest.approx(0.03, abs=1e-6)
        assert tilt == pytest.approx(0.0, abs=1e-6)
    upside = quat_multiply(true, np.array([0.0, 1.0, 0.0, 0.0]))
    assert turn_errors(true, upside)[0] == pytest.approx(0.0, abs=1e-6)
    lean = np.array([np.cos(0.1), np.sin(0.1), 0.0, 0.0])
    assert turn_errors(true, quat_multiply(lean, true))[1] == pytest.approx(0.2, abs=1e-6)


def test_errors_are_counted_where_both_are():
    truth = tabletop().map(lambda array: array[None])
    seen = tabletop(red_cube=[0.203, 0.004, 0.014]).map(lambda array: array[None])
    sight = compare(truth, seen)
    assert sight.position[0] == pytest.approx([0.005, 0.0])
    assert sight.found.all()
    seen.present[0, -1] = False
    sight = compare(truth, seen)
    assert np.isnan(sight.position[0, 1])
    assert list(sight.other[0]) == [0, -1]


def test_swapped_names_are_noticed():
    truth = tabletop().map(lambda array: array[None])
    swapped = tabletop(red_cube=[0.25, -0.1, 0.014], blue_cube=[0.2, 0.0, 0.014]).map(lambda array: array[None])
    assert list(compare(truth, swapped).other[0]) == [1, 0]
    assert switches(np.array([[0, 1], [0, -1], [1, 1], [1, 1], [0, 1]])) == 2
    assert switches(np.array([[0, 1]] * 4)) == 0


def test_ari_is_one_for_the_same_grouping_and_near_zero_for_chance():
    rng = np.random.default_rng(0)
    truth = rng.integers(-1, 4, (64, 64))
    assert foreground_ari(truth, 7 - truth) == pytest.approx(1.0)
    assert abs(foreground_ari(truth, rng.integers(0, 4, truth.shape))) < 0.01
    assert foreground_ari(truth, np.zeros_like(truth)) == pytest.approx(0.0)
    # The background does not count.
    spoiled = np.where(truth < 0, rng.integers(0, 9, truth.shape), truth)
    assert foreground_ari(truth, spoiled) == pytest.approx(1.0)
    assert np.isnan(foreground_ari(np.zeros((4, 4)), np.zeros((4, 4))))
    # Two groups of two pixels, of which one pixel goes over: by hand, 0 of 2 pairs agree beyond chance.
    assert foreground_ari(np.array([[0, 0, 1, 1]]), np.array([[0, 1, 1, 1]])) == pytest.approx(0.0)
