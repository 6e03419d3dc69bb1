"""Audits of claimed successes, and the alarm."""

from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.errors import EmbodiedError
from world_models.reward.audit import Audit, AuditConfig, at_least


@given(st.integers(1, 60), st.data(), st.floats(0.01, 0.99))
def test_the_tail_of_the_binomial(total, data, rate):
    wrong = data.draw(st.integers(0, total))
    slow = sum(comb(total, k) * rate**k * (1 - rate) ** (total - k) for k in range(wrong, total + 1))
    assert at_least(wrong, total, rate) == pytest.approx(slow, rel=1e-9)


def test_only_claims_are_audited_and_only_a_share():
    audit = Audit(AuditConfig(share=0.2), np.random.default_rng(0))
    claims = np.arange(10_000) % 2 == 0
    chosen = audit.choose(claims)
    assert not chosen[~claims].any()
    assert chosen[claims].mean() == pytest.approx(0.2, abs=0.02)


def test_false_claims_raise_the_alarm_which_then_stays():
    audit = Audit(AuditConfig(tolerated=0.05, every=10), np.random.default_rng(0))
    audit.note(np.ones(50, bool))
    assert not audit.alarmed
    audit.note(np.zeros(20, bool))
    assert audit.alarmed
    assert (audit.audited, audit.wrong) == (70, 20)
    audit.note(np.ones(1000, bool))
    assert audit.alarmed


def test_what_is_tolerated_seldom_raises_it_however_often_it_is_tested():
    rng = np.random.default_rng(1)
    alarms = 0
    for _ in range(300):
        audit = Audit(AuditConfig(tolerated=0.05, false_alarm=0.05, every=5), rng)
        audit.note(rng.random(400) >= 0.05)
        alarms += audit.alarmed
    assert alarms <= 30


def test_settings_that_mean_nothing_are_refused():
    for wrong in ({"share": 0.0}, {"tolerated": 1.0}, {"false_alarm": 0.0}, {"every": 0}):
        with pytest.raises(EmbodiedError, match="Shares of an audit"):
            AuditConfig(**wrong)
