"""Play, which the world model learns from: pushes through chains of cubes, grasps, fumbling, and edited branches.

Policies of tasks touch one object and avoid the rest; a model that should answer what-ifs must see things hit each
other, and must see the same actions with a cube moved or gone. So layouts are tight, most strokes go through one cube
into another, and from a random instant on each episode is lived a second time with one cube edited.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from embodied.data.strokes import Stroke, draw_strokes, layouts
from envs.control import GRIPPER_RANGE, CartesianDelta
from envs.errors import EmbodiedError
from envs.geometry import box_signed_distance
from envs.goals import Goal
from envs.interventions import Intervention, apply_to_state
from envs.kinematics import forward
from envs.layout import Layout
from envs.scene import SceneConfig, build_scene
from envs.simulation import Simulation
from envs.types import PROPRIOCEPTION, Episode, ObjectState, Observation

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PlayConfig:
    """How play is recorded."""

    scene: SceneConfig = field(default_factory=lambda: SceneConfig(objects=("red_cube", "blue_cube", "green_cube")))
    worlds: int = 128
    """Worlds stepped together."""
    threads: int = 0
    """0 is one per core."""
    steps: int = 30
    """Control steps per episode."""
    branches: float = 0.8
    """Share of the worlds that are lived again with an edit."""
    history: int = 3
    """Frames before the edit that a branch shows, edited alike: what a model sees before it predicts."""
    variation: float = 0.3
    """Share of the worlds with other masses, frictions and sizes than nominal."""
    states: bool = False
    """Keep exact simulator states, which evaluation branches from."""


SHIFTS = 4
"""Different shifts per cube and batch: worlds that share one are edited in one call."""
SHIFT = (0.01, 0.07)
"""[m] how far a branch moves a cube."""
_GOAL = "on(red_cube, table)"


def play(config: PlayConfig, seed: int) -> Iterator[list[Episode]]:
    """Batches of episodes without end; batch i depends on `seed` and i alone."""
    simulation = Simulation(build_scene(config.scene), config.worlds, config.threads, CartesianDelta())
    batch = 0
    while True:
        yield play_batch(simulation, config, (seed, batch))
        batch += 1


def play_batch(simulation: Simulation, config: PlayConfig, seed: tuple[int, int]) -> list[Episode]:
    """One batch: an episode per world, and the edited branches of some of them."""
    generator = np.random.default_rng(seed)
    count = config.worlds
    layout = layouts(generator, count, len(config.scene.objects), config.variation)
    simulation.reset(layout)
    player = _Player(generator, count, simulation.observe())
    seen, states, actions = [simulation.observe()], [simulation.save().rows], []
    for _ in range(config.steps):
        action = player.act(seen[-1])
        actions.append(action)
        seen.append(simulation.step(action))
        if config.states:
            states.append(simulation.save().rows)
    observations, plan = Observation.stack(seen, axis=1), np.stack(actions, axis=1)
    rows = np.stack(states, axis=1) if config.states else None
    episodes = [_episode(observations[n], plan[n], seed, None if rows is None else rows[n]) for n in range(count)]
    if config.branches > 0 and not config.states:
        episodes += _branches(simulation, config, generator, layout, observations, plan, seed)
    return episodes


def _branches(
    simulation: Simulation,
    config: PlayConfig,
    generator: np.random.Generator,
    layout: Layout,
    observations: Observation,
    plan: Floats,
    seed: tuple[int, int],
) -> list[Episode]:
    """Live the batch again, with one cube of most worlds moved or taken away at some instant."""
    count, steps = plan.shape[:2]
    at = generator.integers(config.history + 1, steps - 6, size=4)
    when = at[generator.integers(4, size=count)]
    edits = _draw_edits(generator, observations, when, config)
    simulation.reset(layout)
    seen = [simulation.observe()]
    edited: dict[int, tuple[int, Intervention]] = {}
    for step in range(steps):
        for edit, worlds in edits.get(step, {}).items():
            try:
                simulation.do(edit, worlds)
            except EmbodiedError:
                # A solid of the arm that is no entity's box is in the way: these worlds stay as they are.
                continue
            edited |= {int(world): (step, edit) for world in worlds}
        if step in edits:
            seen[-1] = simulation.observe()
        seen.append(simulation.step(plan[:, step]))
    branch = Observation.stack(seen, axis=1)
    episodes = []
    for world, (step, edit) in sorted(edited.items()):
        first = step - config.history + 1
        before = observations[world, first:step]
        shown = replace(before, objects=apply_to_state(edit, before.objects))
        whole = Observation.concat([shown, branch[world, step:]])
        named = replace(edit, step=config.history - 1)
        episodes.append(replace(_episode(whole, plan[world, first:], seed, None), interventions=(named,)))
    return episodes


def _draw_edits(
    generator: np.random.Generator, observations: Observation, when: NDArray[np.int64], config: PlayConfig
) -> dict[int, dict[Intervention, NDArray[np.int64]]]:
    """Per step, the edits and the worlds they are made in; moves that would overlap something are left out."""
    worlds = np.arange(len(when))
    now = observations[worlds, when].objects
    names = config.scene.objects
    columns = np.array([now.index(name) for name in names])
    present = now.present[:, columns]
    chosen = np.argmax(present * generator.random(present.shape), axis=1)
    use = (generator.random(len(when)) < config.branches) & present.any(axis=1)
    removed = generator.random(len(when)) < 0.35
    distance = generator.uniform(*SHIFT, (len(names), SHIFTS))
    heading = generator.uniform(-np.pi, np.pi, (len(names), SHIFTS))
    pick = generator.integers(SHIFTS, size=len(when))
    edits: dict[int, dict[Intervention, NDArray[np.int64]]] = {}
    for step in np.unique(when):
        here: dict[Intervention, NDArray[np.int64]] = {}
        for index, name in enumerate(names):
            mine = use & (when == step) & (chosen == index)
            gone = np.flatnonzero(mine & removed)
            if len(gone):
                here[Intervention("remove", name)] = gone
            for k in range(SHIFTS):
                group = np.flatnonzero(mine & ~removed & (pick == k))
                far, angle = distance[index, k], heading[index, k]
                edit = Intervention("move", name, {"x": far * np.cos(angle), "y": far * np.sin(angle)})
                group = group[_free(apply_to_state(edit, now[group]), int(columns[index]))]
                if len(group):
                    here[edit] = group
        edits[int(step)] = here
    return edits


def _free(state: ObjectState, k: int) -> NDArray[np.bool_]:
    """Whether entity `k` keeps a millimetre from every other solid but the table, and stays on it."""
    others = [i for i in range(len(state.names)) if i != k and state.names[i] not in ("table", "gripper")]
    gap = box_signed_distance(
        state.position_in_world[:, None, k], state.quaternion_in_world[:, None, k], state.half_extents[:, None, k],
        state.position_in_world[:, others], state.quaternion_in_world[:, others], state.half_extents[:, others],
    )  # fmt: skip
    apart = np.where(state.present[:, others], gap, 1.0).min(axis=1) > 0.001
    x, y = state.position_in_world[:, k, 0], state.position_in_world[:, k, 1]
    free: NDArray[np.bool_] = apart & (x > 0.10) & (x < 0.40) & (np.abs(y) < 0.18)
    return free


class _Player:
    """Follows waypoints of the commanded tool; plans anew, looking at the scene, when a world has run out of them."""

    def __init__(self, generator: np.random.Generator, worlds: int, observation: Observation) -> None:
        self.generator = generator
        self.control = CartesianDelta()
        self.queue: list[list[Stroke]] = draw_strokes(generator, observation, np.arange(worlds))

    def act(self, observation: Observation) -> Floats:
        command = forward(np.asarray(observation.proprioception)[:, PROPRIOCEPTION["joint_target"]])
        finished = [n for n, queue in enumerate(self.queue) if not queue]
        if finished:
            ids = np.array(finished)
            for n, strokes in zip(finished, draw_strokes(self.generator, observation, ids), strict=True):
                self.queue[n] = strokes
        heads = [queue[0] for queue in self.queue]
        speed = np.array([stroke.speed for stroke in heads])[:, None]
        move = np.array([stroke.position for stroke in heads]) - command.position
        turn = np.remainder(np.array([stroke.yaw for stroke in heads]) - command.yaw + np.pi / 4, np.pi / 2) - np.pi / 4
        # Straight lines: the slowest axis sets the pace.
        longest = np.maximum(np.abs(move).max(axis=1, keepdims=True), 1e-9)
        move = move * np.minimum(1.0, speed * self.control.step / longest)
        left = np.linalg.norm(np.array([stroke.position for stroke in heads]) - command.position - move, axis=1)
        for n, stroke in enumerate(heads):
            self.queue[n][0] = stroke = replace(stroke, patience=stroke.patience - 1)
            if (left[n] < 0.003 and stroke.dwell <= 0) or stroke.patience <= 0:
                self.queue[n].pop(0)
            elif left[n] < 0.003:
                self.queue[n][0] = replace(stroke, dwell=stroke.dwell - 1)
        low, high = GRIPPER_RANGE
        gripper = 2.0 * (np.array([stroke.gripper for stroke in heads]) - low) / (high - low) - 1.0
        turn = turn / self.control.turn
        action = np.concatenate([move / self.control.step, turn[:, None], gripper[:, None]], axis=1)
        noise = self.generator.normal(size=action.shape) * np.array([stroke.noise for stroke in heads])[:, None]
        noise[:, 4] *= 0.2
        noisy: Floats = np.clip(action + noise, -1.0, 1.0)
        return noisy


def _episode(observation: Observation, action: Floats, seed: tuple[int, int], states: Floats | None) -> Episode:
    goal = Goal.parse(_GOAL)
    return Episode(
        observation=observation,
        action=action,
        success=np.zeros(len(action) + 1, bool),
        goal=goal,
        seed=seed[0],
        task="play",
        robot="sim",
        simulator_state=states,
    )
