"""`embodied calibrate`: from files to files, and one sentence for what is wrong with them."""

import json

import cv2
import numpy as np
import pytest

from embodied.bench.rendered_boards import LENS, TABLE_BOARD, handheld, photographs, rehearse
from embodied.cli import main
from robots.calibration.intrinsics import Intrinsics
from robots.calibration.poses import difference, from_json
from robots.units import Units, to_features


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Pictures for the lens, pictures and joints of an arm whose zeros are off, and that arm's truth."""
    folder = tmp_path_factory.mktemp("calibrate")
    random = np.random.default_rng(0)
    rehearsal = rehearse("wrist", 14, random, zeros=np.deg2rad([0.0, 2.0, -3.0, 1.0, 0.0]))
    boards = handheld(TABLE_BOARD, LENS, 12, random)
    lens = photographs(TABLE_BOARD, boards, LENS, random) | {"nothing.png": np.full((480, 640), 99, np.uint8)}
    for name, pictures in (("lens", lens), ("arm", rehearsal.pictures)):
        (folder / name).mkdir()
        for file, picture in pictures.items():
            cv2.imwrite(str(folder / name / file), picture)
    told = (to_features(each) for each in Units().to_lerobot(rehearsal.reported))
    (folder / "arm" / "joints.json").write_text(json.dumps(dict(zip(rehearsal.pictures, told, strict=True))))
    return folder, rehearsal


def test_the_whole_way(files, monkeypatch, capsys):
    folder, rehearsal = files
    monkeypatch.chdir(folder)
    assert main(["calibrate", "board"]) == 0
    assert "Print it at 100 %" in capsys.readouterr().out
    assert (folder / "calibration/board.pdf").stat().st_size > 1000
    assert (folder / "calibration/board.png").exists()

    assert main(["calibrate", "camera", "pictures=lens"]) == 0
    told = capsys.readouterr().out
    assert "nothing.png  no board" in told
    lens = Intrinsics.load(folder / "calibration/camera.json")
    np.testing.assert_allclose(lens.matrix, LENS.matrix, atol=2.0)
    record = json.loads((folder / "calibration/camera.json").read_text())
    assert len(record["pictures"]) == 12
    assert 0.0 < record["rms_px"] < 0.15

    assert main(["calibrate", "hand_eye", "pictures=arm"]) == 0
    told = capsys.readouterr().out
    assert "Park and Horaud disagree by" in told
    assert "zero of shoulder_pan   no picture can tell" in told
    record = json.loads((folder / "calibration/hand_eye.json").read_text())
    distance, angle = difference(from_json(record["camera_in_gripper"]), rehearsal.camera)
    assert distance < 1e-3
    assert np.rad2deg(angle) < 0.2
    assert record["zeros"]["elbow_flex"]["degrees"] == pytest.approx(-3.0, abs=0.15)
    assert record["zeros"]["elbow_flex"]["observed"]
    assert not record["zeros"]["wrist_roll"]["observed"]
    for name in ("camera", "hand_eye"):
        assert cv2.imread(str(folder / f"calibration/{name}.png")).std() > 5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("calibrate", "Give one NAME: embodied calibrate NAME, where NAME is one of board, camera, hand_eye."),
        ("calibrate lens", "Unknown calibration 'lens'."),
        ("calibrate camera pictures=nowhere", "There are no pictures"),
        ("calibrate camera pictures=lens dictionary=4x4", "Unknown dictionary '4x4'."),
        ("calibrate camera pictures=lens dictionary=7x7_100", "None of 13 pictures shows 8 corners"),
        ("calibrate hand_eye pictures=lens", "lens/joints.json does not say how the arm stood"),
        ("calibrate hand_eye pictures=arm folder=empty", "empty/camera.json is no camera calibration"),
        ("calibrate hand_eye mount=elbow", "Unknown mount 'elbow'."),
        (
            "calibrate board folder=lens/nothing.png",
            "The folder lens/nothing.png cannot be made (a file is",
        ),
        ("calibrate board square_mm=60 marker_mm=40", "The board is 540 x 360 mm; A4 holds"),
    ],
)
def test_mistakes_are_one_sentence(files, words, message, monkeypatch, capsys):
    monkeypatch.chdir(files[0])
    assert main(words.split()) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"embodied: {message}")
    assert told.count("\n") == 1


def test_pictures_without_an_arm_are_told(files, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(files[0])
    joints = json.loads((files[0] / "arm/joints.json").read_text())
    path = tmp_path / "joints.json"
    path.write_text(json.dumps(joints | {"gone.png": joints["000.png"]}))
    main(["calibrate", "camera", "pictures=lens"])
    capsys.readouterr()
    assert main(["calibrate", "hand_eye", "pictures=arm", f"joints={path}"]) == 2
    assert "gone.png is no picture that can be read" in capsys.readouterr().err
    path.write_text(json.dumps({"000.png": {"shoulder_pan.pos": 1.0}}))
    assert main(["calibrate", "hand_eye", "pictures=arm", f"joints={path}"]) == 2
    assert "The arm did not report shoulder_lift" in capsys.readouterr().err
