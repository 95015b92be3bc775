"""Proposals: their densities, their exact variance, and the ways to choose them."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_plans import plans, repeatable
from scipy import special, stats

from course_lib.estimates import Estimate
from course_lib.projects import (
    Project,
    Proposal,
    completion_law,
    cross_entropy,
    importance_sampling,
    late_projects,
    minimum_variance,
    mixture,
    scaled,
)

PLAN = Project.example()
LAW = completion_law(PLAN)
LATE_MEANS = LAW.late_means(70)
P70 = float(LAW.sf(70))
ONE_TASK = Project({"a": 4})
TOO_LARGE = Project({f"t{j}": 1 for j in range(40)})


def critical(*means):
    """The nominal plan but for the critical path 1, 2, 4, 10."""
    chosen = PLAN.means.copy()
    chosen[PLAN.task_indices(PLAN.critical_path())] = means
    return Proposal(PLAN, chosen)


def critical_times(factor):
    return scaled(PLAN, factor, PLAN.critical_path())


@pytest.fixture(scope="module")
def late():
    return late_projects(PLAN, 70, 100_000, seed=1)


@pytest.fixture(scope="module")
def best():
    return minimum_variance(PLAN, 70)


# The exact variance


@pytest.mark.parametrize(
    ("proposal", "printed"),
    [
        pytest.param(scaled(PLAN, 1), "31137", id="plain"),
        pytest.param(scaled(PLAN, 2), "533", id="all x 2"),
        pytest.param(scaled(PLAN, 3), "1048", id="all x 3"),
        pytest.param(scaled(PLAN, 4), "3570", id="all x 4"),
        pytest.param(critical_times(2), "138.6", id="critical path x 2"),
        pytest.param(critical_times(2.5), "97.7", id="critical path x 2.5"),
        pytest.param(critical_times(3), "106.6", id="critical path x 3"),
        pytest.param(critical_times(4), "184.9", id="critical path x 4"),
        pytest.param(critical_times(5), "341.6", id="critical path x 5"),
        pytest.param(critical(12, 12, 15, 12), "183.4", id="the post's 3x"),
        pytest.param(critical(16, 16, 20, 16), "332.1", id="the post's 4x"),
        pytest.param(Proposal(PLAN, LATE_MEANS), "82.7", id="cross-entropy optimum"),
    ],
)
def test_exact_relative_variances_of_the_ten_tasks(proposal, printed):
    decimals = len(printed.partition(".")[2])
    assert f"{proposal.relative_variance(70):.{decimals}f}" == printed


@pytest.mark.parametrize("deadline", [0, 2, 30])
@pytest.mark.parametrize("factor", [0.6, 1, 2.5, 40])
def test_relative_variance_of_one_task_in_closed_form(factor, deadline):
    own = 4 * factor
    rate = 2 / 4 - 1 / own
    second_moment = own / (4**2 * rate) * math.exp(-rate * deadline)
    exact = second_moment / math.exp(-deadline / 4) ** 2 - 1
    assert scaled(ONE_TASK, factor).relative_variance(deadline) == pytest.approx(exact, rel=1e-10, abs=1e-12)


@pytest.mark.parametrize("factor", [0.5, 0.3, 1e-9])
def test_relative_variance_is_infinite_where_a_mean_is_at_most_halved(factor):
    assert scaled(PLAN, factor, ["7"]).relative_variance(70) == math.inf
    assert math.isfinite(scaled(PLAN, 0.51, ["7"]).relative_variance(70))


@settings(repeatable, max_examples=50)
@given(plan=plans(), data=st.data())
def test_variance_of_the_weights_alone_is_a_product_over_tasks(plan, data):
    n = len(plan.tasks)
    factors = np.array(data.draw(st.lists(st.floats(0.55, 5), min_size=n, max_size=n)))
    exact = np.prod(factors**2 / (2 * factors - 1)) - 1
    assert Proposal(plan, factors * plan.means).relative_variance(0) == pytest.approx(exact, rel=1e-9, abs=1e-12)


def test_all_ten_means_times_four_leave_one_effective_draw_in_3900():
    assert scaled(PLAN, 4).relative_variance(0) + 1 == pytest.approx((16 / 7) ** 10, rel=1e-12)
    assert f"{1 / (scaled(PLAN, 4).relative_variance(0) + 1):.1e}" == "2.6e-04"


@settings(repeatable, max_examples=30)
@given(plan=plans(), level=st.floats(0.3, 3), factor=st.floats(0.6, 4), days=st.floats(0.01, 100), data=st.data())
def test_order_and_units_change_no_relative_variance(plan, level, factor, days, data):
    t = level * completion_law(plan).mean
    tilt = np.geomspace(1, factor, len(plan.tasks))
    order = data.draw(st.permutations(range(len(plan.tasks))))
    other = Project(
        {plan.tasks[j]: days * plan.means[j] for j in order}, {task: plan.predecessors[task] for task in plan.tasks}
    )
    there = Proposal(other, other.means * tilt[order]).relative_variance(days * t)
    assert there == pytest.approx(Proposal(plan, plan.means * tilt).relative_variance(t), rel=1e-8, abs=1e-10)


@settings(repeatable, max_examples=30)
@given(plan=plans(), level=st.floats(0.3, 3))
def test_plain_sampling_has_the_variance_of_hits_and_misses(plan, level):
    t = level * completion_law(plan).mean
    p = float(completion_law(plan).sf(t))
    assert scaled(plan, 1).relative_variance(t) == pytest.approx(1 / p - 1, rel=1e-10, abs=1e-12)


@pytest.mark.parametrize("proposal", [critical_times(2), Proposal(PLAN, LATE_MEANS), scaled(PLAN, 2)])
def test_relative_variance_is_the_mean_weight_of_late_projects(late, proposal):
    """E_q[w^2; late] = P E[w | late], by sampling late projects: no formula in common."""
    w = np.exp(proposal.log_weights(late)) / P70
    assert abs(w.mean() - 1 - proposal.relative_variance(70)) < 4 * w.std() / math.sqrt(len(w))


def test_exact_variance_of_a_plan_too_large_for_its_chain_is_refused():
    for compute in (scaled(TOO_LARGE, 2).relative_variance, lambda t: minimum_variance(TOO_LARGE, t)):
        with pytest.raises(ValueError, match="more than 50,000 states"):
            compute(5)


# Draws and weights


@pytest.mark.parametrize("shape", [(), (4,), (2, 3), (0,)])
def test_log_weights_are_log_p_minus_log_q(shape):
    proposal = Proposal(PLAN, LATE_MEANS)
    durations = np.random.default_rng(0).exponential(5, (*shape, 10))
    exact = stats.expon.logpdf(durations, scale=PLAN.means) - stats.expon.logpdf(durations, scale=LATE_MEANS)
    log_w = proposal.log_weights(durations)
    assert log_w.shape == shape
    assert log_w == pytest.approx(exact.sum(axis=-1), rel=1e-12, abs=1e-12)


def test_draws_are_exponential_with_the_means_of_the_proposal():
    durations = Proposal(PLAN, LATE_MEANS).draw(np.random.default_rng(0), 10_000)
    assert durations.shape == (10_000, 10)
    for days, mean in zip(durations.T, LATE_MEANS, strict=True):
        assert stats.kstest(days, "expon", (0, mean)).pvalue > 1e-4
    # A correlation of independent draws has standard error 1 / sqrt(n).
    correlations = np.corrcoef(durations.T)[np.triu_indices(10, 1)]
    assert np.abs(correlations).max() < 4.5 / math.sqrt(10_000)


@settings(repeatable, max_examples=30)
@given(plan=plans(), seed=st.integers(0, 1000), factor=st.floats(0.8, 1.5))
def test_weights_average_to_one(plan, seed, factor):
    proposal = Proposal(plan, plan.means * np.geomspace(1, factor, len(plan.tasks)))
    w = np.exp(proposal.log_weights(proposal.draw(np.random.default_rng(seed), 5_000)))
    # The exact variance of the weights is the relative variance without a deadline.
    assert abs(w.mean() - 1) <= 5 * math.sqrt(proposal.relative_variance(0) / len(w)) + 1e-12


def test_scaled_multiplies_the_means_it_is_told_to():
    assert scaled(PLAN, 3).means.tolist() == (3 * PLAN.means).tolist()
    assert scaled(PLAN, 3, ["1", "10"]).means.tolist() == [12, 4, 2, 5, 2, 3, 2, 3, 2, 6]
    assert scaled(PLAN, 3, "10").means.tolist() == [4, 4, 2, 5, 2, 3, 2, 3, 2, 6]
    assert scaled(PLAN, 1).is_nominal
    assert not scaled(PLAN, 3).is_nominal
    assert "10: 6" in repr(scaled(PLAN, 3, "10"))


def test_variance_relative_to_nothing_is_refused():
    for deadline in (math.inf, 1e4):
        with pytest.raises(ValueError, match="too small to divide by; choose an earlier deadline"):
            scaled(PLAN, 2).relative_variance(deadline)


@pytest.mark.filterwarnings("error")
def test_second_moments_beyond_floats_are_refused():
    """P(D >= 3000) is 1e-258: a float, unlike its square."""
    assert LAW.sf(3000) > 1e-290
    for compute in (lambda t: minimum_variance(PLAN, t), scaled(PLAN, 1_000).relative_variance):
        with pytest.raises(ValueError, match=r"second moment .* at 3000 days is too small for a float; choose an earl"):
            compute(3000)
    with pytest.raises(ValueError, match=r"^the relative variance is e\*\*910, too large for a float\.$"):
        scaled(PLAN, 1e40).relative_variance(1500)


def test_minimum_variance_builds_one_chain_for_each_look_at_the_variance(monkeypatch):
    built = []

    def counted(plan):
        built.append(plan)
        return completion_law(plan)

    monkeypatch.setattr("course_lib.projects.proposals.completion_law", counted)
    minimum_variance(PLAN, 70)
    assert 1 < len(built) == len(set(built)) < 25


def test_means_that_cannot_be_are_refused():
    for factor in (0, -1, math.nan, math.inf):
        with pytest.raises(ValueError, match=f"^the factor must be a positive, finite number; got {factor}"):
            scaled(PLAN, factor)
    with pytest.raises(ValueError, match="'11' is not a task of this plan"):
        scaled(PLAN, 2, ["11"])
    with pytest.raises(ValueError, match="10 tasks; got means of shape"):
        Proposal(PLAN, np.ones(9))
    with pytest.raises(ValueError, match="task '2': the mean duration is 0"):
        Proposal(PLAN, [1, 0, 1, 1, 1, 1, 1, 1, 1, 1])
    with pytest.raises(ValueError, match="read-only"):
        scaled(PLAN, 2).means[0] = 1


# Mixtures


def test_mixture_weight_divides_by_the_whole_mixture_density():
    parts, shares = [critical_times(4), scaled(PLAN, 2), scaled(PLAN, 1)], [0.5, 0.3, 0.2]
    durations = np.random.default_rng(0).exponential(5, (2, 3, 10))
    log_q = [stats.expon.logpdf(durations, scale=part.means).sum(axis=-1) for part in parts]
    log_p = stats.expon.logpdf(durations, scale=PLAN.means).sum(axis=-1)
    exact = log_p - special.logsumexp(log_q, b=np.reshape(shares, (3, 1, 1)), axis=0)
    assert mixture(parts, shares).log_weights(durations) == pytest.approx(exact, rel=1e-12, abs=1e-12)


def test_defensive_mixture_bounds_every_weight(late):
    defended = mixture([critical_times(4), scaled(PLAN, 1)], [0.75, 0.25])
    assert np.exp(critical_times(4).log_weights(late)).max() > 4
    assert np.exp(defended.log_weights(late)).max() <= 4 * (1 + 1e-12)


def test_mixture_draws_from_its_components_in_their_shares():
    durations = mixture([scaled(PLAN, 1), scaled(PLAN, 8)], [0.3, 0.7]).draw(np.random.default_rng(1), 20_000)
    assert durations.shape == (20_000, 10)
    for days, mean in zip(durations.T, PLAN.means, strict=True):
        fit = stats.kstest(days, lambda t, m=mean: 0.3 * stats.expon.cdf(t / m) + 0.7 * stats.expon.cdf(t / m / 8))
        assert fit.pvalue > 1e-4


def test_mixture_draws_a_whole_project_from_one_component():
    durations = mixture([scaled(PLAN, 1e-12), scaled(PLAN, 1e12)], [0.3, 0.7]).draw(np.random.default_rng(1), 20_000)
    long = durations > 1
    assert (long.all(axis=1) | ~long.any(axis=1)).all()
    assert abs(long[:, 0].mean() - 0.7) < 4 * math.sqrt(0.3 * 0.7 / 20_000)


def test_mixture_of_one_or_of_twins_is_the_component(late):
    component = critical_times(2)
    for same in (mixture([component]), mixture([component, component]), mixture([component] * 2, [0.9, 0.1])):
        assert same.log_weights(late[:100]) == pytest.approx(component.log_weights(late[:100]), rel=1e-12, abs=1e-12)
        variance = same.relative_variance(70, n=20_000, seed=3)
        assert isinstance(variance, Estimate)
        assert abs(variance.value - component.relative_variance(70)) < 4 * variance.std_error


def test_mixture_variance_from_late_projects_agrees_with_its_own_draws():
    deadline, p = 40, float(LAW.sf(40))
    proposal = mixture([critical_times(2), scaled(PLAN, 2), scaled(PLAN, 1)])
    from_late = proposal.relative_variance(deadline, n=50_000)
    durations = proposal.draw(np.random.default_rng(4), 500_000)
    hits = np.exp(proposal.log_weights(durations)) * (PLAN.completion_times(durations) >= deadline)
    squares = Estimate.from_values((hits / p) ** 2)
    assert abs(squares.value - 1 - from_late.value) < 4 * math.hypot(squares.std_error, from_late.std_error)


def test_mixtures_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="at least one proposal"):
        mixture([])
    with pytest.raises(ValueError, match="same plan"):
        mixture([scaled(PLAN, 1), scaled(PLAN.with_means(2 * PLAN.means), 1)])
    for shares in ([1.0], [0.5, 0.6], [1.0, 0.0], [1.5, -0.5], [math.nan, 0.5]):
        with pytest.raises(ValueError, match="shares must be 2 positive numbers that sum to 1; got"):
            mixture([scaled(PLAN, 1), scaled(PLAN, 2)], shares)
    with pytest.raises(ValueError, match="read-only"):
        mixture([scaled(PLAN, 1), scaled(PLAN, 2)]).shares[0] = 1
    with pytest.raises(ValueError, match="more than 50,000 states"):
        mixture([scaled(TOO_LARGE, 2)]).relative_variance(5)


# Chosen by a criterion


@pytest.mark.parametrize("deadline", [20, 70])
def test_cross_entropy_finds_the_late_means(deadline):
    """The late means are the exact optimum; the spread of repetitions says how near it a run should come."""
    runs = np.array([cross_entropy(PLAN, deadline, seed=seed).means for seed in range(40)])
    error = runs.std(axis=0, ddof=1) / math.sqrt(len(runs))
    # Ten comparisons at four standard errors.
    assert (np.abs(runs.mean(axis=0) - LAW.late_means(deadline)) < 4 * error).all()


def test_more_draws_bring_cross_entropy_nearer_to_its_optimum():
    errors = [
        [np.abs(np.log(cross_entropy(PLAN, 70, n, seed).means / LATE_MEANS)).mean() for seed in range(10)]
        for n in (1_000, 100_000)
    ]
    # Errors shrink like 1 / sqrt(n), tenfold here; half of that in logarithms leaves room for chance.
    assert np.mean(errors[1]) < np.mean(errors[0]) / math.sqrt(10)


def test_same_seed_same_cross_entropy():
    runs = [cross_entropy(PLAN, 70, n=1_000, seed=seed).means.tolist() for seed in (0, 0, 1)]
    assert runs[0] == runs[1] != runs[2]


def test_cross_entropy_out_of_range_is_refused():
    for n in (99, 100.5, math.inf):
        with pytest.raises(ValueError, match=f"^n must be a whole number of at least 100; got {n}"):
            cross_entropy(PLAN, 70, n=n)
    for elite in (0, 1, math.nan):
        with pytest.raises(ValueError, match=f"^elite must lie between 0 and 1; got {elite}"):
            cross_entropy(PLAN, 70, elite=elite)
    for max_rounds in (0, 1.5, "3"):
        with pytest.raises(ValueError, match=f"^max_rounds must be a whole number of at least 1; got {max_rounds!r}"):
            cross_entropy(PLAN, 70, max_rounds=max_rounds)
    with pytest.raises(ValueError, match=r"reached .* of 70 days in 1 rounds; raise n or choose an earlier deadline"):
        cross_entropy(PLAN, 70, max_rounds=1)


def test_where_cross_entropy_stalls_the_mixture_that_it_names_finds_the_answer():
    """Twenty chains of two tasks side by side: P(D >= 35) is 0.002, and any of them may be the late one."""
    paths = [(f"dig {j}", f"fill {j}") for j in range(20)]
    plan = Project({task: 3 for path in paths for task in path}, {fill: [dig] for dig, fill in paths})
    advice = r"mixture\(\[scaled\(plan, f, path\) for path in paths\]\) with f near the deadline over the mean length"
    for n in (20_000, 100_000):
        with pytest.raises(ValueError, match=advice):
            cross_entropy(plan, 35, n)
    exact = -math.expm1(20 * math.log1p(-stats.gamma.sf(35, 2, scale=3)))
    proposal = mixture([scaled(plan, 35 / 6, path) for path in paths])
    for seed in range(5):
        estimate = importance_sampling(plan, 35, proposal, n=20_000, seed=seed)
        assert abs(estimate.value - exact) < 4 * estimate.std_error < 4 * 0.05 * exact
        assert estimate.caveats == ()


def test_minimum_variance_of_the_ten_tasks(best):
    assert best.relative_variance(70) == pytest.approx(15.5, abs=0.05)
    assert best.means == pytest.approx([15.9, 14.1, 2.35, 33.5, 2.28, 4.35, 2.09, 4.00, 2.45, 3.21], rel=0.005)


def test_minimum_variance_beats_every_other_choice(best):
    others = [Proposal(PLAN, LATE_MEANS), *map(critical_times, (2, 2.5, 3, 4)), *(scaled(PLAN, k) for k in (1, 2, 3))]
    smallest = best.relative_variance(70)
    assert all(smallest < other.relative_variance(70) for other in others)
    # Kullback-Leibler divergence is not variance: five times worse.
    assert Proposal(PLAN, LATE_MEANS).relative_variance(70) / smallest == pytest.approx(5.3, abs=0.1)


@settings(repeatable, max_examples=15)
@given(plan=plans(5), level=st.floats(0.5, 4))
def test_no_small_step_away_from_minimum_variance_lowers_it(plan, level):
    t = level * completion_law(plan).mean
    found = minimum_variance(plan, t)
    smallest = found.relative_variance(t)
    for j in range(len(plan.tasks)):
        for step in (0.95, 1.05):
            means = found.means.copy()
            means[j] *= step
            assert Proposal(plan, means).relative_variance(t) > smallest


@pytest.mark.parametrize("deadline", [1, 30, 300])
def test_minimum_variance_of_one_task_in_closed_form(deadline):
    """The least l / (m^2 r) exp(-r t), r = 2/m - 1/l, is at l = t / (1 + u - sqrt(1 + u^2)), u = t / m."""
    u = deadline / 4
    exact = Proposal(ONE_TASK, [deadline / (1 + u - math.sqrt(1 + u * u))])
    found = minimum_variance(ONE_TASK, deadline)
    assert exact.relative_variance(deadline) <= found.relative_variance(deadline) * (1 + 1e-10)
    assert found.relative_variance(deadline) == pytest.approx(exact.relative_variance(deadline), rel=1e-6)
    assert found.means == pytest.approx(exact.means, rel=1e-3)
