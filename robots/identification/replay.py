"""A log's commands once more, on simulated servos of other parameters: many sets at once, one per world."""

from functools import cached_property

import numpy as np

from envs.drives import Drives
from envs.layout import Layout
from envs.scene import SceneConfig, build_scene
from envs.servo import Servo
from envs.simulation import Simulation
from envs.types import Array
from robots.identification.log import Log
from robots.twin.gears import Gears
from robots.twin.profile import Profile
from robots.twin.registers import ACCELERATION_UNIT
from robots.twin.servo import RADIANS, TOP_SPEED
from robots.units import JOINTS

ACCELERATION = 254 * ACCELERATION_UNIT * RADIANS
"""[rad/s^2] of setpoints, as LeRobot configures the servos."""
DEAD_ZONE = RADIANS
"""[rad] One count, as servos leave the factory."""
KP, DAMPING, FRICTION, DELAY, BACKLASH = range(5)
"""Places of the parameters in an array of them, see `envs.servo_file.IDENTIFIED`."""


class Replay:
    """Predicts one log. The table is bare, the arm begins at rest where the log does."""

    def __init__(self, log: Log, base: Servo, worlds: int) -> None:
        """`base` has what is not fitted: rotor inertia and torque limits. `worlds` parameter sets fit in at once."""
        self.log, self.worlds, self._base = log, worlds, base
        self._many = self._simulation(worlds)
        self._seconds = float(self._many.scene.model.opt.timestep)
        self._limit = np.array([base.limit(name) for name in JOINTS])
        # Positions are those at the beginning of the tick, as the firmware has them.
        self._read = (log.time - log.time[0]) / self._seconds
        self._ticks = int(np.ceil(self._read[-1])) + 1
        self._setpoints = self._profiles()

    def predict(self, parameters: Array) -> Array:
        """Positions `[n T 6]` [rad] at the log's readings, for `parameters` `[n 6 5]` in the units of `Servo`."""
        if len(parameters) == 1:
            return self._run(self._one, parameters)
        parts = []
        for start in range(0, len(parameters), self.worlds):
            part = parameters[start : start + self.worlds]
            # The last ones are repeated, for every world runs.
            filled = part[np.minimum(np.arange(self.worlds), len(part) - 1)]
            parts.append(self._run(self._many, filled)[: len(part)])
        return np.concatenate(parts)

    @cached_property
    def _one(self) -> Simulation:
        return self._simulation(1)

    def _simulation(self, worlds: int) -> Simulation:
        # Friction that is there at first is what makes MuJoCo keep room for its constraints.
        servo = Servo(kp=1.0, damping=0.0, frictionloss=1.0, armature=self._base.armature)
        return Simulation(build_scene(SceneConfig(objects=(), servo=servo)), worlds=worlds, threads=1)

    def _profiles(self) -> Array:
        """`[ticks 6]` setpoints without delay [rad], by the firmware's own way to a goal."""
        due = np.round((self.log.sent - self.log.time[0]) / self._seconds).astype(int)
        last = np.searchsorted(due, np.arange(self._ticks), side="right") - 1
        # It stood still at the first command before that was logged.
        goals = self.log.command[np.maximum(last, 0)]
        profiles = [Profile(float(start)) for start in self.log.command[0]]
        return np.array(
            [
                [
                    profile.advance(float(goal), TOP_SPEED * RADIANS, ACCELERATION, self._seconds)
                    for profile, goal in zip(profiles, row, strict=True)
                ]
                for row in goals
            ]
        )

    def _run(self, simulation: Simulation, parameters: Array) -> Array:
        worlds, seconds = len(parameters), self._seconds
        kp, damping, friction, delay, backlash = np.moveaxis(parameters, -1, 0)
        empty = np.zeros((worlds, 0))
        start = np.repeat(self.log.position[:1], worlds, axis=0)
        simulation.reset(Layout(start, empty.reshape(worlds, 0, 3), empty.reshape(worlds, 0, 4)))
        drives, gears = Drives(simulation), Gears(worlds, len(JOINTS))
        drives.set_friction(friction)
        limit, none = np.broadcast_to(self._limit, kp.shape), np.zeros(kp.shape)
        drives.set(kp, none, limit, damping)
        late, joints = delay / seconds, np.arange(len(JOINTS))
        whole = np.floor(late).astype(int)
        part = late - whole
        loose = bool(backlash.any())
        gears.lean(self.log.command[0] - start, backlash)
        path = np.empty((self._ticks, worlds, len(JOINTS)))
        for tick in range(self._ticks):
            path[tick] = position = drives.position
            newer = self._setpoints[np.maximum(tick - whole, 0), joints]
            older = self._setpoints[np.maximum(tick - whole - 1, 0), joints]
            away = newer + part * (older - newer) - position
            away = np.sign(away) * np.maximum(np.abs(away) - DEAD_ZONE, 0.0)
            if loose:
                share = gears.engage(np.clip(kp * away, -limit, limit), backlash, seconds)
                drives.set(share * kp, none, share * limit, damping)
            simulation.run(position + away)
        # Between ticks in proportion; what is read is a tick old.
        read = np.maximum(self._read - 1.0, 0.0)
        lower = np.minimum(read.astype(int), self._ticks - 2)
        share = (read - lower)[:, None, None]
        return np.asarray(np.moveaxis(path[lower] + share * (path[lower + 1] - path[lower]), 1, 0))
