"""Masses and frictions inferred from motion: found where they show, left as declared where they do not."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tabletop import NAMES, tabletop
from whatif_scenes import drifting, row_contexts, row_episodes

from embodied.evaluation import abducted
from embodied.evaluation.abducted import Believing, believed
from embodied.evaluation.questions import Question
from embodied.evaluation.sources import Imagined, WhatIfModel
from envs.types import ObjectState, Observation
from world_models.causal.abduction import Abduced, abduct
from world_models.cjepa.ensemble import Belief
from world_models.cjepa.model import History, Prediction

PERIOD = 0.1
TRUE = {"red_cube": (1.6, 0.6), "blue_cube": (0.7, 1.5)}
"""Factors on the declared mass and friction of the two that move."""


def acceleration(mass, friction):
    """A force pushes what moves along x, and friction slows it along y."""
    return 0.02 / mass, -0.8 * friction


class Sliding:
    """A model that knows this law."""

    history, chunk = 2, 2

    def begin(self, history):
        return Belief((history,), torch.eye(3).expand(*history.bodies.mass[:, -1].shape, 3, 3))

    def step(self, belief, targets):
        bodies, path = belief.histories[0].bodies[:, -1], []
        moving = (bodies.linear_velocity.norm(dim=-1) > 0).float()
        x, y = acceleration(bodies.mass, bodies.friction)
        pull = torch.stack([x, y, 0 * x], -1) * moving[..., None]
        for _ in range(targets.shape[1]):
            speed = bodies.linear_velocity + PERIOD * pull
            bodies = replace(bodies, position=bodies.position + PERIOD * speed, linear_velocity=speed)
            path.append(bodies)
        ahead = replace(bodies, **{name: torch.stack([getattr(b, name) for b in path], 1) for name in vars(bodies)})
        arm = belief.histories[0].proprioception[:, -1:].expand(-1, len(path), -1)
        return replace(belief, histories=(History(ahead, arm),)), [Prediction(ahead, arm)]


def frames(count):
    """`[2 T ...]` red slides in both scenes, blue in the first."""
    scenes = ObjectState.stack([tabletop(), tabletop(red_cube=(0.25, 0.05, 0.014))])
    position, speed = np.array(scenes.position_in_world), np.array(scenes.linear_velocity_in_world)
    path = []
    for step in range(count):
        for name, (mass, friction) in TRUE.items():
            k = NAMES.index(name)
            x, y = acceleration(mass * scenes.mass[:, k], friction * scenes.friction[:, k])
            speed[:, k] = speed[:, k] + PERIOD * np.stack([x, y, 0 * x], -1) if step else [0.1, 0.4, 0.0]
            speed[1, NAMES.index("blue_cube")] = 0.0
            position[:, k] += PERIOD * speed[:, k]
        path.append(replace(scenes, position_in_world=position.copy(), linear_velocity_in_world=speed.copy()))
    return Observation(np.zeros((2, count, 18)), ObjectState.stack(path, axis=1), np.zeros((2, count)))


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def test_physics_that_show_are_found_and_what_rests_stays_about_as_declared(generator):
    seen = frames(16)
    shown = abduct(Sliding(), seen, generator).shown(seen).objects
    for name, factors in TRUE.items():
        k = NAMES.index(name)
        for declared, found, factor in zip(("mass", "friction"), (shown.mass, shown.friction), factors, strict=True):
            ratio = found[..., k] / getattr(seen.objects, declared)[..., k]
            np.testing.assert_allclose(ratio[0], factor, rtol=0.1)
            resting = name == "blue_cube"
            np.testing.assert_allclose(ratio[1], 1.0 if resting else factor, rtol=0.25 if resting else 0.1)


def test_too_few_frames_teach_nothing(generator):
    seen = frames(3)
    found = abduct(Sliding(), seen, generator)
    assert not found.mass.any()
    np.testing.assert_array_equal(found.shown(seen).objects.mass, seen.objects.mass)


@pytest.mark.parametrize("outcome", [False, True])
def test_instants_are_believed_from_their_own_past_and_no_more_than_is_allowed(monkeypatch, outcome):
    contexts, looked = row_contexts(), []

    def learnt(dynamics, seen, generator):
        looked.append(seen)
        factor = torch.arange(1.0, 1.0 + seen.objects.shape[0])[:, None].expand(-1, len(contexts.movable)).log()
        return Abduced(factor, -factor)

    monkeypatch.setattr(abducted, "abduct", learnt)
    told = believed(contexts, row_episodes(), None, 0, outcome=outcome)
    rows = [np.flatnonzero(contexts.place[:, 1] == step) for step in np.unique(contexts.place[:, 1])]
    for seen, some in zip(looked, rows, strict=True):
        step = contexts.place[some[0], 1]
        last = step + contexts.horizon if outcome else step
        assert seen.objects.shape[1] == last + 1
        for place, (episode, _) in enumerate(contexts.place[some]):
            ends = row_episodes()[episode].observation.objects.position_in_world[last]
            np.testing.assert_array_equal(seen.objects.position_in_world[place, -1], ends)
        one = contexts.movable[0]
        factor = np.arange(1.0, 1.0 + len(some))[:, None]
        np.testing.assert_allclose(
            told.history.objects.mass[some, :, one], factor * contexts.history.objects.mass[some, :, one], rtol=1e-6
        )
    np.testing.assert_array_equal(told.state, contexts.state)


def test_a_model_that_believes_is_asked_of_what_it_believes():
    contexts = row_contexts()
    speed = np.zeros_like(contexts.history.objects.linear_velocity_in_world)
    calm = replace(contexts.history, objects=replace(contexts.history.objects, linear_velocity_in_world=speed))
    believing = Believing(drifting, replace(contexts, history=calm))
    question = [Question(context) for context in range(len(contexts))]
    said = believing.answer(contexts, question)
    assert isinstance(believing, WhatIfModel)
    np.testing.assert_array_equal(said.factual_position[:, -1], said.factual_position[:, 0])
    assert (Imagined(drifting).answer(contexts, question).factual_position[:, -1] != said.factual_position[:, -1]).any()
