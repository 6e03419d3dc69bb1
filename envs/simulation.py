"""N worlds of one scene on an engine: step, settle, and the do-operator, on top of what `WorldStates` keeps."""

from collections.abc import Callable, Iterator

import mujoco
import numpy as np
from mujoco.batch import SimulationError

from envs.clock import stop_timers
from envs.control import Controller, check_action
from envs.doing import do
from envs.engine import BATCH, Engine
from envs.errors import DivergedError, EmbodiedError
from envs.interventions import Intervention
from envs.robot import default_control
from envs.scene import Scene
from envs.types import Array, Observation
from envs.world_states import Ids, WorldStates, few

RAMP = 5
"""Parts in which a joint command is approached within one control step, as a driver at 50 Hz would."""


class Simulation(WorldStates):
    """N worlds stepped together, on native threads or on a GPU."""

    def __init__(
        self,
        scene: Scene,
        worlds: int,
        threads: int = 0,
        control: Controller | None = None,
        engine: Engine = BATCH,
    ) -> None:
        """`threads` = 0 uses every core this process may run on. Starts at the scene's `home` keyframe.

        Raises `EmbodiedError` where the engine is not installed or cannot step the scene, and for control that does
        not fit the scene's robot or its time step.
        """
        stop_timers()
        super().__init__(scene, worlds, threads, engine)
        own = default_control(scene.config.robot)
        self.control: Controller = control if control is not None else own
        if self.control.joints != scene.joints:
            raise EmbodiedError(
                f"{type(self.control).__name__} commands {', '.join(self.control.joints)}, but the robot of this scene "
                f"has {', '.join(scene.joints)}; give {type(own).__name__}() or none."
            )
        self._spec = self.control.spec
        period = 1.0 / (self._spec.rate * scene.model.opt.timestep)
        self.substeps = round(period)
        if self.substeps < 1 or abs(period - self.substeps) > 1e-6:
            raise EmbodiedError(
                f"Control at {self._spec.rate} Hz is not a whole number of physics steps of "
                f"{scene.model.opt.timestep} s."
            )
        self._commands = np.empty((worlds, self.substeps, scene.model.nu))
        """Of every physics step of a control step."""

    def step(self, action: Array) -> Observation:
        """One control step of every world under `action` `[N A]`.

        Raises `EmbodiedError`, with nothing stepped, for a wrong shape or a value that is not finite; and
        `DivergedError`, naming the worlds, if MuJoCo reports that their physics diverged.
        """
        self.advance(action)
        return self.observe()

    def advance(self, action: Array) -> None:
        """Like `step`, with nothing observed."""
        if not self.present.all():
            # What is absent falls, and is put back after every part.
            for _ in self.parts(action):
                pass
            return
        first = 0
        for (_, steps), command in zip(self.ramp, self._ramped(action), strict=True):
            self._command(command)
            self._commands[:, first : first + steps] = self._ctrl[:, None]
            first += steps
        # All at once, as threads that wait for each other after every part wait for the slowest five times.
        self._guarded(lambda: self._batch.rollout(self.substeps, self._commands, record=()))

    def parts(self, action: Array) -> Iterator[float]:
        """One control step as an iterator that does its next part when asked; yields the share of it that is done."""
        for (share, steps), command in zip(self.ramp, self._ramped(action), strict=True):
            self._command(command)
            self._advance(None, steps)
            yield share

    def _ramped(self, action: Array) -> list[Array]:
        """The commands `[N J]` of the parts of a control step."""
        checked = check_action(action, self._spec, self.worlds)
        before = self.joint_target
        target = self.control.target(before, checked)
        return [target if share == 1.0 else before + share * (target - before) for share, _ in self.ramp]

    def run(self, target: Array, steps: int = 1) -> None:
        """Physics steps of every world under joint commands `[N J]` [rad, of a pusher m]: no controller, no ramp.

        Raises `EmbodiedError` if physics diverged, like `step`.
        """
        self._command(target)
        self._advance(None, steps)

    def _command(self, target: Array) -> None:
        """Give the servos a target; joints with play follow it once that is taken up."""
        play = self.fields.backlash
        if play is None:
            self._ctrl[:, self._actuators] = target
            return
        followed = np.clip(self._ctrl[:, self._actuators], target - 0.5 * play, target + 0.5 * play)
        self._slack[:] = target - followed
        self._ctrl[:, self._actuators] = followed

    @property
    def ramp(self) -> list[tuple[float, int]]:
        """How a control step is divided: the share of the way to the next command, and for how many physics steps.

        A command that jumps makes the jaws strike what they should push, and contact chaos of it: with the ramp, 22 %
        instead of 26 % of moving cubes end more than 5 mm off 1.2 s after a nudge of 0.1 mm.
        """
        ends = [round(part * self.substeps / RAMP) for part in range(RAMP + 1)]
        return [((part + 1) / RAMP, ends[part + 1] - ends[part]) for part in range(RAMP) if ends[part + 1] > ends[part]]

    def settle(self, ids: Ids = None, duration: float = 0.3) -> None:
        """Let the worlds `ids` run for `duration` [s] with their commands held, then set their time back."""
        chosen = np.sort(self._chosen(ids))
        time = self._time[chosen]
        self._advance(chosen, max(1, round(duration / self.scene.model.opt.timestep)))
        self._time[chosen] = time
        # What servos with a delay remember is dated.
        self.rows.fill_history(chosen)

    def do(self, intervention: Intervention, ids: Ids = None) -> None:
        """Carry out an intervention in the worlds `ids` now, see `envs.doing.do`."""
        do(self, intervention, self._chosen(ids))

    def _advance(self, ids: Array | None, steps: int) -> None:
        self._guarded(lambda: self._batch.step(ids, nstep=steps))

    def _guarded(self, physics: Callable[[], object]) -> None:
        """Do physics, park what is absent, and raise `DivergedError` where it must be said."""
        try:
            physics()
        except SimulationError as error:
            failed = [int(world) for world in error.ids]
            raise DivergedError(f"Physics failed in worlds {few(error.ids)}: {error}", failed) from error
        if self._parking is None:
            self._parking = _NOTHING if self.present.all() else self.rows.parking(self.present)
        rows, columns, values = self._parking
        if len(rows):
            self._batch.state[rows, columns] = values
        diverged = self._batch.warning[:, _DIVERGED, 1]
        if diverged.any():
            worlds = np.flatnonzero(diverged.any(axis=1))
            raise DivergedError(
                f"The physics of worlds {few(worlds)} diverged; reset or restore them.", worlds.tolist()
            )


_NOTHING = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
# BADQPOS, BADQVEL and BADQACC follow each other.
_DIVERGED = slice(int(mujoco.mjtWarning.mjWARN_BADQPOS), int(mujoco.mjtWarning.mjWARN_BADQACC) + 1)
