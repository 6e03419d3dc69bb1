"""Faults as words: what they are called, how they print, how long they hold."""

import pytest

from envs.errors import EmbodiedError
from robots.twin.faults import KINDS, Fault, Faults


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stal(elbow_flex)", "Unknown fault 'stal'. Did you mean 'stall'?"),
        ("stall(elbow)", "Unknown joint 'elbow'. Did you mean 'elbow_flex'?"),
        ("stall()", "'stall()' is not understood: write stall(elbow_flex)."),
        ("drop(2)", "drop(2): a share is between 0 and 1."),
        ("sag(-1)", "sag(-1) must be 0 or more."),
        ("backlash(gripper, -1)", "backlash(gripper, -1) must be 0 or more."),
        ("heat(gripper, warm)", "The number must be a number, got 'warm'"),
        ("delay(nan)", "The number must be finite"),
    ],
)
def test_a_fault_that_there_is_not_is_one_sentence(text, message):
    with pytest.raises(EmbodiedError) as error:
        Fault.parse(text)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    "text",
    ["drop(0.02)", "corrupt(1)", "delay(5)", "overload(gripper)", "heat(elbow_flex, 85)", "sag(5.5)", "power()",
     "stall(wrist_roll)", "backlash(elbow_flex, 1)", "zero(elbow_flex, -5)", "unplug()"],
)  # fmt: skip
def test_faults_print_what_they_parse(text):
    assert str(Fault.parse(text)) == text
    assert Fault.parse(text).kind in KINDS


def test_faults_hold_until_they_are_cleared():
    faults = Faults()
    for text in ("heat(gripper, 80)", "heat(gripper, 90)", "heat(elbow_flex, 85)", "power()"):
        faults.add(Fault.parse(text))
    assert (faults.value("heat", "gripper"), faults.value("power"), faults.value("drop")) == (90, 0, None)
    faults.clear("heat")
    assert [str(fault) for fault in faults] == ["power()"]
    faults.clear()
    assert not list(faults)
    with pytest.raises(EmbodiedError, match="Unknown fault 'heet'"):
        faults.clear("heet")
