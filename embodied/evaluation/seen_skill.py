"""What-if skill from pixels beside that from state: one model, the same instants, the same questions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from embodied.evaluation.branches import Imagine
from embodied.evaluation.contexts import Contexts
from embodied.evaluation.scoring import estimates, gain, score
from embodied.evaluation.seeing import compare
from embodied.evaluation.sources import Imagined
from embodied.evaluation.statistics import Estimate
from embodied.evaluation.suite import establish
from envs.simulation import Simulation

ASKED = ("spillover", "move", "remove", "action")
"""Kinds of what-ifs, and groups of them, whose skill is told."""
STATE, PIXELS = "state", "pixels"


@dataclass(frozen=True)
class SeenSkill:
    """Scores of one model from both kinds of histories."""

    skill: Mapping[str, Mapping[str, Estimate]]
    """Effect skill by `STATE` and `PIXELS`, by `ASKED`."""
    gap: Mapping[str, Estimate]
    """Skill from state less that from pixels; contexts are drawn for both at once, so hard ones count for both."""
    factual_ade: Mapping[str, Estimate]
    """Mean distance of unedited futures from the truth [m]."""
    position: float
    """Mean error of the objects seen at the instants [m]."""
    speed: float
    """Mean error of their velocities [m/s]."""

    def as_dict(self) -> dict[str, Any]:
        """For a JSON file; `from_dict` is its inverse."""
        return {
            "skill": {source: _plain(table) for source, table in self.skill.items()},
            "gap": _plain(self.gap),
            "factual_ade": _plain(self.factual_ade),
            "position": self.position,
            "speed": self.speed,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "SeenSkill":
        """Raises `KeyError` for a dictionary `as_dict` did not write."""
        return cls(
            {source: estimates(table) for source, table in values["skill"].items()},
            estimates(values["gap"]),
            estimates(values["factual_ade"]),
            float(values["position"]),
            float(values["speed"]),
        )


def paired_skills(
    simulation: Simulation, model: Imagine, contexts: Contexts, seen: Contexts, generator: np.random.Generator
) -> SeenSkill:
    """Ask a model the same what-ifs of `contexts` and of the same instants as `seen`; see `seeing.as_seen`.

    Raises `EmbodiedError` where the replay without an edit is not exact, or no edit finds room.
    """
    known = establish(simulation, contexts, generator, copies=0)
    each = {STATE: contexts, PIXELS: seen}
    said = {source: Imagined(model).answer(shown, known.questions) for source, shown in each.items()}
    # Resamples of the contexts are drawn alike, so that equal answers have equal intervals.
    seed = int(generator.integers(2**31))
    scores = {source: score(known.cases, branches, np.random.default_rng(seed)) for source, branches in said.items()}
    gaps = gain(known.cases, said[STATE], said[PIXELS], generator)
    sight = compare(contexts.history.objects[:, -1], seen.history.objects[:, -1])
    return SeenSkill(
        skill={source: {kind: told.skill[kind] for kind in ASKED} for source, told in scores.items()},
        gap={kind: gaps[kind] for kind in ASKED},
        factual_ade={source: told.factual_ade for source, told in scores.items()},
        position=float(np.nanmean(sight.position)),
        speed=float(np.nanmean(sight.speed)),
    )


def _plain(table: Mapping[str, Estimate]) -> dict[str, Any]:
    return {name: each.as_dict() for name, each in table.items()}
