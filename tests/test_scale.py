"""Scale: memory-mapped frames, accumulated gradients, two processes, half precision and compilation change nothing."""

import json
import os
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from two_ranks import TRAINING, episodes, trainer

from embodied import checkpoint
from embodied.cli import main
from embodied.data.episodes import EpisodeStore
from embodied.data.frames import FILE, Frames
from embodied.data.windows import Windows
from embodied.run import Run
from envs.episode import Episode
from envs.errors import EmbodiedError
from world_models.slots.bodies import Bodies

ROOT = Path(__file__).parent.parent


def without_last_object(episode: Episode) -> Episode:
    objects = episode.observation.objects
    arrays = {f.name: getattr(objects, f.name) for f in fields(objects) if f.name not in ("names", "kind")}
    fewer = replace(
        objects, names=objects.names[:-1], kind=objects.kind[:-1], **{name: a[:, :-1] for name, a in arrays.items()}
    )
    return replace(episode, observation=replace(episode.observation, objects=fewer))


def assert_equal(one: Frames, other: Frames) -> None:
    for f in fields(Bodies):
        assert torch.equal(getattr(one.bodies, f.name), getattr(other.bodies, f.name)), f.name
    assert torch.equal(one.proprioception, other.proprioception)
    np.testing.assert_array_equal(one.lengths, other.lengths)


def test_mapped_frames_are_those_of_the_episodes(tmp_path: Path) -> None:
    store = EpisodeStore(tmp_path / "play")
    store.append(episodes()[:4])
    mapped = Frames.of(store)
    assert_equal(mapped, Frames.of(list(store)))
    assert str(tmp_path / "play" / FILE) in Path("/proc/self/maps").read_text()
    written = (tmp_path / "play" / FILE).stat()
    assert_equal(Frames.of(EpisodeStore(tmp_path / "play")), mapped)
    assert (tmp_path / "play" / FILE).stat().st_ino == written.st_ino, "not written again"

    # Another shard, with fewer objects: they are filled up, and what was mapped before stays as it was.
    before = mapped.proprioception.clone()
    store.append([without_last_object(episode) for episode in episodes()[4:]])
    assert len(store.shards) == 2
    grown = Frames.of(store)
    assert_equal(grown, Frames.of(list(store)))
    assert not grown.bodies.present[len(mapped) :, -1].any()
    assert torch.equal(mapped.proprioception, before)

    # Not written over, for it is mapped: whoever shortens a mapped file ends the processes that read it.
    (tmp_path / "torn").write_bytes(b"torn")
    (tmp_path / "torn").replace(tmp_path / "play" / FILE)
    assert_equal(Frames.of(store), grown)


def test_windows_of_a_store_are_those_of_its_episodes(tmp_path: Path) -> None:
    store = EpisodeStore(tmp_path)
    store.append(episodes())
    one, other = Windows(store, 3), Windows(list(store), 3)
    drawn = [w.draw(16, 2, 0.5, 0.2, torch.Generator().manual_seed(1)) for w in (one, other)]
    assert torch.equal(*drawn)
    a, b = one.at(drawn[0], 2), other.at(drawn[0], 2)
    assert torch.equal(a.bodies.position, b.bodies.position)
    assert torch.equal(a.history.bodies.rotation, b.history.bodies.rotation)
    assert torch.equal(a.proprioception, b.proprioception)


def test_damaged_recordings_are_refused(tmp_path: Path) -> None:
    episode = episodes()[0]
    broken = np.array(episode.observation.proprioception)
    broken[2, 0] = np.nan
    store = EpisodeStore(tmp_path)
    store.append([replace(episode, observation=replace(episode.observation, proprioception=broken))])
    for given in (store, list(store)):
        with pytest.raises(EmbodiedError, match="proprioception are not all finite"):
            Frames.of(given)
    assert [path.name for path in tmp_path.iterdir()] == ["shard-00000000.safetensors"]
    with pytest.raises(EmbodiedError, match="got none"):
        Frames.of(EpisodeStore(tmp_path / "nothing"))


@pytest.mark.parametrize("parts", [2, 3])
def test_accumulated_gradients_are_those_of_the_whole_batch(parts: int) -> None:
    whole, divided = trainer(clip=1e9), trainer(clip=1e9, accumulate=parts)
    for _ in range(TRAINING.steps):
        torch.testing.assert_close(divided.train_step(), whole.train_step(), rtol=1e-4, atol=1e-6)
        for (name, one), other in zip(whole.model.named_parameters(), divided.model.parameters(), strict=True):
            assert one.grad is not None
            torch.testing.assert_close(other.grad, one.grad, rtol=1e-3, atol=1e-5, msg=name)


def python(*words: str, folder: Path) -> None:
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    environment = {**os.environ, "PYTHONPATH": paths}
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def torchrun(*words: str, folder: Path) -> None:
    """Start two processes, on a port that is free."""
    python("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", *words, folder=folder)


def test_two_processes_train_the_model_of_one(tmp_path: Path) -> None:
    torchrun(str(ROOT / "tests" / "two_ranks.py"), str(tmp_path), folder=tmp_path)
    first, second = (checkpoint.load(tmp_path / f"rank{rank}.safetensors")[0] for rank in (0, 1))
    for name, value in first.items():
        assert torch.equal(value, second[name]), name
    alone = trainer()
    losses = torch.stack([alone.train_step() for _ in range(TRAINING.steps)])
    torch.testing.assert_close(first.pop("losses"), losses, rtol=1e-4, atol=1e-6)
    for name, value in alone.state_dict().items():
        torch.testing.assert_close(first[name], value, rtol=1e-2, atol=1e-4, msg=name)


TINY = [
    "env=boxes", "device=cpu", "env.threads=1", "trainer.demonstrations=0", "trainer.model_episodes=8",
    "agent=planner", "world_model.width=8", "world_model.hidden=8", "world_model.steps=3", "world_model.batch=4",
    "world_model.members=2",
]  # fmt: skip


def test_torchrun_of_the_command_leaves_the_run_of_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torchrun("-m", "embodied", "train", *TINY, "run=two", folder=tmp_path)
    assert main(["train", *TINY, f"run={tmp_path / 'one'}"]) == 0
    assert "waited for data" in capsys.readouterr().out
    lines = [
        sorted(Run.load(tmp_path / run).metrics(), key=lambda line: (line["member"], line["step"]))
        for run in ("one", "two")
    ]
    assert [(line["member"], line["step"]) for line in lines[1]] == [(0, 3), (1, 3)]
    for one, two in zip(*lines, strict=True):
        assert one.pop("stage") == two.pop("stage") == "world model"
        assert two == pytest.approx(one, rel=1e-4)
    kept = {path.name for path in (tmp_path / "two" / "checkpoints").iterdir()}
    assert kept == {"world_model_0.safetensors", "world_model_1.safetensors"}
    assert len(json.loads((tmp_path / "two" / "versions.json").read_text())["starts"]) == 1


def test_half_precision_learns_alike() -> None:
    plain, half = trainer(), trainer(mixed_precision=True)
    for _ in range(3):
        torch.testing.assert_close(half.train_step(), plain.train_step(), rtol=0.05, atol=1e-3)


def test_a_compiled_step_learns_the_same(tmp_path: Path) -> None:
    python(str(ROOT / "tests" / "two_ranks.py"), folder=tmp_path)
