"""Collection: demonstrations for the policy and play for the world model, written to the run's episode stores."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from embodied.config import Config
from embodied.data.episodes import EpisodeStore
from embodied.data.play import PlayConfig, play
from embodied.machine import versions
from embodied.training.spread import SpreadWorlds
from envs.control import Controller
from envs.engine import Engine
from envs.episode import Episode
from envs.errors import EmbodiedError
from envs.experts import expert
from envs.headstart import HeadStart
from envs.robot import default_control, named_control
from envs.scene import SceneConfig
from envs.sensing import sensors
from envs.servo_file import named_servos
from envs.task import Task
from envs.tasks import task
from envs.types import Observation
from envs.variation import Variation
from envs.worlds import TaskWorlds

DEMONSTRATIONS, PLAY = "demonstrations", "play"
"""Episode stores in a run folder."""
WIDE = 0.5
"""See `PlayConfig.wide`; what is asked about starts from play of the usual masses."""
NOISE = 0.15
"""Standard deviation of what is added to an expert's arm actions: demonstrations then show how to recover (DART)."""

Progress = Callable[[int, int], None]


def chosen_task(config: Config) -> Task:
    """The task of a configuration, with its physics, servos, goal and horizon."""
    env = config.env
    robot = None if config.robot.name == SceneConfig.robot else config.robot.name
    found = task(env.task, env.goal, env.horizon, env.distractors, env.obstacles, robot)
    return replace(found, scene=_with_servos(found.scene, config))


def refuse_policy(config: Config) -> None:
    """Raise `EmbodiedError` where a policy is to be learned or demonstrated in a world that has no task."""
    if config.env.play != "tabletop" and (config.agent.name != "planner" or config.trainer.demonstrations):
        raise EmbodiedError(
            f"The world env.play={config.env.play} has a pusher and no task: there is no policy to learn in it "
            f"(agent={config.agent.name}) and nobody demonstrates (trainer.demonstrations="
            f"{config.trainer.demonstrations}). Train its world model alone, with agent=planner "
            f"trainer.demonstrations=0: embodied train experiment=boxes env.play={config.env.play}"
        )


def refuse_world_model(config: Config) -> None:
    """Raise `EmbodiedError` for a world model of an arm it knows nothing of, and for none where one is needed."""
    agent, trainer = config.agent, config.trainer
    if config.robot.name != SceneConfig.robot and trainer.model_episodes:
        raise EmbodiedError(
            f"The world model knows an SO-101's hand alone; robot.name={config.robot.name} was given. Learn a policy "
            "without one: trainer.model_episodes=0."
        )
    if (agent.name == "planner" or agent.imagined) and not trainer.model_episodes:
        asked = "agent.name=planner" if agent.name == "planner" else f"agent.imagined={agent.imagined:g}"
        raise EmbodiedError(f"{asked} needs a world model, and trainer.model_episodes=0 is to learn none.")


def chosen_control(config: Config) -> Controller:
    """The controller of a configuration; raises `EmbodiedError` where its robot does not take such actions."""
    return named_control(chosen_task(config).scene.robot, config.env.action, config.env.rate)


def chosen_engine(config: Config) -> Engine:
    """The engine of a configuration; MuJoCo Warp runs where networks do."""
    return Engine(config.env.engine, config.device)


def chosen_variation(config: Config) -> Variation | None:
    """What is drawn per training world; raises `EmbodiedError` for factors that there are not."""
    if config.env.factors:
        return Variation.parse(config.env.factors)
    spread = (1.0 / config.env.variation, config.env.variation)
    return Variation(mass=spread, friction=spread, servo_gain=spread) if config.env.variation > 1 else None


def task_worlds(config: Config, worlds: int, seed: int, head_start: HeadStart | None = None) -> TaskWorlds:
    """Worlds of the configured task."""
    control, threads = chosen_control(config), config.env.threads
    variation, sensed = chosen_variation(config), sensors(config.env.sensors)
    return TaskWorlds(
        chosen_task(config), worlds, seed, control, threads, variation, sensed, head_start, engine=chosen_engine(config)
    )


def spread_worlds(
    config: Config, worlds: int, seed: int, head_start: HeadStart | None = None
) -> TaskWorlds | SpreadWorlds:
    """The same, on as many Ray workers as the configuration asks for; in this process where it asks for none."""
    if not config.env.workers:
        return task_worlds(config, worlds, seed, head_start)

    def make(count: int) -> TaskWorlds:
        return task_worlds(config, count, seed, head_start)

    return SpreadWorlds(make, worlds, config.env.workers, seed)


def play_scene(config: Config) -> SceneConfig:
    """The scene that the world model learns in: all objects of its world, no goal entity."""
    scene = PlayConfig(world=config.env.play).scene
    return _with_servos(scene, config) if scene.robot == SceneConfig.robot else scene


def _with_servos(scene: SceneConfig, config: Config) -> SceneConfig:
    servo = config.robot.servo
    return scene if servo is None else replace(scene, servo=named_servos(servo))


def play_control(config: Config) -> Controller:
    """What the actions of play mean, whatever the run's policy acts in."""
    return default_control(play_scene(config).robot)


def collect_demonstrations(config: Config, run: Path, progress: Progress) -> int:
    """Episodes in which the expert, disturbed, succeeded; returns how many resets it took.

    Raises `EmbodiedError` where there is no task, and where the expert does not act in the chosen actions or seldom
    satisfies the chosen goal.
    """
    refuse_policy(config)
    store = _empty(run / DEMONSTRATIONS)
    worlds = spread_worlds(config, config.env.worlds, config.seed)
    robot = worlds.task.scene.robot
    demonstrator = expert(config.env.task, robot)
    rng = np.random.default_rng((config.seed, 1))
    control = worlds.spec
    if control.names[0] != "x":
        raise EmbodiedError(
            f"The scripted experts act in Cartesian deltas; env.action={config.env.action} has no demonstrator. "
            "Set trainer.demonstrations=0 or env.action=cartesian_delta."
        )
    arms = [i for i, name in enumerate(control.names) if not name.endswith("gripper")]
    kept: list[Episode] = []
    tried = 0
    while len(kept) < config.trainer.demonstrations:
        if tried >= 20 * config.env.worlds + 20 * config.trainer.demonstrations:
            raise _too_few(config, worlds.task, len(kept), tried)
        observations, actions, success = [worlds.reset()], [], [worlds.task.goal.satisfied(worlds.truth.objects)]
        for _ in range(worlds.task.horizon):
            # The expert sees what is, also where sensors hide it from who learns from it.
            action = demonstrator.act(worlds.truth, worlds.task.goal)
            action[..., arms] += NOISE * rng.standard_normal(action[..., arms].shape)
            transition = worlds.step(action)
            observations.append(transition.next_observation)
            actions.append(np.clip(action, -1.0, 1.0))
            success.append(transition.success)
        tried += worlds.worlds
        seen, done, held = Observation.stack(observations, axis=1), np.stack(actions, axis=1), np.stack(success, axis=1)
        kept += [
            Episode(
                observation=seen[world],
                action=done[world],
                success=held[world],
                goal=worlds.task.goal,
                seed=config.seed,
                task=worlds.task.name,
                robot=f"{robot} ({config.robot.servo or 'own'})",
                versions=versions(),
                origin=worlds.origin(int(world)),
            )
            for world in np.flatnonzero(held[:, -1])
        ]
        progress(min(len(kept), config.trainer.demonstrations), config.trainer.demonstrations)
    store.append(kept[: config.trainer.demonstrations])
    return tried


def _too_few(config: Config, chosen: Task, kept: int, tried: int) -> EmbodiedError:
    """What to say where the expert, which knows its task's own goal alone, hardly ever satisfies the chosen one."""
    own = task(config.env.task).goal
    fitting = (
        f"Raise env.horizon (now {chosen.horizon})"
        if chosen.goal == own
        else f"Choose a goal that follows from what it works towards, {own} (a part of it, say, or a wider tolerance)"
    )
    return EmbodiedError(
        f"The expert of {config.env.task!r} satisfies {str(chosen.goal)!r} at the end of {kept} of {tried} episodes "
        f"({kept / tried:.1%}), too few to learn from. {fitting}, or learn without demonstrations: "
        "trainer.demonstrations=0."
    )


def collect_play(config: Config, run: Path, progress: Progress) -> int:
    """Play for the world model; returns the number of frames."""
    store = _empty(run / PLAY)
    wanted = config.trainer.model_episodes
    worlds = min(128, max(8, wanted // 2))
    chosen = PlayConfig(
        scene=play_scene(config),
        worlds=worlds,
        threads=config.env.threads,
        engine=chosen_engine(config),
        world=config.env.play,
        wide=WIDE,
        parts=config.world_model.parts > 1,
        # A branch shows what the model looks back on: frames are recorded in every part of a control step.
        history=(config.world_model.history - 1) * config.world_model.parts + 1,
    )
    batches = play(chosen, config.seed)
    while len(store) < wanted:
        store.append(next(batches)[: wanted - len(store)])
        progress(len(store), wanted)
    return int(store.lengths.sum() + len(store))


def take_over(config: Config, run: Path) -> dict[str, int]:
    """Copy the stores of another run, which are all that is learned from then; returns how many episodes each has.

    Raises `EmbodiedError` where one that is needed is not there.
    """
    trainer = config.trainer
    counts: dict[str, int] = {}
    for name, wanted in ((DEMONSTRATIONS, trainer.demonstrations), (PLAY, trainer.model_episodes)):
        if not wanted:
            continue
        source = Path(str(trainer.data)) / name
        if not source.is_dir():
            raise EmbodiedError(
                f"trainer.data={trainer.data} has no folder {name!r}; give the folder of a run that has collected, or "
                f"do without: trainer.{'demonstrations' if name == DEMONSTRATIONS else 'model_episodes'}=0."
            )
        shutil.rmtree(run / name, ignore_errors=True)
        shutil.copytree(source, run / name)
        counts[name] = len(EpisodeStore(run / name))
    return counts


def _empty(folder: Path) -> EpisodeStore:
    """A store with nothing in it: what a stopped collection left is collected again, the same."""
    if folder.exists():
        shutil.rmtree(folder)
    return EpisodeStore(folder)
