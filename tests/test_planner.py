"""The planner against worlds whose best plan is known, and against its own contract."""

from dataclasses import replace

import numpy as np
import pytest
from toy_worlds import SPEC, ToyWorlds, toy_observation, toy_step

from embodied.agents.planner import Planner, PlannerConfig, over_time
from envs import tasks
from envs.errors import EmbodiedError
from envs.goals import Goal
from envs.types import Observation, Rollout
from envs.worlds import TaskWorlds

REACH = Goal.parse("near(gripper, target, 0.02)")
PLACE = Goal.parse("near(red_cube, target, 0.02)")


def imagine(observation: Observation, actions: np.ndarray) -> Rollout:
    """The toy itself as its own model."""
    if len(observation.objects.shape) == 2:
        observation = observation[:, -1]
    position = observation.objects.position_in_world
    tool, target, cube = position[:, 1], position[:, 4], position[:, 5]
    opening = observation.proprioception[:, 5]
    steps = [(tool, opening, cube)]
    for step in range(actions.shape[1]):
        steps.append(toy_step(*steps[-1], actions[:, step]))
    tools, openings, cubes = (np.stack(parts, axis=1) for parts in zip(*steps, strict=True))
    targets = np.broadcast_to(target[:, None], tools.shape)
    return Rollout("model", toy_observation(tools, openings, targets, cubes), actions)


def nearness(objects, goal):
    """Progress of the toy's task: the cube's way to the target, and the tool's way to the cube."""
    position = objects.position_in_world
    subject = position[..., objects.index(goal.entities[0]), :]
    gap = np.linalg.norm(subject - position[..., 4, :], axis=-1)
    if goal == PLACE:
        return -10.0 * gap - 2.0 * np.linalg.norm(position[..., 5, :] - position[..., 1, :], axis=-1)
    return -10.0 * gap


def planner(method: str = "cem", seed: int = 0, **changes) -> Planner:
    config = PlannerConfig(method=method, horizon=6, candidates=64, elites=8, iterations=4)
    return Planner(imagine, nearness, SPEC, np.random.default_rng(seed), replace(config, **changes))


@pytest.mark.parametrize("method", ["cem", "mppi"])
def test_first_step_of_a_plan_is_the_best_there_is(method):
    worlds = ToyWorlds(4, seed=3)
    plan = planner(method, candidates=256, elites=24, iterations=6).plan(worlds.observation, REACH)
    assert plan.shape == (4, 6, 5)
    assert np.abs(plan).max() <= 1.0
    reached = imagine(worlds.observation, plan).observation.objects
    best = imagine(worlds.observation, straight(worlds, 6)).observation.objects
    assert np.all(nearness(reached, REACH)[:, -1] > nearness(best, REACH)[:, -1] - 0.15)


def straight(worlds: ToyWorlds, steps: int) -> np.ndarray:
    """The known optimum: go as fast as allowed on every axis until there."""
    tool, actions = worlds.tool, []
    for _ in range(steps):
        move = np.clip((worlds.target - tool) / 0.03, -1.0, 1.0)
        actions.append(np.concatenate([move, np.zeros((len(tool), 2))], axis=1))
        tool = tool + 0.03 * move
    return np.stack(actions, axis=1)


def test_replanning_carries_the_cube_to_the_target():
    worlds, agent = ToyWorlds(3, seed=5), planner(candidates=128, elites=12, iterations=3)
    for _ in range(worlds.task.horizon):
        success = worlds.step(agent.act(worlds.observation, PLACE)).success
    assert success.mean() == 1.0


def test_reaches_with_mujoco_itself_as_the_model():
    task = replace(tasks.task("reach"), horizon=9)
    worlds, candidates = TaskWorlds(task, 1, seed=3, threads=1), 96
    model = TaskWorlds(task, candidates, seed=0, threads=1).simulation

    def simulate(history: Observation, actions: np.ndarray) -> Rollout:
        now = worlds.simulation.save()
        model.restore(replace(now, rows=np.repeat(now.rows, candidates, axis=0)))
        frames = [model.observe(), *(model.step(actions[:, step]) for step in range(actions.shape[1]))]
        return Rollout("simulator", over_time(frames), actions)

    config = PlannerConfig(horizon=4, candidates=candidates, elites=10, iterations=3)
    agent = Planner(simulate, nearness, worlds.spec, np.random.default_rng(0), config)
    for _ in range(task.horizon):
        success = worlds.step(agent.act(worlds.observation, task.goal)).success
    assert success.all()


def test_doubtful_futures_do_not_count():
    def doubtful(observation, actions):
        rollout = imagine(observation, actions)
        objects = rollout.observation.objects
        # Beyond x = 0.2 m the model knows nothing, and dreams of success.
        doubt = np.where(objects.position_in_world[..., 0] > 0.2, 1.0, 0.0)
        return replace(rollout, uncertainty=doubt)

    def dream(objects, goal):
        return objects.position_in_world[..., 1, 0]

    worlds = ToyWorlds(1, seed=0)
    worlds.tool[:] = [0.18, 0.0, 0.05]
    start = toy_observation(worlds.tool, worlds.opening, worlds.target, worlds.cube)
    config = PlannerConfig(horizon=4, candidates=64, elites=8, doubt_weight=0.0)
    blind = Planner(imagine, dream, SPEC, np.random.default_rng(0), config).plan(start, REACH)
    careful = Planner(doubtful, dream, SPEC, np.random.default_rng(0), config).plan(start, REACH)
    assert imagine(start, blind).observation.objects.position_in_world[0, -1, 1, 0] > 0.25
    inside = imagine(start, careful).observation.objects.position_in_world[0, :, 1, 0]
    assert inside[inside <= 0.2].max() > 0.19
    assert inside[1] <= 0.2


def test_models_that_look_back_are_given_what_was_seen():
    given = []

    def remember(history, actions):
        given.append(history.objects.position_in_world[:, :, 1])
        return imagine(history, actions)

    worlds = ToyWorlds(1, seed=0)
    config = PlannerConfig(horizon=2, candidates=4, elites=2, iterations=1)
    agent = Planner(remember, nearness, SPEC, np.random.default_rng(0), config, history=3)
    tools = []
    for _ in range(4):
        tools.append(worlds.tool.copy())
        worlds.step(agent.act(worlds.observation, REACH))
    for frames, seen in zip(given, ([0, 0, 0], [0, 0, 1], [0, 1, 2], [1, 2, 3]), strict=True):
        np.testing.assert_array_equal(frames[0], np.concatenate([tools[i] for i in seen]))
    agent.reset()
    agent.act(worlds.observation, REACH)
    np.testing.assert_array_equal(given[-1][0], np.repeat(worlds.tool, 3, axis=0))


def test_same_seed_same_plan_and_reset_forgets():
    worlds = ToyWorlds(2, seed=1)
    first, second = planner(seed=4), planner(seed=4)
    np.testing.assert_array_equal(first.act(worlds.observation, REACH), second.act(worlds.observation, REACH))
    worlds.step(np.zeros((2, 5)))
    warm = first.plan(worlds.observation, REACH)
    second.reset()
    assert not np.array_equal(warm, second.plan(worlds.observation, REACH))


def test_any_batch_shape_and_bounds():
    flat = ToyWorlds(6, seed=2).observation
    grid = flat.map(lambda array: array.reshape(2, 3, *array.shape[1:]))
    spec = replace(SPEC, low=np.full(5, -0.2), high=np.array([0.4, 0.1, 0.1, 0.0, 0.3]))
    agent = Planner(
        imagine, nearness, spec, np.random.default_rng(0), PlannerConfig(horizon=3, candidates=16, elites=4)
    )
    action = agent.act(grid, REACH)
    assert action.shape == (2, 3, 5)
    assert np.all(action >= spec.low)
    assert np.all(action <= spec.high)


def test_errors():
    with pytest.raises(EmbodiedError, match="use fewer elites"):
        planner(candidates=4, elites=8)
    broken = Planner(imagine, lambda o, g: nearness(o, g) * np.nan, SPEC, np.random.default_rng(0))
    with pytest.raises(EmbodiedError, match="not finite"):
        broken.act(ToyWorlds(1).observation, REACH)
