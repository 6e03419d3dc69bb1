"""`embodied deploy`: what is asked for, what came of it, for a person and as `deploy.json`."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from embodied.arguments import DeployArguments
from embodied.config import Config
from embodied.console import Console
from embodied.data.episodes import EpisodeStore
from embodied.data.journal import Journal
from embodied.deploy import record
from embodied.deploy.episodes import SLOW, Assignment, Deployment, Manner, ticks
from embodied.deploy.site import OWN, Site, arm_at, senses_at, site
from embodied.evaluation.evaluate import percent
from embodied.evaluation.success import held_out_seeds
from embodied.machine import versions
from embodied.run import Run
from embodied.schema import from_dict
from embodied.training.collect import chosen_control, chosen_task
from embodied.training.policies import load_policy
from envs.control import Controller
from envs.episode import OTHER, Origin, Policy
from envs.errors import EmbodiedError
from envs.experts import expert
from envs.fixtures import OBSTACLES
from envs.robot import default_control
from envs.scene import SceneConfig, build_scene
from envs.servo_file import named_servos
from envs.so101 import JOINTS
from envs.task import Task
from envs.tasks import task as named_task
from envs.types import Array
from envs.variation import Variation, count, drawn
from robots.arm.kinds import KINDS, kind_of
from robots.governor.guard import Report
from robots.governor.limits import FASTEST

WAIT = 60.0
"""[s] for servos that have stopped answering, to take their torque off."""
EXPERT = "expert"
"""In place of a run: the task's scripted demonstrator."""


def deploy(arguments: DeployArguments, console: Console) -> int:
    """Run episodes and record them; 1 if the governor had to stop the arm. Raises `EmbodiedError` like `carry_out`."""
    told = carry_out(arguments, assigned(arguments), console)
    _say(told, arguments, console)
    return 1 if told["fault"] else 0


def assigned(arguments: DeployArguments) -> Assignment:
    """The policy and its task. Raises `EmbodiedError` for one that does not move such an arm on its table."""
    if arguments.run == EXPERT:
        robot, own = arguments.robot, named_task(arguments.task)
        # Who else does it does it in place of a lone SO-101; a task of two arms is refused as what it is.
        found = named_task(arguments.task, robot=robot) if own.scene.robot == SceneConfig.robot else own
        task, control = _suited(found, default_control(found.scene.robot), robot)
        return Assignment(task, control, expert(arguments.task, robot), "firm" if robot == "so101" else None)
    run = Run.load(arguments.run)
    config = from_dict(Config, run.config)
    if config.env.play != "tabletop":
        raise EmbodiedError(
            f"The policy of {arguments.run} moves a pusher; an arm has {', '.join(JOINTS)}. Choose a run of "
            "embodied train env=place, or run=expert."
        )
    task, control = _suited(chosen_task(config), chosen_control(config), arguments.robot)
    policy: Policy = load_policy(run, config)
    return Assignment(task, control, policy, config.robot.servo)


def _suited(task: Task, control: Controller, robot: str) -> tuple[Task, Controller]:
    if control.joints != JOINTS or task.scene.robot != robot:
        own = task.scene.robot
        cure = f"Say robot={own}" if own in KINDS else "Choose a run of embodied train env=place"
        raise EmbodiedError(
            f"The policy of {task.name} moves {task.scene.robot} by {', '.join(control.spec.names)}; one {robot} with "
            f"{', '.join(JOINTS)} is here. {cure}, or run=expert."
        )
    if obstacles := [name for name in task.scene.fixtures if name in OBSTACLES]:
        raise EmbodiedError(
            f"The policy was trained among obstacles ({', '.join(obstacles)}), which cannot be deployed, for nothing "
            "sees where they stand; choose a run without env.obstacles."
        )
    if task.scene.fixtures:
        raise EmbodiedError(
            f"Nothing tells how far {', '.join(task.scene.fixtures)} of the task {task.name} is open; deploy a task "
            "without fixtures: a run of embodied train env=place, or run=expert task=place."
        )
    return task, control


def carry_out(arguments: DeployArguments, assignment: Assignment, console: Console) -> dict[str, Any]:
    """What came of this start, which `deploy.json` holds beside what those came to that it goes on from.

    What was done is written as well when it is interrupted. Raises `EmbodiedError` with the supervisor's sentence for
    an arm that cannot be had, and for settings that do not go together.
    """
    folder, task = Path(arguments.record), assignment.task
    _check_rate(arguments, assignment)
    scene = task.scene
    if assignment.servo is not None:
        scene = replace(scene, servo=named_servos(assignment.servo))
    own = kind_of(assignment.robot).limits
    limits = replace(own, speed=SLOW if arguments.mode == "slow" else 1.0, silence=arguments.silence)
    beginnings = held_out_seeds(arguments.seed, arguments.first + arguments.episodes)
    seeds = [int(seed) for seed in beginnings[arguments.first :]]
    told: dict[str, Any] = {
        "run": arguments.run, "seed": arguments.seed, "robot": assignment.robot, "task": task.name,
        "mode": arguments.mode, "port": arguments.port, "versions": versions(),
        "loop": None, "twin_late_s": None,
    }  # fmt: skip
    deployment: Deployment | None = None
    try:
        with (
            Journal(EpisodeStore(folder / "episodes")) as journal,
            site(arguments, assignment.servo, task) as place,
            senses_at(place, arguments, scene) as senses,
            arm_at(place, arguments, limits) as arm,
        ):
            told |= {"perception": senses.source, "twin": place.tell is not None}
            if journal.recovered:
                console.say(f"kept {journal.recovered} steps of an episode that was not ended")
            manner = _manner(place, assignment, scene, arguments, console)
            late = _late(place)
            deployment = Deployment(assignment, manner, arm, senses, journal)
            outcome = deployment.run(seeds)
            told["twin_late_s"] = _late(place) - late
            if outcome.lost:
                console.say(
                    f"LOST     {outcome.fault}. The servos hold their torque until somebody tells them: put the cable "
                    f"or the power back within {WAIT:g} s, and it is taken off; or cut the arm's power."
                )
            told["loop"] = arm.finish(WAIT)
    except (KeyboardInterrupt, EmbodiedError):
        if deployment is not None:
            record.write_interrupted(folder, told | record.results(deployment.outcome), arguments.first)
            done = len(deployment.outcome.each)
            going_on = f"first={arguments.first + done} goes on after them"
            console.say(f"recorded {done} whole episodes in {folder}; {going_on}")
        raise
    told |= record.results(outcome)
    record.write(folder, told, arguments.first)
    return told


def _manner(
    place: Site, assignment: Assignment, scene: SceneConfig, arguments: DeployArguments, console: Console
) -> Manner:
    on_twin = ", on a twin" if place.tell else ""
    return Manner(
        mode=arguments.mode,
        rate=arguments.rate,
        robot=f"{assignment.robot} ({assignment.servo or 'own'}, {arguments.mode}{on_twin})",
        begin=_beginning(place, assignment, arguments, console),
        origin=_origin(assignment, scene, arguments),
        show=_shown(arguments, console),
    )


def _check_rate(arguments: DeployArguments, assignment: Assignment) -> None:
    """Raise `EmbodiedError` unless servo ticks fit a policy's steps and, with `clock=reads`, the twin's physics."""
    policy_rate, timestep = assignment.control.spec.rate, assignment.task.scene.physics.timestep
    ticks(arguments.rate, policy_rate)
    if arguments.clock != "reads" or _whole(1.0 / (arguments.rate * timestep)):
        return
    multiples = (count * policy_rate for count in range(1, int(FASTEST / policy_rate) + 1))
    allowed = ", ".join(f"{rate:g}" for rate in multiples if _whole(1.0 / (rate * timestep)))
    cure = f"with this policy, rate={allowed} are" if allowed else "no rate of this policy is; use clock=wall"
    raise EmbodiedError(
        f"rate={arguments.rate:g} was given with clock=reads, where a tick is a whole number of physics steps of "
        f"{1e3 * timestep:g} ms: {cure}."
    )


def _whole(number: float) -> bool:
    return abs(number - round(number)) < 1e-6


def _late(place: Site) -> float:
    """[s] that a twin has given up so far, because it was not run in time."""
    return 0.0 if place.tell is None else float(place.tell("truth()")["lost"])


def _beginning(
    place: Site, assignment: Assignment, arguments: DeployArguments, console: Console
) -> Callable[[int], bool]:
    """Lays the twin's table, or says how to lay the real one; asks where the mode does, and before every real one."""

    def begin(seed: int) -> bool:
        if place.tell is not None:
            place.tell(f"lay({seed})")
        else:
            layout = assignment.task.layout([np.random.default_rng(seed)])
            for name, (x, y, _) in zip(assignment.task.scene.objects, layout.object_position[0], strict=True):
                console.say(f"put {name} anywhere near x={100 * x:.0f} y={100 * y:.0f} cm")
            if layout.goal_position is not None:
                x, y, _ = layout.goal_position[0]
                console.say(f"the {assignment.task.goal_entity} is at x={100 * x:.1f} y={100 * y:.1f} cm")
        if arguments.mode != "slow" and place.tell is not None:
            return True
        return console.agreed("next episode?")

    return begin


def _origin(assignment: Assignment, scene: SceneConfig, arguments: DeployArguments) -> Callable[[int], Origin | None]:
    """Of a twin that was started for this; what another draws it does not say, and a real table nobody draws."""
    many = count(build_scene(scene))

    def origin(seed: int) -> Origin | None:
        if arguments.port != OWN:
            return None
        spread = (1.0 / arguments.variation, arguments.variation)
        varied = Variation(mass=spread, friction=spread, servo_gain=spread)
        variation = varied if arguments.variation > 1 else Variation()
        values = drawn(variation, many, [(seed,)])
        return Origin(
            beginning=(seed,), control="joint_absolute", rate=assignment.control.spec.rate,
            servo=assignment.servo or OTHER,
            variation=str(variation), factors={name: value[0] for name, value in values.items()},
        )  # fmt: skip

    return origin


def _shown(arguments: DeployArguments, console: Console) -> Callable[[int, Report, Array], None]:
    """In shadow mode, a line per step: where each joint would go from where it is, and what would be cut."""

    def show(step: int, report: Report, wanted: Array) -> None:
        if arguments.mode != "shadow" or report.reading is None:
            return
        away = np.rad2deg(wanted - report.reading.position)
        moves = "  ".join(f"{name} {degrees:+6.1f}" for name, degrees in zip(JOINTS, away, strict=True))
        console.say(f"{step:3d}  {moves} deg" + (f"   cut: {', '.join(report.cut)}" if report.cut else ""))

    return show


def _say(told: dict[str, Any], arguments: DeployArguments, console: Console) -> None:
    if told["success"] is not None:
        console.say(f"success  {percent(told['success'])} of {told['episodes']} episodes at the end")
    console.say(f"objects  by {told['perception']}")
    console.say(f"cut      {', '.join(f'{why} in {steps} steps' for why, steps in told['cut'].items()) or 'nothing'}")
    loop = told["loop"]
    console.say(f"loop     {loop['rate']:.2f} Hz of {arguments.rate:g}, {loop['missed']} ticks missed")
    if told["twin_late_s"] > 0:
        console.say(
            f"twin     {told['twin_late_s']:.1f} s late: this machine is too busy for one on the wall's clock, and "
            "its arm lags; clock=reads is the same however busy it is"
        )
    if told["fault"]:
        console.say(f"stopped  {told['fault']}")
    if loop["powered"]:
        console.say(
            f"POWERED  {', '.join(loop['powered'])} may have torque still, and nobody can tell: cut the arm's power "
            "before you touch it. Once it answers again, mode=shadow takes the torque off."
        )
    elif told["lost"]:
        console.say("let go   the servos answered again, and none has torque")
    console.say(f"recorded {arguments.record}")
