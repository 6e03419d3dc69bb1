"""The bench language: samples kept and merged, one JSON, and tables in Markdown made from it."""

import importlib.util
import io
import json
import sys
import types
from pathlib import Path

import pytest

from embodied.arguments import BenchArguments
from embodied.bench import tables
from embodied.bench.harness import BENCHES, cells, figure, number, over_seeds, run_bench
from embodied.cli import main
from embodied.console import Console
from envs.errors import EmbodiedError

ROOT = Path(__file__).resolve().parent.parent


class Counting(types.ModuleType):
    """A bench of two parts that notes what is measured, and can be made to fail."""

    PARTS = ("a", "b")
    SEEDS = 2

    def __init__(self):
        super().__init__("counting")
        self.measured = []
        self.fail_at = None

    def measure(self, part, seed, quick, console):
        if (part, seed) == self.fail_at:
            raise KeyboardInterrupt
        self.measured.append((part, seed))
        return {"speed": {"a": 10.0, "b": 100.0}[part] + seed}

    def summarise(self, samples):
        return {f"speed_{part}": over_seeds([s["speed"] for s in each], "1/s") for part, each in samples.items()}


def run(bench, folder, **arguments):
    return run_bench("counting", bench, BenchArguments(**arguments), Console(io.StringIO()), folder)


def test_the_record_has_the_agreed_shape(tmp_path):
    record = run(Counting(), tmp_path)
    assert {"bench", "command", "machine", "versions", "figures"} <= record.keys()
    assert record["figures"]["speed_a"] == {"value": 10.5, "interval": [10.0, 11.0], "unit": "1/s", "seeds": 2}
    assert json.loads((tmp_path / "counting.json").read_text()) == record


def test_parts_merge_into_one_file(tmp_path):
    bench = Counting()
    assert list(run(bench, tmp_path, part="a")["figures"]) == ["speed_a"]
    assert list(run(bench, tmp_path, part="b", seeds=1)["figures"]) == ["speed_a", "speed_b"]
    assert bench.measured == [("a", 0), ("a", 1), ("b", 0)]
    assert run(bench, tmp_path, part="b", seeds=3)["figures"]["speed_b"]["seeds"] == 3
    assert bench.measured[3:] == [("b", 1), ("b", 2)]


def test_an_unfinished_bench_is_continued_and_a_finished_one_measured_again(tmp_path):
    bench = Counting()
    bench.fail_at = ("b", 0)
    with pytest.raises(KeyboardInterrupt):
        run(bench, tmp_path)
    bench.fail_at = None
    run(bench, tmp_path)
    assert bench.measured == [("a", 0), ("a", 1), ("b", 0), ("b", 1)]
    run(bench, tmp_path)
    assert len(bench.measured) == 8


def test_quick_figures_stay_apart(tmp_path):
    run(Counting(), tmp_path)
    run(Counting(), tmp_path, quick=True)
    assert {path.name for path in tmp_path.glob("*.json")} == {"counting.json", "counting_quick.json"}


def test_an_unknown_part_is_told(tmp_path):
    with pytest.raises(EmbodiedError, match=r"Unknown part 'c'.*Allowed: a, all, b"):
        run(Counting(), tmp_path, part="c")


def test_json_is_all_there_is_on_stdout(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(BENCHES, "counting", "counting")
    monkeypatch.setitem(sys.modules, "counting", Counting())
    assert main(["bench", "counting", "json=true", "part=a"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["figures"]["speed_a"]["value"] == 10.5
    assert "a seed 0" in told.err
    assert main(["bench", "counting"]) == 0
    assert "speed_b" in capsys.readouterr().out
    assert (tmp_path / "runs/bench/counting.json").exists()


@pytest.mark.parametrize("name", BENCHES)
def test_every_bench_has_its_module(name):
    assert importlib.util.find_spec(BENCHES[name]) is not None


def test_numbers_read_well():
    assert [number(x) for x in (None, 0.0, 0.97512, 12.34, 15234.5, 0.0001)] == [
        "-", "0", "0.975", "12.3", "15,234", "1.00e-04",
    ]  # fmt: skip
    assert cells(figure(float("nan"), "m", 1)) == ["-", "", "m", "1"]
    assert cells(figure(0.5, "m", 3, (0.25, 0.75))) == ["0.5", "[0.25, 0.75]", "m", "3"]


def test_marked_tables_are_written_from_the_json(tmp_path):
    run(Counting(), tmp_path)
    page = "before\n<!-- bench:counting speed_b -->\nold\n<!-- /bench:counting -->\nafter\n"
    filled = tables.fill(page, tmp_path)
    assert "| `speed_b` | 100 | [100, 101] | 1/s | 2 |" in filled
    assert "speed_a" not in filled
    assert "old" not in filled
    assert filled.startswith("before\n")
    assert filled.endswith("after\n")
    assert tables.fill(filled, tmp_path) == filled
    with pytest.raises(EmbodiedError, match="has no figure 'speed_c'; it has speed_a, speed_b"):
        tables.fill(page.replace("speed_b", "speed_c"), tmp_path)
    with pytest.raises(EmbodiedError, match="run embodied bench other"):
        tables.fill(page.replace("bench:counting", "bench:other"), tmp_path)


def test_matrices_set_figures_against_each_other(tmp_path):
    run(Counting(), tmp_path)
    page = "<!-- matrix:counting a=first thing, b=second, c=third; speed_=how fast -->\n<!-- /matrix:counting -->\n"
    filled = tables.fill(page, tmp_path)
    assert "| | first thing | second | third | seeds |" in filled
    assert "| how fast | 10.5 [10, 11] | 100 [100, 101] |  | 2 |" in filled
    assert tables.fill(filled, tmp_path) == filled
    with pytest.raises(EmbodiedError, match="no figure for the row 'how slow', such as slow_a"):
        tables.fill(page.replace("speed_=how fast", "slow_=how slow"), tmp_path)


def test_a_summary_takes_figures_of_many_benches(tmp_path):
    run(Counting(), tmp_path)
    rows = "how fast | counting.speed_b | 90 | [counting.speed_a] without\nagain | counting.speed_a | | "
    page = f"<!-- summary\n{rows}\n-->\nold\n<!-- /summary -->\n"
    filled = tables.fill(page, tmp_path)
    assert "| how fast | 100 1/s [100, 101] | 90 | 10.5 1/s without | 2 | `counting` |" in filled
    assert "| again | 10.5 1/s [10, 11] |  |  | 2 | `counting` |" in filled
    assert "old" not in filled
    assert tables.fill(filled, tmp_path) == filled
    with pytest.raises(EmbodiedError, match="has no figure 'speed_c'"):
        tables.fill(page.replace("speed_b", "speed_c"), tmp_path)


def test_the_readme_says_what_was_measured():
    pages = [path for path in (ROOT / "README.md", *ROOT.glob("docs/*.md")) if path.exists()]
    for page in pages:
        text = page.read_text()
        assert tables.fill(text, ROOT / "docs/bench") == text, f"python -m embodied.bench.tables {page.name}"
