"""What the page shows, as values: the page draws these and knows nothing of run folders, models or simulators."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from embodied.evaluation.statistics import Estimate

Floats = NDArray[np.float64]
Role = Literal["main", "reference", "baseline"]
"""How loudly a line or row is drawn: what the page is about, what bounds it from above, what it must beat."""


@dataclass(frozen=True)
class Series:
    """One line of a chart."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    role: Role = "main"
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None


@dataclass(frozen=True)
class Chart:
    """Lines over a common axis."""

    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    percent: bool = False
    """Values in 0..1, shown in per cent on an axis from 0 to 100."""
    logarithmic: bool = False


@dataclass(frozen=True)
class Track:
    """One object seen from above, through one what-if: rows of x [m], y [m], yaw [rad] in the world."""

    name: str
    colour: tuple[float, float, float]
    """RGB in 0..1."""
    half_extents: tuple[float, float]
    """[m] in x and y of the object."""
    edited: bool
    factual: Floats
    """`[H+1 3]` what happened."""
    truth: Floats
    """`[H+1 3]` what would have happened; `[0 3]` for an object taken away."""
    imagined: Floats
    """`[H+1 3]` what the model says would have happened; `[0 3]` for an object taken away."""

    def as_dict(self) -> dict[str, Any]:
        """For a JSON file, rounded to 10 um; `from_dict` is its inverse."""
        paths = {name: np.round(getattr(self, name), 5).tolist() for name in ("factual", "truth", "imagined")}
        rest = {"name": self.name, "colour": self.colour, "half_extents": self.half_extents, "edited": self.edited}
        return {**rest, **paths}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Raises `KeyError` for a dictionary `as_dict` did not write."""
        red, green, blue = values["colour"]
        x, y = values["half_extents"]
        paths = (np.asarray(values[name], dtype=np.float64).reshape(-1, 3) for name in ("factual", "truth", "imagined"))
        return cls(values["name"], (red, green, blue), (x, y), bool(values["edited"]), *paths)


@dataclass(frozen=True)
class WhatIfCase:
    """One what-if for the gallery."""

    title: str
    """Why it is shown, e.g. `typical`, `worst of 412`."""
    intervention: str
    """Its text form."""
    sentence: str
    """What came of it, in words and numbers."""
    tracks: tuple[Track, ...]
    tool_factual: Floats
    """`[H+1 2]` path of the tool, x and y [m]."""
    tool_truth: Floats
    """`[H+1 2]`; differs from the factual one for edits of the action."""

    def as_dict(self) -> dict[str, Any]:
        """For a JSON file; `from_dict` is its inverse."""
        return {
            "title": self.title,
            "intervention": self.intervention,
            "sentence": self.sentence,
            "tracks": [track.as_dict() for track in self.tracks],
            "tool_factual": np.round(self.tool_factual, 5).tolist(),
            "tool_truth": np.round(self.tool_truth, 5).tolist(),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Raises `KeyError` for a dictionary `as_dict` did not write."""
        tracks = tuple(Track.from_dict(track) for track in values["tracks"])
        tool = (np.asarray(values[name], dtype=np.float64).reshape(-1, 2) for name in ("tool_factual", "tool_truth"))
        return cls(values["title"], values["intervention"], values["sentence"], tracks, *tool)


@dataclass(frozen=True)
class InfluenceGraph:
    """Who moves whom at one instant, measured by taking each away (or holding the arm) and watching the others."""

    causes: tuple[str, ...]
    effects: tuple[str, ...]
    colour: Mapping[str, tuple[float, float, float]]
    truth: Floats
    """`[causes effects]` size of the effect at the horizon in the simulator [m]; NaN on itself."""
    imagined: Floats
    """`[causes effects]` the same in the model."""

    def as_dict(self) -> dict[str, Any]:
        """For a JSON file; `from_dict` is its inverse."""
        rows = {
            name: [[None if math.isnan(x) else x for x in row] for row in getattr(self, name).tolist()]
            for name in ("truth", "imagined")
        }
        return {"causes": self.causes, "effects": self.effects, "colour": dict(self.colour), **rows}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Raises `KeyError` for a dictionary `as_dict` did not write."""
        truth, imagined = (np.array(values[name], dtype=np.float64) for name in ("truth", "imagined"))
        colour = {name: (r, g, b) for name, (r, g, b) in values["colour"].items()}
        return cls(tuple(values["causes"]), tuple(values["effects"]), colour, truth, imagined)


@dataclass(frozen=True)
class SkillRow:
    """One line of the table of what-if skill."""

    source: str
    note: str
    """What this source is, in half a sentence."""
    role: Role
    skill: Mapping[str, Estimate]
    """Per kind of intervention."""
    influence: Estimate
    """AUROC of the influence graph."""
    factual_error: Estimate
    """FDE of the factual branch [m]."""
    counterfactual_error: Estimate
    """FDE of the what-if branch [m]."""


@dataclass(frozen=True)
class ChaosFloor:
    """How far the simulator itself ends up after a nudge no camera could see."""

    nudge: float
    """[m]."""
    errors: Sequence[float]
    """Final error of each object of each context [m]."""

    @property
    def median(self) -> float:
        """[m]."""
        return float(np.median(self.errors))

    @property
    def p90(self) -> float:
        """[m]."""
        return float(np.quantile(self.errors, 0.9))


@dataclass(frozen=True)
class Clip:
    """Truth beside imagination, and how far the imagination was to be trusted."""

    video: bytes
    media_type: str
    """`video/mp4`, or an image type that moves by itself."""
    poster: bytes
    """PNG shown before it plays, and on paper."""
    caption: str
    time: Sequence[float]
    """`[T+1]` [s]."""
    uncertainty: Sequence[float]
    """`[T+1]` error to be expected from the ensemble's disagreement: what nine of ten errors stay below [m]."""
    error: Sequence[float]
    """`[T+1]` largest distance over objects between imagined and true position [m]."""
    threshold: float
    """Uncertainty beyond which the imagination is no longer trusted [m]."""

    @property
    def trusted(self) -> float:
        """The last time before uncertainty first crosses the threshold [s]."""
        above = np.asarray(self.uncertainty) > self.threshold
        return float(self.time[-1] if not above.any() else self.time[max(0, int(above.argmax()) - 1)])


@dataclass(frozen=True)
class ReportData:
    """Everything on the page. What a run does not have is left out, and its section with it."""

    title: str
    task: str
    """What the robot was to do, as a phrase: `put the red cube into the bin`."""
    run: str
    """Name of the run folder."""
    success: Estimate | None = None
    success_expert: Estimate | None = None
    success_random: Estimate | None = None
    hero: bytes | None = None
    """PNG or JPEG."""
    hero_alt: str = ""
    clip: Clip | None = None
    skill: tuple[SkillRow, ...] = ()
    contexts: int = 0
    """Saved instants behind the what-if numbers."""
    gain: Mapping[str, Estimate] = field(default_factory=dict)
    """Per kind of intervention, skill of the world model over itself without interactions, on the same cases."""
    calm: tuple[Estimate, float] | None = None
    """The model's spill-over skill where chaos leaves an answer, and the share of cases that is."""
    gallery: tuple[WhatIfCase, ...] = ()
    graph: InfluenceGraph | None = None
    chaos: ChaosFloor | None = None
    curves: tuple[Chart, ...] = ()
    limits: tuple[str, ...] = ()
    command: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    """For the reproduce box: seed, versions, machine, date, times of the stages."""
