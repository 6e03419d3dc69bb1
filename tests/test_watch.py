"""What servos say of their work: which of it stops the arm, which slows it, and which is nothing."""

from dataclasses import replace

import pytest
from obedient import ELBOW, LIMITS, START, TICK, reading

from robots.governor.watch import SLOW, Watch

BLOCKED = START - 0.1 * ELBOW


@pytest.mark.parametrize(
    ("trouble", "why"),
    [
        ({"temperature": 30 + 40 * ELBOW}, "elbow_flex is at 70 C"),
        ({"load": 0.9 * ELBOW, "position": BLOCKED}, "elbow_flex strains with a load of 0.9 of its stall torque"),
        ({"current": 2.6 * ELBOW, "position": BLOCKED}, "elbow_flex draws 2.6 A"),
        ({"position": START - 0.5 * ELBOW}, "elbow_flex is off its command by 0.5 rad"),
        ({"voltage": 7.4 - 2 * ELBOW}, "elbow_flex has no more than 5.4 V"),
    ],
)
def test_servos_in_trouble_stop_the_arm(trouble, why):
    watch = Watch(LIMITS)
    assert watch.look(reading(), START, TICK).fault is None
    found = [watch.look(reading(**trouble), START, TICK).fault for _ in range(15)]
    assert found[-1] == why
    assert sum(fault is None for fault in found) <= round(LIMITS.patience / TICK)


@pytest.mark.parametrize("trouble", [{"load": 0.9 * ELBOW}, {"current": 2.6 * ELBOW}])
def test_a_hand_may_press_for_a_while(trouble):
    watch = Watch(LIMITS)
    found = [watch.look(reading(**trouble), START, TICK).fault for _ in range(60)]
    assert abs(sum(fault is None for fault in found) - LIMITS.pressing / TICK) <= 1
    assert found[-1].startswith("elbow_flex strains with a load of ")


@pytest.mark.parametrize("trouble", [{"load": 0.9}, {"current": 2.6}])
def test_a_joint_that_moves_may_give_all_it_has(trouble):
    watch = Watch(LIMITS)
    assert all(watch.look(reading(velocity=1.0, **trouble), START, TICK).fault is None for _ in range(50))


def test_a_warm_arm_is_slower():
    found = Watch(LIMITS).look(reading(temperature=30.0 + 30.0 * ELBOW), START, TICK)
    assert found.fault is None
    assert found.speed == SLOW
    assert found.warning == "elbow_flex is warm"


def test_what_a_servo_reports_stops_the_arm_but_for_jaws_that_hold_something():
    for number, fault in ((2, "elbow_flex reports overload"), (5, None)):
        told = reading()
        errors = tuple(("overload",) if j == number else () for j in range(6))
        told = replace(told, health=replace(told.health, errors=errors))
        assert Watch(LIMITS).look(told, START, TICK).fault == fault
