import numpy as np
import pytest

from embodied.bench import sim
from embodied.console import Console


def test_bare_and_full_physics_agree_and_make_figures():
    raw = {part: [sim.measure(part, 0, True, Console())] for part in ("vector_env", "full", "engine")}
    figures = sim.summarise(raw)
    assert raw["engine"][0]["env_steps"] == 32 * 8
    for name in ("ratio_to_raw", "ratio_full", "engine_ratio_to_raw", "env_steps_per_s", "sim_s_per_cpu_s"):
        low, high = figures[name]["interval"]
        assert 0.0 < low <= figures[name]["value"] <= high
    assert figures["physics_steps_per_s"]["value"] == 20 * figures["env_steps_per_s"]["value"]


def test_sleeping_worlds_are_set_beside_sleeping_loops_and_gymnasium(monkeypatch):
    engines = []
    honest = sim.Bare

    def bare(simulation, *rest):
        engines.append(simulation.engine.name)
        return honest(simulation, *rest)

    monkeypatch.setattr(sim, "Bare", bare)
    figures = sim.summarise({"sleeping": [sim.measure("sleeping", 0, True, Console())]})
    assert engines == ["sleeping"]
    assert set(figures) == {
        f"sleeping_{name}"
        for name in (
            "ratio_to_raw",
            "env_steps_per_s",
            "physics_steps_per_s",
            "sim_s_per_cpu_s",
            "ratio_to_async",
            "ratio_to_sync",
        )
    }
    assert all(each["value"] > 0 for each in figures.values())


def test_a_bench_of_other_physics_is_refused(monkeypatch):

    honest = sim.targets
    monkeypatch.setattr(sim, "targets", lambda *arguments: honest(*arguments) + 1e-9)
    with pytest.raises(AssertionError, match="different states"):
        sim.measure("engine", 0, True, Console())


def test_episodes_end_while_the_vector_environment_is_timed(monkeypatch):
    ended = []
    honest = sim.TabletopVectorEnv.step

    def step(env, actions):
        answer = honest(env, actions)
        ended.append(int(answer[3].sum()))
        return answer

    monkeypatch.setattr(sim.TabletopVectorEnv, "step", step)
    sim.measure("vector_env", 0, True, Console())
    assert 0 < sum(ended) < 32 * len(ended)


def test_shares_of_resets_and_rates_by_worlds():
    raw = {part: [sim.measure(part, 0, True, Console())] for part in ("resets", "worlds")}
    figures = sim.summarise(raw)
    assert 0.0 < figures["resets_share"]["value"] < figures["staggered_resets_share"]["value"] < 1.0
    assert all(figures[f"env_steps_per_s_of_{count}_worlds"]["value"] > 0 for count in sim.COUNTS[:3])


def test_the_plain_environment_is_the_same_task_and_physics():
    env, ours = sim.PlainPlace(), sim.TabletopVectorEnv("place", 1)
    env.reset(seed=5)
    ours.reset(seed=0)
    simulation = ours.worlds.simulation
    data = env._data
    layout = env.task.layout([np.random.default_rng(7)])
    simulation.reset(layout)
    scene = simulation.scene
    data.qpos[:] = simulation.batch.bind("qpos")[0]
    data.qvel[:], data.ctrl[:] = 0.0, simulation.batch.bind("ctrl")[0]
    data.mocap_pos[:] = simulation.batch.bind("mocap_pos")[0]
    data.qacc_warmstart[:] = 0.0
    random = np.random.default_rng(1)
    for _ in range(3):
        action = random.uniform(-1.0, 1.0, 5)
        seen, reward, *_ = env.step(action)
        flat, theirs, *_ = ours.step(action[None])
        np.testing.assert_allclose(data.qpos[scene.joint_qpos], simulation.batch.bind("qpos")[0, scene.joint_qpos])
        assert reward == theirs[0]
    assert seen.shape == flat["observation"][0].shape
    # Plain bindings leave derived fields a physics step behind.
    np.testing.assert_allclose(seen[:6], flat["observation"][0, :6], atol=1e-6)


def test_gymnasiums_vector_environments_run_beside_ours():
    raw = sim.measure("gymnasium", 0, True, Console())
    figures = sim.summarise({"gymnasium": [raw]})
    assert figures["ratio_to_async"]["value"] > 0
    assert figures["ratio_to_sync"]["value"] > 0
