"""What is given to environments in another form is understood, or refused in one sentence that says what is allowed."""

import gymnasium
import numpy as np
import pytest

from envs.errors import EmbodiedError
from envs.goals import Goal
from envs.gym import TabletopEnv
from envs.sensing import SENSORS
from envs.sensors import ImageSensor, JointSensor, SensorConfig
from envs.tasks import task
from envs.variation import Variation

NUMBER = r"was given; a whole number from 1 on is needed\.$"
NAMES = r"was given; give a name or a tuple of names\.$"


def test_a_goal_may_be_one_or_its_words() -> None:
    words = "near(red_cube, target, 0.05)"
    assert TabletopEnv("place", goal=Goal.parse(words)).task == TabletopEnv("place", goal=words).task


def test_sensors_may_be_given_by_name() -> None:
    named, given = (TabletopEnv("place", sensors=each) for each in ("noisy", SENSORS["noisy"]))
    np.testing.assert_array_equal(named.reset(seed=1)[0]["observation"], given.reset(seed=1)[0]["observation"])
    exact = TabletopEnv("place", sensors="exact").reset(seed=1)[0]
    assert not np.array_equal(exact["observation"], named.reset(seed=1)[0]["observation"])


def test_a_name_alone_is_a_tuple_of_one() -> None:
    alone = {"cameras": "top", "images": "depth", "obstacles": "wall", "distractors": "green_cube"}
    one, other = (TabletopEnv("place", image_size=8, **given)
                  for given in (alone, {key: (name,) for key, name in alone.items()}))  # fmt: skip
    assert one.task == other.task
    assert one.observation_space == other.observation_space
    assert "top_depth" in one.observation_space.spaces
    assert ImageSensor(images="depth").images == ("depth",)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"goal": 5}, r"goal=5 was given; give a Goal, or words such as 'lifted\(red_cube, 0\.04\)'\."),
        ({"horizon": "5"}, f"horizon='5' {NUMBER}"),
        ({"horizon": 2.5}, f"horizon=2.5 {NUMBER}"),
        ({"cameras": "top", "image_size": 33.3}, r"Camera 'top' was given 33\.3 x 33\.3 pixels; it needs whole"),
        ({"cameras": 5}, f"cameras=5 {NAMES}"),
        ({"cameras": "fron"}, r"Unknown camera 'fron'\. Did you mean 'front'\? Allowed: front, top, wrist\."),
        ({"cameras": "top", "images": "rbg"}, r"Unknown image 'rbg'\. Did you mean 'rgb'\?"),
        ({"obstacles": "wal"}, r"Unknown obstacle 'wal'\. Did you mean 'wall'\?"),
        ({"obstacles": None}, f"obstacles=None {NAMES}"),
        ({"distractors": (1,)}, r"distractors=\(1,\) was given; give a name or a tuple of names\."),
        ({"sensors": "noisyy"}, r"Unknown sensors 'noisyy'\. Did you mean 'noisy'\? Allowed: camera, exact, late, "),
        ({"sensors": {"rate": 5}}, r"sensors=.* was given; give a SensorConfig, or one of exact, noisy, late"),
        ({"sensors": SensorConfig(joints=JointSensor(rate=0))}, r"rate of 0 Hz does not fit .*a whole fraction of"),
        ({"variation": {"mass": 2.0}}, r"variation={'mass': 2\.0} was given; give a Variation, or words such as 'm"),
    ],
)  # fmt: skip
def test_what_an_environment_cannot_be_is_told(given: dict, sentence: str) -> None:
    with pytest.raises(EmbodiedError, match=sentence):
        TabletopEnv("place", **given)


@pytest.mark.parametrize("count", [1.5, "2", 0, True, None])
def test_there_is_a_whole_number_of_environments(count: object) -> None:
    with pytest.raises(EmbodiedError, match=f"num_envs={count!r} {NUMBER}"):
        gymnasium.make_vec("envs:SO101Lift-v0", num_envs=count)


def test_numpy_s_integers_are_whole_numbers() -> None:
    assert task("place", horizon=np.int64(7)).horizon == 7
    assert gymnasium.make_vec("envs:SO101Lift-v0", num_envs=np.int64(2), threads=1).num_envs == 2


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"variation": "mass=2"}, r"Factors 'mass=2' were given; give values by name, such as {'mass': 1\.5}\."),
        ({"variation": {"layout": "a"}}, r"layout = 'a': a layout is a seed, an integer from 0 on\."),
        ({"variation": {"layout": np.nan}}, r"layout = nan: a layout is a seed"),
        ({"variation": {"layout": np.inf}}, r"layout = inf: a layout is a seed"),
    ],
)
def test_what_cannot_be_set_at_reset_is_told(options: dict, sentence: str) -> None:
    with pytest.raises(EmbodiedError, match=sentence):
        TabletopEnv("lift").reset(seed=0, options=options)


@pytest.mark.parametrize("given", [2.0, "12", (1.0, 1.1, 1.2), ("a", "b")])
def test_a_factor_s_range_has_two_ends(given: object) -> None:
    with pytest.raises(EmbodiedError, match=r"Variation mass = .*: give a range, such as \(0\.5, 2\.0\)\."):
        Variation(mass=given)


@pytest.mark.parametrize(
    ("action", "sentence"),
    [
        ([1, [2, 3], 1, 1, 1], r"An action \[1, \[2, 3\], 1, 1, 1\] was given; actions are arrays of numbers\."),
        ([0] * 4, r"An action of shape \(4,\) was given; x, y, z, yaw, gripper need \(5,\)\."),
        (np.zeros((1, 5)), r"An action of shape \(1, 5\) was given; .* need \(5,\)\."),
    ],
)
def test_one_world_s_action_is_asked_for_as_one(action: object, sentence: str) -> None:
    env = TabletopEnv("lift")
    env.reset(seed=0)
    with pytest.raises(EmbodiedError, match=sentence):
        env.step(action)
