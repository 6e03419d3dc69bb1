"""A row of cubes that a closed gripper pushes into, recorded with exact states; and a model blind to contact."""

from dataclasses import replace
from functools import cache

import numpy as np

from embodied.evaluation.contexts import Contexts, choose
from envs.episode import Episode, Rollout
from envs.goals import Goal
from envs.kinematics import project
from envs.layout import Layout
from envs.scene import SceneConfig, build_scene
from envs.simulation import Simulation
from envs.types import Array, ObjectState, Observation

CUBES = ("red_cube", "blue_cube", "green_cube")


@cache
def row_simulation() -> Simulation:
    return Simulation(build_scene(SceneConfig(objects=CUBES)), 24, threads=1)


@cache
def row_episodes() -> list[Episode]:
    """Differently in each of 24 worlds."""
    simulation = row_simulation()
    generator = np.random.default_rng(0)
    worlds, steps = simulation.worlds, 20
    position = np.zeros((worlds, 3, 3))
    position[..., 0] = np.array([0.20, 0.235, 0.275]) + generator.uniform(-0.002, 0.002, (worlds, 3))
    position[..., 1] = generator.uniform(-0.008, 0.008, (worlds, 3))
    position[..., 2] = 0.014
    turn = generator.uniform(-0.4, 0.4, (worlds, 3))
    quaternion = np.stack([np.cos(turn / 2), 0 * turn, 0 * turn, np.sin(turn / 2)], axis=-1)
    tool = np.tile([0.165, 0.0, 0.014], (worlds, 1))
    joints = np.concatenate([project(tool, np.zeros(worlds)).joints[:, :5], np.full((worlds, 1), -0.1)], axis=1)
    simulation.reset(Layout(joints=joints, object_position=position, object_quaternion=quaternion))
    action = np.zeros((steps, worlds, 5))
    action[..., 0] = 0.25 + 0.1 * generator.random((steps, worlds))
    action[..., 1] = 0.2 * generator.standard_normal((1, worlds))
    action[..., 4] = -1.0
    seen, rows = [simulation.observe()], [simulation.save().rows]
    for step in range(steps):
        seen.append(simulation.step(action[step]))
        rows.append(simulation.save().rows)
    return [
        Episode(
            observation=Observation(
                np.stack([o.proprioception[i] for o in seen]),
                ObjectState.stack([o.objects[i] for o in seen]),
                np.stack([o.time[i] for o in seen]),
            ),
            action=action[:, i],
            success=np.zeros(steps + 1, bool),
            goal=Goal.parse("near(red_cube, blue_cube, 0.1)"),
            seed=i,
            task="play",
            robot="so101",
            simulator_state=np.stack([row[i] for row in rows]),
        )
        for i in range(worlds)
    ]


@cache
def row_contexts() -> Contexts:
    return choose(row_episodes(), 20, np.random.default_rng(0))


def drifting(history: Observation, actions: Array) -> Rollout:
    """A model that lets every object go on as it moves now, ignoring everything else."""
    steps = actions.shape[1] + 1
    last = history[:, -1].map(lambda array: np.repeat(array[:, None], steps, axis=1))
    time = 0.1 * np.arange(steps)[None, :, None, None]
    position = last.objects.position_in_world + time * last.objects.linear_velocity_in_world
    return Rollout("model", replace(last, objects=replace(last.objects, position_in_world=position)), actions)
