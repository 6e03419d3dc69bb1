"""Sensors are late, seldom and noisy as they were told, hide what something hides, and never touch the truth."""

from dataclasses import replace

import numpy as np
import pytest

from envs.errors import EmbodiedError
from envs.noise import normal, uniform
from envs.sensors import ImageSensor, JointSensor, ObjectSensor, SensorConfig
from envs.tasks import TASKS
from envs.variation import Variation
from envs.worlds import TaskWorlds

NOISY = SensorConfig(
    joints=JointSensor(position_noise=0.01, velocity_noise=0.02),
    objects=ObjectSensor(position_noise=0.004, rotation_noise=0.05, velocity_noise=0.01, dropout=0.3),
)


def made(sensors: SensorConfig | None, worlds: int = 3, name: str = "place_clutter", **more) -> TaskWorlds:
    return TaskWorlds(TASKS[name], worlds, seed=2, threads=1, sensors=sensors, **more)


def plan(steps: int, worlds: int = 3) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (steps, worlds, 5))


def test_perfect_sensors_tell_the_truth() -> None:
    plain, sensed = made(None), made(SensorConfig())
    for action in plan(4):
        a, b = plain.step(action), sensed.step(action)
    np.testing.assert_array_equal(a.next_observation.proprioception, b.next_observation.proprioception)
    for name in ("position_in_world", "quaternion_in_world", "angular_velocity_in_world", "confidence"):
        one, other = (getattr(each.next_observation.objects, name) for each in (a, b))
        np.testing.assert_array_equal(one, other)


def test_noise_has_its_spread_and_leaves_the_truth_alone() -> None:
    plain, noisy = made(None, 400, "lift"), made(NOISY, 400, "lift")
    action = plan(1, 400)[0]
    plain.step(action)
    seen = noisy.step(action).next_observation
    np.testing.assert_array_equal(noisy.truth.objects.position_in_world, plain.truth.objects.position_in_world)
    np.testing.assert_array_equal(noisy.margins, plain.margins)
    found = seen.objects.confidence[:, -1] > 0
    assert found.mean() == pytest.approx(0.7, abs=0.07)
    off = (seen.objects.position_in_world - noisy.truth.objects.position_in_world)[:, -1]
    assert off[found].std(axis=0) == pytest.approx([0.004] * 3, rel=0.2)
    turned = np.abs((seen.objects.quaternion_in_world * noisy.truth.objects.quaternion_in_world)[found, -1].sum(-1))
    angle = 2.0 * np.arccos(np.clip(turned, 0.0, 1.0))
    assert np.sqrt((angle**2).mean()) == pytest.approx(0.05 * np.sqrt(3), rel=0.1)
    joints = seen.proprioception - noisy.truth.proprioception
    assert joints[:, :6].std() == pytest.approx(0.01, rel=0.1)
    assert joints[:, 6:12].std() == pytest.approx(0.02, rel=0.1)
    # What is commanded is known, and so is what nothing measures.
    assert not joints[:, 12:].any()
    assert not (seen.objects.position_in_world - noisy.truth.objects.position_in_world)[:, :-1].any()


def test_what_is_dropped_stays_where_it_was_said_to_be() -> None:
    worlds = made(SensorConfig(objects=ObjectSensor(position_noise=0.01, dropout=0.5)), 50, "lift")
    missed = 0
    before = worlds.observation
    assert (before.objects.confidence[:, -1] == 1).mean() == pytest.approx(0.5, abs=0.25)
    for action in plan(5, 50):
        now = worlds.step(action).next_observation
        lost = now.objects.confidence[:, -1] == 0
        same = (now.objects.position_in_world == before.objects.position_in_world)[:, -1].all(axis=-1)
        np.testing.assert_array_equal(lost, same)
        missed, before = missed + lost.sum(), now
    assert 80 < missed < 170


def test_noise_depends_on_the_world_and_its_time_alone() -> None:
    many, one = made(NOISY, variation=Variation.parse("mass")), made(NOISY, 1, variation=Variation.parse("mass"))
    many.reset(seeds=[4, 5, 6])
    actions = plan(6)
    for action in actions[:3]:
        many.step(action)
    one.reset(seeds=[5])
    many.reset(np.array([1]), seeds=[5])
    for action in actions:
        alone, among = one.step(action[1:2]).next_observation, many.step(action).next_observation
        np.testing.assert_array_equal(alone.proprioception[0], among.proprioception[1])
        np.testing.assert_array_equal(alone.objects.position_in_world[0], among.objects.position_in_world[1])


def test_rate_and_delay_are_kept() -> None:
    sensors = SensorConfig(joints=JointSensor(delay=0.2), objects=ObjectSensor(rate=10.0 / 3.0, delay=0.1))
    worlds = made(sensors, 2, "push")
    joints, cubes = [worlds.truth.proprioception], [worlds.truth.objects.position_in_world[:, -1]]
    told = []
    for action in plan(9, 2):
        seen = worlds.step(action).next_observation
        joints.append(worlds.truth.proprioception)
        cubes.append(worlds.truth.objects.position_in_world[:, 1])
        told.append((seen.proprioception, seen.objects.position_in_world[:, 1], seen.time))
    cubes[0] = worlds.reset(seeds=[(2, 0, 0), (2, 1, 0)]).objects.position_in_world[:, 1]
    for step, (joint, cube, time) in enumerate(told, 1):
        np.testing.assert_array_equal(joint, joints[max(0, step - 2)])
        np.testing.assert_array_equal(cube, cubes[3 * (max(0, step - 1) // 3)])
        np.testing.assert_allclose(time, 0.1 * step)


def test_what_stands_before_an_object_hides_it() -> None:
    worlds = made(SensorConfig(objects=ObjectSensor(occlusion="front")), 1, "stack")
    simulation, scene = worlds.simulation, worlds.simulation.scene
    red, blue = (scene.index(name) for name in ("red_cube", "blue_cube"))
    assert worlds.observation.objects.confidence[0, [red, blue]].min() > 0.5
    state = worlds.truth.objects.position_in_world[0]
    towards = scene.model.camera("front").pos - state[blue]
    hiding = state[blue] + 0.05 * towards / np.linalg.norm(towards)
    simulation.rows.put(np.array([0]), red, position=hiding[None])
    simulation.rows.put(np.array([0]), blue, position=state[None, blue])
    seen = worlds._observe()
    assert worlds._sensors is not None
    sight = worlds._sensors._in_sight(worlds.truth.objects, scene.model.camera("front").pos, np.arange(1))[0]
    assert sight[0] == 1.0
    assert sight[1] <= 0.2
    assert seen.objects.confidence[0, blue] == 0.0
    assert seen.objects.present[0, blue]


def test_a_run_goes_on_where_it_was_saved() -> None:
    sensors = replace(NOISY, joints=JointSensor(delay=0.3, position_noise=0.1))
    first, second = made(sensors), made(sensors)
    actions = plan(8)
    for action in actions[:5]:
        first.step(action)
    second.load_state_dict(first.state_dict())
    np.testing.assert_array_equal(second.observation.proprioception, first.observation.proprioception)
    for action in actions[5:]:
        a, b = first.step(action).next_observation, second.step(action).next_observation
        np.testing.assert_array_equal(a.proprioception, b.proprioception)
        np.testing.assert_array_equal(a.objects.position_in_world, b.objects.position_in_world)


def test_images_of_three_kinds_arrive_when_they_should() -> None:
    camera = ImageSensor(name="top", width=48, height=32, images=("rgb", "depth", "segmentation"), delay=0.1, rate=5.0)
    worlds = made(SensorConfig(cameras=(camera, ImageSensor(name="wrist", noise=8.0))), 2, "place")
    first = worlds.observation.images
    assert {name: array.shape[1:] for name, array in first.items()} == {
        "top": (32, 48, 3), "top_depth": (32, 48), "top_segmentation": (32, 48), "wrist": (64, 64, 3),
    }  # fmt: skip
    assert first["top_depth"].max() == pytest.approx(0.78, abs=0.05)
    assert (first["top_segmentation"] == worlds.simulation.scene.index("red_cube")).any()
    shots = [worlds.step(action).next_observation.images for action in plan(4, 2)]
    same = [np.array_equal(shot["top"], first["top"]) for shot in shots]
    assert same == [True, True, False, False]
    np.testing.assert_array_equal(shots[2]["top_depth"], shots[3]["top_depth"])
    assert not np.array_equal(shots[0]["wrist"], first["wrist"])
    with pytest.raises(EmbodiedError, match="Unknown image 'rgbd'"):
        ImageSensor(images=("rgbd",))


@pytest.mark.parametrize(
    ("sensors", "words"),
    [
        (SensorConfig(joints=JointSensor(rate=4.0)), r"rate of 4\.0 Hz does not fit control at 10 Hz"),
        (SensorConfig(objects=ObjectSensor(delay=0.05)), r"delay of 0\.05 s .* a multiple of 0\.1 s"),
        (SensorConfig(objects=ObjectSensor(position_noise=-1.0)), "position_noise = -1"),
        (SensorConfig(objects=ObjectSensor(dropout=1.0)), "dropout = 1"),
        (SensorConfig(objects=ObjectSensor(occlusion="wrist")), "Unknown fixed camera 'wrist'"),
        (SensorConfig(cameras=(ImageSensor(name="side"),)), "Unknown camera 'side'"),
    ],
)
def test_impossible_sensors_are_refused(sensors: SensorConfig, words: str) -> None:
    with pytest.raises(EmbodiedError, match=words):
        made(sensors, 1, "lift")


def test_numbers_are_spread_as_they_should_be() -> None:
    seed, step = np.arange(2000), np.zeros(2000, np.int64)
    flat = uniform(seed, step, "a", (5,))
    assert flat.mean() == pytest.approx(0.5, abs=0.01)
    assert np.corrcoef(flat.T)[np.triu_indices(5, 1)] == pytest.approx([0.0] * 10, abs=0.08)
    assert np.corrcoef(flat[:-1, 0], flat[1:, 0])[0, 1] == pytest.approx(0.0, abs=0.08)
    bell = normal(seed, step, "a", (5,))
    assert bell.std() == pytest.approx(1.0, abs=0.03)
    for other in (uniform(seed, step + 1, "a", (5,)), uniform(seed, step, "b", (5,))):
        assert abs(np.corrcoef(flat.ravel(), other.ravel())[0, 1]) < 0.04
