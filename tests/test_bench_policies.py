"""The benches of exploration, lag and memory: what their figures are made of."""

import numpy as np
import pytest

from embodied.bench import explore, lag, memory
from embodied.bench.harness import BENCHES
from embodied.cli import compose


def test_areas_are_means_over_the_marks_and_rollouts_are_in_percent():
    curves = [[{"success": 0.2}, {"success": 0.6}], [{"success": 0.0}, {"success": 0.4}]]
    rollouts = {"success": 0.5, "pass_at_8": 0.75, "blocked_pass_at_8": 0.25, "distinctness": 0.1}
    found = explore.summarise({"frontier": [{"curve": curve} for curve in curves], "diverse": [rollouts]})
    assert found["frontier_area"]["value"] == pytest.approx(30.0)
    assert found["frontier_final"]["value"] == pytest.approx(50.0)
    assert found["diverse_blocked_pass_at_8"]["value"] == 25.0
    assert found["diverse_distinctness"]["value"] == 0.1


def test_a_blocked_group_needs_a_success_that_goes_round():
    time = np.linspace(0.0, 1.0, 41)
    straight = np.stack([0.2 * time, 0 * time, 0 * time], axis=-1)
    alike = np.stack([straight] * 4)
    mixed = np.stack([straight, straight, straight, straight + np.array([0.0, 0.03, 0.0])])
    won = np.ones((2, 4), bool)
    assert explore.unblocked(np.stack([alike, mixed]), won).tolist() == [False, True]
    assert explore.unblocked(np.stack([mixed]), np.array([[True, True, True, False]])).tolist() == [False]
    assert not explore.unblocked(np.stack([alike]), np.zeros((1, 4), bool)).any()


def test_returns_and_shares_are_told_by_lag():
    row = {"cloned": 0.3} | {str(at): {"return": 0.5 + at / 1000, "effective_share": 0.9} for at in lag.LAGS}
    found = lag.summarise({"clip": [row, row]})
    assert found["cloned_return"]["value"] == pytest.approx(0.3)
    assert found["clip_return_lag64"]["value"] == pytest.approx(0.564)
    assert found["clip_share_lag4"]["seeds"] == 2


def test_what_is_compared_differs_in_one_thing():
    for words, cases in (
        (lag.WORDS, lag.CORRECTIONS.values()),
        (memory.WORDS, memory.CASES.values()),
        (explore._CHUNKS, [(word,) for word in explore.BONUSES.values()]),
        (explore._WORDS, [(word,) for word in explore.DRAWS.values()]),
    ):
        configs = [compose("train", [*words, *case])[0] for case in cases]
        assert len({str(config) for config in configs}) == len(configs)
    assert {"explore", "lag", "memory"} <= BENCHES.keys()


def test_memory_is_measured_at_its_marks():
    raw = memory.measure("late_history", 0, True, None)
    (point,) = raw["curve"]
    assert point["steps"] == 64
    figures = memory.summarise({"late_history": [{"curve": [{"steps": 6000, "success": 0.25}]}]})
    assert figures["late_history_success_6k"]["value"] == 25.0
