"""A run whose actor was set by hand: it leads the gripper to the target, for the tests of what runs policies."""

import numpy as np

from embodied.config import Config, EnvConfig
from embodied.run import Run
from embodied.schema import to_dict
from envs.features import DISTRACTOR_SIZE, GOAL_SIZE, OBSERVATION_SIZE

GAIN = 0.6
"""Of the way that is left, 12 times this share per step: `goal_features` has 20 times the way [m], an action 0.03 m."""


def reacher(folder, horizon=4, **env):
    """The folder of a run of `reach`, whose few steps are enough for some beginnings and not for others."""
    others = env.get("distractors", ())
    size = OBSERVATION_SIZE + DISTRACTOR_SIZE * len(others) + GOAL_SIZE
    first, second, last = np.zeros((size, 6)), np.eye(6), np.zeros((6, 5))
    for axis in range(3):
        # A pair of units for what a ReLU would cut off.
        first[size - 3 + axis, 2 * axis : 2 * axis + 2] = 1.0, -1.0
        last[2 * axis : 2 * axis + 2, axis] = GAIN, -GAIN
    flat = np.concatenate([part.ravel() for part in (first, second, last, np.zeros(6), np.zeros(6), np.zeros(5))])
    config = Config(run=str(folder), env=EnvConfig(task="reach", horizon=horizon, threads=1, **env))
    with Run.open(folder, to_dict(config)) as run:
        actor = {"average": flat.astype(np.float32), "actor_sizes": np.array([size, 6, 6, 5])}
        run.save("policy", actor, distractors=list(others))
    return folder
