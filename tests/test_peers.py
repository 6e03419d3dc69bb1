"""The pipe to the peers' Python, what is made of their answers, and, after `make peers`, the peers themselves."""

import io
import shutil
import sys
import time
from pathlib import Path

import fake_peers
import numpy as np
import pytest

from embodied.bench import peers, rl, rl_fetch, sim, sim_peers
from embodied.bench.peers import Worker
from embodied.console import Console
from envs.errors import EmbodiedError

TALKER = """
import os, sys
from serve import serve
print("this is no answer")
serve(
    add=lambda one, other: one + other,
    path=lambda: [os.environ.get("PYTHONPATH"), os.environ["OMP_NUM_THREADS"]],
    die=lambda: (print("last words", file=sys.stderr, flush=True), os._exit(7)),
)
"""
needs_peers = pytest.mark.skipif(not peers.installed(), reason=peers.MISSING)


@pytest.fixture
def talker(tmp_path, monkeypatch):
    (tmp_path / "talker.py").write_text(TALKER)
    shutil.copy(peers.SCRIPTS / "serve.py", tmp_path)
    monkeypatch.setenv("PYTHONPATH", "/ours")
    with Worker("talker.py", tmp_path, Path(sys.executable)) as worker:
        yield worker


def test_questions_are_answered_in_turn(talker):
    first, second = talker.tell("add", one=1, other=2), talker.tell("add", one=[0.1], other=[1e-300])
    assert (first(), second()) == (3, [0.1, 1e-300])
    assert talker.ask("path") == [None, "1"]
    assert 0.0 < talker.ask("cpu_seconds") < talker.ask("cpu_seconds") + 1e-9


def test_what_goes_wrong_over_there_is_told_here(talker):
    with pytest.raises(EmbodiedError, match=r"talker\.py could not add: TypeError: .*str"):
        talker.ask("add", one=1, other="2")
    with pytest.raises(EmbodiedError, match=r"talker\.py could not fly: KeyError: 'fly'"):
        talker.ask("fly")
    assert talker.ask("add", one=1, other=2) == 3
    with pytest.raises(EmbodiedError, match=r"talker\.py died with exit code 7 when asked to die: last words"):
        talker.ask("die")
    with pytest.raises(EmbodiedError, match="died with exit code 7"):
        talker.ask("add", one=1, other=2)


def test_without_peers_our_own_figures_stand_alone(monkeypatch, tmp_path):
    monkeypatch.setattr(peers, "installed", lambda: False)
    said = io.StringIO()
    raw = sim.measure("peers", 0, True, Console(said))
    assert list(raw) == ["ours", "sleeping"]
    assert sim.summarise({"peers": [raw]}) == {}
    for part in ("sb3", "fetch_push", "fetch_push_sb3"):
        assert rl.measure(part, 0, True, Console(said)) == {}
    assert rl.summarise({"sb3": [{}], "fetch_push": [{}], "fetch_push_sb3": [{}]}) == {}
    assert said.getvalue().count("run `make peers`") == 4
    with pytest.raises(EmbodiedError, match="run `make peers`"):
        Worker("speed.py", python=tmp_path / "bin/python")


def test_the_best_peer_is_what_ours_is_set_against(monkeypatch, tmp_path):
    fake_peers.install(tmp_path, monkeypatch)
    said = io.StringIO()
    raw = sim.measure("peers", 0, True, Console(said))
    assert "broken is left out: speed.py could not make: ImportError: no such thing as OpenGL" in said.getvalue()
    assert (raw["slow"], raw["fast"]) == ([1.0], [4.0])
    assert raw["ours"][0] > 10.0
    assert raw["sleeping"][0] > 10.0
    figures = sim_peers.summarise([{"ours": [12.0, 30.0, 9.0], "sleeping": [20.0, 30.0, 18.0],
                                    "slow": [2.0, 1.0, 9.0], "fast": [4.0, 3.0, 2.0]}])  # fmt: skip
    assert figures["ratio_to_best_peer"]["value"] == 3.0
    assert figures["sleeping_ratio_to_best_peer"]["value"] == 5.0
    assert figures["slow_sim_s_per_cpu_s"]["value"] == 2.0


def test_courses_end_at_nine_in_ten(monkeypatch, tmp_path):
    fake_peers.install(tmp_path, monkeypatch)
    # A course's clock is that of a process of its own.
    clock, spent = time.process_time, time.process_time()
    monkeypatch.setattr(time, "process_time", lambda: clock() - spent)
    ours = rl_fetch.measure("fetch_push", 0, True)
    assert 0.0 <= ours["curve"][-1]["success"] <= 1.0
    assert ours["curve"][-1]["steps"] % rl_fetch.WORLDS == 0
    assert ours["curve"][-1]["updates"] > 0
    theirs = rl_fetch.measure("fetch_reach_sb3", 0, False)
    rates = [point["success"] for point in theirs["curve"]]
    assert max(rates[:-1]) < 0.9 <= rates[-1]
    monkeypatch.setattr(rl_fetch, "_success", lambda *_: 0.9)
    assert len(rl_fetch._ours("Point", 0, (0.0, 0.0), 10)) == 1


def test_budgets_are_lower_bounds_of_ratios():
    def raw(cpu, steps, success):
        return {"budget": 5.0, "curve": [{"cpu": 1.0, "steps": 1, "success": 0.1},
                                         {"cpu": cpu, "steps": steps, "success": success}]}  # fmt: skip

    figures = rl_fetch.summarise({"fetch_push": [raw(60.0, 100, 0.95)], "fetch_push_sb3": [raw(300.0, 250, 0.05)]})
    assert (figures["fetch_push_cpu_ratio"]["value"], figures["fetch_push_cpu_ratio"]["unit"]) == (5.0, "x at least")
    assert figures["fetch_push_steps_ratio"]["value"] == 2.5
    assert figures["fetch_push_sb3_success"]["value"] == 5.0
    assert figures["fetch_push_sb3_budget"]["value"] == 5.0
    figures = rl_fetch.summarise({"fetch_push": [raw(60.0, 100, 0.95)], "fetch_push_sb3": [raw(300.0, 250, 0.9)]})
    assert figures["fetch_push_cpu_ratio"]["unit"] == "x"
    figures = rl_fetch.summarise({"fetch_push": [raw(60.0, 100, 0.85)], "fetch_push_sb3": [raw(300.0, 250, 0.9)]})
    assert figures["fetch_push_cpu_ratio"]["value"] is None


def test_successes_are_judged_at_the_end_of_episodes(monkeypatch, tmp_path):
    fake_peers.install(tmp_path, monkeypatch)
    with peers.Worker("fetch.py") as worker:
        judge = rl_fetch.FetchWorlds(worker, "Point", 20, 3)
        towards = rl_fetch._success(lambda seen: np.clip(20 * (seen.desired - seen.achieved), -1, 1), judge, 40)
        assert towards == 1.0
        assert rl_fetch._success(lambda seen: np.ones((20, 2)), judge, 40) == 0.0


@needs_peers
def test_worlds_of_a_worker_are_the_peers_own():
    with Worker("fetch.py") as worker:
        worlds = rl_fetch.FetchWorlds(worker, "FetchPush-v4", 2, 0)
        starts = worlds.reset()
        assert starts.observation.shape == (2, 25)
        np.testing.assert_array_equal(starts.achieved, starts.observation[:, 3:6])
        assert not np.array_equal(starts.desired[0], starts.desired[1])
        for _ in range(8):
            seen = worlds.step(np.array([[0.0, 0.0, 1.0, 0.0], [0.0, 0.0, -1.0, 0.0]]))()
        risen = seen.observation[:, 2] - starts.observation[:, 2]
        assert risen[0] > 0.1
        assert risen[1] < 0.05
        np.testing.assert_array_equal(seen.desired, starts.desired)


@needs_peers
def test_stable_baselines_goes_through_a_course():
    with Worker("fetch_sb3.py") as worker:
        worker.ask("make", name="FetchReach-v4", seed=0, judged=10**6)
        point = worker.ask("learn", minutes=0.0)
        again = worker.ask("learn", minutes=worker.ask("cpu_seconds") / 60.0 + 0.01)
        assert 0 < point["steps"] < again["steps"]
        assert 0.0 <= worker.ask("success", episodes=10) <= 1.0
        judged = worker.ask("learn", minutes=0.0)
        assert judged["cpu"] - again["cpu"] < 0.5 * (worker.ask("cpu_seconds") - again["cpu"])
