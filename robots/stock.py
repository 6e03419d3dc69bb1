"""LeRobot's driver and recording loop with nothing of ours around them: what the governor is measured against."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from envs.types import Array
from robots.arm.lerobot import calmly
from robots.units import JOINTS, Units, to_features


class Course:
    """A teleoperator that leads an arm to where a function says, joints `[6]` [rad]."""

    name = "course"

    def __init__(self, target: Callable[[], Array]) -> None:
        from lerobot.teleoperators import Teleoperator

        # LeRobot asks for its kind; to be derived from it takes a calibration that a function does not need.
        Teleoperator.register(type(self))
        self._target = target

    def get_action(self) -> dict[str, float]:
        """LeRobot's action."""
        return to_features(Units().to_lerobot(self._target()))


def follower(port: str, folder: Path, identity: str = "twin", **settings: Any) -> Any:
    """LeRobot's SO-101 on `port`, not connected; its calibration is `IDENTITY.json` in `folder`."""
    from lerobot.robots.so_follower import SO101Follower, SO101FollowerConfig

    return SO101Follower(SO101FollowerConfig(port=port, id=identity, calibration_dir=folder, **settings))


def connect(robot: Any) -> None:
    """Without a question, and calmly: a busy machine may not let a twin answer within LeRobot's 50 ms."""
    with calmly(robot.bus):
        robot.connect(calibrate=False)


def loop(robot: Any, target: Callable[[], Array], seconds: float, rate: int, dataset: Any = None) -> None:
    """The loop of `lerobot-record` at `rate` [Hz]; without a `dataset`, as it runs between episodes."""
    from lerobot.processor import make_default_processors
    from lerobot.scripts.lerobot_record import record_loop

    teleop_processor, robot_processor, observation_processor = make_default_processors()
    record_loop(
        robot=robot,
        events={"exit_early": False},
        fps=rate,
        teleop_action_processor=teleop_processor,
        robot_action_processor=robot_processor,
        robot_observation_processor=observation_processor,
        dataset=dataset,
        teleop=Course(target),
        control_time_s=seconds,
        single_task="a course",
    )


def features() -> dict[str, Any]:
    """Of the dataset that `lerobot-record` makes of an arm without cameras."""
    names = [f"{name}.pos" for name in JOINTS]
    return {
        key: {"dtype": "float32", "shape": (len(names),), "names": names} for key in ("observation.state", "action")
    }


def record(robot: Any, target: Callable[[], Array], folder: Path, episodes: tuple[float, ...], rate: int) -> None:
    """A session of `lerobot-record`: episodes of so many seconds, with its way of ending whatever happens."""
    from lerobot.datasets import LeRobotDataset

    dataset = LeRobotDataset.create("course", rate, root=folder, robot_type=robot.name, features=features())
    connect(robot)
    try:
        for seconds in episodes:
            loop(robot, target, seconds, rate, dataset)
            dataset.save_episode()
    finally:
        dataset.finalize()
        if robot.is_connected:
            robot.disconnect()


def recorded(folder: Path) -> Array:
    """Actions `[T 6]` [rad] that can be read from a dataset in `folder`; none of one that cannot be opened."""
    from lerobot.datasets import LeRobotDataset

    try:
        dataset = LeRobotDataset("course", root=folder)
        return Units().to_radians(np.stack([np.asarray(row["action"]) for row in dataset.hf_dataset]))
    except Exception:
        # What it raises depends on which of its files was cut off, and none of its errors has a common root.
        return np.zeros((0, len(JOINTS)))
