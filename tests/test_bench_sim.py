import pytest

from embodied.bench import sim
from embodied.console import Console


def test_bare_and_full_physics_agree_and_make_figures():
    raw = {part: [sim.measure(part, 0, True, Console())] for part in ("engine", "vector_env")}
    figures = sim.summarise(raw)
    assert raw["engine"][0]["env_steps"] == 32 * 8
    for name in ("ratio_to_raw", "env_steps_per_s", "vector_env_ratio_to_raw"):
        low, high = figures[name]["interval"]
        assert 0.0 < low <= figures[name]["value"] <= high
    assert figures["physics_steps_per_s"]["value"] == 20 * figures["env_steps_per_s"]["value"]


def test_a_bench_of_other_physics_is_refused(monkeypatch):

    honest = sim.targets
    monkeypatch.setattr(sim, "targets", lambda *arguments: honest(*arguments) + 1e-9)
    with pytest.raises(AssertionError, match="different states"):
        sim.measure("engine", 0, True, Console())
