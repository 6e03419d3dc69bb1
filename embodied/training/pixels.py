"""`embodied pixels`: teach the encoder to find objects in camera frames; and the encoders that were taught."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from embodied import checkpoint
from embodied.config import Config, PixelsConfig
from embodied.console import Console, Stage
from embodied.data.pictures import PictureSource
from embodied.machine import device_of
from embodied.run import Run
from embodied.schema import from_dict
from embodied.stages import stage as perform
from embodied.training.optimiser import load_weights
from embodied.training.pixel_trainer import LOSSES, PixelTrainConfig, PixelTrainer
from envs.errors import EmbodiedError
from envs.objects import OBJECTS
from envs.scene import Scene
from envs.views import views_of
from world_models.slots.perceive import Perceiver
from world_models.slots.pixels import PixelEncoder, PixelModelConfig

ENCODER = "pixels"
"""The trained encoder in a run folder."""
SHIPPED = "pixels.safetensors"
"""The one in `assets/`; `pixels.json` beside it says how it was made."""
REPORT_EVERY = 20
"""Gradient steps between two lines of measurements."""


def pixels(config: Config, run: Run, console: Console) -> None:
    """Train the encoder, or go on with it."""
    torch.set_num_threads(1)
    perform(run, console, "pixels", lambda stage: _train(config, run, stage))


def train_config(config: PixelsConfig, device: str) -> PixelTrainConfig:
    """The trainer's settings; bfloat16 on a GPU alone."""
    return PixelTrainConfig(
        steps=config.steps,
        batch=config.batch,
        chunk=config.chunk,
        steps_per_chunk=config.chunk_steps,
        learning_rate=config.learning_rate,
        mixed_precision=device == "cuda",
    )


def save_encoder(path: Path, encoder: PixelEncoder, meta: Mapping[str, Any] | None = None) -> None:
    """Write an encoder and its configuration to one file."""
    checkpoint.save(path, dict(encoder.state_dict()), {"model": asdict(encoder.config), **(meta or {})})


def load_encoder(path: Path) -> PixelEncoder:
    """An encoder that `save_encoder` wrote; raises `EmbodiedError` where the file is missing, damaged or another's."""
    state, meta = checkpoint.load(path)
    if "model" not in meta:
        raise EmbodiedError(f"{path} holds no encoder of camera frames; train one with: embodied pixels run=FOLDER")
    encoder = PixelEncoder(from_dict(PixelModelConfig, meta["model"]))
    weights: dict[str, Tensor] = state
    load_weights(encoder, weights)
    return encoder.eval()


def shipped_encoder() -> PixelEncoder:
    """The encoder that comes with the package."""
    with as_file(files("assets") / SHIPPED) as path:
        return load_encoder(path)


def shipped_card() -> dict[str, Any]:
    """How the shipped encoder was made, and its errors."""
    card: dict[str, Any] = json.loads((files("assets") / SHIPPED.replace(".safetensors", ".json")).read_text())
    return card


def perceiver_of(encoder: PixelEncoder, scene: Scene, rate: float = 10.0) -> Perceiver:
    """Perceives a scene through its own cameras, objects by the colours of the catalogue."""
    colours = {name: each.colour for name, each in OBJECTS.items()}
    return Perceiver(encoder, views_of(scene, encoder.config.cameras), colours, rate)


def _train(config: Config, run: Run, stage: Stage) -> dict[str, Any]:
    device = device_of(config.device)
    model = PixelModelConfig()
    training = train_config(config.slots, device)
    source = PictureSource(model.cameras, model.size, config.seed, training.chunk, config.env.threads)
    trainer = PixelTrainer(model, training, source, config.seed, device)
    name = f"{ENCODER}_trainer"
    if run.has(name):
        state, _ = run.restore(name)
        trainer.load_state_dict(state)
        run.rewind("pixels", trainer.step)
    since: list[Tensor] = []
    parts: dict[str, float] = {}
    while not trainer.done:
        since.append(trainer.train_step())
        if trainer.step % REPORT_EVERY == 0 or trainer.done:
            parts = dict(zip(LOSSES, torch.stack(since).mean(0).tolist(), strict=True))
            since.clear()
            run.log("pixels", trainer.step, **parts)
            stage.update(trainer.step, training.steps, f"position {parts['position']:.3f}, yaw {parts['yaw']:.3f}")
        if trainer.step % config.trainer.checkpoint_every == 0:
            run.save(name, trainer.state_dict(), step=trainer.step)
    save_encoder(run.path(ENCODER), trainer.model, {"seed": config.seed, "steps": trainer.step})
    if parts:
        stage.result("position loss", f"{parts['position']:.3f}")
        stage.result("yaw loss", f"{parts['yaw']:.3f}")
    return {"steps": trainer.step, **parts}
