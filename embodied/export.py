"""`embodied export`: a run's actor as a folder that LeRobot's commands take for `--policy.path`, and as ONNX."""

import json
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from embodied import onnx
from embodied.agents.policies import ActorPolicy, NumpyActor
from embodied.arguments import ExportArguments
from embodied.config import Config
from embodied.console import Console
from embodied.evaluation.evaluate import percent
from embodied.evaluation.statistics import wilson
from embodied.evaluation.success import held_out_seeds, success
from embodied.run import Run
from embodied.schema import from_dict
from embodied.training.collect import chosen_control, chosen_task
from embodied.training.policies import load_policy
from envs.errors import EmbodiedError
from envs.features import policy_input
from envs.folders import made
from envs.types import Array, Observation
from envs.worlds import TaskWorlds
from robots.lerobot_plugin.configuration_embodied import EmbodiedConfig
from robots.lerobot_plugin.env_embodied import EmbodiedEnvConfig
from robots.lerobot_plugin.modeling_embodied import EmbodiedPolicy
from robots.lerobot_plugin.observations import UNITS, to_lerobot
from robots.lerobot_plugin.processor_embodied import make_embodied_pre_post_processors
from robots.rollouts import rolled_out

PLUGIN = "robots.lerobot_plugin"
NEAR = 0.01
"""[degree], of the gripper [%]: by how much commands may differ, which LeRobot has in float32."""
_WORLDS, _STEPS, _BATCH = 16, 20, 25


def export(arguments: ExportArguments, console: Console) -> int:
    """Write the folder, check what is in it, and with `episodes` run both it and the run from the same beginnings.

    1 where success through `lerobot-eval` then differs. Raises `EmbodiedError` for a run without an actor, and where
    the folder would act otherwise than the run.
    """
    run = Run.load(arguments.run)
    config = from_dict(Config, run.config)
    if (robot := chosen_task(config).scene.robot) != "so101":
        raise EmbodiedError(
            f"{arguments.run} moves {robot}; what is exported acts in an SO-101's units. It runs here: embodied deploy "
            f"run={arguments.run} robot={robot}"
        )
    if config.env.obstacles:
        raise EmbodiedError(
            f"{arguments.run} was trained among obstacles ({', '.join(config.env.obstacles)}), which nothing sees "
            "beside an arm; a run without env.obstacles is exported."
        )
    policy = load_policy(run, config)
    if not isinstance(policy, ActorPolicy) or not isinstance(policy.actor, NumpyActor):
        raise EmbodiedError(
            f"{arguments.run} plans or plays chunks (agent={config.agent.name}); only an actor of single actions "
            "is exported."
        )
    folder = made(Path(arguments.folder or run.folder / "lerobot"))
    save(lerobot_policy(config, policy, policy.actor), folder)
    seen = _observations(config, policy)
    off = difference(EmbodiedPolicy.from_pretrained(folder), policy, seen, config)
    if not off <= NEAR:
        raise EmbodiedError(f"{folder} commands other joint positions than {arguments.run}, by up to {off:.2g}.")
    inputs = policy_input(seen, chosen_task(config).goal, policy.distractors)
    apart = onnx.write(folder / "actor.onnx", policy.actor, inputs)
    console.say(f"lerobot  {folder}: its joint positions are the run's, to {off:.1g} degrees")
    console.say(f"onnx     {folder / 'actor.onnx'}: its outputs are the run's, to {apart:.1g}")
    words = evaluation_words(config, folder, arguments.episodes or 50, arguments.seed)
    console.say(f"try      {shlex.join(['lerobot-eval', *words])}")
    return _side_by_side(arguments, config, policy, folder, words, console) if arguments.episodes else 0


def lerobot_policy(config: Config, policy: ActorPolicy, actor: NumpyActor) -> EmbodiedPolicy:
    """The run's actor as LeRobot's policy."""
    features = dict(_environment(config).features)
    action = {"action": features.pop("action")}
    made = EmbodiedPolicy(
        EmbodiedConfig(
            task=config.env.task, goal=config.env.goal, action=config.env.action, rate=config.env.rate,
            distractors=list(policy.distractors), width=len(actor.biases[0]), device="cpu",
            input_features=features, output_features=action,
        )
    )  # fmt: skip
    layers = [layer for layer in made.network if isinstance(layer, torch.nn.Linear)]
    for layer, weight, bias in zip(layers, actor.weights, actor.biases, strict=True):
        layer.load_state_dict({"weight": torch.tensor(weight.T), "bias": torch.tensor(bias)})
    made.eval()
    return made


def save(policy: EmbodiedPolicy, folder: Path) -> None:
    """Settings and weights, and the processors that LeRobot loads beside them: JSON and safetensors."""
    policy.save_pretrained(folder)
    for processor in make_embodied_pre_post_processors(policy.config):
        processor.save_pretrained(folder)


def difference(exported: EmbodiedPolicy, policy: ActorPolicy, seen: Observation, config: Config) -> float:
    """The largest difference of commands in LeRobot's units, over observations `[B]`."""
    goal, control = chosen_task(config).goal, chosen_control(config)
    commanded = UNITS.to_lerobot(control.target(seen.proprioception[..., -6:], policy.act(seen, goal)))
    with torch.inference_mode():
        found = exported.select_action({name: torch.tensor(value) for name, value in to_lerobot(seen).items()})
    return float(np.abs(found.numpy() - commanded).max())


def evaluation_words(config: Config, folder: Path, episodes: int, seed: int) -> list[str]:
    """The words after `lerobot-eval` for the beginnings of `embodied evaluate episodes=... seed=...`."""
    environment = _environment(config)
    distractors = f"[{','.join(environment.distractors)}]" if environment.distractors else None
    told = {"task": environment.task, "goal": environment.goal, "horizon": environment.horizon,
            "servo": environment.servo, "fps": environment.fps}  # fmt: skip
    own = {name: getattr(EmbodiedEnvConfig(), name) for name in told}
    return [
        f"--discover_packages_path={PLUGIN}",
        f"--policy.path={folder}",
        "--policy.device=cpu",
        "--env.type=embodied",
        *(f"--env.{name}={value}" for name, value in told.items() if name == "task" or value != own[name]),
        *([] if distractors is None else [f"--env.distractors={distractors}"]),
        f"--eval.n_episodes={episodes}",
        f"--eval.batch_size={min(episodes, _BATCH)}",
        "--eval.use_async_envs=false",
        f"--seed={int(held_out_seeds(seed, 1)[0] - held_out_seeds(0, 1)[0])}",
    ]


def stock_evaluation(words: list[str], episodes: int) -> Array:
    """`[N]` success of each episode, from LeRobot's own command in a process of its own.

    Raises `EmbodiedError` with its last line where it fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "lerobot.scripts.lerobot_eval", *words, f"--output_dir={folder}/out"]
        offline = {**os.environ, "HF_HUB_OFFLINE": "1"}
        done = subprocess.run(command, capture_output=True, text=True, env=offline, check=False)
        if done.returncode:
            raise EmbodiedError(f"lerobot-eval failed: {(done.stderr.strip() or done.stdout.strip()).splitlines()[-1]}")
        told = json.loads((Path(folder) / "out" / "eval_info.json").read_text())
    successes = told["per_task"][0]["metrics"]["successes"]
    return np.array(successes[:episodes], bool)


def _side_by_side(
    arguments: ExportArguments, config: Config, policy: ActorPolicy, folder: Path, words: list[str], console: Console
) -> int:
    seeds, env = held_out_seeds(arguments.seed, arguments.episodes), config.env
    ours = success(policy, chosen_task(config), seeds, chosen_control(config), env.threads).succeeded
    theirs = {"embodied evaluate": ours, "lerobot-eval": stock_evaluation(words, arguments.episodes)}
    if arguments.rollouts:
        first = [int(seed) for seed in seeds[: arguments.rollouts]]
        theirs["lerobot-rollout, on a twin"] = rolled_out(
            folder, env.task, env.goal, env.horizon, round(env.rate), str(config.robot.servo), first, env.distractors
        )
    rows = [
        [name, str(len(each)), percent(wilson(int(each.sum()), len(each)).as_dict()),
         str(int((each == ours[: len(each)]).sum()))]
        for name, each in theirs.items()
    ]  # fmt: skip
    title = f"{env.task}, the same unseen resets"
    console.table(["through", "resets", "success at the end", "as embodied evaluate"], rows, title=title)
    return int(ours.sum() != theirs["lerobot-eval"].sum())


def _environment(config: Config) -> EmbodiedEnvConfig:
    if config.env.rate != round(config.env.rate):
        raise EmbodiedError(f"LeRobot counts whole frames per second; env.rate is {config.env.rate:g}.")
    return EmbodiedEnvConfig(
        task=config.env.task, goal=config.env.goal, horizon=config.env.horizon, servo=str(config.robot.servo),
        fps=round(config.env.rate), distractors=list(config.env.distractors),
    )  # fmt: skip


def _observations(config: Config, policy: ActorPolicy) -> Observation:
    """`[B]` along the way of a few episodes."""
    worlds = TaskWorlds(chosen_task(config), _WORLDS, control=chosen_control(config), threads=config.env.threads)
    seen = [worlds.reset(seeds=held_out_seeds(0, _WORLDS))]
    for _ in range(_STEPS):
        seen.append(worlds.step(policy.act(seen[-1], worlds.task.goal)).next_observation)
    return Observation.concat(seen)
