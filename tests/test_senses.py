"""What a deployed policy sees: the arm's own sensors with objects out of pictures, or as a twin knows them."""

import io
import json

import numpy as np
import pytest

from embodied.arguments import DeployArguments
from embodied.bench.rendered_boards import FIXED_CAMERA, LENS
from embodied.bench.rendered_tags import CUBES, photograph
from embodied.console import Console
from embodied.deploy import site as sites
from embodied.deploy.command import assigned, carry_out
from envs.errors import EmbodiedError
from envs.geometry import quat_from_yaw
from envs.robot import HOME
from envs.tasks import task
from envs.types import PROPRIOCEPTION
from robots.arm.contract import Health, Reading
from robots.calibration.poses import inverse, pose, to_json
from robots.calibration.rendering import Photographer
from robots.perception.contract import Senses
from robots.perception.truth import TruthSenses
from robots.perception.webcam import Webcam
from robots.units import JOINTS

PLACE = task("place")
CUBE = np.array([0.26, 0.05, 0.014])
HEALTH = Health(np.zeros(6), np.zeros(6), np.full(6, 30.0), np.full(6, 7.4), ((),) * 6)
READING = Reading(7.0, np.array(HOME), np.full(6, 0.1), HEALTH)


class Still:
    """A camera before which nothing moves."""

    picture: np.ndarray

    def __init__(self, name, device, width, height):
        assert (width, height) == (LENS.width, LENS.height)
        self.name = name

    def __call__(self):
        return {self.name: self.picture}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


@pytest.fixture(scope="module")
def picture():
    """`[480 640 3]` of the red cube with its markers at `CUBE`."""
    where = {CUBES[0].name: inverse(FIXED_CAMERA) @ pose(np.eye(3), CUBE)}
    grey = photograph(Photographer(LENS), CUBES[:1], where, np.random.default_rng(0))
    return np.repeat(grey[..., None], 3, axis=-1)


@pytest.fixture
def calibrated(tmp_path, monkeypatch):
    """A folder as `embodied calibrate` leaves it, and a camera in place of the one that there is not."""
    (tmp_path / "camera.json").write_text(json.dumps(LENS.to_json()))
    found = {"mount": "fixed", "camera_in_base": to_json(FIXED_CAMERA)}
    zeros = {joint: {"degrees": float(number)} for number, joint in enumerate(JOINTS[:5])}
    (tmp_path / "hand_eye.json").write_text(json.dumps({**found, "zeros": zeros}))
    monkeypatch.setattr("robots.perception.webcam.Webcam", Still)
    return DeployArguments(run="expert", perception="tags", calibration=str(tmp_path), record=str(tmp_path / "record"))


def test_markers_become_objects_and_the_goal_is_where_the_beginning_has_it(calibrated, picture, monkeypatch):
    monkeypatch.setattr(Still, "picture", picture, raising=False)
    layout = PLACE.layout([np.random.default_rng(3)])
    target = np.array(HOME) + 0.01
    with sites.senses_at(sites.Site("/dev/arm", None, None), calibrated, PLACE.scene) as senses:
        assert isinstance(senses, Senses)
        senses.begin(layout)
        seen = senses.observe(READING, target, 0.4)
    objects = seen.objects
    cube = objects.index("red_cube")
    np.testing.assert_allclose(objects.position_in_world[cube], CUBE, atol=0.004)
    assert objects.present[cube]
    np.testing.assert_allclose(objects.position_in_world[objects.index("target")], layout.goal_position[0], atol=1e-9)
    np.testing.assert_allclose(seen.proprioception[PROPRIOCEPTION["joint_position"]], READING.position)
    np.testing.assert_allclose(seen.proprioception[PROPRIOCEPTION["joint_target"]], target)
    assert float(seen.time) == 0.4
    assert senses.source == "markers on red_cube"


def test_an_arm_is_given_the_zeros_that_were_found(calibrated, monkeypatch):
    monkeypatch.setattr(sites, "SupervisedArm", lambda config: config)
    config = sites.arm_at(sites.Site("/dev/arm", None, None), calibrated, limits=None)
    np.testing.assert_allclose(np.rad2deg(config.arm["zeros"]), [0.0, 1.0, 2.0, 3.0, 4.0])
    assert config.arm["port"] == "/dev/arm"
    assert config.moving


def test_a_cube_that_nobody_sees_moves_nothing(calibrated, tmp_path, monkeypatch):
    monkeypatch.setattr(Still, "picture", np.full((480, 640, 3), 120, np.uint8), raising=False)
    layout = PLACE.layout([np.random.default_rng(3)])
    with sites.senses_at(sites.Site("/dev/arm", None, None), calibrated, PLACE.scene) as senses:
        senses.begin(layout)
        objects = senses.observe(READING, READING.position, 0.0).objects
    assert not objects.present[objects.index("red_cube")]


def test_truth_is_taken_over_with_velocities():
    moving = [*CUBE, *quat_from_yaw(np.array(0.5)), 0.1, 0.0, 0.0, 0.0, 0.0, 1.0]
    target = [0.3, 0.0, 0.014, 1.0, 0.0, 0.0, 0.0] + [0.0] * 6
    told = {"red_cube": moving, "target": target}

    def tell(text):
        assert text == "truth()"
        return {
            "objects": {name: state[:7] for name, state in told.items()},
            "velocities": {name: state[7:] for name, state in told.items()},
        }

    senses = TruthSenses(PLACE.scene, tell)
    objects = senses.observe(READING, READING.position, 0.0).objects
    cube = objects.index("red_cube")
    np.testing.assert_allclose(objects.position_in_world[cube], CUBE, atol=1e-9)
    np.testing.assert_allclose(objects.linear_velocity_in_world[cube], [0.1, 0.0, 0.0], atol=1e-9)
    np.testing.assert_allclose(objects.angular_velocity_in_world[cube], [0.0, 0.0, 1.0], atol=1e-9)
    told["duck"] = moving
    with pytest.raises(EmbodiedError, match="The twin has duck before it, which the task has not"):
        senses.observe(READING, READING.position, 0.0)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("camera.json", "camera.json is no camera calibration"), ("hand_eye.json", "does not say where the camera is")],
)
def test_a_missing_calibration_is_named(calibrated, tmp_path, name, sentence):
    (tmp_path / name).unlink()
    with pytest.raises(EmbodiedError, match=sentence):
        sites.senses_at(sites.Site("/dev/arm", None, None), calibrated, PLACE.scene).__enter__()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"mount": "hat", "zeros": {}}, "mount is 'hat', and wrist and fixed are allowed"),
        ({"mount": "wrist"}, "camera_in_gripper is missing"),
        ({"zeros": {}}, "shoulder_pan is missing"),
        ({"zeros": {joint: {"degrees": float("nan")} for joint in JOINTS[:5]}}, "zeros are finite angles"),
        ({"camera_in_base": {"position": [0.1], "quaternion": [1, 0, 0, 0]}}, "a pose is a position of 3"),
        ({"camera_in_base": {"position": [0.1, 0, 0], "quaternion": [1, 0]}}, "a pose is a position of 3"),
        (
            {"camera_in_base": {"position": [0.1, 0, 0], "quaternion": [0, 0, 0, 0]}},
            "a pose is a position of 3",
        ),
        ({"camera_in_base": 3}, "not subscriptable"),
    ],
)
def test_a_damaged_calibration_is_said(calibrated, tmp_path, change, why, monkeypatch):
    path = tmp_path / "hand_eye.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(EmbodiedError, match=f"does not say where the camera is .*{why}.*: make it with"):
        sites.senses_at(sites.Site("/dev/arm", None, None), calibrated, PLACE.scene).__enter__()
    with pytest.raises(EmbodiedError, match=why):
        sites.arm_at(sites.Site("/dev/arm", None, None), calibrated, limits=None)


def test_only_cubes_are_followed_by_markers(calibrated):
    with pytest.raises(EmbodiedError, match="is no cube; perception=tags follows cubes"):
        sites.senses_at(sites.Site("/dev/arm", None, None), calibrated, task("clutter").scene).__enter__()


def test_a_real_port_that_is_none_is_said(calibrated, tmp_path, monkeypatch):
    monkeypatch.setattr(Still, "picture", np.zeros((480, 640, 3), np.uint8), raising=False)
    wrong = DeployArguments(**{**vars(calibrated), "port": str(tmp_path / "ttyACM7"), "clock": "reads"})
    with pytest.raises(EmbodiedError, match=r"ttyACM7 cannot be opened .*: find the arm's with lerobot-find-port"):
        carry_out(wrong, assigned(wrong), Console(io.StringIO()))


def test_a_camera_that_is_none_is_said():
    with pytest.raises(EmbodiedError, match="The camera /dev/no_camera gives no pictures of 640 x 480"):
        Webcam("fixed", "/dev/no_camera", 640, 480)
