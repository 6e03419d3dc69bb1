"""Recorded episodes of an SO-101 as a LeRobotDataset v3, in the units and under the names of LeRobot's own drivers.

An episode's action is where the joints were commanded to be, whatever the policy's own actions meant. An episode of T
actions gives T frames, its last observation none.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from embodied.arguments import DatasetArguments
from embodied.console import Console
from embodied.data.episodes import EpisodeStore
from embodied.data.journal import RECORDING, recorded_robot
from envs.control import JointAbsolute
from envs.episode import Episode
from envs.errors import EmbodiedError
from envs.types import PROPRIOCEPTION, Array
from robots.units import JOINTS, Units

REPOSITORY = "embodied/recorded"
"""A name that LeRobot wants; nothing is uploaded."""


def dataset(arguments: DatasetArguments, console: Console) -> None:
    """`embodied dataset`: write it and say what it holds. Raises `EmbodiedError` like `to_lerobot`."""
    store = EpisodeStore(arguments.episodes)
    frames = to_lerobot(store, Path(arguments.to), arguments.fps)
    console.say(f"wrote {frames} frames of {len(store)} episodes to {arguments.to}")


def to_lerobot(store: EpisodeStore, folder: Path, fps: int = 10) -> int:
    """Write all episodes into a new `folder`, whole or not at all; the number of frames.

    Raises `EmbodiedError` where there are none, where they are not of one arm at `fps` frames per second, or the folder
    exists.
    """
    if not len(store):
        raise EmbodiedError(f"There are no episodes in {store.folder}; embodied deploy records some.")
    if folder.exists():
        raise EmbodiedError(f"{folder} exists already; name a folder that does not.")
    episodes = [episode for episode in store if episode.length]
    for number, episode in enumerate(episodes):
        _check_rate(number, episode, fps)
    first, *others = [_features(episode) for episode in episodes]
    if any(other != first for other in others):
        raise EmbodiedError(f"The episodes in {store.folder} differ in objects or cameras; record each into its own.")
    # LeRobot's footer comes last: what a killed process leaves would not be readable.
    unfinished = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(unfinished, ignore_errors=True)
    # Not above: it takes seconds.
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    written = LeRobotDataset.create(
        REPOSITORY, fps, dict(first), root=unfinished, robot_type="so101_follower", use_videos=False
    )
    try:
        for episode in episodes:
            for frame in _frames(episode):
                written.add_frame(frame)
            written.save_episode()
    finally:
        written.finalize()
    unfinished.rename(folder)
    return sum(episode.length for episode in episodes)


def _features(episode: Episode) -> Mapping[str, Any]:
    width = episode.observation.proprioception.shape[-1]
    if width != max(part.stop for part in PROPRIOCEPTION.values()):
        raise EmbodiedError(f"An episode of {episode.robot} has a body of {width} numbers; an SO-101's is exported.")
    if recorded_robot(episode) not in (None, "so101"):
        raise EmbodiedError(
            f"An episode of {episode.robot} is in units of its calibration for LeRobot, which is not recorded; an "
            "SO-101's is exported, in degrees."
        )
    names = [f"{joint}.pos" for joint in JOINTS]
    six = {"dtype": "float32", "shape": (6,), "names": names}
    pictures = {
        f"observation.images.{name}": {
            "dtype": "image", "shape": images.shape[1:], "names": ["height", "width", "channels"],
        }
        for name, images in episode.observation.images.items()
    }  # fmt: skip
    objects = [
        f"{name}.{part}"
        for name in episode.observation.objects.names
        for part in ("x", "y", "z", "qw", "qx", "qy", "qz", "present")
    ]
    return {
        "action": six,
        "observation.state": six,
        "observation.environment_state": {"dtype": "float32", "shape": (len(objects),), "names": objects},
        # LeRobot's own `timestamp` is the frame's number over fps.
        "observation.time": {"dtype": "float32", "shape": (1,), "names": ["seconds"]},
        "next.success": {"dtype": "bool", "shape": (1,), "names": None},
        **pictures,
    }


def _frames(episode: Episode) -> list[dict[str, Any]]:
    units, seen = Units(), episode.observation
    body = np.asarray(seen.proprioception, np.float64)
    state = units.to_lerobot(body[:, PROPRIOCEPTION["joint_position"]]).astype(np.float32)
    action = units.to_lerobot(_commanded(episode)).astype(np.float32)
    objects = seen.objects
    around = np.concatenate(
        [
            np.asarray(objects.position_in_world), np.asarray(objects.quaternion_in_world),
            np.asarray(objects.present, np.float64)[..., None],
        ],
        axis=-1,
    ).reshape(len(body), -1).astype(np.float32)  # fmt: skip
    return [
        {
            "action": action[t],
            "observation.state": state[t],
            "observation.environment_state": around[t],
            "observation.time": np.float32(seen.time[t : t + 1]),
            "next.success": np.array([bool(episode.success[t + 1])]),
            **{f"observation.images.{name}": np.asarray(images[t]) for name, images in seen.images.items()},
            "task": str(episode.goal),
        }
        for t in range(episode.length)
    ]


def _commanded(episode: Episode) -> Array:
    """`[T 6]` [rad]."""
    target: Array = np.asarray(episode.observation.proprioception)[1:, PROPRIOCEPTION["joint_target"]]
    # On an arm the target is what the policy goes on from; its commands are what the governor made of it.
    return JointAbsolute().target(target, episode.action) if RECORDING in episode.versions else target


def _check_rate(number: int, episode: Episode, fps: int) -> None:
    """Raise `EmbodiedError` where frames were taken at quite another rate; a busy machine is late now and then."""
    rate = 1.0 / float(np.median(np.diff(np.asarray(episode.observation.time))))
    if not 0.67 < rate / fps < 1.5:
        raise EmbodiedError(
            f"Episode {number} has {rate:.2g} frames per second, not {fps}: give fps=, which is 2 for mode=slow, and "
            "record each mode into a folder of its own."
        )
