"""The exact law of the completion time, against arithmetic, closed forms and matrix exponentials; late projects."""

import math
import time
from decimal import Decimal, localcontext
from itertools import combinations, pairwise

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_plans import plans, repeatable
from scipy import linalg, stats
from scipy.sparse.linalg import expm_multiply

from course_lib.projects import (
    Project,
    completion_law,
    conditional_monte_carlo,
    late_projects,
    minimum_variance,
    mixture,
    scaled,
)
from course_lib.projects.chain import MAX_STATES

EXAMPLE = Project.example()
LAW = completion_law(EXAMPLE)


def chain(means):
    names = [f"t{j}" for j in range(len(means))]
    return Project(dict(zip(names, means, strict=True)), {b: [a] for a, b in pairwise(names)})


def parallel(means):
    return Project({f"t{j}": mean for j, mean in enumerate(means)})


def closed_sets(plan):
    """Sets of finished tasks, as bit masks, that contain with each task its predecessors."""
    needs = [sum(1 << i for i in before) for before in plan.predecessor_indices]
    n = len(needs)
    return [s for s in range(2**n) if all(s & needs[j] == needs[j] for j in range(n) if s >> j & 1)]


def unfinished_generator(plan):
    """The generator among the unfinished states, dense, built state by state from its definition."""
    states = closed_sets(plan)
    number = {s: i for i, s in enumerate(states)}
    generator = np.zeros((len(states), len(states)))
    for s in states:
        for j, mean in enumerate(plan.means):
            if not s >> j & 1 and s | 1 << j in number:
                generator[number[s], number[s | 1 << j]] += 1 / mean
                generator[number[s], number[s]] -= 1 / mean
    return generator[:-1, :-1]


@pytest.fixture(scope="module")
def late():
    return late_projects(EXAMPLE, 70, 50_000, seed=1)


# The ten-task plan


def test_exact_moments_of_the_ten_tasks():
    assert LAW.n_states == 51
    assert LAW.mean == pytest.approx(18.210065914056685, rel=1e-14)
    assert LAW.std == pytest.approx(7.1983908251012805, rel=1e-14)


@pytest.mark.parametrize(
    ("deadline", "printed"),
    [
        (15, "0.6281393144"),
        (30, "0.0670203699"),
        (50, "1.591824785e-3"),
        (70, "3.211525481459922e-05"),
        (100, "8.403250439e-08"),
        (150, "3.889309e-12"),
    ],
)
def test_exact_tails_of_the_ten_tasks(deadline, printed):
    half_a_digit = 0.5000001 * 10.0 ** Decimal(printed).as_tuple().exponent
    assert LAW.sf(deadline) == pytest.approx(float(printed), abs=max(half_a_digit, 1e-14 * float(printed)), rel=0)


def test_far_tail_keeps_its_digits():
    """Against the Taylor series of the matrix exponential, alternating terms and all, in 400-digit arithmetic."""
    days = [15, 70, 150, 300]
    states = closed_sets(EXAMPLE)[:-1]
    rates = [60 // int(mean) for mean in EXAMPLE.means]  # per 60 days, whole numbers
    jumps = {s: [(s | 1 << j, r) for j, r in enumerate(rates) if not s >> j & 1] for s in states}
    allowed = set(states) | {2**10 - 1}
    jumps = {s: [(then, r) for then, r in ways if then in allowed] for s, ways in jumps.items()}
    with localcontext() as context:
        context.prec = 400
        unfinished = {s: Decimal(1) for s in states}
        scale, totals = [Decimal(1)] * len(days), [Decimal(0)] * len(days)
        n = 0
        while n < 100 or max(scale) * abs(unfinished[0]) > Decimal("1e-80"):
            totals = [total + unfinished[0] * factor for total, factor in zip(totals, scale, strict=True)]
            n += 1
            scale = [factor * day / 60 / n for factor, day in zip(scale, days, strict=True)]
            unfinished = {s: sum(r * (unfinished.get(then, 0) - unfinished[s]) for then, r in jumps[s]) for s in states}
        exact = [float(total) for total in totals]
    assert exact[-1] < 1e-24
    assert LAW.sf(days) == pytest.approx(exact, rel=1e-12, abs=0)


def test_late_means_and_elasticities_of_the_ten_tasks():
    late_means = [17.018, 16.158, 2.059, 37.800, 2.133, 3.188, 2.014, 3.088, 2.172, 3.294]
    elasticities = [3.255, 3.040, 0.029, 6.560, 0.067, 0.063, 0.007, 0.029, 0.086, 0.647]
    assert LAW.late_means(70) == pytest.approx(late_means, abs=0.00051, rel=0)
    assert LAW.elasticities(70) == pytest.approx(elasticities, abs=0.00051, rel=0)


# Any plan


@settings(repeatable, max_examples=60)
@given(plan=plans(6), level=st.floats(0.1, 4))
def test_law_is_the_matrix_exponential(plan, level):
    law, generator = completion_law(plan), unfinished_generator(plan)
    assert law.n_states == len(generator) + 1
    one = np.ones(len(generator))
    mean = linalg.solve(generator, -one)
    assert law.mean == pytest.approx(mean[0], rel=1e-10)
    assert law.std**2 == pytest.approx(linalg.solve(generator, -2 * mean)[0] - mean[0] ** 2, rel=1e-9)
    t = level * law.mean
    # Not linalg.expm: of a triangular matrix with two eigenvalues one rounding apart it is a fifth off.
    after = expm_multiply(generator.T * t, np.eye(len(generator))[0])
    assert law.sf(t) == pytest.approx(after.sum(), rel=1e-9, abs=1e-14)
    assert law.cdf(t) == pytest.approx(1 - after.sum(), rel=1e-9, abs=1e-13)
    assert law.pdf(t) == pytest.approx(after @ -generator.sum(axis=1), rel=1e-9, abs=1e-13)


@pytest.mark.parametrize("roundings", [0, 1, 2, 50])
def test_means_that_are_almost_equal_are_as_good_as_equal(roundings):
    mean = 12.3
    law = completion_law(chain([mean, mean + roundings * math.ulp(mean)]))
    t = mean * np.array([0.5, 1, 4, 8])
    assert law.sf(t) == pytest.approx(stats.gamma.sf(t, 2, scale=mean), rel=1e-12)


@settings(repeatable, max_examples=40)
@given(plan=plans())
def test_density_tail_and_distribution_function_fit_together(plan):
    law = completion_law(plan)
    ends = law.mean * np.array([0, 0.1, 0.3, 0.6, 1, 1.5, 2, 3, 5, 8])
    assert law.sf(ends) + law.cdf(ends) == pytest.approx(1, abs=1e-13)
    assert (np.diff(law.sf(ends)) < 0).all()
    # Gauss-Legendre on 60 nodes is exact to rounding for functions as smooth as these.
    nodes, weights = np.polynomial.legendre.leggauss(60)
    half = np.diff(ends)[:, None] / 2
    times = ends[:-1, None] + half * (1 + nodes)
    integral = (half * weights * law.pdf(times)).sum(axis=1)
    assert integral == pytest.approx(law.sf(ends[:-1]) - law.sf(ends[1:]), rel=1e-9, abs=1e-13)
    assert integral.sum() + law.sf(ends[-1]) == pytest.approx(1, abs=1e-12)
    # What lies beyond eight means is at most exp(-8) of the mean, because D ages (its law is IFRA, so NBUE).
    missing = 1 - (half * weights * law.sf(times)).sum() / law.mean
    assert -1e-10 <= missing <= math.exp(-8)


@settings(repeatable, max_examples=40)
@given(plan=plans(), data=st.data(), factor=st.floats(0.01, 100))
def test_order_names_implied_predecessors_and_units_change_nothing(plan, data, factor):
    order = data.draw(st.permutations(range(len(plan.tasks))))
    implied = nx.transitive_closure_dag(plan.graph)
    other = Project(
        {f"new {plan.tasks[j]}": factor * plan.means[j] for j in order},
        {f"new {task}": [f"new {before}" for before in implied.predecessors(task)] for task in plan.tasks},
    )
    law, same = completion_law(plan), completion_law(other)
    t = law.mean * np.array([0.2, 1, 3])
    assert same.n_states == law.n_states
    assert (same.mean, same.std) == pytest.approx((factor * law.mean, factor * law.std), rel=1e-10)
    assert same.sf(factor * t) == pytest.approx(law.sf(t), rel=1e-10)
    assert same.pdf(factor * t) == pytest.approx(law.pdf(t) / factor, rel=1e-10)
    assert same.late_means(factor * t[2]) == pytest.approx(factor * law.late_means(t[2])[order], rel=1e-9)


@settings(repeatable, max_examples=25)
@given(plan=plans(6), level=st.floats(0.5, 4))
def test_elasticities_are_the_slopes_of_the_log_tail(plan, level):
    law = completion_law(plan)
    t = level * law.mean
    elasticities = law.elasticities(t)
    # All means longer by a factor is the same as a deadline shorter by it.
    assert elasticities.sum() == pytest.approx(float(t * law.pdf(t) / law.sf(t)), rel=1e-9)
    step = 1e-4
    for j, elasticity in enumerate(elasticities):
        up, down = (
            float(np.log(completion_law(plan.with_means(plan.means * np.exp(h * np.eye(len(plan.tasks))[j]))).sf(t)))
            for h in (step, -step)
        )
        # The difference quotient is off by step**2 / 6 times a third derivative, here below 100.
        assert elasticity == pytest.approx((up - down) / (2 * step), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("times", [3.0, 3, [1.0, 70.0], np.ones((2, 3)), np.ones((2, 1, 2)), np.empty((0, 2))])
def test_any_shape_of_times_comes_back(times):
    for method in (LAW.sf, LAW.cdf, LAW.pdf):
        answers = method(times)
        assert np.shape(answers) == np.shape(times)
        assert np.ravel(answers).tolist() == pytest.approx([float(method(t)) for t in np.ravel(times)], rel=1e-13)


@pytest.mark.filterwarnings("error")
def test_before_the_start_nothing_is_finished():
    for t in (0.0, -1.0, -1e6, -math.inf):
        assert (LAW.sf(t), LAW.cdf(t), LAW.pdf(t)) == (1, 0, 0)
    assert completion_law(chain([4])).pdf([-1, 0, 4]) == pytest.approx([0, 1 / 4, math.exp(-1) / 4], rel=1e-14)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("t", [1e4, 1e300, math.inf])
def test_in_the_end_everything_is_finished(t):
    assert (LAW.sf(t), LAW.cdf(t), LAW.pdf(t)) == (0, 1, 0)
    assert LAW.sf([70, t]).tolist() == [LAW.sf(70), 0]


def test_nan_is_no_time():
    for method in (LAW.sf, LAW.cdf, LAW.pdf):
        with pytest.raises(ValueError, match="a time is nan"):
            method([70, math.nan])


# Closed forms


@pytest.mark.parametrize("means", [[4], [1, 2], [1, 2, 4, 8], [0.01, 10], [5, 0.5, 50]])
def test_tasks_in_series_are_hypoexponential(means):
    law = completion_law(chain(means))
    assert law.n_states == len(means) + 1
    assert law.mean == pytest.approx(sum(means), rel=1e-14)
    assert law.std == pytest.approx(math.sqrt(sum(m * m for m in means)), rel=1e-12)
    t = law.mean * np.array([1, 3, 10, 40])  # up to 4,000 events of the fastest task in the slowest plan
    factors = [math.prod(m / (m - other) for other in means if other != m) for m in means]
    exact = sum(f * np.exp(-t / m) for f, m in zip(factors, means, strict=True))
    assert law.sf(t) == pytest.approx(exact, rel=1e-11, abs=0)
    density = sum(f / m * np.exp(-t / m) for f, m in zip(factors, means, strict=True))
    assert law.pdf(t) == pytest.approx(density, rel=1e-11, abs=0)


def test_slowest_task_rules_the_far_tail():
    t = 8 * np.array([100, 300, 600])
    exact = 8 / 7 * 8 / 6 * 8 / 4 * np.exp(-t / 8)
    assert exact[-1] < 1e-260
    assert completion_law(chain([1, 2, 4, 8])).sf(t) == pytest.approx(exact, rel=1e-11, abs=0)


@pytest.mark.parametrize("n", [1, 3, 12])
def test_equal_tasks_in_series_are_erlang_in_both_far_tails(n):
    law, erlang = completion_law(chain([2.0] * n)), stats.gamma(n, scale=2)
    upper = np.array([erlang.isf(p) for p in (1e-3, 1e-30, 1e-100, 1e-280)])
    lower = np.array([1e-12, 1e-3, 0.1, 1.0])
    assert law.sf(upper) == pytest.approx(erlang.sf(upper), rel=1e-11, abs=0)
    assert law.cdf(lower) == pytest.approx(erlang.cdf(lower), rel=1e-11, abs=0)
    times = np.concatenate([lower, upper])
    assert law.pdf(times) == pytest.approx(erlang.pdf(times), rel=1e-11, abs=0)


@pytest.mark.parametrize("means", [[3], [1, 1], [1, 2, 5], [0.5, 1, 2, 4, 8, 16]])
def test_parallel_tasks_finish_when_the_last_one_does(means):
    law = completion_law(parallel(means))
    assert law.n_states == 2 ** len(means)
    t = np.array([0.01, 0.5, 3, 20])
    assert law.cdf(t) == pytest.approx(np.prod([-np.expm1(-t / m) for m in means], axis=0), rel=1e-12, abs=0)
    subsets = [c for size in range(1, len(means) + 1) for c in combinations(means, size)]
    expected = sum((-1) ** (len(c) + 1) / sum(1 / m for m in c) for c in subsets)
    assert law.mean == pytest.approx(expected, rel=1e-11)


# Size


def test_count_of_states_runs_from_a_chain_to_all_subsets():
    assert completion_law(chain([1] * 100)).n_states == 101
    assert completion_law(parallel([1] * 10)).n_states == 1024


def test_plan_too_large_is_refused_with_the_count_and_the_way_out():
    with pytest.raises(ValueError) as error:
        completion_law(parallel(range(1, 41)))
    assert f"more than {MAX_STATES:,} states" in str(error.value)
    assert "(up to 40 tasks can run at once, so at least 2**40 = 1.1e+12)" in str(error.value)
    assert "use monte_carlo or importance_sampling" in str(error.value)
    with pytest.raises(ValueError, match="more than 50,000 states"):
        late_projects(parallel([1] * 40), 5, 10)


def test_a_width_that_is_no_reason_is_not_named():
    """Eight crews of eight tasks each have 9**8 states, and can do no more than eight things at once."""
    crews = [[f"{crew}{j}" for j in range(8)] for crew in "abcdefgh"]
    plan = Project({task: 1 for crew in crews for task in crew}, {b: [a] for crew in crews for a, b in pairwise(crew)})
    with pytest.raises(ValueError, match=r"^the chain of this plan has more than 50,000 states; use monte_carlo"):
        completion_law(plan)


def test_a_plan_of_thousands_of_parallel_tasks_is_refused_too():
    with pytest.raises(ValueError, match=r"at least 2\*\*2000\)"):
        completion_law(parallel([1] * 2000))


def test_limit_is_the_largest_chain_that_is_built(monkeypatch):
    monkeypatch.setattr("course_lib.projects.chain.MAX_STATES", 8)
    assert completion_law(parallel([1, 1, 1])).n_states == 8
    with pytest.raises(ValueError, match="more than 8 states"):
        completion_law(chain([1] * 8))


# One task much shorter than the others

STIFF = chain([1e-9, 365, 30])


def test_moments_do_not_mind_how_much_the_means_differ():
    for shortest in (1e-3, 1e-9, 1e-200):
        law = completion_law(chain([365, shortest, 30]))
        assert law.mean == pytest.approx(395 + shortest, rel=1e-14)
        assert law.std == pytest.approx(math.hypot(365, shortest, 30), rel=1e-13)


@pytest.mark.parametrize(
    "query",
    [
        completion_law(STIFF).sf,
        completion_law(STIFF).cdf,
        completion_law(STIFF).pdf,
        completion_law(STIFF).elasticities,
        completion_law(STIFF).late_means,
        lambda t: late_projects(STIFF, t, 10),
        scaled(STIFF, 2).relative_variance,
        lambda t: minimum_variance(STIFF, t),
        lambda t: mixture([scaled(STIFF, 2)]).relative_variance(t),
        lambda t: conditional_monte_carlo(STIFF, t, 1_000),
    ],
)
@pytest.mark.parametrize("deadline", [400, 1e9, math.inf])
def test_too_many_events_are_refused_before_the_first(query, deadline):
    start = time.perf_counter()
    with pytest.raises(ValueError, match=r"events in this plan's chain of 4 states, too many.*tasks as short as 't0'"):
        query(deadline)
    assert time.perf_counter() - start < 5  # walking through them would take weeks


def test_means_that_differ_by_ten_thousand_are_answered():
    law = completion_law(chain([1e-3, 10]))
    assert law.sf(50) == pytest.approx((10 * math.exp(-5)) / (10 - 1e-3), rel=1e-10)


def test_a_table_of_all_steps_that_would_not_fit_is_refused():
    """Thirteen tasks side by side: a step is done in no time, but 8,192 states by 37,000 steps are 2.4 GB."""
    law = completion_law(parallel([1e-2] + [4] * 12))
    for query in (law.elasticities, lambda t: law.sample_late(t, 10)):
        with pytest.raises(ValueError, match="too many to compute with"):
            query(350)


def test_no_project_takes_longer_than_what_bounds_the_events():
    for plan in (EXAMPLE, chain([1, 2, 4, 8]), parallel([1, 2, 5]), chain([2.0] * 12)):
        law = completion_law(plan)
        assert law.sf(law._surely_over) < 1e-299
        assert law.sf(law._surely_over / 10) > 0


# Late projects


def test_late_projects_are_late_and_positive(late):
    assert late.shape == (50_000, 10)
    assert (late > 0).all()
    assert (EXAMPLE.completion_times(late) >= 70).all()


def test_mean_durations_of_late_projects_are_the_exact_ones(late):
    errors = late.std(axis=0) / math.sqrt(len(late))
    # Ten comparisons at four standard errors: one false alarm in 1,500.
    assert (np.abs(late.mean(axis=0) - LAW.late_means(70)) < 4 * errors).all()


def test_late_completion_times_follow_the_exact_tail(late):
    times = EXAMPLE.completion_times(late)
    fit = stats.kstest(times, lambda t: 1 - LAW.sf(t) / LAW.sf(70))
    assert fit.pvalue > 1e-4


@pytest.mark.parametrize(
    ("plan", "level"),
    [
        pytest.param(EXAMPLE, 1.2, id="ten tasks"),
        pytest.param(chain([1, 3, 1]), 1.5, id="chain"),
        pytest.param(parallel([1, 2, 0.5]), 1.0, id="parallel"),
        pytest.param(chain([2]), 0.7, id="one task"),
    ],
)
def test_late_projects_are_what_is_left_of_all_projects_when_the_others_are_sorted_out(plan, level):
    law, rng = completion_law(plan), np.random.default_rng(5)
    deadline = level * law.mean
    drawn = plan.means * rng.standard_exponential((100_000, len(plan.tasks)))
    kept = drawn[plan.completion_times(drawn) >= deadline][:20_000]
    sampled = late_projects(plan, deadline, len(kept), seed=6)
    mixed = rng.standard_normal((len(plan.tasks), 5))
    views = [(kept, sampled), (kept @ mixed, sampled @ mixed)]  # each task alone, and some sums of all
    pvalues = [stats.ks_2samp(a, b).pvalue for left, right in views for a, b in zip(left.T, right.T, strict=True)]
    assert min(pvalues) > 1e-4


@settings(repeatable, max_examples=20)
@given(plan=plans(), log10_tail=st.floats(-8, -0.1))
def test_late_projects_of_any_plan_have_the_exact_means(plan, log10_tail):
    law = completion_law(plan)
    grid = law.mean + law.std * np.linspace(-3, 22, 400)
    deadline = float(grid[np.argmin(law.sf(grid) > 10**log10_tail)])
    late = late_projects(plan, deadline, 2000, seed=3)
    assert (plan.completion_times(late) >= deadline * (1 - 1e-12)).all()
    errors = late.std(axis=0) / math.sqrt(len(late))
    # At most 20 x 8 comparisons at five standard errors: one false alarm in 10,000 if they were normal.
    assert (np.abs(late.mean(axis=0) - law.late_means(deadline)) < 5 * errors).all()


def test_late_projects_come_in_no_order(late):
    # A rank correlation with the place in line has standard error 1 / sqrt(n); eleven of them.
    columns = [*late.T, EXAMPLE.completion_times(late)]
    ranks = [stats.spearmanr(np.arange(len(late)), column).statistic for column in columns]
    assert np.abs(ranks).max() < 4 / math.sqrt(len(late))


@pytest.mark.parametrize("deadline", [0, -3])
def test_projects_late_for_no_deadline_are_any_projects(deadline):
    drawn = late_projects(EXAMPLE, deadline, 20_000, seed=2)
    assert LAW.late_means(deadline).tolist() == EXAMPLE.means.tolist()
    pvalues = [stats.kstest(days, "expon", (0, mean)).pvalue for days, mean in zip(drawn.T, EXAMPLE.means, strict=True)]
    assert min(pvalues) > 1e-4


def test_same_seed_same_late_projects():
    draws = [late_projects(EXAMPLE, 70, 20, seed=seed).tolist() for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]
    assert late_projects(EXAMPLE, 70, 1).shape == (1, 10)


def test_late_projects_that_cannot_be_drawn_are_refused():
    with pytest.raises(ValueError, match="n must be a whole number of at least 1; got 0"):
        late_projects(EXAMPLE, 70, 0)
    for method in (LAW.late_means, LAW.elasticities, lambda t: late_projects(EXAMPLE, t, 10)):
        with pytest.raises(ValueError, match="too small to condition on; choose an earlier deadline"):
            method(1e4)
