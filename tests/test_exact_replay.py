"""Episodes replay to the same bits, from their seed and from a state in the midst of contact, for every task."""

import mujoco
import numpy as np
import pytest

from envs.experts import expert
from envs.simulation import Simulation
from envs.tasks import TASKS
from envs.worlds import TaskWorlds

STEPS = 200
SEEDS = (31, 32)


def touched(simulation: Simulation, world: int) -> bool:
    """Whether a hand touches something in one world."""
    data = simulation.data(world)
    mujoco.mj_forward(simulation.scene.model, data)
    jaws = [geoms for name, geoms in zip(simulation.scene.names, simulation.scene.geoms, strict=True) if "jaw" in name]
    return any(geom in geoms for contact in data.contact for geom in contact.geom for geoms in jaws)


@pytest.mark.parametrize("name", TASKS)
def test_episodes_replay_to_the_bit(name: str) -> None:
    task, law, rng = TASKS[name], expert(name), np.random.default_rng(0)
    worlds = TaskWorlds(task, len(SEEDS), threads=1)
    worlds.reset(seeds=SEEDS)
    actions, states, middle = [], [], None
    for _ in range(STEPS):
        # Disturbed, so that the hand goes on meeting things after the goal is reached.
        action = law.act(worlds.observation, task.goal) + rng.normal(0.0, 0.1, (len(SEEDS), worlds.spec.size))
        states.append(worlds.simulation.save())
        actions.append(np.clip(action, -1.0, 1.0))
        if middle is None and touched(worlds.simulation, 1):
            middle = len(actions) - 1
        worlds.step(actions[-1])
    end = worlds.simulation.save().rows
    # Only the tool of `reach` touches nothing.
    assert (middle is None) == (name == "reach")
    middle = middle or STEPS // 2

    # One world alone, from the same seed; then from a state in the midst of it.
    alone = TaskWorlds(task, 1, threads=1)
    alone.reset(seeds=SEEDS[1:])
    for state, action in zip(states, actions, strict=True):
        np.testing.assert_array_equal(alone.simulation.save().rows[0], state.rows[1])
        alone.simulation.step(action[1:])
    np.testing.assert_array_equal(alone.simulation.save().rows[0], end[1])
    alone.simulation.restore(states[middle][1])
    for action in actions[middle:]:
        alone.simulation.step(action[1:])
    np.testing.assert_array_equal(alone.simulation.save().rows[0], end[1])
