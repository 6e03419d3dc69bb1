"""The ground floor: the vocabulary of the world, and MuJoCo behind it.

Importing this package registers the tasks with Gymnasium, so that `gym.make("envs:SO101Place-v0")` works; MuJoCo is
loaded when an environment is made.
"""

from gymnasium.envs.registration import register

from envs.suite import NAMES

GYM_IDS = {
    f"SO101{''.join(word.title() for word in task.split('_'))}-v0": task
    for task in ("reach", "push", "lift", "place", "place_air", "place_bin", "place_clutter", "stack", *NAMES)
}
"""Gymnasium id -> name in `envs.tasks.TASKS`."""

for _gym_id, _task in GYM_IDS.items():
    register(
        id=_gym_id,
        entry_point="envs.gym:TabletopEnv",
        vector_entry_point="envs.gym:TabletopVectorEnv",
        kwargs={"task_name": _task},
    )
