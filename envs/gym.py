"""Gymnasium's two faces of the tasks: `gym.make("envs:SO101Place-v0")` and `gym.make_vec` of the same ids.

Both stand on `TaskWorlds`; the single environment is a batch of one. Observations are goal-conditioned dictionaries:

- `observation`: proprioception, then per entity but the table: position, the first two columns of its rotation matrix,
  linear and angular velocity, and presence, all in the world frame and SI units;
- `achieved_goal` and `desired_goal`: where the task's subject is and should be [m]; of goals that are no such place,
  the margins of their literals, which are to be positive;
- what cameras see, where they are asked for: `NAME` uint8, `NAME_depth` [m], `NAME_segmentation` entities;
- `instruction`: the goal as a sentence, where `language` is asked for.

Observations are what sensors say, rewards and success what is.

The reward is 0 where the whole goal holds and -1 elsewhere. Episodes are truncated at the horizon, never terminated:
success is being there at the end. `info["is_success"]` says whether the goal holds now.
"""

from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Space, Text
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from envs import sensing
from envs.arguments import Names, names_of, whole
from envs.cameras import CameraConfig, Cameras
from envs.control import OWN, action_numbers
from envs.engine import BATCH, Engine
from envs.errors import EmbodiedError, unknown
from envs.goal_dictionary import BOUND, ObservationDict, flatten, is_achieved, others
from envs.goals import Goal
from envs.language import CHARACTERS, sentence
from envs.robot import named_control
from envs.sensors import FARTHEST, ImageSensor, SensorConfig
from envs.tasks import task
from envs.types import Array, Observation
from envs.variation import Variation
from envs.worlds import TaskWorlds, merged


def _space(worlds: TaskWorlds, language: bool) -> Dict:
    example = flatten(worlds.observation, worlds.task)
    spaces: dict[str, Space[Any]] = {
        key: Box(-BOUND, BOUND, example[key].shape[1:], np.float32)
        for key in ("observation", "achieved_goal", "desired_goal")
    }
    entities = len(worlds.simulation.scene.names)
    for name, image in worlds.observation.images.items():
        low, high = {"u": (0, 255), "i": (-1, entities - 1), "f": (0, FARTHEST)}[image.dtype.kind]
        spaces[name] = Box(low, high, image.shape[1:], image.dtype.type)
    if language:
        spaces["instruction"] = Text(min_length=0, max_length=LONGEST, charset=CHARACTERS)
    return Dict(spaces)


RENDER_MODES = ("rgb_array", "depth_array", "rgbd_tuple")
LONGEST = 500
"""Characters of an instruction."""


class _Tabletop:
    """What the single and the vector environment share."""

    def _build(
        self, name: str, worlds: int, goal: Goal | str | None, action: str | None, horizon: int | None,
        cameras: Names, image_size: int, images: Names, render_mode: str | None, threads: int,
        rate: float, variation: Variation | str, sensors: SensorConfig | str | None, language: bool,
        distractors: Names, obstacles: Names, robot: str | None, engine: Engine = BATCH,
    ) -> None:  # fmt: skip
        if render_mode not in (None, *RENDER_MODES):
            raise unknown("render mode", render_mode, RENDER_MODES)
        self.task = task(name, goal, horizon, distractors, obstacles, robot)
        control = named_control(self.task.scene.robot, action or OWN, rate)
        variation, sensors, cameras = Variation.of(variation), sensing.sensors(sensors), names_of("cameras", cameras)
        images, threads = names_of("images", images), whole("threads", threads, 0)
        if cameras:
            plain = sensors or SensorConfig()
            more = tuple(ImageSensor(name=camera, width=image_size, height=image_size, images=images)
                         for camera in cameras)  # fmt: skip
            sensors = replace(plain, cameras=(*plain.cameras, *more))
        self.worlds = TaskWorlds(
            self.task, worlds, control=control, threads=threads, variation=variation, sensors=sensors, engine=engine
        )
        spec = self.worlds.simulation.control.spec
        self.action_box = Box(spec.low.astype(np.float32), spec.high.astype(np.float32), dtype=np.float32)
        self._picture: Cameras | None = None
        self._fixed: dict[str, float | None] | None = None
        self.instruction = sentence(self.task.goal)
        """The goal as a sentence."""
        self._language = language
        self.observation_box = _space(self.worlds, language)
        self.render_mode = render_mode

    def _begin(self, options: dict[str, Any] | None, seeds: Array | None) -> None:
        """Reset every world; `options["variation"]` sets or freezes factors by name until the next call."""
        for option in options or {}:
            if option != "variation":
                raise unknown("reset option", option, ("variation",))
        self._fixed = (options or {}).get("variation")
        self.worlds.reset(seeds=seeds, fixed=self._fixed)

    def _render(self) -> Any:
        """Of every world `[480 640 3]` uint8 or `[480 640]` float32 [m], or both, from the front camera."""
        if self._picture is None:
            self._picture = Cameras(self.worlds.simulation.scene, (CameraConfig("front", 640, 480),))
        frames = self._picture.frames(self.worlds.simulation, self.worlds.looks)["front"]
        pictures = {"rgb_array": frames.rgb, "depth_array": frames.depth}
        if self.render_mode == "rgbd_tuple":
            return tuple(zip(frames.rgb, frames.depth, strict=True))
        return None if self.render_mode is None else tuple(pictures[self.render_mode])

    def _others_hold(self) -> Array:
        """`[N]` whether the literals that `achieved_goal` does not speak of held after the last step."""
        return np.asarray((self.worlds.margins[:, others(self.task)] > 0).all(axis=1))

    def compute_reward(self, achieved_goal: Array, desired_goal: Array, info: Any) -> Array:
        """0 where the desired goal is achieved, -1 elsewhere; what hindsight relabelling needs.

        Of places, within the goal's distance; literals that do not speak of the place are taken from
        `info["others_hold"]` where it is given. Of margins, where each is as large as is desired.
        """
        reached = is_achieved(np.asarray(achieved_goal), np.asarray(desired_goal), self.task)
        infos = info if isinstance(info, (list, tuple, np.ndarray)) else [info]
        hold = np.array([bool((one or {}).get("others_hold", True)) for one in infos])
        reward: Array = (reached & (hold if reached.ndim else hold[0])).astype(np.float32) - 1.0
        return reward


class TabletopEnv(_Tabletop, gymnasium.Env[ObservationDict, Array]):
    """One world of a task."""

    metadata = {"render_modes": [*RENDER_MODES], "render_fps": 10}  # noqa: RUF012

    def __init__(
        self,
        task_name: str,
        goal: Goal | str | None = None,
        action: str | None = None,
        horizon: int | None = None,
        cameras: Names = (),
        image_size: int = 64,
        images: Names = ("rgb",),
        render_mode: str | None = None,
        rate: float = 10.0,
        variation: Variation | str = "",
        sensors: SensorConfig | str | None = None,
        language: bool = False,
        distractors: Names = (),
        obstacles: Names = (),
        robot: str | None = None,
    ) -> None:
        """`cameras` names of the scene's cameras whose square images join the observation, each in the kinds `images`.

        Of `cameras`, `images`, `distractors` and `obstacles`, a name alone is a tuple of one.

        `action` is a name in `envs.control.CONTROLLERS`, None the robot's own. `variation` may be words for
        `Variation.parse`; `sensors`, or the name of some in `envs.sensing`, says what else is wrong with what is
        observed. `distractors` and `obstacles` are more on the table, `robot` does the task instead of its own, see
        `envs.tasks.task`.
        """
        self._build(task_name, 1, goal, action, horizon, cameras, image_size, images, render_mode, 1, rate, variation,
                    sensors, language, distractors, obstacles, robot)  # fmt: skip
        self.action_space = self.action_box
        self.observation_space = self.observation_box

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[ObservationDict, dict[str, Any]]:
        """Begin an episode; the same seed gives the same episode.

        `options={"variation": {"mass": 1.5, "friction": None}}` sets factors of variation, or freezes them by None.
        """
        super().reset(seed=seed)
        self._begin(options, np.array([self.np_random.integers(2**31)]))
        return self._first(self.worlds.observation), {"is_success": bool(self._success()[0])}

    def step(self, action: Array) -> tuple[ObservationDict, float, bool, bool, dict[str, Any]]:
        """One control step."""
        row = action_numbers(action)
        if row.shape != self.action_box.shape:
            raise EmbodiedError(
                f"An action of shape {row.shape} was given; {', '.join(self.worlds.spec.names)} need "
                f"{self.action_box.shape}."
            )
        transition = self.worlds.step(row[None])
        success = bool(transition.success[0])
        seen, truncated = self._first(transition.next_observation), bool(transition.truncated[0])
        info = {"is_success": success, "others_hold": bool(self._others_hold()[0])}
        return seen, float(success) - 1.0, False, truncated, info

    def render(self) -> Any:
        """From the front camera, by `render_mode`: `[480 640 3]` uint8, `[480 640]` float32 [m], or both."""
        return None if self.render_mode is None else self._render()[0]

    def _success(self) -> Array:
        return np.asarray(self.task.goal.satisfied(self.worlds.truth.objects))

    def _first(self, observation: Observation) -> ObservationDict:
        first = {key: value[0] for key, value in flatten(observation, self.task).items()}
        return {**first, "instruction": self.instruction} if self._language else first


def _drawn(seed: int | list[int | None] | None, worlds: int) -> Array:
    """`[N]` what seeds worlds, of a seed for the first or one for each; of None, what nobody can foresee."""
    if seed is not None and not isinstance(seed, list | tuple):
        seed = [whole("seed", seed, 0) + i for i in range(worlds)]
    seeds = [None if one is None else whole("seed", one, 0) for one in seed or [None] * worlds]
    return np.array([np.random.default_rng(one).integers(2**31) for one in seeds])


class TabletopVectorEnv(_Tabletop, VectorEnv[ObservationDict, Array, Array]):
    """N worlds of a task; finished episodes start anew within the same step, or in the next one."""

    metadata = {  # noqa: RUF012
        "autoreset_mode": AutoresetMode.SAME_STEP,
        "render_modes": [*RENDER_MODES],
        "render_fps": 10,
    }

    def __init__(
        self,
        task_name: str,
        num_envs: int = 1,
        goal: Goal | str | None = None,
        action: str | None = None,
        horizon: int | None = None,
        cameras: Names = (),
        image_size: int = 64,
        images: Names = ("rgb",),
        render_mode: str | None = None,
        threads: int = 0,
        rate: float = 10.0,
        variation: Variation | str = "",
        sensors: SensorConfig | str | None = None,
        language: bool = False,
        distractors: Names = (),
        obstacles: Names = (),
        robot: str | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
        engine: Engine | str = BATCH,
    ) -> None:
        """`threads` = 0 steps on every core; `engine` is one or its name; the rest is as in `TabletopEnv`.

        `autoreset_mode` is `SameStep` or `NextStep`; of the latter, the step after an episode's last ignores its
        action, pays 0 and gives the first observation.
        """
        modes = {mode.value: mode for mode in (AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP)}
        if getattr(autoreset_mode, "value", autoreset_mode) not in modes:
            raise unknown("autoreset mode", autoreset_mode, modes)
        self.autoreset_mode = modes[getattr(autoreset_mode, "value", autoreset_mode)]
        self.metadata = {**self.metadata, "autoreset_mode": self.autoreset_mode}
        num_envs = whole("num_envs", num_envs, 1)
        self._build(task_name, num_envs, goal, action, horizon, cameras, image_size, images, render_mode, threads, rate,
                    variation, sensors, language, distractors, obstacles, robot,
                    engine if isinstance(engine, Engine) else Engine(engine))  # fmt: skip
        self.num_envs = num_envs
        self._ended = np.zeros(num_envs, bool)
        self._seeded = False
        self.single_action_space, self.single_observation_space = self.action_box, self.observation_box
        self.action_space = batch_space(self.action_box, num_envs)
        self.observation_space = batch_space(self.observation_box, num_envs)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[ObservationDict, dict[str, Any]]:
        """Begin an episode in every world; world i of seed s begins as world 0 of seed s + i, and so do its next ones.

        `options={"variation": {"mass": 1.5, "friction": None}}` sets factors of variation, or freezes them by None, of
        all episodes until the next call.
        """
        self._ended[:] = False
        drawn = None
        if seed is not None or not self._seeded:
            # Without a seed, the first of all episodes is one that nobody can foresee, as Gymnasium has it.
            drawn, self._seeded = _drawn(seed, self.num_envs), True
            self.worlds.reseed(drawn.tolist())
        self._begin(options, drawn)
        return self._seen(self.worlds.observation), {"is_success": self._success()}

    def step(self, actions: Array) -> tuple[ObservationDict, Array, Array, Array, dict[str, Any]]:
        """One control step of every world."""
        transition = self.worlds.step(actions)
        reward, truncated = transition.success.astype(np.float32) - 1.0, transition.truncated
        info: dict[str, Any] = {"is_success": transition.success, "others_hold": self._others_hold()}
        begin, seen = truncated, self._seen(transition.next_observation)
        if self.autoreset_mode == AutoresetMode.NEXT_STEP:
            begin, truncated = self._ended, truncated & ~self._ended
            reward, self._ended = np.where(begin, np.float32(0.0), reward), truncated
        elif begin.any():
            info |= {"final_obs": seen, "_final_obs": begin, "final_info": dict(info), "_final_info": begin}
        if begin.any():
            self.worlds.reset(np.flatnonzero(begin), fixed=self._fixed)
            seen = self._seen(merged(begin, self.worlds.observation, transition.next_observation))
            if self.autoreset_mode == AutoresetMode.NEXT_STEP:
                info["is_success"] = np.where(begin, self._success(), transition.success)
        return seen, reward, transition.terminated, truncated, info

    def _seen(self, observation: Observation) -> ObservationDict:
        seen = flatten(observation, self.task)
        if self._language:
            seen["instruction"] = (self.instruction,) * self.num_envs
        return seen

    def render(self) -> Any:
        """What the single environment gives, once per world."""
        return self._render()

    def _success(self) -> Array:
        return np.asarray(self.task.goal.satisfied(self.worlds.truth.objects))
