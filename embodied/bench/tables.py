"""README tables from `docs/bench/NAME.json`: `python -m embodied.bench.tables README.md` writes them between markers.

A table stands between `<!-- bench:NAME -->` and `<!-- /bench:NAME -->`; `<!-- bench:NAME key key -->` picks figures.
"""

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from embodied.bench.harness import cells
from embodied.checkpoint import write_atomically
from envs.errors import EmbodiedError

MARKED = re.compile(r"(<!-- bench:(\w+)((?: \w+)*) -->\n).*?(<!-- /bench:\2 -->)", re.DOTALL)


def render(name: str, keys: Sequence[str], folder: Path) -> str:
    """One table in Markdown, its command and machine under it; raises `EmbodiedError` for what was not measured."""
    path = folder / f"{name}.json"
    if not path.is_file():
        raise EmbodiedError(f"There is no {path}: run embodied bench {name}, then copy runs/bench/{name}.json there.")
    record = json.loads(path.read_text())
    figures = record["figures"]
    for key in keys:
        if key not in figures:
            raise EmbodiedError(f"{path} has no figure {key!r}; it has {', '.join(figures)}.")
    rows = [[f"`{key}`", *cells(figures[key])] for key in keys or figures]
    lines = ["| figure | value | 95 % interval | unit | seeds |", "|---|--:|--:|---|--:|"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    machine = record["machine"]
    lines += ["", f"`embodied bench {name}` on {machine['cores']} cores ({machine['processor']})."]
    return "\n".join(lines)


def fill(text: str, folder: Path) -> str:
    """`text` with every marked table made anew."""
    return MARKED.sub(lambda m: f"{m[1]}{render(m[2], m[3].split(), folder)}\n{m[4]}", text)


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
