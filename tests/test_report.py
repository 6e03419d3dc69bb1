"""The page: complete, self-contained, well-formed, honest about what it lacks; its film plays."""

import html.parser
import io
import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from embodied.evaluation.statistics import Estimate, wilson
from embodied.report import page, video
from embodied.report.charts import line_chart, ticks
from embodied.report.data import (
    ChaosFloor,
    Chart,
    Clip,
    InfluenceGraph,
    ReportData,
    Series,
    SkillRow,
    Track,
    WhatIfCase,
)
from envs.errors import EmbodiedError

RED, BLUE, GREEN = (0.84, 0.25, 0.2), (0.2, 0.42, 0.82), (0.2, 0.62, 0.36)


def _case(title: str, do: str, bend: float, removed: bool = False) -> WhatIfCase:
    steps = np.linspace(0, 1, 13)[:, None]
    red = np.concatenate([0.2 + 0.08 * steps, 0.03 - 0.02 * steps, 0.2 + steps], axis=1)
    blue = np.concatenate([0.245 + 0.06 * steps**2, 0.02 - 0.03 * steps, 0.1 - 0.6 * steps], axis=1)
    still = np.repeat(blue[:1], 13, axis=0)
    moved = red + np.array([0.0, 0.05, 0.0])
    gone = np.zeros((0, 3))
    tracks = (
        Track("red_cube", RED, (0.014, 0.014), True, red, gone if removed else moved, gone if removed else moved),
        Track(
            "blue_cube", BLUE, (0.014, 0.014), False, blue, still, still + bend * steps * np.array([0.03, 0.02, 0.3])
        ),
        Track("green_cube", GREEN, (0.014, 0.014), False, *(np.tile([0.29, -0.05, 0.7], (13, 1)) for _ in range(3))),
    )
    tool = np.concatenate([0.17 + 0.08 * steps, 0.035 - 0.02 * steps], axis=1)
    return WhatIfCase(title, do, "The blue cube would have stayed; the model says it moves 4 mm.", tracks, tool, tool)


def sample() -> ReportData:
    """A page with every section, from made-up numbers."""
    generator = np.random.default_rng(0)

    def near(value: float, width: float = 0.1) -> Estimate:
        return Estimate(value, value - width, min(value + width, 1.0), 300)

    def row(name: str, note: str, role: str, skills: tuple[float, float, float], auroc: float, mm: float) -> SkillRow:
        skill = dict(zip(("move", "remove", "action"), map(near, skills), strict=True)) | {"spillover": near(skills[0])}
        return SkillRow(name, note, role, skill, near(auroc, 0.03), near(mm / 1000, 0.0005), near(mm / 900, 0.0005))

    rows = (
        row(
            "MuJoCo, nudged 0.1 mm", "the simulator itself, started a hair off", "reference", (0.95, 0.96, 1), 0.99, 0.8
        ),
        row("World model", "3 members, trained in this run", "main", (0.71, 0.66, 0.95), 0.93, 3.1),
        row("No interaction", "the same model, each object imagined alone", "baseline", (0, 0, 0.82), 0.5, 7.0),
        row("Copy the factual", "nothing would have been different", "baseline", (0, 0, 0), 0.5, 0),
        row("Persistence", "nothing ever moves", "baseline", (0, -0.9, 0), 0.5, 24),
    )
    time = np.arange(51) / 10
    uncertainty = 0.0004 * np.exp(time)
    frames = (generator.random((51, 60, 80, 3)) * 255).astype(np.uint8)
    film, media_type = video.encode(video.side_by_side(frames, frames, 30), 10)
    still = video.png(frames[0])
    clip = Clip(film, media_type, still, "One unseen episode.", time, uncertainty, 0.7 * uncertainty, 0.02)
    x = list(range(0, 24001, 2000))
    rise = [0.75 + 0.24 * (1 - np.exp(-k / 5000)) for k in x]
    curve = Chart(
        "Success of the policy",
        "updates",
        "success in 64 unseen starts",
        (
            Series("policy", x, rise, "main", [y - 0.05 for y in rise], [min(1.0, y + 0.03) for y in rise]),
            Series("expert", [0], [0.99], "reference"),
            Series("random", [0], [0.0], "baseline"),
        ),
        percent=True,
    )
    loss = Chart(
        "World model",
        "steps",
        "error after 6 steps, mm",
        (Series("model", x, [30 / (1 + k / 1500) + 1.5 for k in x]), Series("persistence", [0], [24], "baseline")),
        logarithmic=True,
    )
    nan = np.nan
    graph = InfluenceGraph(
        ("arm", "red_cube", "blue_cube"),
        ("red_cube", "blue_cube", "green_cube"),
        {"arm": (0.5, 0.5, 0.5), "red_cube": RED, "blue_cube": BLUE, "green_cube": GREEN},
        np.array([[0.05, 0.03, 0.0], [nan, 0.033, 0.0], [0.007, nan, 0.001]]),
        np.array([[0.048, 0.026, 0.0], [nan, 0.029, 0.006], [0.004, nan, 0.001]]),
    )
    cases = tuple(
        _case(title, do, bend, "remove" in do)
        for title, do, bend in (
            ("Typical", "remove(red_cube)", 0.1),
            ("Typical", "move(red_cube, y=+0.05)", 0.2),
            ("Best of 900", "action(t=0, hold)", 0.0),
            ("Worst of 900", "remove(red_cube)", 1.0),
        )
    )
    return ReportData(
        title="Embodied What-If: place",
        task="put the red cube on its target",
        run="runs/demo",
        success=wilson(195, 200),
        success_expert=wilson(198, 200),
        success_random=wilson(1, 200),
        hero=still,
        hero_alt="The arm above a red cube on the table.",
        clip=clip,
        skill=rows,
        contexts=300,
        gain={"action": near(0.12)},
        calm=(near(0.81), 0.74),
        gallery=cases,
        graph=graph,
        chaos=ChaosFloor(1e-4, list(generator.lognormal(np.log(0.0002), 1.6, 900))),
        curves=(curve, loss),
        limits=("One seed, one task, simulation only.", "Objects are cubes of one size."),
        command="embodied demo seed=0",
        facts={"Seed": "0", "Versions": "mujoco 4.0.0, torch 2.11.0", "Machine": "2 cores, Linux"},
    )


class _Checker(html.parser.HTMLParser):
    VOID = frozenset({"meta", "img", "source", "br", "path", "circle", "rect"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def data() -> ReportData:
    return sample()


def test_the_page_is_whole_and_needs_no_network(data: ReportData, tmp_path: Path) -> None:
    file = page.write(data, tmp_path / "deep" / "report.html")
    text = file.read_text()
    checker = _Checker()
    checker.feed(text)
    assert checker.open == []
    assert len(text) < page.MOST_BYTES
    assert list(file.parent.iterdir()) == [file]
    assert "<script" not in text
    assert not re.search(r"""(?:src|href|poster)=["'](?!data:)""", text)
    assert not re.search(r"url\(|@import|https?://", text)
    headings = [int(tag[1]) for tag, _ in checker.tags if re.fullmatch(r"h\d", tag)]
    assert headings[0] == headings.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(headings))
    for tag, attributes in checker.tags:
        assert tag != "img" or attributes.get("alt")
        assert tag != "svg" or attributes.get("aria-label") or attributes.get("aria-hidden")
    assert "nan" not in re.sub(r"base64,[\w+/=]+", "", text).lower().replace("nance", "")


def test_the_verdict_states_interval_and_baselines(data: ReportData) -> None:
    first, second = page.verdict(data)
    assert "97.5\N{NO-BREAK SPACE}%" in first
    assert "94.3" in second
    assert "98.9" in second
    assert "0.5\N{NO-BREAK SPACE}%" in second


def test_missing_parts_leave_no_empty_section(tmp_path: Path) -> None:
    text = page.render(ReportData("Embodied What-If", "reach", "runs/x"))
    assert "<h2" not in text
    assert 'class="tiles"' not in text


def test_text_from_outside_is_escaped() -> None:
    text = page.render(ReportData("a<b", "t", 'run"<script>', limits=("<img src=x>",)))
    assert "<script>" not in text
    assert "<img src=x>" not in text


def test_a_page_too_large_is_refused_and_nothing_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "MOST_BYTES", 100)
    with pytest.raises(EmbodiedError, match="MB"):
        page.write(ReportData("t", "t", "r"), tmp_path / "report.html")
    assert not list(tmp_path.iterdir())


def test_the_trusted_horizon_is_the_step_before_the_crossing(data: ReportData) -> None:
    assert data.clip is not None
    # 0.4 mm * exp(t) crosses 20 mm at t = 3.912 s, so 3.9 s is the last trusted step.
    assert data.clip.trusted == pytest.approx(3.9)


def test_films_play_and_mark_the_horizon() -> None:
    truth = np.zeros((6, 32, 40, 3), np.uint8)
    film = video.side_by_side(truth, truth, 2)
    assert film.shape[1] % 2 == film.shape[2] % 2 == 0
    assert film[2, 5, -10].sum() == 0  # still trusted, as imagined
    assert film[3, 5, -10].sum() > 0  # faded
    content, media_type = video.encode(film, 10)
    assert media_type == "video/mp4"
    assert content[4:8] == b"ftyp"
    assert b"avc1" in content
    with pytest.raises(EmbodiedError, match="one shape"):
        video.side_by_side(truth, truth[:, :-2], 2)


def test_without_ffmpeg_the_film_still_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(frames: object, rate: float) -> bytes:
        raise RuntimeError("no ffmpeg")

    monkeypatch.setattr(video, "_h264", broken)
    content, media_type = video.encode(np.random.default_rng(0).integers(0, 255, (3, 16, 16, 3)).astype(np.uint8), 5)
    assert media_type == "image/webp"
    assert Image.open(io.BytesIO(content)).n_frames == 3


def test_pictures_of_unknown_type_are_refused() -> None:
    with pytest.raises(EmbodiedError, match="PNG, JPEG or WebP"):
        page.render(ReportData("t", "t", "r", hero=b"GIF89a"))


def test_gallery_and_graph_survive_json(data: ReportData) -> None:
    assert data.graph is not None
    for value in (data.graph, *data.gallery):
        again = type(value).from_dict(json.loads(json.dumps(value.as_dict())))
        assert again.as_dict() == value.as_dict()


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-0.3, 17), (0, 24000), (1e-4, 3e-4), (5, 5)])
def test_ticks_cover_their_range_with_round_numbers(low: float, high: float) -> None:
    marks = ticks(low, high)
    assert marks[0] <= low
    assert marks[-1] >= high
    assert 1 <= len(marks) <= 8


def test_a_chart_of_nothing_is_nothing() -> None:
    assert line_chart(Chart("t", "x", "y", (Series("a", [], []),))) == ""
