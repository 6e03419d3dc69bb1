"""Metrics of seeing: errors up to a cube's symmetry, identities, and grouping of pixels."""

import numpy as np
import pytest
from tabletop import tabletop
from whatif_scenes import CUBES, drifting, row_contexts, row_episodes, row_simulation

from embodied.evaluation.branches import histories
from embodied.evaluation.questions import draw
from embodied.evaluation.seeing import as_seen, compare, foreground_ari, switches, turn_errors
from embodied.evaluation.seen_skill import SeenSkill, paired_skills
from envs.cameras import CameraConfig, Cameras
from envs.geometry import quat_from_yaw, quat_multiply


def test_quarter_turns_and_faces_are_the_same_cube():
    yaw = np.linspace(-3.0, 3.0, 25)
    true = quat_from_yaw(yaw)
    for quarter in range(4):
        error, tilt = turn_errors(true, quat_from_yaw(yaw + quarter * np.pi / 2 + 0.03))
        assert error == pytest.approx(0.03, abs=1e-6)
        assert tilt == pytest.approx(0.0, abs=1e-6)
    upside = quat_multiply(true, np.array([0.0, 1.0, 0.0, 0.0]))
    assert turn_errors(true, upside)[0] == pytest.approx(0.0, abs=1e-6)
    lean = np.array([np.cos(0.1), np.sin(0.1), 0.0, 0.0])
    assert turn_errors(true, quat_multiply(lean, true))[1] == pytest.approx(0.2, abs=1e-6)


def test_errors_are_counted_where_both_are():
    truth = tabletop().map(lambda array: array[None])
    seen = tabletop(red_cube=[0.203, 0.004, 0.014]).map(lambda array: array[None])
    sight = compare(truth, seen)
    assert sight.position[0] == pytest.approx([0.005, 0.0])
    assert sight.found.all()
    seen.present[0, -1] = False
    sight = compare(truth, seen)
    assert np.isnan(sight.position[0, 1])
    assert list(sight.other[0]) == [0, -1]


def test_swapped_names_are_noticed():
    truth = tabletop().map(lambda array: array[None])
    swapped = tabletop(red_cube=[0.25, -0.1, 0.014], blue_cube=[0.2, 0.0, 0.014]).map(lambda array: array[None])
    assert list(compare(truth, swapped).other[0]) == [1, 0]
    assert switches(np.array([[0, 1], [0, -1], [1, 1], [1, 1], [0, 1]])) == 2
    assert switches(np.array([[0, 1]] * 4)) == 0


def test_ari_is_one_for_the_same_grouping_and_near_zero_for_chance():
    rng = np.random.default_rng(0)
    truth = rng.integers(-1, 4, (64, 64))
    assert foreground_ari(truth, 7 - truth) == pytest.approx(1.0)
    assert abs(foreground_ari(truth, rng.integers(0, 4, truth.shape))) < 0.01
    assert foreground_ari(truth, np.zeros_like(truth)) == pytest.approx(0.0)
    # The background does not count.
    spoiled = np.where(truth < 0, rng.integers(0, 9, truth.shape), truth)
    assert foreground_ari(truth, spoiled) == pytest.approx(1.0)
    assert np.isnan(foreground_ari(np.zeros((4, 4)), np.zeros((4, 4))))
    # Two groups of two pixels, of which one pixel goes over: by hand, 0 of 2 pairs agree beyond chance.
    assert foreground_ari(np.array([[0, 0, 1, 1]]), np.array([[0, 1, 1, 1]])) == pytest.approx(0.0)


class Truthful:
    """Tells the simulator's truth, noting what it was given."""

    def __init__(self):
        self.given = []

    def reset(self):
        pass

    def perceive(self, observation):
        self.given.append(observation)
        return observation.objects


def eyes():
    return Cameras(row_simulation().scene, [CameraConfig("front", 8, 8), CameraConfig("top", 8, 8)], threads=1)


def test_instants_are_seen_from_the_first_frame_on():
    contexts, perceiver = row_contexts(), Truthful()
    seen = as_seen(contexts, row_episodes(), perceiver, eyes())
    for name in ("position_in_world", "quaternion_in_world", "linear_velocity_in_world", "present", "half_extents"):
        assert np.array_equal(getattr(seen.history.objects, name), getattr(contexts.history.objects, name))
    boxes = [contexts.history.objects.index(name) for name in CUBES]
    for given in perceiver.given:
        assert set(given.images) == {"front", "top"}
        assert not given.objects.mass[:, boxes].any()
        assert not given.objects.friction[:, boxes].any()
    assert len(perceiver.given) == contexts.place[:, 1].max() + 1
    assert np.array_equal(seen.state, contexts.state)
    assert np.array_equal(seen.action, contexts.action)


def test_edits_act_on_what_was_seen():
    contexts = row_contexts()
    seen = as_seen(contexts, row_episodes(), Truthful(), eyes())
    questions = draw(contexts, np.random.default_rng(0))
    a, b = (histories(each, questions).objects for each in (contexts, seen))
    assert np.array_equal(a.position_in_world, b.position_in_world)
    assert np.array_equal(a.present, b.present)


def test_who_sees_the_truth_loses_no_skill():
    contexts = row_contexts()
    seen = as_seen(contexts, row_episodes(), Truthful(), eyes())
    told = paired_skills(row_simulation(), drifting, contexts, seen, np.random.default_rng(0))
    assert told.gap["spillover"].value == told.gap["action"].value == 0.0
    assert told.skill["state"]["move"] == told.skill["pixels"]["move"]
    assert SeenSkill.from_dict(told.as_dict()).as_dict() == told.as_dict()
    away = seen.history.objects
    away.linear_velocity_in_world[..., 0] += 0.2 * (away.position_in_world[..., 0] > 0.2)
    told = paired_skills(row_simulation(), drifting, contexts, seen, np.random.default_rng(0))
    assert told.gap["spillover"].value == 0.0, "this model knows no effects of edits"
    assert told.factual_ade["pixels"].value > told.factual_ade["state"].value
