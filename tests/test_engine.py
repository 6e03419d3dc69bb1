"""Which engine is asked for, and what is said where there is none; the engine itself is asked in test_warp."""

import sys

import numpy as np
import pytest

from embodied.bench import sim
from embodied.config import Config, EnvConfig
from embodied.console import Console
from embodied.data.rerun import worlds_of
from embodied.training.collect import chosen_engine, task_worlds
from envs.engine import BATCH, Engine
from envs.episode import Episode
from envs.errors import EmbodiedError
from envs.gym import TabletopVectorEnv
from envs.scene import SceneConfig, build_scene
from envs.simulation import Simulation
from envs.tasks import TASKS
from envs.worlds import TaskWorlds


@pytest.fixture
def bare(monkeypatch):
    """A machine without MuJoCo Warp."""
    for module in ("envs.warp", "mujoco_warp"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, "mujoco_warp", None)


@pytest.mark.parametrize(("given", "said"), [({"name": "wrap"}, "'warp'"), ({"device": "gpu"}, "auto, cpu, cuda")])
def test_names_that_do_not_exist_are_refused(given, said):
    with pytest.raises(EmbodiedError, match=said):
        Engine(**given)


def test_without_the_extra_it_says_what_to_install(bare):
    with pytest.raises(EmbodiedError, match=r"needs mujoco_warp.*pip install 'embodied-whatif\[warp\]'"):
        Simulation(build_scene(SceneConfig()), 1, engine=Engine("warp"))


@pytest.mark.parametrize("ask", [
    lambda: task_worlds(Config(env=EnvConfig(engine="warp")), 1, 0),
    lambda: TabletopVectorEnv("reach", 1, engine="warp"),
    lambda: TaskWorlds(TASKS["reach"], 1, engine=Engine("warp", "cpu")),
], ids=["configuration", "gymnasium", "worlds"])  # fmt: skip
def test_it_is_asked_for_from_everywhere(bare, ask):
    with pytest.raises(EmbodiedError, match="needs mujoco_warp"):
        ask()


def test_the_bench_leaves_it_out(bare):
    assert sim.summarise({"warp": [sim.measure("warp", 0, True, Console())]}) == {}


def test_a_configuration_chooses_engine_and_device():
    assert chosen_engine(Config()) == BATCH
    assert chosen_engine(Config(device="cpu", env=EnvConfig(engine="warp"))) == Engine("warp", "cpu")


def test_an_episode_says_what_stepped_it_and_is_lived_again_there(bare, monkeypatch):
    worlds = TaskWorlds(TASKS["reach"], 1, threads=1)
    monkeypatch.setattr(worlds.simulation, "engine", Engine("warp"))
    seen = worlds.observation[0]
    told = worlds.origin(0)
    assert told.engine == "warp"
    episode = Episode(seen, np.zeros((0, 5)), np.zeros(1, bool), TASKS["reach"].goal, 0, "reach", "so101", origin=told)
    with pytest.raises(EmbodiedError, match="needs mujoco_warp"):
        worlds_of(episode, 1)
