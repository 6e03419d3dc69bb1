"""Sort four things by colour into two bins."""

import numpy as np

from envs.episode import Policy
from envs.experts import PickAndPlace
from envs.goals import Goal
from envs.scene import SceneConfig
from envs.sequence import InOrder, OverRims
from envs.task import Place, Task
from envs.types import Array, Observation

BINS = {"red_cube": "red_bin", "blue_cube": "blue_bin", "small_red_cube": "red_bin", "small_blue_cube": "blue_bin"}
"""Where each object belongs."""
BESIDE = Place(x=(0.20, 0.25), y=(0.175, 0.185), yaw=(-0.2, 0.2), clearance=0.095, either_side=True)
MIDDLE = Place(x=(0.15, 0.31), y=(-0.08, 0.08))

TASK = Task(
    name="sort",
    goal=Goal.parse(" & ".join(f"in({thing}, {bin_}) & released({thing})" for thing, bin_ in BINS.items())),
    scene=SceneConfig(objects=tuple(BINS), fixtures=("red_bin", "blue_bin")),
    subject="red_cube",
    horizon=130,
    places={"red_bin": BESIDE, "blue_bin": BESIDE} | dict.fromkeys(BINS, MIDDLE),
)


def expert() -> Policy:
    """Takes them one by one."""
    jobs = []
    for index, (thing, bin_) in enumerate(BINS.items()):
        shift = -0.022 if index < 2 else 0.022
        jobs.append(OverRims(PickAndPlace(thing, bin_, offset=(shift, 0.0, 0.0))))
    return InOrder(jobs, _done)


def _done(observation: Observation) -> Array:
    state = observation.objects
    goals = (f"in({thing}, {bin_}) & ~near(gripper, {thing}, 0.04)" for thing, bin_ in BINS.items())
    return np.stack([Goal.parse(goal).satisfied(state) for goal in goals], axis=-1)
