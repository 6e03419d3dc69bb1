"""`embodied calibrate board|camera|hand_eye`: from a printed board to a lens, to a camera's place on the arm."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from embodied.arguments import CalibrateArguments
from embodied.checkpoint import write_atomically
from embodied.console import Console
from envs.errors import EmbodiedError, unknown
from robots.calibration.board import Board
from robots.calibration.drawing import residual_picture
from robots.calibration.intrinsics import Intrinsics, advice, calibrate_camera, rms
from robots.calibration.poses import Floats, to_json
from robots.calibration.sightings import Sighting, find_all, read_pictures
from robots.calibration.zeros import ZEROS, calibrate_hand_eye, why_not
from robots.units import Units, from_features


def calibrate(name: str, arguments: CalibrateArguments, console: Console) -> None:
    """One step of calibration; raises `EmbodiedError` for one that is none, and where the step does."""
    if name not in STEPS:
        raise unknown("calibration", name, STEPS)
    STEPS[name](arguments, console)


def board(arguments: CalibrateArguments, console: Console) -> None:
    """Write the board as PDF and PNG."""
    for path in _board(arguments).print_to(Path(arguments.folder)):
        console.say(f"wrote {path}")
    console.say("Print it at 100 %, glue it to something flat, and measure the line and a square.")


def camera(arguments: CalibrateArguments, console: Console) -> None:
    """Find the lens and write `camera.json` and its residual picture."""
    pictures = read_pictures(Path(arguments.pictures))
    found = calibrate_camera(find_all(_board(arguments), pictures))
    told = advice(found)
    residuals = {s.name: rms(each) for s, each in zip(found.sightings, found.residuals, strict=True)}
    record = {
        **found.intrinsics.to_json(),
        "rms_px": found.rms,
        "focal_standard_error_px": found.focal_error,
        "pictures": residuals,
        "advice": told,
    }
    _write(Path(arguments.folder) / "camera.json", record, found.sightings, found.residuals, console)
    _list(pictures, residuals, console)
    focal = found.intrinsics.matrix[0, 0]
    console.say(f"focal length {focal:.2f} px +- {found.focal_error:.2f}, residuals {found.rms:.3f} px rms")
    for sentence in told:
        console.say(f"advice: {sentence}")


def hand_eye(arguments: CalibrateArguments, console: Console) -> None:
    """Find the camera's place and the joints' zeros and write `hand_eye.json` and its residual picture."""
    folder = Path(arguments.pictures)
    joints = _joints(Path(arguments.joints) if arguments.joints else folder / "joints.json")
    intrinsics = Intrinsics.load(Path(arguments.folder) / "camera.json")
    pictures = read_pictures(folder, list(joints))
    sightings = find_all(_board(arguments), pictures)
    radians = Units().to_radians(np.stack([joints[sighting.name] for sighting in sightings]))
    found = calibrate_hand_eye(arguments.mount, radians, sightings, intrinsics)
    apart, camera_error = _readable(found.closed_form.disagreement), _readable(found.camera_error)
    residuals = {s.name: rms(each) for s, each in zip(sightings, found.residuals, strict=True)}
    wrist = found.mount == "wrist"
    degrees, errors = np.rad2deg(found.zeros).tolist(), np.rad2deg(found.zero_errors).tolist()
    zeros = {
        joint: {"degrees": value, "standard_error_degrees": error, "observed": observed}
        for joint, value, error, observed in zip(ZEROS, degrees, errors, found.observed, strict=True)
    }
    record = {
        "mount": found.mount,
        "camera_in_gripper" if wrist else "camera_in_base": to_json(found.camera),
        "board_in_base" if wrist else "board_in_gripper": to_json(found.board),
        "camera_standard_error": camera_error,
        "zeros": zeros,
        "play_degrees": float(np.rad2deg(found.play)),
        "park_horaud_disagreement": apart,
        "rms_px": found.rms,
        "closed_form_rms_px": found.closed_form_rms,
        "pictures": residuals,
    }
    _write(Path(arguments.folder) / "hand_eye.json", record, sightings, found.residuals, console)
    _list(pictures, residuals, console)
    console.say(f"Park and Horaud disagree by {apart['mm']:.3f} mm and {apart['degrees']:.3f} degrees")
    console.say(f"residuals {found.rms:.3f} px rms; {found.closed_form_rms:.3f} px with the zeros as reported")
    console.say(f"camera known to {camera_error['mm']:.2f} mm and {camera_error['degrees']:.3f} degrees")
    console.say(f"joints are off by {np.rad2deg(found.play):.2g} degrees at random, from picture to picture")
    for joint, value, error, observed in zip(ZEROS, degrees, errors, found.observed, strict=True):
        told = f"{value:+.3f} +- {error:.3f} degrees" if observed else why_not(found, joint)
        console.say(f"zero of {joint:<14} {told}")


STEPS: Mapping[str, Callable[[CalibrateArguments, Console], None]] = {
    "board": board,
    "camera": camera,
    "hand_eye": hand_eye,
}


def _board(arguments: CalibrateArguments) -> Board:
    return Board(
        arguments.columns, arguments.rows, 1e-3 * arguments.square_mm, 1e-3 * arguments.marker_mm, arguments.dictionary
    )


def _joints(path: Path) -> dict[str, Any]:
    """LeRobot's numbers `[6]` by picture; raises `EmbodiedError` for a file that does not hold them."""
    try:
        values = json.loads(path.read_text())
        return {str(name): from_features(features) for name, features in values.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise EmbodiedError(
            f"{path} does not say how the arm stood ({error}): it holds "
            '{"000.png": {"shoulder_pan.pos": 1.5, ...}, ...}, in degrees and percent.'
        ) from error


def _readable(error: tuple[float, float]) -> dict[str, float]:
    return {"mm": 1e3 * error[0], "degrees": float(np.rad2deg(error[1]))}


def _list(pictures: Mapping[str, Any], residuals: Mapping[str, float], console: Console) -> None:
    rows = [[name, f"{residuals[name]:.3f} px" if name in residuals else "no board"] for name in pictures]
    console.table(["picture", "residual"], rows)


def _write(
    path: Path, record: Mapping[str, Any], sightings: Sequence[Sighting], residuals: Sequence[Floats], console: Console
) -> None:
    write_atomically(path, (json.dumps(record, indent=2) + "\n").encode())
    _, encoded = cv2.imencode(".png", residual_picture(sightings, residuals))
    write_atomically(path.with_suffix(".png"), encoded.tobytes())
    console.say(f"wrote {path} and {path.with_suffix('.png')}")
