"""A control loop's deadlines, on a clock that moves when it is told to."""

import numpy as np
import pytest

from envs.errors import EmbodiedError
from robots.loop import CATCH_UP, Deadlines, percentiles, rate_of


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        assert seconds > 0
        self.now += seconds


def ticking(rate=50.0):
    clock = Clock()
    return clock, Deadlines(rate, clock, clock.sleep)


def test_work_of_any_length_does_not_move_the_deadlines():
    clock, deadlines = ticking()
    for work in (0.001, 0.019, 0.005, 0.0):
        deadlines.wait()
        clock.now += work
    assert deadlines.times == pytest.approx(100 + 0.02 * np.arange(1, 5))
    assert deadlines.achieved == pytest.approx(50.0)
    assert deadlines.jitter["p99.9"] == pytest.approx(0.0, abs=1e-9)


def test_a_late_tick_is_made_up_for():
    clock, deadlines = ticking()
    deadlines.wait()
    clock.now += 0.045
    assert deadlines.wait() == pytest.approx(0.025)
    assert deadlines.wait() == pytest.approx(0.005)
    assert deadlines.wait() == pytest.approx(0.0, abs=1e-9)
    assert deadlines.times[-1] == pytest.approx(100.08)
    assert deadlines.missed == 0


def test_a_long_pause_is_not_made_up_for():
    clock, deadlines = ticking()
    deadlines.wait()
    clock.now += 1.0
    deadlines.wait()
    assert deadlines.missed == 49
    before = clock.now
    deadlines.wait()
    assert clock.now > before, "no burst follows"
    assert deadlines.missed > CATCH_UP


def test_a_rate_that_is_none_is_refused():
    with pytest.raises(EmbodiedError, match="must be above 0"):
        Deadlines(0.0)


def test_percentiles_and_rates():
    assert percentiles(np.arange(1001.0)) == pytest.approx({"p50": 500.0, "p99": 990.0, "p99.9": 999.0})
    assert np.isnan(percentiles([])["p50"])
    assert rate_of([0.0, 0.5, 1.0]) == 2.0
    assert np.isnan(rate_of([1.0]))
