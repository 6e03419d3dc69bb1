"""What-ifs and the page of a run folder, with a world model that has learned nothing: the plumbing, not the skill."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from embodied.arguments import WhatIfArguments
from embodied.bench import whatif as bench
from embodied.config import Config, TrainerConfig, WorldModelConfig
from embodied.console import Console
from embodied.evaluation import wamprobe, whatif
from embodied.evaluation.abducted import inferring
from embodied.evaluation.benchmark import measure
from embodied.evaluation.effects import OBJECT_EDITS
from embodied.evaluation.model import imagining, load_ensemble, load_model
from embodied.evaluation.questions import Question
from embodied.report import assemble, film, page, picture
from embodied.report.data import InfluenceGraph, WhatIfCase
from embodied.run import Run
from embodied.schema import to_dict
from embodied.training.collect import play_control
from embodied.training.members import model_config
from embodied.training.train import member_name
from envs.errors import EmbodiedError
from envs.interventions import Intervention
from world_models.cjepa.model import WorldModel

CONFIG = Config(
    world_model=WorldModelConfig(members=2, width=16, heads=2),
    trainer=TrainerConfig(whatif_pairs=8),
    env=replace(Config().env, threads=1),
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("runs") / "untrained"
    config = replace(CONFIG, run=str(folder))
    with Run.open(folder, to_dict(config)) as opened:
        for member in range(2):
            torch.manual_seed(member)
            weights = WorldModel(model_config(config)).state_dict()
            opened.save(member_name(member), {f"model.{name}": value for name, value in weights.items()}, step=0)
        for step in (25, 50):
            for member in range(2):
                opened.log("world model", step, member=member, position=3.0 / step)
            opened.log("policy", step, success=step / 100, env_steps=step)
    return Run.load(folder)


@pytest.fixture(scope="module")
def held() -> whatif.HeldOut:
    return whatif.held_out(CONFIG, 8)


@pytest.fixture(scope="module")
def asked(run: Run) -> whatif.Result:
    return whatif.suite(CONFIG, run, 8)


def test_the_suite_leaves_its_answers_in_the_run(run: Run, asked: whatif.Result) -> None:
    assert asked.contexts == 8
    assert asked.cases["remove"] == 8
    kept = whatif.Result.from_dict(json.loads((run.folder / whatif.SCORES).read_text()))
    assert kept.as_dict() == json.loads(json.dumps(asked.as_dict()))
    assert asked.scores["no interaction"].skill["spillover"].value == pytest.approx(0, abs=1e-6)
    assert set(whatif.summary(asked)) >= {"skill_spillover", "influence_auroc"}


def test_the_bench_names_its_figures(asked: whatif.Result) -> None:
    figures = bench.summarise({"boxes": [asked.as_dict(), asked.as_dict()]})
    for key in ("skill_move", "skill_remove", "skill_action", "influence_auroc", "chaos_floor_mm"):
        value, (low, high) = figures[key]["value"], figures[key]["interval"]
        assert low <= value <= high
        assert figures[key]["seeds"] == 2
    assert figures["chaos_floor_mm"]["value"] == pytest.approx(1000 * np.median(asked.chaos))
    assert figures["copy_factual_fde_mm"]["value"] == 0
    assert bench.summarise({}) == {}


def test_the_full_benchmark_of_a_run(run: Run, held: whatif.HeldOut, tmp_path: Path) -> None:
    model = load_model(run, CONFIG, play_control(CONFIG))
    said: list[str] = []
    contexts, kinds = held.contexts[:5], dict.fromkeys(("move", "remove", "mass", "hold", "gravity", "pair"), 1)
    arguments = (held.simulation, model, contexts, np.random.default_rng(0), kinds, {"rival": model}, 10)
    ensemble = load_ensemble(run, CONFIG)
    sources = inferring(contexts, held.episodes, ensemble, imagining(ensemble, play_control(CONFIG)), 0)
    whatifs, result = measure(*arguments, progress=said.append, sources=sources)
    assert set(whatifs.sources) == {*bench.PREFIXES} - {"monolithic"} | {"rival"}
    assert set(result.cases) == set(kinds)
    ours, theirs = (result.scores[name].counterfactual_fde.value for name in ("world model", "rival"))
    assert ours == pytest.approx(theirs)
    assert {"coverage_90_counterfactual", "trusted_horizon_factual"} <= set(result.uncertainty)
    assert result.surprise["colour"].value == pytest.approx(0.5)
    assert bool(result.wamprobe) == wamprobe.installed()
    assert any("pip install" in text for text in said) != wamprobe.installed()
    result.write(tmp_path / "result.json")
    text = (tmp_path / "result.json").read_text()
    again = whatif.Result.from_dict(json.loads(text))
    again.write(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_text() == text
    figures = bench.summarise({"boxes": [result.as_dict()], "hidden": [result.as_dict()]})
    assert figures["hidden_skill"] == figures["hidden_skill_spillover"]
    assert figures["hidden_declared_skill_action"] == figures["hidden_skill_action"]
    assert figures["hidden_inferred_cf_ade_mm"] != figures["hidden_declared_cf_ade_mm"]
    for key in (
        "skill_physics",
        "nudged_mean_skill_move",
        "surprise_colour_auroc",
        "coverage90_counterfactual",
        "cf_ade_over_chaos_floor",
        "gradient_influence_auroc",
        "attention_influence_precision",
    ):
        assert figures[key]["seeds"] == 1
    assert figures["skill_gravity"]["value"] is None
    assert figures["nudged_skill_move"]["value"] > figures["skill_move"]["value"]


def test_the_gallery_ends_with_the_worst_and_shows_no_case_twice(run: Run, asked: whatif.Result) -> None:
    shown = json.loads((run.folder / whatif.GALLERY).read_text())
    cases = [WhatIfCase.from_dict(case) for case in shown["gallery"]]
    assert cases[-1].title == "Worst of 24"
    assert len({json.dumps(case.as_dict()["tracks"]) for case in cases}) == len(cases)
    for case in cases:
        question = Question.parse(0, case.intervention)
        assert any(track.edited for track in case.tracks) == (question.kind in OBJECT_EDITS)
        assert all(len(track.truth) == 0 for track in case.tracks if question.kind == "remove" and track.edited)
    graph = InfluenceGraph.from_dict(shown["graph"])
    assert graph.truth.shape == (len(graph.causes), len(graph.effects))
    itself = [[cause == effect for effect in graph.effects] for cause in graph.causes]
    np.testing.assert_array_equal(np.isnan(graph.truth), itself)
    assert (np.nan_to_num(graph.truth) > 0.005).any()


def test_the_page_of_a_run(run: Run, asked: whatif.Result, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(assemble, "EPISODES", 8)
    monkeypatch.setattr(film, "WIDTH", 40)
    monkeypatch.setattr(film, "HEIGHT", 30)
    data = assemble.gather(run, CONFIG)
    text = page.write(data, tmp_path / "report.html").read_text()
    assert data.success is None  # There is no policy, so nothing is claimed about one.
    assert data.clip is not None
    assert len(data.clip.time) == len(data.clip.error) == len(data.clip.uncertainty)
    for heading in ("What it imagines", "How well it guesses", "Who moves whom", "How it learned", "Do it again"):
        assert heading in text
    assert len(data.skill) == 5


def test_one_case_is_told_and_drawn(run: Run, held: whatif.HeldOut, tmp_path: Path) -> None:
    context = 0
    names = [held.contexts.history.objects.names[k] for k in held.contexts.movable]
    there = [name for name, present in zip(names, held.contexts.present[context], strict=True) if present]
    case = whatif.one_case(
        held, load_model(run, CONFIG, play_control(CONFIG)), Intervention("remove", there[0]), context
    )
    rows = case.table()
    assert [row[0] for row in rows] == there
    assert "gone" in rows[0]
    assert all(float(cell) >= 0 for row in rows[1:] for cell in row[1:])
    picture.draw(held.simulation.scene, case.whatifs, tmp_path / "case.png")
    with Image.open(tmp_path / "case.png") as image:
        assert image.size == (2 * picture.WIDTH, picture.HEIGHT)


@pytest.mark.parametrize(
    ("do", "case", "message"),
    [
        ("remove(red_cub)", 0, "Did you mean 'red_cube'"),
        ("remove(table)", 0, "cannot act on 'table'"),
        ("explode(red_cube)", 0, "Unknown intervention"),
        ("action(hold, t=3)", 0, "leave t out"),
        ("action(hold)", 99999, "case"),
        ("gravity(z=-1)", 0, "one gravity"),
    ],
)
def test_bad_questions_are_refused_in_one_sentence(
    run: Run, monkeypatch: pytest.MonkeyPatch, do: str, case: int, message: str
) -> None:
    monkeypatch.setattr(whatif, "held_out", lambda config, count: whatif_held(config))
    arguments = WhatIfArguments(run=str(run.folder), do=do, case=case)
    with pytest.raises(EmbodiedError, match=message):
        whatif.whatif(arguments, Console(io.StringIO()))


_HELD: list[whatif.HeldOut] = []
_held_out = whatif.held_out


def whatif_held(config: Config) -> whatif.HeldOut:
    if not _HELD:
        _HELD.append(_held_out(config, 8))
    return _HELD[0]


def test_a_run_without_a_model_is_refused(tmp_path: Path) -> None:
    with Run.open(tmp_path / "empty", to_dict(CONFIG)):
        pass
    with pytest.raises(EmbodiedError, match="world_model_0"):
        whatif.suite(CONFIG, Run.load(tmp_path / "empty"), 4)
