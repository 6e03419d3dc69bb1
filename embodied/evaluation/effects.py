"""What a what-if changes: both branches of every case as a source tells them, and which cases they are.

An *effect* is the counterfactual minus the factual trajectory. Robot parts are never scored, and edited objects are
kept apart: they would make any model look good. Everything is numpy; definitions follow CoPhy (Baradel et al. 2020).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodied.evaluation.branches import Paths
from embodied.evaluation.questions import ACTIONS
from embodied.evaluation.statistics import Floats
from envs.errors import EmbodiedError

EDGE = 0.005
"""An object counts as influenced where its effect at the horizon is larger than this [m]: above the chaos floor."""
OBJECT_EDITS = ("move", "remove")
"""Kinds that change where an object is and nothing else: every effect on another one is spill-over."""
PHYSICS = ("mass", "friction")
"""Kinds that change what an object is made of: their effect on the object itself is not told by the edit."""
GROUPS = {"spillover": OBJECT_EDITS, "physics": PHYSICS, "action": (*ACTIONS, "scale")}
"""Several kinds under one name."""


@dataclass(frozen=True)
class Branches:
    """Both branches of M cases as one source tells them (the simulator, a model, a baseline)."""

    factual_position: Floats
    """`[M H+1 K 3]` in the world, of the K movable objects [m]."""
    factual_quaternion: Floats
    """`[M H+1 K 4]` wxyz."""
    counterfactual_position: Floats
    """`[M H+1 K 3]` [m]."""
    counterfactual_quaternion: Floats
    """`[M H+1 K 4]` wxyz."""
    answered: NDArray[np.bool_] | None = None
    """`[M]` the cases that the source can answer; None is all. It is taken to copy the factual in the others."""

    @property
    def effect(self) -> Floats:
        """`[M H+1 K 3]` counterfactual minus factual position [m]."""
        return self.counterfactual_position - self.factual_position

    @property
    def parts(self) -> tuple[Floats, Floats, Floats, Floats]:
        """Positions and quaternions, factual and counterfactual."""
        return (
            self.factual_position,
            self.factual_quaternion,
            self.counterfactual_position,
            self.counterfactual_quaternion,
        )

    def __getitem__(self, key: Any) -> "Branches":
        """Choose cases."""
        a, b, c, d = (part[key] for part in self.parts)
        return Branches(a, b, c, d, None if self.answered is None else self.answered[key])


@dataclass(frozen=True)
class Cases:
    """M what-ifs from C contexts, with the truth about them."""

    context: NDArray[np.int64]
    """`[M]` in 0..C-1: the saved instant each case starts from."""
    kind: tuple[str, ...]
    """M kinds, see `questions.KINDS`."""
    scored: NDArray[np.bool_]
    """`[M K]` objects that are present and were not edited."""
    truth: Branches
    own: NDArray[np.bool_] | None = None
    """`[M K]` the edited object itself, where only its physics was edited; None is nowhere."""
    stratum: NDArray[np.int64] | None = None
    """`[M K]` index into `strata.STRATA` by truth; None is not known."""
    validation: NDArray[np.bool_] | None = None
    """`[C]` contexts that thresholds are fixed on; None is every other one."""

    @property
    def contexts(self) -> int:
        """C."""
        if self.validation is not None:
            return len(self.validation)
        return int(self.context.max()) + 1 if len(self.context) else 0

    def of(self, *kinds: str) -> NDArray[np.bool_]:
        """`[M]` the cases of these kinds or groups of kinds."""
        chosen = {part for kind in kinds for part in GROUPS.get(kind, (kind,))}
        return np.array([kind in chosen for kind in self.kind], dtype=bool)


def paired(factual: Paths, counterfactual: Paths, where: NDArray[np.int64], movable: Sequence[int]) -> Branches:
    """Factual branches `[C]` and what-if branches `[M]` of contexts `where` `[M]` side by side, of movable objects."""
    chosen = list(movable)
    return Branches(
        factual.position[where][:, :, chosen],
        factual.quaternion[where][:, :, chosen],
        counterfactual.position[:, :, chosen],
        counterfactual.quaternion[:, :, chosen],
    )


def rotation_angle(a: Floats, b: Floats) -> Floats:
    """Geodesic angle between unit quaternions `[*B 4]` wxyz [rad], in 0..pi."""
    # 2 atan2 keeps its precision near 0, where arccos of the dot product loses half of the digits.
    sign = np.where((a * b).sum(-1, keepdims=True) < 0, -1.0, 1.0)
    angle = 2 * np.arctan2(np.linalg.norm(a - sign * b, axis=-1), np.linalg.norm(a + sign * b, axis=-1))
    return np.asarray(2 * angle, dtype=np.float64)


def influenced(branches: Branches) -> Floats:
    """`[M K]` size of the effect at the horizon [m]: the score of the influence graph, and its truth above `EDGE`."""
    return np.asarray(np.linalg.norm(branches.effect[:, -1], axis=-1), dtype=np.float64)


def copy_factual(truth: Branches) -> Branches:
    """Knows what happened, and answers that nothing would have been different."""
    return Branches(truth.factual_position, truth.factual_quaternion, truth.factual_position, truth.factual_quaternion)


def persistence(truth: Branches) -> Branches:
    """Nothing ever moves."""
    a, b, c, d = (np.broadcast_to(part[:, :1], part.shape) for part in truth.parts)
    return Branches(a, b, c, d)


def checked(cases: Cases, said: Branches) -> Branches:
    """What a source says, with cases it cannot answer as copies of its factual branch.

    Raises `EmbodiedError` where there is nothing to score, shapes differ from the truth's, or a number that is scored
    is not finite.
    """
    if not cases.scored.any():
        raise EmbodiedError("No what-if case has an unedited object to score: give scenes with two objects or more.")
    for name, ours, theirs in zip(("factual", "counterfactual"), cases.truth.parts[::2], said.parts[::2], strict=True):
        if ours.shape != theirs.shape:
            raise EmbodiedError(f"The {name} positions have shape {theirs.shape}; the truth has {ours.shape}.")
    if said.answered is not None:
        factual, turned, changed, changed_turned = said.parts
        silent = ~said.answered[:, None, None, None]
        said = Branches(
            factual,
            turned,
            np.where(silent, factual, changed),
            np.where(silent, turned, changed_turned),
            said.answered,
        )
    rows = cases.scored | (False if cases.own is None else cases.own)
    case, entity = rows.nonzero()
    if not all(np.isfinite(part[case, :, entity]).all() for part in said.parts):
        raise EmbodiedError("The model's prediction is not finite: its checkpoint is damaged or its training diverged.")
    return said
