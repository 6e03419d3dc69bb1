"""Rehearsals of calibration: pictures of the board with known truth, from cameras anywhere, on the wrist, or fixed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from envs.errors import EmbodiedError
from envs.so101 import JOINT_HIGH, JOINT_LOW
from envs.types import Array
from robots.calibration.board import Board
from robots.calibration.hand_eye import Mount, carrier
from robots.calibration.intrinsics import Intrinsics
from robots.calibration.poses import Floats, from_vector, gripper_in_base, inverse, pose, rotation
from robots.calibration.rendering import Pattern, Photographer
from robots.calibration.sightings import Picture

LENS = Intrinsics(
    640,
    480,
    np.array([[588.0, 0.0, 325.3], [0.0, 585.5, 236.8], [0.0, 0.0, 1.0]]),
    np.array([-0.21, 0.07, 6e-4, -4e-4, 0.0]),
)
"""57 x 45 degrees and a barrel distortion, as a cheap wrist camera has."""
TABLE_BOARD = Board()
HELD_BOARD = Board(6, 5, 0.018, 0.013)
"""Small enough for the gripper."""
WRIST_CAMERA = pose(rotation([np.pi - 0.57, 0.0, 0.0]), np.array([-0.0125, 0.0552, 0.053]))
"""In the gripper's frame: Menagerie's mount of the SO-101."""
FIXED_CAMERA = pose(
    np.column_stack([[0.0, 1.0, 0.0], [0.62, 0.0, -0.7846], [-0.7846, 0.0, -0.62]]), np.array([0.62, 0.02, 0.42])
)
"""In the base's frame: in front of the arm, looking back and down at it."""
LYING_BOARD = from_vector(np.array([np.pi, 0.0, 0.0, 0.13, 0.09, 0.0]))
"""In the base's frame: on the table before the arm, face up."""
GRASPED_BOARD = from_vector(np.array([0.15, -0.1, 0.05, -0.054, -0.045, -0.055]))
"""In the gripper's frame: across the jaws, its face towards whoever the tool points at."""

ATTEMPTS = 30
"""Times 10,000 joints before a rehearsal is given up."""
CLEARANCE = 0.04
"""[m] Height that the tool keeps above the table."""


@dataclass(frozen=True)
class Degradation:
    """What is wrong with the pictures and the arm."""

    blur: float = 0.0
    """Standard deviation [px]."""
    noise: float = 0.0
    """Standard deviation, in grey levels of 255."""
    joints: float = 0.0
    """Standard deviation of what each joint reports, once per picture [rad]."""


CLEAN = Degradation()


def photographs(
    board: Board, boards: Floats, lens: Intrinsics, random: np.random.Generator, worse: Degradation = CLEAN,
    backdrop: Picture | int = 110,
) -> dict[str, Picture]:  # fmt: skip
    """Pictures `[h w]` by name of the board at poses `[V 4 4]` in the camera, on paper with a white margin."""
    photographer, pixels = Photographer(lens), 160
    margin = pixels // 2
    texture: Any = cv2.copyMakeBorder(
        board.picture(pixels), margin, margin, margin, margin, cv2.BORDER_CONSTANT, value=255
    )
    texture = (20 + texture.astype(np.float32) * (215 / 255)).astype(np.uint8)
    shift = from_vector(np.array([0.0, 0.0, 0.0, -0.5 * board.square, -0.5 * board.square, 0.0]))
    return {
        f"{k:03d}.png": photographer.shoot(
            [Pattern(texture, pixels / board.square, each @ shift)], backdrop, worse.blur, worse.noise, random
        )
        for k, each in enumerate(boards)
    }


def handheld(board: Board, lens: Intrinsics, count: int, random: np.random.Generator) -> Floats:
    """`[count 4 4]` poses in the camera, as a person holds a board: leaning, near and far, all over the picture."""
    middle = np.append(np.array(board.size) / 2, 0.0)
    width, height = lens.width / lens.matrix[0, 0], lens.height / lens.matrix[1, 1]
    result: list[Floats] = []
    while len(result) < count:
        lean, way, roll = random.uniform(0.25, 0.75), random.uniform(-np.pi, np.pi), random.uniform(-0.4, 0.4)
        turn = rotation([lean * np.cos(way), lean * np.sin(way), 0.0]) @ rotation([0.0, 0.0, roll])
        depth = random.uniform(1.0, 1.8) * board.size[0] / width
        centre = depth * np.array([*(random.uniform(-0.35, 0.35, 2) * (width, height)), 1.0])
        each = pose(turn, centre - turn @ middle)
        if _visible(board, each[None], lens)[0] > 0.5:
            result.append(each)
    return np.stack(result)


@dataclass(frozen=True)
class Rehearsal:
    """A truth and what an arm and a camera report of it."""

    mount: Mount
    board: Board
    camera: Floats
    """`[4 4]`, as in `HandEye`."""
    board_pose: Floats
    """`[4 4]`, as in `HandEye`."""
    zeros: Floats
    """`[5]` what must be added to the reported joints [rad]."""
    reported: Floats
    """`[V 6]` [rad]."""
    pictures: dict[str, Picture]


def rehearse(
    mount: Mount, views: int, random: np.random.Generator, worse: Degradation = CLEAN,
    zeros: Sequence[float] | Floats = (0.0, 0.0, 0.0, 0.0, 0.0),
    spread: Sequence[float] = (1.0, 1.0, 1.0, 1.0, 1.0), lens: Intrinsics = LENS,
) -> Rehearsal:  # fmt: skip
    """`views` poses of the arm in which the camera sees most of the board, and their pictures.

    `zeros` `[5]` [rad] are the joints' errors that calibration has to find, `spread` `[5]` the parts of their ranges
    that joints vary in. Raises `EmbodiedError` where the board is not seen in so many poses.
    """
    wrist = mount == "wrist"
    board, camera, place = (
        (TABLE_BOARD, WRIST_CAMERA, LYING_BOARD) if wrist else (HELD_BOARD, FIXED_CAMERA, GRASPED_BOARD)
    )
    camera = camera @ from_vector(random.uniform(-1, 1, 6) * np.array([0.1, 0.1, 0.1, 0.01, 0.01, 0.01]))
    joints: Floats = np.empty((0, 6))
    for _ in range(ATTEMPTS):
        drawn = _drawn(random, np.append(spread, 1.0))
        boards = inverse(camera) @ inverse(carrier(mount, drawn)) @ place
        joints = np.concatenate([joints, drawn[_worth_a_picture(board, boards, lens, 0.45 if wrist else 0.55)]])[:views]
        if len(joints) == views:
            break
    else:
        raise EmbodiedError(f"The {mount} camera sees the board in {len(joints)} poses only; {views} were wanted.")
    boards = inverse(camera) @ inverse(carrier(mount, joints)) @ place
    pictures = photographs(board, boards, lens, random, worse)
    offsets = np.append(np.asarray(zeros), 0.0)
    reported = joints - offsets + random.normal(0.0, 1.0, (views, 6)) * worse.joints
    return Rehearsal(mount, board, camera, place, offsets[:5], reported, pictures)


def _drawn(random: np.random.Generator, spread: Floats) -> Floats:
    """Joints `[N 6]` within parts of their ranges, with the tool above the table."""
    low, high = np.array(JOINT_LOW), np.array(JOINT_HIGH)
    joints = 0.5 * (low + high) + 0.5 * spread * (high - low) * random.uniform(-1.0, 1.0, (10_000, 6))
    return np.asarray(joints[gripper_in_base(joints)[:, 2, 3] > CLEARANCE])


def _worth_a_picture(board: Board, boards: Floats, lens: Intrinsics, farthest: float) -> Array:
    """Which boards `[N 4 4]` in the camera face it, are near, and are mostly in the picture."""
    middle = boards[:, :3, :3] @ np.append(np.array(board.size) / 2, 0.0) + boards[:, :3, 3]
    distance = np.linalg.norm(middle, axis=-1)
    # The board's normal points away from a camera that sees its face.
    good = ((boards[:, :3, 2] * middle).sum(axis=-1) > 0.6 * distance) & (distance > 0.14) & (distance < farthest)
    good[good] = _visible(board, boards[good], lens) > 0.7
    return good


def _visible(board: Board, boards: Floats, lens: Intrinsics) -> Floats:
    """The part of the board's corners `[N]` that lie in the picture."""
    local = board.corners @ np.swapaxes(boards[:, :3, :3], -1, -2) + boards[:, None, :3, 3]
    ahead = local[..., 2] > 0.05
    # Beyond twice the field of view the lens's polynomial folds back into the picture.
    near = np.abs(local[..., :2]).max(axis=-1) < local[..., 2]
    pixels = lens.project(local.reshape(-1, 3)).reshape(*local.shape[:2], 2)
    inside = ((pixels > 4) & (pixels < np.array([lens.width, lens.height]) - 5)).all(axis=-1)
    return np.asarray((inside & ahead & near).mean(axis=-1), np.float64)
