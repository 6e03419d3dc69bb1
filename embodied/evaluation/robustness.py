"""The robustness table: success where one factor of variation after the other departs from what it nominally is."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodied.evaluation.statistics import Estimate, bootstrap_blocks
from embodied.evaluation.success import success
from envs.control import Controller
from envs.engine import BATCH, Engine
from envs.episode import Policy
from envs.errors import EmbodiedError
from envs.sensors import SensorConfig
from envs.task import Task
from envs.variation import FACTORS, Variation

NOMINAL, TOGETHER = "nominal", "all of these"
"""The first row, and the last where there are several factors."""


@dataclass(frozen=True)
class Row:
    """One policy under one variation."""

    variation: str
    """The words for `Variation.parse`."""
    at_end: Estimate
    """The goal holds at the last step."""
    lost: Estimate
    """Success that this variation costs: paired over the beginnings, which are those of the nominal row."""

    def as_dict(self) -> dict[str, Any]:
        """For a JSON file."""
        return {"variation": self.variation, "at_end": self.at_end.as_dict(), "lost": self.lost.as_dict()}


def rows_of(text: str) -> dict[str, Variation]:
    """The variations that `text` asks for, by name: none, each factor alone, and all of them.

    Raises `EmbodiedError` for an unknown factor, and where there is none left that a policy of states could notice.
    """
    asked = Variation.parse(text)
    noticed = [name for name in asked.varied if FACTORS[name].group == "physical"]
    if asked.varied and not noticed:
        raise EmbodiedError(
            f"variation={text!r} changes pictures alone ({', '.join(asked.varied)}), which a policy of states never "
            "sees; name physical factors, or 'physical' for all of them."
        )
    frozen = Variation(layout=asked.layout)
    alone = {name: replace(frozen, **{name: getattr(asked, name)}) for name in noticed}
    together = replace(frozen, **{name: getattr(asked, name) for name in noticed})
    rows = {NOMINAL: Variation(), **alone}
    if asked.layout is not None:
        rows["layout"] = frozen
    return {**rows, TOGETHER: together} if len(noticed) > 1 else rows


def robustness(
    policies: Mapping[str, Policy],
    task: Task,
    seeds: NDArray[np.int64],
    rows: Mapping[str, Variation],
    control: Controller,
    threads: int = 0,
    sensors: SensorConfig | None = None,
    engine: Engine = BATCH,
) -> dict[str, dict[str, Row]]:
    """Per row and policy how it fares; all from the same beginnings, the first row's being what others are set against.

    Raises `EmbodiedError` where no world of the task can be varied so.
    """
    found: dict[str, dict[str, Row]] = {}
    nominal: dict[str, NDArray[np.float64]] = {}
    for name, variation in rows.items():
        found[name] = {}
        for who, policy in policies.items():
            result = success(policy, task, seeds, control, threads, variation, sensors, engine)
            succeeded = result.succeeded.astype(np.float64)
            nominal.setdefault(who, succeeded)
            lost = _mean(nominal[who] - succeeded)
            found[name][who] = Row(str(variation), result.at_end, lost)
    return found


def _mean(values: NDArray[np.float64]) -> Estimate:
    """Over beginnings, with its bootstrap interval."""
    generator = np.random.default_rng(0)
    return bootstrap_blocks(lambda draws: np.asarray(draws @ values / len(values)), len(values), generator)
