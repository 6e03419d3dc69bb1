"""A log that came through LeRobot's driver says the same of servos as one that did not."""

import numpy as np
from test_identification import HIDDEN
from twins import patient, start

from envs.servo_file import IDENTIFIED, ServoFile
from robots.arm.lerobot import ArmConfig, LeRobotArm
from robots.governor.governor import Governor
from robots.governor.guard import Guard
from robots.governor.limits import Limits
from robots.identification.excitation import excite
from robots.identification.fit import BASE, NOISE, replay_error, servos_of
from robots.identification.recording import Lockstep, PacketClock, record
from robots.identification.replay import DELAY, Replay
from robots.units import JOINTS

RATE = 50.0
PACKET = 0.01


def test_a_log_through_the_driver_replays_with_the_true_servos_alone(tmp_path):
    none = {name: dict.fromkeys(JOINTS, 0.0) for name in IDENTIFIED}
    ranges = {name: dict.fromkeys(JOINTS, (0.0, 0.0)) for name in IDENTIFIED}
    path = tmp_path / "robot.yaml"
    ServoFile(servos_of(HIDDEN), none, ranges).save(path)
    with start(tmp_path / "twin", servo=str(path), packet_time=PACKET) as twin:
        arm = LeRobotArm(ArmConfig(port=twin.port, id="twin", calibration=str(twin.folder)))
        patient(arm._robot)
        arm.connect(powered=True)

        def now():
            return twin.tell("truth()")["time"]

        guard = Guard(arm, Governor(Limits(), arm.joint_range), RATE, clock=now)
        try:
            commands = excite(Governor(Limits(), arm.joint_range), 2.5, RATE, seed=0).commands
            log = record(Lockstep(guard), commands, PacketClock(now, PACKET), PACKET)
        finally:
            arm.release()
            arm.close()
    assert np.allclose(np.diff(log.time), 2 * PACKET), "a tick is a question and an order"
    assert np.allclose(log.sent - log.time, PACKET)
    replay = Replay(log, BASE, worlds=1)
    true = replay_error(replay, HIDDEN)
    # LeRobot cuts commands to whole counts, so they are half a count off in the mean.
    assert (true < 4 * NOISE).all()
    late = HIDDEN.copy()
    late[:, DELAY] += PACKET
    assert (replay_error(replay, late)[[0, 4, 5]] > 2 * true[[0, 4, 5]]).all()
