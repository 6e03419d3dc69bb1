"""`deploy.json`: what came of a command, and of those that it goes on from."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from embodied.checkpoint import write_atomically
from embodied.deploy.episodes import Outcome
from embodied.evaluation.statistics import wilson

NAME = "deploy.json"
SAME = ("run", "seed", "robot", "task", "mode", "perception", "twin")
"""What two starts must have in common for one to go on from the other."""


def results(outcome: Outcome) -> dict[str, Any]:
    """Of one start: how many episodes, how many successes, what was cut, and why it stopped."""
    return {"interrupted": False, "fault": outcome.fault, "lost": outcome.lost, **_totals(outcome.each, outcome.cut)}


def write(folder: Path, record: Mapping[str, Any], first: int) -> None:
    """Write what came of a start; one that begins with episode `first` keeps what earlier ones came to before it.

    Of an episode that was run twice, what came of it last counts.
    """
    path = folder / NAME
    earlier = _read(path) if first else {}
    if all(earlier.get(name) == record[name] for name in SAME):
        again = {one["seed"] for one in record["each"]}
        kept = [one for one in earlier["each"] if one["seed"] not in again]
        cut = Counter(earlier["cut"]) + Counter(record["cut"])
        for one in earlier["each"]:
            if one["seed"] in again:
                cut -= Counter(one["cut"])
        record = {**record, **_totals(sorted([*kept, *record["each"]], key=lambda one: int(one["seed"])), cut)}
    write_atomically(path, (json.dumps(record, indent=2) + "\n").encode())


def write_interrupted(folder: Path, record: Mapping[str, Any], first: int) -> None:
    """The same of a start that was interrupted; one without a whole episode replaces nothing that is there."""
    if record["each"] or not (folder / NAME).exists():
        write(folder, {**record, "interrupted": True}, first)


def _totals(each: list[dict[str, Any]], cut: Mapping[str, int]) -> dict[str, Any]:
    done = len(each)
    success = wilson(sum(one["success"] for one in each), done).as_dict() if done else None
    return {"episodes": done, "success": success, "cut": dict(cut), "each": each}


def _read(path: Path) -> dict[str, Any]:
    """What is there; nothing where it is damaged, or none of ours."""
    try:
        values = json.loads(path.read_text())
        Counter(values["cut"]), [(one["seed"], one["success"], one["cut"]) for one in values["each"]]
        return dict(values)
    except (OSError, ValueError, KeyError, TypeError):
        return {}
