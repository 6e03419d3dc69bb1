"""What can go wrong with an arm, as values that are told to a twin by name and hold until they are cleared.

drop(0.02)               share of packets that are lost, in either direction
corrupt(0.02)            share of answers with a byte that is wrong
delay(5)                 [ms] before an answer is sent
overload(elbow_flex)     its servo reports overload and gives no more than its protective torque
heat(elbow_flex, 85)     [C] its servo believes to be at
sag(5)                   [V] of the supply
power()                  no supply: silence, limp joints, and what is not in EEPROM is lost
stall(elbow_flex)        its gears do not turn any more
backlash(elbow_flex, 1)  [degree] of play between its motor and its joint
zero(elbow_flex, 5)      [degree] by which its horn has slipped: it reports that much more than it did
unplug()                 the USB cable is out: the port vanishes, the servos go on
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Self

from envs.errors import EmbodiedError, unknown
from envs.text import Call, parse_call, parse_number, print_number
from robots.units import JOINTS

_EXAMPLES: Mapping[str, str] = {
    "drop": "drop(0.02)",
    "corrupt": "corrupt(0.02)",
    "delay": "delay(5)",
    "overload": "overload(elbow_flex)",
    "heat": "heat(elbow_flex, 85)",
    "sag": "sag(5)",
    "power": "power()",
    "stall": "stall(elbow_flex)",
    "backlash": "backlash(elbow_flex, 1)",
    "zero": "zero(elbow_flex, 5)",
    "unplug": "unplug()",
}
KINDS = tuple(_EXAMPLES)
_OF_JOINTS = ("overload", "heat", "stall", "backlash", "zero")
_WITH_NUMBER = ("drop", "corrupt", "delay", "heat", "sag", "backlash", "zero")


@dataclass(frozen=True)
class Fault:
    """One fault; the module's docstring lists them. Raises `EmbodiedError` for one that there is not."""

    kind: str
    joint: str | None = None
    value: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise unknown("fault", self.kind, KINDS)
        if (self.joint is not None) != (self.kind in _OF_JOINTS):
            raise EmbodiedError(f"A fault {self.kind!r} is written {_EXAMPLES[self.kind]}.")
        if self.joint is not None and self.joint not in JOINTS:
            raise unknown("joint", self.joint, JOINTS)
        if self.kind in ("drop", "corrupt") and not 0.0 <= self.value <= 1.0:
            raise EmbodiedError(f"{self.kind}({print_number(self.value)}): a share is between 0 and 1.")
        if self.kind in ("delay", "sag", "backlash") and self.value < 0.0:
            raise EmbodiedError(f"{self} must be 0 or more.")

    @classmethod
    def parse(cls, text: str) -> Self:
        """The fault that `text` names; raises `EmbodiedError` showing how it is written."""
        return cls.from_call(parse_call(text))

    @classmethod
    def from_call(cls, call: Call) -> Self:
        """The fault that a parsed call names."""
        if call.name not in KINDS:
            raise unknown("fault", call.name, KINDS)
        wanted = (call.name in _OF_JOINTS) + (call.name in _WITH_NUMBER)
        if call.keywords or len(call.positional) != wanted:
            raise EmbodiedError(f"{call.text!r} is not understood: write {_EXAMPLES[call.name]}.")
        joint = call.positional[0] if call.name in _OF_JOINTS else None
        number = call.name in _WITH_NUMBER
        value = parse_number(call.positional[-1], "The number", call.text) if number else 0.0
        return cls(call.name, joint, value)

    def __str__(self) -> str:
        number = print_number(self.value) if self.kind in _WITH_NUMBER else None
        return f"{self.kind}({', '.join(word for word in (self.joint, number) if word is not None)})"


class Faults:
    """Those that hold now: at most one of a kind, or of a kind and joint."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, str | None], Fault] = {}

    def add(self, fault: Fault) -> None:
        """Let `fault` hold, in place of one of its kind and joint."""
        self._held[fault.kind, fault.joint] = fault

    def clear(self, kind: str | None = None) -> None:
        """End all faults, or those of one kind; raises `EmbodiedError` for a kind that there is not."""
        if kind is not None and kind not in KINDS:
            raise unknown("fault", kind, KINDS)
        self._held = {key: fault for key, fault in self._held.items() if kind not in (None, fault.kind)}

    def value(self, kind: str, joint: str | None = None) -> float | None:
        """The number of a fault that holds, 0 where it has none; None where it does not hold."""
        fault = self._held.get((kind, joint))
        return None if fault is None else fault.value

    def __iter__(self) -> Iterator[Fault]:
        return iter(self._held.values())
