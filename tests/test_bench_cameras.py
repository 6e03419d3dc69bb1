import numpy as np
import pytest

from embodied.bench import cameras
from embodied.console import Console
from envs.frames import Frames
from envs.rendering import gl_backends


def test_rates_and_agreement_with_opengl():
    raw = {part: [cameras.measure(part, 0, True, Console())] for part in ("front", "wrist")}
    figures = cameras.summarise(raw)
    assert figures["raycast64_fps_core"]["value"] > figures["raycast224_fps_core"]["value"] > 0
    assert "raycast96_fps_core" not in figures
    if all(gl_backends().values()):
        pytest.skip("no OpenGL back end works here")
    assert figures["iou_gl"]["value"] > 0.95
    assert figures["depth_error_mm"]["value"] < 1.0


def test_agreement_counts_pixels():
    entity = np.array([[[0, 0, 1, -1]]], np.int16)
    ours = Frames(np.zeros((1, 1, 4, 3), np.uint8), entity, np.array([[[1.0, 2.0, 3.0, np.inf]]], np.float32))
    other = np.array([[[0, 1, 1, -1]]], np.int16)
    said = cameras.agreement(ours, other, np.array([[[1.001, 9.0, 3.003, 5.0]]], np.float32))
    assert said["intersection"] == [1, 1]
    assert said["union"] == [2, 2]
    assert said["depth_error_mm"] == pytest.approx(2.0, abs=1e-3)
    assert cameras._iou(said) == 0.5
