"""Play, which the world model learns from: pushes through chains of objects, grasps, fumbling, and edited branches.

Policies of tasks touch one object and avoid the rest; a model that should answer what-ifs must see things hit each
other, and must see the same actions with one moved or gone. So layouts are tight, most strokes go through one object
into another, and from a random instant on each episode is lived a second time with one object edited.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from embodied.data import pushing, strokes
from embodied.data.edits import draw_edits
from envs.engine import BATCH, Engine
from envs.episode import Episode
from envs.errors import EmbodiedError, unknown
from envs.goals import Goal
from envs.interventions import Intervention, apply_to_state
from envs.scene import SceneConfig, build_scene
from envs.simulation import RAMP, Simulation
from envs.types import Array, Observation
from envs.world_states import SimulationState

Floats = NDArray[np.float64]
WORLDS = ("tabletop", "boxes", "chains", "hidden")
"""What can be played: cubes before an SO-101, and three worlds with a pusher, see `embodied.data.pushing`."""


@dataclass(frozen=True)
class PlayConfig:
    """How play is recorded."""

    scene: SceneConfig = field(default=None)  # type: ignore[assignment]
    """None takes the world's own: three cubes, or all that `pushing_scene` has."""
    worlds: int = 128
    """Worlds stepped together."""
    threads: int = 0
    """0 is one per core."""
    engine: Engine = BATCH
    """What steps them."""
    steps: int = 30
    """Control steps per episode."""
    branches: float = 0.8
    """Share of the worlds that are lived again with an edit."""
    history: int = 3
    """Recorded frames before the edit that a branch shows, edited alike: what a model sees before it predicts."""
    variation: float = 0.3
    """Share of the arm's worlds with other masses, frictions and sizes than nominal; with a pusher all have."""
    states: bool = False
    """Keep exact simulator states, which evaluation branches from; then there are no branches."""
    world: Literal["tabletop", "boxes", "chains", "hidden"] = "tabletop"
    """One of `WORLDS`."""
    objects: tuple[int, int] = (2, 4)
    """Least and most objects present, with a pusher; in `chains` at least three."""
    wide: float = 0.0
    """Share of masses, with a pusher, that are drawn from all that an edit may set: a third of what is asked about them
    is beyond what is usual."""
    parts: bool = False
    """Record each control step's `RAMP` parts as frames of their own: an episode of T control steps then has T * RAMP
    frames and as many actions, each repeated for all its parts, and its times and interventions count in parts."""

    def __post_init__(self) -> None:
        """Raise `EmbodiedError` for an unknown world, another one's scene, or numbers that mean nothing."""
        if self.world not in WORLDS:
            raise unknown("world", self.world, WORLDS)
        arm = self.world == "tabletop"
        scene: SceneConfig | None = self.scene
        if scene is None:
            cubes = SceneConfig(objects=("red_cube", "blue_cube", "green_cube"))
            object.__setattr__(self, "scene", cubes if arm else pushing.pushing_scene())
        if (self.scene.robot == "so101") != arm:
            raise EmbodiedError(f"Play in {self.world!r} was given a scene with a {self.scene.robot}; leave it out.")
        if not 0 <= self.objects[0] <= self.objects[1] or self.objects[1] < 1:
            raise EmbodiedError(f"PlayConfig.objects = {self.objects}: least and most objects are needed.")


AHEAD = 6
"""Control steps that a branch has after its edit, at least."""
DECLARED = 0.45
"""Share of edits that set what is declared, with a pusher."""
_GOAL = "on(red_cube, table)"


def play(config: PlayConfig, seed: int) -> Iterator[list[Episode]]:
    """Batches of episodes without end; batch i depends on `seed` and i alone."""
    simulation = Simulation(build_scene(config.scene), config.worlds, config.threads, engine=config.engine)
    batch = 0
    while True:
        yield play_batch(simulation, config, (seed, batch))
        batch += 1


def play_batch(simulation: Simulation, config: PlayConfig, seed: tuple[int, int]) -> list[Episode]:
    """One batch: an episode per world, and the edited branches of some of them."""
    generator = np.random.default_rng(seed)
    count = config.worlds
    player: strokes.TabletopPlayer | pushing.PushingPlayer
    if config.world == "tabletop":
        layout = strokes.layouts(generator, count, len(config.scene.objects), config.variation)
        player = strokes.TabletopPlayer(generator, count)
    else:
        layout = pushing.layouts(generator, simulation.scene, count, config.world, config.objects, config.wide)
        player = pushing.PushingPlayer(generator, count, row=config.world == "chains")
    simulation.reset(layout)
    seen, states, actions = [simulation.observe()], [simulation.save().rows], []
    boundaries = []
    for _ in range(config.steps):
        boundaries.append(simulation.save())
        actions.append(player.act(seen[-1]))
        for observation in _frames(simulation, actions[-1], config.parts):
            seen.append(observation)
            if config.states:
                states.append(simulation.save().rows)
    observations, plan = Observation.stack(seen, axis=1), np.stack(actions, axis=1)
    rows = np.stack(states, axis=1) if config.states else None
    shown = _per_frame(plan, config)
    episodes = [
        _episode(observations[n], shown[n], seed, config, None if rows is None else rows[n]) for n in range(count)
    ]
    if config.branches > 0 and not config.states:
        episodes += _branches(simulation, config, generator, boundaries, observations, plan, seed)
    return episodes


def _frames(simulation: Simulation, action: Floats, parts: bool) -> Iterator[Observation]:
    """What is recorded of one control step, as it happens."""
    if not parts:
        yield simulation.step(action)
        return
    for _ in simulation.parts(action):
        yield simulation.observe()


def _per_frame(plan: Floats, config: PlayConfig) -> Floats:
    """A plan `[n T A]` with an action for every recorded frame."""
    return np.repeat(plan, RAMP, axis=1) if config.parts else plan


def _branches(
    simulation: Simulation,
    config: PlayConfig,
    generator: np.random.Generator,
    boundaries: list[SimulationState],
    observations: Observation,
    plan: Floats,
    seed: tuple[int, int],
) -> list[Episode]:
    """Live the batch again from the first edit on, with one object of most worlds edited at some instant.

    `boundaries` are the states before every control step.
    """
    count, steps = plan.shape[:2]
    parts = RAMP if config.parts else 1
    earliest = -(-config.history // parts) + 1
    if earliest >= steps - AHEAD:
        raise EmbodiedError(f"Play of {steps} steps is too short for branches; it needs {earliest + AHEAD + 1}.")
    at = generator.integers(earliest, steps - AHEAD, size=4)
    when = at[generator.integers(4, size=count)]
    declared = 0.0 if config.world == "tabletop" else DECLARED
    edits = draw_edits(generator, observations[:, ::parts], when, config.scene.objects, config.branches, declared)
    start = int(when.min())
    simulation.restore(boundaries[start])
    seen = [simulation.observe()]
    edited: dict[int, tuple[int, Intervention]] = {}
    for step in range(start, steps):
        for edit, worlds in edits.get(step, {}).items():
            try:
                simulation.do(edit, worlds)
            except EmbodiedError:
                # Something that is no entity's box is in the way (an arm's link): these worlds stay as they are.
                continue
            edited |= {int(world): (step, edit) for world in worlds}
        if step in edits:
            seen[-1] = simulation.observe()
        seen += _frames(simulation, plan[:, step], config.parts)
    branch, shown_plan = Observation.stack(seen, axis=1), _per_frame(plan, config)
    episodes = []
    for world, (step, edit) in sorted(edited.items()):
        first = step * parts - config.history + 1
        before = observations[world, first : step * parts]
        shown = replace(before, objects=apply_to_state(edit, before.objects))
        whole = Observation.concat([shown, branch[world, (step - start) * parts :]])
        named = replace(edit, step=config.history - 1)
        episodes.append(replace(_episode(whole, shown_plan[world, first:], seed, config, None), interventions=(named,)))
    return episodes


def _episode(
    observation: Observation, action: Floats, seed: tuple[int, int], config: PlayConfig, states: Array | None
) -> Episode:
    goal = Goal.parse(_GOAL)
    return Episode(
        observation=observation,
        action=action,
        success=np.zeros(len(action) + 1, bool),
        goal=goal,
        seed=seed[0],
        task="play" if config.world == "tabletop" else f"play_{config.world}",
        robot="sim",
        simulator_state=states,
    )


def at_control_steps(episode: Episode, parts: int) -> Episode:
    """An episode recorded `parts` times in a control step as seen at control steps alone, the last one kept whole."""
    if parts == 1:
        return episode
    first = episode.length % parts
    return replace(
        episode,
        observation=episode.observation[first::parts],
        action=episode.action[first::parts],
        success=episode.success[first::parts],
        interventions=tuple(replace(edit, step=(edit.step - first) // parts) for edit in episode.interventions),
    )
