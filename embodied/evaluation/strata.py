"""Sorts what truly happened by how an effect got there: not at all, from the robot, by touch, over several touches."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from embodied.evaluation.branches import Paths, context_of
from embodied.evaluation.contexts import Contexts
from embodied.evaluation.effects import EDGE, Cases, influenced
from embodied.evaluation.questions import ROBOT_EDITS, WORLD_EDITS, Question
from embodied.evaluation.statistics import Floats
from envs.errors import EmbodiedError
from envs.types import Kind

TOLERANCE = 0.001
"""[m] An effect below this at the horizon is none: about what a nudge of 0.1 mm makes of a moving object in median."""
STRATA = ("none", "faint", "direct", "spillover", "multi_hop")
"""By truth. `none`: below `TOLERANCE`. `direct`: the cause is the robot or the world, and reaches the object itself.
`spillover`: the object touches an edited object in one of the branches. `multi_hop`: in neither branch it touches what
was edited, and yet the effect exceeds `EDGE`; `faint` if it does not, which chaos could have done."""
TOOLS = {int(Kind[name]) for name in ("GRIPPER", "JAW", "PUSHER") if name in Kind.__members__}
"""Kinds of entities that are parts of the robot; its first is what it acts with."""


def stratify(
    contexts: Contexts, questions: Sequence[Question], effect: Floats, factual: Paths, counterfactual: Paths
) -> NDArray[np.int64]:
    """`[M K]` the stratum of every movable object in every case, as an index into `STRATA`.

    Args:
        contexts: C instants.
        questions: M.
        effect: `[M K]` true size of the effect at the horizon [m].
        factual: `[C ...]` of the simulator, with contacts.
        counterfactual: `[M ...]` likewise.

    Raises:
        EmbodiedError: where the paths carry no contacts.
    """
    if factual.touching is None or counterfactual.touching is None:
        raise EmbodiedError("Strata need contacts: simulate with contacts=True.")
    objects, movable = contexts.history.objects, contexts.movable
    # Ever, in either branch: one that only the edit prevents is a way for the effect, too.
    ever = np.asarray(factual.touching[context_of(questions)].any(axis=1) | counterfactual.touching.any(axis=1))
    robot = [k for k, kind in enumerate(objects.kind) if int(kind) in TOOLS] + [len(objects.names)]
    direct, spilled = np.zeros(effect.shape, bool), np.zeros(effect.shape, bool)
    for case, question in enumerate(questions):
        if any(part in ROBOT_EDITS for part in question.parts):
            direct[case] = ever[case, robot][:, movable].any(axis=0)
        if any(part in WORLD_EDITS for part in question.parts):
            direct[case] = True
        edited = [objects.index(name) for name in question.entities]
        spilled[case] = ever[case, edited][:, movable].any(axis=0)
    stratum = np.where(effect > EDGE, STRATA.index("multi_hop"), STRATA.index("faint"))
    stratum[direct] = STRATA.index("direct")
    stratum[spilled] = STRATA.index("spillover")
    stratum[effect < TOLERANCE] = STRATA.index("none")
    return stratum


def shares(cases: Cases) -> dict[str, float]:
    """Share of the scored objects in each stratum, of all cases and, as `kind/stratum`, of each kind's.

    Besides, `edge` is the share truly influenced (above `EDGE`) by moves and removals, the chance level of the
    influence graph's average precision, and `exactly_zero` the share those leave alone to the bit.
    """
    found: dict[str, float] = {}
    if cases.stratum is not None:
        for kind in ("", *sorted(set(cases.kind))):
            rows = cases.scored & (cases.of(kind) if kind else np.ones(len(cases.kind), bool))[:, None]
            for index, name in enumerate(STRATA):
                found[f"{kind}/{name}".removeprefix("/")] = _mean(cases.stratum[rows] == index)
    size = influenced(cases.truth)[cases.scored & cases.of("spillover")[:, None]]
    return found | {"edge": _mean(size > EDGE), "exactly_zero": _mean(size == 0)}


def _mean(chosen: NDArray[np.bool_]) -> float:
    return float(chosen.mean()) if len(chosen) else float("nan")
