"""What a reward network learns from: pairs of objects as they are seen, and what truly holds between them.

Labels are exact margins on true states; features come from the same states as something might see them. A state is
judged for many literals at once, of other objects and of other words: goals are relabelled, none is its own.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embodied.data.arrangements import arrange, perturb
from embodied.data.goals import draw_literals, goals_that_hold
from embodied.data.pairs import minimal_pairs
from embodied.data.play import PlayConfig, play_batch
from envs.experts import expert
from envs.goals import Goal, Literal, margins
from envs.scene import build_scene
from envs.simulation import Simulation
from envs.tasks import TASKS
from envs.types import ObjectState, Observation
from envs.worlds import TaskWorlds
from world_models.reward.learned import bent
from world_models.reward.network import knee
from world_models.reward.relations import Pairs
from world_models.reward.relations_kernel import features_fast

EXACT = 0.5
"""Share of worlds that are seen exactly."""
SPREAD = (0.0005, 0.02)
"""[m] how far off the others are, standard deviation of a coordinate."""
HIDDEN = 0.1
"""Share of entities that are occluded, and worse off."""
FAR = 0.3
"""Share kept of literals that fail by more than `CLOSE`: most of any state is far from true."""
CLOSE = 3.0
"""On the logarithmic scale: about 10 cm."""


@dataclass(frozen=True)
class Lessons:
    """R rows, and N pairs of rows of which the first should be rated higher."""

    features: NDArray[np.float32]
    """`[R F]` of plain literals."""
    predicate: NDArray[np.int64]
    """`[R]`."""
    level: NDArray[np.float32]
    """`[R]` true margin on the logarithmic scale; the literal holds where it is positive."""
    pairs: NDArray[np.int64]
    """`[N 2]` rows."""

    @classmethod
    def join(cls, parts: Sequence["Lessons"]) -> "Lessons":
        """All rows and pairs."""
        starts = np.cumsum([0, *(len(part.level) for part in parts[:-1])])
        return cls(
            np.concatenate([part.features for part in parts]),
            np.concatenate([part.predicate for part in parts]),
            np.concatenate([part.level for part in parts]),
            np.concatenate([part.pairs + start for part, start in zip(parts, starts, strict=True)]),
        )


@dataclass(frozen=True)
class LessonsConfig:
    """How many lessons."""

    states: int = 150
    """Draws of 64 random tabletops, each judged for 64 literals."""
    pairs: int = 80
    """Draws of minimal pairs."""
    boxes: int = 4
    """Most boxes on a random tabletop."""
    episodes: int = 32
    """Worlds of each task that experts are watched in; 0 is random tabletops alone."""


def gather(
    config: LessonsConfig, seed: int, *, held_out: bool = False, progress: Callable[[int, int], None] | None = None
) -> Lessons:
    """All that a network learns from; or a tenth as much that it does not learn from."""
    rng = np.random.default_rng((seed, 1 if held_out else 0))
    states, pairs = (max(1, n // 10 if held_out else n) for n in (config.states, config.pairs))
    parts: list[Lessons] = []
    for index in range(states + pairs):
        draw = drawn_states if index < states else drawn_pairs
        parts.append(draw(rng, 1 + index % config.boxes))
        if progress is not None:
            progress(index + 1, states + pairs)
    if config.episodes:
        for watched in episodes(2 * seed + held_out, config.episodes):
            parts += [episode_lessons(rng, watched) for _ in range(1 if held_out else 4)]
    return Lessons.join(parts)


def noise(rng: np.random.Generator, worlds: int) -> NDArray[np.float64]:
    """How far off the poses of each world are `[B]` [m]."""
    return np.where(rng.random(worlds) < EXACT, 0.0, rng.uniform(*SPREAD, worlds))


def lessons_of(truth: ObjectState, seen: ObjectState, literals: Sequence[Literal]) -> Lessons:
    """Every literal, plain, on every state `[B K ...]`: rows in the order `[B L]`, no pairs."""
    plain = [Literal(one.predicate, one.arguments, one.parameters, one.frame) for one in literals]
    related = Pairs.of(plain, seen)
    knees = np.array([knee(one) for one in plain])
    level = bent(np.asarray(margins(plain, truth)), knees)
    worlds = truth.shape[0]
    return Lessons(
        features_fast(seen, related).reshape(worlds * len(plain), -1),
        np.tile(related.predicate, worlds),
        level.reshape(-1).astype(np.float32),
        np.zeros((0, 2), np.int64),
    )


def balanced(rng: np.random.Generator, lessons: Lessons) -> Lessons:
    """Without most of the rows that fail by far; for lessons without pairs."""
    kept = (lessons.level > -CLOSE) | (rng.random(len(lessons.level)) < FAR)
    return Lessons(lessons.features[kept], lessons.predicate[kept], lessons.level[kept], lessons.pairs)


def drawn_states(rng: np.random.Generator, boxes: int, worlds: int = 64, literals: int = 64) -> Lessons:
    """Literals on random tabletops."""
    truth = arrange(rng, worlds, boxes)
    seen = perturb(rng, truth, noise(rng, worlds), hidden=HIDDEN)
    return balanced(rng, lessons_of(truth, seen, draw_literals(rng, truth, literals)))


def drawn_pairs(rng: np.random.Generator, boxes: int, worlds: int = 64, goals: int = 24) -> Lessons:
    """Minimal pairs for goals of one or two literals on random tabletops."""
    truth = arrange(rng, worlds, boxes)
    found, _ = goals_that_hold(rng, truth, int(rng.integers(1, 3)))
    parts = []
    for goal in [found[i] for i in rng.permutation(len(found))[:goals]]:
        flipped = int(rng.integers(len(goal.literals)))
        pairs = minimal_pairs(rng, goal.literals, flipped, truth)
        count = len(pairs.world)
        if not count:
            continue
        both = ObjectState.concat([pairs.better, pairs.worse])
        seen = perturb(rng, both, np.tile(noise(rng, count), 2), hidden=HIDDEN)
        lessons = lessons_of(both, seen, goal.literals)
        rows: NDArray[np.int64] = np.arange(2 * count).reshape(2, count).T * len(goal.literals) + flipped
        # A plain literal is higher where a negated one is lower.
        rows = rows[:, ::-1] if goal.literals[flipped].negated else rows
        parts.append(Lessons(lessons.features, lessons.predicate, lessons.level, rows))
    return Lessons.join(parts)


def episode_lessons(rng: np.random.Generator, states: ObjectState, literals: int = 24) -> Lessons:
    """Literals on states of episodes `[N T K ...]`, and pairs of instants, forward and rewound alike."""
    worlds, times = states.shape
    drawn = states[np.arange(worlds)[:, None], np.sort(rng.integers(times, size=(worlds, 4)), axis=1)]
    truth = drawn.map(lambda array: array.reshape(-1, *array.shape[2:]))
    seen = perturb(rng, truth, np.repeat(noise(rng, worlds), 4), hidden=HIDDEN)
    chosen = draw_literals(rng, truth, literals)
    lessons = lessons_of(truth, seen, chosen)
    level = lessons.level.reshape(worlds, 4, len(chosen))
    rows = np.arange(level.size).reshape(level.shape)
    pairs: list[NDArray[np.int64]] = []
    for early, late in ((0, 1), (1, 3)):
        rises = level[:, late] - level[:, early]
        moved = abs(rises) > 0.05
        better = np.where(rises > 0, rows[:, late], rows[:, early])[moved]
        worse = np.where(rises > 0, rows[:, early], rows[:, late])[moved]
        pairs.append(np.stack([better, worse], axis=-1))
    return Lessons(lessons.features, lessons.predicate, lessons.level, np.concatenate(pairs))


TASKS_WATCHED = ("push", "lift", "place", "place_bin", "place_clutter")


def expert_states(name: str, seed: int, worlds: int, shake: float = 0.3) -> ObjectState:
    """States `[N T K ...]` of a task's expert in MuJoCo, disturbed by so large a standard deviation of actions."""
    rng = np.random.default_rng((seed, 7))
    simulated = TaskWorlds(TASKS[name], worlds, seed, threads=1)
    demonstrator = expert(name)
    seen = [simulated.observation]
    for _ in range(simulated.task.horizon):
        action = demonstrator.act(seen[-1], simulated.task.goal)
        action = action + shake * rng.standard_normal(action.shape)
        seen.append(simulated.step(np.clip(action, -1.0, 1.0)).next_observation)
    return Observation.stack(seen, axis=1).objects


def episodes(seed: int, worlds: int = 32) -> Iterator[ObjectState]:
    """States `[N T K ...]` of experts at every task that has an object, and of play."""
    for name in TASKS_WATCHED:
        yield expert_states(name, seed, worlds)
    config = PlayConfig(worlds=2 * worlds, branches=0.0, threads=1)
    played = play_batch(Simulation(build_scene(config.scene), config.worlds, 1), config, (seed, 0))
    yield ObjectState.stack([episode.observation.objects for episode in played])


def mined_lessons(goals: Sequence[Goal], states: Sequence[ObjectState]) -> Lessons:
    """What an adversary proposed for each goal `[n K ...]`, labelled; seen exactly, as it was when it deceived."""
    return Lessons.join([lessons_of(each, each, goal.literals) for goal, each in zip(goals, states, strict=True)])
