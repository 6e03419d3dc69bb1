"""Run folders and checkpoints: nothing lost, nothing overwritten, and refusals in one sentence."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from embodied import checkpoint
from embodied.config import Config, EnvConfig
from embodied.console import Console
from embodied.run import Run
from embodied.schema import to_dict
from embodied.stages import stage
from envs.errors import EmbodiedError

ROOT = Path(__file__).resolve().parent.parent
CONFIG = to_dict(Config())


def test_a_folder_says_how_it_was_made(tmp_path):
    with Run.open(tmp_path / "a", CONFIG) as run:
        run.finish("collect", 1.5, ["success 1"], {"episodes": 10})
    assert json.loads((tmp_path / "a/config.json").read_text()) == CONFIG
    (start,) = json.loads((tmp_path / "a/versions.json").read_text())["starts"]
    assert {"python", "torch", "mujoco", "numpy"} <= start["versions"].keys()
    assert start["git"] is None or len(start["git"]["commit"]) == 40
    assert Run.load(tmp_path / "a").finished("collect") == {
        "seconds": 1.5,
        "numbers": ["success 1"],
        "results": {"episodes": 10},
    }
    assert Run.load(tmp_path / "a").finished("train") is None


def test_a_finished_stage_is_kept_and_an_unfinished_one_done_again(tmp_path):
    told = io.StringIO()
    console = Console(told)

    def work(display):
        display.result("loss", "0.1", "untrained 0.9")
        return {"loss": 0.1}

    def interrupted(display):
        raise KeyboardInterrupt

    with Run.open(tmp_path, CONFIG) as run:
        assert stage(run, console, "model", work) == {"loss": 0.1}
        with pytest.raises(KeyboardInterrupt):
            stage(run, console, "policy", interrupted)
    with Run.open(tmp_path, CONFIG) as run:
        assert stage(run, console, "model", interrupted) == {"loss": 0.1}
        assert stage(run, console, "policy", work) == {"loss": 0.1}
    shown = [line for line in told.getvalue().splitlines() if " done " in line or " kept " in line]
    assert [line.split()[:2] for line in shown] == [["model", "done"], ["model", "kept"], ["policy", "done"]]
    assert all(line.endswith("loss 0.1 (untrained 0.9)") for line in shown)


def test_the_same_settings_continue_and_others_are_refused(tmp_path):
    Run.open(tmp_path, CONFIG).close()
    Run.open(tmp_path, to_dict(Config(device="cpu", run="elsewhere"))).close()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.json")}
    with pytest.raises(EmbodiedError, match=r"made with env\.worlds=32 \(now 8\), seed=0 \(now 1\); repeat"):
        Run.open(tmp_path, to_dict(Config(seed=1, env=EnvConfig(worlds=8))))
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.json")} == before
    assert len(json.loads((tmp_path / "versions.json").read_text())["starts"]) == 2


def test_settings_newer_than_a_run_had_their_defaults(tmp_path):
    Run.open(tmp_path, CONFIG).close()
    settings = json.loads((tmp_path / "config.json").read_text())
    del settings["env"]["worlds"]
    (tmp_path / "config.json").write_text(json.dumps(settings))
    Run.open(tmp_path, CONFIG).close()
    with pytest.raises(EmbodiedError, match=r"made with env\.worlds=32 \(now 8\); repeat"):
        Run.open(tmp_path, to_dict(Config(env=EnvConfig(worlds=8))))


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(EmbodiedError, match="is not a run; choose another folder with run=FOLDER"):
        Run.open(tmp_path, CONFIG)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_two_processes_do_not_share_a_run(tmp_path):
    with Run.open(tmp_path, CONFIG), pytest.raises(EmbodiedError, match=f"process .id {os.getpid()}. is working in"):
        Run.open(tmp_path, CONFIG)
    Run.open(tmp_path, CONFIG).close()


def test_loading_what_is_not_there_names_what_is(tmp_path):
    Run.open(tmp_path / "demo", CONFIG).close()
    with pytest.raises(EmbodiedError, match=r"There is no run in .*dmeo\. Runs there: .*demo"):
        Run.load(tmp_path / "dmeo")
    (tmp_path / "demo/config.json").write_text("{")
    with pytest.raises(EmbodiedError, match=r"config\.json is damaged"):
        Run.load(tmp_path / "demo")


def test_metrics_survive_a_torn_line_and_rewind_to_a_checkpoint(tmp_path):
    with Run.open(tmp_path, CONFIG) as run:
        for step in (10, 20, 30):
            run.log("model", step, loss=1 / step)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"stage": "model", "st')
    with Run.open(tmp_path, CONFIG) as run:
        assert [line["step"] for line in run.metrics("model")] == [10, 20, 30]
        run.rewind("model", 20)
        run.log("model", 25, loss=0.5)
        run.log("policy", 1, success=0.0)
        assert [line["step"] for line in run.metrics("model")] == [10, 20, 25]
    assert [line["stage"] for line in Run.load(tmp_path).metrics()] == ["model", "model", "model", "policy"]


def test_rewinding_one_member_leaves_the_lines_of_others(tmp_path):
    with Run.open(tmp_path, CONFIG) as run:
        for member, step in ((0, 10), (0, 20), (1, 10), (0, 30), (1, 20)):
            run.log("model", step, member=member)
        run.log("policy", 40, success=0.0)
        run.rewind("model", 10, member=0)
        assert [(line["step"], line.get("member")) for line in run.metrics()] == [(10, 0), (10, 1), (20, 1), (40, None)]
        run.rewind("model", -1)
        assert [line["stage"] for line in run.metrics()] == ["policy"]


def test_a_killed_process_leaves_a_run_that_continues(tmp_path):
    program = (
        "import os, sys; from embodied.run import Run; from embodied.schema import to_dict;"
        "from embodied.config import Config; run = Run.open(sys.argv[1], to_dict(Config()));"
        "run.log('model', 1, loss=2.0); run.save('model', {'step': 1}); run.log('model', 2, loss=1.0); os._exit(9)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], cwd=ROOT, check=False)
    assert done.returncode == 9
    with Run.open(tmp_path, CONFIG) as run:
        state, _ = run.restore("model")
        run.rewind("model", state["step"])
        assert [line["step"] for line in run.metrics()] == [1]


def nested():
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters(), fused=False)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "torch": torch.Generator().manual_seed(3).get_state(),
        "numpy": np.random.default_rng(3).bit_generator.state,
        "rows": np.arange(6, dtype=np.int64).reshape(2, 3),
        "flags": np.array([True, False]),
        "scalar": np.float64(0.1),
        "empty": [],
        "pair": (1, None, "x"),
    }


def test_nested_state_comes_back_exactly(tmp_path):
    state = nested()
    checkpoint.save(tmp_path / "a.safetensors", state, {"step": 7})
    back, meta = checkpoint.load(tmp_path / "a.safetensors")
    assert meta == {"step": 7}
    assert back.keys() == state.keys()
    for key, value in state["model"].items():
        assert torch.equal(back["model"][key], value)
    assert torch.equal(back["torch"], state["torch"])
    assert back["numpy"] == state["numpy"]
    assert back["pair"] == (1, None, "x")
    assert back["scalar"] == 0.1
    assert back["empty"] == []
    assert isinstance(back["rows"], np.ndarray)
    np.testing.assert_array_equal(back["rows"], state["rows"])
    np.testing.assert_array_equal(back["flags"], state["flags"])
    optimizer = torch.optim.AdamW(torch.nn.Linear(3, 2).parameters(), fused=False)
    optimizer.load_state_dict(back["optimizer"])
    assert torch.equal(optimizer.state_dict()["state"][0]["exp_avg"], state["optimizer"]["state"][0]["exp_avg"])


def test_tensors_that_share_storage_are_saved(tmp_path):
    shared = torch.arange(4.0)
    checkpoint.save(tmp_path / "a.safetensors", {"a": shared, "b": shared[1:], "c": shared.view(2, 2).T})
    back, _ = checkpoint.load(tmp_path / "a.safetensors")
    assert back["b"].tolist() == [1, 2, 3]
    assert back["c"].tolist() == [[0, 2], [1, 3]]


def test_numpy_checkpoints_need_no_torch(tmp_path):
    program = (
        "import sys, numpy, pathlib; from embodied import checkpoint; path = pathlib.Path(sys.argv[1]);"
        "checkpoint.save(path, {'a': numpy.ones(2)}); checkpoint.load(path); sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "a.safetensors")], cwd=ROOT, check=True)


def test_what_cannot_be_saved_leaves_the_last_checkpoint(tmp_path):
    path = tmp_path / "a.safetensors"
    checkpoint.save(path, {"a": 1})
    with pytest.raises(EmbodiedError, match=r"not set \(at /b\)"):
        checkpoint.save(path, {"b": {1, 2}})
    assert checkpoint.load(path)[0] == {"a": 1}
    assert [each.name for each in tmp_path.iterdir()] == ["a.safetensors"]


def test_bad_checkpoints_are_refused_in_one_sentence(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    with pytest.raises(EmbodiedError, match=r"There is no checkpoint .*a\.safetensors"):
        checkpoint.load(path)
    checkpoint.save(path, nested())
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(EmbodiedError, match="is damaged"):
        checkpoint.load(path)
    path.write_bytes(b"not a checkpoint at all")
    with pytest.raises(EmbodiedError, match="is damaged"):
        checkpoint.meta(path)
    path.write_bytes(whole)
    monkeypatch.setattr(checkpoint, "FORMAT", 2)
    with pytest.raises(EmbodiedError, match=r"has format version 1, this program reads version 2"):
        checkpoint.load(path)


def test_twenty_steps_are_ten_and_ten_resumed(tmp_path):
    """The pieces that a training stage is made of, bit for bit: model, optimiser, generators, metrics."""

    def train(folder, until):
        generator = torch.Generator().manual_seed(0)
        model = torch.nn.Linear(4, 4)
        torch.nn.init.zeros_(model.weight)
        torch.nn.init.zeros_(model.bias)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
        with Run.open(folder, CONFIG) as run:
            step = 0
            if run.has("model"):
                state, _ = run.restore("model")
                step = state["step"]
                model.load_state_dict(state["model"])
                optimizer.load_state_dict(state["optimizer"])
                generator.set_state(state["generator"])
                run.rewind("model", step)
            while step < until:
                step += 1
                batch = torch.randn(8, 4, generator=generator)
                loss = (model(batch) - batch.flip(-1)).square().mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                run.log("model", step, loss=loss.item())
                if step % 5 == 0:
                    parts = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
                    run.save("model", {**parts, "generator": generator.get_state(), "step": step})
        return model.weight.detach(), (folder / "metrics.jsonl").read_text()

    straight = train(tmp_path / "straight", 20)
    train(tmp_path / "resumed", 12)
    resumed = train(tmp_path / "resumed", 20)
    assert torch.equal(straight[0], resumed[0])
    assert straight[1] == resumed[1]
