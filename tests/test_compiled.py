"""Compiled loops on disk are those of the sources as they are now, wherever their constants and helpers come from."""

import subprocess
import sys
from pathlib import Path

import pytest

MAIN = """
from envs.compiled import kernel
from other import LENGTHS, twice


@kernel()
def answer(x):
    return twice(x) + LENGTHS[0]


print(answer(1.0), sum(answer.stats.cache_hits.values()))
"""
OTHER = """
from envs.compiled import kernel

LENGTHS = ({length},)


@kernel()
def twice(x):
    return {factor} * x
"""


@pytest.mark.parametrize("change", [{"length": 20.0}, {"factor": 3.0}])
def test_what_comes_from_other_files_is_compiled_anew(tmp_path: Path, change: dict[str, float]) -> None:
    def run(values: dict[str, float]) -> list[float]:
        (tmp_path / "other.py").write_text(OTHER.format(**values))
        place = {"PYTHONPATH": str(Path(__file__).parents[1]), "PATH": "", "HOME": str(tmp_path)}
        place["PYTHONDONTWRITEBYTECODE"] = "1"  # which is told from newer sources of the same length by whole seconds
        command = [sys.executable, "main.py"]
        done = subprocess.run(command, cwd=tmp_path, env=place, capture_output=True, text=True, check=True)
        return [float(word) for word in done.stdout.split()]

    (tmp_path / "main.py").write_text(MAIN)
    before = {"length": 10.0, "factor": 2.0}
    assert run(before) == [12.0, 0]
    assert run(before) == [12.0, 1]
    after = before | change
    assert run(after) == [after["factor"] + after["length"], 0]
