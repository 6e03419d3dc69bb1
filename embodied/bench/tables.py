"""README tables from `docs/bench/NAME.json`: `python -m embodied.bench.tables README.md` writes them between markers.

A table stands between `<!-- bench:NAME -->` and `<!-- /bench:NAME -->`; `<!-- bench:NAME key key -->` picks figures.
`<!-- matrix:NAME key=column, key=column; prefix=row, prefix=row -->` sets figures against each other: the cell of a row
and a column is the figure `prefix` + `key`, empty where there is none.
"""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from embodied.bench.harness import cells
from embodied.checkpoint import write_atomically
from envs.errors import EmbodiedError

MARKED = re.compile(r"(<!-- bench:(\w+)((?: \w+)*) -->\n).*?(<!-- /bench:\2 -->)", re.DOTALL)

SUMMARY = re.compile(r"(<!-- summary\n(.*?)\n-->\n).*?(<!-- /summary -->)", re.DOTALL)
QUOTED = re.compile(r"\[(\w+\.\w+)\]")

MATRIX = re.compile(r"(<!-- matrix:(\w+) ([^;]+);([^>]+?) -->\n).*?(<!-- /matrix:\2 -->)", re.DOTALL)


def render(name: str, keys: Sequence[str], folder: Path) -> str:
    """One table in Markdown, its command and machine under it; raises `EmbodiedError` for what was not measured."""
    figures, source = _measured(name, keys, folder)
    rows = [[f"`{key}`", *cells(figures[key])] for key in keys or figures]
    lines = ["| figure | value | 95 % interval | unit | seeds |", "|---|--:|--:|---|--:|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows), "", source])


def matrix(name: str, columns: Mapping[str, str], rows: Mapping[str, str], folder: Path) -> str:
    """Figures with their intervals, by the titles of columns (of keys) and of rows (of prefixes).

    Raises `EmbodiedError` for a row of which nothing was measured.
    """
    figures, source = _measured(name, (), folder)
    lines = [f"| | {' | '.join(columns.values())} | seeds |", f"|---|{'--:|' * (len(columns) + 1)}"]
    for prefix, title in rows.items():
        row = {key: figures.get(prefix + key) for key in columns}
        known = [each for each in row.values() if each is not None]
        if not known:
            raise EmbodiedError(
                f"{name}.json has no figure for the row {title!r}, such as {prefix}{next(iter(columns))}."
            )
        shown = ["" if each is None else " ".join(cells(each)[:2]).strip() for each in row.values()]
        lines.append(f"| {title} | {' | '.join(shown)} | {known[0]['seeds']} |")
    return "\n".join([*lines, "", source])


def summary(rows: str, folder: Path) -> str:
    """A table of figures of several benches, what was aimed at and what they are beside; raises like `render`."""

    def found(reference: str) -> list[str]:
        name, _, key = reference.partition(".")
        return cells(_measured(name, (key,), folder)[0][key])

    def shown(value: str, interval: str, unit: str) -> str:
        return " ".join(part for part in (value, "" if unit == "1" else unit, interval) if part)

    lines = ["| | measured | aimed at | beside it | seeds | command |", "|---|--:|--:|---|--:|---|"]
    for row in filter(None, rows.split("\n")):
        title, reference, aim, beside = (part.strip() for part in row.split("|"))
        value, interval, unit, seeds = found(reference)
        beside = QUOTED.sub(lambda m: shown(found(m[1])[0], "", found(m[1])[2]), beside)
        bench = reference.partition(".")[0]
        lines.append(f"| {title} | {shown(value, interval, unit)} | {aim} | {beside} | {seeds} | `{bench}` |")
    return "\n".join(lines)


def _measured(name: str, keys: Sequence[str], folder: Path) -> tuple[dict[str, Any], str]:
    """The figures of a bench and where they are from."""
    path = folder / f"{name}.json"
    if not path.is_file():
        raise EmbodiedError(f"There is no {path}: run embodied bench {name}, then copy runs/bench/{name}.json there.")
    record = json.loads(path.read_text())
    for key in keys:
        if key not in record["figures"]:
            raise EmbodiedError(f"{path} has no figure {key!r}; it has {', '.join(record['figures'])}.")
    machine = record["machine"]
    return record["figures"], f"`embodied bench {name}` on {machine['cores']} cores ({machine['processor']})."


def fill(text: str, folder: Path) -> str:
    """`text` with every marked table made anew."""
    text = MARKED.sub(lambda m: f"{m[1]}{render(m[2], m[3].split(), folder)}\n{m[4]}", text)
    text = SUMMARY.sub(lambda m: f"{m[1]}{summary(m[2], folder)}\n{m[3]}", text)
    return MATRIX.sub(lambda m: f"{m[1]}{matrix(m[2], _titles(m[3]), _titles(m[4]), folder)}\n{m[5]}", text)


def _titles(text: str) -> dict[str, str]:
    return {key.strip(): title.strip() for key, _, title in (pair.partition("=") for pair in text.split(","))}


def main() -> int:
    """Fill the tables of the files named on the command line."""
    for name in sys.argv[1:] or ["README.md"]:
        path = Path(name)
        text = path.read_text()
        filled = fill(text, Path("docs/bench"))
        if filled != text:
            write_atomically(path, filled.encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
