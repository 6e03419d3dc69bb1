"""Six emulated servos on the joints of the simulated SO-101, in the scene of a task."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from envs.drives import Drives
from envs.errors import unknown
from envs.scene import build_scene
from envs.servo import SERVOS
from envs.simulation import Simulation
from envs.tasks import task as named_task
from envs.types import Array
from envs.variation import Parameters, Variation
from robots.twin import hand
from robots.twin.bus import Bus
from robots.twin.calibration import MOUNTS, calibrated
from robots.twin.faults import Faults
from robots.twin.hand import Hand
from robots.twin.servo import RATED_VOLTAGE, Servo
from robots.units import JOINTS

SEIZED = 1e4
"""[N m s/rad] Drag of gears that do not turn: at stall torque, a degree in a minute."""


@dataclass(frozen=True)
class ArmConfig:
    """What stands behind the bus."""

    task: str = "place"
    """A name from `envs.tasks.TASKS`: what is on the table."""
    seed: int = 0
    """Of the task's beginning."""
    servo: str = "firm"
    """A name from `envs.servo.SERVOS`: what the servos are like once LeRobot has configured them."""
    calibrated: bool = True
    """Whether LeRobot's calibration is in the EEPROMs; without, they are as from the factory."""
    variation: float = 1.0
    """Masses, frictions and servo gains are drawn at each beginning, from 1/variation to variation times nominal."""


class Arm:
    """The arm, its servos, and the hand that may lead it. Time passes in `advance` alone."""

    def __init__(self, config: ArmConfig) -> None:
        """Raises `EmbodiedError` for an unknown task or servo."""
        if config.servo not in SERVOS:
            raise unknown("servo", config.servo, SERVOS)
        self._task = named_task(config.task)
        servo = SERVOS[config.servo]
        self.simulation = Simulation(build_scene(replace(self._task.scene, servo=servo)), worlds=1, threads=1)
        self._drives = Drives(self.simulation)
        self._limits = self.simulation.scene.joint_range
        self.eeprom = calibrated(self._limits)
        """What LeRobot's calibration of this arm is, by joint."""
        # LeRobot halves the gripper's torque; the named servos' limit is what is left.
        stall = dict.fromkeys(JOINTS, servo.force_limit) | {"gripper": 2 * servo.gripper_force_limit}
        self.servos = [
            Servo(MOUNTS[name], stall[name], ID=number, **(self.eeprom[name] if config.calibrated else {}))
            for number, name in enumerate(JOINTS, 1)
        ]
        self.bus = Bus(self.servos)
        self.hand = Hand()
        self.faults = Faults()
        self._voltage = RATED_VOLTAGE
        self._drag = np.zeros(len(JOINTS))
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
        generator = np.random.default_rng(seed)
        layout = self._task.layout([generator])
        if keep_arm:
            layout = replace(layout, joints=self._drives.position)
        if self._variation is not None:
            nominal = Parameters.nominal(self.simulation.scene, 1)
            layout = replace(layout, parameters=self._variation.sample(nominal, generator))
        self.simulation.reset(layout)
        # Other gains are in the servos' place now.
        self._motors = np.empty(0)

    def refresh(self) -> None:
        """Take over what `faults` holds now."""
        faults, sag = self.faults, self.faults.value("sag")
        self._voltage = RATED_VOLTAGE if sag is None else sag
        for j, (name, servo) in enumerate(zip(JOINTS, self.servos, strict=True)):
            servo.switch(faults.value("power") is None)
            servo.overloaded = faults.value("overload", name) is not None
            servo.hot = faults.value("heat", name)
            servo.slip = np.deg2rad(faults.value("zero", name) or 0.0)
            self._drag[j] = 0.0 if faults.value("stall", name) is None else SEIZED

    def advance(self, ticks: int = 1) -> None:
        """Let time pass. Raises `EmbodiedError` if physics diverged."""
        for _ in range(ticks):
            self.hand.move(self._limits, self.timestep)
            self.simulation.run(self._sense_and_drive(self.timestep))

    def truth(self) -> dict[str, Any]:
        """What no driver can read, as plain values.

        `joints` [rad], motors' `torque` [N m] and whether they are `enabled`, the `goal` they go to [rad], poses of
        `objects` (position [m] and quaternion) and their `velocities` (linear [m/s], angular [rad/s]), a bin or a
        target among them, whether the `hand` moves, and the `faults` that hold.
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
            servo.tick(angle, velocity, torque, self._voltage, seconds)
            for servo, (angle, velocity, torque) in zip(self.servos, sensed, strict=True)
        ]
        goal, stiffness, damping, limit = np.array(
            [(drive.goal, drive.stiffness, drive.damping, drive.limit) for drive in ticked]
        ).T
        gain, damping = stiffness * drives.gain, damping * drives.damping
        self._limp = limp = limit == 0.0
        if self.hand.target is not None:
            goal = np.where(limp, self.hand.target, goal)
            gain, damping = np.where(limp, hand.GAIN, gain), np.where(limp, hand.DAMPING, damping)
            limit = np.where(limp, hand.LIMIT, limit)
        motors = np.stack([gain, damping, limit, self._drag])
        if not np.array_equal(motors, self._motors):
            drives.set(*motors)
            self._motors = motors
        return goal[None]
