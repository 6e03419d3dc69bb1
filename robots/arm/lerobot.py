"""An arm through LeRobot's own, unmodified driver, by the name that LeRobot has for it."""

import os
import pkgutil
import termios
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from envs.errors import EmbodiedError, unknown
from envs.so101 import JOINT_HIGH, JOINT_LOW
from envs.types import Array
from robots.arm.contract import ArmLostError, Reading
from robots.arm.port import claim
from robots.arm.telemetry import Telemetry
from robots.units import DEGREES_PER_COUNT, JOINTS, Units, to_features

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
    robot: str = "so101_follower"
    """LeRobot's name of the robot."""
    id: str = "arm"
    """LeRobot's name of this very arm: its calibration is `ID.json`."""
    calibration: str | None = None
    """Folder of the calibration; None is LeRobot's own."""
    zeros: tuple[float, float, float, float, float] = (0.0, 0.0, 0.0, 0.0, 0.0)
    """The model's angle where LeRobot says 0 degrees, for the joints before the gripper [rad]; `embodied calibrate
    hand_eye` finds them."""


class LeRobotArm:
    """See `robots.arm.contract.Robot`. All units are converted here and nowhere else."""

    def __init__(self, config: ArmConfig) -> None:
        """Raises `EmbodiedError` for a robot that LeRobot does not have, or that has other joints than an SO-101."""
        self.config, self.units = config, Units(zero=config.zeros)
        folder = None if config.calibration is None else Path(config.calibration)
        self._robot = _made(config, folder)
        features = [name.removesuffix(".pos") for name in self._robot.action_features]
        if tuple(features) != JOINTS or not hasattr(self._robot, "bus"):
            raise EmbodiedError(
                f"LeRobot's {config.robot} has {', '.join(features)}; arms with one bus of {', '.join(JOINTS)} are "
                "driven here."
            )
        self._bus = self._robot.bus
        self._telemetry = Telemetry(self._bus)
        self._lock: int | None = None
        self._limited = False

    @cached_property
    def joint_range(self) -> Array:
        """See `Robot.joint_range`."""
        if not self._bus.calibration:
            return np.stack([JOINT_LOW, JOINT_HIGH], axis=1)
        half = [(self._bus.calibration[name].range_max - self._bus.calibration[name].range_min) / 2 for name in JOINTS]
        reach = DEGREES_PER_COUNT * np.array(half)
        ends = np.stack([np.append(-reach[:5], 0.0), np.append(reach[:5], 100.0)])
        return self.units.to_radians(ends).T

    def connect(self, powered: bool) -> None:
        """See `Robot.connect`."""
        self._lock = claim(self.config.port)
        try:
            self._open()
            with calmly(self._bus):
                self._check_calibration()
                if powered:
                    self._robot.configure()
                    self._restore_torque()
            if not powered:
                self.release()
        except BaseException as error:
            with suppress(*GONE, EmbodiedError):
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
            self._bus.sync_write("Torque_Limit", dict.fromkeys(JOINTS, round(1000 * share)), normalize=False)
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
            if name not in left:
                with suppress(*GONE):
                    self._bus.write("Lock", name, 0)
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

    def _restore_torque(self) -> None:
        """Undo `limit_torque`; it would hold until the power goes, and make the arm weak for whoever is next."""
        for name in JOINTS:
            allowed = self._bus.read("Max_Torque_Limit", name, num_retry=TRIES)
            self._bus.write("Torque_Limit", name, allowed, num_retry=TRIES)
        self._limited = False

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
            f"No {self.config.robot} answers on {self.config.port} ({_sentence(last)}): check the arm's power, its "
            "cables, and driver=."
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
        if module.ispkg and config.robot not in RobotConfig.get_known_choices():
            with suppress(ImportError):
                import_module(f"lerobot.robots.{module.name}")
    known = RobotConfig.get_known_choices()
    if config.robot not in known:
        raise unknown("driver", config.robot, known)
    try:
        chosen = known[config.robot](port=config.port, id=config.id, calibration_dir=folder)
    except TypeError as error:
        raise EmbodiedError(f"LeRobot's {config.robot} is not an arm on a serial port; so101_follower is.") from error
    try:
        return make_robot_from_config(chosen)
    except DraccusException as error:
        where = "LeRobot's own folder" if folder is None else folder
        raise EmbodiedError(
            f"The calibration {config.id}.json in {where} cannot be read ({_sentence(error)}): {_mend(config)}."
        ) from error
    except ImportError as error:
        raise EmbodiedError(
            f"LeRobot's {config.robot} needs a package that is not here ({_sentence(error)}); so101_follower none."
        ) from error


def _mend(config: ArmConfig) -> str:
    """What calibrates this arm."""
    folder = "" if config.calibration is None else f" --robot.calibration_dir={config.calibration}"
    return (
        f"run lerobot-calibrate --robot.type={config.robot} --robot.port={config.port} --robot.id={config.id}{folder}"
    )


def _sentence(error: BaseException) -> str:
    """The first line of an error."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".:")
