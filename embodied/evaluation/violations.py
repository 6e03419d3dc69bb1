"""Instants in which physics is broken, by the simulator: what follows looks right frame by frame, and cannot be."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from embodied.evaluation.contexts import Contexts
from embodied.evaluation.strata import TOLERANCE
from envs.errors import EmbodiedError
from envs.geometry import yaw_of
from envs.interventions import Intervention
from envs.simulation import Simulation
from envs.types import ObjectState, Observation
from envs.world_states import SimulationState

VIOLATIONS = ("teleport", "swap", "vanish", "pass_through", "mass")
CONTROL = "colour"
STEPS = 4
"""Frames that are watched after the instant; most violations happen in the first of them."""
MASS = 5.0
"""Factor, up or down, by which `mass` changes what is in play, untold."""
_TRIES = 8


@dataclass(frozen=True)
class Watched:
    """What was seen of C contexts: their history and `STEPS` frames more."""

    frames: Observation
    """`[C W+STEPS ...]`."""
    broken: NDArray[np.bool_]
    """`[C]` whether something impossible, and visible, happens in it."""


def _nothing(simulation: Simulation, rows: NDArray[np.int64]) -> None:
    pass


@dataclass(frozen=True)
class Breaking:
    """What interferes with contexts `rows`, each in the world of its place among them."""

    before: Callable[[Simulation, NDArray[np.int64]], None] = _nothing
    """At the instant."""
    after: Callable[[Simulation, NDArray[np.int64]], None] = _nothing
    """After the first step."""


def watch(simulation: Simulation, contexts: Contexts, breaking: Breaking = Breaking()) -> Observation:
    """`[C W+STEPS ...]` the history and what follows under the recorded actions, interfered with."""
    parts = []
    for start in range(0, len(contexts), simulation.worlds):
        rows = np.arange(start, min(start + simulation.worlds, len(contexts)))
        simulation.restore(SimulationState(contexts.state[rows]), np.arange(len(rows)))
        breaking.before(simulation, rows)
        actions = np.zeros((simulation.worlds, contexts.action.shape[-1]))
        seen = []
        for step in range(STEPS):
            actions[: len(rows)] = contexts.action[rows, step]
            simulation.step(actions)
            if step == 0:
                breaking.after(simulation, rows)
            seen.append(simulation.observe()[: len(rows)])
        parts.append(Observation.stack(seen, axis=1))
    return Observation.concat([replace(contexts.history, images={}), Observation.concat(parts)], axis=1)


def in_play(contexts: Contexts, clean: Observation) -> NDArray[np.int64]:
    """`[C]` the entity that moves most in the frames that follow."""
    position = np.asarray(clean.objects.position_in_world)[:, -STEPS - 1 :, contexts.movable]
    way = np.linalg.norm(position[:, -1] - position[:, 0], axis=-1)
    columns = np.where(contexts.present, way, -1.0).argmax(1)
    return np.asarray(np.array(contexts.movable)[columns], dtype=np.int64)


def violated(
    name: str,
    simulation: Simulation,
    contexts: Contexts,
    clean: Observation,
    target: NDArray[np.int64],
    generator: np.random.Generator,
) -> Watched:
    """The same instants with physics broken in one way, for the object in play."""
    names = contexts.history.objects.names
    instant, every = contexts.history.proprioception.shape[1], np.arange(len(contexts))

    def edited(draw: Callable[[int], list[Intervention]]) -> Callable[[Simulation, NDArray[np.int64]], None]:
        """Edits of every world, one after the other, drawn again as long as MuJoCo refuses one of them."""

        def act(simulation: Simulation, rows: NDArray[np.int64]) -> None:
            for world, context in enumerate(rows):
                saved = simulation.save(np.array([world]))
                for _ in range(_TRIES):
                    try:
                        for edit in draw(int(context)):
                            simulation.do(edit, np.array([world]))
                        break
                    except EmbodiedError:
                        simulation.restore(saved, np.array([world]))

        return act

    def heavier(simulation: Simulation, rows: NDArray[np.int64]) -> None:
        # In truth alone: what is declared, and so observed, stays.
        ids, parameters = np.arange(len(rows)), simulation.parameters[np.arange(len(rows))]
        mass = np.array(parameters.mass)
        mass[ids, target[rows] - (len(names) - mass.shape[1])] *= MASS ** generator.choice([-1, 1], len(rows))
        simulation.fields.write(ids, replace(parameters, mass=mass))

    breaking: Mapping[str, Breaking] = {
        "teleport": Breaking(after=edited(lambda c: [_far(names[target[c]], generator)])),
        "swap": Breaking(after=edited(lambda c: _swap(contexts, clean[c, instant].objects, target[c], generator, c))),
        "vanish": Breaking(after=edited(lambda c: [Intervention("remove", names[target[c]])])),
        "pass_through": Breaking(before=edited(lambda c: [Intervention("remove", names[target[c]])])),
        "mass": Breaking(before=heavier),
        CONTROL: Breaking(),
    }
    frames = watch(simulation, contexts, breaking[name])
    objects = frames.objects.map(np.array)
    if name == "pass_through":
        # What should stop or carry it goes right through: it stays where it was, at rest, and nobody feels it.
        still = contexts.history.objects[:, -1]
        for key in ("linear_velocity_in_world", "angular_velocity_in_world"):
            still = replace(still, **{key: np.zeros_like(getattr(still, key))})
        for key in (f for f in still.__dataclass_fields__ if f not in ("names", "kind")):
            getattr(objects, key)[every, instant:, target] = getattr(still, key)[every, target][:, None]
    if name == CONTROL:
        objects.colour[every, instant:, target] = generator.uniform(size=(len(contexts), 1, 3))
    frames = replace(frames, objects=objects)
    movable = contexts.movable
    shift = np.asarray(frames.objects.position_in_world - clean.objects.position_in_world)[:, :, movable]
    missing = np.asarray(frames.objects.present != clean.objects.present).any((1, 2))
    visible = (np.linalg.norm(shift, axis=-1) > TOLERANCE).any((1, 2)) | missing
    return Watched(frames, np.ones(len(contexts), bool) if name == CONTROL else visible)


def _far(name: str, generator: np.random.Generator) -> Intervention:
    distance, heading = generator.uniform(0.03, 0.08), generator.uniform(-np.pi, np.pi)
    return Intervention("move", name, {"x": distance * np.cos(heading), "y": distance * np.sin(heading)})


def _swap(
    contexts: Contexts, now: ObjectState, first: np.int64, generator: np.random.Generator, context: int
) -> list[Intervention]:
    """Two objects in each other's place, by way of the air; nothing where the object has no other beside it."""
    others = [k for k, there in zip(contexts.movable, contexts.present[context], strict=True) if there and k != first]
    if not others:
        return []
    pair = (int(first), int(generator.choice(others)))
    place = [dict(zip(("x", "y", "z"), map(float, now.position_in_world[k]), strict=True)) for k in pair]
    for k, pose in zip(pair, place, strict=True):
        pose["yaw"] = float(yaw_of(now.quaternion_in_world[k]))
    a, b = (now.names[k] for k in pair)
    aside = Intervention("move", a, {"z": 0.5}, mode="to")
    return [aside, Intervention("move", b, place[0], mode="to"), Intervention("move", a, place[1], mode="to")]
