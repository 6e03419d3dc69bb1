"""The Push-T bench asks what it says, counts what it says, and its baselines are where they must be."""

import numpy as np
import pytest
from pusht_extra import needs_pusht

from embodied.bench import pusht
from embodied.bench.harness import BENCHES
from embodied.data.pusht import Trajectories, collect
from embodied.evaluation.pusht import Attempt, Question, Replay, Still, attempt, passes, questions
from envs.errors import EmbodiedError
from envs.pusht import BUDGET, PushT, solved


@pytest.fixture(scope="module")
def held_out():
    return collect(10, seed=5, steps=60, weak_share=0.3)


@needs_pusht
def test_questions_are_unsolved_and_answerable(held_out):
    asked = questions(held_out, 4, seed=0)
    for each in asked:
        assert not solved(each.start, each.goal)
        assert each.actions.shape == (25, 2)
        np.testing.assert_allclose(PushT().rollout(each.start, each.actions)[-1, :2], each.goal[:2], atol=1e-6)
    again = questions(held_out, 4, seed=0)
    np.testing.assert_array_equal(asked[3].goal, again[3].goal)
    assert len(questions(held_out, 1, seed=0, weak=True)) == 1
    with pytest.raises(EmbodiedError, match="500 questions asked of"):
        questions(held_out, 500, seed=0)


@needs_pusht
def test_replaying_passes_and_standing_still_does_not(held_out):
    world, asked = PushT(), questions(held_out, 4, seed=0)
    replayed = [attempt(world, each, Replay(each.actions), stop_early=False) for each in asked]
    assert all(each.at_end and each.passed <= 25 for each in replayed)
    still = [attempt(world, each, Still(), stop_early=True) for each in asked]
    assert passes(still) < 4
    assert not any(each.at_end for each in still if each.passed is None)


class Goes:
    """Goes straight to a place and stays; notes what it was shown."""

    def __init__(self, place):
        self.place, self.shown = np.asarray(place), []

    def act(self, observed):
        self.shown.append(observed)
        return self.place


@needs_pusht
def test_attempts_note_the_first_pass_and_the_ends():
    start = np.array([100.0, 100.0, 350.0, 350.0, 0.0, 0.0, 0.0])
    near, far = ({"goal": np.array([x, 100.0, 350.0, 350.0, 0.0])} for x in (160.0, 400.0))
    world = PushT()
    early = attempt(world, Question(start, near["goal"], np.zeros((25, 2))), Goes([160.0, 100.0]), stop_early=True)
    assert early.passed < 8
    assert not early.at_end
    late = Goes([160.0, 100.0])
    found = attempt(world, Question(start, near["goal"], np.zeros((25, 2))), late, stop_early=False)
    assert found == Attempt(early.passed, True, found.seconds)
    assert len(late.shown) == 25
    # It passes by on its way, and is gone at both ends.
    through = attempt(world, Question(start, near["goal"], np.zeros((25, 2))), Goes([300.0, 100.0]), stop_early=False)
    assert through.passed is not None
    assert not through.at_end
    never = Goes([160.0, 100.0])
    missed = attempt(world, Question(start, far["goal"], np.zeros((25, 2))), never, True, lambda w: w.image(32))
    assert missed.passed is None
    assert len(never.shown) == BUDGET
    assert never.shown[0].shape == (32, 32, 3)


def test_far_questions_need_the_block_moved():
    start, goal = np.zeros(10), np.zeros(10)
    goal[0] = 300.0
    assert not Question(start, goal, np.zeros((25, 2))).far
    goal[2] = 21.0
    assert Question(start, goal, np.zeros((25, 2))).far


def run(successes, tries=10):
    told = {"successes": successes, "at_end": successes - 1, "tries": tries, "far": 2, "far_tries": 4}
    told |= {"plans": 12, "plan_seconds": 1.5}
    error = {f"{name}_{share}": 1.0 for name in ("position", "angle") for share in ("median", "p90")}
    return {
        **{
            "tries": tries,
            "strict": told,
            "replanning": {**told, "tries": 12},
            "parameters": 5,
            "errors": {"1": error, "25": error},
        },
        **{"aimless_goals": {"successes": 1, "tries": 2}, "replay": 10, "random": 1, "still": 0},
        **{"collect_seconds": 3.0, "train_seconds": 4.0},
    }


def test_rates_are_pooled_over_seeds():
    figures = pusht.summarise({"state": [run(9), run(10)]})
    assert figures["state_success"]["value"] == pytest.approx(95.0)
    assert figures["state_success"]["interval"][0] < 80.0
    assert figures["state_success_replanning"]["value"] == pytest.approx(100 * 19 / 24)
    assert figures["state_success_at_end"]["value"] == pytest.approx(85.0)
    assert figures["state_success_far"]["value"] == pytest.approx(50.0)
    assert figures["random_success"]["value"] == pytest.approx(10.0)
    assert figures["plans_per_attempt"]["value"] == pytest.approx(1.2)
    assert figures["questions"]["value"] == 20
    assert pusht.summarise({}) == {}


def test_pictures_have_their_own_figures():
    eye = {f"{name}_{share}": 2.0 for name in ("agent", "block", "angle") for share in ("median", "p90", "p99")}
    figures = pusht.summarise({"pixels": [{**run(8), "errors": eye}]})
    assert figures["pixel_success"]["value"] == pytest.approx(80.0)
    assert figures["seen_angle_p90"] == {"value": 2.0, "interval": None, "unit": "deg", "seeds": 1}
    assert "state_success" not in figures


def test_the_bench_is_known():
    assert BENCHES["pusht"] == "embodied.bench.pusht"
    assert {"state", "pixels"} == set(pusht.PARTS)
    assert Trajectories.__dataclass_fields__.keys() == {"states", "actions", "parts", "weak"}
