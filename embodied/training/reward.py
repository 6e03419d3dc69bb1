"""`embodied reward`: teach a network to read the literals of goals from noisy states, harden it, calibrate it."""

from typing import Any

import torch

from embodied import checkpoint
from embodied.config import Config
from embodied.console import Console, Stage
from embodied.data.lessons import LessonsConfig, gather
from embodied.run import Run
from embodied.schema import from_dict
from embodied.stages import stage as perform
from embodied.training.calibrate import calibrate
from embodied.training.optimiser import load_weights
from embodied.training.reward_trainer import LOSSES, RewardTrainer, TrainConfig
from envs.errors import EmbodiedError
from world_models.reward.learned import LearnedConfig, LearnedReward
from world_models.reward.network import NetworkConfig, RelationNetwork

NETWORK, TRAINER = "reward", "reward_trainer"
"""Checkpoints."""
LOG_EVERY = 50
"""Gradient steps between two lines of the losses."""


def network_config(config: Config) -> NetworkConfig:
    """The shape of the network that a configuration asks for."""
    return NetworkConfig(members=config.reward.members)


def train_config(config: Config) -> TrainConfig:
    """How a configuration asks for it to be trained."""
    chosen, goals = config.reward, 2 if config.quick else TrainConfig.goals
    mining = TrainConfig.mining if chosen.hardened else ()
    return TrainConfig(steps=chosen.steps, batch=chosen.batch, mining=mining, goals=goals)


def lessons_config(config: Config) -> LessonsConfig:
    """What a configuration asks it to learn from."""
    return LessonsConfig(states=8, pairs=4, episodes=2) if config.quick else LessonsConfig()


def reward(config: Config, run: Run, console: Console) -> None:
    """Train, harden and calibrate a reward network in a run folder; the same command continues."""
    torch.set_num_threads(1)
    perform(run, console, "reward", lambda stage: _train(config, run, stage))


def load_network(run: Run, config: Config) -> RelationNetwork:
    """The trained network of a run; raises `EmbodiedError` where there is none, or one of another shape."""
    network = RelationNetwork(network_config(config))
    state, _ = run.restore(NETWORK)
    load_weights(network, {name: torch.as_tensor(value) for name, value in state.items()}, str(run.path(NETWORK)))
    return network


def load_reward(run: Run, config: Config, reading: LearnedConfig | None = None) -> LearnedReward:
    """The trained reward of a run; raises like `load_network`."""
    return LearnedReward(load_network(run, config), reading)


def learned_reward(folder: str) -> LearnedReward:
    """The reward of another run's folder; raises `EmbodiedError` where there is none."""
    run = Run.load(folder)
    return load_reward(run, from_dict(Config, run.config))


def _train(config: Config, run: Run, stage: Stage) -> dict[str, Any]:
    learned_from, chosen = lessons_config(config), train_config(config)
    data = gather(learned_from, config.seed, progress=lambda n, of: stage.update(n, of, "lessons"))
    trainer = RewardTrainer(network_config(config), chosen, data, config.seed)
    if run.has(TRAINER):
        state, _ = run.restore(TRAINER)
        trainer.load_state_dict({name: torch.as_tensor(value) for name, value in state.items()})
    run.rewind("reward", trainer.step)
    while not trainer.done:
        parts = trainer.train_step()
        if trainer.step % LOG_EVERY == 0 or trainer.done:
            losses = dict(zip(LOSSES, parts.tolist(), strict=True))
            bad = [name for name, value in losses.items() if value != value]
            if bad:
                raise EmbodiedError(f"The reward's {', '.join(bad)} loss became NaN at step {trainer.step}.")
            run.log("reward", trainer.step, **losses)
            stage.update(trainer.step, chosen.steps, f"literal {losses['literal']:.4f}")
        if trainer.step % config.trainer.checkpoint_every == 0:
            checkpoint.save(run.path(TRAINER), trainer.state_dict(), {"step": trainer.step})
    found = calibrate(trainer.network, data, gather(learned_from, config.seed, held_out=True))
    run.save(NETWORK, trainer.network.state_dict())
    stage.result("calibration error", f"{found['ece']:.3f}", f"{found['ece_raw']:.3f} before")
    mined = 0 if trainer.mined is None else len(trainer.mined.level)
    return {"rows": len(data.level), "pairs": len(data.pairs), "mined": mined, **found}
