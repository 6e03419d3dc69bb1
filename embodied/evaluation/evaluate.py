"""`embodied evaluate`: success of a run's policy on unseen beginnings, beside the expert and chance."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np

from embodied.agents.policies import RandomPolicy
from embodied.arguments import EvaluateArguments
from embodied.checkpoint import write_atomically
from embodied.config import Config
from embodied.console import Console
from embodied.evaluation.robustness import robustness, rows_of
from embodied.evaluation.statistics import Estimate
from embodied.evaluation.success import held_out_seeds, success
from embodied.run import Run
from embodied.schema import from_dict
from embodied.training.collect import chosen_control, chosen_engine, chosen_task
from embodied.training.policies import load_policy
from envs.episode import Policy
from envs.experts import expert
from envs.sensing import sensors

FILE, ROBUSTNESS = "evaluation.json", "robustness.json"


def evaluate(arguments: EvaluateArguments, console: Console) -> None:
    """Measure and print; the page takes the numbers from the run folder. Raises `EmbodiedError` without a policy."""
    run = Run.load(arguments.run)
    config = from_dict(Config, run.config)
    if arguments.variation:
        _robustness(run, config, arguments, console)
        return
    measured = measure(run, config, arguments.episodes, arguments.seed)
    rows = [[name, percent(each["at_end"]), percent(each["ever"])] for name, each in measured["policies"].items()]
    console.table(
        ["policy", "success at the end", "at any time"],
        rows,
        title=f"{config.env.task}, {arguments.episodes} unseen resets, 95 % intervals",
    )


def _robustness(run: Run, config: Config, arguments: EvaluateArguments, console: Console) -> None:
    """The robustness table, printed and kept in `robustness.json`."""
    rows, task, control = rows_of(arguments.variation), chosen_task(config), chosen_control(config)
    policies: dict[str, Policy] = {"learned": load_policy(run, config)}
    if control.spec.names[0] == "x":
        policies["expert"] = expert(config.env.task, task.scene.robot)
    seeds = held_out_seeds(arguments.seed, arguments.episodes)
    found = robustness(
        policies, task, seeds, rows, control, config.env.threads, sensors(config.env.sensors),
        chosen_engine(config),
    )  # fmt: skip
    table = [
        [name, str(rows[name]), *(text for row in each.values() for text in (percent(row.at_end.as_dict()),
                                                                            percent(row.lost.as_dict())))]
        for name, each in found.items()
    ]  # fmt: skip
    console.table(
        ["factor", "range", *(text for name in policies for text in (name, f"{name} lost"))],
        table,
        title=f"{config.env.task}, the same {arguments.episodes} unseen resets in each row, 95 % intervals",
    )
    record = {
        "task": config.env.task, "episodes": arguments.episodes, "seed": arguments.seed,
        "rows": {name: {who: row.as_dict() for who, row in each.items()} for name, each in found.items()},
    }  # fmt: skip
    write_atomically(run.folder / ROBUSTNESS, (json.dumps(record, indent=2) + "\n").encode())


def measure(
    run: Run,
    config: Config,
    episodes: int,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Success of the learned policy, the expert and chance on the same unseen beginnings; kept in `evaluation.json`.

    Raises `EmbodiedError` where the run has no policy.
    """
    task, control = chosen_task(config), chosen_control(config)
    policies: dict[str, Policy] = {"learned": load_policy(run, config)}
    if control.spec.names[0] == "x":
        policies["expert"] = expert(config.env.task, task.scene.robot)
    policies["random"] = RandomPolicy(control.spec, np.random.default_rng((config.seed, seed)))
    seeds = held_out_seeds(seed, episodes)
    found: dict[str, Any] = {}
    for done, (name, policy) in enumerate(policies.items()):
        result = success(
            policy, task, seeds, control, config.env.threads, sensors=sensors(config.env.sensors),
            engine=chosen_engine(config),
        )  # fmt: skip
        found[name] = {
            "at_end": result.at_end.as_dict(),
            "ever": result.ever.as_dict(),
            "steps": None if np.isnan(result.steps) else result.steps,
        }
        if progress is not None:
            progress(done + 1, len(policies))
    measured = {"task": config.env.task, "goal": str(task.goal), "episodes": episodes, "seed": seed, "policies": found}
    write_atomically(run.folder / FILE, (json.dumps(measured, indent=2) + "\n").encode())
    return measured


def percent(values: dict[str, Any]) -> str:
    """A rate and its interval as text."""
    estimate = Estimate.from_dict(values)
    return f"{100 * estimate.value:.1f} % [{100 * estimate.low:.1f}, {100 * estimate.high:.1f}]"
