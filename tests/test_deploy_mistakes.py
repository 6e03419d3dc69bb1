"""What a person does wrong with `embodied deploy`: one sentence that says what to do, no traceback, no torque."""

import contextlib
import json
import os
import pty
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from twins import enabled, start

from embodied.arguments import DeployArguments
from embodied.cli import main
from embodied.config import Config, EnvConfig
from embodied.data.journal import NAME
from embodied.deploy import site
from embodied.run import Run
from embodied.schema import to_dict
from robots.arm.lerobot import ArmConfig, LeRobotArm
from robots.governor.limits import Limits
from robots.units import JOINTS

ROOT = Path(__file__).resolve().parent.parent
HOLD = """
from pathlib import Path
import sys
from robots import stock
robot = stock.follower({port!r}, Path({folder!r}))
stock.connect(robot)
robot.bus.disable_torque(num_retry=1000)
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def twin(tmp_path_factory):
    """One that runs already."""
    with start(tmp_path_factory.mktemp("running") / "twin", clock="reads", packet_time=0.02) as process:
        yield process


@pytest.fixture
def told(tmp_path, monkeypatch, capfd, twin):
    """Runs the command with some words, and gives the one line that it says on stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        given = ("run=expert", "task=place", "episodes=1", "clock=reads", f"port={twin.port}", "record=record", *words)
        # The last word on a setting counts.
        assert main(["deploy", *{word.partition("=")[0]: word for word in given}.values()]) == 2
        said = capfd.readouterr().err.strip().splitlines()
        assert len(said) == 1, said
        assert not enabled(twin)
        return said[0].removeprefix("embodied: ")

    return run


@contextlib.contextmanager
def calibration(twin, change):
    """The twin's calibration file after `change` of its text."""
    path = twin.folder / "twin.json"
    own = path.read_text()
    path.write_text(change(own))
    try:
        yield path
    finally:
        path.write_text(own)


@pytest.mark.parametrize("perception", ["truth", "tags"])
def test_a_port_that_there_is_not(told, perception):
    assert told("port=/dev/no_arm", f"perception={perception}") == (
        "The port /dev/no_arm cannot be opened (No such file or directory): find the arm's with lerobot-find-port, or "
        "use port=twin."
    )


def test_a_port_with_nothing_behind_it(told):
    own, theirs = pty.openpty()
    try:
        assert "and none runs at /dev/" in told(f"port={os.ttyname(theirs)}")
    finally:
        os.close(own)
        os.close(theirs)


def test_a_real_arm_has_no_clock_of_reads(told):
    own, theirs = pty.openpty()
    try:
        said = told(f"port={os.ttyname(theirs)}", "perception=tags")
    finally:
        os.close(own)
        os.close(theirs)
    assert said.startswith("clock=reads was given, and no twin runs at /dev/")
    assert said.endswith(
        "a real arm goes by the clock on the wall, under a supervisor; leave clock=wall, or use port=twin."
    )


@pytest.mark.parametrize(("clock", "packet_time"), [("wall", 0.02), ("packets", 0.02), ("reads", 0.01)])
def test_a_twin_with_another_clock(told, tmp_path, clock, packet_time):
    with start(tmp_path / "other", clock=clock, packet_time=packet_time) as other:
        said = told(f"port={other.port}")
        assert not enabled(other)
    assert said == (
        f"clock=reads rate=50 was given, and the twin at {other.port} has clock={clock} packet_time={packet_time:g}: "
        "start it with clock=reads packet_time=0.02, or leave clock=wall."
    )


def test_a_real_port_is_never_stepped(tmp_path, monkeypatch):
    """Whatever the arguments say, an arm that is not known to stand still between reads has a supervisor."""
    monkeypatch.setattr(site, "SupervisedArm", lambda config: "supervised")
    monkeypatch.setattr(site, "SteppedArm", lambda config: "stepped")
    given = DeployArguments(run="expert", clock="reads")
    place = site.Site("/dev/arm", None, lambda text: {})
    assert site.arm_at(place, given, Limits()) == "supervised"
    assert site.arm_at(replace(place, stepped=True), given, Limits()) == "stepped"


@pytest.mark.parametrize("clock", ["reads", "wall"])
def test_a_port_that_we_have(told, twin, clock):
    arm = LeRobotArm(ArmConfig(port=twin.port, id="twin", calibration=str(twin.folder)))
    arm.connect(powered=False)
    try:
        said = told(f"clock={clock}")
    finally:
        arm.close()
    assert said == f"The arm on {twin.port} is driven by another process; stop it, or name another port."


def test_a_port_that_lerobot_has(told, twin):
    """Which locks nothing: with two drivers on a bus, answers to one are answers to the other."""
    code = HOLD.format(port=twin.port, folder=str(twin.folder))
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "ready\n"
        said = told()
        process.stdin.close()
    assert said.startswith(f"The arm on {twin.port} is driven by python")
    assert said.endswith(f"(process {process.pid}); stop it, or name another port.")


def test_another_kind_of_arm_on_the_port(told, tmp_path):
    with start(tmp_path / "koch", robot="koch", clock="reads", packet_time=0.02) as koch:
        said = told(f"port={koch.port}")
    assert said.startswith(f"No so101_follower answers on {koch.port} (FeetechMotorsBus motor check failed on port ")
    assert "): check the arm's power, its cables, and driver=; servos that a fault has shut down need" in said


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("robot=omx", "Unknown robot 'omx'. Allowed: koch, so101."),
        ("driver=koch_follower", "has servos xl330-m288, xl430-w250, and a so101 has sts3215"),
        ("driver=so101_folower", "Unknown driver 'so101_folower'. Did you mean 'so101_follower'?"),
        ("driver=lekiwi", "LeRobot's lekiwi "),
        (
            "rate=130",
            "rate=130 was given with clock=reads, where a tick is a whole number of physics steps of 5 ms: with "
            "this policy, rate=10, 20, 40, 50, 100, 200 are.",
        ),
        ("rate=500", "rate must be at most 200 servo ticks per second, not 500."),
        ("silence=1e9", "silence must be above 0 and at most 2 s, not 1e+09: an arm of which nobody hears is stopped."),
        ("silence=0", "silence must be above 0 and at most 2 s, not 0: "),
        ("rate=25", "rate=25 is no multiple of the policy's 10 Hz; 50 and 100 are"),
        ("port=/etc/passwd", "/etc/passwd is no serial port: find the arm's with lerobot-find-port, or use port=twin."),
        ("port=/dev/null", "/dev/null is no serial port: "),
        ("port=", "port= names no port: find the arm's with lerobot-find-port, or use port=twin."),
        ("record=/dev/null", "The folder /dev/null/episodes cannot be made (a file is there); choose another."),
        ("record=/proc/deploy", "The folder /proc/deploy/episodes cannot be made ("),
        ("task=stack", "start the twin with the same task"),
        ("perception=tags", "camera.json is no camera calibration"),
    ],
)
def test_a_setting_that_does_not_fit(told, word, sentence):
    assert sentence in told(word)


@pytest.mark.parametrize(
    ("words", "given"),
    [
        (["servo=lerobot"], "servo=lerobot"),
        (["variation=1.5"], "variation=1.5"),
        (["servo=firm", "variation=2"], "servo=firm and variation=2"),
    ],
)
def test_a_setting_of_a_twin_of_our_own(told, words, given):
    said = told(*words)
    assert said.startswith(f"{given} is for port=twin, whose twin is started for this; what is at ")


def test_a_task_beside_a_run(told):
    assert told("run=runs/demo", "task=lift") == (
        "task=lift was given beside run=runs/demo, which has a task of its own: leave task= out, or use run=expert."
    )


@pytest.mark.parametrize("perception", ["tags", "pixels"])
def test_eyes_for_another_arm(told, perception):
    pytest.importorskip("dynamixel_sdk", reason="the extra `dynamixel` is not installed")
    said = told("robot=koch", "port=twin", f"perception={perception}")
    assert f"perception={perception} looks with the kinematics of so101, and koch is here" in said


@pytest.mark.parametrize("clock", ["reads", "wall"])
def test_no_calibration(told, twin, clock):
    assert told("id=mine", f"clock={clock}") == (
        f"There is no calibration {twin.folder}/mine.json of this arm; run lerobot-calibrate "
        f"--robot.type=so101_follower --robot.port={twin.port} --robot.id=mine --robot.calibration_dir={twin.folder}."
    )


def _foreign(text):
    values = json.loads(text)
    values["elbow_flex"]["homing_offset"] += 40
    return json.dumps(values)


@pytest.mark.parametrize("clock", ["reads", "wall"])
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (_foreign, "is not the one in the servos: it is of another arm, or older; run lerobot-calibrate"),
        (lambda text: text[:40], "twin.json in {folder} cannot be read (Failed to load config from "),
        (lambda text: '{"gripper": {"id": 6}}', "{folder} cannot be read (`gripper`: Missing required field(s) "),
    ],
)
def test_a_calibration_that_is_not_this_arms(told, twin, change, sentence, clock):
    with calibration(twin, change):
        said = told(f"clock={clock}")
    assert sentence.format(folder=twin.folder) in said
    assert said.endswith(f"--robot.id=twin --robot.calibration_dir={twin.folder}.")


@pytest.mark.parametrize(
    ("env", "sentence"),
    [
        ({"play": "boxes"}, "moves a pusher; an arm has shoulder_pan"),
        ({"task": "handover"}, "The policy of handover moves two_so101 by x, y, z, "),
        ({"task": "drawer"}, "Nothing tells how far cabinet of the task drawer is open; deploy a task without"),
        (
            {"obstacles": ("wall",)},
            "among obstacles (wall), which cannot be deployed, for nothing sees where they stand; choose a run without "
            "env.obstacles.",
        ),
        ({}, "There is no checkpoint run/checkpoints/policy.safetensors; train first"),
    ],
)
def test_a_policy_of_something_else(told, tmp_path, env, sentence):
    config = replace(Config(), run="run", env=replace(EnvConfig(), **env))
    with Run.open("run", to_dict(config)):
        assert sentence in told("run=run")
    if "task" in env:
        assert sentence in told("run=expert", f"task={env['task']}")


def test_a_run_that_there_is_not(told):
    assert "There is no run in nowhere" in told("run=nowhere")


def test_a_cable_that_comes_out(twin, tmp_path):
    words = ("run=expert", "clock=reads", "episodes=9", f"port={twin.port}", f"record={tmp_path}")
    journal, said = tmp_path / "episodes" / NAME, []
    with subprocess.Popen(
        [sys.executable, "-m", "embodied", "deploy", *words], cwd=ROOT, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    ) as process:  # fmt: skip
        while process.poll() is None and not (journal.exists() and journal.stat().st_size > 20_000):
            time.sleep(0.01)
        twin.tell("unplug()")
        for line in process.stdout:
            said.append(line.split("  ")[0].strip())
            if said[-1] == "LOST":
                assert enabled(twin) == set(JOINTS), "nobody can tell them"
                twin.tell("clear(unplug)")
    assert said == ["LOST", "success", "objects", "cut", "loop", "stopped", "let go", f"recorded {tmp_path}"]
    assert process.returncode == 1
    assert not enabled(twin)
