"""The SO-101 before three cubes and a bin, two of which it pushes."""

from dataclasses import replace

import numpy as np

from envs.layout import Layout
from envs.robot import HOME
from envs.scene import SceneConfig, build_scene
from envs.simulation import Simulation

SCENE = build_scene(SceneConfig(objects=("red_cube", "blue_cube", "green_cube"), goal_entity="bin"))
WORLDS = 4
STEPS = 18
RED, BLUE, GREEN = (SCENE.index(name) for name in ("red_cube", "blue_cube", "green_cube"))


def layout(worlds=WORLDS, **changes):
    """Red under the tool with blue against it, green far away."""
    position = np.zeros((worlds, 3, 3))
    position[:, 0] = (0.22, 0.02, 0.014)
    position[:, 1] = (0.22, 0.0485, 0.014)
    position[:, 2] = (0.30, -0.18, 0.014)
    quaternion = np.zeros((worlds, 3, 4))
    quaternion[..., 0] = 1.0
    goal = np.full((worlds, 3), (0.1, 0.25, 0.022))
    return replace(Layout(np.tile(HOME, (worlds, 1)), position, quaternion, goal_position=goal), **changes)


def pushing(worlds=WORLDS, steps=STEPS, seed=0):
    """Down beside red with closed jaws, then sweep into both cubes, with noise."""
    actions = np.random.default_rng(seed).uniform(-0.15, 0.15, (steps, worlds, 5))
    actions[:, :, 2] = -0.7
    actions[:4, :, 1] = -0.35
    actions[4:, :, 1] = 0.3
    actions[..., 4] = -1.0
    return actions


def simulation(worlds=WORLDS, scene=SCENE, **changes):
    made = Simulation(scene, worlds, threads=1, **changes)
    made.reset(layout(worlds))
    return made


def mid_contact():
    """A simulation mid-contact, its state there, and what 14 further steps give."""
    made, actions = simulation(), pushing(steps=24)
    for action in actions[:10]:
        made.step(action)
    state = made.save()
    rest = actions[10:]
    factual = [made.step(action) for action in rest]
    moved = np.abs(factual[-1].objects.position_in_world - factual[0].objects.position_in_world).max(axis=-1)
    assert (moved[:, [RED, BLUE]] > 0.01).all(), "the scenario must push both cubes"
    return made, state, rest, factual
