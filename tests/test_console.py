"""What is shown while something runs, piped and in a terminal."""

import io

import pytest

from embodied import console as module
from embodied.console import Console


def piped(act):
    stream = io.StringIO()
    act(Console(stream))
    return stream.getvalue()


def test_a_stage_ends_with_its_time_and_number_beside_a_baseline(monkeypatch):
    clock = iter([0.0, 12.34, 12.34])
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(clock))

    def act(console):
        with console.stage("policy") as stage:
            stage.result("success", "97.5 %", "random 2.0 %")

    assert piped(act).splitlines() == [
        "policy ...",
        "policy                   done   12.3 s   success 97.5 % (random 2.0 %)",
    ]


def test_piped_progress_is_plain_and_rare(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])

    def act(console):
        with console.stage("model") as stage:
            for step in range(100):
                now[0] += 1.0
                stage.update(step + 1, 100, "[loss 0.1]")

    lines = piped(act).splitlines()
    assert 10 <= len(lines) <= 13
    assert lines[1] == "  model: 10/100  10.0 s  [loss 0.1]"
    assert "\x1b" not in "".join(lines)


def test_a_stage_that_fails_says_so():
    def act(console):
        with pytest.raises(ValueError, match="no"), console.stage("model"):
            raise ValueError("no")

    assert "stopped" in piped(act)


def test_long_times_are_in_minutes():
    assert "kept 3 min 04 s   loss 0.1" in piped(lambda console: console.kept("model", 184.2, "loss 0.1"))


def test_a_piped_table_is_aligned():
    lines = piped(lambda console: console.table(["figure", "value"], [["a", "1.25"], ["longer", "3"]])).splitlines()
    assert lines == ["figure  value", "a        1.25", "longer      3"]


def test_a_terminal_gets_colours_and_the_same_words(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    stream = io.StringIO()
    console = Console(stream)
    assert console.terminal
    with console.stage("policy [a]") as stage:
        stage.update(1, 2)
        stage.result("success", "97.5 %")
    console.table(["figure", "value"], [["a [b]", "1"]], title="bench")
    told = stream.getvalue()
    assert "\x1b" in told
    assert "success 97.5 %" in told
    assert "policy [a]" in told
    assert "a [b]" in told
