"""Diagnostics of a sample of log-weights: their mean in log space, effective sample size and tail index."""

import math

import numpy as np
import pytest
from arviz_stats.base import array_stats
from hypothesis import given, settings
from hypothesis import strategies as st
from random_plans import repeatable

from course_lib import estimates, weights
from course_lib.weights import effective_sample_size, log_mean_exp, pareto_k, pareto_k_limit, tail_length

INF = math.inf
log_weights = st.lists(st.floats(-50, 50) | st.just(-INF), min_size=2, max_size=60).map(np.array)


def power_tail(k, n, seed=0):
    """Logarithms of U^-k, whose largest values follow a generalized Pareto distribution of shape k exactly."""
    return -k * np.log(np.random.default_rng(seed).random(n))


# Averages in log space


@settings(repeatable, max_examples=100)
@given(log_w=log_weights, shift=st.floats(-5000, 5000))
def test_log_mean_exp_is_the_log_of_the_mean_and_moves_with_its_argument(log_w, shift):
    if np.isfinite(log_w).any():
        assert log_mean_exp(log_w) == pytest.approx(math.log(np.exp(log_w).mean()), rel=1e-12, abs=1e-12)
        assert log_mean_exp(log_w + shift) == pytest.approx(log_mean_exp(log_w) + shift, rel=1e-11, abs=1e-11)
    else:
        assert log_mean_exp(log_w) == -INF


@pytest.mark.filterwarnings("error")
def test_log_mean_exp_of_weights_that_are_all_zero_is_minus_infinity():
    assert log_mean_exp([-INF, -INF]) == -INF
    assert log_mean_exp([[-INF, 0], [-INF, 0]]).tolist() == [-INF, 0]


@pytest.mark.parametrize("reduce", [log_mean_exp, effective_sample_size])
def test_reductions_go_along_the_axis_asked_for(reduce):
    log_w = np.random.default_rng(0).normal(size=(4, 3, 5))
    for axis in (0, 1, -1):
        each = np.moveaxis(log_w, axis, -1)
        exact = [[float(reduce(row)) for row in plane] for plane in each]
        assert np.array(exact) == pytest.approx(reduce(log_w, axis=axis), rel=1e-12)
    assert reduce(log_w).shape == (3, 5)


def test_nothing_to_average_is_refused():
    for log_w in ([], np.empty((0, 3)), 3.0):
        with pytest.raises(ValueError, match="at least one log-weight along axis 0; got shape"):
            log_mean_exp(log_w)


# Effective sample size


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("shift", [0, -7000, 300])
def test_effective_sample_size_runs_from_none_over_one_to_all(shift):
    assert effective_sample_size(np.full(50, shift)) == pytest.approx(50)
    assert effective_sample_size([shift, -INF, shift - 800]) == 1
    assert effective_sample_size([shift, shift, -INF]) == pytest.approx(2)
    assert effective_sample_size([-INF, -INF]) == 0


@settings(repeatable, max_examples=100)
@given(log_w=log_weights)
def test_effective_sample_size_is_the_squared_sum_over_the_sum_of_squares(log_w):
    ess, n_hits = effective_sample_size(log_w), np.isfinite(log_w).sum()
    assert min(n_hits, 1) * (1 - 1e-12) <= ess <= n_hits * (1 + 1e-12)
    if n_hits:
        w = np.exp(log_w)
        assert ess == pytest.approx(w.sum() ** 2 / (w**2).sum(), rel=1e-10)


# Tail index


@pytest.mark.parametrize("k", [0.3, 0.7, 1.0])
def test_k_hat_finds_the_index_of_a_known_tail_with_its_sign(k):
    n, runs = 10_000, 40
    found = [pareto_k(power_tail(k, n, seed)) for seed in range(runs)]
    # The fit leans on a prior worth ten of its 300 tail weights, centred at 1/2 (Vehtari et al., appendix C).
    expected = (300 * k + 10 * 0.5) / 310
    assert abs(np.mean(found) - expected) < 4 * np.std(found, ddof=1) / math.sqrt(runs)
    # Negated log-weights, which psislw of the same library wants, would have a bounded tail and look excellent.
    assert pareto_k(-power_tail(k, n)) < -0.5


@pytest.mark.parametrize("k", [0.2, 0.7, 1.3])
def test_k_hat_of_the_largest_weights_is_the_library_s_on_all_of_them(k):
    log_w, n = power_tail(k, 10_000), 10_000
    one_chain = np.exp(log_w)[None]
    exact = float(array_stats.pareto_khat(one_chain, r_eff=1.0, tail="right"))
    assert pareto_k(log_w) == pytest.approx(exact, rel=1e-6)
    assert pareto_k(np.sort(log_w)[-1500:], n) == pytest.approx(exact, rel=1e-6)
    # Left to itself, the library takes its number of tail weights from their autocorrelation.
    assert pareto_k(log_w) == pytest.approx(float(array_stats.pareto_khat(one_chain, tail="right")), abs=0.1)


def test_k_hat_does_not_apply_to_equal_or_to_few_weights():
    assert math.isnan(pareto_k(np.zeros(1_000)))
    assert math.isnan(pareto_k(np.concatenate([np.full(1_000, -3.0), np.full(9_000, -INF)])))
    assert math.isnan(pareto_k(power_tail(0.7, 29)))
    assert math.isnan(pareto_k([]))
    assert math.isfinite(pareto_k(power_tail(0.7, 30)))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("n_large", [1, 30])
def test_k_hat_does_not_apply_where_most_of_the_tail_is_tied(n_large):
    log_w = np.zeros(1_000)
    log_w[:n_large] = 20
    assert math.isnan(pareto_k(log_w))


@pytest.mark.parametrize("bad", [math.nan, INF])
def test_log_weights_that_are_no_numbers_are_refused(bad):
    log_w = power_tail(0.7, 1_000)
    log_w[3] = bad
    for reduce in (log_mean_exp, effective_sample_size, pareto_k):
        with pytest.raises(ValueError, match=f"a log-weight is {bad}; log-weights must be finite, or -inf"):
            reduce(log_w)


@pytest.mark.parametrize("n", [1, 25, 100, 1_000, 10**6, 10**9])
def test_k_hat_needs_no_more_than_its_tail_length(n):
    """Of n weights, or a sample as good: the rest does not move it."""
    log_w = power_tail(0.4, min(n, 200_000))
    largest = np.sort(log_w)[::-1][: tail_length(n)]
    assert pareto_k(largest, n) == pytest.approx(pareto_k(log_w, n), rel=1e-12, nan_ok=True)


def test_the_diagnostics_are_offered_beside_estimate_too():
    assert all(getattr(estimates, name) is getattr(weights, name) for name in weights.__all__)
    assert set(weights.__all__) <= set(estimates.__all__)


# Its limit


@pytest.mark.parametrize(
    ("n", "limit"), [(1, 0.0), (10, 0.0), (100, 0.5), (200, 0.5654), (1_000, 2 / 3), (2_154, 0.69999), (2_155, 0.7)]
)
def test_the_limit_of_k_hat_follows_the_number_of_draws(n, limit):
    """Vehtari et al. 2024, section 3: min(1 - 1 / log10(n), 0.7)."""
    assert pareto_k_limit(n) == pytest.approx(limit, abs=1e-4)
    assert pareto_k_limit(10**6) == 0.7


def test_no_draws_have_no_limit():
    with pytest.raises(ValueError, match="the number of draws must be a whole number of at least 1; got 0"):
        pareto_k_limit(0)
