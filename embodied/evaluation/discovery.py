"""What slots learn without labels: slot attention trained on videos of play, read by a linear probe.

The videos show the scene in its own looks from above; half of the episodes train model and probe, the other half tests.
"""

import time
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from embodied.evaluation.seeing import foreground_ari, owner_of
from envs.cameras import CameraConfig, Cameras
from envs.episode import Episode
from envs.scene import SceneConfig, build_scene
from envs.types import PROPRIOCEPTION, Array, Kind, Observation
from world_models.slots.discovery import DiscoveryConfig, SlotDiscovery

Floats = NDArray[np.float64]

BATCH, LENGTH, EVERY = 8, 3, 3
"""Videos per gradient step, frames of a video, control steps between two frames."""
RIDGE = 1.0
"""Of the probe."""
LEAST = 2
"""Pixels an object must show to be asked for."""


def discover(episodes: Sequence[Episode], steps: int, seed: int) -> dict[str, float]:
    """Train on half of the episodes, all of one length, and measure on the other half.

    Returns:
        `fg_ari` of the decoder's masks, over frames of two objects or more; `probe_position_mm` the mean error of
        positions read linearly off the slot that claims most of an object's pixels, `mean_position_mm` that of always
        saying the mean; `train_seconds` of CPU.
    """
    config = DiscoveryConfig()
    video, owner, position, present = _videos([episode.observation for episode in episodes], config.size)
    half = len(video) // 2
    began = time.process_time()
    model = _trained(config, video[:half], steps, seed)
    seconds = time.process_time() - began
    with torch.no_grad():
        found = [model(video[row : row + 1, :LENGTH]) for row in range(len(video))]
    slots = torch.cat([one.slots for one in found])
    labels = torch.cat([one.masks.argmax(2) for one in found]).numpy()
    owner = owner[:, :LENGTH]
    pairs = zip(owner[half:].reshape(-1, *owner.shape[2:]), labels[half:].reshape(-1, *owner.shape[2:]), strict=True)
    scores = [foreground_ari(truth, guess) for truth, guess in pairs]
    rows = [_probe_rows(slots[part], labels[part], owner[part], position[part], present[part])
            for part in (slice(None, half), slice(half, None))]  # fmt: skip
    (train_in, train_out), (test_in, test_out) = rows
    weights = np.linalg.solve(train_in.T @ train_in + RIDGE * np.eye(train_in.shape[1]), train_in.T @ train_out)
    return {
        "fg_ari": float(np.nanmean(scores)),
        "probe_position_mm": 1e3 * float(np.linalg.norm(test_in @ weights - test_out, axis=-1).mean()),
        "mean_position_mm": 1e3 * float(np.linalg.norm(train_out.mean(0) - test_out, axis=-1).mean()),
        "train_seconds": seconds,
    }


def _trained(config: DiscoveryConfig, video: Tensor, steps: int, seed: int) -> SlotDiscovery:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = SlotDiscovery(config)
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(model.parameters(), 1e-3)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = 1e-3 * min(1.0, (step + 1) / 50) * 0.25 ** (step / steps)
        rows = torch.randint(len(video), (BATCH,), generator=generator)
        first = torch.randint(video.shape[1] - LENGTH + 1, (BATCH,), generator=generator)
        clip = torch.stack([video[row, at : at + LENGTH] for row, at in zip(rows, first, strict=True)])
        loss = model.loss(clip)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    return model


def _videos(observations: Sequence[Observation], size: int) -> tuple[Tensor, Array, Array, Array]:
    """Frames `[N T h w 3]`, owners `[N T h w]`, positions `[N T K 3]`, present `[N T K]`."""
    objects = observations[0].objects
    boxes = [k for k, kind in enumerate(objects.kind) if int(kind) == Kind.BOX]
    scene = build_scene(SceneConfig(tuple(objects.names[k] for k in boxes)))
    cameras = Cameras(scene, [CameraConfig("top", size, size)], threads=1)
    rgb, owner, position, present = [], [], [], []
    for observation in observations:
        seen = observation[::EVERY]
        frames = cameras.draw(seen.proprioception[:, PROPRIOCEPTION["joint_position"]], seen.objects)["top"]
        rgb.append(frames.rgb)
        owner.append(owner_of(seen.objects, frames.entity))
        position.append(seen.objects.position_in_world[:, boxes])
        present.append(seen.objects.present[:, boxes])
    return torch.from_numpy(np.stack(rgb)), np.stack(owner), np.stack(position), np.stack(present)


def _probe_rows(slots: Tensor, labels: Array, owner: Array, position: Array, present: Array) -> tuple[Floats, Floats]:
    """Of every object that shows, the slot that claims most of its pixels (and a one), and its position [m]."""
    inputs, outputs = [], []
    for n, t, k in np.argwhere(present[:, : owner.shape[1]]):
        inside = owner[n, t] == k
        if inside.sum() < LEAST:
            continue
        claimed = int(np.bincount(labels[n, t][inside], minlength=slots.shape[2]).argmax())
        inputs.append(np.append(slots[n, t, claimed].numpy(), 1.0))
        outputs.append(position[n, t, k])
    return np.array(inputs, float), np.array(outputs, float)
