"""`embodied train`: collect, learn the world model, learn the policy. What is done is kept, what is not goes on."""

from dataclasses import fields, replace
from typing import Any

import numpy as np

from embodied import checkpoint
from embodied.config import Config
from embodied.console import Console, Stage
from embodied.data.episodes import EpisodeStore
from embodied.evaluation.success import success_in
from embodied.machine import device_of
from embodied.run import Run
from embodied.stages import stage as perform
from embodied.training.collect import (
    DEMONSTRATIONS,
    PLAY,
    chosen_control,
    chosen_task,
    collect_demonstrations,
    collect_play,
    refuse_policy,
    refuse_world_model,
    spread_worlds,
    take_over,
    task_worlds,
)
from embodied.training.frontier import FrontierWorlds
from embodied.training.imagined import Imagine, dreamer
from embodied.training.imagined_worlds import WORLDS, ImaginedWorlds
from embodied.training.members import (
    WAITED,
    Assignment,
    load_members,
    model_config,
    train_config,
    train_members,
)
from embodied.training.onpolicy import OnPolicyTrainer
from embodied.training.pixels import pixels
from embodied.training.policy import DivergedError, PolicyTrainer
from embodied.training.reward import learned_reward
from embodied.training.shaped import judge_of
from embodied.training.shared import dismiss
from embodied.training.spread import SpreadWorlds
from envs.errors import EmbodiedError
from envs.experts import expert
from envs.headstart import HeadStart
from envs.sensing import sensors
from envs.worlds import TaskWorlds
from world_models.cjepa.ahead import Ahead
from world_models.cjepa.ensemble import Ensemble
from world_models.cjepa.model import WorldModel
from world_models.reward.analytic import AnalyticReward
from world_models.reward.audit import Audit, AuditConfig

VALIDATION = 2**30
"""Seeds from here on choose between checkpoints; training draws below, the final evaluation above 2**31."""
VALIDATION_EPISODES = 64
DIVERGED = "diverged"
"""The checkpoint that holds the batch from which learning could not go on."""
EVALUATIONS = 10
"""Points of the learning curve."""


def train(config: Config, run: Run, console: Console) -> None:
    """Run all stages. Raises `EmbodiedError` for a policy without a task, or without a world model that it needs."""
    import torch

    refuse_policy(config)
    refuse_world_model(config)
    torch.set_num_threads(1)
    if config.slots.source == "pixels":
        pixels(config, run, console)
    perform(run, console, "collect", lambda stage: _collect(config, run, stage))
    if config.trainer.model_episodes:
        perform(run, console, "world model", lambda stage: _world_model(config, run, stage))
    if config.agent.name != "planner":
        perform(run, console, "policy", lambda stage: _policy(config, run, stage))


def member_name(member: int) -> str:
    """The checkpoint of one member of the world model."""
    return f"world_model_{member}"


def _collect(config: Config, run: Run, stage: Stage) -> dict[str, Any]:
    results: dict[str, Any] = {}
    if config.trainer.data is not None:
        counts = take_over(config, run.folder)
        stage.result("taken over", ", ".join(f"{count} episodes of {name}" for name, count in counts.items()))
        return {"from": config.trainer.data, **counts}
    if config.trainer.demonstrations:
        tried = collect_demonstrations(config, run.folder, lambda n, of: stage.update(n, of, "demonstrations"))
        stage.result("demonstrations", str(config.trainer.demonstrations), f"of {tried} resets")
        results |= {"demonstrations": config.trainer.demonstrations, "resets": tried}
    if config.trainer.model_episodes:
        frames = collect_play(config, run.folder, lambda n, of: stage.update(n, of, "play"))
        stage.result("frames of play", str(frames))
        results |= {"play_episodes": config.trainer.model_episodes, "play_frames": frames}
    return results


def _world_model(config: Config, run: Run, stage: Stage) -> dict[str, Any]:
    device = device_of(config.device)
    seeds = np.random.SeedSequence(config.seed).spawn(config.world_model.members)
    assignments = [
        Assignment(
            member=member,
            seed=int(seeds[member].generate_state(1)[0]),
            model=model_config(config),
            training=train_config(config.world_model, device),
            episodes=run.folder / PLAY,
            checkpoint=run.path(member_name(member)),
            every=config.trainer.checkpoint_every,
            device=device,
        )
        for member in range(config.world_model.members)
    ]
    steps = {
        one.member: checkpoint.meta(one.checkpoint)["step"] if run.has(member_name(one.member)) else 0
        for one in assignments
    }
    for member, step in steps.items():
        run.rewind("world model", step, member=member)

    waited: dict[int, float] = {}

    def report(member: int, step: int, losses: dict[str, float]) -> None:
        steps[member] = step
        waited[member] = losses.pop(WAITED)
        run.log("world model", step, member=member, **losses)
        stage.update(sum(steps.values()), len(steps) * config.world_model.steps, f"position {losses['position']:.4f}")

    train_members(assignments, report)
    last = {line["member"]: line["position"] for line in run.metrics("world model")}
    loss = float(np.mean(list(last.values()))) if last else None
    if loss is not None:
        stage.result("position loss", f"{loss:.4f}")
    if waited:
        stage.result("waited for data", f"{max(waited.values()):.1%} of the time")
    return {"members": len(assignments), "position_loss": loss}


def _policy(config: Config, run: Run, stage: Stage) -> dict[str, Any]:
    trainer = (chunk_trainer if config.agent.name == "chunks" else policy_trainer)(config, run)
    best = -1.0
    if run.has("trainer"):
        state, meta = run.restore("trainer")
        trainer.load_state_dict(state)
        best = float(meta["best"])
    # Success at the step of the checkpoint itself is measured, and logged, once more.
    run.rewind("policy", trainer.steps - 1)
    vector_steps = -(-config.trainer.env_steps // trainer.worlds.worlds)
    block = max(1, -(-vector_steps // EVALUATIONS))
    while trainer.cloned < config.agent.cloning_steps and trainer.steps == 0:
        trainer.clone(min(250, config.agent.cloning_steps - trainer.cloned))
        stage.update(trainer.cloned, config.agent.cloning_steps, "imitating")
    count = min(VALIDATION_EPISODES, 4 * config.trainer.evaluation_episodes)
    validation = VALIDATION + config.seed * count + np.arange(count)
    # Chosen by the worlds as they nominally are, whatever varies while learning.
    nominal = replace(config, env=replace(config.env, variation=1.0, factors=""))
    tried = policy_worlds(nominal, run, count, 0)
    while True:
        rate = success_in(tried, trainer.policy, validation).at_end.value
        run.log("policy", trainer.steps, success=rate, **trainer.metrics())
        if rate >= best:
            best = rate
            run.save("policy", trainer.learner.state_dict(), distractors=list(trainer.distractors), success=rate)
        if trainer.steps >= vector_steps:
            break
        run.save("trainer", trainer.state_dict(), best=best)
        for _ in range(min(block, vector_steps - trainer.steps)):
            _advanced(trainer, run)
            if isinstance(trainer, PolicyTrainer) and trainer.frozen:
                raise drifted(config, trainer)
            if trainer.steps % 20 == 0:
                stage.update(trainer.steps, vector_steps, f"success {rate:.0%}")
    if isinstance(trainer, PolicyTrainer):
        dismiss(trainer.learner)
    stage.result("success on validation", f"{best:.1%}", f"{trainer.env_steps} steps")
    return {"success_on_validation": best, "env_steps": trainer.env_steps}


def _advanced(trainer: PolicyTrainer | OnPolicyTrainer, run: Run) -> None:
    """One step; the batch of a learner that diverges is saved, and named in the error."""
    try:
        trainer.advance(1)
    except DivergedError as error:
        arrays = {field.name: getattr(error.batch, field.name) for field in fields(error.batch)}
        run.save(DIVERGED, arrays, update=error.update)
        raise EmbodiedError(
            f"{error} It is saved in {run.path(DIVERGED)}; the same command goes on from the last checkpoint before."
        ) from error


def policy_trainer(config: Config, run: Run) -> PolicyTrainer:
    """The learner of a run's policy at its beginning, with the demonstrations that the run has collected."""
    agent = config.agent
    eased = HeadStart(agent.held_starts, agent.hovering_starts) if agent.held_starts + agent.hovering_starts else None
    wholly = agent.imagined == 1.0
    if agent.frontier and (wholly or config.env.workers):
        raise EmbodiedError("agent.frontier chooses among beginnings of the simulator in one process.")
    demonstrator = expert(config.env.task, chosen_task(config).scene.robot) if config.trainer.demonstrations else None
    worlds: TaskWorlds | SpreadWorlds | FrontierWorlds | ImaginedWorlds
    if wholly:
        worlds = policy_worlds(config, run, WORLDS, config.seed, eased)
    elif agent.frontier:
        own = task_worlds(config, config.env.worlds, config.seed, eased)
        worlds = FrontierWorlds(own, agent.frontier, config.seed, demonstrator)
    else:
        worlds = spread_worlds(config, config.env.worlds, config.seed, eased)
    demonstrations = EpisodeStore(run.folder / DEMONSTRATIONS) if config.trainer.demonstrations else ()
    learned = learned_reward(config.reward.network) if config.reward.network else None
    return PolicyTrainer(
        worlds,
        replace(agent, imagined=0.0) if wholly else agent,
        config.seed,
        demonstrations,
        # It would relabel what sensors said, and it knows to read the truth alone.
        demonstrator if sensors(config.env.sensors) is None else None,
        distractors=worlds.task.others,
        device=device_of(config.device),
        reward=(learned or AnalyticReward()) if config.reward.shaping else None,
        shaping=config.reward.shaping,
        judge=judge_of(learned) if learned else None,
        audit=Audit(AuditConfig(), np.random.default_rng((config.seed, 4))) if learned else None,
        imagine=_dreams(config, run) if 0.0 < agent.imagined < 1.0 else None,
    )


def chunk_trainer(config: Config, run: Run) -> OnPolicyTrainer:
    """The on-policy learner of a run's policy at its beginning; raises `EmbodiedError` for what it has no part in."""
    agent = config.agent
    other = {"reward.shaping": config.reward.shaping, "reward.network": config.reward.network,
             "agent.imagined": agent.imagined, "agent.frontier": agent.frontier}  # fmt: skip
    for name, value in other.items():
        if value:
            raise EmbodiedError(f"{name}={value} is for agent.name=td3; a policy of chunks is paid by success alone.")
    eased = HeadStart(agent.held_starts, agent.hovering_starts) if agent.held_starts + agent.hovering_starts else None
    worlds = spread_worlds(config, config.env.worlds, config.seed, eased)
    demonstrations = EpisodeStore(run.folder / DEMONSTRATIONS) if config.trainer.demonstrations else ()
    return OnPolicyTrainer(worlds, agent, config.seed, demonstrations, worlds.task.others)


def policy_worlds(
    config: Config, run: Run, worlds: int, seed: int, head_start: HeadStart | None = None
) -> TaskWorlds | ImaginedWorlds:
    """Worlds of the configured task to learn in or to be tried in: where all is imagined, by the run's own model."""
    real = task_worlds(config, worlds, seed, head_start)
    if config.agent.imagined < 1.0:
        return real
    members = [Ahead(Ensemble([member]), chosen_control(config)) for member in _members(config, run)]
    return ImaginedWorlds(real, members, config.world_model.history)


def drifted(config: Config, trainer: PolicyTrainer) -> EmbodiedError:
    """What to say where the audit stopped learning."""
    audit = trainer.audit
    counts = f"{audit.wrong} of {audit.audited}" if audit else "Too many"
    return EmbodiedError(
        f"{counts} audited successes, claimed by the network of {config.reward.network}, were false: learning stopped "
        f"after {trainer.env_steps} steps. The best policy so far is kept. Train the network longer (embodied reward "
        "reward.steps=...), or learn from exact margins: reward.network=null."
    )


def _dreams(config: Config, run: Run) -> Imagine:
    """The run's own world model, for the policy to learn in."""
    return dreamer(Ensemble(_members(config, run)), chosen_control(config))


def _members(config: Config, run: Run) -> list[WorldModel]:
    paths = [run.path(member_name(member)) for member in range(config.world_model.members)]
    return load_members(paths, model_config(config))
