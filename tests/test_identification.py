"""Identification of servos: motion within limits, replay that is the twin's, a fit that finds what is hidden."""

import io
import os
import pty
from dataclasses import replace

import numpy as np
import pytest
import yaml
from twins import start

from embodied.arguments import IdentifyArguments
from embodied.bench import identify as bench
from embodied.bench.identify import moved
from embodied.cli import main
from embodied.console import Console
from embodied.identify import identify
from envs.errors import EmbodiedError
from envs.servo import SERVOS, Servo, per_joint
from envs.servo_file import IDENTIFIED, ServoFile, named_servos
from envs.so101 import JOINT_HIGH, JOINT_LOW
from robots.governor.governor import Governor
from robots.governor.limits import Limits
from robots.identification.excitation import AMPLITUDE, POSTURE, excite
from robots.identification.fit import BASE, NOISE, fit, parameters_of, replay_error, servos_of
from robots.identification.log import Log, load_logs, save_logs
from robots.identification.replay import BACKLASH, DELAY, KP, Replay
from robots.twin.arm import Arm, ArmConfig
from robots.units import JOINTS

RANGE = np.stack([JOINT_LOW, JOINT_HIGH], axis=1)
HIDDEN = np.array(
    [
        [11.1, 0.68, 0.105, 0.012, 0.016],
        [8.2, 0.75, 0.023, 0.017, 0.010],
        [6.3, 0.65, 0.093, 0.001, 0.026],
        [6.1, 0.86, 0.038, 0.005, 0.025],
        [12.5, 0.80, 0.106, 0.027, 0.018],
        [13.3, 0.35, 0.074, 0.026, 0.017],
    ]
)
"""Of the joints, in the order of `IDENTIFIED`."""


@pytest.fixture(scope="module")
def governor():
    return Governor(Limits(), RANGE)


@pytest.fixture(scope="module")
def excitation(governor):
    return excite(governor, 4.0, 50.0, seed=0)


@pytest.fixture(scope="module")
def log(excitation):
    return moved(HIDDEN, excitation.commands)


@pytest.fixture(scope="module")
def replay(log):
    return Replay(log, BASE, worlds=4)


@pytest.fixture(scope="module")
def found(log):
    return fit(log)


def test_the_excitation_moves_every_joint_from_rest_to_rest_within_limits(excitation, governor):
    commands, limits = excitation.commands, governor.limits
    assert np.allclose(commands[[0, -1]], POSTURE)
    assert (np.abs(commands - POSTURE).max(axis=0) > 0.25 * AMPLITUDE).all()
    assert (np.abs(commands - POSTURE).max(axis=0) <= AMPLITUDE + 1e-9).all()
    assert (commands > RANGE[:, 0] + limits.margin).all()
    assert (commands < RANGE[:, 1] - limits.margin).all()
    assert np.abs(np.diff(commands, axis=0)).max() * 50.0 < limits.gripper_velocity
    # No joint is a shadow of another.
    correlation = np.corrcoef(np.diff(commands, axis=0).T) - np.eye(6)
    assert np.abs(correlation).max() < 0.6


def test_an_arm_without_room_is_not_moved():
    tight = Governor(Limits(workspace=((0.0, 0.05), (-0.02, 0.02), (0.45, 0.5))), RANGE)
    with pytest.raises(EmbodiedError, match="leaves no room to move the joints"):
        excite(tight, 4.0, 50.0, seed=0)


def test_a_replay_with_the_true_servos_is_the_twin_to_the_encoders_rounding(replay):
    assert (replay_error(replay, HIDDEN) < 1.3 * NOISE).all()


@pytest.mark.parametrize(
    ("joint", "place", "value"), [(0, KP, 12.2), (4, DELAY, 0.017), (0, DELAY, 0.022), (5, BACKLASH, 0.007)]
)
def test_a_replay_with_another_servo_is_not(replay, joint, place, value):
    other = HIDDEN.copy()
    other[joint, place] = value
    assert replay_error(replay, other)[joint] > 2 * NOISE


def test_many_replays_at_once_are_those_one_by_one(replay):
    sets = np.stack([HIDDEN * factor for factor in (1.0, 0.9, 1.1, 1.2, 0.8, 1.05)])
    together = replay.predict(sets)
    for parameters, path in zip(sets, together, strict=True):
        assert np.array_equal(replay.predict(parameters[None])[0], path)


def test_the_fit_finds_what_is_hidden(found):
    away = np.abs(found.parameters - HIDDEN)
    assert (away / HIDDEN)[:, :2].max() < 0.05, "kp and damping"
    assert away[:, 2].max() < 0.006, "dry friction [N m]"
    assert away[:, 3].max() < 0.003, "delay [s]"
    told = found.told[:, 4]
    assert away[told, 4].max() < np.deg2rad(0.2)
    assert told.sum() >= 4, "gravity holds gears of the others to one side"
    assert (found.rms < 1.3 * NOISE).all()
    assert ((found.low <= found.parameters) & (found.parameters <= found.high)).all()
    # Not every range can hold the truth, yet they are of the errors' size.
    assert ((found.low <= HIDDEN) & (found.high >= HIDDEN)).mean() > 0.6
    assert np.median(found.errors[:, 0] / found.parameters[:, 0]) < 0.02


def test_the_fit_foretells_other_motion(found, governor):
    held_out = moved(HIDDEN, excite(governor, 4.0, 50.0, seed=1).commands)
    other = Replay(held_out, BASE, worlds=1)
    ours, before = (replay_error(other, each) for each in (found.parameters, parameters_of((BASE,) * 6)))
    assert (ours < 2 * NOISE).all()
    assert (ours < 0.3 * before).all()


def test_logs_come_back_as_they_were(tmp_path, log):
    save_logs(tmp_path / "logs.npz", {"fitted": log, "held_out": replace(log, command=log.command + 1)})
    back = load_logs(tmp_path / "logs.npz")
    assert list(back) == ["fitted", "held_out"]
    for name in ("time", "sent", "command", "position"):
        assert np.array_equal(getattr(back["fitted"], name), getattr(log, name))
    assert np.array_equal(back["held_out"].command, log.command + 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"position": np.zeros((3, 5))}, "has arrays of shapes"),
        ({"command": np.full((3, 6), np.nan)}, "not finite"),
        ({"time": np.array([0.0, 0.1, 0.1])}, "must ascend"),
    ],
)
def test_a_log_that_makes_no_sense_is_one_sentence(change, message):
    sound = {
        "time": np.arange(3.0), "sent": np.arange(3.0), "command": np.zeros((3, 6)), "position": np.zeros((3, 6))
    }  # fmt: skip
    Log(**sound)
    with pytest.raises(EmbodiedError, match=message):
        Log(**(sound | change))


# The robot file.


def test_a_robot_file_keeps_servos_errors_and_ranges(tmp_path, found):
    path, written = tmp_path / "robot.yaml", found.as_file()
    written.save(path, "a note\nof two lines")
    assert path.read_text().startswith("# a note\n# of two lines\n")
    back = ServoFile.load(path)
    assert np.allclose(parameters_of(back.servos), found.parameters, rtol=1e-5)
    for place, name in enumerate(IDENTIFIED):
        for j, joint in enumerate(JOINTS):
            assert back.errors[name][joint] == pytest.approx(found.errors[j, place], rel=1e-5)
            assert back.ranges[name][joint] == pytest.approx((found.low[j, place], found.high[j, place]), rel=1e-5)
    assert back.servos == named_servos(str(path))


def test_what_is_drawn_from_a_robot_file_is_within_its_ranges(found):
    with pytest.raises(EmbodiedError, match="have no ranges to draw from"):
        named_servos("firm", draw=0)
    drawn = parameters_of(found.as_file().sample(np.random.default_rng(0)))
    assert ((found.low <= drawn) & (drawn <= found.high)).all()
    assert not np.allclose(drawn, found.parameters)
    again = parameters_of(found.as_file().sample(np.random.default_rng(0)))
    assert np.array_equal(drawn, again)


@pytest.mark.parametrize(
    "break_it",
    [
        lambda values: values.pop("servo"),
        lambda values: values["servo"]["kp"].pop("gripper"),
        lambda values: values["ranges"]["delay"].update(gripper=[2, 1]),
        lambda values: values["servo"].update(stiffness=values["servo"]["kp"]),
        lambda values: values["servo"]["kp"].update(gripper="stiff"),
    ],
)
def test_a_robot_file_that_is_none_is_one_sentence(tmp_path, found, break_it):
    path = tmp_path / "robot.yaml"
    found.as_file().save(path)
    values = yaml.safe_load(path.read_text())
    break_it(values)
    path.write_text(yaml.safe_dump(values))
    with pytest.raises(EmbodiedError, match=r"robot\.yaml is no robot file .*embodied identify writes one"):
        ServoFile.load(path)


def test_one_servo_stands_for_all_and_another_number_is_refused():
    assert per_joint(SERVOS["firm"], JOINTS) == (SERVOS["firm"],) * 6
    each = tuple(Servo(kp=float(k + 1)) for k in range(6))
    assert per_joint(each, JOINTS) == each
    with pytest.raises(EmbodiedError, match="5 servos were given"):
        per_joint(each[:5], JOINTS)
    assert [servo.kp for servo in servos_of(HIDDEN)] == HIDDEN[:, 0].tolist()


# The command.


def test_the_command_fits_logs_and_writes_what_the_twin_can_be(tmp_path, log, found, capsys, monkeypatch):
    monkeypatch.setattr("embodied.identify.fit", lambda given, _: found if np.array_equal(given.time, log.time) else 0)
    logs = tmp_path / "logs.npz"
    save_logs(logs, {"fitted": log, "held_out": log})
    identify(IdentifyArguments(logs=str(logs), folder=str(tmp_path / "out")), Console())
    shown = capsys.readouterr().out
    assert "wrote" in shown
    assert "replay error [mrad rms]" in shown
    path = tmp_path / "out" / "robot.yaml"
    assert np.allclose(parameters_of(ServoFile.load(path).servos)[:, :2], HIDDEN[:, :2], rtol=0.05)
    drawn = Arm(ArmConfig(servo=str(path), draw=3))
    assert [servo.lag for servo in drawn.servos] == [
        servo.delay for servo in ServoFile.load(path).sample(np.random.default_rng(3))
    ]
    arm = Arm(ArmConfig(servo=str(path)))
    assert [servo.lag for servo in arm.servos] == pytest.approx(HIDDEN[:, 3], abs=0.003)


def test_mistakes_are_one_sentence(tmp_path, capsys, log):
    save_logs(tmp_path / "one.npz", {"fitted": log})
    (tmp_path / "empty.npz").write_bytes(b"")
    (tmp_path / "text.npz").write_text("nothing of ours")
    (tmp_path / "zip.npz").write_bytes(b"PK\x03\x04 cut short")
    np.save(tmp_path / "array.npy", np.zeros(3))
    for word, message in (
        *(
            (
                f"logs={tmp_path / name}",
                f"{name} holds no logs of embodied identify (it is damaged, or something else)",
            )
            for name in ("empty.npz", "text.npz", "zip.npz", "array.npy")
        ),
        (f"logs={tmp_path}", "holds no logs of embodied identify (Is a directory): give"),
        ("port=", "port= names no port: find the arm's with lerobot-find-port, or use port=twin."),
        ("port=/dev/null", "/dev/null is no serial port: find the arm's with lerobot-find-port"),
        (f"folder={tmp_path / 'text.npz'}", "text.npz cannot be made (a file is there); choose another."),
        (f"logs={tmp_path / 'gone.npz'}", "holds no logs of embodied identify"),
        (f"logs={tmp_path / 'one.npz'}", "fitted and held_out"),
        ("speed=2", "speed must be above 0 and at most 1"),
        ("seconds=1", "seconds must be 4 or more"),
        ("seconds=1e12", "seconds must be at most 120 a log, not 1e+12"),
        ("port=/dev/ttyACM0 servo=firm", "servo=firm is for port=twin"),
    ):
        assert main(["identify", f"folder={tmp_path / 'out'}", *word.split()]) == 2
        said = capsys.readouterr().err
        assert message in said
        assert said.count("\n") == 1


@pytest.mark.parametrize("answer", ["q\n", "", "no\n"])
def test_a_real_arm_is_not_moved_unasked(tmp_path, answer, monkeypatch, capsys):
    own, theirs = pty.openpty()
    monkeypatch.setattr("embodied.identify.recorded", lambda *_: pytest.fail("it was moved"))
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    try:
        assert main(["identify", f"port={os.ttyname(theirs)}", f"folder={tmp_path / 'out'}"]) == 0
    finally:
        os.close(own)
        os.close(theirs)
    said = capsys.readouterr().out
    assert "clear the room around it. [enter], or q to stop" in said
    assert "Nothing was moved." in said


def test_a_real_arm_is_moved_after_enter_and_a_twin_unasked(tmp_path, log, monkeypatch):
    class MovedError(Exception):
        pass

    def moved(*_):
        raise MovedError

    own, theirs = pty.openpty()
    monkeypatch.setattr("embodied.identify.recorded", moved)
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    try:
        for port in ("twin", os.ttyname(theirs)):
            with pytest.raises(MovedError):
                identify(IdentifyArguments(port=port, folder=str(tmp_path / "out")), Console(io.StringIO()))
    finally:
        os.close(own)
        os.close(theirs)
    with start(tmp_path / "twin") as twin, pytest.raises(MovedError):
        identify(IdentifyArguments(port=twin.port, folder=str(tmp_path / "out")), Console(io.StringIO()))


def test_the_bench_measures_against_what_it_hid(monkeypatch, found):
    hidden = {}

    def told(log):
        # As if the fit were 10 % off in stiffness and right in all else.
        parameters = hidden["parameters"].copy()
        parameters[:, KP] *= 1.1
        return replace(found, parameters=parameters, low=0.95 * parameters, high=1.05 * parameters)

    def seen(parameters, commands, faults):
        hidden["parameters"] = parameters
        hidden.setdefault("faults", []).append([fault.kind for fault in faults])
        return moved(parameters, commands[:30], faults)

    monkeypatch.setattr("embodied.bench.identify.moved", seen)
    monkeypatch.setattr("embodied.bench.identify.fit", told)
    raw = {part: bench.measure(part, 0, True, Console()) for part in bench.PARTS}
    figures = bench.summarise({part: [each] for part, each in raw.items()})
    for part in bench.PARTS:
        assert figures[f"{part}_kp_percent"]["value"] == pytest.approx(10.0)
        assert figures[f"{part}_delay_ms"]["value"] == 0.0
        assert figures[f"{part}_in_range"]["value"] == pytest.approx(0.8)
    assert figures["clean_held_out_true_mrad"]["value"] < 1e3 * 1.3 * NOISE
    assert hidden["faults"] == [[], [], ["zero"] * 6, ["zero"] * 6]
