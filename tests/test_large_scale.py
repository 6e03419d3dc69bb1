"""Large scale: one policy learner on several processes, half precision and compilation, Ray, jobs of a sweep."""

import functools
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from two_learners import trainer

from embodied import checkpoint, launch
from embodied.agents.batch import Batch
from embodied.cli import compose
from embodied.config import Config
from embodied.run import Run
from embodied.training.shared import shared
from embodied.training.spread import SpreadWorlds
from envs.errors import EmbodiedError

ROOT = Path(__file__).parent.parent
SCRIPT = str(ROOT / "tests" / "two_learners.py")


def python(*words: str, folder: Path) -> str:
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests"), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": paths}
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_two_processes_learn_the_policy_of_one(tmp_path):
    python("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", SCRIPT, str(tmp_path), folder=tmp_path)
    together, metrics = checkpoint.load(tmp_path / "shared.safetensors")
    alone = trainer()
    alone.clone(5)
    alone.advance(8)
    expected = alone.state_dict()["learner"]
    assert together["updates"] == expected["updates"] == 14
    for name in ("actor", "critics", "targets", "average"):
        np.testing.assert_allclose(together[name], expected[name], rtol=1e-4, atol=1e-6, err_msg=name)
    np.testing.assert_array_equal(together["noise"], expected["noise"])
    for name, value in alone.metrics().items():
        assert metrics[name] == pytest.approx(value, rel=1e-4, abs=1e-6), name


def test_a_batch_travels_whole_and_has_to_be_shared_evenly(monkeypatch):
    rng = np.random.default_rng(0)
    widths = (6, 2, 6, None, None, 2, None)
    batch = Batch(*(rng.normal(size=(4, width) if width else 4).astype(np.float32) for width in widths))
    again = Batch.unpack(batch.pack(), 6, 2)
    for name, array in vars(batch).items():
        np.testing.assert_array_equal(getattr(again, name), array, err_msg=name)
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(EmbodiedError, match=r"agent\.batch=32 is not a multiple of the 3 processes"):
        shared(4, 2, None, 0, 32)


def test_the_preset_for_gpus_learns_alike_in_half_precision_and_compiled(monkeypatch):
    (config,) = compose("train", ["trainer=gpu"])
    assert (config.agent.batch, config.env.worlds, config.world_model.compile) == (4096, 512, True)
    assert config.agent.bfloat16
    assert config.agent.compile
    assert round(config.agent.updates_per_step * config.env.worlds) == 16
    compiled = []

    def traced(function):
        compiled.append(function.__name__)
        return torch_compile(function, backend="eager")

    torch_compile = torch.compile
    monkeypatch.setattr(torch, "compile", functools.wraps(torch.compile)(traced))
    plain, quick = trainer(), trainer(bfloat16=True, compile=True)
    assert compiled == ["_critic", "_actor"]
    for learner in (plain, quick):
        learner.clone(5)
        learner.advance(4)
    for name, value in plain.metrics().items():
        assert quick.metrics()[name] == pytest.approx(value, rel=0.05, abs=0.02), name


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed (the extra `ray`)")
def test_two_ray_workers_step_the_worlds_of_one_process(tmp_path):
    assert python(SCRIPT, folder=tmp_path).endswith("alike\n")


def test_spreading_says_what_it_needs(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(EmbodiedError, match=r"env\.workers needs Ray: pip install"):
        SpreadWorlds(lambda count: None, 4, 2, 0)
    with pytest.raises(EmbodiedError, match=r"env\.workers=5 is more than env\.worlds=4"):
        SpreadWorlds(lambda count: None, 4, 5, 0)


def launched(monkeypatch, tmp_path, *words):
    """The configurations and run folders of a sweep's jobs, which train nothing."""
    jobs = []

    def train(config: Config, run: Run, console):
        jobs.append((config, run.folder))

    monkeypatch.setattr("embodied.training.train.train", train)
    monkeypatch.setattr(sys, "argv", ["embodied.launch", *words])
    monkeypatch.chdir(tmp_path)
    return launch.main(), jobs


def test_a_sweep_is_a_run_per_job(monkeypatch, tmp_path):
    code, jobs = launched(monkeypatch, tmp_path, "-m", "seed=0,1", "env=lift", "agent=headstart",
                          "env.goal=lifted(red_cube, 0.03)")  # fmt: skip
    assert code == 0
    assert [config.seed for config, _ in jobs] == [0, 1]
    assert [config.env.goal for config, _ in jobs] == ["lifted(red_cube, 0.03)"] * 2
    assert jobs[0][0].agent.held_starts == 0.3
    folders = [folder.relative_to(tmp_path / "runs" / "train_sweep").as_posix() for _, folder in jobs]
    assert [name.split(",")[0] for name in folders] == ["seed=0", "seed=1"]


def test_what_does_not_fit_is_told_before_a_run_begins(monkeypatch, tmp_path):
    with pytest.raises(SystemExit):
        launched(monkeypatch, tmp_path, "env.task=plce")
    assert not list(tmp_path.glob("runs/*"))
