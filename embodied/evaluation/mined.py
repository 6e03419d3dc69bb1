"""How well goals are read off examples: what a mined goal says of episodes it was not mined from."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from embodied.data.arrangements import perturb
from embodied.data.lessons import expert_states
from embodied.training.pixels import perceiver_of
from envs.cameras import CameraConfig, Cameras
from envs.errors import EmbodiedError
from envs.experts import expert
from envs.goals import Goal
from envs.tasks import TASKS
from envs.types import ObjectState
from envs.worlds import TaskWorlds
from world_models.reward.mining import mine, mine_pictures
from world_models.slots.pixels import PixelEncoder

TASKS_MINED = ("push", "lift", "place", "place_bin", "place_clutter", "stack")
_TRIES = 8


@dataclass(frozen=True)
class Read:
    """A mined goal against the one that was meant, on states of held-out episodes."""

    goal: Goal
    recall: float
    """Share of true successes that it calls so."""
    false: float
    """Share of what it calls success that is none."""


def read_off(name: str, examples: int, seed: int, worlds: int, spread: float = 0.0) -> Read:
    """Mine the goal of a task from so many of its expert's episodes, seen with so noisy poses [m].

    Examples are last states of successful episodes; no successes are all states of theirs before. Raises
    `EmbodiedError` where the expert does not succeed so often.
    """
    rng = np.random.default_rng((seed, 15))
    goal = TASKS[name].goal
    parts: list[ObjectState] = []
    for attempt in range(_TRIES):
        states = expert_states(name, _TRIES * seed + attempt, worlds)
        holds = np.asarray(goal.satisfied(states))
        good = np.flatnonzero(holds[:, -1] & ~holds[:, 0])
        parts += [states[int(world)] for world in good]
        if len(parts) >= examples:
            break
    if len(parts) < examples:
        raise EmbodiedError(f"The expert of {name!r} succeeded {len(parts)} times, {examples} examples were asked for.")
    shown = [_seen(rng, part, spread) for part in parts[:examples]]
    before = [seen[~np.asarray(goal.satisfied(part))] for seen, part in zip(shown, parts, strict=False)]
    mined = mine(ObjectState.stack([seen[-1] for seen in shown]), ObjectState.concat(before)).goal
    unseen = expert_states(name, 2**20 + seed, worlds)
    said, true = (np.asarray(each.satisfied(unseen)) for each in (mined, goal))
    return Read(mined, _share(said & true, true), _share(said & ~true, said))


def read_off_pictures(name: str, seed: int, worlds: int, encoder: PixelEncoder) -> list[Read]:
    """Per world the goal mined from one picture of its successful end and one of its beginning, camera frames alone."""
    task = TASKS[name]
    simulated, demonstrator = TaskWorlds(task, worlds, seed, threads=1), expert(name)
    first = seen = simulated.observation
    for _ in range(task.horizon):
        seen = simulated.step(demonstrator.act(seen, task.goal)).next_observation
    size = encoder.config.size
    views = [CameraConfig(camera, size, size) for camera in encoder.config.cameras]
    cameras = Cameras(simulated.simulation.scene, views, threads=1)
    pictures = [replace(each, images=cameras.render(each)) for each in (first, seen)]
    perceiver = perceiver_of(encoder, simulated.simulation.scene)
    unseen = expert_states(name, 2**20 + seed, worlds)
    true = np.asarray(task.goal.satisfied(unseen))
    reads: list[Read] = []
    for world in np.flatnonzero(task.goal.satisfied(seen.objects)):
        now, shown = (each[world : world + 1] for each in pictures)
        mined = mine_pictures(perceiver, shown, now).goal
        said = np.asarray(mined.satisfied(unseen))
        reads.append(Read(mined, _share(said & true, true), _share(said & ~true, said)))
    return reads


def _seen(rng: np.random.Generator, states: ObjectState, spread: float) -> ObjectState:
    return states if not spread else perturb(rng, states, np.full(states.shape[0], spread))


def _share(some: NDArray[np.bool_], of: NDArray[np.bool_]) -> float:
    return float(some.sum() / max(1, of.sum()))
