"""The influence graph read off a model instead of asked by intervening: its gradients, and the weights of its messages.

Both look at the factual rollout alone. They are rows beside the graph that edits give, never in its place: a gradient
knows only how an object feels the smallest shift of another, and a weight only who is near whom.
"""

from dataclasses import replace

import numpy as np

from embodied.evaluation.branches import Imagine, imagine
from embodied.evaluation.contexts import Contexts
from embodied.evaluation.influence import Edges, recovered
from embodied.evaluation.questions import Question
from embodied.evaluation.statistics import Estimate, Floats
from embodied.evaluation.suite import WhatIfs
from world_models.cjepa.edges import Scale, attention
from world_models.slots.bodies import bodies_of

STEP = 0.001
"""[m] of the differences that stand for gradients: contact geometry is not differentiated."""
PERIOD = 0.02
"""[s] of the model's default step, which says how near is near."""


def measure(
    model: Imagine, whatifs: WhatIfs, generator: np.random.Generator, resamples: int
) -> dict[str, dict[str, Estimate]]:
    """How well `gradient` and `attention` recover the graph of moves and removals; see `influence.recovered`."""
    contexts, cases = whatifs.contexts, whatifs.cases
    edited = np.array([_column(contexts, question) for question in whatifs.questions])
    graphs = {"gradient": gradients(model, contexts, whatifs.imagined_factual.position), "attention": weights(whatifs)}
    return {
        name: recovered(Edges.of(cases, graph[whatifs.where, edited]), generator, resamples)
        for name, graph in graphs.items()
    }


def gradients(model: Imagine, contexts: Contexts, factual: Floats) -> Floats:
    """`[C K K]` by how much object j (column) ends elsewhere per shift of i (row) along the table [m/m].

    `factual` `[C H+1 K 3]` is what the model imagines without a shift. 0 for itself and for who is absent.
    """
    movable, names = list(contexts.movable), contexts.names
    squares = np.zeros((len(contexts), len(movable), len(movable)))
    for i, name in enumerate(names):
        rows = np.flatnonzero(contexts.present[:, i])
        for axis in ("x", "y") if len(rows) else ():
            asked = [Question.parse(int(row), f"move({name}, {axis}=+{STEP})") for row in rows]
            apart = imagine(model, contexts, asked).position[:, -1, movable] - factual[rows, -1][:, movable]
            squares[rows, i] += (apart**2).sum(-1) / STEP**2
    there = contexts.present[:, :, None] & contexts.present[:, None, :] & ~np.eye(len(movable), dtype=bool)
    found: Floats = np.sqrt(np.where(there, squares, 0.0))
    return found


def weights(whatifs: WhatIfs) -> Floats:
    """`[C K K]` how much the model's messages between two objects count, over the frames of what it imagines."""
    path, last = whatifs.imagined_factual, whatifs.contexts.history.objects[:, -1]
    frames = [
        replace(last, position_in_world=path.position[:, step], quaternion_in_world=path.quaternion[:, step])
        for step in range(path.position.shape[1])
    ]
    found = [attention(bodies_of(frame), Scale(PERIOD)).numpy() for frame in frames]
    mean: Floats = np.mean(found, axis=0, dtype=np.float64)
    return mean


def _column(contexts: Contexts, question: Question) -> int:
    """The first edited object's place among the movable ones; 0 where none is, which no graph is asked about."""
    names: list[str] = list(contexts.names)
    return next((names.index(edit.entity) for edit in question.edits if edit.entity in names), 0)
