"""Carries out what-ifs: the same edits and the same actions in MuJoCo and in a model, many branches at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from embodied.evaluation.contexts import Contexts
from embodied.evaluation.questions import Question, redraw
from envs.episode import Rollout
from envs.errors import EmbodiedError
from envs.interventions import Intervention, apply_to_state, edit_actions
from envs.simulation import Simulation
from envs.types import Array, ObjectState, Observation
from envs.world_states import SimulationState

Imagine = Callable[[Observation, Array], Rollout]
"""A model: histories `[M W ...]` (the present last) and actions `[M H A]` to what follows `[M H+1 ...]`."""

NUDGE = 1e-4
"""[m] The shift of every object under which the chaos floor is measured: less than any camera resolves."""
REDRAWS = 12
"""An edit that finds no room is drawn again this often."""
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
    touching: NDArray[np.bool_] | None = None
    """`[M H+1 K+1 K+1]` see `envs.touching`; only of a simulator that was asked."""


@dataclass(frozen=True)
class Disturbance:
    """How a simulator differs from the truth where it is scored as a model."""

    nudges: NDArray[np.int64] | None = None
    """`[C K]` per context and entity, the heading (0..7) of a shift by `NUDGE`; -1 for none."""
    mass: float = 1.0
    """Factor on the mass of every object."""


def exact(contexts: Contexts, seen: Paths) -> None:
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


def unedited(contexts: Contexts) -> list[Question]:
    """The factual branch of every context."""
    return [Question(context) for context in range(len(contexts))]


def context_of(questions: Sequence[Question]) -> NDArray[np.int64]:
    """`[M]` the context of each question."""
    return np.array([question.context for question in questions], dtype=np.int64)


def simulate(
    simulation: Simulation,
    contexts: Contexts,
    questions: Sequence[Question],
    disturbance: Disturbance | None = None,
    contacts: bool = False,
) -> Paths:
    """Run a branch per question in MuJoCo, as many at a time as the simulation has worlds.

    Args:
        simulation: of the scene the contexts were recorded in; left in an arbitrary state.
        contexts: where to branch from.
        questions: what to change; nothing, too, is a question.
        disturbance: makes the simulator a near-perfect model of itself; None is the truth.
        contacts: whether to find who touches whom after every control step.

    Raises:
        EmbodiedError: for an edit that MuJoCo refuses, see `settle`.
    """
    if not questions:
        raise EmbodiedError("No what-if was given to simulate; give one or more.")
    parts = [
        _simulate(simulation, contexts, questions[start : start + simulation.worlds], disturbance, contacts)
        for start in range(0, len(questions), simulation.worlds)
    ]
    return Paths(
        np.concatenate([part.position for part in parts]),
        np.concatenate([part.quaternion for part in parts]),
        proprioception=np.concatenate([np.asarray(part.proprioception) for part in parts]),
        touching=np.concatenate([np.asarray(part.touching) for part in parts]) if contacts else None,
    )


def _simulate(
    simulation: Simulation,
    contexts: Contexts,
    questions: Sequence[Question],
    disturbance: Disturbance | None,
    contacts: bool,
) -> Paths:
    where, count = context_of(questions), len(questions)
    ids = np.arange(count)
    simulation.restore(SimulationState(contexts.state[where]), ids)
    for index, question in enumerate(questions):
        for edit in question.state_edits:
            simulation.do(edit, ids[index : index + 1])
    if disturbance is not None:
        # After the edits: a nudge is too small to be refused, an edit after it might be.
        _disturb(simulation, ids, where, disturbance)
    actions = np.zeros((simulation.worlds, contexts.horizon, contexts.action.shape[-1]))
    actions[:count] = plans(contexts, questions)
    seen, touched = [simulation.observe()[:count]], []
    if contacts:
        from envs.touching import touching

        touched.append(touching(simulation, ids))
    for step in range(contexts.horizon):
        seen.append(simulation.step(actions[:, step])[:count])
        if contacts:
            touched.append(touching(simulation, ids))
    return Paths(
        np.stack([observation.objects.position_in_world for observation in seen], axis=1),
        np.stack([observation.objects.quaternion_in_world for observation in seen], axis=1),
        proprioception=np.stack([observation.proprioception for observation in seen], axis=1),
        touching=np.stack(touched, axis=1) if contacts else None,
    )


def _disturb(
    simulation: Simulation, ids: NDArray[np.int64], where: NDArray[np.int64], disturbance: Disturbance
) -> None:
    if disturbance.mass != 1.0:
        parameters = simulation.parameters[ids]
        simulation.fields.write(ids, replace(parameters, mass=disturbance.mass * parameters.mass))
    if disturbance.nudges is None:
        return
    nudges = disturbance.nudges[where]
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
    simulation: Simulation, contexts: Contexts, questions: Sequence[Question], generator: np.random.Generator
) -> list[Question]:
    """The questions MuJoCo accepts: an edit that it refuses is drawn again, and dropped where no room is found."""
    kept = [_with_room(simulation, contexts, question, generator) for question in questions]
    return [question for question in kept if question is not None]


def _with_room(
    simulation: Simulation, contexts: Contexts, question: Question, generator: np.random.Generator
) -> Question | None:
    if not any(edit.kind in ("move", "size") for edit in question.edits):
        return question
    world = np.array([0])
    for _ in range(REDRAWS):
        simulation.restore(SimulationState(contexts.state[question.context : question.context + 1]), world)
        try:
            for edit in question.state_edits:
                simulation.do(edit, world)
        except EmbodiedError:
            question = redraw(question, contexts, generator)
        else:
            return question
    return None


def plans(contexts: Contexts, questions: Sequence[Question]) -> NDArray[np.float64]:
    """`[M H A]` the actions of every branch: another context's where the question says so, edited where it does."""
    source = [question.context if question.plan is None else question.plan for question in questions]
    actions = np.array(contexts.action[source], dtype=np.float64)
    for index, question in enumerate(questions):
        for edit in question.edits:
            actions[index] = edit_actions(edit, actions[index], contexts.previous[question.context])
    return actions


def histories(contexts: Contexts, questions: Sequence[Question], only: int | None = None) -> Observation:
    """`[M W ...]` what a model is shown: the history with the edits in every frame, so that velocities stay true.

    `only` leaves one movable entity (its index) in every branch and takes the others away. Raises `EmbodiedError`
    for an edit that no history can show, see `questions.UNSHOWN`.
    """
    for question in questions:
        if not question.answerable:
            raise EmbodiedError(
                f"{question}: the world model has only ever seen one gravity and one servo; ask about something else."
            )
    shown = contexts.history[context_of(questions)]
    names = contexts.history.objects.names
    changed: list[ObjectState] = []
    for index, question in enumerate(questions):
        objects = shown.objects[index]
        for edit in question.state_edits:
            objects = apply_to_state(edit, objects, time_axis=0)
        changed.append(objects)
    objects = ObjectState.stack(changed)
    if only is not None:
        for k in contexts.movable:
            if k != only:
                objects = apply_to_state(Intervention("remove", names[k]), objects)
    return Observation(shown.proprioception, objects, shown.time)


def imagine(model: Imagine, contexts: Contexts, questions: Sequence[Question], only: int | None = None) -> Paths:
    """Run a branch per question in a model, under the same edits and actions as `simulate`."""
    rollout = model(histories(contexts, questions, only), plans(contexts, questions))
    observation = rollout.observation.map(lambda array: np.asarray(array, dtype=np.float64))
    uncertainty = None if rollout.uncertainty is None else np.asarray(rollout.uncertainty, dtype=np.float64)
    return Paths(
        observation.objects.position_in_world,
        observation.objects.quaternion_in_world,
        uncertainty,
        observation.proprioception,
    )
