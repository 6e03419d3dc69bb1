"""Slots without labels: masks share out the pixels, drawing again gets better, and the probe reads what is there."""

import numpy as np
import pytest
import torch

from embodied.data.play import PlayConfig, play_batch
from embodied.evaluation.discovery import discover
from envs.control import CartesianDelta
from envs.errors import EmbodiedError
from envs.scene import build_scene
from envs.simulation import Simulation
from world_models.slots.discovery import DiscoveryConfig, SlotDiscovery

SMALL = DiscoveryConfig(size=16, slots=3, width=16, channels=8)


def squares(count=6, frames=3):
    """A red and a blue square on grey that move apart."""
    video = torch.full((count, frames, 16, 16, 3), 90, dtype=torch.uint8)
    for n in range(count):
        for t in range(frames):
            video[n, t, 2 + n % 4 : 6 + n % 4, 1 + t : 5 + t] = torch.tensor([220, 30, 30], dtype=torch.uint8)
            video[n, t, 9:13, 10 - t : 14 - t] = torch.tensor([30, 40, 220], dtype=torch.uint8)
    return video


def test_masks_share_out_every_pixel_and_make_the_picture():
    torch.manual_seed(0)
    found = SlotDiscovery(SMALL)(squares())
    assert found.slots.shape == (6, 3, 3, 16)
    assert found.drawn.shape == (6, 3, 3, 16, 16)
    assert torch.allclose(found.masks.sum(2), torch.ones(6, 3, 16, 16), atol=1e-5)


def test_drawing_again_is_learned():
    torch.manual_seed(0)
    model = SlotDiscovery(SMALL)
    optimiser = torch.optim.Adam(model.parameters(), 5e-3)
    losses = []
    for _ in range(40):
        loss = model.loss(squares())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.3 * losses[0]


def test_a_video_of_another_kind_is_refused():
    with pytest.raises(EmbodiedError, match=r"uint8 \[B T 16 16 3\] is needed"):
        SlotDiscovery(SMALL)(squares().float())


def test_the_comparison_is_measured_on_episodes_it_did_not_train_on():
    config = PlayConfig(worlds=8, steps=12, branches=0.0, threads=1)
    simulation = Simulation(build_scene(config.scene), 8, 1, CartesianDelta())
    figures = discover(play_batch(simulation, config, (7, 0)), steps=2, seed=0)
    assert set(figures) == {"fg_ari", "probe_position_mm", "mean_position_mm", "train_seconds"}
    assert all(np.isfinite(value) for value in figures.values())
    assert figures["probe_position_mm"] > 0.0
