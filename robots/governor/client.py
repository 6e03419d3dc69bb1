"""The policy's side of a supervised arm."""

import contextlib
import json
import socket
import subprocess
import sys
from collections import deque
from typing import Any, Self

from envs.errors import EmbodiedError
from envs.types import Array
from robots.arm.contract import ArmLostError
from robots.arm.kinds import kind_of
from robots.arm.servos import FEETECH, Servos
from robots.governor.guard import Report, State
from robots.governor.supervisor import SupervisorConfig
from robots.governor.wire import decode


class SupervisedArm:
    """An arm behind a supervisor of its own, which ends with `finish`, with the `with` block, or with this process."""

    def __init__(self, config: SupervisorConfig) -> None:
        """Returns when the arm is ready; raises `EmbodiedError` with the supervisor's sentence if it is not."""
        self.config = config
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "robots.governor.supervisor", str(theirs.fileno()), config.as_json()],
                pass_fds=[theirs.fileno()],
                # What stops this process group must not stop what lets the arm down.
                start_new_session=True,
            )
        self._line, self._rest = ours, b""
        self._lines: deque[bytes] = deque()
        self._serial = 0
        self._finished: dict[str, Any] | None = None
        answer = self._next()
        if "error" in answer:
            self._hang_up()
            raise EmbodiedError(answer["error"])

    @property
    def supervisor(self) -> int:
        """The process id of what holds the port."""
        return self._process.pid

    def report(self) -> Report:
        """The newest that there is, once there is one. Raises `ArmLostError` where the supervisor is gone."""
        values = self._next()
        while self._lines and "finished" not in values:
            values = self._next()
        if "finished" in values:
            self._finished = values["finished"]
            self._hang_up()
            raise ArmLostError("What held the arm's port was told to end; the arm was let down.")
        return decode(values)

    def ready(self) -> Report:
        """The report on which the next order is awaited: the last one is carried out, or the arm has stopped."""
        while True:
            report = self.report()
            over = report.fault is not None or report.state is State.RELEASED
            done = report.serial == self._serial and report.remaining == 0 and report.reading is not None
            if over or done:
                return report

    def go(self, target: Array, steps: int, ramp: int | None = None) -> None:
        """Order it to `target` `[6]` [rad], see `Guard.go`; the next order is due in `steps` servo ticks."""
        self._serial += 1
        self._tell({"go": [float(x) for x in target], "steps": steps, "serial": self._serial, "ramp": ramp})

    def rest(self) -> None:
        """Let it stay where it is; no order is due."""
        self._tell({"rest": True})

    def place_bin(self, pose: Array | None) -> None:
        """Where a bin stands that the arm must not hit: position [m] and quaternion `[7]`."""
        self._tell({"bin": None if pose is None else [float(x) for x in pose]})

    def finish(self, patience: float = 1.0) -> dict[str, Any]:
        """Let the arm down; the loop's `rate ticks missed late jitter busy`, and joints that may be `powered`.

        Servos that do not answer are waited for up to `patience` [s], to take their torque off. Times are percentiles
        [s], the rate is in Hz.
        """
        if self._finished is None:
            self._tell({"finish": patience})
            while "finished" not in (answer := self._next()):
                pass
            self._finished = answer["finished"]
            self._hang_up()
        return self._finished

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._hang_up()

    def _tell(self, order: dict[str, Any]) -> None:
        try:
            self._line.sendall(json.dumps(order).encode() + b"\n")
        except OSError as error:
            raise self._rescued() from error

    def _next(self) -> dict[str, Any]:
        """The next line; those that have come in behind it are in `_lines` then."""
        # A supervisor that is killed leaves a line that is reset, not one that ends.
        with contextlib.suppress(BlockingIOError, ConnectionError):
            while data := self._line.recv(65536, socket.MSG_DONTWAIT if self._lines else 0):
                *lines, self._rest = (self._rest + data).split(b"\n")
                self._lines.extend(lines)
        if not self._lines:
            raise self._rescued()
        answer: dict[str, Any] = json.loads(self._lines.popleft())
        return answer

    def _hang_up(self) -> None:
        """Hang up; the supervisor then lets the arm down, at its own pace, if that was not done."""
        self._line.close()
        self._process.wait()

    def _rescued(self) -> ArmLostError:
        """Let the arm go in place of a supervisor that has died."""
        self._hang_up()
        from robots.arm.lerobot import ArmConfig, LeRobotArm

        config = ArmConfig.of(self.config.arm)
        hush(config.port, kind_of(config.model).servos)

        try:
            arm = LeRobotArm(config)
            arm.connect(powered=False)
        except EmbodiedError as error:
            return ArmLostError(f"What held the arm's port has died, and the arm may have torque: {error}")
        arm.close()
        return ArmLostError("What held the arm's port has died; the arm was let go.")


def hush(port: str, servos: Servos = FEETECH) -> None:
    """Tell all servos on `port` to let go, which none answers: LeRobot, which asks them, takes seconds to load."""
    import serial

    with contextlib.suppress(OSError), serial.Serial(port, 1_000_000) as line:
        for _ in range(3):
            line.write(servos.hush)
        line.flush()
