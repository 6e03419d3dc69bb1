"""Boards and lenses: printed to scale, found to a fraction of a pixel, and recovered from rendered pictures."""

import re

import cv2
import numpy as np
import pytest
from PIL import Image

from embodied.bench.rendered_boards import LENS, TABLE_BOARD, Degradation, handheld, photographs
from envs.errors import EmbodiedError
from robots.calibration.board import Board
from robots.calibration.drawing import residual_picture
from robots.calibration.intrinsics import Intrinsics, advice, calibrate_camera
from robots.calibration.poses import difference, from_json, from_vector, inverse, pose, rotation, to_json, to_vector
from robots.calibration.sightings import find, find_all, read_pictures


def expected(sighting, board_in_camera, lens=LENS):
    return lens.project(sighting.points @ board_in_camera[:3, :3].T + board_in_camera[:3, 3])


@pytest.fixture(scope="module")
def boards():
    return handheld(TABLE_BOARD, LENS, 14, np.random.default_rng(0))


@pytest.fixture(scope="module")
def sightings(boards):
    return find_all(TABLE_BOARD, photographs(TABLE_BOARD, boards, LENS, np.random.default_rng(1)))


@pytest.fixture(scope="module")
def calibration(sightings):
    return calibrate_camera(sightings)


def test_poses_are_a_group():
    a, b = (from_vector(np.random.default_rng(k).uniform(-1, 1, 6)) for k in range(2))
    np.testing.assert_allclose(inverse(a) @ a, np.eye(4), atol=1e-12)
    np.testing.assert_allclose(inverse(a @ b), inverse(b) @ inverse(a), atol=1e-12)
    np.testing.assert_allclose(from_vector(to_vector(a)), a, atol=1e-12)
    np.testing.assert_allclose(from_json(to_json(a)), a, atol=1e-12)
    turned = a @ pose(rotation([0.0, 0.3, 0.0]), np.array([0.0, 0.0, 0.2]))
    assert difference(a, turned) == pytest.approx((0.2, 0.3))


@pytest.mark.parametrize("board", [Board(), Board(5, 7, 0.03, 0.02, "apriltag_36h11")])
def test_corners_are_where_squares_meet(board):
    picture, pixels = board.picture(40), 40
    for x, y, _ in board.corners:
        column, row = round(x / board.square * pixels), round(y / board.square * pixels)
        # Around a corner, opposite quarters are alike and neighbours are not: the corner lies between pixels.
        quarters = picture[row - 3 : row + 3, column - 3 : column + 3].astype(int)
        assert np.all(quarters[:3, :3] == quarters[0, 0])
        assert np.all(quarters[3:, 3:] == quarters[0, 0])
        assert np.all(quarters[:3, 3:] == 255 - quarters[0, 0])
        assert np.all(quarters[3:, :3] == 255 - quarters[0, 0])
    assert len(board.corners) == (board.columns - 1) * (board.rows - 1)


@pytest.mark.parametrize("board", [Board(), Board(6, 9, 0.0237, 0.0171)])
def test_the_sheet_has_the_true_scale(board, tmp_path):
    pdf, png = board.print_to(tmp_path)
    with Image.open(png) as image:
        page, per_metre = np.asarray(image), np.array(image.info["dpi"]) / 0.0254
    box = re.search(rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", pdf.read_bytes())
    points = np.array([float(box[1]), float(box[2])])
    np.testing.assert_allclose(
        points * 0.0254 / 72, sorted((0.21, 0.297), reverse=board.columns > board.rows), rtol=5e-4
    )
    np.testing.assert_allclose(points * 0.0254 / 72, np.array(page.shape[::-1]) / per_metre, rtol=5e-4)
    # On the page the board is where its black squares begin and end, and the rule below it is 100 mm long.
    top = np.flatnonzero((page < 128).any(axis=1))[0]
    first = np.flatnonzero(page[top] < 128)
    assert (first[-1] + 1 - first[0]) / per_metre[0] == pytest.approx(
        (board.columns - (board.columns % 2 == 0)) * board.square, rel=1e-3
    )
    below = page[top + round((board.size[1] + 0.001) * per_metre[1]) :] < 128
    runs = [np.diff(np.flatnonzero(np.diff(row, prepend=False, append=False)))[::2] for row in below if row.any()]
    assert max(run.max() for run in runs) / per_metre[0] == pytest.approx(0.1, rel=1e-3)
    assert find(board, page) is not None


def test_corners_are_found_to_a_tenth_of_a_pixel_and_without_bias(boards, sightings):
    errors = np.concatenate([s.pixels - expected(s, boards[int(s.name[:3])]) for s in sightings])
    assert len(sightings) == len(boards)
    assert len(errors) > 300
    np.testing.assert_allclose(errors.mean(axis=0), 0.0, atol=0.02)
    assert errors.std() < 0.1
    # What OpenCV's detector alone gives is half a pixel off.
    found, ids = cv2.aruco.CharucoDetector(TABLE_BOARD.opencv).detectBoard(
        photographs(TABLE_BOARD, boards[:1], LENS, np.random.default_rng(1))["000.png"]
    )[:2]
    raw = found.reshape(-1, 2) - LENS.project(TABLE_BOARD.corners[ids.ravel()] @ boards[0, :3, :3].T + boards[0, :3, 3])
    assert np.all(np.abs(raw.mean(axis=0)) > 0.3)


def test_the_lens_is_recovered(boards, calibration):
    found = calibration.intrinsics
    np.testing.assert_allclose(found.matrix, LENS.matrix, atol=1.5)
    assert abs(found.matrix[0, 0] - LENS.matrix[0, 0]) < 4 * calibration.focal_error
    # Distortion's coefficients trade with each other; what counts is where light goes.
    grid = np.stack(np.meshgrid(np.linspace(-0.4, 0.4, 9), np.linspace(-0.3, 0.3, 7), [1.0]), -1).reshape(-1, 3)
    assert np.linalg.norm(found.project(grid) - LENS.project(grid), axis=-1).max() < 1.0
    for each, board in zip(calibration.board_in_camera, boards, strict=True):
        distance, angle = difference(each, board)
        assert distance < 1e-3
        assert np.rad2deg(angle) < 0.2
    assert calibration.rms < 0.12
    assert calibration.focal_error < 0.6


def test_noise_costs_accuracy_and_shows_in_the_standard_error(boards, calibration):
    worse = Degradation(blur=1.0, noise=12.0)
    pictures = photographs(TABLE_BOARD, boards, LENS, np.random.default_rng(1), worse)
    noisy = calibrate_camera(find_all(TABLE_BOARD, pictures))
    assert noisy.rms > 1.2 * calibration.rms
    assert abs(noisy.intrinsics.matrix[0, 0] - LENS.matrix[0, 0]) < 5 * noisy.focal_error


def test_the_file_holds_the_lens(calibration, tmp_path):
    import json

    path = tmp_path / "camera.json"
    path.write_text(json.dumps(calibration.intrinsics.to_json()))
    back = Intrinsics.load(path)
    np.testing.assert_array_equal(back.matrix, calibration.intrinsics.matrix)
    np.testing.assert_array_equal(back.distortion, calibration.intrinsics.distortion)
    assert (back.width, back.height) == (640, 480)
    path.write_text("{}")
    with pytest.raises(EmbodiedError, match=r"no camera calibration.*embodied calibrate camera"):
        Intrinsics.load(path)


def test_advice_names_what_is_missing(boards, sightings, calibration):
    assert advice(calibration) == []
    centred = [s for s in sightings if s.pixels[:, 1].max() < 460][:5]
    told = advice(calibrate_camera(centred))
    assert "5 pictures are few; 15 are good." in told
    assert any(each.startswith("Hardly a corner was seen in the picture's ") and "lower" in each for each in told)
    flat = pose(np.stack([rotation([0.25 * np.cos(k), 0.25 * np.sin(k), 0.0]) for k in range(12)]), boards[:12, :3, 3])
    flat[:, :3, 3] = np.array([-0.11, -0.07, 0.35]) + 0.02 * np.random.default_rng(0).normal(size=(12, 3))
    told = advice(
        calibrate_camera(find_all(TABLE_BOARD, photographs(TABLE_BOARD, flat, LENS, np.random.default_rng(0))))
    )
    assert any(each.startswith("The board leant 1") for each in told)


def test_degenerate_views_are_refused(boards, sightings):
    with pytest.raises(EmbodiedError, match="found in 4 pictures; 5 are the fewest"):
        calibrate_camera(sightings[:4])
    flat = np.tile(np.eye(4), (8, 1, 1))
    flat[:, :3, 3] = np.array([-0.11, -0.07, 0.4]) + 0.05 * np.random.default_rng(0).normal(size=(8, 3))
    parallel = find_all(TABLE_BOARD, photographs(TABLE_BOARD, flat, LENS, np.random.default_rng(0)))
    with pytest.raises(EmbodiedError, match=r"parallel to within .* tilt the board|known to .* % only"):
        calibrate_camera(parallel)


def test_pictures_that_will_not_do_are_told(tmp_path):
    grey = np.full((480, 640), 128, np.uint8)
    with pytest.raises(
        EmbodiedError, match=r"None of 2 pictures shows 8 corners of a board of 9 x 6 squares with 4x4_50"
    ):
        find_all(TABLE_BOARD, {"a.png": grey, "b.png": grey})
    with pytest.raises(EmbodiedError, match="sizes of 320 x 240, 640 x 480 pixels"):
        find_all(TABLE_BOARD, {"a.png": grey, "b.png": grey[::2, ::2]})
    with pytest.raises(EmbodiedError, match="There are no pictures"):
        read_pictures(tmp_path)
    (tmp_path / "a.png").write_text("no picture")
    with pytest.raises(EmbodiedError, match=r"a\.png is no picture"):
        read_pictures(tmp_path)


def test_boards_that_cannot_be_are_told(tmp_path):
    with pytest.raises(EmbodiedError, match="Did you mean 'apriltag_36h11'"):
        Board(dictionary="april_36h11")
    with pytest.raises(EmbodiedError, match="need 80 markers; 4x4_50 has 50"):
        Board(16, 10)
    with pytest.raises(EmbodiedError, match="Markers of 25 mm in squares of 25 mm"):
        Board(marker=0.025)
    with pytest.raises(EmbodiedError, match="A4 holds 273 x 174 mm"):
        Board(9, 6, 0.05, 0.03).print_to(tmp_path)
    with pytest.raises(EmbodiedError, match="3 x 3 is the smallest"):
        Board(2, 6)


def test_the_residual_picture_shows_arrows_of_the_right_length(sightings):
    still = [np.zeros_like(s.pixels) for s in sightings]
    moved = [np.tile([0.4, 0.0], (len(s.pixels), 1)) for s in sightings]
    without, with_arrows = (residual_picture(sightings, each)[:700, :960] for each in (still, moved))
    differs = (without != with_arrows).any(axis=-1)
    columns = np.flatnonzero(differs.any(axis=0))
    # 0.4 px ten times enlarged, on a picture drawn one and a half times as large.
    rightmost = max(s.pixels[:, 0].max() for s in sightings) * 1.5
    assert columns[-1] == pytest.approx(rightmost + 0.4 * 1.5 * 10, abs=3)
