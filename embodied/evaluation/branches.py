"""Carries out what-ifs: the same edits and the same actions in MuJoCo and in a model, many branches at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embodied.evaluation.contexts import Contexts, move
from embodied.evaluation.whatif_metrics import Branches
from envs.errors import EmbodiedError
from envs.interventions import Intervention, apply_to_state, edit_actions
from envs.simulation import Simulation, SimulationState
from envs.types import Array, ObjectState, Observation, Rollout

Imagine = Callable[[Observation, Array], Rollout]
"""A model: histories `[M W ...]` (the present last) and actions `[M H A]` to what follows `[M H+1 ...]`."""

NUDGE = 1e-4
"""[m] The shift of every object under which the chaos floor is measured: less than any camera resolves."""
REDRAWS = 12
"""A move that finds no room is drawn again this often."""
_HEADINGS = 8


@dataclass(frozen=True)
class Paths:
    """What M branches lead to."""

    position: NDArray[np.float64]
    """`[M H+1 K 3]` of all K entities [m]."""
    quaternion: NDArray[np.float64]
    """`[M H+1 K 4]`."""
    uncertainty: NDArray[np.float64] | None = None
    """`[M H+1 K]` [m]."""
    proprioception: NDArray[np.float64] | None = None
    """`[M H+1 P]`."""


def exact(simulation: Simulation, contexts: Contexts, seen: Paths) -> None:
    """Raise `EmbodiedError` unless replayed factual branches `[C]` equal what was recorded, bit for bit.

    Without this, solver warm starts and rounded actions count as effects: a fifth of all influence edges measured that
    way are not there.
    """
    position = np.asarray(contexts.recorded.position_in_world)
    quaternion = np.asarray(contexts.recorded.quaternion_in_world)
    if not (np.array_equal(position, seen.position) and np.array_equal(quaternion, seen.quaternion)):
        off = np.abs(position - seen.position).max(axis=(1, 2, 3))
        worst = int(off.argmax())
        raise EmbodiedError(
            f"The replay of episode {contexts.place[worst, 0]} from step {contexts.place[worst, 1]} differs from the "
            f"recording by {1000 * off[worst]:.3g} mm; what-ifs need the scene, the actions and the version of MuJoCo "
            "that it was recorded with."
        )


def simulate(
    simulation: Simulation,
    contexts: Contexts,
    where: NDArray[np.int64],
    edits: Sequence[Intervention | None],
    nudges: NDArray[np.int64] | None = None,
) -> Paths:
    """Run M branches in MuJoCo, as many at a time as the simulation has worlds.

    Args:
        simulation: of the scene the contexts were recorded in; left in an arbitrary state.
        contexts: where to branch from.
        where: `[M]` context of each branch.
        edits: M interventions; None changes nothing.
        nudges: `[M K]` per entity, the heading (0..7) of a shift by `NUDGE`; -1 for none. None nudges nothing.

    Raises:
        EmbodiedError: for an edit that MuJoCo refuses, see `settle`.
    """
    parts = []
    for start in range(0, len(where), simulation.worlds):
        some = slice(start, start + simulation.worlds)
        parts.append(
            _simulate(simulation, contexts, where[some], edits[some], None if nudges is None else nudges[some])
        )
    return Paths(
        np.concatenate([part[0] for part in parts]),
        np.concatenate([part[1] for part in parts]),
        proprioception=np.concatenate([part[2] for part in parts]),
    )


def _simulate(
    simulation: Simulation,
    contexts: Contexts,
    where: NDArray[np.int64],
    edits: Sequence[Intervention | None],
    nudges: NDArray[np.int64] | None,
) -> tuple[NDArray[np.float64], ...]:
    count = len(where)
    ids = np.arange(count)
    simulation.restore(SimulationState(contexts.state[where]), ids)
    for index, edit in enumerate(edits):
        if edit is not None and edit.kind != "action":
            simulation.do(edit, ids[index : index + 1])
    if nudges is not None:
        # After the edit: a nudge is too small to be refused, an edit after it might be.
        _nudge(simulation, ids, nudges)
    actions = np.zeros((simulation.worlds, contexts.horizon, contexts.action.shape[-1]))
    actions[:count] = plans(contexts, where, edits)
    seen = [simulation.observe()[:count]]
    seen += [simulation.step(actions[:, step])[:count] for step in range(contexts.horizon)]
    return (
        np.stack([observation.objects.position_in_world for observation in seen], axis=1),
        np.stack([observation.objects.quaternion_in_world for observation in seen], axis=1),
        np.stack([observation.proprioception for observation in seen], axis=1),
    )


def _nudge(simulation: Simulation, ids: NDArray[np.int64], nudges: NDArray[np.int64]) -> None:
    for k, name in enumerate(simulation.scene.names):
        for heading in range(_HEADINGS):
            chosen = ids[nudges[:, k] == heading]
            angle = 2 * np.pi * heading / _HEADINGS
            if len(chosen):
                shift = {"x": NUDGE * np.cos(angle), "y": NUDGE * np.sin(angle)}
                simulation.do(Intervention("move", name, shift), chosen)


def draw_nudges(contexts: Contexts, generator: np.random.Generator) -> NDArray[np.int64]:
    """`[C K]` a heading for every movable object, -1 for other entities."""
    nudges = np.full((len(contexts), len(contexts.history.objects.names)), -1, dtype=np.int64)
    nudges[:, contexts.movable] = generator.integers(_HEADINGS, size=(len(contexts), len(contexts.movable)))
    return nudges


def settle(
    simulation: Simulation,
    contexts: Contexts,
    where: NDArray[np.int64],
    edits: Sequence[Intervention],
    generator: np.random.Generator,
) -> tuple[NDArray[np.int64], list[Intervention]]:
    """The edits MuJoCo accepts: a move into another solid is drawn again, and dropped where no room is found."""
    kept, accepted = [], []
    for context, edit in zip(where.tolist(), edits, strict=True):
        candidate: Intervention | None = edit
        if edit.kind == "move":
            candidate = _with_room(simulation, contexts.state[context : context + 1], edit, generator)
        if candidate is not None:
            kept.append(context)
            accepted.append(candidate)
    return np.array(kept, dtype=np.int64), accepted


def _with_room(
    simulation: Simulation, state: Array, edit: Intervention, generator: np.random.Generator
) -> Intervention | None:
    for _ in range(REDRAWS):
        simulation.restore(SimulationState(state), np.array([0]))
        try:
            simulation.do(edit, np.array([0]))
        except EmbodiedError:
            edit = move(str(edit.entity), generator)
        else:
            return edit
    return None


def plans(contexts: Contexts, where: NDArray[np.int64], edits: Sequence[Intervention | None]) -> NDArray[np.float64]:
    """`[M H A]` the actions of every branch, edited where its intervention edits actions."""
    actions = np.array(contexts.action[where], dtype=np.float64)
    for index, edit in enumerate(edits):
        if edit is not None and edit.kind == "action":
            actions[index] = edit_actions(edit, actions[index], contexts.previous[where[index]])
    return actions


def histories(
    contexts: Contexts,
    where: NDArray[np.int64],
    edits: Sequence[Intervention | None],
    only: NDArray[np.int64] | None = None,
) -> Observation:
    """`[M W ...]` what a model is shown: the history with the edit in every frame, so that velocities stay true.

    `only` `[M]` leaves one movable entity (its index) in each branch and takes the others away. Raises `EmbodiedError`
    for an edit of gravity, which no history can show.
    """
    if any(edit is not None and edit.kind == "gravity" for edit in edits):
        raise EmbodiedError("The world model has only ever seen one gravity; ask about something else.")
    shown = contexts.history[where]
    names = contexts.history.objects.names
    changed: list[ObjectState] = []
    for index, edit in enumerate(edits):
        objects = shown.objects[index]
        if edit is not None and edit.kind != "action":
            objects = apply_to_state(edit, objects, time_axis=0)
        if only is not None:
            for k in contexts.movable:
                if k != only[index]:
                    objects = apply_to_state(Intervention("remove", names[k]), objects)
        changed.append(objects)
    return Observation(shown.proprioception, ObjectState.stack(changed), shown.time)


def imagine(
    model: Imagine,
    contexts: Contexts,
    where: NDArray[np.int64],
    edits: Sequence[Intervention | None],
    only: NDArray[np.int64] | None = None,
) -> Paths:
    """Run M branches in a model, under the same edits and actions as `simulate`."""
    rollout = model(histories(contexts, where, edits, only), plans(contexts, where, edits))
    observation = rollout.observation.map(lambda array: np.asarray(array, dtype=np.float64))
    uncertainty = None if rollout.uncertainty is None else np.asarray(rollout.uncertainty, dtype=np.float64)
    return Paths(
        observation.objects.position_in_world,
        observation.objects.quaternion_in_world,
        uncertainty,
        observation.proprioception,
    )


def paired(factual: Paths, counterfactual: Paths, where: NDArray[np.int64], movable: Sequence[int]) -> Branches:
    """Factual branches `[C]` and what-if branches `[M]` side by side, movable objects only."""
    chosen = list(movable)
    return Branches(
        factual.position[where][:, :, chosen],
        factual.quaternion[where][:, :, chosen],
        counterfactual.position[:, :, chosen],
        counterfactual.quaternion[:, :, chosen],
    )
