"""An arm through LeRobot's own, unmodified driver, by the name that LeRobot has for it."""

import os
import pkgutil
import termios
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, Self

import numpy as np

from envs.errors import EmbodiedError, unknown
from envs.robot import joint_range
from envs.types import Array
from robots.arm.contract import ArmLostError, Reading
from robots.arm.kinds import KINDS, kind_of
from robots.arm.port import claim
from robots.arm.telemetry import Telemetry
from robots.units import JOINTS, to_features, units_of

GONE = (OSError, RuntimeError, IndexError, termios.error)
"""What LeRobot lets through of a bus that fails: `ConnectionError` is an `OSError`, servos' errors are the second, the
SDK's on an answer that is shorter than the question asked for the third, and pyserial's of a port that has vanished are
the first and the last."""
TRIES = 3
"""Of every question: a bit in ten thousand is lost on a good bus."""
CALM = 2.0
"""[s] LeRobot waits 50 ms for an answer, and asks once when it configures. While nothing moves there is more time."""


@dataclass(frozen=True)
class ArmConfig:
    """Which arm."""

    port: str
    """Of the servo bus, e.g. `/dev/ttyACM0`."""
    robot: str | None = None
    """LeRobot's name of the robot; None is the usual one of the model."""
    id: str = "arm"
    """LeRobot's name of this very arm: its calibration is `ID.json`."""
    calibration: str | None = None
    """Folder of the calibration; None is LeRobot's own."""
    zeros: tuple[float, ...] | None = None
    """The model's angle where LeRobot says 0, for the joints before the gripper [rad]; `embodied calibrate hand_eye`
    finds them. None is the middle of each range that was swept."""
    model: str = "so101"
    """What it is, a name from `robots.arm.kinds.KINDS`."""

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """From fields by name, as JSON has them."""
        zeros = values.get("zeros")
        return cls(**{**values, "zeros": None if zeros is None else tuple(zeros)})

    @property
    def driver(self) -> str:
        """LeRobot's name of the robot."""
        return self.robot or kind_of(self.model).driver


class LeRobotArm:
    """See `robots.arm.contract.Robot`. All units are converted here and nowhere else."""

    def __init__(self, config: ArmConfig) -> None:
        """Raises `EmbodiedError` for a robot that LeRobot does not have, or that is no arm of this model."""
        self.config, self._kind = config, kind_of(config.model)
        self._servos = self._kind.servos
        folder = None if config.calibration is None else Path(config.calibration)
        self._robot = _made(config, folder)
        features = [name.removesuffix(".pos") for name in self._robot.action_features]
        if tuple(features) != JOINTS or not hasattr(self._robot, "bus"):
            raise EmbodiedError(
                f"LeRobot's {config.driver} has {', '.join(features)}; arms with one bus of {', '.join(JOINTS)} are "
                "driven here."
            )
        self._bus = self._robot.bus
        models = {motor.model for motor in self._bus.motors.values()}
        if not models.issubset(self._servos.models):
            raise EmbodiedError(
                f"LeRobot's {config.driver} has servos {', '.join(sorted(models))}, and a {config.model} has "
                f"{', '.join(self._servos.models)}: driver={self._kind.driver} goes with it, or another robot=."
            )
        self.units = units_of(self._bus, joint_range(config.model), config.zeros)
        self._telemetry = Telemetry(self._bus, self._servos)
        self._most: dict[str, int] = {}
        """What the limit of each servo's torque may be at most, once they have told."""
        self._lock: int | None = None
        self._limited = False

    @property
    def model(self) -> str:
        """See `Robot.model`."""
        return self.config.model

    @cached_property
    def joint_range(self) -> Array:
        """See `Robot.joint_range`."""
        bus, motors = self._bus, self._bus.motors
        if not bus.calibration:
            return joint_range(self.config.model)
        ends = [
            bus._normalize({motors[name].id: getattr(bus.calibration[name], end) for name in JOINTS})
            for end in ("range_min", "range_max")
        ]
        found = [[end[motors[name].id] for name in JOINTS] for end in ends]
        return self.units.to_radians(np.array(found)).T

    def connect(self, powered: bool) -> None:
        """See `Robot.connect`."""
        self._lock = claim(self.config.port)
        try:
            self._open()
            with calmly(self._bus):
                self._check_calibration()
                if powered:
                    self._robot.configure()
                    self._restore_torque(self._kind.grip)
            if not powered:
                self.release()
        except BaseException as error:
            with suppress(*GONE, EmbodiedError):
                # One servo that LeRobot does not find must not keep the others powered.
                if not self._bus.is_connected:
                    self._bus.connect(handshake=False)
                self.release()
            self.close()
            if isinstance(error, GONE):
                raise EmbodiedError(
                    f"The arm on {self.config.port} does not let itself be configured ({_sentence(error)}): check its "
                    "power, and the cables from servo to servo."
                ) from error
            raise

    def read(self) -> Reading:
        """See `Robot.read`."""
        before = time.monotonic()
        try:
            position, speed, health = self._telemetry.read(TRIES - 1)
        except GONE as error:
            raise ArmLostError(f"The arm on {self.config.port} is gone: {_sentence(error)}.") from error
        after = time.monotonic()
        return Reading(
            time=(before + after) / 2,
            position=self.units.to_radians(position),
            velocity=self.units.speed_to_radians(speed),
            health=health,
        )

    def command(self, target: Array) -> None:
        """See `Robot.command`."""
        try:
            self._robot.send_action(to_features(self.units.to_lerobot(target)))
        except GONE as error:
            raise ArmLostError(f"The arm on {self.config.port} is gone: {_sentence(error)}.") from error

    def limit_torque(self, share: float) -> None:
        """See `Robot.limit_torque`."""
        self._limited = True
        try:
            limits = {name: round(share * most) for name, most in self._torques(self._kind.grip).items()}
            self._bus.sync_write(self._servos.torque, limits, normalize=False)
        except GONE as error:
            raise ArmLostError(f"The arm on {self.config.port} is gone: {_sentence(error)}.") from error

    def release(self) -> tuple[str, ...]:
        """See `Robot.release`. LeRobot's own stops at the first servo that reports an error, and leaves the others."""
        left: tuple[str, ...] = JOINTS
        # An exception in the middle of an exchange leaves the SDK's port "in use" for good.
        self._bus.port_handler.is_using = False
        for _ in range(TRIES):
            # Nobody answers this one, so a line that is dead costs nothing.
            with suppress(*GONE):
                self._bus.sync_write("Torque_Enable", dict.fromkeys(JOINTS, 0))
            found = {name: self._torque(name) for name in left}
            left = tuple(name for name, torque in found.items() if torque is not False)
            if not left or all(torque is None for torque in found.values()):
                break
        for name in JOINTS:
            if name not in left and self._servos.lock is not None:
                with suppress(*GONE):
                    self._bus.write(self._servos.lock, name, 0)
        if self._limited and not left:
            with suppress(*GONE):
                self._restore_torque()
        return left

    def close(self, reopen: bool = False) -> bool:
        """See `Robot.close`."""
        with suppress(*GONE, AttributeError):
            # A port that never opened has no line to close.
            self._bus.port_handler.closePort()
        self._bus.port_handler.is_open = self._bus.port_handler.is_using = False
        if reopen:
            with suppress(*GONE):
                self._bus.connect(handshake=False)
                return True
            return False
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        return False

    def _restore_torque(self, grip: float = 1.0) -> None:
        """Undo `limit_torque`; it would hold until the power goes, and make the arm weak for whoever is next."""
        for name, most in self._torques(grip).items():
            # What one servo objects to is no reason not to tell the others; who drives them looks at them, too.
            with suppress(RuntimeError):
                self._bus.write(self._servos.torque, name, round(most), num_retry=TRIES)
        self._limited = grip < 1.0

    def _torques(self, grip: float) -> dict[str, float]:
        """Limits of whole servos, and of a gripper that gives a share `grip` of what it could."""
        self._most = self._most or self._bus.sync_read(self._servos.most, normalize=False, num_retry=TRIES)
        return {name: most * (grip if name == JOINTS[-1] else 1.0) for name, most in self._most.items()}

    def _torque(self, name: str) -> bool | None:
        """Whether a servo has torque; None where it does not say."""
        with suppress(*GONE):
            # Unlike `read`, it answers whatever error a servo reports.
            return bool(self._bus.sync_read("Torque_Enable", name)[name])
        return None

    def calmly(self, seconds: float) -> AbstractContextManager[None]:
        """Wait for answers by so much longer."""
        return calmly(self._bus, seconds)

    def _open(self) -> None:
        for patience in (0.0, CALM / 10, CALM / 4):
            try:
                with calmly(self._bus, patience):
                    self._bus.connect()
                return
            except GONE as error:
                last = error
                with suppress(*GONE, AttributeError):
                    self._bus.port_handler.closePort()
        raise EmbodiedError(
            f"No {self.config.driver} answers on {self.config.port} ({_sentence(last)}): check the arm's power, its "
            "cables, and driver=; servos that a fault has shut down need the power off and on."
        ) from last

    def _check_calibration(self) -> None:
        """Compare what is in the servos with the file; LeRobot would ask on the keyboard."""
        mend = _mend(self.config)
        if not self._robot.calibration:
            raise EmbodiedError(f"There is no calibration {self._robot.calibration_fpath} of this arm; {mend}.")
        for _ in range(TRIES):
            with suppress(*GONE):
                if not self._bus.is_calibrated:
                    raise EmbodiedError(
                        f"The calibration {self._robot.calibration_fpath} is not the one in the servos: it is of "
                        f"another arm, or older; {mend}."
                    )
                return
        raise EmbodiedError(f"The servos on {self.config.port} do not tell their calibration; check the cables.")


@contextmanager
def calmly(bus: Any, seconds: float = CALM) -> Iterator[None]:
    """Let a bus of LeRobot's wait for answers by so much longer [s]."""
    handler = bus.port_handler
    own = handler.setPacketTimeout

    def wait(length: int) -> None:
        own(length)
        handler.packet_timeout += 1000 * seconds

    handler.setPacketTimeout = wait
    try:
        yield
    finally:
        handler.setPacketTimeout = own


def _made(config: ArmConfig, folder: Path | None) -> Any:
    """LeRobot's robot of that name; its module is found by the name of its configuration."""
    import lerobot.robots
    from draccus.utils import DraccusException
    from lerobot.robots.config import RobotConfig
    from lerobot.robots.utils import make_robot_from_config

    for module in pkgutil.iter_modules(lerobot.robots.__path__):
        # Some need packages for hardware that is not here.
        if module.ispkg and config.driver not in RobotConfig.get_known_choices():
            with suppress(ImportError):
                import_module(f"lerobot.robots.{module.name}")
    known = RobotConfig.get_known_choices()
    if config.driver not in known:
        raise unknown("driver", config.driver, known)
    try:
        chosen = known[config.driver](port=config.port, id=config.id, calibration_dir=folder)
    except TypeError as error:
        raise EmbodiedError(f"LeRobot's {config.driver} is not an arm on a serial port; {_drivers()}.") from error
    try:
        return make_robot_from_config(chosen)
    except DraccusException as error:
        where = "LeRobot's own folder" if folder is None else folder
        raise EmbodiedError(
            f"The calibration {config.id}.json in {where} cannot be read ({_sentence(error)}): {_mend(config)}."
        ) from error
    except ImportError as error:
        raise EmbodiedError(
            f"LeRobot's {config.driver} needs a package that is not here ({_sentence(error)}). Dynamixel servos need: "
            "pip install 'embodied-whatif[dynamixel]'."
        ) from error


def _drivers() -> str:
    """Which of LeRobot's robots are driven."""
    return " and ".join(kind.driver for kind in KINDS.values()) + " are"


def _mend(config: ArmConfig) -> str:
    """What calibrates this arm."""
    folder = "" if config.calibration is None else f" --robot.calibration_dir={config.calibration}"
    return (
        f"run lerobot-calibrate --robot.type={config.driver} --robot.port={config.port} --robot.id={config.id}{folder}"
    )


def _sentence(error: BaseException) -> str:
    """The first line of an error."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".:")
