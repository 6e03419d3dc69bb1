"""The world model's ensemble: one process per member and core, each continuing from its own checkpoint."""

import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from pathlib import Path

import torch

from embodied import checkpoint
from embodied.config import Config, WorldModelConfig
from embodied.data.episodes import EpisodeStore
from embodied.data.frames import Frames
from embodied.data.play import PlayConfig
from embodied.data.windows import Windows
from embodied.training import ranks
from embodied.training.optimiser import load_weights, weights_of
from embodied.training.world_model import LOSSES, MemberTrainer, TrainConfig
from envs.errors import EmbodiedError
from world_models.cjepa.model import ModelConfig, WorldModel

REPORT_EVERY = 25
"""Gradient steps between two reports of the loss; reading it waits for the device."""

Report = Callable[[int, int, dict[str, float]], None]
"""Called with member, step and losses by name; with them, as `WAITED`, the share of the time waited for data."""
WAITED = "waited"


@dataclass(frozen=True)
class Assignment:
    """What one member's process needs to know."""

    member: int
    seed: int
    model: ModelConfig
    training: TrainConfig
    episodes: Path
    checkpoint: Path
    every: int
    """Steps between checkpoints."""
    device: str


def model_config(chosen: Config) -> ModelConfig:
    """The shape of the model that a configuration asks for."""
    config = chosen.world_model
    return ModelConfig(
        robot=PlayConfig(world=chosen.env.play).scene.robot,
        parts=config.parts,
        history=config.history,
        future=config.horizon,
        width=config.width,
        layers=config.layers,
        heads=config.heads,
        hidden=config.hidden,
        rounds=config.rounds,
        mask=config.mask,
    )


def train_config(config: WorldModelConfig, device: str) -> TrainConfig:
    """How a configuration asks for it to be trained."""
    return TrainConfig(
        steps=config.steps,
        batch=config.batch,
        horizon=(max(1, config.horizon // 2), config.horizon),
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        warmup=config.warmup,
        clip=config.clip,
        mixed_precision=device == "cuda",
        compile=config.compile,
        accumulate=config.accumulate,
    )


def train_members(assignments: list[Assignment], report: Report) -> None:
    """Train all members: side by side on CPU cores; one after the other on a GPU, or with `torchrun` on all ranks.

    A member that is finished is left alone; one that was stopped goes on, bit for bit on a CPU. Raises `EmbodiedError`
    where a member fails.
    """
    # Written once, before processes that need it all look for it.
    Frames.of(EpisodeStore(assignments[0].episodes))
    ranks.send(partial(_help, assignments))
    if ranks.world() > 1 or assignments[0].device != "cpu":
        for assignment in assignments:
            _train(assignment, lambda step, losses, a=assignment: report(a.member, step, losses))  # type: ignore[misc]
        return
    # A fresh interpreter per member: forking one that has native threads is not safe.
    context = multiprocessing.get_context("spawn")
    running: dict[Connection, tuple[Assignment, multiprocessing.process.BaseProcess]] = {}
    try:
        for assignment in assignments:
            ours, theirs = context.Pipe(duplex=False)
            child = context.Process(target=_process, args=(assignment, theirs), daemon=True)
            child.start()
            theirs.close()
            running[ours] = (assignment, child)
        while running:
            for ready in wait(list(running)):
                assert isinstance(ready, Connection)
                assignment, process = running[ready]
                try:
                    message = ready.recv()
                except EOFError:
                    process.join()
                    del running[ready]
                    if process.exitcode:
                        raise EmbodiedError(
                            f"Member {assignment.member} of the world model stopped (exit code {process.exitcode}); "
                            "the same command continues."
                        ) from None
                    continue
                if isinstance(message, str):
                    raise EmbodiedError(message)
                report(assignment.member, *message)
    finally:
        for _, process in running.values():
            process.terminate()


def help_train() -> int:
    """What every rank but 0 does: whatever rank 0 asks help with, until it is done."""
    torch.set_num_threads(1)
    while (work := ranks.received()) is not None:
        work()
    return 0


def _help(assignments: list[Assignment]) -> None:
    for assignment in assignments:
        _train(assignment, lambda step, losses: None)


def load_members(paths: list[Path], model: ModelConfig, device: str = "cpu") -> list[WorldModel]:
    """Trained members; raises `EmbodiedError` where a checkpoint is missing, damaged, foreign or of another shape."""
    members = []
    for path in paths:
        state, _ = checkpoint.load(path)
        member = WorldModel(model)
        weights = weights_of({name: torch.as_tensor(value) for name, value in state.items()})
        load_weights(member, weights, str(path))
        members.append(member.to(device).eval())
    return members


def _process(assignment: Assignment, pipe: Connection) -> None:
    """The body of a member's process."""
    torch.set_num_threads(1)
    try:
        _train(assignment, lambda step, losses: pipe.send((step, losses)))
    except EmbodiedError as error:
        pipe.send(str(error))
    pipe.close()


def _train(assignment: Assignment, report: Callable[[int, dict[str, float]], None]) -> None:
    windows = Windows(
        EpisodeStore(assignment.episodes), assignment.model.history, assignment.model.parts, assignment.device
    )
    trainer = MemberTrainer(assignment.model, assignment.training, windows, assignment.seed)
    if assignment.checkpoint.is_file():
        state, _ = checkpoint.load(assignment.checkpoint)
        trainer.load_state_dict({name: torch.as_tensor(value) for name, value in state.items()})
    start = time.perf_counter()
    while not trainer.done:
        parts = trainer.train_step()
        if trainer.step % REPORT_EVERY == 0 or trainer.done:
            losses = dict(zip(LOSSES, parts.tolist(), strict=True))
            bad = [name for name, value in losses.items() if value != value]
            if bad:
                raise EmbodiedError(f"The world model's {', '.join(bad)} loss became NaN at step {trainer.step}.")
            report(trainer.step, {**losses, WAITED: trainer.waited / (time.perf_counter() - start)})
        if ranks.rank() == 0 and (trainer.step % assignment.every == 0 or trainer.done):
            checkpoint.save(assignment.checkpoint, trainer.state_dict(), {"step": trainer.step})
