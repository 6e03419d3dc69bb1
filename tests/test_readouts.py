"""Influence read off models: gradients of what a model imagines, and the weights of its messages between objects."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from whatif_scenes import drifting, row_contexts, row_simulation

from embodied.evaluation import readouts
from embodied.evaluation.branches import imagine, unedited
from embodied.evaluation.suite import ask
from envs.episode import Rollout
from envs.types import Array, Observation
from world_models.cjepa.edges import Scale, attention
from world_models.slots.bodies import bodies_of


def dragging(history: Observation, actions: Array) -> Rollout:
    """The second cube follows half of where the first one is."""
    rollout = drifting(history, actions)
    objects = rollout.observation.objects
    position = objects.position_in_world.copy()
    first, second = (objects.index(name) for name in ("red_cube", "blue_cube"))
    position[:, 1:, second] += 0.5 * position[:, 1:, first]
    return replace(
        rollout, observation=replace(rollout.observation, objects=replace(objects, position_in_world=position))
    )


def test_gradients_are_how_far_others_follow() -> None:
    contexts = row_contexts()
    factual = imagine(dragging, contexts, unedited(contexts)).position
    found = readouts.gradients(dragging, contexts, factual)
    expected = np.zeros((3, 3))
    expected[contexts.names.index("red_cube"), contexts.names.index("blue_cube")] = 0.5 * np.sqrt(2)
    np.testing.assert_allclose(found, np.broadcast_to(expected, found.shape), atol=1e-6)


def test_messages_count_between_those_that_are_near() -> None:
    bodies = bodies_of(row_contexts().history.objects[:1, -1])
    side = 2 * bodies.half_extents[..., 0]
    apart = torch.tensor([[0.0, 0.0025, 0.05]])
    x = torch.cumsum(side + apart, dim=-1)
    position = torch.stack([x, torch.zeros_like(x), torch.full_like(x, 0.014)], -1)
    upright = torch.eye(3).expand_as(bodies.rotation)
    row = replace(bodies, position=position, rotation=upright)
    scale = Scale(0.02)
    weight = attention(row, scale)[0]
    assert torch.equal(weight, weight.T)
    assert weight[0, 1] == pytest.approx((scale.reach - 0.0025) / (0.5 * scale.reach), abs=1e-3)
    assert weight[1, 2] == weight[0, 2] == weight[0, 0] == 0.0
    gone = replace(row, present=torch.tensor([[1.0, 0.0, 1.0]]))
    assert not attention(gone, scale).any()


def test_both_are_scored_as_graphs() -> None:
    simulation, generator = row_simulation(), np.random.default_rng(0)
    whatifs = ask(simulation, dragging, row_contexts(), generator)
    found = readouts.measure(dragging, whatifs, generator, 10)
    assert set(found) == {"gradient", "attention"}
    for graph in found.values():
        assert 0.0 <= graph["auroc"].low <= graph["auroc"].value <= graph["auroc"].high <= 1.0
    # In a row that is pushed from one end, neighbours are whom it matters to.
    assert found["attention"]["auroc"].value > 0.6
