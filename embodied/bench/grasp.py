"""How firmly the gripper holds a cube, per time step and integrator.

This is the measurement behind `Physics`. A scripted pick from above over a grid of poses: hover, descend, close, lift,
hold for one second. `lift` counts the cubes that are up at the end; `slip` is how far a lifted cube moved in the grasp
during the second of holding.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
from mujoco.batch import Batch

from embodied.bench.harness import Figure, figure, over_seeds
from embodied.console import Console
from embodied.evaluation.statistics import wilson
from envs.kinematics import body_poses, project
from envs.objects import CUBE_HALF_EXTENT
from envs.physics import Physics
from envs.robot import HOME
from envs.scene import Scene, SceneConfig, build_scene
from envs.types import Array

CONTROL_PERIOD = 0.1
"""[s]."""
SETTLED = 15
"""The control step before the jaws close: the arm has stood above the table for 0.2 s."""

VARIANTS: Mapping[str, Physics] = {
    "discrete_5ms": Physics(),
    "discrete_10ms": Physics(timestep=0.01),
    "implicitfast_5ms": Physics(integrator="implicitfast"),
    "implicitfast_10ms": Physics(timestep=0.01, integrator="implicitfast"),
}


@dataclass(frozen=True)
class Picks:
    """What happened to N picks."""

    lifted: Array
    """`[N]` bool."""
    slip: Array
    """`[N]` [m]; NaN where the cube was not lifted."""
    tracking: Array
    """`[N T]` distance between commanded and reached tool point at the end of every control step [m]."""
    microseconds: float
    """Processor time of a control step of one world."""


PARTS = tuple(VARIANTS)
SEEDS = 5


def measure(part: str, seed: int, quick: bool, console: Console) -> Mapping[str, Any]:
    """Picks under one variant of the physics.

    A seed is a jittered 6 x 6 grid of cube poses (3 x 3 where `quick`) with random yaws.
    """
    scene = build_scene(SceneConfig(physics=VARIANTS[part]))
    picks = pick(scene, np.random.default_rng(seed), side=3 if quick else 6)
    return {
        "successes": int(picks.lifted.sum()),
        "tries": len(picks.lifted),
        "slips": [1e3 * float(slip) for slip in picks.slip[picks.lifted]],
        "tracking": 1e3 * float(np.median(picks.tracking[:, SETTLED])),
        "step_time": picks.microseconds,
    }


def summarise(samples: Mapping[str, Sequence[Mapping[str, Any]]]) -> Mapping[str, Figure]:
    """Per variant: pooled lift rate, median and 90th percentile of slip, tracking error at rest, and time."""
    figures: dict[str, Figure] = {}
    for part, runs in samples.items():
        rate = wilson(sum(run["successes"] for run in runs), sum(run["tries"] for run in runs))
        figures[f"{part}_lift"] = figure(100.0 * rate.value, "%", len(runs), (100.0 * rate.low, 100.0 * rate.high))
        slips = [run["slips"] for run in runs if run["slips"]]
        if slips:
            figures[f"{part}_slip_median"] = over_seeds([float(np.median(each)) for each in slips], "mm")
            figures[f"{part}_slip_p90"] = over_seeds([float(np.percentile(each, 90)) for each in slips], "mm")
        figures[f"{part}_tracking"] = over_seeds([run["tracking"] for run in runs], "mm")
        figures[f"{part}_step_time"] = over_seeds([run["step_time"] for run in runs], "us")
    return figures


def pick(scene: Scene, generator: np.random.Generator, side: int = 6) -> Picks:
    """Pick one cube in each of `side` x `side` worlds, their cubes on a jittered grid over the workspace."""
    model, worlds = scene.model, side * side
    batch = Batch(model, worlds, nthread=1)
    grid = np.stack(np.meshgrid(np.linspace(0.16, 0.30, side), np.linspace(-0.09, 0.09, side)), axis=-1).reshape(-1, 2)
    centre = np.column_stack([grid + generator.uniform(-0.01, 0.01, grid.shape), np.full(worlds, CUBE_HALF_EXTENT)])
    yaw = generator.uniform(-math.pi / 4, math.pi / 4, worlds)
    batch.reset(keyframe=0)
    cube = int(scene.qpos[scene.index(scene.objects[0])])
    address = slice(cube, cube + 7)
    batch.qpos[:, address] = np.column_stack([centre, np.cos(yaw / 2), np.zeros((worlds, 2)), np.sin(yaw / 2)])

    commands = _plan(centre, yaw)
    substeps = round(CONTROL_PERIOD / scene.config.physics.timestep)
    tracking, spent = np.zeros((worlds, len(commands))), 0.0
    held = np.zeros((worlds, 3))
    for step, command in enumerate(commands):
        batch.ctrl[:, scene.actuator] = command
        start = time.thread_time()
        batch.step(nstep=substeps)
        spent += time.thread_time() - start
        joints = batch.qpos[:, scene.joint_qpos]
        tool = body_poses(joints)[0][:, 0]
        tracking[:, step] = np.linalg.norm(tool - body_poses(command)[0][:, 0], axis=-1)
        if step == len(commands) - 11:
            held = _in_gripper(joints, batch.qpos[:, address])
    at_end = batch.qpos[:, address]
    lifted = at_end[:, 2] > CUBE_HALF_EXTENT + 0.03
    slip = np.linalg.norm(_in_gripper(batch.qpos[:, scene.joint_qpos], at_end) - held, axis=-1)
    return Picks(lifted, np.where(lifted, slip, np.nan), tracking, 1e6 * spent / (worlds * len(commands)))


def _plan(centre: Array, yaw: Array) -> Array:
    """Joint targets `[T N 6]`: hover, descend, close, lift, hold."""
    worlds = len(yaw)
    # The fixed pad starts 6 mm beside the cube: only the other jaw moves, and drags the cube to it.
    beside = centre - 0.006 * np.column_stack([np.cos(yaw), np.sin(yaw), np.zeros(worlds)])
    above = beside + np.array([0.0, 0.0, 0.045])
    start = np.asarray(body_poses(np.asarray(HOME))[0][0])
    legs = (
        (start + np.zeros_like(above), above, 0.55, 8),
        (above, beside, 0.55, 6),
        (beside, beside, 0.55, 2),
        (beside, beside, -0.1, 6),
        (beside, above, -0.1, 6),
        (above, above, -0.1, 14),
    )
    commands = []
    for begin, end, opening, steps in legs:
        for step in range(steps):
            position = begin + (end - begin) * (step + 1) / steps
            arm = project(position, yaw).joints
            commands.append(np.column_stack([arm, np.full(worlds, opening)]))
    return np.stack(commands)


def _in_gripper(joints: Array, pose: Array) -> Array:
    """Positions of cubes `[N 7]` in the frame of the gripper."""
    position, quaternion = (array[:, 0] for array in body_poses(joints))
    local = np.zeros((len(pose), 3))
    for row in range(len(pose)):
        inverse = quaternion[row] * np.array([1.0, -1.0, -1.0, -1.0])
        mujoco.mju_rotVecQuat(local[row], pose[row, :3] - position[row], inverse)
    return local
