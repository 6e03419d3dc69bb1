"""Six emulated servos on the joints of a simulated arm, in the scene of a task."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from envs.drives import Drives
from envs.errors import EmbodiedError, unknown
from envs.parameters import Parameters
from envs.scene import build_scene
from envs.servo import per_joint
from envs.servo_file import named_servos
from envs.simulation import Simulation
from envs.tasks import distractors_of
from envs.tasks import task as named_task
from envs.types import Array
from envs.variation import Variation, count, drawn, physics
from robots.twin import hand
from robots.twin.faults import Faults
from robots.twin.gears import Gears
from robots.twin.hand import Hand
from robots.twin.makes import MAKES, Firmware
from robots.units import JOINTS

SEIZED = 1e4
"""[N m s/rad] Drag of gears that do not turn: at stall torque, a degree in a minute."""


@dataclass(frozen=True)
class ArmConfig:
    """What stands behind the bus."""

    robot: str = "so101"
    """Which arm it is, a name from `robots.twin.makes.MAKES`."""
    task: str = "place"
    """A name from `envs.tasks.TASKS`: what is on the table."""
    distractors: tuple[str, ...] = ()
    """Further objects on it, out of `envs.objects`."""
    seed: int = 0
    """Of the task's beginning."""
    servo: str | None = None
    """What the servos are like once LeRobot has configured them: a name from `envs.servo.SERVOS`, or a robot file of
    `embodied identify`, as `runs/identify/robot.yaml`; None are the robot's own."""
    draw: int | None = None
    """Seed of servos that are drawn from the ranges in a robot file; None are those that were found."""
    calibrated: bool = True
    """Whether LeRobot's calibration is in the EEPROMs; without, they are as from the factory."""
    variation: float = 1.0
    """Masses, frictions and servo gains are drawn at each beginning, from 1/variation to variation times nominal."""


class Arm:
    """The arm, its servos, and the hand that may lead it. Time passes in `advance` alone."""

    def __init__(self, config: ArmConfig) -> None:
        """Raises `EmbodiedError` for an unknown robot, task, object or servo."""
        if config.robot not in MAKES:
            raise unknown("robot", config.robot, MAKES)
        self.make = make = MAKES[config.robot]
        self._task = named_task(config.task, distractors=config.distractors, robot=make.robot)
        if config.servo is None and config.draw is not None:
            raise EmbodiedError("The robot's own servos have no ranges to draw from; a robot file given as servo= has.")
        own = self._task.scene.servo
        made = per_joint(own if config.servo is None else named_servos(config.servo, config.draw), JOINTS)
        # Late goals are the firmware's here, whose feedback is never late.
        scene = replace(self._task.scene, servo=tuple(replace(servo, delay=0.0) for servo in made))
        self.simulation = Simulation(build_scene(scene), worlds=1, threads=1)
        self._drives = Drives(self.simulation)
        self._limits = self.simulation.scene.joint_range
        self.eeprom = make.eeprom(self._limits)
        """What LeRobot's calibration of this arm is, by joint."""
        self.servos: list[Firmware] = [
            make.servo(name, make.mounts[name], servo.limit(name), ID=number,
                       **(self.eeprom[name] if config.calibrated else {}))
            for number, (name, servo) in enumerate(zip(JOINTS, made, strict=True), make.first)
        ]  # fmt: skip
        for firmware, servo in zip(self.servos, made, strict=True):
            firmware.lag = servo.delay
        self._gears, self._play = Gears(1, len(JOINTS)), np.array([servo.backlash for servo in made])
        self.bus = make.bus(self.servos)
        self.hand = Hand()
        self.faults = Faults()
        self._sag: float | None = None
        self._drag, self._gap = np.zeros(len(JOINTS)), self._play
        self._limp = np.ones(len(JOINTS), bool)
        self._motors: Array = np.empty(0)
        spread = (1.0 / config.variation, config.variation)
        self._variation = Variation(mass=spread, friction=spread, servo_gain=spread) if config.variation > 1 else None
        self.lay(config.seed)
        for fresh, angle in zip(self.servos, self.angles, strict=True):
            fresh.start(float(angle))
        self._sense_and_drive(0.0)

    @property
    def timestep(self) -> float:
        """[s] of a tick: one physics step."""
        return float(self.simulation.scene.model.opt.timestep)

    @property
    def angles(self) -> Array:
        """`[6]` of the joints [rad]."""
        return self._drives.position[0]

    def lay(self, seed: int, keep_arm: bool = False) -> None:
        """Lay the table as the task's beginning number `seed`; the arm goes to its start too, unless it is kept."""
        layout = self._task.layout([np.random.default_rng(seed)])
        if keep_arm:
            layout = replace(layout, joints=self._drives.position)
        if self._variation is not None:
            scene = self.simulation.scene
            values = drawn(self._variation, count(scene), [(seed,)])
            layout = replace(layout, parameters=physics(Parameters.nominal(scene, 1), values))
        self.simulation.reset(layout)
        # Other gains are in the servos' place now.
        self._motors = np.empty(0)

    def refresh(self) -> None:
        """Take over what `faults` holds now."""
        faults = self.faults
        self._sag = faults.value("sag")
        for j, (name, servo) in enumerate(zip(JOINTS, self.servos, strict=True)):
            servo.switch(faults.value("power") is None)
            servo.overloaded = faults.value("overload", name) is not None
            servo.hot = faults.value("heat", name)
            servo.slip = np.deg2rad(faults.value("zero", name) or 0.0)
            self._drag[j] = 0.0 if faults.value("stall", name) is None else SEIZED
        loose = [faults.value("backlash", name) for name in JOINTS]
        self._gap = np.array(
            [own if fault is None else np.deg2rad(fault) for own, fault in zip(self._play, loose, strict=True)]
        )

    def advance(self, ticks: int = 1) -> None:
        """Let time pass. Raises `EmbodiedError` if physics diverged."""
        for _ in range(ticks):
            self.hand.move(self._limits, self.timestep)
            self.simulation.run(self._sense_and_drive(self.timestep))

    def truth(self) -> dict[str, Any]:
        """What no driver can read, as plain values.

        The `task` and its `distractors`, `joints` [rad], motors' `torque` [N m] and whether they are `enabled`, the
        `goal` they go to [rad], poses of `objects` (position [m] and quaternion) and their `velocities` (linear [m/s],
        angular [rad/s]), a bin or a target among them, whether the `hand` moves, and the `faults` that hold.
        """
        now = self.simulation.observe()[0]
        scene = self.simulation.scene
        where = {
            name: k
            for k, name in enumerate(scene.names)
            if now.objects.present[k] and (scene.qpos[k] >= 0 or scene.mocap[k] >= 0)
        }
        return {
            "time": float(now.time),
            "task": self._task.name,
            "distractors": list(distractors_of(self._task)),
            "joints": dict(zip(JOINTS, self.angles.tolist(), strict=True)),
            "torque": dict(zip(JOINTS, np.where(self._limp, 0.0, self._drives.torque[0]).tolist(), strict=True)),
            "enabled": {
                name: servo.powered and bool(servo.memory["Torque_Enable"])
                for name, servo in zip(JOINTS, self.servos, strict=True)
            },
            "goal": {name: servo.goal for name, servo in zip(JOINTS, self.servos, strict=True)},
            "objects": {
                name: [*now.objects.position_in_world[k].tolist(), *now.objects.quaternion_in_world[k].tolist()]
                for name, k in where.items()
            },
            "velocities": {
                name: [
                    *now.objects.linear_velocity_in_world[k].tolist(),
                    *now.objects.angular_velocity_in_world[k].tolist(),
                ]
                for name, k in where.items()
            },
            "hand": self.hand.busy,
            "faults": [str(fault) for fault in self.faults],
        }

    def _sense_and_drive(self, seconds: float) -> Array:
        """One tick of all servos; sets the motors and returns the joint command `[1 6]` [rad]."""
        drives = self._drives
        # What moves a limp joint is the hand, which no servo feels.
        torque = np.where(self._limp, 0.0, drives.torque[0])
        sensed = np.stack([self.angles, drives.velocity[0], torque], axis=1).tolist()
        ticked = [
            servo.tick(angle, velocity, torque, servo.supply(self._sag), seconds)
            for servo, (angle, velocity, torque) in zip(self.servos, sensed, strict=True)
        ]
        goal, stiffness, damping, limit = np.array(
            [(drive.goal, drive.stiffness, drive.damping, drive.limit) for drive in ticked]
        ).T
        gain, damping = stiffness * drives.gain, damping * drives.damping
        self._limp = limp = limit == 0.0
        if self._gap.any():
            wanted = np.clip(gain * (goal - self.angles) - damping * drives.velocity[0], -limit, limit)
            share = self._gears.engage(wanted[None], self._gap[None], self.timestep)[0]
            gain, damping, limit = share * gain, share * damping, share * limit
        if self.hand.target is not None:
            goal = np.where(limp, self.hand.target, goal)
            gain, damping = np.where(limp, hand.GAIN, gain), np.where(limp, hand.DAMPING, damping)
            limit = np.where(limp, hand.LIMIT, limit)
        motors = np.stack([gain, damping, limit, self._drag])
        if not np.array_equal(motors, self._motors):
            drives.set(*motors)
            self._motors = motors
        return goal[None]
