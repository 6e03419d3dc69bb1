"""Checks on a learned reward while a policy learns from it: some claimed successes are looked at by a better judge.

Who learns from a model drifts to where the model is wrong. A share of claims is audited, by the analytic tier where
true poses are to be had or by a person; once there are significantly more false ones than are tolerated, the alarm goes
and learning should stop until the model has learned from them.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.errors import EmbodiedError
from envs.types import Array


@dataclass(frozen=True)
class AuditConfig:
    """How much is looked at, and what is borne."""

    share: float = 0.1
    """Of claimed successes that are audited."""
    tolerated: float = 0.05
    """Share of false ones among them."""
    false_alarm: float = 0.01
    """Chance that the alarm ever goes while no more than that are false."""
    every: int = 20
    """Audits between two tests."""

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        if not (0 < self.share <= 1 and 0 <= self.tolerated < 1 and 0 < self.false_alarm < 1 and self.every >= 1):
            raise EmbodiedError(
                f"Shares of an audit are between 0 and 1, and there is a test now and then; got {self}."
            )


@dataclass
class Audit:
    """Counts audits and tests them: one-sided binomial, each test n spending 6/(pi n)^2 of the false alarm allowed."""

    config: AuditConfig
    rng: np.random.Generator
    audited: int = 0
    wrong: int = 0
    alarmed: bool = False
    """Stays so once it is."""
    _tests: int = field(default=0, init=False)

    def choose(self, claimed: Array) -> NDArray[np.bool_]:
        """Which claims `[N]` bool are to be audited, `[N]` bool."""
        claims = np.asarray(claimed, bool)
        return np.asarray(claims & (self.rng.random(claims.shape) < self.config.share))

    def note(self, true: Array) -> None:
        """Add what auditors found of the claims chosen, `[n]` bool: whether the goal truly held."""
        for held in np.asarray(true, bool).reshape(-1):
            self.audited += 1
            self.wrong += not held
            if self.audited % self.config.every == 0:
                self._tests += 1
                allowed = self.config.false_alarm * 6.0 / (math.pi * self._tests) ** 2
                chance = at_least(self.wrong, self.audited, self.config.tolerated)
                self.alarmed = self.alarmed or chance < allowed

    def state_dict(self) -> dict[str, Any]:
        """All that decides its future."""
        counts = {"audited": self.audited, "wrong": self.wrong, "alarmed": self.alarmed, "tests": self._tests}
        return {**counts, "random": self.rng.bit_generator.state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        self.audited, self.wrong = int(state["audited"]), int(state["wrong"])
        self.alarmed, self._tests = bool(state["alarmed"]), int(state["tests"])
        self.rng.bit_generator.state = state["random"]


def at_least(wrong: int, total: int, rate: float) -> float:
    """The chance of so many or more wrong ones of `total`, where each is wrong with `rate`."""
    if wrong <= 0 or rate >= 1:
        return 1.0
    if rate <= 0:
        return 0.0
    logs = [
        math.lgamma(total + 1) - math.lgamma(k + 1) - math.lgamma(total - k + 1)
        + k * math.log(rate) + (total - k) * math.log1p(-rate)
        for k in range(wrong, total + 1)
    ]  # fmt: skip
    return min(1.0, math.fsum(map(math.exp, logs)))
