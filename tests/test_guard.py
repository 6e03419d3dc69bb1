"""How the guard carries out orders, gives way to what an arm presses on, and brings it to rest."""

import numpy as np
import pytest
from obedient import ELBOW, LIMITS, START, TICK, Clocked, Obedient, Stuck, reading

from robots.arm.contract import Robot
from robots.governor.guard import UNHEARD, State
from robots.units import JOINTS


def test_the_stand_in_is_a_robot():
    assert isinstance(Obedient(), Robot)


def test_an_order_is_carried_out_in_equal_parts():
    side = Clocked()
    side.guard.go(START + 0.1 * ELBOW, 10, serial=7)
    report = side.tick(5)
    assert report.wanted == pytest.approx(START + 0.05 * ELBOW)
    assert (report.serial, report.remaining, report.state) == (7, 5, State.FOLLOWING)
    report = side.tick(20)
    assert report.remaining == 0
    assert side.arm.position == pytest.approx(START + 0.1 * ELBOW, abs=1e-3)


def pressed(side, ticks, target=0.3):
    """Reports while the elbow is sent into a wall at 0.75 rad/s, a step of 0.1 s at a time from where it is allowed."""
    found = []
    for tick in range(ticks):
        if tick % 5 == 0 and side.guard.fault is None:
            base = side.guard.tick().base if tick == 0 else found[-1].base
            side.guard.go(np.where(ELBOW > 0, np.minimum(base + 0.075, START + target), START), 5)
        found.append(side.tick())
    return found


PATIENT = 2.0
"""[s] of pressing, to look at how it gives way."""


def test_a_joint_that_presses_gives_way():
    side = Clocked(arm=Stuck(), pressing=PATIENT)
    found = pressed(side, 40)
    load = np.array([report.reading.health.load[2] for report in found])
    assert load.max() >= LIMITS.strained
    assert load[15:].max() < 1.1 * LIMITS.strained
    assert load[15:].mean() > 0.3, "it presses on, though"
    assert all(report.fault is None for report in found)
    assert "load" in found[-1].cut
    assert np.abs(found[-1].base[2] - START[2]) < 0.05, "the next order is counted from where it is allowed to be"


def test_a_joint_that_is_free_again_goes_on_where_it_was_sent():
    side = Clocked(arm=Stuck(), pressing=PATIENT)
    assert "load" in pressed(side, 30)[-1].cut
    side.arm.wall = np.inf
    found = pressed(side, 60, target=0.2)
    assert found[-1].fault is None
    assert found[-1].cut == ()
    assert found[-1].reading.position[2] == pytest.approx(START[2] + 0.2, abs=1e-3)


def test_a_joint_that_is_called_back_comes_at_once():
    side = Clocked(arm=Stuck(), pressing=PATIENT)
    pressed(side, 30)
    side.guard.go(START - 0.1 * ELBOW, 5)
    side.tick(6)
    assert side.arm.position[2] < START[2] - 0.05


def test_jaws_hold_on():
    side = Clocked(silence=60.0)
    side.arm.read = lambda: reading(START, load=0.7 * np.eye(6)[5])
    side.guard.go(START + 0.2 * np.eye(6)[5], 5)
    report = side.tick(80)
    assert (report.fault, report.cut) == (None, ())
    assert report.command[5] == pytest.approx(START[5] + 0.2)


def test_what_is_pressed_on_for_long_stops_the_arm():
    side = Clocked(arm=Stuck())
    found = pressed(side, 100)
    when = next(k for k, report in enumerate(found) if report.fault is not None)
    assert found[-1].fault == "elbow_flex has pressed on something for 0.35 s"
    assert when * TICK == pytest.approx(LIMITS.pressing, abs=0.2)
    assert found[-1].reading.health.load[2] < LIMITS.strained


def test_pressing_again_and_again_is_pressing():
    side = Clocked(arm=Stuck())
    for ticks in range(60):
        side.guard.go(START + (-0.05 if ticks % 6 == 5 else 0.1) * ELBOW, 5)
        report = side.tick(5)
        if report.fault is not None:
            break
    assert report.fault == "elbow_flex has pressed on something for 0.35 s"


def test_what_is_held_off_from_where_it_should_be_stops_the_arm():
    side = Clocked(arm=Stuck(), pressing=PATIENT)
    for k in range(60):
        side.guard.go(START + 0.012 * k * ELBOW, 1)
        report = side.tick()
        if report.fault is not None:
            break
    assert report.fault == "elbow_flex is held off from where it should be"
    assert k * 0.012 == pytest.approx(LIMITS.astray, abs=0.15)


def test_what_is_run_into_at_full_speed_is_pressed_on_no_more_within_a_fifth_of_a_second():
    side = Clocked(arm=Stuck(), silence=60.0)
    side.guard.go(START + 0.6 * ELBOW, 10)
    load = np.array([side.tick().reading.health.load[2] for _ in range(30)])
    assert load.max() == 1.0
    assert (load >= LIMITS.strained).sum() * TICK < 0.2
    assert (load[-20:] < LIMITS.strained).all()
    assert side.guard.state is State.HOLDING


def test_an_order_may_be_told_sooner_than_the_next_is_due():
    side = Clocked()
    side.guard.go(START + 0.1 * ELBOW, 10, ramp=1)
    report = side.tick()
    assert report.wanted == pytest.approx(START + 0.1 * ELBOW)
    assert report.command[2] < START[2] + 0.05, "no faster than the limits let it"
    report = side.tick(6)
    assert report.command == pytest.approx(START + 0.1 * ELBOW)
    assert (report.remaining, report.cut) == (3, ())


def test_a_silent_policy_is_held_lowered_and_let_go():
    side = Clocked(silence=0.2, holding=0.3, lowering=0.4)
    side.guard.go(START, 1)
    states = []
    while side.guard.state is not State.RELEASED:
        states.append((side.tick().state, side.now))
    when = {state: next(now for each, now in states if each is state) for state, _ in states}
    assert list(when) == [State.FOLLOWING, State.HOLDING, State.LOWERING, State.RELEASED]
    assert when[State.HOLDING] == pytest.approx(0.2, abs=3 * TICK)
    assert when[State.LOWERING] - when[State.HOLDING] == pytest.approx(0.3, abs=2 * TICK)
    assert when[State.RELEASED] - when[State.LOWERING] == pytest.approx(0.4, abs=2 * TICK)
    assert "the policy has been silent for 0.2" in side.guard.fault
    assert side.arm.shares == sorted(side.arm.shares, reverse=True)
    assert side.arm.shares[-1] < 0.1
    assert not side.arm.powered


def test_a_policy_that_rests_or_has_not_begun_is_waited_for():
    side = Clocked(silence=0.2)
    assert side.tick(50).fault is None
    side.guard.go(START, 1)
    side.tick()
    side.guard.rest()
    assert side.tick(50).state is State.READY


def test_a_first_jump_and_a_command_that_is_no_number_stop_the_arm_where_it_is():
    for target, why in ((START + ELBOW, "the first command is"), (np.full(6, np.nan), "is not six numbers")):
        side = Clocked()
        side.guard.go(target, 1)
        report = side.tick(3)
        assert report.state is State.HOLDING
        assert why in report.fault
        assert side.arm.position == pytest.approx(START)
        side.guard.go(START, 1)
        assert side.tick().state is State.HOLDING, "nothing is followed any more"


def test_servos_that_answer_again_are_let_go():
    side = Clocked(silence=0.1)
    side.guard.go(START, 1)
    side.tick()
    side.arm.answers = False
    report = side.tick(10)
    assert (report.state, report.powered, report.reading) == (State.LOST, JOINTS, None)
    assert side.arm.reopened > 1
    side.arm.answers = True
    report = side.tick()
    assert (report.state, report.powered) == (State.RELEASED, ())
    assert report.fault == UNHEARD


def test_an_arm_that_is_only_watched_is_never_told_anything_and_let_go_at_once():
    side = Clocked(moving=False, silence=0.2)
    side.guard.go(START + 0.3 * ELBOW, 5)
    assert side.tick(5).state is State.FOLLOWING
    assert np.array_equal(side.arm.position, START)
    assert side.tick(10).state is State.RELEASED
    assert "has been silent" in side.guard.fault
    assert side.arm.shares == []


def test_a_few_answers_that_are_lost_stop_nothing():
    side = Clocked(silence=0.1)
    for _ in range(10):
        side.arm.answers = False
        side.tick(3)
        side.arm.answers = True
        assert side.tick().fault is None
