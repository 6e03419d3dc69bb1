"""Cameras on the wrist and beside the arm: places and joint zeros recovered from rendered boards."""

import numpy as np
import pytest

from embodied.bench.rendered_boards import LENS, Degradation, rehearse
from envs.errors import EmbodiedError
from robots.calibration.hand_eye import FEWEST_VIEWS, closed_form
from robots.calibration.intrinsics import Intrinsics
from robots.calibration.poses import difference, from_vector, gripper_in_base
from robots.calibration.sightings import find_all
from robots.calibration.zeros import PRIOR, ZEROS, calibrate_hand_eye, why_not

OFF = np.deg2rad([0.0, 3.0, -4.0, 2.0, 0.0])


def found(rehearsal, lens=LENS):
    sightings = find_all(rehearsal.board, rehearsal.pictures)
    seen = [int(sighting.name[:3]) for sighting in sightings]
    return calibrate_hand_eye(rehearsal.mount, rehearsal.reported[seen], sightings, lens)


@pytest.fixture(scope="module", params=["wrist", "fixed"])
def straight(request):
    """An arm whose zeros are right."""
    rehearsal = rehearse(request.param, 15, np.random.default_rng(3))
    return rehearsal, find_all(rehearsal.board, rehearsal.pictures)


@pytest.fixture(scope="module", params=["wrist", "fixed"])
def off(request):
    """An arm whose zeros are off."""
    rehearsal = rehearse(request.param, 18, np.random.default_rng(4), zeros=OFF)
    return rehearsal, found(rehearsal)


def test_the_gripper_is_where_mujoco_has_it():
    from envs.scene import SceneConfig, build_scene
    from envs.simulation import Simulation
    from envs.types import PROPRIOCEPTION

    simulation = Simulation(build_scene(SceneConfig()), 1)
    joints = simulation.observe().proprioception[:, PROPRIOCEPTION["joint_position"]]
    scene = simulation.scene
    objects = simulation.observe().objects
    pose = gripper_in_base(np.asarray(joints))[0]
    np.testing.assert_allclose(pose[:3, 3], objects.position_in_world[0, scene.index("gripper")], atol=1e-6)


def test_closed_forms_agree_where_zeros_are_right(straight):
    rehearsal, sightings = straight
    seen = [int(sighting.name[:3]) for sighting in sightings]
    answer = closed_form(rehearsal.mount, rehearsal.reported[seen], sightings, LENS)
    for one, other in ((answer.camera, rehearsal.camera), (answer.board, rehearsal.board_pose)):
        distance, angle = difference(one, other)
        assert distance < 1e-3
        assert np.rad2deg(angle) < 0.2
    assert answer.disagreement[0] < 2e-4
    assert np.rad2deg(answer.disagreement[1]) < 0.05


def test_the_cameras_place_is_recovered_with_zeros_right(straight):
    rehearsal, sightings = straight
    seen = [int(sighting.name[:3]) for sighting in sightings]
    answer = calibrate_hand_eye(rehearsal.mount, rehearsal.reported[seen], sightings, LENS)
    distance, angle = difference(answer.camera, rehearsal.camera)
    assert distance < 1e-3
    assert np.rad2deg(angle) < 0.2
    np.testing.assert_allclose(answer.zeros, 0.0, atol=np.deg2rad(0.1))
    assert answer.rms < 0.15


def test_places_and_zeros_are_recovered_together(off):
    rehearsal, answer = off
    distance, angle = difference(answer.camera, rehearsal.camera)
    assert distance < 1e-3
    assert np.rad2deg(angle) < 0.2
    assert answer.observed == (False, True, True, True, False)
    np.testing.assert_allclose(answer.zeros, OFF, atol=np.deg2rad(0.1))
    # The closed form, which takes joints at their word, is worse by far, and says so.
    assert difference(answer.closed_form.camera, rehearsal.camera)[0] > 3e-3
    assert answer.closed_form_rms > 10 * answer.rms


def test_standard_errors_are_of_the_size_of_the_errors(off):
    rehearsal, answer = off
    assert np.all(np.abs(answer.zeros - OFF)[1:4] < 4 * answer.zero_errors[1:4])
    assert np.all(answer.zero_errors[1:4] < np.deg2rad(0.1))
    assert difference(answer.camera, rehearsal.camera)[0] < 4 * answer.camera_error[0]
    assert answer.camera_error[0] < 1e-3
    assert answer.play < np.deg2rad(0.02)


@pytest.mark.parametrize("mount", ["wrist", "fixed"])
def test_pan_and_roll_cannot_be_told_and_do_no_harm(mount):
    """They are unseen because camera and board take them up: what the arm reaches for is where it was."""
    zeros = np.deg2rad([5.0, 0.0, 0.0, 0.0, -4.0])
    rehearsal = rehearse(mount, 15, np.random.default_rng(5), zeros=zeros)
    answer = found(rehearsal)
    assert answer.observed == (False, True, True, True, False)
    np.testing.assert_array_equal(answer.zeros[[0, 4]], 0.0)
    assert answer.rms < 0.15
    np.testing.assert_allclose(answer.zeros[1:4], 0.0, atol=np.deg2rad(0.1))
    told, true = rehearsal.reported, rehearsal.reported + np.append(zeros, 0.0)
    turned = (
        gripper_in_base(told[:1])[0] @ np.linalg.inv(gripper_in_base(told[:1] + np.array([zeros[0], *5 * [0.0]])))[0]
    )
    # The base turns about the pan axis, the gripper about the roll axis: the same turns at every pose.
    for pose_told, pose_true in zip(gripper_in_base(told), gripper_in_base(true), strict=True):
        carried = np.linalg.inv(pose_told) @ turned @ pose_true
        in_base = mount == "fixed"
        truth = turned @ rehearsal.camera if in_base else carried @ rehearsal.camera
        distance, angle = difference(answer.camera, truth)
        assert distance < 1e-3
        assert np.rad2deg(angle) < 0.2
    assert difference(answer.camera, rehearsal.camera)[1] > np.deg2rad(3.0)
    assert "no picture can tell" in why_not(answer, "shoulder_pan")
    assert ("the camera on the gripper" in why_not(answer, "wrist_roll")) == (mount == "wrist")


@pytest.mark.parametrize(("still", "hidden"), [(0, 1), (4, 3)])
def test_what_stands_still_hides_the_next_zero(still, hidden):
    """Without pan, the lift's axis stands still in the world; without roll, the flex's does on the gripper."""
    rehearsal = rehearse("wrist", 12, np.random.default_rng(6), spread=[float(joint != still) for joint in range(5)])
    answer = found(rehearsal)
    expected = [False, True, True, True, False]
    expected[hidden] = False
    assert answer.observed == tuple(expected)
    assert answer.zero_errors[hidden] > 0.5 * PRIOR
    assert "vary every joint more" in why_not(answer, ZEROS[hidden])


def test_joints_that_are_off_by_chance_widen_the_standard_error(off):
    rehearsal, answer = off
    shaky = rehearse(rehearsal.mount, 18, np.random.default_rng(4), Degradation(joints=np.deg2rad(0.6)), OFF)
    worse = found(shaky)
    assert worse.camera_error[0] > 5 * answer.camera_error[0]
    assert difference(worse.camera, shaky.camera)[0] < 4 * worse.camera_error[0]
    assert np.all(np.abs(worse.zeros - OFF)[1:4] < 4 * worse.zero_errors[1:4])
    assert worse.rms > 5 * answer.rms
    assert worse.play == pytest.approx(np.deg2rad(0.6), rel=0.5)
    # Corners alone, weighed alike, would make a shaky arm's camera worse than the closed form does.
    assert difference(worse.camera, shaky.camera)[0] < difference(worse.closed_form.camera, shaky.camera)[0]


def test_views_that_will_not_do_are_told(straight):
    rehearsal, sightings = straight
    joints = rehearsal.reported[: len(sightings)]
    few = FEWEST_VIEWS - 1
    with pytest.raises(EmbodiedError, match="found in 5 pictures; 6 are the fewest"):
        closed_form(rehearsal.mount, joints[:few], sightings[:few], LENS)
    panned = np.tile(joints[:1], (len(sightings), 1))
    panned[:, 0] = np.linspace(-1.0, 1.0, len(panned))
    with pytest.raises(EmbodiedError, match=r"about one axis only \(about the second by 0\.0 degrees\)"):
        closed_form(rehearsal.mount, panned, sightings, LENS)
    other = Intrinsics(1280, 720, LENS.matrix, LENS.distortion)
    with pytest.raises(EmbodiedError, match="have 640 x 480 pixels, the calibrated camera 1280 x 720"):
        closed_form(rehearsal.mount, joints, sightings, other)


def test_rehearsals_hold_the_truth(straight):
    """The fixture that everything above rests on: seen corners are where the truth puts them."""
    rehearsal, sightings = straight
    gripper = gripper_in_base(rehearsal.reported)
    for sighting in sightings:
        arm = gripper[int(sighting.name[:3])]
        if rehearsal.mount == "wrist":
            board = np.linalg.inv(arm @ rehearsal.camera) @ rehearsal.board_pose
        else:
            board = np.linalg.inv(rehearsal.camera) @ arm @ rehearsal.board_pose
        error = sighting.pixels - LENS.project(sighting.points @ board[:3, :3].T + board[:3, 3])
        assert np.abs(error).max() < 0.6
        shifted = board @ from_vector(np.array([0, 0, 0, 0.002, 0, 0]))
        worse = sighting.pixels - LENS.project(sighting.points @ shifted[:3, :3].T + shifted[:3, 3])
        assert np.abs(worse).mean() > 1.0
