"""Estimates: known intervals, coverage, and rankings against their slow, obvious twins."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embodied.evaluation.statistics import (
    Estimate,
    auroc,
    average,
    average_precision,
    bootstrap,
    bootstrap_blocks,
    ratio,
    wilson,
)
from envs.errors import EmbodiedError


def test_wilson_known_values() -> None:
    # Brown, Cai, DasGupta 2001 and every table: 0 of 10 reaches to 0.2775, 195 of 200 to [0.9428, 0.9893].
    assert wilson(0, 10).high == pytest.approx(0.27753, abs=1e-4)
    assert wilson(0, 10).low == 0
    assert (wilson(195, 200).low, wilson(195, 200).high) == pytest.approx((0.94282, 0.98929), abs=1e-4)


@given(st.integers(1, 500), st.data())
def test_wilson_holds_its_rate_and_mirrors(total: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, total))
    estimate, mirror = wilson(successes, total), wilson(total - successes, total)
    assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1
    assert (mirror.low, mirror.high) == pytest.approx((1 - estimate.high, 1 - estimate.low))


@pytest.mark.parametrize(("successes", "total"), [(1, 0), (-1, 5), (6, 5)])
def test_wilson_refuses_impossible_counts(successes: int, total: int) -> None:
    with pytest.raises(EmbodiedError, match="successes"):
        wilson(successes, total)


def test_bootstrap_draws_contexts_not_rows() -> None:
    # 20 contexts of 50 identical rows each carry 20 facts: the interval must be that of 20, not of 1000.
    generator = np.random.default_rng(0)
    means = generator.normal(size=20)
    estimate = bootstrap(lambda weight: float(weight @ means / weight.sum()), 20, generator)
    assert estimate.value == pytest.approx(means.mean())
    assert estimate.high - estimate.low == pytest.approx(3.92 * means.std() / math.sqrt(20), rel=0.15)
    assert estimate.count == 20


def test_bootstrap_covers_the_truth() -> None:
    generator = np.random.default_rng(1)
    hits = 0
    for _ in range(200):
        sample = generator.exponential(size=60)
        estimate = bootstrap(lambda weight, x=sample: float(weight @ x / weight.sum()), 60, generator, resamples=200)
        hits += estimate.low <= 1 <= estimate.high
    assert 170 <= hits <= 199


def test_bootstrap_without_contexts_or_answers() -> None:
    generator = np.random.default_rng(0)
    with pytest.raises(EmbodiedError, match="at least one context"):
        bootstrap(lambda weight: 0.0, 0, generator)
    assert math.isnan(bootstrap(lambda weight: math.nan, 5, generator).low)


def _slow_auroc(score: list[int], label: list[bool]) -> float:
    pairs = [
        (p > n) + 0.5 * (p == n)
        for p, a in zip(score, label, strict=True)
        if a
        for n, b in zip(score, label, strict=True)
        if not b
    ]
    return sum(pairs) / len(pairs) if pairs else math.nan


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 6), st.booleans(), st.integers(0, 3)), min_size=1, max_size=30))
def test_rankings_equal_the_slow_way(rows: list[tuple[int, bool, int]]) -> None:
    score, label, weight = (np.array(column) for column in zip(*rows, strict=True))
    repeated = np.repeat(np.arange(len(rows)), weight)
    slow = _slow_auroc(score[repeated].tolist(), label[repeated].tolist())
    assert auroc(score.astype(float), label, weight.astype(float)) == pytest.approx(slow, nan_ok=True)
    precision = average_precision(score[repeated].astype(float), label[repeated])
    assert average_precision(score.astype(float), label, weight.astype(float)) == pytest.approx(precision, nan_ok=True)


def test_many_resamples_at_once_are_one_after_the_other() -> None:
    generator = np.random.default_rng(0)
    score, label = generator.integers(0, 9, 40).astype(float), generator.random(40) < 0.4
    score[:3], label[:3] = -np.inf, (True, False, False)
    owner = np.arange(40) % 13
    for measure in (auroc, average_precision):
        one, many = (
            bootstrap_of(
                lambda draws, measure=measure: measure(score, label, draws[..., owner]),
                13,
                np.random.default_rng(1),
                150,
            )
            for bootstrap_of in (bootstrap, bootstrap_blocks)
        )
        assert one.low < one.value < one.high
        np.testing.assert_allclose([one.value, one.low, one.high], [many.value, many.low, many.high], rtol=1e-12)
    np.testing.assert_array_equal(ratio(np.array([1.0, 2.0]), np.array([0.0, 4.0])), [np.nan, 0.5])


def test_average_precision_by_hand() -> None:
    label = np.array([True, False, True, False])
    assert average_precision(np.array([4.0, 3, 2, 1]), label) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision(np.ones(4), label) == pytest.approx(0.5)  # A constant score knows only the share.


def test_estimates_survive_json() -> None:
    estimate = Estimate(0.5, math.nan, 0.7, 9)
    back = Estimate.from_dict(estimate.as_dict())
    assert (back.value, back.high, back.count, math.isnan(back.low)) == (0.5, 0.7, 9, True)
    assert wilson(1, 2).figure("1", 3)["seeds"] == 3
    assert estimate.figure("m", 1)["interval"] == [None, 0.7]


def test_means_of_estimates_are_surer_than_each_unless_they_disagree() -> None:
    alike = [Estimate(0.5, 0.4, 0.55, 10)] * 4
    assert average(alike) == Estimate(0.5, pytest.approx(0.45), pytest.approx(0.525), 40)
    apart = average([Estimate(0.2, 0.19, 0.21, 5), Estimate(0.8, 0.79, 0.81, 5)])
    assert (apart.value, apart.count) == (pytest.approx(0.5), 10)
    assert apart.high - apart.value == pytest.approx(1.96 * 0.3, rel=1e-3)
    assert average(alike[:1]) == alike[0]
