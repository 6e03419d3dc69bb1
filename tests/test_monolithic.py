"""The flat baseline: it lays states end to end without loss, learns, and leaves what is absent alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from whatif_scenes import row_contexts, row_episodes

from embodied.evaluation.branches import imagine, unedited
from embodied.evaluation.effects import rotation_angle
from embodied.evaluation.monolithic import Monolithic, Recipe, entities, train
from embodied.evaluation.questions import Question
from envs.errors import EmbodiedError


def test_before_it_has_learned_nothing_moves() -> None:
    contexts = row_contexts()
    size = contexts.history.proprioception.shape[-1]
    model = Monolithic(len(entities(contexts.history.objects.kind)), size, contexts.action.shape[-1], 3)
    paths = imagine(model.imagine, contexts, unedited(contexts))
    now = contexts.history.objects[:, -1]
    for step in range(contexts.horizon + 1):
        np.testing.assert_allclose(paths.position[:, step], now.position_in_world, atol=1e-6)
        chosen = entities(now.kind)
        turned = rotation_angle(paths.quaternion[:, step][:, chosen], now.quaternion_in_world[:, chosen])
        np.testing.assert_allclose(turned, 0, atol=1e-3)


def test_it_learns_to_move_the_arm_and_what_it_pushes_and_the_same_twice() -> None:
    contexts = row_contexts()
    model = train(row_episodes(), Recipe(steps=150, batch=32))
    error = imagine(model.imagine, contexts, unedited(contexts)).position - contexts.recorded.position_in_world
    still = contexts.recorded.position_in_world[:, :1] - contexts.recorded.position_in_world
    there = contexts.movable
    assert (
        np.linalg.norm(error[:, -1][:, there], axis=-1).mean()
        < 0.75 * np.linalg.norm(still[:, -1][:, there], axis=-1).mean()
    )
    again = train(row_episodes(), Recipe(steps=150, batch=32))
    for ours, theirs in zip(model.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    gone = imagine(model.imagine, contexts, [Question.parse(0, "remove(blue_cube)")])
    blue = contexts.history.objects.index("blue_cube")
    np.testing.assert_array_equal(gone.position[:, :, blue], 0)


def test_episodes_it_cannot_learn_from_are_refused() -> None:
    short = [replace(episode, action=episode.action[:2]) for episode in row_episodes()]
    with pytest.raises(EmbodiedError, match="No episode has 5 steps"):
        train(short)
    with pytest.raises(EmbodiedError, match="positive"):
        Recipe(steps=0)
