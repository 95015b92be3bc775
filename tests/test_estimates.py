"""Estimate: its value, its error, its interval, and what it says when it should not be trusted."""

import json
import math
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_plans import repeatable
from scipy import stats

from course_lib.estimates import Estimate, RunningEstimate, effective_sample_size, pareto_k, value_with_error

INF = math.inf
log_weights = st.lists(st.floats(-50, 50) | st.just(-INF), min_size=2, max_size=60).map(np.array)


def hits(n_hits, n):
    """An estimate from plain hits and misses."""
    running = RunningEstimate(n, "hits")
    running.add(np.zeros(n_hits), n)
    return running.estimate()


def log_normal(sigma, n, seed=0):
    """Log-weights of which the mean weight is 1."""
    return np.random.default_rng(seed).normal(-(sigma**2) / 2, sigma, n)


def power_tail(k, n, seed=0):
    """Logarithms of U^-k, whose largest values follow a generalized Pareto distribution of shape k exactly."""
    return -k * np.log(np.random.default_rng(seed).random(n))


# From log-weights


@settings(repeatable, max_examples=200)
@given(log_w=log_weights)
def test_estimate_is_the_mean_of_the_weights_with_its_standard_error(log_w):
    w, estimate = np.exp(log_w), Estimate.from_log_weights(log_w)
    assert estimate.value == pytest.approx(w.mean(), rel=1e-10)
    # Rounding leaves an error of its own, of the size of the value, when all weights are equal.
    assert estimate.std_error == pytest.approx(w.std(ddof=1) / math.sqrt(len(w)), rel=1e-6, abs=1e-7 * w.mean())
    assert (estimate.n, estimate.n_hits) == (len(w), np.isfinite(log_w).sum())
    assert estimate.ess == pytest.approx(float(effective_sample_size(log_w)), rel=1e-10)
    if estimate.n_hits:
        assert estimate.max_weight_share == pytest.approx(w.max() / w.sum(), rel=1e-10)
        relative_variance = w.var() / w.mean() ** 2 * len(w) / (len(w) - 1)
        assert estimate.relative_variance == pytest.approx(relative_variance, rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("k", [0.2, 0.7, 1.3])
def test_the_k_hat_of_an_estimate_is_that_of_its_log_weights(k):
    log_w = power_tail(k, 10_000)
    assert Estimate.from_log_weights(log_w).pareto_k == pytest.approx(pareto_k(log_w), rel=1e-12)


@pytest.mark.parametrize("shift", [-690.0, -7000.0, 300.0, 0.1])
def test_a_constant_in_the_log_weights_is_a_factor_of_the_value_and_nothing_else(shift):
    log_w = log_normal(1.5, 5_000)
    plain, shifted = Estimate.from_log_weights(log_w), Estimate.from_log_weights(log_w + shift)
    assert shifted.value == pytest.approx(plain.value * math.exp(shift), rel=1e-9)
    assert shifted.std_error == pytest.approx(plain.std_error * math.exp(shift), rel=1e-9)
    for unmoved in ("n", "n_hits", "ess", "max_weight_share", "pareto_k"):
        assert getattr(shifted, unmoved) == pytest.approx(getattr(plain, unmoved), rel=1e-8)


@pytest.mark.parametrize("cuts", [[1], [4999], [1000, 1000, 4000], list(range(50, 5000, 50))])
@pytest.mark.parametrize("order", ["rising", "falling", "as drawn"])
def test_a_stream_in_chunks_gives_the_estimate_of_the_whole(cuts, order):
    log_w = log_normal(2, 5_000)
    log_w[::3] = -INF
    log_w = {"rising": np.sort(log_w), "falling": np.sort(log_w)[::-1], "as drawn": log_w}[order]
    whole = Estimate.from_log_weights(log_w)
    running, merged = RunningEstimate(5_000), RunningEstimate(5_000)
    for chunk in np.split(log_w, cuts):
        running.add(chunk[chunk > -INF], len(chunk))  # draws that contribute nothing may be left out
        part = RunningEstimate(5_000)
        part.add(chunk, len(chunk))
        merged.merge(part)
    for estimate in (running.estimate(), merged.estimate()):
        for field in ("value", "std_error", "n", "n_hits", "ess", "max_weight_share", "pareto_k"):
            assert getattr(estimate, field) == pytest.approx(getattr(whole, field), rel=1e-9)


def test_order_of_merging_changes_nothing():
    parts = []
    for seed, level in enumerate((-7000.0, 0.0, 300.0, -INF, 290.0)):
        parts.append(RunningEstimate(5_000))
        parts[-1].add(log_normal(2, 1_000, seed) + level, 1_000)
    found = []
    for order in ([0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 0, 4, 1, 3]):
        total = RunningEstimate(5_000)
        for i in order:
            total.merge(parts[i])
        found.append(total.estimate())
    for estimate in found[1:]:
        for field in ("value", "std_error", "n", "n_hits", "ess", "max_weight_share", "pareto_k"):
            assert getattr(estimate, field) == pytest.approx(getattr(found[0], field), rel=1e-12)


def test_draws_that_are_no_numbers_are_refused():
    with pytest.raises(ValueError, match="at least one draw"):
        Estimate.from_log_weights([])
    with pytest.raises(ValueError, match="at least one draw"):
        RunningEstimate(10).estimate()
    for bad in (math.nan, INF):
        with pytest.raises(ValueError, match=f"a log-weight is {bad}; log-weights must be finite, or -inf"):
            Estimate.from_log_weights([0.0, bad, 1.0])


def test_weights_beyond_floats_are_refused_and_below_them_admitted():
    with pytest.raises(ValueError, match="exceeds the largest float; keep to log_mean_exp"):
        Estimate.from_log_weights([710.0, 0.0])
    tiny = Estimate.from_log_weights(np.full(100, -7000.0))
    assert tiny.value == 0
    assert "below the smallest float" in tiny.caveats[0]
    for bad in ([], [math.nan], [INF, 0.0]):
        with pytest.raises(ValueError, match="log-weight"):
            effective_sample_size(bad)


def test_one_weighted_draw_has_no_error_and_contradicts_nothing():
    one = Estimate.from_log_weights([0.3])
    assert one.interval() == (0, INF)
    assert one.against(5.0).agrees


def test_values_that_are_all_zero_are_a_plain_zero():
    zero = Estimate.from_values([0.0, 0.0, 0.0])
    assert (zero.value, zero.interval(), zero.n_hits) == (0, (0, 0), 3)
    assert "none of" not in " ".join(zero.caveats)


def test_an_estimate_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        hits(3, 10).value = 0.5


# From values of either sign


@settings(repeatable, max_examples=100)
@given(values=st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=50))
def test_estimate_from_values_is_the_plain_mean(values):
    estimate = Estimate.from_values(values)
    assert estimate.value == pytest.approx(np.mean(values), rel=1e-12)
    assert estimate.std_error == pytest.approx(stats.sem(values), rel=1e-9)
    assert (estimate.n, estimate.n_hits) == (len(values), len(values))


def test_values_and_log_weights_tell_the_same_story():
    log_w = log_normal(1, 2_000)
    of_values, of_logs = Estimate.from_values(np.exp(log_w)), Estimate.from_log_weights(log_w)
    for field in ("value", "std_error", "n", "n_hits", "max_weight_share", "pareto_k"):
        assert getattr(of_values, field) == pytest.approx(getattr(of_logs, field), rel=1e-9)
    assert of_values.ess == of_values.n  # a plain mean has no weights to be unequal


def test_values_without_a_mean_are_refused():
    with pytest.raises(ValueError, match="at least two draws; got 1"):
        Estimate.from_values([3.0])
    with pytest.raises(ValueError, match="draw 2 is nan"):
        Estimate.from_values([1.0, 2.0, math.nan, INF])
    with pytest.raises(ValueError, match="draw 0 is -inf"):
        Estimate.from_values([-INF, 2.0])


def test_few_values_make_an_interval_that_is_too_short_and_say_so():
    """Of 5 normal values the normal interval covers P(|t_4| < 1.96) = 87.8 %."""
    runs, rng = 4_000, np.random.default_rng(0)
    estimates = [Estimate.from_values(values) for values in rng.normal(size=(runs, 5))]
    covered = np.mean([low <= 0 <= high for low, high in (estimate.interval() for estimate in estimates)])
    exact = 1 - 2 * stats.t.sf(stats.norm.isf(0.025), 4)
    assert abs(covered - exact) < 4 * math.sqrt(exact * (1 - exact) / runs)
    assert {estimate.caveats[0] for estimate in estimates} == {"5 draws are few for a normal interval: it is too short"}


def test_a_plain_mean_of_zero_is_no_underflow():
    assert Estimate.from_values([1.0, -1.0] * 50).caveats == ()


@pytest.mark.parametrize(
    ("estimate", "kind"),
    [
        (hits(3, 10), "hits"),
        (Estimate.from_log_weights([0.0, 0.0, -INF]), "weights"),
        (Estimate.from_values([0.0, 1.0, 1.0]), "values"),
    ],
)
def test_an_estimate_knows_the_kind_of_its_draws(estimate, kind):
    assert estimate.kind == kind


# Intervals of hits and misses


@pytest.mark.parametrize("n", [20, 100, 300])
def test_interval_of_hits_covers_at_any_chance_by_exact_sums(n):
    """Summed over the binomial law, for chances from a hundredth of a hit to half of the draws."""
    low, high = np.array([hits(k, n).interval() for k in range(n + 1)]).T
    # Coverage is least just beside the ends of intervals.
    ends = np.concatenate([low[low < 1], high[high < 1], [0.01 / n]])
    chances = np.clip(np.concatenate([ends * (1 - 1e-9), ends * (1 + 1e-9), np.linspace(0, 1, 500)]), 0, 1)
    law = stats.binom.pmf(np.arange(n + 1), n, chances[:, None])
    coverage = (law * ((low <= chances[:, None]) & (chances[:, None] <= high))).sum(axis=1)
    # The one-sided bound without a hit spends all 5 % on one side, the other intervals 2.5 % on each. So a chance
    # between that bound and where a two-sided one would end, 3.0 to 3.7 expected hits, may be missed by 7.5 %.
    two_sided_end = 1 - 0.025 ** (1 / n)
    between = (chances > high[0]) & (chances < two_sided_end)
    assert coverage[~between].min() >= 0.95 - 1e-9
    assert coverage[between].min() >= 0.925
    assert coverage[chances <= high[0]].min() >= 0.975 - 1e-9


@pytest.mark.parametrize("n", [1, 100, 10_000_000])
@pytest.mark.parametrize("level", [0.95, 0.5, 0.9973])
def test_no_hit_gives_the_one_sided_bound(n, level):
    estimate = hits(0, n)
    low, high = estimate.interval(level)
    assert low == 0
    # (1 - high)^n = 1 - level: at the bound, no hit in n draws has just this chance.
    assert n * math.log1p(-high) == pytest.approx(math.log(1 - level), rel=1e-9)
    assert (estimate.value, estimate.std_error, estimate.ess) == (0, 0, 0)


def test_no_hit_at_95_percent_is_the_rule_of_three():
    assert hits(0, 1_000).interval() == (0, pytest.approx(1 - 0.05 ** (1 / 1_000), rel=1e-12))
    assert hits(0, 10**6).interval()[1] == pytest.approx(3e-6, rel=0.002)  # log 20 = 2.9957


@settings(repeatable, max_examples=50)
@given(n=st.integers(1, 2_000), data=st.data(), level=st.floats(0.5, 0.999))
def test_interval_of_hits_holds_the_share_and_is_clopper_and_pearson_s(n, data, level):
    k = data.draw(st.integers(1, n))
    estimate = hits(k, n)
    assert estimate.value == pytest.approx(k / n)
    low, high = estimate.interval(level)
    assert low < estimate.value <= high <= 1
    # At each end, a count at least (at most) as far off has the chance (1 - level) / 2.
    assert stats.binom.sf(k - 1, n, low) == pytest.approx((1 - level) / 2, rel=1e-4)
    assert high == 1 if k == n else stats.binom.cdf(k, n, high) == pytest.approx((1 - level) / 2, rel=1e-4)


@pytest.mark.parametrize("level", [0, 1, -0.1, 95, math.nan, "0.95"])
def test_level_outside_0_and_1_is_refused(level):
    for estimate in (hits(3, 10), Estimate.from_log_weights([0.0, 1.0])):
        with pytest.raises(ValueError, match="level must lie between 0 and 1; got"):
            estimate.interval(level)


# Intervals of weighted draws


def coverage_and_estimates(sigma, n, runs):
    estimates = [Estimate.from_log_weights(log_normal(sigma, n, seed)) for seed in range(runs)]
    covered = [low <= 1 <= high for low, high in (estimate.interval() for estimate in estimates)]
    return np.mean(covered), estimates


def test_weighted_interval_covers_95_percent_where_many_draws_share_the_sum():
    runs = 2_000
    coverage, estimates = coverage_and_estimates(0.4, 1_000, runs)
    assert abs(coverage - 0.95) < 4 * math.sqrt(0.95 * 0.05 / runs)
    assert not any(estimate.caveats for estimate in estimates)


def test_weighted_interval_covers_too_little_where_few_draws_carry_the_sum_and_says_so():
    runs = 1_000
    coverage, estimates = coverage_and_estimates(3, 1_000, runs)
    assert coverage < 0.95 - 20 * math.sqrt(0.95 * 0.05 / runs)
    # Nine runs in ten warn, and as many of those that miss the truth.
    missed = [estimate for estimate in estimates if not estimate.interval()[0] <= 1 <= estimate.interval()[1]]
    assert np.mean([bool(estimate.caveats) for estimate in estimates]) > 0.9
    assert np.mean([bool(estimate.caveats) for estimate in missed]) > 0.9


def test_weighted_draws_without_a_hit_bound_nothing():
    estimate = Estimate.from_log_weights(np.full(100, -INF))
    assert estimate.interval() == (0, INF)
    assert estimate.caveats == ("none of the 100 draws contributed: this proposal says nothing about the value",)
    assert estimate.relative_variance == INF


@settings(repeatable, max_examples=50)
@given(log_w=log_weights.filter(lambda log_w: np.ptp(np.exp(log_w)) > 0), level=st.floats(0.5, 0.999))
def test_weighted_interval_is_the_normal_one(log_w, level):
    estimate = Estimate.from_log_weights(log_w)
    exact = stats.norm.interval(level, estimate.value, estimate.std_error)
    assert estimate.interval(level) == pytest.approx(exact, rel=1e-9, abs=1e-9 * estimate.value)


# What an estimate says


def test_caveats_name_few_effective_draws_and_a_heavy_tail():
    one_carries_all = np.append(log_normal(0.1, 999), 20.0)
    caveats = Estimate.from_log_weights(one_carries_all).caveats
    assert "1.0 effective draws carry the sum (the largest 100% of it): the interval is too short" in caveats
    heavy = Estimate.from_log_weights(power_tail(1.2, 10_000))
    assert heavy.pareto_k > 0.7
    assert any(f"k-hat {heavy.pareto_k:.2f} is above 0.70" in caveat for caveat in heavy.caveats)
    # Few draws are warned of earlier.
    assert any("k-hat 0.60 is above 0.57" in caveat for caveat in replace(heavy, n=200, pareto_k=0.6).caveats)
    assert not any("k-hat" in caveat for caveat in replace(heavy, n=2_000, pareto_k=0.6).caveats)
    assert hits(0, 100).caveats == ("no hit in 100 draws: only an upper bound can be given",)
    assert hits(5, 100).caveats == ()


def test_prints_value_with_error_interval_ess_and_k_hat():
    estimate = Estimate(3.212e-5, 2.3e-7, 10_000, 9_000, 314.2, 0.04, 0.312)
    assert str(estimate) == ("(3.212 ± 0.023)e-05 (95 %: 3.167e-05 to 3.257e-05), ESS 314 of 10,000, k-hat 0.31")
    assert repr(estimate) == str(estimate)
    assert "k-hat not applicable" in str(hits(5, 100))


def test_prints_its_caveats_below():
    estimate = Estimate.from_log_weights(power_tail(1.2, 10_000))
    below = str(estimate).splitlines()[1:]
    assert below == [f"  caution: {caveat}" for caveat in estimate.caveats]
    assert below
    for caveat in estimate.caveats:
        assert f"<b>Caution:</b> {caveat}" in estimate._repr_html_()


def test_without_a_hit_prints_the_bound_and_not_zero_plus_or_minus_zero():
    assert hits(0, 1_000).rounded == "at most 0.003 (95 %)"
    assert str(hits(0, 1_000)).startswith(
        "at most 0.003 (95 %), ESS 0 of 1,000, k-hat not applicable\n  caution: no hit"
    )
    assert "at most 0.003" in hits(0, 1_000)._repr_html_()


def test_shows_as_a_table_in_a_notebook():
    html = Estimate(3.212e-5, 2.3e-7, 10_000, 9_000, 314.2, 0.04, 0.312)._repr_html_()
    assert html.startswith("<table>")
    assert html.endswith("</table>")
    for cell in ("(3.212 ± 0.023)e-05", "3.167e-05 to 3.257e-05", "314 of 10,000", "0.31", "0.04"):
        assert f"<td>{cell}</td>" in html


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (18.21007, 0.0072, "18.2101 ± 0.0072"),
        (3.2115e-5, 2.3e-7, "(3.211 ± 0.023)e-05"),
        (-3.2e-9, 1e-10, "(-3.20 ± 0.10)e-09"),
        (184.9, 31.4, "185 ± 31"),
        (31137.2, 1234.0, "(3.11 ± 0.12)e+04"),
        (2.5e8, 3e6, "(2.500 ± 0.030)e+08"),
        (0.5, 0.25, "0.50 ± 0.25"),
        (1e-3, 3e-2, "0.001 ± 0.030"),
        (0.0, 1e-7, "(0.0 ± 1.0)e-07"),
        (2e-7, 3e-5, "(0.0 ± 3.0)e-05"),
        (1.0, 0.0, "1 ± 0"),
        (0.25, math.nan, "0.25 ± nan"),
        (1.0, INF, "1 ± inf"),
        (5e-324, 5e-324, "4.94066e-324 ± 4.9e-324"),
    ],
)
def test_value_is_rounded_to_two_digits_of_its_error(value, error, text):
    assert value_with_error(value, error) == text


@settings(repeatable, max_examples=200)
@given(value=st.floats(1e-300, 1e300), relative=st.floats(1e-9, 10))
def test_rounding_moves_a_value_by_less_than_a_tenth_of_its_error(value, relative):
    error = value * relative
    text = value_with_error(value, error)
    number, _, power = text.partition(")")
    shown, shown_error = (float(part.strip("( ") + power) for part in number.split("±"))
    assert abs(shown - value) <= 0.0501 * error
    assert abs(shown_error - error) <= 0.0501 * error


# Beside the exact answer


def test_agrees_within_three_standard_errors():
    estimate = Estimate(10.0, 1.0, 1_000, 1_000, 900.0, 0.01, 0.2)
    for exact, agrees, verdict in (
        (10.5, True, "agrees: 0.5 standard errors below"),
        (7.1, True, "agrees: 2.9 standard errors above"),
        (6.9, False, "disagrees: 3.1 standard errors above"),
        (14.0, False, "disagrees: 4.0 standard errors below"),
    ):
        comparison = estimate.against(exact)
        assert (comparison.agrees, comparison.verdict) == (agrees, verdict)
        assert comparison.z == pytest.approx(10 - exact)


def test_without_an_error_the_interval_decides():
    assert hits(0, 1_000).against(1e-5).verdict == "agrees"
    assert hits(0, 1_000).against(0.1).verdict == "disagrees"
    assert hits(10, 10).against(0.9).agrees
    assert not hits(1_000, 1_000).against(0.9).agrees
    assert math.isnan(hits(0, 1_000).against(1e-5).z)


def test_comparison_shows_text_and_data_for_the_closing_table():
    bundle = Estimate(3.212e-5, 2.3e-7, 10_000, 9_000, 314.2, 0.04, 0.312).against(3.2115e-5)._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "application/vnd.course-lib.comparison+json"}
    assert bundle["text/plain"] == "(3.212 ± 0.023)e-05, exact 3.2115e-05: agrees: 0.0 standard errors above"
    data = bundle["application/vnd.course-lib.comparison+json"]
    assert data == {
        "estimate": "(3.212 ± 0.023)e-05",
        "exact": "3.2115e-05",
        "verdict": "agrees: 0.0 standard errors above",
        "agrees": True,
    }
    assert json.loads(json.dumps(data)) == data
    assert {key: type(value) for key, value in data.items()} == {
        "estimate": str,
        "exact": str,
        "verdict": str,
        "agrees": bool,
    }


def test_equal_estimates_are_equal_also_where_something_does_not_apply():
    """Each nan below is an object of its own, which equals no other."""
    one, two = (Estimate(1.0, float("nan"), 1, 1, 1.0, 1.0, float("nan")) for _ in range(2))
    assert one == two
    assert hash(one) == hash(two)
    assert one != replace(one, pareto_k=0.3)
    assert one != replace(one, value=1.5)
    assert one != 1.0
