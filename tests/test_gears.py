"""Play between motor and joint."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robots.twin.gears import DRAG, Gears

TICK = 0.005


@given(st.floats(0.001, 0.1), st.floats(0.05, 3.0))
def test_play_costs_the_time_that_the_motor_needs_to_cross_it(width, torque):
    gears, gap = Gears(1, 1), np.array([[width]])
    gears.lean(np.array([[1.0]]), gap)
    assert gears.engage(np.array([[torque]]), gap, TICK) == 1.0, "it pulls as before"
    shares = [float(gears.engage(np.array([[-torque]]), gap, TICK)[0, 0]) for _ in range(1000)]
    lost = TICK * (1.0 - np.array(shares)).sum()
    assert lost == pytest.approx(min(width * DRAG / torque, 5.0), rel=1e-6)
    assert np.all(np.diff(shares) >= 0), "once across, it stays there"


def test_without_play_nothing_is_lost():
    gears = Gears(1, 6)
    turns = np.array([[1.0, -1.0, 0.2, 0.0, -3.0, 1e-12]])
    for sign in (1, -1, 1):
        share = gears.engage(sign * turns, np.zeros((1, 6)), TICK)
        assert (share == 1.0).all()
