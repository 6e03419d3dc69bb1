"""The planner against worlds whose best plan is known, and against its own contract."""

from dataclasses import replace

import numpy as np
import pytest
from tabletop import random_tabletop, tabletop
from toy_worlds import SPEC, ToyWorlds, toy_observation, toy_step

from embodied.agents.oracle import Oracle
from embodied.agents.planner import Planner, PlannerConfig
from embodied.training.policies import progress
from envs import tasks
from envs.errors import EmbodiedError
from envs.goals import Goal
from envs.types import Observation
from envs.worlds import TaskWorlds

REACH = Goal.parse("near(gripper, target, 0.02)")
PLACE = Goal.parse("near(red_cube, target, 0.02)")


def begin(history: Observation):
    """The toy itself as its own model."""
    now = history[:, -1]

    def outlook(plans: np.ndarray, scattered: bool = False):
        return follow(now, plans), None

    return outlook


def follow(now: Observation, plans: np.ndarray):
    """Where plans `[M N H A]` lead to."""
    worlds, count, horizon, _ = plans.shape
    position = np.repeat(now.objects.position_in_world, count, axis=0)
    tool, target, cube = position[:, 1], position[:, 4], position[:, 5]
    opening = np.repeat(now.proprioception[:, 5], count, axis=0)
    steps = [(tool, opening, cube)]
    for step in range(horizon):
        steps.append(toy_step(*steps[-1], plans[:, :, step].reshape(worlds * count, -1)))
    tools, openings, cubes = (np.stack(parts, axis=1) for parts in zip(*steps, strict=True))
    targets = np.broadcast_to(target[:, None], tools.shape)
    objects = toy_observation(tools, openings, targets, cubes).objects
    return objects.map(lambda array: array.reshape(worlds, count, *array.shape[1:]))


def imagine(now: Observation, plan: np.ndarray):
    """Where one plan each `[M H A]` leads to, `[M H+1 ...]`."""
    return follow(now, plan[:, None])[:, 0]


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
    return Planner(begin, nearness, SPEC, np.random.default_rng(seed), replace(config, **changes))


@pytest.mark.parametrize("method", ["cem", "mppi"])
def test_first_step_of_a_plan_is_the_best_there_is(method):
    worlds = ToyWorlds(4, seed=3)
    plan = planner(method, candidates=256, elites=24, iterations=6).plan(worlds.observation, REACH)
    assert plan.shape == (4, 6, 5)
    assert np.abs(plan).max() <= 1.0
    reached = imagine(worlds.observation, plan)
    best = imagine(worlds.observation, straight(worlds, 6))
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
    worlds, candidates = TaskWorlds(task, 2, seed=3, threads=1), 96
    model = Oracle(worlds.simulation, candidates, threads=1)

    config = PlannerConfig(horizon=4, candidates=candidates, elites=10, iterations=3)
    agent = Planner(model.begin, nearness, worlds.spec, np.random.default_rng(0), config)
    for _ in range(task.horizon):
        success = worlds.step(agent.act(worlds.observation, task.goal)).success
    assert success.all()


def test_doubtful_futures_do_not_count():
    def doubtful(history):
        def outlook(plans, scattered=False):
            objects = follow(history[:, -1], plans)
            # Beyond x = 0.2 m the model knows nothing, and dreams of success.
            return objects, np.where(objects.position_in_world[..., 0] > 0.2, 1.0, 0.0)

        return outlook

    def dream(objects, goal):
        return objects.position_in_world[..., 1, 0]

    worlds = ToyWorlds(1, seed=0)
    worlds.tool[:] = [0.18, 0.0, 0.05]
    start = toy_observation(worlds.tool, worlds.opening, worlds.target, worlds.cube)
    config = PlannerConfig(horizon=4, candidates=64, elites=8, doubt_weight=0.0)
    blind = Planner(begin, dream, SPEC, np.random.default_rng(0), config).plan(start, REACH)
    careful = Planner(doubtful, dream, SPEC, np.random.default_rng(0), config).plan(start, REACH)
    assert imagine(start, blind).position_in_world[0, -1, 1, 0] > 0.25
    inside = imagine(start, careful).position_in_world[0, :, 1, 0]
    assert inside[inside <= 0.2].max() > 0.19
    assert inside[1] <= 0.2


def test_plans_that_one_member_alone_praises_are_not_chosen():
    asked = []

    def torn(history):
        def outlook(plans, scattered=False):
            asked.append(scattered)
            objects = follow(history[:, -1], plans)
            if scattered:
                # Every second plan is imagined by a member that dreams.
                position = objects.position_in_world.copy()
                position[:, ::2, :, 1, 0] += 1.0
                objects = replace(objects, position_in_world=position)
            return objects, np.zeros(objects.position_in_world.shape[:-1])

        return outlook

    def right(objects, goal):
        return objects.position_in_world[..., 1, 0]

    start = ToyWorlds(1, seed=0).observation
    config = PlannerConfig(horizon=4, candidates=64, elites=32, iterations=2)
    plan = Planner(torn, right, SPEC, np.random.default_rng(0), config).plan(start, REACH)
    assert asked == [True, False]
    assert imagine(start, plan).position_in_world[0, -1, 1, 0] > start.objects.position_in_world[0, 1, 0] + 0.04


def test_models_that_look_back_are_given_what_was_seen():
    given = []

    def remember(history):
        given.append(history.objects.position_in_world[:, :, 1])
        return begin(history)

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
    agent = Planner(begin, nearness, spec, np.random.default_rng(0), PlannerConfig(horizon=3, candidates=16, elites=4))
    action = agent.act(grid, REACH)
    assert action.shape == (2, 3, 5)
    assert np.all(action >= spec.low)
    assert np.all(action <= spec.high)


def test_progress_a_planner_sees_is_whole_only_where_the_goal_holds():
    goal = Goal.parse("near(red_cube, target, 0.02) & released(red_cube)")
    states = random_tabletop(np.random.default_rng(0), 400)
    seen, holds = progress(states, goal), goal.satisfied(states)
    assert np.all((seen >= 0) & (seen <= 1))
    assert np.all((seen > 1 - 1e-9) == holds)
    # Nothing is won by a grasp on the way: a shove will do.
    far, near = (progress(tabletop(red_cube=(x, 0.1, 0.014), gripper=(x, 0.1, 0.05)), goal) for x in (0.2, 0.27))
    closed = tabletop(red_cube=(0.27, 0.1, 0.014), gripper=(0.27, 0.1, 0.014), fixed_jaw=(0.254, 0.1, 0.014))
    assert far < near < 1.0
    assert progress(closed, goal) == pytest.approx(near, abs=1e-9)


def test_errors():
    with pytest.raises(EmbodiedError, match="use fewer elites"):
        planner(candidates=4, elites=8)
    broken = Planner(begin, lambda o, g: nearness(o, g) * np.nan, SPEC, np.random.default_rng(0))
    with pytest.raises(EmbodiedError, match="not finite"):
        broken.act(ToyWorlds(1).observation, REACH)
