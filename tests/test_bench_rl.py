"""The bench of policies: what its clock counts, what it keeps, and that a run of each kind goes through."""

import io
import os
import subprocess
import sys

import numpy as np
import pytest

from embodied.bench import rl, rl_imagined, rl_peer, rl_updates
from embodied.console import Console
from embodied.evaluation.statistics import iqm
from envs.errors import EmbodiedError


def test_figures_are_of_the_promised_minutes_and_say_the_wall_clock():
    curve = [
        {"minutes": minutes, "success": 0.5 + minutes / 10, "wall": 90.0, "episodes": 50} for minutes in (2.0, 5.0)
    ]
    one = rl.summarise({"place_demo": [{"curve": curve}]})
    assert one["place_demo_success_2cpumin"]["value"] == pytest.approx(70.0)
    assert one["place_demo_success_5cpumin"]["value"] == pytest.approx(100.0)
    assert one["place_demo_wall_2cpumin"]["value"] == 1.5
    assert one["place_demo_success_2cpumin"]["interval"][0] < 60.0
    several = rl.summarise({"place_demo": [{"curve": curve}] * 4, "sb3": [{}]})
    assert several["place_demo_success_2cpumin"]["seeds"] == 4
    assert "sb3_place_success_6cpumin" not in several


def test_the_interquartile_mean_leaves_the_outer_quarters_out():
    rates = [0.0, 0.8, 0.9, 1.0]
    value, (low, high) = iqm(rates, 100, np.random.default_rng(0))
    assert value == pytest.approx(0.85)
    assert low < value < high
    value, _ = iqm([0.1, 0.5, 0.6, 0.7, 1.0], 100, np.random.default_rng(0))
    assert value == pytest.approx((0.75 * 0.5 + 0.6 + 0.75 * 0.7) / 2.5)


def test_runs_that_always_succeeded_are_not_certain_to():
    value, (low, high) = iqm([1.0] * 5, 200, np.random.default_rng(0))
    assert value == high == 1.0
    assert 0.99 < low < 0.999
    _, (fewer, _) = iqm([1.0] * 5, 20, np.random.default_rng(0))
    assert fewer < low
    value, (low, high) = iqm([0.0] * 5, 200, np.random.default_rng(0))
    assert value == low == 0.0 < high


def test_the_clock_counts_children_and_keeps_what_is_there_at_each_mark():
    before = rl.cpu_seconds()
    subprocess.run([sys.executable, "-c", "for _ in range(10**6): pass"], check=True)
    used = rl.cpu_seconds() - before
    assert used > 0.01
    clock = rl.Clock((0.0, 1e9))
    assert clock.note(lambda: {"steps": 3})
    assert [(point["minutes"], point["steps"]) for point in clock.kept] == [(0.0, 3)]
    assert clock.note(lambda: {"steps": 4})
    assert len(clock.kept) == 1
    assert not rl.Clock(()).note(dict)


def test_a_process_that_dies_is_told():
    with pytest.raises(EmbodiedError, match="exit code 3"):
        rl.apart(os._exit, 3)


@pytest.mark.parametrize("part", ["place_demo", "place_nodemo"])
def test_a_course_goes_through(part):
    words, minutes = rl.COURSES[part]
    assert {at for name, at in rl.FIGURES.values() if name == part} <= set(minutes)
    small = ("env.worlds=4", "env.threads=1", "agent.cloning_steps=25", "agent.updates_per_step=0.25")
    shown = ("trainer.demonstrations=2",) if part == "place_demo" else ()
    raw = rl.course(0, (0.0,), 2, (*words, *small, *shown))
    assert [set(point) for point in raw["curve"]] == [
        {"minutes", "cpu", "wall", "steps", "updates", "success", "ever", "episodes"}
    ]
    assert raw["curve"][0]["episodes"] == 2
    assert 0.0 < raw["collected"] <= raw["cloned"]


def test_rates_of_updates_are_compared_within_a_repeat():
    raw = rl_updates.measure(2, 2)
    assert len(raw["ours"]) == len(raw["plain"]) == 2
    assert ("sb3" in raw) == rl_peer.importable()
    figures = rl_updates.summarise([{"ours": [1.0, 2.0, 1.0], "plain": [3.0, 8.0, 4.0]}])
    assert figures["updates_ratio_to_plain_sac"]["value"] == 4.0
    assert figures["updates_per_cpu_second"]["value"] == 1.0
    assert figures["updates_ratio_to_sb3"]["value"] is None
    beside = rl_updates.summarise([{"ours": [1.0, 2.0, 1.0], "plain": [3.0, 8.0, 4.0], "sb3": [5.0, 12.0, 6.0]}])
    assert beside["updates_ratio_to_sb3"]["value"] == 6.0


def test_steps_to_success_are_read_off_between_trials():
    curve = [{"steps": 100, "success": 0.5}, {"steps": 200, "success": 0.7}, {"steps": 300, "success": 1.0}]
    assert rl_imagined.steps_to(curve) == pytest.approx(200 + 100 * 2 / 3)
    assert rl_imagined.steps_to(curve[:1], 0.25) == 50
    assert np.isnan(rl_imagined.steps_to(curve[:2]))
    again = [{"steps": 10, "success": 0.95}, {"steps": 20, "success": 0.2}, {"steps": 30, "success": 1.0}]
    assert rl_imagined.steps_to(again) < 10


def test_imagination_is_credited_only_where_it_succeeds_in_the_simulator():
    def sample(real: int, success: float) -> dict:
        curve = [{"steps": real, "success": 0.9}]
        return {"play_steps": 1000, "real": {"curve": curve}, "imagined": {"success": success, "episodes": 100}}

    good = rl.summarise({"imagine_push": [sample(3000, 0.95)], "imagine_place": [sample(5000, 0.9)]})
    assert good["imagination_steps_ratio_push"]["value"] == 3.0
    assert good["imagination_steps_ratio"]["value"] == 3.0
    assert good["imagined_success_push"]["value"] == pytest.approx(95.0)
    bad = rl.summarise({"imagine_push": [sample(3000, 0.85), sample(3000, 0.9)], "imagine_place": [sample(5000, 0.9)]})
    assert bad["imagination_steps_ratio"]["value"] is None
    assert bad["real_steps_to_90_push"]["value"] == 3000.0
    assert bad["imagination_steps_ratio_place"]["value"] == 5.0
    assert "imagination_steps_ratio" not in rl.summarise({"imagine_push": [sample(3000, 0.95)]})
    arms = {
        name: {"success": rate, "episodes": 200} for name, rate in zip(rl_imagined.ARMS, (1, 0.95, 0.5), strict=True)
    }
    offline = rl.summarise({"offline": [arms, arms]})
    assert [offline[f"{name}_success"]["value"] for name in ("online", "offline", "cloned")] == [100.0, 95.0, 50.0]
    assert offline["offline_success"]["seeds"] == 2


def test_what_learns_with_and_without_imagination_is_continued(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    console = Console(io.StringIO())
    raw = rl_imagined.measure("imagine_push", 0, True, console)
    for arm in ("real", "imagined"):
        assert raw[arm]["curve"][-1]["steps"] >= 64
        assert raw[arm]["episodes"] == 8
    assert raw["play_steps"] >= 16 * 20
    assert raw["demonstrations_steps"] == 2 * 50
    # What is kept is not learned again.
    monkeypatch.setattr("embodied.training.policy.PolicyTrainer.advance", None)
    assert rl_imagined.measure("imagine_push", 0, True, console) == raw
