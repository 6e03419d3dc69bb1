"""The command line: one sentence for a mistake, the right call for a good command."""

import importlib.util
import subprocess
import sys
import types
from dataclasses import replace
from pathlib import Path

import pytest

from embodied import cli
from embodied.cli import COMMANDS, compose, main
from embodied.config import AgentConfig
from embodied.run import Run
from embodied.training.train import train
from envs.errors import EmbodiedError

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def stage(monkeypatch):
    """A command `train` that notes what it was called with."""
    calls = []
    module = types.ModuleType("a_stage")
    module.train = lambda config, run, console: calls.append((config, run))
    monkeypatch.setitem(sys.modules, "a_stage", module)
    command = cli.Command("note the call", "a_stage:train", COMMANDS["train"].arguments)
    monkeypatch.setitem(COMMANDS, "train", command)
    return calls


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("trian", "Unknown command 'trian'. Did you mean 'train'?"),
        ("train env=plase", "Unknown env 'plase'. Did you mean 'place'? Allowed: boxes, chains, clutter, door, "),
        ("train trainer.env_stps=3", "Unknown setting 'trainer.env_stps'. Did you mean 'trainer.env_steps'?"),
        ("train sed=3", "Unknown setting 'sed'. Did you mean 'seed'?"),
        ("train agent.name=td4", "Unknown agent.name 'td4'. Did you mean 'td3'? Allowed: chunks, planner, td3."),
        ("train seed=two", "seed must be a whole number, not 'two'."),
        ("train env.worlds=0", "env.worlds must be 1 or more, not 0."),
        ("train seed=0,1", "'seed=0,1' stands for several values; add -m to run each."),
        ("train -m seed=0,x", "seed must be a whole number, not 'x'."),
        ("train -m env=place,lfit", "Unknown env 'lfit'. Did you mean 'lift'?"),
        ("train fast", "'fast' is not of the form key=value"),
        ("train +a=1", "'+a=1' adds or deletes a setting; only key=value is allowed."),
        ("train env.factors=mas=0.5..2", "Unknown factor 'mas'. Did you mean 'mass'?"),
        ("train env.factors=mass=2..0.5", "Variation mass = (2.0, 0.5): a range needs 0.001 <= low"),
        ("train env.obstacles=[wal]", "Unknown obstacle 'wal'. Did you mean 'wall'?"),
        ("train env=sweep env.obstacles=[wall]", "The task 'sweep' takes no obstacles"),
        (
            "train env.goal=on(red_cube,red_cube)",
            "The goal 'on(red_cube, red_cube)' is impossible: nothing is on itself.",
        ),
        ("train experiment=dmo", "Unknown experiment 'dmo'. Did you mean 'demo'?"),
        ("evaluate rnu=a", "Unknown option 'rnu'. Did you mean 'run'?"),
        ("evaluate episodes=many", "episodes must be a whole number, not 'many'."),
        ("bench", "Give one NAME: embodied bench NAME, where NAME is one of calibration, cameras"),
        ("bench smi", "Unknown bench 'smi'. Did you mean 'sim'?"),
        ("bench sim part", "Give one NAME"),
        ("doctor json=perhaps", "json must be true or false, not 'perhaps'."),
    ],
)
def test_a_mistake_is_one_sentence(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(words.split()) == 2
    told = capsys.readouterr()
    assert told.err.startswith(f"embodied: {message}")
    assert told.err.count("\n") == 1
    assert told.out == ""
    assert not list(tmp_path.iterdir())


def test_a_typo_fails_before_anything_heavy_is_loaded():
    program = (
        "import sys; from embodied.cli import main; code = main(['train', 'agent.nmae=td3']);"
        "heavy = {'torch', 'mujoco', 'lerobot', 'numba'} & set(sys.modules); sys.exit(code if not heavy else 9)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "Did you mean 'agent.name'" in done.stderr


def test_overrides_reach_the_stage(stage, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "seed=3", "env=lift", "env.goal=on(red_cube, table)", "agent.learning_rate=1e-2"]) == 0
    ((config, run),) = stage
    assert (config.seed, config.env.task, config.env.goal) == (3, "lift", "on(red_cube, table)")
    assert config.agent.learning_rate == 0.01
    assert config.run == "runs/train"
    assert Run.load("runs/train").config["seed"] == 3
    assert run.folder == Path("runs/train")


def test_factors_need_no_quotes_but_the_shells(stage, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "env.factors=mass=0.5..2, servo_delay=0..0.05"]) == 0
    ((config, _),) = stage
    assert config.env.factors == "mass=0.5..2, servo_delay=0..0.05"


def test_multirun_runs_the_product_in_folders_of_their_own(stage, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "-m", "seed=0,1", "env=lift,push", "env.worlds=4"]) == 0
    assert [(c.seed, c.env.task, c.env.worlds) for c, _ in stage] == [
        (0, "lift", 4),
        (0, "push", 4),
        (1, "lift", 4),
        (1, "push", 4),
    ]
    assert [c.run for c, _ in stage][1] == "runs/train_sweep/seed=0,env=push"
    assert len({c.run for c, _ in stage}) == 4
    assert "[4/4]" in capsys.readouterr().out
    # A sweep leaves room for a run of its name.
    assert main(["train"]) == 0
    assert stage[-1][0].run == "runs/train"
    assert [c.run for c in compose("train", ["-m", "seed=0,1", "run=mine"])] == ["mine/seed=0", "mine/seed=1"]


@pytest.mark.parametrize("world", ["boxes", "chains", "hidden"])
def test_a_world_without_a_task_trains_no_policy(world, stage, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for words in ([], ["agent=planner"], ["trainer.demonstrations=0"]):
        assert main(["train", f"env={world}", *words]) == 2
        told = capsys.readouterr().err
        assert told.startswith(f"embodied: The world env.play={world} has a pusher and no task")
        assert f"embodied train experiment=boxes env.play={world}\n" in told
    assert not list(tmp_path.iterdir())
    assert main(["train", "experiment=boxes", f"env.play={world}"]) == 0
    ((config, _),) = stage
    assert (config.env.play, config.agent.name, config.trainer.demonstrations) == (world, "planner", 0)
    with pytest.raises(EmbodiedError, match="there is no policy to learn in it"):
        train(replace(config, agent=AgentConfig()), None, None)


def test_the_same_command_continues_and_another_is_refused(stage, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "seed=3"]) == 0
    assert main(["train", "seed=3"]) == 0
    assert main(["train", "seed=4"]) == 2
    assert "runs/train was made with seed=3 (now 4)" in capsys.readouterr().err
    assert len(stage) == 2
    assert main(["train", "seed=4", "run=runs/other"]) == 0


def test_demo_and_quick_choose_their_experiment():
    (demo,) = compose("demo", [])
    (quick,) = compose("demo", ["quick=true"])
    (train,) = compose("train", ["quick=true", "seed=5"])
    assert (demo.experiment, demo.run, demo.quick) == ("demo", "runs/demo", False)
    assert (quick.experiment, quick.run, quick.quick) == ("demo_quick", "runs/demo_quick", True)
    assert quick.trainer.env_steps < demo.trainer.env_steps / 10
    assert train.trainer == quick.trainer
    assert train.seed == 5


def test_what_the_person_says_wins_over_the_experiment():
    (quick,) = compose("demo", ["quick=true", "env.worlds=3", "agent=planner"])
    assert (quick.env.worlds, quick.agent.name) == (3, "planner")


@pytest.mark.parametrize("name", COMMANDS)
def test_help_lists_the_settings(name, capsys):
    assert main([name, "--help"]) == 0
    told = capsys.readouterr().out
    assert COMMANDS[name].summary in told
    assert "=" in told
    assert main(["--help"]) == 0
    assert f"  {name} " in capsys.readouterr().out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_its_function(name):
    module, _, function = COMMANDS[name].function.partition(":")
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    assert f"def {function}(" in Path(spec.origin).read_text()


@pytest.mark.parametrize("name", ["envs", "world_models", "robots", "conf"])
def test_a_foreign_package_of_our_name_is_told(name, tmp_path):
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("")
    # Found before ours, as a package in the folder from which Python was started is; but ours must load first.
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); import embodied.cli, envs.errors; sys.path.insert(0, "
        f"{str(tmp_path)!r}); [sys.modules.pop(m) for m in list(sys.modules) if m.partition('.')[0] == {name!r}];"
        "sys.exit(embodied.cli.main(['--version']))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith(f"embodied: The package '{name}' is found in {tmp_path}")
    assert done.stderr.count("\n") == 1


def test_an_interrupt_is_not_a_traceback(stage, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules["a_stage"], "train", interrupted)
    assert main(["train"]) == 130
    assert "the same command continues" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("deploy", "stopped; what was recorded is kept, and first= goes on after it."),
        ("identify", "stopped; the same command begins anew; logs= takes motion that was recorded."),
        ("doctor", "stopped; the same command begins anew."),
    ],
)
def test_an_interrupt_says_what_continues(name, sentence, monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("embodied.cli._function", lambda _: interrupted)
    assert main([name]) == 130
    assert capsys.readouterr().err == f"embodied: {sentence}\n"


def test_compose_refuses_what_hydra_cannot_merge():
    with pytest.raises(EmbodiedError, match="Unknown env '3'"):
        compose("train", ["env=3"])
