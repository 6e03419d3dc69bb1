"""Episodes of one policy on one arm: led to a start, told step by step, recorded as they were carried out."""

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from embodied.data.journal import Journal, Told
from embodied.machine import versions
from envs.control import Controller
from envs.episode import Origin, Policy
from envs.errors import EmbodiedError
from envs.layout import Layout
from envs.robot import arm_of, joint_range, robot_of
from envs.task import Task
from envs.types import Array, Observation
from robots.arm.kinds import kind_of
from robots.governor.client import SupervisedArm
from robots.governor.guard import Report, State
from robots.governor.stepped import SteppedArm
from robots.perception.contract import Senses

SLOW = 0.2
"""Factor on speed of `mode=slow`."""
STRIDE = 0.08
"""[rad] per control step with which the arm is led somewhere."""
NEAR = 0.03
"""[rad] from a posture, where it counts as reached."""


@dataclass(frozen=True)
class Assignment:
    """What is carried out."""

    task: Task
    control: Controller
    policy: Policy
    servo: str | None
    """Whose servos the policy was trained with, a name in `envs.servo.SERVOS`; None are the robot's own."""

    @property
    def robot(self) -> str:
        """What moves, a name that `envs.robot.robot_of` takes."""
        return self.task.scene.robot


@dataclass(frozen=True)
class Manner:
    """How it is carried out."""

    mode: str
    """`shadow`, `slow` or `full`."""
    rate: float
    """Servo ticks per second [Hz]."""
    robot: str
    """What episodes say of the arm."""
    begin: Callable[[int], bool]
    """Told each beginning's seed once the arm is at its start: objects are laid out then. False ends it all."""
    origin: Callable[[int], Origin | None]
    """Whence the beginning of that seed comes, where it can be begun again."""
    show: Callable[[int, Report, Array], None]
    """Told each step: its number, what came of it, and the joints [rad] that the policy asked for."""


@dataclass
class Outcome:
    """What came of it."""

    each: list[dict[str, Any]] = field(default_factory=list)
    """Per episode `seed`, `success` at the end, `steps`, and `cut`: why, and in how many steps."""
    cut: Counter[str] = field(default_factory=Counter)
    """The same of everything, ways to beginnings included."""
    fault: str | None = None
    """Why the governor stopped the arm."""
    lost: bool = False
    """The servos do not answer, and nobody could take their torque off yet."""


class Deployment:
    """Owns an arm until it is finished with it."""

    def __init__(
        self, assignment: Assignment, manner: Manner, arm: SupervisedArm | SteppedArm, senses: Senses, journal: Journal
    ) -> None:
        """Raises `EmbodiedError` where servo ticks and the policy's steps do not go together."""
        self.assignment, self.manner, self.arm, self.senses, self.journal = assignment, manner, arm, senses, journal
        self._ticks = ticks(manner.rate, assignment.control.spec.rate)
        # With slower limits a step takes longer to get as far. It is told in parts: an arm that hears nothing stops.
        self._parts = round(1.0 / SLOW) if manner.mode == "slow" else 1
        # Policies have learned on servos that are told at once where to be at the end of a step; an arm that is told
        # bit by bit trails by half a step. What is too fast or too sudden, the limits take out.
        self._ramp = None if manner.mode == "slow" else 1
        self._home = np.array(robot_of(assignment.robot).home)
        self.outcome = Outcome()

    def run(self, seeds: Iterable[int]) -> Outcome:
        """An episode per seed; ends early with the first fault, or where `begin` does not want another."""
        task, moving = self.assignment.task, self.manner.mode != "shadow"
        for seed in seeds:
            layout = task.layout([np.random.default_rng(seed)])
            if moving and not self._lead(np.append(self._home[:-1], layout.joints[0, -1]), layout.joints[0]):
                break
            if not self.manner.begin(seed):
                break
            before = self.outcome.cut.copy()
            success, steps = self._episode(seed, layout)
            cut = dict(self.outcome.cut - before)
            self.outcome.each.append({"seed": seed, "success": success, "steps": steps, "cut": cut})
            if self.outcome.fault is not None:
                break
            self.arm.rest()
        if self.outcome.fault is not None:
            self._come_to_rest()
        elif moving:
            self._lead(np.append(self._home[:-1], 0.0), resting(self.assignment.robot))
        return self.outcome

    def _episode(self, seed: int, layout: Layout) -> tuple[bool, int]:
        """Whether the goal holds at the end, and steps that were carried out."""
        task, control, policy = self.assignment.task, self.assignment.control, self.assignment.policy
        if task.goal_entity == "bin" and layout.goal_position is not None and layout.goal_quaternion is not None:
            self.arm.place_bin(np.concatenate([layout.goal_position[0], layout.goal_quaternion[0]]))
        policy.reset()
        self.senses.begin(layout)
        report = self.arm.ready()
        if report.reading is None or report.fault is not None:
            self.outcome.fault = report.fault
            return False, 0
        began = report.reading.time
        observation = self.senses.observe(report.reading, report.base, 0.0)
        if not observation.objects.present[observation.objects.index(task.subject)]:
            raise EmbodiedError(
                f"The {task.subject} is not seen by {self.senses.source}: put it where it is, and start again."
            )
        holds = bool(task.goal.satisfied(observation.objects))
        told = Told(task.goal, seed, task.name, self.manner.robot, versions(), self.manner.origin(seed))
        self.journal.begin(told, observation, holds)
        for step in range(task.horizon):
            # An action that is not finite is passed on: the governor refuses it, and says so.
            action = np.clip(np.asarray(policy.act(_batched(observation), task.goal))[0], -1.0, 1.0)
            wanted = control.target(report.base[None], action[None])[0]
            report = self._go(wanted, self._ramp)
            self.manner.show(step, report, wanted)
            if report.reading is None or report.fault is not None:
                self.outcome.fault = report.fault
                self.journal.end()
                return holds, step
            observation = self.senses.observe(report.reading, report.base, report.reading.time - began)
            holds = bool(task.goal.satisfied(observation.objects))
            # Of a limp arm, what was carried out is where somebody's hand has led it.
            executed = report.reading.position if self.manner.mode == "shadow" else report.command
            self.journal.add(absolute(executed, self.assignment.robot), observation, holds)
        self.journal.end()
        return holds, task.horizon

    def _go(self, wanted: Array, ramp: int | None = None) -> Report:
        """The report once the arm was led to `wanted` `[6]` [rad], or stopped; what was cut is counted once."""
        start, cut = self.arm.report().base if self._parts > 1 else wanted, set[str]()
        for part in range(1, self._parts + 1):
            target = wanted if part == self._parts else start + part / self._parts * (wanted - start)
            self.arm.go(target, self._ticks, ramp)
            report = self.arm.ready()
            cut |= {why.partition(" of ")[0] for why in report.cut}
            if report.fault is not None:
                break
        self.outcome.cut.update(cut)
        return report

    def _lead(self, *postures: Array) -> bool:
        """Lead the arm by way of postures `[6]` [rad]; False if it does not get there."""
        report = self.arm.ready()
        for posture in postures:
            left = 2 * math.ceil(np.pi / STRIDE)
            while report.fault is None and np.abs(posture - report.command).max() > NEAR:
                away = posture - report.base
                report = self._go(report.base + away * min(1.0, STRIDE / np.abs(away).max()))
                left -= 1
                if left == 0:
                    report = self.arm.report()
                    self.outcome.fault = f"the arm cannot get to its start ({', '.join(report.cut) or 'it lags'})"
                    return False
        if report.fault is not None:
            self.outcome.fault = report.fault
            return False
        self.arm.rest()
        return True

    def _come_to_rest(self) -> None:
        """Wait until the guard has lowered the arm and let it go."""
        report = self.arm.report()
        # An arm that answers nothing is tried again for ever; the last word on it is `finish`.
        while report.fault is not None and report.state not in (State.RELEASED, State.LOST):
            report = self.arm.report()
        self.outcome.lost = report.state is State.LOST


def ticks(rate: float, policy_rate: float) -> int:
    """Servo ticks [at `rate` Hz] of a policy's step; raises `EmbodiedError` where steps are no whole number of them."""
    count = round(rate / policy_rate)
    if count < 1 or abs(count * policy_rate - rate) > 1e-6:
        raise EmbodiedError(
            f"rate={rate:g} is no multiple of the policy's {policy_rate:g} Hz; "
            f"{5 * policy_rate:g} and {10 * policy_rate:g} are."
        )
    return count


def resting(robot: str) -> Array:
    """`[6]` [rad] Low, and beside where objects begin: from here an arm that is let go sinks by little."""
    where = np.array(kind_of(robot).rest)
    return np.append(arm_of(robot).project(where, np.zeros(())).joints, 0.0)


def absolute(joints: Array, robot: str = "so101") -> Array:
    """The action in -1..1 of `envs.control.JointAbsolute` that joints `[6]` [rad] stand for, beyond it what is."""
    low, high = joint_range(robot).T
    return 2.0 * (joints - low) / (high - low) - 1.0


def _batched(observation: Observation) -> Observation:
    return observation.map(lambda array: np.asarray(array)[None])
