"""The checks that make a task a task: not done at the start, done by its expert, not by standing still or by chance."""

from dataclasses import dataclass

import numpy as np

from envs.errors import EmbodiedError
from envs.experts import expert
from envs.task import Task
from envs.worlds import TaskWorlds


@dataclass(frozen=True)
class Validation:
    """What was measured over N resets of a task; rates in 0..1."""

    task: str
    resets: int
    done_at_reset: float
    expert: float
    zero: float
    random: float
    repeatable: bool
    """Two simulations with the same seeds ended in bit-identical states."""

    def check(self, expert: float = 0.97, chance: float = 0.05) -> None:
        """Raise `EmbodiedError` naming what is wrong with the task."""
        faults = [
            (self.done_at_reset > 0, f"it is already done at {self.done_at_reset:.1%} of resets"),
            (self.expert < expert, f"its expert succeeds at {self.expert:.1%}, below {expert:.0%}"),
            (self.zero > chance, f"standing still succeeds at {self.zero:.1%}"),
            (self.random > chance, f"random actions succeed at {self.random:.1%}"),
            (not self.repeatable, "the same seeds do not give the same episode"),
        ]
        found = [sentence for wrong, sentence in faults if wrong]
        if found:
            raise EmbodiedError(f"Task {self.task!r} is not valid: {'; '.join(found)}.")


def validate(task: Task, resets: int = 128, seed: int = 0, threads: int = 0) -> Validation:
    """Run the checks over `resets` beginnings of `task`."""
    worlds = TaskWorlds(task, resets, threads=threads)
    seeds = np.arange(seed, seed + resets)
    start = worlds.reset(seeds=seeds)
    done = np.asarray(task.goal.satisfied(start.objects))
    demonstrator = expert(task.name, task.scene.robot)
    size = worlds.simulation.control.spec.size
    rng = np.random.default_rng(seed)

    def run(act: str) -> float:
        worlds.reset(seeds=seeds)
        for _ in range(task.horizon):
            if act == "expert":
                action = demonstrator.act(worlds.observation, task.goal)
            elif act == "zero":
                action = np.zeros((resets, size))
            else:
                action = rng.uniform(-1.0, 1.0, (resets, size))
            success = worlds.step(action).success
        return float(np.mean(success))

    expert_rate = run("expert")
    ended = worlds.simulation.save().rows
    run("expert")
    repeatable = bool(np.array_equal(ended, worlds.simulation.save().rows))
    return Validation(
        task=task.name,
        resets=resets,
        done_at_reset=float(np.mean(done)),
        expert=expert_rate,
        zero=run("zero"),
        random=run("random"),
        repeatable=repeatable,
    )
