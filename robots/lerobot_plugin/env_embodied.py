"""`--env.type=embodied`: a task of ours in LeRobot's commands, spoken to like an SO-101, in LeRobot's units."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from lerobot.configs import FeatureType, PolicyFeature
from lerobot.envs.configs import EnvConfig
from lerobot.processor import PolicyProcessorPipeline, RenameObservationsProcessorStep
from lerobot.utils.constants import ACTION, OBS_STR

from envs.cameras import CameraConfig, Cameras
from envs.control import JointAbsolute
from envs.errors import EmbodiedError, unknown
from envs.scene import build_scene
from envs.servo import SERVOS
from envs.so101 import JOINT_HIGH, JOINT_LOW
from envs.task import Task
from envs.tasks import task as named_task
from envs.types import Array
from envs.worlds import HELD_OUT, TaskWorlds
from robots.lerobot_plugin.observations import COMMAND, STATE, UNITS, VELOCITY, to_lerobot
from robots.lerobot_plugin.states import COLUMNS, KEY
from robots.units import JOINTS

PICTURE = CameraConfig("front", 320, 240)
BOUND = 1e4
"""Every number of an observation lies within plus and minus this."""


@EnvConfig.register_subclass("embodied")
@dataclass
class EmbodiedEnvConfig(EnvConfig):
    """Which task, and how it differs from its own."""

    task: str | None = "place"
    """A name from `envs.tasks.TASKS`."""
    fps: int = 10
    """Control steps per second."""
    goal: str | None = None
    """A goal as text in place of the task's own."""
    distractors: list[str] = field(default_factory=list)
    """Further objects on the table, out of `envs.objects`."""
    horizon: int | None = None
    """Control steps of an episode; None is the task's own."""
    servo: str = "firm"
    """A name from `envs.servo.SERVOS`."""
    features: dict[str, PolicyFeature] = field(default_factory=dict)
    """Filled in."""

    def __post_init__(self) -> None:
        """Raise `EmbodiedError` for an unknown task, goal, object or servo."""
        entities = len(build_scene(self.chosen.scene).names)
        shapes = {STATE: (6,), VELOCITY: (6,), COMMAND: (6,), KEY: (entities * len(COLUMNS),)}
        kinds = dict.fromkeys(shapes, FeatureType.STATE) | {KEY: FeatureType.ENV}
        self.features = {name: PolicyFeature(type=kinds[name], shape=shape) for name, shape in shapes.items()}
        self.features[ACTION] = PolicyFeature(type=FeatureType.ACTION, shape=(len(JOINTS),))
        self.features_map = {name: name for name in self.features}

    @property
    def chosen(self) -> Task:
        """The task with its goal, horizon, distractors and servos."""
        if self.servo not in SERVOS:
            raise unknown("servo", self.servo, SERVOS)
        if self.task is None:
            raise EmbodiedError("Name a task: --env.task=place.")
        found = named_task(self.task, self.goal, self.horizon, self.distractors)
        if found.scene.robot != "so101":
            raise EmbodiedError(f"Task {self.task!r} is of {found.scene.robot}; LeRobot drives one SO-101 here.")
        return replace(found, scene=replace(found.scene, servo=SERVOS[self.servo]))

    @property
    def gym_kwargs(self) -> dict[str, Any]:
        """What `EmbodiedEnv` takes."""
        return {"task": self.chosen, "rate": float(self.fps)}

    def create_envs(self, n_envs: int, use_async_envs: bool = False) -> dict[str, dict[int, Any]]:
        """One vector environment, of the one task."""
        make: list[Callable[[], EmbodiedEnv]] = [partial(EmbodiedEnv, **self.gym_kwargs)] * n_envs
        if use_async_envs and n_envs > 1:
            return {self.type: {0: AsyncVectorEnv(make, autoreset_mode=AutoresetMode.SAME_STEP, context="forkserver")}}
        return {self.type: {0: SyncVectorEnv(make, autoreset_mode=AutoresetMode.SAME_STEP)}}

    def get_env_processors(self) -> tuple[Any, Any]:
        """LeRobot puts `observation.` before names that it does not know, while what it records keeps ours: as told."""
        doubled = {f"{OBS_STR}.{name}": name for name in self.features if name != ACTION}
        return PolicyProcessorPipeline(steps=[RenameObservationsProcessorStep(doubled)]), PolicyProcessorPipeline([])


class EmbodiedEnv(gymnasium.Env[dict[str, Array], Array]):
    """One world of a task, driven by joint positions.

    Seed k begins as episode k of `embodied evaluate seed=0` does. Episodes are truncated at the horizon, never
    terminated: success is being there at the end.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012
    render_mode = "rgb_array"

    def __init__(self, task: Task, rate: float = 10.0) -> None:
        self.metadata = {**self.metadata, "render_fps": round(rate)}
        self._control = JointAbsolute(rate)
        self._worlds = TaskWorlds(task, 1, control=self._control, threads=1)
        self._picture: Cameras | None = None
        self._max_episode_steps = task.horizon
        self.task = self.task_description = str(task.goal)
        shapes = {name: array.shape for name, array in self._observe().items()}
        self.observation_space = Dict({name: Box(-BOUND, BOUND, shape, np.float32) for name, shape in shapes.items()})
        low, high = (UNITS.to_lerobot(np.array(end)).astype(np.float32) for end in (JOINT_LOW, JOINT_HIGH))
        self.action_space = Box(low, high, dtype=np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Array], dict[str, Any]]:
        """Begin an episode; the same seed gives the same episode."""
        super().reset(seed=seed)
        self._worlds.reset(seeds=[int(self.np_random.integers(HELD_OUT)) if seed is None else HELD_OUT + seed])
        return self._observe(), {"is_success": False}

    def step(self, action: Array) -> tuple[dict[str, Array], float, bool, bool, dict[str, Any]]:
        """One control step towards joint positions `[6]` in LeRobot's units; the reward is 1 where the goal holds.

        LeRobot counts an episode as a success if any step says so: none but the last does.
        """
        target = UNITS.to_radians(np.asarray(action, np.float64))[None]
        transition = self._worlds.step(self._control.action(target, target))
        holds, truncated = bool(transition.success[0]), bool(transition.truncated[0])
        return self._observe(), float(holds), False, truncated, {"is_success": holds and truncated}

    def render(self) -> Array:
        """`[240 320 3]` uint8 from the front camera."""
        if self._picture is None:
            self._picture = Cameras(self._worlds.simulation.scene, (PICTURE,), threads=1)
        return self._picture.render(self._worlds.simulation)[PICTURE.name][0]

    def _observe(self) -> dict[str, Array]:
        return {name: array[0].clip(-BOUND, BOUND) for name, array in to_lerobot(self._worlds.observation).items()}
