"""Surprise: the simulator as a model is surprised by every violation of physics, and by no change of colour."""

from dataclasses import replace

import numpy as np
import pytest
from whatif_scenes import drifting, row_contexts, row_simulation

from embodied.evaluation.branches import simulate
from embodied.evaluation.contexts import Contexts
from embodied.evaluation.questions import Question
from embodied.evaluation.surprise import Scale, errors, measure, speeds
from embodied.evaluation.violations import STEPS, VIOLATIONS, in_play, violated, watch
from envs.episode import Rollout
from envs.errors import EmbodiedError
from envs.types import Array, Observation


@pytest.fixture(scope="module")
def clean() -> Observation:
    return watch(row_simulation(), row_contexts())


class Knowing:
    """Expects exactly what follows from the instants when nothing interferes, however it is asked."""

    def __init__(self, frames: Observation) -> None:
        self.frames, self.step = frames, 0

    def __call__(self, history: Observation, actions: Array) -> Rollout:
        instant = self.frames.proprioception.shape[1] - STEPS + self.step % STEPS
        self.step += 1
        both = Observation.stack([history[:, -1], replace(self.frames[:, instant], time=history.time[:, -1])], axis=1)
        return Rollout("model", both, actions)


def test_true_frames_continue_as_recorded(clean: Observation) -> None:
    contexts = row_contexts()
    recorded = np.asarray(contexts.recorded.position_in_world)[:, 1 : STEPS + 1]
    np.testing.assert_array_equal(np.asarray(clean.objects.position_in_world)[:, -STEPS:], recorded)


@pytest.mark.parametrize("name", [*VIOLATIONS, "colour"])
def test_violations_break_the_future_alone(name: str, clean: Observation) -> None:
    contexts, simulation = row_contexts(), row_simulation()
    target = in_play(contexts, clean)
    seen = violated(name, simulation, contexts, clean, target, np.random.default_rng(0))
    before = np.asarray(seen.frames.objects.position_in_world)[:, :-STEPS]
    np.testing.assert_array_equal(before, contexts.history.objects.position_in_world)
    rows, position = np.arange(len(contexts)), np.asarray(seen.frames.objects.position_in_world)
    truth, mine = np.asarray(clean.objects.position_in_world), (np.arange(len(contexts)), -1, target)
    jump = np.linalg.norm(position[:, -STEPS] - truth[:, -STEPS], axis=-1)[rows, target]
    if name == "vanish":
        assert not seen.frames.objects.present[mine].any()
        assert seen.broken.all()
    if name == "teleport":
        assert (jump[seen.broken] > 0.02).mean() > 0.8
    if name == "swap":
        moved = (np.linalg.norm(position[:, -STEPS] - truth[:, -STEPS], axis=-1) > 0.01).sum(1)
        assert (moved == 2).sum() >= len(contexts) // 2
    if name == "pass_through":
        np.testing.assert_array_equal(position[mine], contexts.history.objects.position_in_world[:, -1][rows, target])
        assert seen.frames.objects.present[mine].all()
        names = contexts.history.objects.names
        gone = [Question.parse(c, f"remove({names[k]})") for c, k in enumerate(target)]
        without = simulate(simulation, contexts, gone).position[:, 1 : STEPS + 1]
        others = np.ones((len(contexts), len(names)), bool)
        others[rows, target] = False
        np.testing.assert_array_equal(
            np.swapaxes(position[:, -STEPS:], 1, 2)[others], np.swapaxes(without, 1, 2)[others]
        )
    if name == "colour":
        np.testing.assert_array_equal(position, truth)
        assert (seen.frames.objects.colour[mine] != clean.objects.colour[mine]).any(-1).all()


def test_who_knows_physics_is_surprised_by_violations_and_not_by_colour(clean: Observation) -> None:
    found = measure(row_simulation(), Knowing(clean), row_contexts(), np.random.default_rng(0), 20)
    for name in ("teleport", "swap", "vanish", "pass_through"):
        assert found[name].value > 0.95
    assert found["auroc"].value > 0.9
    assert found["colour"].value == pytest.approx(0.5)


def test_errors_are_scaled_by_their_like() -> None:
    generator = np.random.default_rng(0)
    speed = np.repeat([[[0, 2]]], 200, axis=0)
    error = np.abs(generator.normal(size=(200, 1, 2))) * np.array([0.001, 0.05])
    scale = Scale.fit(error, speed)
    usual, strange = np.array([[[0.001, 0.05]]]), np.array([[[0.05, 0.05]]])
    assert scale.surprise(usual, speed[:1]) < 2 < 20 < scale.surprise(strange, speed[:1])
    with pytest.raises(EmbodiedError, match="usual"):
        Scale.fit(np.full((3, 1, 1), np.nan), np.zeros((3, 1, 1), np.int64))


def test_bad_models_and_too_few_instants_are_refused(clean: Observation) -> None:
    contexts: Contexts = row_contexts()

    def broken(history: Observation, actions: Array) -> Rollout:
        rollout = drifting(history, actions)
        position = rollout.observation.objects.position_in_world * np.nan
        objects = replace(rollout.observation.objects, position_in_world=position)
        return replace(rollout, observation=replace(rollout.observation, objects=objects))

    with pytest.raises(EmbodiedError, match="not finite"):
        errors(broken, contexts, clean)
    with pytest.raises(EmbodiedError, match="two episodes"):
        measure(row_simulation(), drifting, contexts[:1], np.random.default_rng(0))
    assert speeds(contexts, clean).shape == errors(drifting, contexts, clean).shape
