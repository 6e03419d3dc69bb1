"""Worlds that a model imagines: they begin as the task does, go on as the members say, and resume bit for bit."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from resuming import check_resumes
from slot_scenes import shaken
from test_training_policy import SMALL

from embodied.evaluation.success import success_in
from embodied.training.imagined_worlds import ImaginedWorlds
from embodied.training.policy import PolicyTrainer
from envs.control import CartesianDelta
from envs.errors import EmbodiedError
from envs.task import Task
from envs.tasks import TASKS
from envs.types import Observation
from envs.worlds import TaskWorlds
from world_models.cjepa.ahead import Ahead
from world_models.cjepa.ensemble import Ensemble
from world_models.cjepa.model import ModelConfig, WorldModel
from world_models.imagination import imagine

CONFIG = ModelConfig(layers=0, hidden=16, future=2, parts=5, rounds=1)
PLACE = replace(TASKS["place"], horizon=4)


def members(count: int = 2) -> list[Ensemble]:
    made = []
    for seed in range(count):
        torch.manual_seed(seed)
        made.append(Ensemble([shaken(WorldModel(CONFIG), seed)]))
    return made


def dreamt(worlds: int = 5, seed: int = 0, count: int = 2, task: Task = PLACE) -> ImaginedWorlds:
    real = TaskWorlds(task, worlds, seed, threads=1)
    return ImaginedWorlds(real, [Ahead(each, CartesianDelta()) for each in members(count)], CONFIG.history)


def actions(steps: int, worlds: int = 5) -> np.ndarray:
    return np.random.default_rng(1).uniform(-0.5, 0.5, (steps, worlds, 5))


def positions(observation: Observation) -> np.ndarray:
    return np.asarray(observation.objects.position_in_world)


def test_each_world_follows_one_member_from_where_the_task_begins():
    worlds, plan = dreamt(), actions(3)
    begun = TaskWorlds(PLACE, 5, 0, threads=1).observation
    np.testing.assert_array_equal(positions(worlds.observation), positions(begun))
    for action in plan:
        last = worlds.step(action)
    for share, model in zip((slice(0, 2), slice(2, 5)), members(), strict=True):
        expected = imagine(model, begun[share], plan.swapaxes(0, 1)[share], control=CartesianDelta()).observation
        np.testing.assert_allclose(positions(worlds.observation)[share], positions(expected)[:, -1], atol=5e-4)
    assert np.abs(positions(worlds.observation) - positions(begun)).max() > 1e-3
    np.testing.assert_array_equal(last.success, PLACE.goal.satisfied(worlds.observation.objects))
    assert not last.truncated.any()
    assert worlds.step(plan[0]).truncated.all()


def test_the_same_seeds_begin_the_same_episodes_as_in_the_simulator():
    worlds, real = dreamt(4), TaskWorlds(PLACE, 4, 7, threads=1)
    seeds = np.array([5, 6, 7, 8])
    np.testing.assert_array_equal(positions(worlds.reset(seeds=seeds)), positions(real.reset(seeds=seeds)))
    still = success_in(worlds, Still(), seeds)
    assert still.at_end.value == 0.0
    assert len(still.succeeded) == 4


class Still:
    def reset(self) -> None:
        pass

    def act(self, observation: Observation, goal: object) -> np.ndarray:
        return np.zeros((observation.objects.shape[0], 5))


def test_the_simulator_behind_is_never_stepped(monkeypatch):
    worlds = dreamt()
    monkeypatch.setattr(TaskWorlds, "step", None)
    trainer = PolicyTrainer(worlds, SMALL, 0)
    trainer.advance(PLACE.horizon)
    assert not worlds._beginnings.simulation.observe().time.any()
    assert len(trainer.replay) == 5 * PLACE.horizon


def test_learning_in_them_resumes_bit_for_bit_within_an_episode(tmp_path):
    check_resumes(lambda: PolicyTrainer(dreamt(), SMALL, 0), 6, 1, tmp_path)


def test_what_cannot_be_imagined_is_refused():
    with pytest.raises(EmbodiedError, match="runs before it begins"):
        dreamt(task=replace(PLACE, settle=0.1))
    with pytest.raises(EmbodiedError, match="1 worlds cannot be shared by 2 members"):
        dreamt(1)
