"""The bench of calibration: every figure it promises, and what it says of pictures too bad to use."""

import io

import pytest

from embodied.bench import calibration as bench
from embodied.bench.rendered_boards import Degradation
from embodied.console import Console


@pytest.fixture(scope="module")
def figures():
    console = Console(io.StringIO())
    parts = ("clean", "tags_clean", "tags_blurred")
    return bench.summarise({part: [bench.measure(part, 3, True, console)] for part in parts})


def test_clean_pictures_give_the_camera_to_a_millimetre(figures):
    for mount in ("wrist", "fixed"):
        assert figures[f"clean_{mount}_mm"]["value"] < 1.0
        assert figures[f"clean_{mount}_degrees"]["value"] < 0.2
        assert figures[f"clean_{mount}_zeros_degrees"]["value"] < 0.2
        # Zeros that are off by degrees are what the closed form alone cannot know.
        assert figures[f"clean_{mount}_closed_form_mm"]["value"] > 1.0
    assert figures["clean_lens_px"]["value"] < 0.5
    assert figures["clean_found_share"]["value"] > 0.9
    assert figures["clean_solved"]["value"] == 1.0


def test_cubes_are_seen_by_their_markers_or_not_at_all(figures):
    assert figures["tags_clean_mm"]["value"] < 5.0
    assert figures["tags_clean_seen"]["value"] > 0.9
    if figures["tags_blurred_seen"]["value"] == 0.0:
        assert "tags_blurred_mm" not in figures


def test_boards_that_nobody_finds_are_counted_as_not_solved(monkeypatch):
    monkeypatch.setitem(bench.CASES, "fog", (Degradation(blur=9.0), 8))
    raw = bench.measure("fog", 0, True, Console(io.StringIO()))
    figures = bench.summarise({"fog": [raw]})
    assert figures["fog_solved"]["value"] == 0.0
    assert set(figures) == {"fog_solved", "fog_found_share"}
