"""Who answers what-ifs: world models, the simulator disturbed, and baselines, all behind one method."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from embodied.evaluation.branches import (
    Disturbance,
    Imagine,
    Paths,
    context_of,
    draw_nudges,
    imagine,
    simulate,
    unedited,
)
from embodied.evaluation.contexts import Contexts
from embodied.evaluation.effects import PHYSICS, Branches, paired
from embodied.evaluation.questions import Question
from envs.errors import EmbodiedError
from envs.simulation import Simulation


@runtime_checkable
class WhatIfModel(Protocol):
    """Anything that answers what-ifs."""

    def answer(self, contexts: Contexts, questions: Sequence[Question]) -> Branches:
        """Both branches of every question, movable objects only; may leave what it cannot answer unanswered."""
        ...


@dataclass(frozen=True)
class Imagined:
    """A world model."""

    model: Imagine

    def answer(self, contexts: Contexts, questions: Sequence[Question]) -> Branches:
        """See `WhatIfModel.answer`."""
        return self.branches(contexts, questions, *self.paths(contexts, questions))

    def paths(self, contexts: Contexts, questions: Sequence[Question]) -> tuple[Paths, Paths]:
        """Factual branches `[C]` and those of the questions `[M]`, all entities.

        What the model cannot be shown (`Question.answerable`) is a copy of its factual branch.
        """
        factual = imagine(self.model, contexts, unedited(contexts))
        shown = [question if question.answerable else Question(question.context) for question in questions]
        return factual, imagine(self.model, contexts, shown)

    @staticmethod
    def branches(contexts: Contexts, questions: Sequence[Question], factual: Paths, changed: Paths) -> Branches:
        """What `paths` gave, side by side, with what is not answered marked."""
        answered = np.array([question.answerable for question in questions])
        return replace(paired(factual, changed, context_of(questions), contexts.movable), answered=answered)


@dataclass(frozen=True)
class Alone:
    """A world model with each object imagined as if no other were there: what it knows without interactions."""

    model: Imagine

    def answer(self, contexts: Contexts, questions: Sequence[Question]) -> Branches:
        """See `WhatIfModel.answer`; absent objects, which nobody scores, are not imagined."""
        where, count, objects = context_of(questions), len(contexts), len(contexts.movable)
        shape = (objects, contexts.horizon + 1)
        position, quaternion = np.zeros((count, *shape, 3)), np.zeros((count, *shape, 4))
        changed_position, changed_quaternion = np.zeros((len(where), *shape, 3)), np.zeros((len(where), *shape, 4))
        for column, k in enumerate(contexts.movable):
            there = contexts.present[:, column]
            if there.any():
                factual = imagine(self.model, contexts, [Question(int(c)) for c in np.flatnonzero(there)], k)
                position[there, column] = factual.position[:, :, k]
                quaternion[there, column] = factual.quaternion[:, :, k]
            changed_position[:, column] = position[where, column]
            changed_quaternion[:, column] = quaternion[where, column]
            felt = [_felt(question, contexts.names[column]) for question in questions]
            rows = there[where] & np.array([bool(question.parts) for question in felt])
            if rows.any():
                acted = imagine(self.model, contexts, [felt[row] for row in np.flatnonzero(rows)], k)
                changed_position[rows, column] = acted.position[:, :, k]
                changed_quaternion[rows, column] = acted.quaternion[:, :, k]
        a, b, c, d = (
            np.moveaxis(part, 1, 2)
            for part in (position[where], quaternion[where], changed_position, changed_quaternion)
        )
        return Branches(a, b, c, d, np.array([question.answerable for question in questions]))


def _felt(question: Question, name: str) -> Question:
    """What is left of a question for an object that is alone: actions, and edits of its own physics."""
    if not question.answerable:
        return Question(question.context)
    own = [edit for edit in question.edits if edit.entity is None or (edit.entity == name and edit.kind in PHYSICS)]
    return replace(question, edits=tuple(own))


@dataclass(frozen=True)
class Disturbed:
    """The simulator itself, not quite: what a model could reach whose state or physics is a little off."""

    simulation: Simulation
    disturbances: Sequence[Disturbance]
    """One per copy; what is said is their mean, which is the best guess of a model that must name one outcome."""

    def answer(self, contexts: Contexts, questions: Sequence[Question]) -> Branches:
        """See `WhatIfModel.answer`."""
        where, movable = context_of(questions), contexts.movable
        paths = [self.paths(contexts, questions, disturbance) for disturbance in self.disturbances]
        return mean_of([paired(factual, changed, where, movable) for factual, changed in paths])

    def paths(self, contexts: Contexts, questions: Sequence[Question], disturbance: Disturbance) -> tuple[Paths, Paths]:
        """One copy's factual branches `[C]` and those of the questions `[M]`: the same disturbance in all of them."""
        return (
            simulate(self.simulation, contexts, unedited(contexts), disturbance),
            simulate(self.simulation, contexts, questions, disturbance),
        )


def nudges(contexts: Contexts, generator: np.random.Generator, copies: int) -> list[Disturbance]:
    """Independent nudges of every movable object."""
    return [Disturbance(draw_nudges(contexts, generator)) for _ in range(copies)]


def mean_of(copies: Sequence[Branches]) -> Branches:
    """The mean of several answers: of positions, and of quaternions near enough to each other for it to mean much."""
    if not copies:
        raise EmbodiedError("The mean of no answers was asked for.")
    found: list[NDArray[np.float64]] = []
    for index, first in enumerate(copies[0].parts):
        stacked = np.stack([copy.parts[index] for copy in copies])
        if index % 2:
            stacked = np.where((stacked * first).sum(-1, keepdims=True) < 0, -stacked, stacked)
        mean: NDArray[np.float64] = stacked.mean(0)
        found.append(mean / np.linalg.norm(mean, axis=-1, keepdims=True) if index % 2 else mean)
    a, b, c, d = found
    return Branches(a, b, c, d)


@dataclass(frozen=True)
class Foreign:
    """Predictions made elsewhere, as arrays."""

    factual: NDArray[np.float64]
    """`[C H+1 K 3]` positions of the movable objects [m]."""
    counterfactual: NDArray[np.float64]
    """`[M H+1 K 3]` [m]."""

    def answer(self, contexts: Contexts, questions: Sequence[Question]) -> Branches:
        """See `WhatIfModel.answer`; orientations stay. Raises `EmbodiedError` for shapes that do not fit."""
        shape = (contexts.horizon + 1, len(contexts.movable), 3)
        for name, given, rows in (
            ("factual", self.factual, len(contexts)),
            ("counterfactual", self.counterfactual, len(questions)),
        ):
            if given.shape != (rows, *shape):
                raise EmbodiedError(f"The {name} positions have shape {given.shape}; {(rows, *shape)} is needed.")
        now = np.asarray(contexts.history.objects.quaternion_in_world)[:, -1:, contexts.movable]
        still = np.repeat(now, contexts.horizon + 1, axis=1)[context_of(questions)]
        return Branches(self.factual[context_of(questions)], still, self.counterfactual, still)
