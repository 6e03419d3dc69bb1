"""The process that holds the port, beside policies that end well, that stall, and that are killed; and its own end."""

import os
import signal
from dataclasses import replace

import pytest
from killing import SUPERVISED, kill_policy, kill_supervisor, listen
from twins import enabled, start

from envs.errors import EmbodiedError
from robots.arm.contract import ArmLostError
from robots.governor.client import SupervisedArm
from robots.governor.limits import Limits
from robots.governor.supervisor import SupervisorConfig

STOCK = """
import os
from pathlib import Path
from robots import stock
robot = stock.follower({port!r}, Path({folder!r}))
stock.connect(robot)
print(os.getpid(), flush=True)
while True:
    robot.bus.sync_write("Goal_Position", robot.bus.sync_read("Present_Position", num_retry=1000))
"""


@pytest.fixture(scope="module")
def twin(tmp_path_factory):
    with start(tmp_path_factory.mktemp("supervised") / "twin") as process:
        yield process


def supervised(twin, **limits):
    """A supervisor that is patient with a busy machine, and quick to let go."""
    arm = {"port": twin.port, "id": "twin", "calibration": str(twin.folder)}
    return SupervisorConfig(arm=arm, limits=Limits(**{"silence": 60.0, "holding": 0.1, "lowering": 0.1} | limits))


@pytest.mark.parametrize(
    "program",
    [pytest.param(STOCK, marks=pytest.mark.xfail(raises=AssertionError, strict=True, reason="alone")), SUPERVISED],
)
def test_a_killed_policy_leaves_no_torque(twin, program):
    kill_policy(twin, program.format(port=twin.port, folder=str(twin.folder), config=supervised(twin).as_json()))
    assert not enabled(twin)


def test_an_arm_is_led_rests_and_is_let_down(twin):
    with SupervisedArm(supervised(twin, silence=1.0)) as arm:
        start = arm.ready().base
        target = start.copy()
        target[0] += 0.1
        arm.go(target, 10)
        report = arm.ready()
        assert report.base == pytest.approx(target)
        assert report.reading.position[0] > start[0] + 0.03
        arm.rest()
        finished = arm.finish()
        assert finished["powered"] == []
        assert finished["ticks"] > 10
        assert finished.keys() >= {"rate", "late", "busy", "missed"}
    assert not enabled(twin)


def test_an_arm_that_cannot_be_had_is_told_by_the_supervisor(twin):
    config = supervised(twin)
    with pytest.raises(EmbodiedError, match="The port /dev/ttyACM9 cannot be opened"):
        SupervisedArm(replace(config, arm={**config.arm, "port": "/dev/ttyACM9"}))


def test_a_supervisor_that_is_told_to_end_lets_the_arm_down(twin):
    with SupervisedArm(supervised(twin)) as arm:
        arm.ready()
        os.kill(arm.supervisor, signal.SIGTERM)
        with pytest.raises(ArmLostError, match="was told to end; the arm was let down"):
            listen(arm)
        assert arm.finish()["powered"] == []
    assert not enabled(twin)


def test_a_killed_supervisor_is_stood_in_for(twin):
    kill_supervisor(supervised(twin))
    assert not enabled(twin)


@pytest.mark.parametrize("rate", [0.0, 201.0, float("nan")])
def test_a_rate_that_no_bus_keeps_up_with_is_refused(rate):
    with pytest.raises(EmbodiedError, match=f"rate={rate:g} was given; servo ticks per second are above 0"):
        SupervisorConfig(arm={}, rate=rate)
