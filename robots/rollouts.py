"""Stock `lerobot-rollout` with an exported policy, from given beginnings on one twin; judged by the twin's truth.

The command itself, in a process of its own, once per beginning. Between two a hand leads the arm to its start and the
table is laid, as somebody beside an arm would do. A twin's time passes when LeRobot reads its joints, a control step
each: how busy the machine is changes nothing. For that LeRobot's driver is given more than its 50 ms to wait.
"""

import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from envs.errors import EmbodiedError
from envs.servo_file import named_servos
from envs.tasks import task as named_task
from envs.types import Array, Observation
from robots.perception.truth import Tell, TruthSenses
from robots.twin.process import TwinProcess
from robots.twin.server import TwinConfig
from robots.units import JOINTS

PATIENCE = 60_000.0
"""[ms] for an answer of a servo."""
LOOK = 0.005
"""[s] between two looks at the twin's clock."""
BEFORE = 2
"""Questions for joints before the first action is under way: where the arm is, and the policy's own first one."""
MOST = 600.0
"""[s] of the wall's clock for one episode."""


def rolled_out(
    policy: Path,
    name: str,
    goal: str | None,
    horizon: int | None,
    rate: int,
    servo: str,
    seeds: Sequence[int],
    distractors: Sequence[str] = (),
) -> Array:
    """`[N]` whether the goal of the task `name` holds at the end of each episode that begins with one of `seeds`.

    `policy` is the folder of `embodied export`, `rate` its decisions per second [Hz], `servo` the twin's servos,
    `distractors` the objects beyond the task's own.
    Raises `EmbodiedError` with its last line where the command fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        words = {"policy": str(policy), "name": name, "goal": goal, "horizon": horizon, "rate": rate, "servo": servo,
                 "seeds": [int(seed) for seed in seeds], "distractors": list(distractors),
                 "folder": f"{folder}/twin"}  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-m", "robots.rollouts", json.dumps(words)], capture_output=True, text=True, check=False,
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
        )  # fmt: skip
        told = done.stdout.strip().splitlines()
        if done.returncode or not told:
            raise EmbodiedError(
                f"lerobot-rollout failed: {(done.stderr.strip() or 'it said nothing').splitlines()[-1]}"
            )
        return np.array(json.loads(told[-1]), bool)


def main(text: str) -> int:
    """Run what the JSON `text` says, and print successes as JSON on the last line."""
    from lerobot.motors.feetech import feetech
    from lerobot.scripts import lerobot_rollout

    own = feetech.patch_setPacketTimeout

    def patient(handler: object, length: int) -> None:
        own(handler, length)
        handler.packet_timeout += PATIENCE  # type: ignore[attr-defined]

    feetech.patch_setPacketTimeout = patient
    told = json.loads(text)
    task = named_task(told["name"], told["goal"], told["horizon"], told["distractors"])
    scene = replace(task.scene, servo=named_servos(told["servo"]))
    settings = TwinConfig(
        task=told["name"], distractors=tuple(told["distractors"]), servo=told["servo"],
        folder=told["folder"], clock="reads", packet_time=1.0 / told["rate"], picture=0.0,
    )  # fmt: skip
    found = []
    with TwinProcess(settings) as twin:
        senses = TruthSenses(scene, twin.tell)
        sys.argv = [
            "lerobot-rollout", "--discover_packages_path=robots.lerobot_plugin", "--robot.type=so101_follower",
            f"--robot.port={twin.port}", "--robot.id=twin", f"--robot.calibration_dir={twin.folder}",
            f"--policy.path={told['policy']}", f"--policy.twin={twin.folder}", "--policy.device=cpu", "--device=cpu",
            f"--fps={told['rate']}", f"--duration={MOST:g}", "--return_to_initial_position=false",
            "--play_sounds=false",
        ]  # fmt: skip
        for seed in told["seeds"]:
            _begin(twin.tell, seed, task.layout([np.random.default_rng(seed)]).joints[0])
            watch = Watch(twin.tell, senses, (task.horizon + BEFORE) / told["rate"])
            watch.start()
            lerobot_rollout.main()
            watch.join()
            if watch.seen is None:
                raise EmbodiedError(f"The episode that begins with {seed} was not over after {MOST:g} s.")
            found.append(bool(task.goal.satisfied(watch.seen.objects)))
            logging.info("beginning %d: %s", seed, found[-1])
    sys.stdout.write(json.dumps(found) + "\n")
    return 0


class Watch(threading.Thread):
    """Sees what there is `seconds` of the twin's time from now, and interrupts this process then, as ctrl-C does."""

    def __init__(self, tell: Tell, senses: TruthSenses, seconds: float) -> None:
        super().__init__(daemon=True)
        self._tell, self._senses = tell, senses
        self._until = self._told()[0] + seconds
        self.seen: Observation | None = None

    def run(self) -> None:
        """Until then, or until an episode takes far too long."""
        end = time.monotonic() + MOST
        while time.monotonic() < end:
            now, joints = self._told()
            if now >= self._until - 1e-6:
                self.seen = self._senses.see(joints, np.zeros(len(JOINTS)), joints, now)
                break
            time.sleep(LOOK)
        os.kill(os.getpid(), signal.SIGINT)

    def _told(self) -> tuple[float, Array]:
        truth = self._tell("truth()")
        return float(truth["time"]), np.array([truth["joints"][name] for name in JOINTS])


def _begin(tell: Tell, seed: int, joints: Array) -> None:
    tell(f"hand({', '.join(f'{name}={angle}' for name, angle in zip(JOINTS, joints, strict=True))})")
    while tell("advance(0.5)")["hand"]:
        pass
    tell(f"lay({seed})")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
