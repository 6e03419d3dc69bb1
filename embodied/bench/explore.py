"""Where training begins: uniform beginnings beside those at the frontier, by the clock of `embodied bench rl`.

Both parts learn `place_air` without demonstrations and with the same eased beginnings among those that are drawn; they
differ in the draw alone. Success is measured on the task's own beginnings, of which training sees none.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from embodied.bench.harness import Figure, over_seeds
from embodied.bench.rl import apart, course
from embodied.console import Console

_WORDS = ("env=place_air", "trainer.demonstrations=0")
DRAWS = {"uniform": "agent=headstart", "frontier": "agent=frontier"}
MINUTES = (0.5, 1.0, 1.5, 2.0)
"""CPU-minutes at which success is measured."""
PARTS = tuple(DRAWS)
SEEDS = 3


def measure(part: str, seed: int, quick: bool, console: Console) -> Mapping[str, Any]:
    """One learning curve."""
    return apart(course, seed, (0.1,) if quick else MINUTES, 16 if quick else 200, (*_WORDS, DRAWS[part]))


def summarise(samples: Mapping[str, Sequence[Mapping[str, Any]]]) -> Mapping[str, Figure]:
    """Per part the mean success over all marks, which is the area under the curve, and that at the last."""
    figures: dict[str, Figure] = {}
    for part in DRAWS:
        curves = [[point["success"] for point in row["curve"]] for row in samples.get(part, [])]
        if curves:
            figures[f"{part}_area"] = over_seeds([100.0 * float(np.mean(curve)) for curve in curves], "%")
            figures[f"{part}_final"] = over_seeds([100.0 * curve[-1] for curve in curves], "%")
    return figures
