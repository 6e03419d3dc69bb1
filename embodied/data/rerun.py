"""Stored episodes lived again: the simulator from their origin, or from the states that were stored, bit for bit."""

from dataclasses import replace

import numpy as np

from embodied.data.journal import recorded_robot
from embodied.data.play import PlayConfig
from envs.control import OWN
from envs.engine import Engine
from envs.episode import Episode
from envs.errors import EmbodiedError, unknown
from envs.robot import named_control, robot_of
from envs.scene import Scene, SceneConfig, build_scene
from envs.sensing import sensors
from envs.servo import SERVOS
from envs.simulation import Simulation
from envs.tasks import TASKS, task_among
from envs.types import Array, Observation
from envs.variation import Variation
from envs.world_states import SimulationState
from envs.worlds import TaskWorlds

PLAYS = {"play": "tabletop", "play_boxes": "boxes", "play_chains": "chains", "play_hidden": "hidden"}
"""Worlds of `embodied.data.play` by the tasks that their episodes name."""


def scene_of(episode: Episode) -> Scene:
    """The scene that an episode plays in. Raises `EmbodiedError` for a task or entities that are not known here."""
    config: SceneConfig
    if episode.task in PLAYS:
        config = PlayConfig(world=PLAYS[episode.task]).scene  # type: ignore[arg-type]
    elif episode.task in TASKS:
        config = task_among(episode.task, episode.observation.objects.names, recorded_robot(episode)).scene
    else:
        raise unknown("task", episode.task, (*TASKS, *PLAYS))
    scene = build_scene(config)
    if scene.names != episode.observation.objects.names:
        raise EmbodiedError(
            f"The episode of {episode.task!r} shows {', '.join(episode.observation.objects.names)}, but that scene has "
            f"{', '.join(scene.names)}."
        )
    return scene


def worlds_of(episode: Episode, worlds: int) -> TaskWorlds:
    """Worlds such as the episode's. Raises `EmbodiedError` where its origin is not told, or not known here."""
    origin = episode.origin
    if origin is None:
        raise EmbodiedError(f"This episode of {episode.task!r} does not say how it began; it can only be filmed.")
    if origin.servo not in (*SERVOS, OWN):
        raise unknown("servo", origin.servo, (*SERVOS, OWN))
    task = task_among(episode.task, episode.observation.objects.names, recorded_robot(episode))
    servo = {**SERVOS, OWN: robot_of(task.scene.robot).servo}[origin.servo]
    task = replace(task, goal=episode.goal, scene=replace(task.scene, servo=servo))
    control = named_control(task.scene.robot, origin.control, origin.rate)
    return TaskWorlds(
        task, worlds, control=control, variation=Variation.parse(origin.variation), sensors=sensors(origin.sensors),
        engine=Engine(origin.engine),
    )  # fmt: skip


def from_origin(episode: Episode) -> Observation:
    """What is observed `[T+1 ...]` when the episode is begun again from its seed and its actions are repeated.

    Raises `EmbodiedError` like `worlds_of`.
    """
    worlds = worlds_of(episode, 1)
    assert episode.origin is not None
    seen = [worlds.reset(seeds=[episode.origin.beginning])]
    for step, action in enumerate(episode.action):
        # Edits of actions are in the actions already.
        for edit in (each for each in episode.interventions if each.step == step and each.kind != "action"):
            worlds.simulation.do(edit)
            seen[-1] = worlds.simulation.observe()
        seen.append(worlds.step(np.asarray(action)[None]).next_observation)
    return Observation.stack([one[0] for one in seen])


def from_states(episode: Episode) -> Array:
    """`[T S]` the states that follow when every stored one but the last is restored and its action carried out.

    Where all is exact they are the stored ones from the second on, but for those that an intervention made. Raises
    `EmbodiedError` without states at control steps.
    """
    if episode.simulator_state is None:
        raise EmbodiedError(f"This episode of {episode.task!r} holds no simulator states.")
    rows = np.asarray(episode.simulator_state, np.float64)
    told = episode.origin is not None
    simulation = worlds_of(episode, episode.length).simulation if told else Simulation(scene_of(episode), len(rows) - 1)
    simulation.restore(SimulationState(rows[:-1]))
    before = simulation.observe().time
    simulation.step(np.asarray(episode.action))
    passed, recorded = simulation.observe().time - before, np.diff(np.asarray(episode.observation.time))
    if not np.allclose(passed, recorded):
        raise EmbodiedError(
            f"This episode of {episode.task!r} was recorded within control steps: it can only be filmed."
        )
    return simulation.save().rows


def same(one: Observation, other: Observation) -> bool:
    """Whether two observations agree in every bit of joints, poses and velocities."""
    names = ("position_in_world", "quaternion_in_world", "linear_velocity_in_world", "angular_velocity_in_world")
    pairs = [(one.proprioception, other.proprioception)]
    pairs += [(getattr(one.objects, name), getattr(other.objects, name)) for name in names]
    return all(np.array_equal(np.asarray(a), np.asarray(b)) for a, b in pairs)
