"""Policies and supervisors that are killed, whichever arm's twin it is."""

import os
import select
import signal
import subprocess
import sys

import pytest
from twins import enabled

from robots.arm.contract import ArmLostError
from robots.governor.client import SupervisedArm
from robots.units import JOINTS

SUPERVISED = """
from robots.governor.client import SupervisedArm
from robots.governor.supervisor import SupervisorConfig
arm = SupervisedArm(SupervisorConfig.from_json({config!r}))
print(arm.supervisor, flush=True)
while True:
    arm.go(arm.ready().base, 5)
"""
"""A policy's program, to be formatted with the supervisor's configuration; it prints who holds the port."""


def kill_policy(twin, program):
    """Kill a policy's process amid its work, and wait until who holds the port has ended."""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as policy:
        holder = int(policy.stdout.readline())
        assert enabled(twin) == set(JOINTS)
        ended = os.pidfd_open(holder)
        policy.kill()
    select.select([ended], [], [])
    os.close(ended)


def kill_supervisor(config):
    """Kill the supervisor of a policy that goes on, and is told so."""
    with SupervisedArm(config) as arm:
        arm.ready()
        os.kill(arm.supervisor, signal.SIGKILL)
        with pytest.raises(ArmLostError, match="has died; the arm was let go"):
            listen(arm)


def listen(arm):
    """Hear reports until there are none."""
    while True:
        arm.report()
