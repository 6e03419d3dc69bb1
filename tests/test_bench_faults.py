"""What the fault bench makes of what it saw, and the loop bench of what it timed: on numbers made by hand."""

import numpy as np
import pytest

from embodied.bench import faults, loop
from embodied.bench.faults import Watched
from robots.loop import percentiles


def watched(pan, enabled=True, goal=None, strain=0.1, seconds=2.0):
    """Looks every 20 ms at a shoulder at `pan(t)`; the other values may be functions of time too."""
    found = Watched()

    def at(value, t):
        return value(t) if callable(value) else value

    for t in np.arange(0.0, seconds, 0.02):
        found.times.append(float(t))
        found.joints.append([at(pan, t), 0, 0, 0, 0, 0])
        found.goals.append([at(pan if goal is None else goal, t), 0, 0, 0, 0, 0])
        found.enabled.append([bool(at(enabled, t))] * 6)
        found.strain.append([at(strain, t)] * 6)
    return found


def test_an_arm_stands_once_it_no_longer_moves():
    assert watched(lambda t: 0.4 * min(t, 0.3)).standing == pytest.approx(0.28, abs=0.03)
    assert watched(lambda t: 0.4 * t).standing is None
    assert watched(0.2, goal=lambda t: 0.4 * t).standing is None, "it is stuck, and driven still"
    assert watched(0.2, strain=0.9).standing is None
    assert watched(lambda t: 0.4 * t, enabled=lambda t: t < 0.5).standing == pytest.approx(0.5, abs=0.03)


def test_torque_is_off_when_the_last_servo_is():
    assert watched(0.0).torque_off is None
    assert watched(0.0, enabled=False).torque_off == 0.0
    assert watched(0.0, enabled=lambda t: t < 0.5 or 0.8 < t < 1.0).torque_off == pytest.approx(1.0, abs=0.03)


def test_goals_are_within_range_once_none_is_beyond():
    assert watched(0.0).within_range == 0.0
    assert watched(0.0, goal=8.0).within_range is None
    assert watched(0.0, goal=lambda t: 8.0 if t < 0.5 else 0.0).within_range == pytest.approx(0.5, abs=0.03)


def raw(**values):
    usual = {"noticed": True, "safe": 0.1, "torque_off": 3.0, "powered": 0, "lost": 0, "wrong": 0}
    return usual | values


def test_the_table_counts_what_was_noticed_and_keeps_the_worst():
    samples = {
        "overload": [{"ours": raw(), "lerobot": raw(noticed=False, safe=None, powered=4)}],
        "unplug": [{"ours": raw(safe=0.3), "lerobot": raw(lost=7)}, {"ours": raw(safe=0.2), "lerobot": raw()}],
    }
    figures = {key: each["value"] for key, each in faults.summarise(samples).items()}
    assert (figures["detected"], figures["of"]) == (2, 2)
    assert figures["worst_time_to_safe_s"] == 0.3
    assert figures["servos_left_powered"] == 0
    assert figures["lerobot_detected"] == 1
    assert figures["lerobot_worst_time_to_safe_s"] is None, "never"
    assert figures["lerobot_servos_left_powered"] == 4
    assert figures["lerobot_steps_lost"] == 7
    assert figures["unplug_safe"] == 0.3
    assert figures["lerobot_overload_noticed"] == 0


def test_the_loop_table_has_medians_of_both_drivers():
    times = percentiles([0.001, 0.002, 0.003])
    free = {"rate": 900.0, "median_rate": 1000.0, "cpu": 3e-4, "read": times, "write": times}
    paced = {"rate": 99.99, "jitter": times, "busy": times, "missed": 0}
    samples = {
        "free": [{"ours": free, "lerobot": free | {"rate": rate}} for rate in (1.0, 2.0, 30.0)],
        "paced100": [{"ours": paced, "lerobot": {"rate": 91.0, "jitter": times}}],
    }
    figures = loop.summarise(samples)
    assert figures["free_hz"]["value"] == 900.0
    assert figures["lerobot_free_hz"]["value"] == 2.0
    assert figures["paced100_hz"]["value"] == 99.99
    assert figures["lerobot_paced100_hz"]["value"] == 91.0
    assert figures["read_p50_us"]["value"] == pytest.approx(2000.0)
    assert figures["paced100_jitter_p50_ms"]["value"] == pytest.approx(2.0)
    assert "paced50_hz" not in figures
