"""The exported set: read back by its own reader, checked, and scored like here."""

import importlib.util
import io
import json
import shutil
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from whatif_scenes import row_contexts, row_simulation

from embodied.arguments import BenchArguments
from embodied.bench import sim, whatif
from embodied.bench.harness import bench
from embodied.console import Console
from embodied.evaluation.export import export
from embodied.evaluation.questions import KINDS, Question
from embodied.evaluation.scoring import score
from embodied.evaluation.sources import Foreign
from embodied.evaluation.suite import Established, establish
from envs.errors import EmbodiedError


@pytest.fixture(scope="module")
def known() -> Established:
    kinds = dict.fromkeys(KINDS, 1)
    return establish(row_simulation(), row_contexts()[:10], np.random.default_rng(0), kinds=kinds)


@pytest.fixture(scope="module")
def folder(known: Established, tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = row_simulation().control.spec
    return export(known, tmp_path_factory.mktemp("set"), spec.rate, spec.names).parent


@pytest.fixture(scope="module")
def reader(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    # Apart, for Python leaves bytecode beside what it imports.
    copied = shutil.copy(folder / "whatif_reader.py", tmp_path_factory.mktemp("reader"))
    spec = importlib.util.spec_from_file_location("copied_reader", copied)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_is_read_is_what_was_written(known: Established, folder: Path, reader: ModuleType) -> None:
    read, contexts = reader.load(folder), known.contexts
    np.testing.assert_array_equal(read["history_position"], contexts.history.objects.position_in_world)
    np.testing.assert_array_equal(read["action"], contexts.action)
    np.testing.assert_array_equal(read["counterfactual_position"], known.cases.truth.counterfactual_position)
    assert read["kind"] == list(known.cases.kind)
    for text, context, question in zip(read["question"], read["context"], known.questions, strict=True):
        assert Question.parse(int(context), text) == question
    manifest = read["manifest"]
    assert manifest["movable_names"] == ["red_cube", "blue_cube", "green_cube"]
    assert manifest["horizon"] == contexts.horizon
    assert "mujoco" in manifest["versions"]
    silent_kinds = {kind for kind, can in zip(read["kind"], read["answerable"], strict=True) if not can}
    assert silent_kinds <= {"gravity", "gain"}
    row = next(m for m, question in enumerate(known.questions) if question.kind == "remove")
    gone = known.contexts.history.objects.index(next(iter(known.questions[row].entities)))
    assert not read["shown_present"][row, :, gone].any()


def test_the_reader_scores_like_the_suite(known: Established, folder: Path, reader: ModuleType) -> None:
    read = reader.load(folder)
    generator = np.random.default_rng(1)
    factual = read["factual_position"] + generator.normal(0, 0.004, read["factual_position"].shape)
    effect = read["counterfactual_position"] - read["factual_position"][read["context"]]
    noise = generator.normal(0, 0.002, effect.shape)
    counterfactual = factual[read["context"]] + 0.7 * effect + noise
    theirs = reader.score(read, factual, counterfactual)
    said = Foreign(factual, counterfactual).answer(known.contexts, known.questions)
    ours = score(known.cases, said, np.random.default_rng(0), resamples=5)
    for name, estimate in ours.skill.items():
        assert theirs[f"skill_{name}"] == pytest.approx(estimate.value, nan_ok=True), name
    for name in ("direct", "spillover", "multi_hop"):
        if name in ours.stratum:
            assert theirs[f"stratum_{name}"] == pytest.approx(ours.stratum[name].value)
    for name in ("influence_auroc", "false_influence", "factual_ade", "factual_fde", "counterfactual_ade"):
        assert theirs[name] == pytest.approx(getattr(ours, name).value)
    assert 0.5 < theirs["skill_spillover"] < 1
    perfect = reader.score(read, read["factual_position"], read["counterfactual_position"])
    assert perfect["skill_spillover"] == 1
    assert perfect["influence_auroc"] == 1


def test_damage_and_nonsense_are_refused(folder: Path, reader: ModuleType, tmp_path: Path) -> None:
    read = reader.load(folder)
    with pytest.raises(ValueError, match="is needed"):
        reader.score(read, read["factual_position"][:2], read["counterfactual_position"])
    with pytest.raises(ValueError, match="not finite"):
        reader.score(read, read["factual_position"], read["counterfactual_position"] * np.nan)
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "questions.json").write_text("{}")
    with pytest.raises(ValueError, match="damaged"):
        reader.load(tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps({**manifest, "version": 99}))
    with pytest.raises(ValueError, match="version 99"):
        reader.load(tmp_path)


def test_the_same_set_twice_is_the_same_to_the_byte(known: Established, folder: Path, tmp_path: Path) -> None:
    spec = row_simulation().control.spec
    export(known, tmp_path, spec.rate, spec.names)
    for file in folder.iterdir():
        assert (tmp_path / file.name).read_bytes() == file.read_bytes(), file.name
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(EmbodiedError, match=r"thesis\.tex"):
        export(known, tmp_path, spec.rate, spec.names)


def test_only_benches_with_a_set_export_one(tmp_path: Path) -> None:
    assert hasattr(whatif, "export")
    assert not hasattr(sim, "export")
    with pytest.raises(EmbodiedError, match="no fixed test set"):
        bench("sim", BenchArguments(export=str(tmp_path)), Console(io.StringIO()))
