"""Conformal radii: right coverage on noise of known size, and scores of doubt that can be checked by hand."""

from dataclasses import replace

import numpy as np
import pytest

from embodied.evaluation.uncertainty import (
    Fold,
    Forecast,
    Mondrian,
    Scaled,
    assess,
    conformal_quantile,
    fit,
    sparsification_error,
    trusted_horizon,
)
from envs.errors import EmbodiedError


def noise(seed: int, rollouts: int = 400, honest: bool = True) -> Forecast:
    """Errors of a size that grows with the step and differs between rollouts; the spread knows it or not."""
    generator = np.random.default_rng(seed)
    size = generator.uniform(0.001, 0.02, (rollouts, 1, 2)) * np.arange(1, 5)[:, None]
    error = np.abs(generator.normal(size=size.shape)) * size
    spread = size if honest else generator.permutation(size.ravel()).reshape(size.shape)
    return Forecast(error, spread, np.ones((rollouts, 2), bool), np.arange(rollouts))


@pytest.mark.parametrize("kind", [Mondrian, Scaled])
def test_noise_of_known_size_is_covered_as_promised(kind: type[Mondrian] | type[Scaled]) -> None:
    radii, fresh = kind.fit(noise(0)), noise(1)
    for level in (0.5, 0.9):
        inside = fresh.error <= radii.radius(fresh.spread, level)
        assert inside.mean() == pytest.approx(level, abs=0.03)
        assert inside.mean((0, 2)) == pytest.approx([level] * 4, abs=0.06)  # At every step, not only on average.


def test_honest_spread_makes_radii_sharper() -> None:
    honest, blind = fit(noise(0)), fit(noise(0, honest=False))
    narrow, wide = honest.radius(noise(1).spread, 0.9).mean(), blind.radius(noise(1, honest=False).spread, 0.9).mean()
    assert narrow < 0.9 * wide


def test_the_report_on_honest_doubt() -> None:
    found = assess([Fold(fit(noise(0)), noise(1), noise(2))], np.random.default_rng(0), 50)
    for branch in ("factual", "counterfactual"):
        assert found[f"coverage_90_{branch}"].value == pytest.approx(0.9, abs=0.03)
        assert found[f"coverage_50_{branch}"].value == pytest.approx(0.5, abs=0.04)
        assert found[f"radius_50_{branch}"].value < found[f"radius_90_{branch}"].value
        assert found[f"spearman_{branch}"].value > 0.3
        assert 0 < found[f"ause_{branch}"].value < 0.6
        assert 1 <= found[f"trusted_horizon_{branch}"].value <= 5
    blind = Fold(fit(noise(0, honest=False)), noise(1, honest=False), noise(2))
    blind = assess([blind], np.random.default_rng(0), 50)
    assert abs(blind["spearman_factual"].value) < 0.1
    assert blind["ause_factual"].value > found["ause_factual"].value


def test_what_one_half_covers_too_much_the_other_covers_too_little() -> None:
    # Rollouts of one context fail together: halves of few contexts are of different hardness.
    one_way, both_ways = [], []
    for seed in range(40):
        hard = np.random.default_rng(seed).exponential(size=40).repeat(20)[:, None, None]
        seen = noise(seed, 800)
        seen = replace(seen, error=seen.error * hard, context=np.arange(800) // 20)
        half = seen.context % 2 == 0
        folds = [Fold(Scaled.fit(seen[~other]), seen[other], seen[other]) for other in (~half, half)]
        one_way.append(assess(folds[:1], np.random.default_rng(0), 2)["coverage_90_factual"].value)
        both_ways.append(assess(folds, np.random.default_rng(0), 2)["coverage_90_factual"].value)
    assert np.mean(both_ways) == pytest.approx(0.9, abs=0.02)
    assert np.std(both_ways) < 0.5 * np.std(one_way)


def test_quantiles_of_too_few_promise_nothing() -> None:
    assert conformal_quantile(np.arange(9.0), 0.9) == 8
    assert conformal_quantile(np.arange(8.0), 0.9) == np.inf
    assert conformal_quantile(np.arange(9.0), 0.5) == 4
    assert conformal_quantile(np.zeros(0), 0.5) == np.inf


def test_the_trusted_horizon_is_the_first_step_beyond() -> None:
    radius = np.array([[0.01, 0.02, 0.03, 0.01], [0.01, 0.01, 0.01, 0.02], [0.5, 0.0, 0.0, 0.0]])
    np.testing.assert_array_equal(trusted_horizon(radius, 0.02), [3, 5, 1])


def test_sparsification_of_perfect_and_reversed_doubt() -> None:
    error = np.array([0.0, 1.0, 2.0, 3.0])
    assert sparsification_error(error, error) == 0
    assert sparsification_error(error, -error) > sparsification_error(error, np.array([0.0, 2.0, 1.0, 3.0])) > 0
    assert np.isnan(sparsification_error(np.zeros(3), np.ones(3)))


def test_nonsense_is_refused() -> None:
    with pytest.raises(EmbodiedError, match="two or more contexts"):
        fit(noise(0)[np.array([0])])
    broken = noise(0)
    broken.error[3, 1, 0] = np.nan
    with pytest.raises(EmbodiedError, match="not finite"):
        fit(broken)
