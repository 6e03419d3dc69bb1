"""`embodied deploy`: a policy on an arm, behind the governor, with every episode recorded as it was carried out."""

import contextlib
import json
import math
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from embodied.checkpoint import write_atomically
from embodied.config import Config, DeployArguments
from embodied.console import Console
from embodied.data.episodes import EpisodeStore
from embodied.data.journal import Journal, Told
from embodied.evaluation.evaluate import percent
from embodied.evaluation.statistics import wilson
from embodied.evaluation.success import held_out_seeds
from embodied.machine import versions
from embodied.run import Run
from embodied.schema import from_dict
from embodied.training.collect import chosen_control, chosen_task
from embodied.training.policies import load_policy
from envs.control import CartesianDelta, Controller
from envs.errors import EmbodiedError
from envs.experts import expert
from envs.kinematics import JOINT_HIGH, JOINT_LOW, JOINTS
from envs.robot import HOME
from envs.servo import SERVOS
from envs.task import Task
from envs.tasks import task as named_task
from envs.types import Array, Observation, Policy
from robots.governor.client import SupervisedArm
from robots.governor.guard import Report
from robots.governor.limits import Limits
from robots.governor.supervisor import SupervisorConfig
from robots.perception.truth import TruthPerceiver
from robots.twin.process import TwinProcess, tell
from robots.twin.server import TwinConfig

SLOW = 0.25
"""Factor on speed of `mode=slow`."""
EXPERT = "expert"
"""In place of a run: the task's scripted demonstrator."""
STRIDE = 0.08
"""[rad] per control step with which the arm is led to a start."""
NEAR = 0.03
"""[rad] from the start, where it counts as reached; the gripper may be as far off as jaws are that hold something."""


@dataclass(frozen=True)
class Deployed:
    """What is carried out."""

    task: Task
    control: Controller
    policy: Policy
    servo: str


def chosen(arguments: DeployArguments) -> Deployed:
    """The policy and its task. Raises `EmbodiedError` for one that does not move an SO-101."""
    if arguments.run == EXPERT:
        found = named_task(arguments.task)
        return Deployed(found, CartesianDelta(), expert(arguments.task), "firm")
    run = Run.load(arguments.run)
    config = from_dict(Config, run.config)
    if config.env.play != "tabletop":
        raise EmbodiedError(f"The policy of {arguments.run} moves a pusher; port={arguments.port} is an SO-101.")
    return Deployed(chosen_task(config), chosen_control(config), load_policy(run, config), config.robot.servo)


def deploy(arguments: DeployArguments, console: Console) -> int:
    """Run episodes and record them; 1 if the governor had to stop the arm.

    Raises `EmbodiedError` for a policy of another action space, and with the supervisor's sentence for an arm that
    cannot be had.
    """
    what = chosen(arguments)
    if what.control.joints != JOINTS:
        raise EmbodiedError(f"The policy commands {', '.join(what.control.joints)}; an SO-101 has {', '.join(JOINTS)}.")
    folder = Path(arguments.record)
    journal = Journal(EpisodeStore(folder / "episodes"))
    if journal.recovered:
        console.say(f"kept {journal.recovered} steps of an episode that was not ended")
    with twin(arguments, what.servo) as (port, calibration, place):
        config = SupervisorConfig(
            arm={"port": port, "robot": arguments.driver, "id": arguments.id, "calibration": calibration},
            limits=Limits(speed=SLOW if arguments.mode == "slow" else 1.0, silence=arguments.silence),
            rate=arguments.rate,
            moving=arguments.mode != "shadow",
        )
        scene = replace(what.task.scene, servo=SERVOS[what.servo])
        with SupervisedArm(config) as arm:
            deployment = _Deployment(what, arguments, arm, TruthPerceiver(scene, place), journal, console)
            outcome = deployment.episodes(place)
            finished = arm.finish()
    record = {**outcome, "loop": finished, "mode": arguments.mode, "perception": "the twin's truth", "port": port,
              "task": what.task.name, "versions": versions()}  # fmt: skip
    write_atomically(folder / "deploy.json", (json.dumps(record, indent=2) + "\n").encode())
    _say(record, arguments, console)
    return 1 if outcome["fault"] else 0


@contextlib.contextmanager
def twin(arguments: DeployArguments, servo: str) -> Iterator[tuple[str, str | None, Any]]:
    """Port, calibration folder, and what tells the twin: one of its own for `port=twin`, or one that runs already.

    Raises `EmbodiedError` for the port of a real arm, whose objects nothing perceives here yet.
    """
    if arguments.port == "twin":
        folder = Path(arguments.record) / "twin"
        settings = TwinConfig(task=arguments.task, servo=arguments.servo or servo, folder=str(folder), picture=0.0,
                              clock=arguments.clock)  # fmt: skip
        with TwinProcess(settings) as process:
            yield process.port, str(folder), process.tell
        return
    folder = Path(arguments.port).parent
    if not (folder / "control").exists():
        raise EmbodiedError(
            f"{arguments.port} is no twin's port, and what lies before a real arm is not perceived here yet: "
            "use port=twin, or the port of a running embodied twin, e.g. runs/twin/port."
        )
    yield arguments.port, str(folder), lambda text: tell(folder, text)


class _Deployment:
    """Episodes of one policy on one arm."""

    def __init__(
        self, what: Deployed, arguments: DeployArguments, arm: SupervisedArm, perceiver: TruthPerceiver,
        journal: Journal, console: Console,
    ) -> None:  # fmt: skip
        self.what, self.arguments, self.arm, self.perceiver = what, arguments, arm, perceiver
        self.journal, self.console = journal, console
        # A step of the policy is as many servo ticks; with slower limits it takes longer to get as far.
        pace = 1.0 / SLOW if arguments.mode == "slow" else 1.0
        self.ticks = round(pace * arguments.rate / what.control.spec.rate)
        if self.ticks < 1 or abs(self.ticks * what.control.spec.rate - pace * arguments.rate) > 1e-6:
            raise EmbodiedError(
                f"rate={arguments.rate:g} is no multiple of the policy's {what.control.spec.rate:g} Hz; 50 and 100 are."
            )
        self.cuts: Counter[str] = Counter()
        self.fault: str | None = None

    def episodes(self, place: Any) -> dict[str, Any]:
        """Run them; stops at the first fault."""
        succeeded, each = [], []
        for seed in held_out_seeds(self.arguments.seed, self.arguments.episodes):
            layout = self.what.task.layout([np.random.default_rng(int(seed))])
            if self.arguments.mode != "shadow" and not self._lead(layout.joints[0]):
                break
            place(f"lay({seed})")
            if self.arguments.mode == "slow" and not _agreed(self.console):
                break
            before = self.cuts.copy()
            succeeded.append(self._episode(int(seed), layout))
            cut = self.cuts - before
            each.append({"seed": int(seed), "success": succeeded[-1], "cut": dict(cut)})
            if self.fault is not None:
                break
            self.arm.rest()
        count = len(succeeded)
        success = wilson(sum(succeeded), count).as_dict() if count else None
        return {"episodes": count, "success": success, "fault": self.fault, "cut": dict(self.cuts), "each": each}

    def _episode(self, seed: int, layout: Any) -> bool:
        task, control = self.what.task, self.what.control
        if task.goal_entity == "bin":
            self.arm.place_bin(np.concatenate([layout.goal_position[0], layout.goal_quaternion[0]]))
        self.what.policy.reset()
        report = self.arm.ready()
        began = report.reading.time if report.reading is not None else math.nan
        observation = self._observe(report, began)
        holds = bool(task.goal.satisfied(observation.objects))
        robot = f"so101 ({self.what.servo}, {self.arguments.mode}, on a twin)"
        self.journal.begin(Told(task.goal, seed, task.name, robot, versions()), observation, holds)
        for _ in range(task.horizon):
            action = np.asarray(self.what.policy.act(_batched(observation), task.goal))[0]
            # Not clipped to be finite: the governor refuses it, and says so.
            self.arm.go(control.target(report.base[None], np.clip(action, -1.0, 1.0)[None])[0], self.ticks)
            report = self._carried_out()
            if report.reading is None or report.fault is not None:
                self.fault = report.fault
                break
            observation = self._observe(report, began)
            holds = bool(task.goal.satisfied(observation.objects))
            self.journal.add(absolute(report.command), observation, holds)
        self.journal.end()
        return holds

    def _carried_out(self) -> Report:
        """The report at the end of the order that was just given; what was cut on the way is counted."""
        report = self.arm.ready()
        self.cuts.update({why.partition(" of ")[0] for why in report.cut})
        return report

    def _observe(self, report: Report, began: float) -> Observation:
        if report.reading is None:
            raise EmbodiedError(f"There is nothing to show the policy: {report.fault}.")
        return self.perceiver.observe(report.reading, report.base, report.reading.time - began)

    def _lead(self, joints: Array) -> bool:
        """Lead the arm to `joints` `[6]` [rad], by way of a posture above the table."""
        report = self.arm.ready()
        for posture in (np.append(HOME[:5], joints[5]), joints):
            left = 2 * math.ceil(np.pi / STRIDE)
            while np.abs(posture - report.command).max() > NEAR:
                away = posture - report.base
                self.arm.go(report.base + away * min(1.0, STRIDE / np.abs(away).max()), self.ticks)
                report = self._carried_out()
                left -= 1
                if report.fault is not None or left == 0:
                    self.fault = report.fault or f"the arm cannot get to its start ({', '.join(report.cut)})"
                    return False
        self.arm.rest()
        return True


def absolute(command: Array) -> Array:
    """The action in -1..1 of `envs.control.JointAbsolute` that a joint command `[6]` [rad] stands for."""
    low, high = np.array(JOINT_LOW), np.array(JOINT_HIGH)
    return 2.0 * (command - low) / (high - low) - 1.0


def _batched(observation: Observation) -> Observation:
    return observation.map(lambda array: np.asarray(array)[None])


def _agreed(console: Console) -> bool:
    console.say("next episode? [enter], or q to stop")
    return not sys.stdin.readline().strip().lower().startswith("q")


def _say(record: dict[str, Any], arguments: DeployArguments, console: Console) -> None:
    if record["success"] is not None:
        console.say(f"success  {percent(record['success'])} of {record['episodes']} episodes at the end")
    console.say(f"cut      {', '.join(f'{why} {steps} steps' for why, steps in record['cut'].items()) or 'nothing'}")
    loop = record["loop"]
    console.say(f"loop     {loop['rate']:.2f} Hz of {arguments.rate:g}, {loop['missed']} ticks missed")
    if record["fault"]:
        console.say(f"stopped  {record['fault']}")
    if loop["powered"]:
        console.say(f"POWERED  {', '.join(loop['powered'])} may have torque still: cut the arm's power.")
    console.say(f"recorded {arguments.record}")
