"""The process that holds the port. It outlives the policy's, and lets the arm down when that is gone or silent.

Lines of JSON come in: `{"go": [6 joints], "steps": n, "serial": k, "ramp": m or null}`, `{"rest": true}`,
`{"bin": [7] or null}` and `{"finish": seconds to wait for servos that do not answer}`. Out goes one report per servo
tick; before the first `{"ready": true}` or `{"error": sentence}`, at the end `{"finished": {...}}` with the loop's
times.
"""

import json
import signal
import socket
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from envs.errors import EmbodiedError
from robots.arm.contract import Robot
from robots.governor.guard import Guard, State
from robots.governor.limits import FASTEST, Limits
from robots.governor.wire import encode
from robots.loop import Deadlines, percentiles

UNSENT = 1 << 20
"""[byte] A policy that reads no reports loses those beyond."""
PERSISTENCE = 60.0
"""[s] for which the torque is tried to be taken off servos that do not answer, when the policy is gone."""


@dataclass(frozen=True)
class SupervisorConfig:
    """What a supervisor is told when it starts."""

    arm: dict[str, Any]
    """Fields of `robots.arm.lerobot.ArmConfig`."""
    limits: Limits = field(default_factory=Limits)
    rate: float = 50.0
    """Servo ticks per second [Hz]."""
    moving: bool = True
    """False reads and rules, and no servo has torque."""

    def __post_init__(self) -> None:
        """Raise `EmbodiedError` for a rate that no servo bus keeps up with."""
        if not 0.0 < self.rate <= FASTEST:
            raise EmbodiedError(
                f"rate={self.rate:g} was given; servo ticks per second are above 0 and at most {FASTEST:g}."
            )

    def as_json(self) -> str:
        """For `from_json`."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "SupervisorConfig":
        """What `as_json` gave."""
        values = json.loads(text)
        (x, y, z) = (tuple(side) for side in values["limits"].pop("workspace"))
        return cls(**{**values, "limits": Limits(**values["limits"], workspace=(x, y, z))})


class Supervisor:
    """Serves one policy on a socket."""

    def __init__(self, line: socket.socket, arm: Robot, config: SupervisorConfig) -> None:
        from robots.governor.governor import Governor

        self._line, self._arm = line, arm
        self._line.setblocking(False)
        self._guard = Guard(arm, Governor(config.limits, arm.joint_range, arm.model), config.rate, moving=config.moving)
        self._rate = config.rate
        self._in, self._out = bytearray(), bytearray()
        self._alone = self._ended = False
        self._busy: list[float] = []
        self._patience = config.limits.holding
        self._lost: float | None = None
        """Since when servos that should be let go do not answer [s]."""

    def end(self, *_: object) -> None:
        """Let the arm down and return from `serve`; fit to be a signal handler."""
        self._ended = True

    def serve(self) -> None:
        """Until the policy is done, or gone and the arm let go."""
        guard, deadlines = self._guard, Deadlines(self._rate)
        # With a policy that is gone, nobody can be told that servos may have torque.
        while not self._over(PERSISTENCE if self._alone else self._patience):
            deadlines.wait()
            before = time.monotonic()
            self._hear()
            if self._alone:
                guard.stop("the policy's process is gone")
            elif self._ended:
                guard.finish()
            report = guard.tick()
            if len(self._out) < UNSENT:
                self._out += encode(report)
            self._send()
            self._busy.append(time.monotonic() - before)
        finished = {
            "powered": guard.powered, "rate": deadlines.achieved, "ticks": len(deadlines.times),
            "missed": deadlines.missed, "late": percentiles(deadlines.lateness), "jitter": deadlines.jitter,
            "busy": percentiles(self._busy),
        }  # fmt: skip
        self._out += json.dumps({"finished": finished}).encode() + b"\n"
        self._line.settimeout(1.0)
        self._send()

    def _over(self, persistence: float) -> bool:
        """Whether the arm was let go as it should be, or could not be for so long [s]."""
        if self._guard.state is State.LOST and (self._alone or self._ended):
            self._lost = time.monotonic() if self._lost is None else self._lost
            return time.monotonic() - self._lost > persistence
        return self._guard.state is State.RELEASED and (self._alone or self._ended)

    def _hear(self) -> None:
        """Carry out what has come in."""
        try:
            while data := self._line.recv(65536):
                self._in += data
            self._alone = True
        except BlockingIOError:
            pass
        except OSError:
            self._alone = True
        *lines, rest = bytes(self._in).split(b"\n")
        self._in[:] = rest
        for line in lines:
            order = json.loads(line)
            if "go" in order:
                target, steps, serial = np.array(order["go"], np.float64), int(order["steps"]), int(order["serial"])
                self._guard.go(target, steps, serial, order.get("ramp"))
            elif "rest" in order:
                self._guard.rest()
            elif "bin" in order:
                self._guard.governor.place_bin(None if order["bin"] is None else np.array(order["bin"]))
            elif "finish" in order:
                self._ended, self._patience = True, float(order["finish"])

    def _send(self) -> None:
        try:
            sent = self._line.send(self._out)
            del self._out[:sent]
        except OSError:
            # Nobody reads now; whether somebody still will shows when it is heard.
            pass


def main(number: str, text: str) -> int:
    """Serve on the inherited socket `number`, as the JSON `text` says."""
    # A terminal's ctrl-C goes to all of its processes, and so does its end; this one ends when the policy's does.
    for word in (signal.SIGINT, signal.SIGHUP):
        signal.signal(word, signal.SIG_IGN)
    with socket.socket(fileno=int(number)) as line:
        try:
            from robots.arm.lerobot import ArmConfig, LeRobotArm

            config = SupervisorConfig.from_json(text)
            arm = LeRobotArm(ArmConfig.of(config.arm))
            arm.connect(powered=config.moving)
        except EmbodiedError as error:
            line.sendall(json.dumps({"error": str(error)}).encode() + b"\n")
            return 2
        try:
            supervisor = Supervisor(line, arm, config)
            signal.signal(signal.SIGTERM, supervisor.end)
            line.setblocking(True)
            line.sendall(b'{"ready": true}\n')
            line.setblocking(False)
            supervisor.serve()
        finally:
            arm.release()
            arm.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
