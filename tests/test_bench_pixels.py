"""The bench of pixels: every figure it promises, and the shipped encoder within its bounds on unseen scenes."""

import io

import numpy as np
import pytest

from embodied.bench import pixels as bench
from embodied.console import Console
from embodied.evaluation.seen_skill import ASKED


@pytest.fixture(scope="module")
def samples():
    console = Console(io.StringIO())
    return {part: [bench.measure(part, 11, True, console)] for part in ("play", "looks")}


def test_the_promised_figures_are_there(samples):
    figures = bench.summarise(samples)
    for part in ("play", "looks"):
        for name in ("position_mm", "yaw_deg", "tilt_deg", "hidden_position_mm"):
            for statistic in ("mean", "median", "p90"):
                figure = figures[f"{part}_{name}_{statistic}"]
                assert figure["interval"][0] <= figure["value"] <= figure["interval"][1]
    assert {
        "play_switches_per_1000_frames",
        "play_speed_mm_s_mean",
        "play_ms_per_frame",
        "memory_mib",
    } <= figures.keys()
    assert {"pictures_per_s", "train_seconds", "looks_presence_accuracy"} <= figures.keys()
    assert figures["position_mm"] == figures["looks_position_mm_mean"]
    assert figures["yaw_deg"] == figures["looks_yaw_deg_mean"]


def test_the_shipped_encoder_is_within_its_bounds(samples):
    figures = bench.summarise(samples)
    assert figures["play_position_mm_median"]["value"] < 5.0
    assert figures["play_yaw_deg_median"]["value"] < 5.0
    assert figures["looks_position_mm_median"]["value"] < 5.0
    assert figures["play_presence_accuracy"]["value"] > 0.95
    assert figures["play_fg_ari"]["value"] > 0.8


def test_the_gap_between_state_and_pixels_is_told():
    estimate = {"value": 0.1, "interval": [0.0, 0.2], "count": 9}
    skill = dict.fromkeys(ASKED, estimate)
    raw = {"skill": {"state": skill, "pixels": skill}, "gap": dict.fromkeys(ASKED, estimate)}
    raw |= {"factual_ade": {"state": estimate, "pixels": estimate}, "position": 0.002, "speed": 0.01}
    other = raw | {"gap": {key: {"value": 0.3, "interval": [0.1, 0.5], "count": 9} for key in ASKED}}
    figures = bench.summarise({"whatif": [raw, other]})
    assert figures["skill_gap"]["value"] == pytest.approx(0.2)
    # The two seeds differ by more than each one's contexts tell: 1.96 * 0.1.
    assert figures["skill_gap"]["interval"] == pytest.approx([0.004, 0.396], abs=1e-4)
    assert figures["skill_spillover_pixels"]["seeds"] == 2
    assert figures["factual_ade_mm_state"]["value"] == pytest.approx(100.0)
    assert {"skill_spillover_state", "skill_gap_move", "skill_gap_action", "whatif_position_mm_mean"} <= figures.keys()


def test_scenes_are_none_of_training():
    assert bench.UNSEEN > 2**30


def test_quantiles_weigh_every_value_and_resample_scenes():
    rows = [np.array([1.0, 2.0, 3.0]), np.array([10.0]), np.array([])]
    assert bench._over(rows, 0.5, "mm", 1)["value"] == 2.0
    assert bench._over(rows, None, "mm", 1)["value"] == pytest.approx(4.0)
    low, high = bench._over(rows, None, "mm", 1)["interval"]
    assert low == pytest.approx(2.0)
    assert high == pytest.approx(10.0)
    assert bench._over([np.array([np.nan])], None, "mm", 1)["value"] is None
