"""The numbers of the what-if suite, as they are kept."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from embodied.checkpoint import write_atomically
from embodied.evaluation.branches import NUDGE
from embodied.evaluation.effects import EDGE
from embodied.evaluation.scoring import Scores, estimates
from embodied.evaluation.statistics import Estimate


@dataclass(frozen=True)
class Result:
    """The suite's numbers."""

    scores: Mapping[str, Scores]
    contexts: int
    cases: Mapping[str, int]
    """Number of cases by kind."""
    strata: Mapping[str, float]
    """Shares of unedited objects by how an effect reached them, see `strata.shares`."""
    chaos: Sequence[float]
    """[m]."""
    chaos_median: Estimate
    """[m]."""
    chaos_p90: Estimate
    """[m] what nine of ten objects stay below."""
    calm: Scores
    """The model's, where chaos leaves an answer; chosen by the simulator, never by the model."""
    calm_share: float
    """Share of scored objects that are calm."""
    gain: Mapping[str, Estimate]
    """Skill per kind that the model owes to interactions between objects: over itself without, on the same cases."""
    decision: Mapping[str, Mapping[str, Estimate]] = field(default_factory=dict)
    """Per source, how well it ranks plans, see `decision.decide`; empty was not measured."""
    uncertainty: Mapping[str, Estimate] = field(default_factory=dict)
    """How far the model's doubt can be relied on, see `uncertainty.assess`; empty was not measured."""
    surprise: Mapping[str, Estimate] = field(default_factory=dict)
    """AUROC per violation of physics, see `surprise.measure`; empty was not measured."""
    readouts: Mapping[str, Mapping[str, Estimate]] = field(default_factory=dict)
    """How well the graph is recovered without intervening, see `readouts.measure`; empty was not measured."""
    wamprobe: Mapping[str, float] = field(default_factory=dict)
    """The model's, by the package of that name, see `wamprobe.probe`; empty where it is not installed."""

    def as_dict(self) -> dict[str, Any]:
        """For a JSON file; `from_dict` is its inverse."""
        return {
            "contexts": self.contexts,
            "cases": dict(self.cases),
            "strata": {name: share if share == share else None for name, share in self.strata.items()},
            "nudge": NUDGE,
            "edge": EDGE,
            "chaos": [round(error, 9) for error in self.chaos],
            "chaos_median": self.chaos_median.as_dict(),
            "chaos_p90": self.chaos_p90.as_dict(),
            "calm": self.calm.as_dict(),
            "calm_share": self.calm_share,
            "gain": _plain(self.gain),
            "scores": {name: scores.as_dict() for name, scores in self.scores.items()},
            "decision": {name: _plain(each) for name, each in self.decision.items()},
            "uncertainty": _plain(self.uncertainty),
            "surprise": _plain(self.surprise),
            "readouts": {name: _plain(each) for name, each in self.readouts.items()},
            "wamprobe": dict(self.wamprobe),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Result":
        """Raises `KeyError` for a dictionary `as_dict` did not write."""
        scores = {name: Scores.from_dict(each) for name, each in values["scores"].items()}
        return cls(
            scores=scores,
            contexts=values["contexts"],
            cases=values["cases"],
            strata={name: float("nan") if share is None else share for name, share in values["strata"].items()},
            chaos=values["chaos"],
            chaos_median=Estimate.from_dict(values["chaos_median"]),
            chaos_p90=Estimate.from_dict(values["chaos_p90"]),
            calm=Scores.from_dict(values["calm"]),
            calm_share=values["calm_share"],
            gain=estimates(values["gain"]),
            decision={name: estimates(each) for name, each in values["decision"].items()},
            uncertainty=estimates(values["uncertainty"]),
            surprise=estimates(values["surprise"]),
            readouts={name: estimates(each) for name, each in values.get("readouts", {}).items()},
            wamprobe=values["wamprobe"],
        )

    def write(self, file: Path) -> None:
        """Save as JSON, whole or not at all."""
        write_atomically(file, (json.dumps(self.as_dict()) + "\n").encode())


def _plain(values: Mapping[str, Estimate]) -> dict[str, Any]:
    return {name: estimate.as_dict() for name, estimate in values.items()}
