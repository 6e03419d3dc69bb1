"""The language that all benches speak: raw samples are kept, figures are made from all of them, one table, one JSON."""

import importlib
import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np

from embodied.arguments import BenchArguments
from embodied.checkpoint import write_atomically
from embodied.console import Console
from embodied.evaluation.statistics import bootstrap
from embodied.machine import command_line, git_state, machine, versions
from envs.errors import EmbodiedError, unknown
from envs.types import Array

BENCHES = {
    "calibration": "embodied.bench.calibration",
    "cameras": "embodied.bench.cameras",
    "demo": "embodied.bench.demo",
    "deploy": "embodied.bench.deploy",
    "experts": "embodied.bench.experts",
    "explore": "embodied.bench.explore",
    "faults": "embodied.bench.faults",
    "grasp": "embodied.bench.grasp",
    "identify": "embodied.bench.identify",
    "lag": "embodied.bench.lag",
    "loop": "embodied.bench.loop",
    "memory": "embodied.bench.memory",
    "physics": "embodied.bench.physics",
    "pixels": "embodied.bench.pixels",
    "plan": "embodied.bench.plan",
    "pusht": "embodied.bench.pusht",
    "reward": "embodied.bench.reward",
    "rl": "embodied.bench.rl",
    "sim": "embodied.bench.sim",
    "whatif": "embodied.bench.whatif",
}
"""Names and modules, imported when they run."""

Figure = Mapping[str, Any]
"""`{"value": number or None, "interval": [low, high] or None, "unit": text, "seeds": count}`."""


class Bench(Protocol):
    """What a bench's module holds, see `embodied.bench`."""

    PARTS: tuple[str, ...]
    SEEDS: int

    def measure(self, part: str, seed: int, quick: bool, console: Console) -> Mapping[str, Any]:
        """Raw JSON values of one part and seed."""
        ...

    def summarise(self, samples: Mapping[str, Sequence[Mapping[str, Any]]]) -> Mapping[str, Figure]:
        """Figures from the raw values, by part."""
        ...


def figure(value: float, unit: str, seeds: int, interval: tuple[float, float] | None = None) -> Figure:
    """One figure; a value that is not finite becomes null, which JSON can hold."""
    numbers = [None if x is None or not math.isfinite(x) else float(x) for x in (value, *(interval or ()))]
    return {"value": numbers[0], "interval": numbers[1:] or None, "unit": unit, "seeds": seeds}


def over_seeds(values: Sequence[float], unit: str) -> Figure:
    """The mean over seeds with its 95 % bootstrap interval; without one where there is a single seed."""
    array = np.asarray(values, dtype=np.float64)
    if len(array) < 2:
        return figure(float(array.mean()), unit, len(array))
    estimate = bootstrap(lambda drawn: float(np.average(array, weights=drawn)), len(array), np.random.default_rng(0))
    return figure(estimate.value, unit, len(array), (estimate.low, estimate.high))


def over_repeats(values: Array, unit: str, seeds: int) -> Figure:
    """The median over the repeats of all seeds with its 95 % bootstrap interval."""
    estimate = bootstrap(
        lambda drawn: float(np.median(np.repeat(values, drawn.astype(np.int64)))), len(values), np.random.default_rng(0)
    )
    return figure(estimate.value, unit, seeds, (estimate.low, estimate.high))


def bench(name: str, arguments: BenchArguments, console: Console) -> None:
    """`embodied bench NAME`: measure what is missing, write `runs/bench/NAME.json`, print the table or the JSON.

    With `export=DIR`, write the bench's fixed test set there instead. Raises `EmbodiedError` where it has none.
    """
    if name not in BENCHES:
        raise unknown("bench", name, BENCHES)
    module = importlib.import_module(BENCHES[name])
    if arguments.export is not None:
        if not hasattr(module, "export"):
            raise EmbodiedError(f"The bench {name!r} has no fixed test set to export; `whatif` has one.")
        module.export(Path(arguments.export), arguments.quick, console)
        return
    record = run_bench(name, cast(Bench, module), arguments, console)
    if arguments.json:
        sys.stdout.write(json.dumps(record) + "\n")
    else:
        rows = [[key, *cells(each)] for key, each in record["figures"].items()]
        console.table(["figure", "value", "95 % interval", "unit", "seeds"], rows, title=f"bench {name}")


def run_bench(
    name: str, module: Bench, arguments: BenchArguments, console: Console, folder: Path = Path("runs/bench")
) -> dict[str, Any]:
    """Measure and merge. An unfinished bench is continued, a finished one is measured again.

    Args:
        name: of the bench and of its files.
        module: what measures and summarises.
        arguments: parts, seeds and budget asked for.
        console: for progress.
        folder: where `NAME.json` is written and the raw samples are kept.

    Returns:
        The record that `NAME.json` holds.

    Raises:
        EmbodiedError: for an unknown part.
    """
    if arguments.part != "all" and arguments.part not in module.PARTS:
        raise unknown("part", arguments.part, ["all", *module.PARTS])
    count = module.SEEDS if arguments.seeds is None else arguments.seeds
    name = f"{name}_quick" if arguments.quick else name
    parts = module.PARTS if arguments.part == "all" else (arguments.part,)
    asked = [(part, seed) for part in parts for seed in range(count)]
    missing = [each for each in asked if not _sample_path(folder, name, *each).exists()]
    kept = len(asked) - len(missing)
    if not missing:
        missing, kept = asked, 0
        for each in asked:
            _sample_path(folder, name, *each).unlink()
    if kept:
        console.say(f"{kept} of {len(asked)} samples kept from the last, unfinished start")
    for part, seed in missing:
        with console.stage(f"{part} seed {seed}"):
            raw = module.measure(part, seed, arguments.quick, console)
        sample = {"raw": raw, "git": git_state(), "versions": versions()}
        write_atomically(_sample_path(folder, name, part, seed), json.dumps(sample).encode())
    samples = _samples(folder, name, module.PARTS)
    record = {
        "bench": name,
        "command": command_line(),
        "machine": machine(),
        "versions": versions(),
        "git": git_state(),
        "figures": dict(module.summarise(samples)),
    }
    write_atomically(folder / f"{name}.json", (json.dumps(record, indent=2) + "\n").encode())
    return record


def _sample_path(folder: Path, name: str, part: str, seed: int) -> Path:
    return folder / name / f"{part}-seed{seed}.json"


def _samples(folder: Path, name: str, parts: Sequence[str]) -> dict[str, list[Mapping[str, Any]]]:
    """Raw values of all parts measured so far, seeds in order."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for part in parts:
        paths = sorted((folder / name).glob(f"{part}-seed*.json"), key=lambda p: int(p.stem.rpartition("seed")[2]))
        if paths:
            found[part] = [json.loads(path.read_text())["raw"] for path in paths]
    return found


def cells(each: Figure) -> list[str]:
    """Value, interval, unit and seeds of a figure as text."""
    interval = each["interval"]
    span = "" if not interval or None in interval else f"[{number(interval[0])}, {number(interval[1])}]"
    return [number(each["value"]), span, str(each["unit"]), str(each["seeds"])]


def number(value: float | None) -> str:
    """Three significant digits, with a thin grouping of thousands; a dash for what could not be measured."""
    if value is None:
        return "-"
    if value == 0 or 0.001 <= abs(value) < 1000:
        return f"{value:.3g}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.2e}"
