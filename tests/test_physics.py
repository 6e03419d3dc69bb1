"""The simulated world is honest: what is held stays held, solids stay apart, and nothing gains energy from nowhere."""

import mujoco
import numpy as np
import pytest

from envs.experts import expert
from envs.geometry import quat_conjugate, quat_rotate
from envs.scene import SceneConfig, build_scene
from envs.simulation import Simulation
from envs.tasks import TASKS
from envs.types import Array
from envs.worlds import TaskWorlds

SHAPES = ("red_cube", "white_cylinder", "yellow_ball", "orange_capsule", "green_bar", "blue_rod", "red_peg")


def deepest(simulation: Simulation) -> float:
    """How deep anything is in anything else, in all worlds [m]."""
    depth = 0.0
    for world in range(simulation.worlds):
        data = simulation.data(world)
        mujoco.mj_forward(simulation.scene.model, data)
        # Of cylinders, what is collided is smaller than what is seen by the margin.
        margins = simulation.scene.model.geom_margin
        gaps = [contact.dist - margins[contact.geom].sum() for contact in data.contact]
        depth = max(depth, -min(gaps, default=0.0))
    return depth


def in_hand(simulation: Simulation) -> Array:
    """`[N 3]` the cube in the gripper's frame [m]."""
    objects = simulation.observe().objects
    hand, cube = objects.index("gripper"), objects.index("red_cube")
    apart = objects.position_in_world[:, cube] - objects.position_in_world[:, hand]
    return np.asarray(quat_rotate(quat_conjugate(objects.quaternion_in_world[:, hand]), apart))


def test_a_held_cube_slips_less_than_a_millimetre_in_ten_seconds() -> None:
    worlds, law = TaskWorlds(TASKS["lift"], 6, seed=3, threads=1), expert("lift")
    for _ in range(30):
        worlds.step(law.act(worlds.observation, worlds.task.goal))
    simulation = worlds.simulation
    before, target = in_hand(simulation), simulation.joint_target
    steps = round(10.0 / simulation.scene.model.opt.timestep)
    simulation.run(target, steps)
    assert simulation.observe().objects.position_in_world[:, -1, 2].min() > 0.04
    assert np.linalg.norm(in_hand(simulation) - before, axis=-1).max() < 1e-3
    assert deepest(simulation) < 2e-3


def test_piles_do_not_sink_into_each_other() -> None:
    worlds = TaskWorlds(TASKS["clutter"], 8, seed=2, threads=1)
    assert deepest(worlds.simulation) < 2e-3


def test_what_the_arm_presses_on_does_not_sink_in() -> None:
    """A cube under closed jaws that go on down, which at contacts soft all the way sank by 10 mm."""
    simulation = Simulation(build_scene(SceneConfig()), 1, threads=1)
    k = simulation.scene.index("red_cube")
    tool = simulation.observe().objects.position_in_world[0, simulation.scene.index("moving_jaw")]
    simulation.rows.put(np.array([0]), k, np.array([[tool[0] - 0.02, tool[1], 0.014]]))
    for _ in range(25):
        simulation.step(np.array([[0.0, 0.0, -0.3, 0.0, -1.0]]))
    assert simulation.observe().objects.position_in_world[0, k, 2] > 0.010
    assert deepest(simulation) < 4e-3


@pytest.mark.parametrize("name", SHAPES)
def test_a_thing_that_tumbles_and_bounces_only_loses_energy(name: str) -> None:
    scene = build_scene(SceneConfig(objects=(name,)))
    simulation = Simulation(scene, 1, threads=1)
    k, ids = scene.index(name), np.array([0])
    turned = np.array([[0.8, 0.36, 0.48, 0.0]])
    simulation.rows.put(ids, k, np.array([[0.30, 0.10, 0.12]]), turned)
    simulation.rows.set_velocity(ids, k, np.array([[0.2, -0.3, 0.0]]), np.array([[3.0, 1.0, -2.0]]), turned)
    body, dof = scene.body[k], slice(scene.dof[k], scene.dof[k] + 6)
    mass, inertia = scene.model.body_mass[body], scene.model.body_inertia[body]
    energy, free = [], []
    for _ in range(300):
        data = simulation.data(0)
        mujoco.mj_forward(scene.model, data)
        free.append(not data.ncon)
        velocity, height = data.qvel[dof], data.qpos[scene.qpos[k] + 2]
        spin = np.zeros(3)
        back = scene.model.body_iquat[body] * (1.0, -1.0, -1.0, -1.0)
        mujoco.mju_rotVecQuat(spin, velocity[3:], back)
        energy.append(0.5 * mass * velocity[:3] @ velocity[:3] + 0.5 * spin @ (inertia * spin) + 9.81 * mass * height)
        simulation.run(simulation.joint_target)
    # Contacts are springs as well, which give back what they took: what counts is how it flies between them.
    flying = np.array(energy)[free]
    assert np.diff(flying).max() < 1e-7
    assert max(energy) < energy[0] + 1e-7
    assert energy[-1] < 0.6 * energy[0]
