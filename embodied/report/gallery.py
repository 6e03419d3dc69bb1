"""Chooses what-ifs to show, by rule and not by taste: typical ones, the largest, a quiet one, and always the worst."""

import numpy as np
from numpy.typing import NDArray

from embodied.evaluation.branches import Imagine, context_of, imagine, simulate
from embodied.evaluation.effects import EDGE, influenced, paired
from embodied.evaluation.questions import Question
from embodied.evaluation.strata import TOOLS
from embodied.evaluation.suite import MODEL, WhatIfs
from embodied.report.data import Floats, InfluenceGraph, Track, WhatIfCase
from envs.geometry import yaw_of
from envs.interventions import Intervention
from envs.simulation import Simulation

QUIET = 1e-4
"""[m] In a quiet case no unedited object feels more than this."""
_GRAPH_CANDIDATES = 24
_ARM_COLOUR = (0.55, 0.57, 0.6)


def choose(whatifs: WhatIfs) -> list[tuple[str, int]]:
    """Titles and cases to show, each case once, the worst last."""
    cases = whatifs.cases
    effect, error = _sizes(whatifs)
    felt = effect > EDGE
    total = len(cases.kind)
    worst = int(np.argmax(error))
    chosen: list[tuple[str, int]] = []
    for kind, name in (("move", "move"), ("remove", "removal"), ("action", "change of plan")):
        chosen += _median(f"Typical {name}", error, felt & cases.of(kind))
    spillover = np.where(cases.of("spillover"), effect, -1.0)
    chosen.append((f"Largest knock-on effect of {int(cases.of('spillover').sum())}", int(np.argmax(spillover))))
    chosen += _median("Nothing else changes", error, (effect < QUIET) & cases.of("spillover"))
    unique = {case: title for title, case in reversed(chosen) if case != worst}
    shown = [(title, case) for title, case in chosen if unique.get(case) == title]
    return [*shown, (f"Worst of {total}", worst)]


def _sizes(whatifs: WhatIfs) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """`[M]` largest true effect and largest error of the imagined one, over unedited objects at the horizon [m]."""
    scored, model, truth = whatifs.cases.scored, whatifs.sources[MODEL], whatifs.cases.truth
    if model.answered is not None:
        # A question the model cannot be asked is neither typical nor its worst answer.
        scored = scored & model.answered[:, None]
    effect = np.where(scored, influenced(truth), 0.0)
    error = np.where(scored, np.linalg.norm((model.effect - truth.effect)[:, -1], axis=-1), 0.0)
    return effect.max(1), error.max(1)


def _median(title: str, error: NDArray[np.float64], among: NDArray[np.bool_]) -> list[tuple[str, int]]:
    """The case of median error among some."""
    rows = np.flatnonzero(among)
    return [(title, int(rows[np.argsort(error[rows], kind="stable")[len(rows) // 2]]))] if len(rows) else []


def describe(whatifs: WhatIfs, case: int, title: str) -> WhatIfCase:
    """One case as the page shows it."""
    contexts, question, context = whatifs.contexts, whatifs.questions[case], int(whatifs.where[case])
    objects = contexts.history.objects
    tracks = []
    for column, k in enumerate(contexts.movable):
        if not contexts.present[context, column]:
            continue
        edited = objects.names[k] in question.entities
        gone = Intervention("remove", objects.names[k]) in question.edits
        paths = [_seen(whatifs.factual.position[context, :, k], whatifs.factual.quaternion[context, :, k])]
        for source in (whatifs.truth, whatifs.imagined):
            path = _seen(source.position[case, :, k], source.quaternion[case, :, k])
            paths.append(path[:0] if gone else path)
        red, green, blue = (float(c) for c in objects.colour[context, -1, k])
        half = (float(objects.half_extents[context, -1, k, 0]), float(objects.half_extents[context, -1, k, 1]))
        tracks.append(Track(objects.names[k], (red, green, blue), half, edited, *paths))
    tool = next(k for k, kind in enumerate(objects.kind) if int(kind) in TOOLS)
    return WhatIfCase(
        title,
        str(question),
        _sentence(whatifs, case),
        tuple(tracks),
        whatifs.factual.position[context, :, tool, :2],
        whatifs.truth.position[case, :, tool, :2],
    )


def _seen(position: Floats, quaternion: Floats) -> Floats:
    return np.concatenate([position[:, :2], yaw_of(quaternion)[:, None]], axis=1)


def _sentence(whatifs: WhatIfs, case: int) -> str:
    scored = whatifs.cases.scored[case]
    truth, model = whatifs.cases.truth[case : case + 1], whatifs.sources[MODEL][case : case + 1]
    felt, imagined = influenced(truth)[0] * scored, influenced(model)[0] * scored
    names = [name.replace("_", " ") for name in whatifs.contexts.names]
    j = int(np.argmax(np.maximum(felt, imagined)))
    off = 1000 * float(np.linalg.norm((model.effect - truth.effect)[0, -1, j]))
    missed = np.linalg.norm((model.counterfactual_position - truth.counterfactual_position)[0, -1], axis=-1) * scored
    lost = int(np.argmax(missed))
    wrong = f", though it misplaces the {names[lost]} by {1000 * missed[lost]:.0f}\N{NO-BREAK SPACE}mm either way"
    if felt[j] < QUIET:
        stray = f"lets the {names[j]} stray by {1000 * imagined[j]:.1f}\N{NO-BREAK SPACE}mm"
        return (
            f"In MuJoCo no other object is affected. The model "
            f"{stray if imagined[j] > QUIET else 'agrees'}{wrong if missed[lost] > EDGE else ''}."
        )
    return (
        f"The {names[j]} would have ended {1000 * felt[j]:.0f}\N{NO-BREAK SPACE}mm from where it did. The model says "
        f"{1000 * imagined[j]:.0f}\N{NO-BREAK SPACE}mm, and misses the difference by {off:.0f}\N{NO-BREAK SPACE}mm."
    )


def graph(simulation: Simulation, model: Imagine, whatifs: WhatIfs) -> InfluenceGraph:
    """Every object taken away in turn, and the arm held, at the instant that has the most arrows in MuJoCo.

    Of instants at which the nudged simulator agrees with itself, where there are any: elsewhere the arrows themselves
    are a matter of chance.
    """
    contexts = whatifs.contexts
    strength, chance = np.zeros(len(contexts)), np.zeros(len(contexts))
    scored, felt = whatifs.cases.scored, influenced(whatifs.cases.truth) > EDGE
    np.add.at(strength, whatifs.where, (scored & felt).sum(1))
    if whatifs.calm is not None:
        np.add.at(chance, whatifs.where, (scored & ~whatifs.calm).sum(1))
    # Instants without chance first, then those in which most is felt.
    candidates = np.lexsort((-strength, chance > 0))[:_GRAPH_CANDIDATES]
    candidates = candidates[(chance[candidates] > 0) == (chance[candidates[0]] > 0)]
    names = contexts.names
    edits = [Intervention("action", mode="hold"), *(Intervention("remove", name) for name in names)]
    asked = [Question(int(context), (edit,)) for context in candidates for edit in edits]
    changed = simulate(simulation, contexts, asked)
    truth = paired(whatifs.factual, changed, context_of(asked), contexts.movable)
    shape = (len(candidates), len(edits), len(names))
    sizes = influenced(truth).reshape(shape)
    there = contexts.present[candidates]
    # Neither an absent cause nor an absent effect is an arrow, nor an object's effect on itself.
    valid = np.concatenate([np.ones((shape[0], 1), bool), there], axis=1)[:, :, None] & there[:, None, :]
    valid[:, 1 + np.arange(len(names)), np.arange(len(names))] = False
    best = int(np.argmax(((sizes > EDGE) & valid).sum((1, 2))))
    context = int(candidates[best])
    of_best = [Question(context, (edit,)) for edit in edits]
    said = imagine(model, contexts, of_best)
    imagined = influenced(paired(whatifs.imagined_factual, said, context_of(of_best), contexts.movable))
    colour = {"arm": _ARM_COLOUR}
    for k, name in zip(contexts.movable, names, strict=True):
        red, green, blue = (float(c) for c in contexts.history.objects.colour[context, -1, k])
        colour[name] = (red, green, blue)
    kept = np.flatnonzero(there[best])
    rows = np.concatenate([[0], 1 + kept])
    mask = valid[best][np.ix_(rows, kept)]
    present = tuple(names[k] for k in kept)
    return InfluenceGraph(
        ("arm", *present),
        present,
        colour,
        np.where(mask, sizes[best][np.ix_(rows, kept)], np.nan),
        np.where(mask, imagined[np.ix_(rows, kept)], np.nan),
    )
