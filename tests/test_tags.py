"""Markers on cubes: where a rendered picture shows them, how sure that is, and how fast they go."""

from dataclasses import replace

import numpy as np
import pytest
from tabletop import tabletop

from embodied.bench.rendered_boards import FIXED_CAMERA, LENS, WRIST_CAMERA, Degradation
from embodied.bench.rendered_tags import CUBES, photograph
from envs.errors import EmbodiedError
from envs.kinematics import body_poses
from envs.types import Observation
from robots.calibration.poses import difference, from_vector, gripper_in_base, inverse, rotation
from robots.calibration.rendering import Photographer
from robots.perception.perceiver import TagPerceiver
from robots.perception.tags import FACES, TagDetector, TaggedBox
from robots.perception.tracks import Track

WORSE = Degradation(blur=0.7, noise=4.0)
HOME = np.array([0.0, -0.5, 0.9, 0.9, 0.0, 0.4])


@pytest.fixture(scope="module")
def photographer():
    return Photographer(LENS)


def lying(x, y, yaw):
    return from_vector(np.array([0.0, 0.0, yaw, x, y, 0.014]))


@pytest.fixture(scope="module")
def scenes(photographer):
    """Poses in the fixed camera and their pictures."""
    random = np.random.default_rng(0)
    result = []
    for _ in range(4):
        poses = {
            box.name: inverse(FIXED_CAMERA) @ lying(random.uniform(0.2, 0.35), side, random.uniform(-3, 3))
            for box, side in zip(CUBES, (-0.06, 0.06), strict=True)
        }
        result.append((poses, photograph(photographer, CUBES, poses, random, WORSE)))
    return result


@pytest.mark.parametrize("which", range(len(FACES)))
def test_faces_look_outwards_and_hold_their_markers(which):
    box = TaggedBox("box", (0.01, 0.02, 0.03), 0.016, 12)
    face = box.face(which)
    np.testing.assert_allclose(np.linalg.det(face[:3, :3]), 1.0)
    outwards = "xyz".index(FACES[which][1]), 1.0 if FACES[which][0] == "+" else -1.0
    assert face[outwards[0], 3] == outwards[1] * box.half_extents[outwards[0]]
    assert face[outwards[0], 2] == -outwards[1]
    corners = box.corners(12 + which)
    np.testing.assert_allclose(corners[:, outwards[0]], face[outwards[0], 3])
    np.testing.assert_allclose(np.linalg.norm(np.roll(corners, 1, axis=0) - corners, axis=-1), 0.016)


def test_corners_are_neither_shifted_nor_drawn_inwards(scenes):
    detector, errors, outwards = TagDetector(CUBES), [], []
    for poses, picture in scenes:
        found = detector.detect(picture)
        for box in CUBES:
            for marker in (each for each in found if 0 <= each - box.first < 6):
                pose = poses[box.name]
                error = found[marker] - LENS.project(box.corners(marker) @ pose[:3, :3].T + pose[:3, 3])
                way = found[marker] - found[marker].mean(axis=0)
                errors.append(error)
                outwards.append((error * way).sum(axis=1) / np.linalg.norm(way, axis=1))
    assert len(errors) >= 12
    np.testing.assert_allclose(np.concatenate(errors).mean(axis=0), 0.0, atol=0.15)
    assert abs(np.concatenate(outwards).mean()) < 0.1


def test_boxes_are_where_they_are(scenes):
    detector, errors, told = TagDetector(CUBES), [], []
    for poses, picture in scenes:
        found = detector.estimate(picture, LENS)
        assert set(found) == {"red_cube", "blue_cube"}
        errors += [difference(each.in_camera, poses[name]) for name, each in found.items()]
        told += [each.spread for each in found.values()]
        assert all(0.3 < each.confidence <= 1.0 for each in found.values())
    errors, told = np.array(errors), np.array(told)
    assert 1e3 * errors[:, 0].mean() < 5.0
    assert np.rad2deg(errors[:, 1]).mean() < 2.0
    assert np.all(errors < 4 * told)


def test_far_boxes_are_known_less(photographer):
    detector, told = TagDetector(CUBES), []
    for depth in (0.25, 0.5):
        poses = {
            box.name: from_vector(np.array([2.5, 0.4, 0.1, side, 0.0, depth]))
            for box, side in zip(CUBES, (-0.05, 0.05), strict=True)
        }
        found = detector.estimate(photograph(photographer, CUBES, poses, np.random.default_rng(0), WORSE), LENS)
        told.append((found["red_cube"].spread[0], found["red_cube"].confidence))
    assert told[1][0] > 2 * told[0][0]
    assert told[1][1] < told[0][1]


def test_a_mirror_image_is_no_certainty_and_what_is_expected_decides():
    """One small marker, nearly frontal: its mirror image fits nearly as well."""
    box, detector = CUBES[0], TagDetector(CUBES[:1])
    true = from_vector(np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.5])) @ np.diag([1.0, -1.0, -1.0, 1.0])
    true[:3, :3] = true[:3, :3] @ rotation([0.2, 0.1, 0.0])
    corners = LENS.project(box.corners(0) @ true[:3, :3].T + true[:3, 3])
    noisy = {0: corners + np.array([[0.15, -0.1], [-0.1, 0.15], [0.1, 0.1], [-0.15, -0.1]])}
    detector.detect = lambda picture: noisy
    alone = detector.estimate(None, LENS)["red_cube"]
    assert alone.confidence < 0.95
    mirrored = true.copy()
    mirrored[:3, :3] = true[:3, :3] @ rotation([-0.4, -0.2, 0.0])
    near, far = (detector.estimate(None, LENS, {"red_cube": each})["red_cube"] for each in (true, mirrored))
    assert difference(near.in_camera, true)[1] < difference(far.in_camera, true)[1]


def test_velocities_are_filtered_from_noisy_poses():
    random, spread = np.random.default_rng(0), (0.001, 0.02)
    velocity, spin = np.array([0.1, -0.05, 0.0]), np.array([0.0, 0.0, 1.0])

    def noisy(time):
        pose = from_vector(np.concatenate([time * spin, time * velocity]))
        pose[:3, :3] = rotation(random.normal(0, spread[1], 3)) @ pose[:3, :3]
        pose[:3, 3] += random.normal(0, spread[0], 3)
        return pose

    times = np.arange(1, 40) / 20
    track, raw = Track(noisy(0.0), spread, 0.0), []
    linear, angular, before = [], [], track.pose
    for time in times:
        pose = noisy(time)
        raw.append((pose[:3, 3] - before[:3, 3]) * 20)
        before = pose
        track.see(pose, spread, time)
        linear.append(track.linear)
        angular.append(track.angular)
    settled = slice(10, None)
    np.testing.assert_allclose(np.mean(linear[settled], axis=0), velocity, atol=0.01)
    np.testing.assert_allclose(np.mean(angular[settled], axis=0), spin, atol=0.15)
    assert np.std(linear[settled], axis=0).mean() < 0.9 * np.std(raw[settled], axis=0).mean()
    assert np.linalg.norm(track.pose[:3, 3] - times[-1] * velocity) < 0.003


def observed(picture, time, joints=HOME, speeds=0.0):
    body = np.concatenate([joints, np.full(6, speeds), joints])
    return Observation(body, tabletop(), np.array(time), {"front": np.repeat(picture[..., None], 3, axis=-1)})


@pytest.mark.parametrize("mount", ["fixed", "wrist"])
def test_a_perceiver_tells_the_state_in_the_base(mount, photographer):
    wrist = mount == "wrist"
    joints = np.array([0.0, -0.2, 0.2, 1.3, 0.0, 0.4])
    camera = gripper_in_base(joints) @ WRIST_CAMERA if wrist else FIXED_CAMERA
    middle = camera[:3, 3] + camera[:3, 2] * (camera[2, 3] - 0.014) / -camera[2, 2] if wrist else np.array([0.25, 0, 0])
    poses = {box.name: lying(middle[0], middle[1] + side, 0.3) for box, side in zip(CUBES, (-0.03, 0.03), strict=True)}
    seen = photograph(
        photographer, CUBES, {name: inverse(camera) @ each for name, each in poses.items()}, np.random.default_rng(1)
    )
    perceiver = TagPerceiver("front", LENS, mount, WRIST_CAMERA if wrist else FIXED_CAMERA, CUBES)
    nothing = np.full((480, 640), 120, np.uint8)
    before = perceiver.perceive(observed(nothing, 0.0, joints))
    k = before.index("red_cube")
    assert not before.present[k]
    assert before.confidence[k] == 0.0
    np.testing.assert_array_equal(before.quaternion_in_world[k], [1, 0, 0, 0])

    state = perceiver.perceive(observed(seen, 0.1, joints, speeds=0.5))
    for name, pose in poses.items():
        assert np.linalg.norm(state.position_in_world[state.index(name)] - pose[:3, 3]) < 0.006
        turn = state.quaternion_in_world[state.index(name)]
        assert 2 * np.arccos(abs(turn @ [np.cos(0.15), 0, 0, np.sin(0.15)])) < 0.06
        assert state.confidence[state.index(name)] > 0.5
    hand = state.index("gripper")
    np.testing.assert_allclose(state.position_in_world[hand], body_poses(joints)[0][0])
    assert np.linalg.norm(state.angular_velocity_in_world[hand]) > 0.3
    np.testing.assert_array_equal(state.position_in_world[state.index("bin")], before.position_in_world[5])

    hidden = perceiver.perceive(observed(nothing, 2.1, joints))
    np.testing.assert_array_equal(hidden.position_in_world[k], state.position_in_world[k])
    np.testing.assert_array_equal(hidden.linear_velocity_in_world[k], 0.0)
    assert hidden.confidence[k] == pytest.approx(state.confidence[k] / 4)
    with pytest.raises(EmbodiedError, match=r"after a later one; call reset\(\)"):
        perceiver.perceive(observed(seen, 0.05, joints))
    perceiver.reset()
    assert not perceiver.perceive(observed(nothing, 0.0, joints)).present[k]


def test_what_does_not_fit_is_told():
    with pytest.raises(EmbodiedError, match="red_cube and blue_cube share markers"):
        TagDetector([CUBES[0], replace(CUBES[1], first=5)])
    with pytest.raises(EmbodiedError, match="markers 46 to 51; 4x4_50 has 0 to 49"):
        TagDetector([replace(CUBES[0], first=46)])
    with pytest.raises(EmbodiedError, match="Unknown dictionary"):
        TagDetector(CUBES, "4x4")
    perceiver = TagPerceiver("wrist", LENS, "wrist", WRIST_CAMERA, CUBES)
    with pytest.raises(EmbodiedError, match="A picture of wrist is needed; the observation has front"):
        perceiver.perceive(observed(np.zeros((480, 640), np.uint8), 0.0))
    small = TagPerceiver("front", LENS, "fixed", FIXED_CAMERA, CUBES)
    with pytest.raises(EmbodiedError, match=r"shape \(240, 320, 3\); \(480, 640, 3\) was calibrated"):
        small.perceive(observed(np.zeros((240, 320), np.uint8), 0.0))
