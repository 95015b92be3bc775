"""Simulated chances of being late: right on average, reproducible, and steady in memory."""

import io
import math
import signal
import sys
import threading
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_plans import plans, repeatable
from scipy import stats

from course_lib.estimates import Estimate
from course_lib.projects import (
    Project,
    Proposal,
    completion_law,
    conditional_monte_carlo,
    importance_sampling,
    late_projects,
    minimum_variance,
    mixture,
    monte_carlo,
    parallel,
    scaled,
    simulation,
)

PLAN = Project.example()
LAW = completion_law(PLAN)
P70 = float(LAW.sf(70))
CRITICAL = scaled(PLAN, 4, PLAN.critical_path())
LATE_TASKS = Proposal(PLAN, LAW.late_means(70))

# Each way to estimate P(D >= deadline) of the ten tasks.
estimators = pytest.mark.parametrize(
    "estimate",
    [
        pytest.param(lambda **how: monte_carlo(PLAN, **how), id="monte_carlo"),
        pytest.param(lambda **how: importance_sampling(PLAN, proposal=CRITICAL, **how), id="importance_sampling"),
        pytest.param(
            lambda **how: importance_sampling(PLAN, proposal=mixture([CRITICAL, scaled(PLAN, 1)]), **how), id="mixture"
        ),
        pytest.param(lambda **how: conditional_monte_carlo(PLAN, **how), id="conditional_monte_carlo"),
    ],
)


@pytest.fixture
def best():
    return minimum_variance(PLAN, 70)


def deadline_of(law, probability, furthest=6):
    """The deadline missed with nearly this probability, up to ``furthest`` standard deviations late."""
    grid = law.mean + law.std * np.linspace(-3, furthest, 400)
    return float(grid[np.argmin(law.sf(grid) > probability)])


def with_2_and_4(mean_2, mean_4):
    means = PLAN.means.copy()
    means[[1, 3]] = mean_2, mean_4
    return Proposal(PLAN, means)


# Against the exact law


@settings(repeatable, max_examples=25)
@given(plan=plans(12))
def test_plain_simulation_agrees_with_the_exact_law_of_any_plan(plan):
    law, n = completion_law(plan), 20_000
    for probability in (0.95, 0.5, 0.1, 0.01):
        deadline = deadline_of(law, probability)
        p = float(law.sf(deadline))
        # 100 comparisons at 4.5 standard errors, known exactly: one false alarm in 1,500.
        assert abs(monte_carlo(plan, deadline, n).value - p) < 4.5 * math.sqrt(p * (1 - p) / n)


@settings(repeatable, max_examples=12)
@given(plan=plans(6), log10_tail=st.floats(-9, -1))
def test_weighted_simulation_agrees_with_the_exact_law_far_out(plan, log10_tail):
    law, n = completion_law(plan), 20_000
    deadline = deadline_of(law, 10**log10_tail, furthest=25)
    found = minimum_variance(plan, deadline)
    estimate = importance_sampling(plan, deadline, found, n)
    # 12 comparisons at 4.5 standard errors, known exactly.
    error = float(law.sf(deadline)) * math.sqrt(found.relative_variance(deadline) / n)
    assert abs(estimate.value - law.sf(deadline)) < 4.5 * error


@pytest.mark.parametrize(("deadline", "n"), [(30, 100_000), (70, 400_000)])
def test_every_estimator_agrees_with_the_ten_tasks(deadline, n):
    p = float(LAW.sf(deadline))
    for proposal in (scaled(PLAN, 1), scaled(PLAN, 2), LATE_TASKS):
        error = p * math.sqrt(proposal.relative_variance(deadline) / n)
        assert abs(importance_sampling(PLAN, deadline, proposal, n).value - p) < 4 * error
    mixed = mixture([LATE_TASKS, scaled(PLAN, 2)])
    error = p * math.sqrt(mixed.relative_variance(deadline, n=20_000).value / n)
    assert abs(importance_sampling(PLAN, deadline, mixed, n).value - p) < 4 * error


def test_importance_sampling_is_unbiased_with_the_exact_variance(best):
    n = 1_000
    error = P70 * math.sqrt(best.relative_variance(70) / n)
    z = np.array([(importance_sampling(PLAN, 70, best, n, seed, threads=1).value - P70) / error for seed in range(400)])
    assert abs(z.mean()) < 4 / math.sqrt(len(z))
    assert abs((z**2).mean() - 1) < 4 * (z**2).std() / math.sqrt(len(z))
    assert stats.kstest(z, "norm").pvalue > 1e-3


@pytest.mark.parametrize("proposal", [scaled(PLAN, 1), scaled(PLAN, 2)])
def test_95_percent_intervals_cover_the_exact_answer(proposal):
    """At 30 days, where a thousand draws hold many late projects."""
    p, runs = float(LAW.sf(30)), 1_000
    intervals = [importance_sampling(PLAN, 30, proposal, 1_000, seed, 1).interval() for seed in range(runs)]
    coverage = np.mean([low <= p <= high for low, high in intervals])
    # Clopper-Pearson intervals may cover more than they promise.
    lowest, highest = 0.95 + np.array([-4, 4]) * math.sqrt(0.95 * 0.05 / runs)
    assert lowest < coverage
    assert proposal.is_nominal or coverage < highest


def test_sample_variance_of_the_critical_path_proposal_is_too_small_and_k_hat_is_calm():
    """What the sources missed: rare projects, late by another path, carry most of the second moment."""
    runs = [importance_sampling(PLAN, 70, CRITICAL, 200_000, seed) for seed in range(5)]
    assert np.median([run.relative_variance for run in runs]) < CRITICAL.relative_variance(70) / 3
    assert np.median([run.pareto_k for run in runs]) < 0.5


# Conditional Monte Carlo


@pytest.mark.parametrize(
    ("means", "printed"),
    [((12, 30), "34.2"), (LAW.late_means(70)[[1, 3]], "52.4"), ((8.77, 16.26), "21.5")],
)
def test_exact_variance_with_tasks_1_and_10_integrated_out(means, printed):
    """E_q[(w g)^2] = E_p[w g^2], g = P(T1 + T10 >= t - R), an integral over the time R that the others take."""
    proposal = with_2_and_4(*means)
    others = [task for task in PLAN.tasks if task not in ("1", "10")]
    rates = 2 / PLAN.means - 1 / proposal.means
    constant = np.prod(proposal.means / (PLAN.means**2 * rates))
    rest = completion_law(
        Project(
            {task: 1 / rates[j] for j, task in enumerate(PLAN.tasks) if task in others},
            {task: [before for before in PLAN.predecessors[task] if before in others] for task in others},
        )
    )
    series = completion_law(Project({"1": 4, "10": 2}, {"10": ["1"]}))
    nodes, weights = np.polynomial.legendre.leggauss(200)
    r = 35 * (1 + nodes)
    second_moment = constant * (35 * weights @ (rest.pdf(r) * series.sf(70 - r) ** 2) + rest.sf(70))
    relative_variance = second_moment / P70**2 - 1
    assert f"{relative_variance:.1f}" == printed

    # The same from late projects, which share no formula with it: E_p[w g^2] = P E[w g | late].
    late = late_projects(PLAN, 70, 20_000, seed=2)
    late[:, [0, 9]] = 0
    contributions = np.exp(proposal.log_weights(late)) * series.sf(70 - PLAN.completion_times(late)) / P70
    error = contributions.std() / math.sqrt(len(late))
    assert abs(contributions.mean() - 1 - relative_variance) < 4 * error

    n = 100_000
    estimate = conditional_monte_carlo(PLAN, 70, n, proposal=proposal)
    assert abs(estimate.value - P70) < 4 * P70 * math.sqrt(relative_variance / n)


def test_tasks_on_every_path_leave_nothing_to_chance_when_there_are_no_others():
    plan = Project({"a": 1, "b": 2, "c": 4}, {"b": ["c"], "a": ["b"]})
    estimate = conditional_monte_carlo(plan, 50, 100)
    assert estimate.value == pytest.approx(float(completion_law(plan).sf(50)), rel=1e-12)
    assert estimate.std_error == pytest.approx(0, abs=1e-7 * estimate.value)


@pytest.mark.parametrize("deadline", [15, 40])
def test_integrating_tasks_out_lowers_the_variance(deadline):
    n, p = 50_000, float(LAW.sf(deadline))
    estimate = conditional_monte_carlo(PLAN, deadline, n)
    assert abs(estimate.value - p) < 4 * estimate.std_error
    assert estimate.std_error < 0.9 * math.sqrt(p * (1 - p) / n)


def test_means_proposed_for_integrated_tasks_play_no_part():
    tilted = with_2_and_4(12, 30)
    means = tilted.means.copy()
    means[[0, 9]] = 40, 20
    runs = [conditional_monte_carlo(PLAN, 70, 1_000, proposal=q) for q in (tilted, Proposal(PLAN, means))]
    assert runs[0].value == runs[1].value


def test_plan_without_a_task_on_every_path_cannot_be_conditioned():
    plan = Project({"a": 1, "b": 1, "c": 1}, {"b": ["a"]})
    with pytest.raises(ValueError, match="not a mixture"):
        conditional_monte_carlo(PLAN, 70, 10, proposal=mixture([scaled(PLAN, 2)]))
    with pytest.raises(ValueError, match=r"no task lies on every path.*use importance_sampling"):
        conditional_monte_carlo(plan, 5, 100)


# Reproducible


@estimators
def test_same_seed_same_estimate_on_any_number_of_threads(estimate):
    runs = [estimate(deadline=40, n=345_678, seed=7, threads=threads) for threads in (1, 2, 3, None)]
    assert all(run.n == 345_678 for run in runs)
    for run in runs[1:]:
        assert run.value == pytest.approx(runs[0].value, rel=1e-12)
        assert run.std_error == pytest.approx(runs[0].std_error, rel=1e-12)
        assert run.pareto_k == pytest.approx(runs[0].pareto_k, rel=1e-9, nan_ok=True)
        assert (run.n_hits, run.max_weight_share) == (runs[0].n_hits, pytest.approx(runs[0].max_weight_share))


@estimators
def test_other_seed_other_estimate(estimate):
    values = {estimate(deadline=20, n=20_000, seed=seed).value for seed in (0, 1, 2, 2**40)}
    assert len(values) == 4


def test_chunks_of_one_run_share_no_draws():
    """Two chunks that repeated each other would halve the information: the spread over seeds tells."""
    n = 2 * parallel.chunk_size(len(PLAN.tasks))
    p = float(LAW.sf(20))
    z = [(monte_carlo(PLAN, 20, n, seed).value - p) / math.sqrt(p * (1 - p) / n) for seed in range(300)]
    # The variance of 300 standard normals has standard error sqrt(2 / 300); with repeats it would be 2.
    assert abs(np.var(z) - 1) < 4 * math.sqrt(2 / 300)


def test_sampling_from_the_plan_itself_is_plain_monte_carlo():
    plain = monte_carlo(PLAN, 30, 50_000, seed=3)
    assert plain.kind == "hits"
    assert importance_sampling(PLAN, 30, scaled(PLAN, 1), 50_000, seed=3) == plain
    assert importance_sampling(PLAN, 30, CRITICAL, 1_000).kind == "weights"
    assert conditional_monte_carlo(PLAN, 30, 1_000).kind == "weights"


@estimators
def test_one_draw_is_enough(estimate):
    found = estimate(deadline=10, n=1)
    assert isinstance(found, Estimate)
    assert found.n == 1
    assert found.value >= 0


def test_a_deadline_no_project_misses_gives_a_bound():
    found = monte_carlo(PLAN, 1_000, 1_000)
    assert (found.value, found.n_hits) == (0, 0)
    assert found.interval() == (0, pytest.approx(1 - 0.05 ** (1 / 1_000)))


@estimators
@pytest.mark.parametrize("deadline", [0, -5])
def test_every_project_misses_a_deadline_in_the_past(estimate, deadline):
    found = estimate(deadline=deadline, n=2_000)
    # Weights average to one only within their own error; without weights the answer is exact.
    assert abs(found.value - 1) <= 5 * found.std_error + 1e-12
    assert found.n_hits == 2_000


# Bad arguments


@estimators
@pytest.mark.parametrize(
    ("how", "told"),
    [
        ({"n": 0}, "n must be a whole number of at least 1; got 0"),
        ({"n": -3}, "n must be a whole number of at least 1; got -3"),
        ({"n": 1.5}, "n must be a whole number of at least 1; got 1.5"),
        ({"n": math.inf}, "n must be a whole number of at least 1; got inf"),
        ({"n": math.nan}, "n must be a whole number of at least 1; got nan"),
        ({"n": "10"}, "n must be a whole number of at least 1; got '10'"),
        ({"seed": -1}, "the seed must be a whole number of at least 0; got -1"),
        ({"seed": None}, "the seed must be a whole number of at least 0; got None"),
        ({"seed": 0.5}, "the seed must be a whole number of at least 0; got 0.5"),
        ({"threads": 0}, "threads must be a whole number of at least 1; got 0"),
        ({"threads": 1.5}, "threads must be a whole number of at least 1; got 1.5"),
    ],
)
def test_arguments_out_of_range_are_refused(estimate, how, told):
    with pytest.raises(ValueError, match=told):
        estimate(**{"deadline": 70, "n": 10, **how})


@pytest.mark.parametrize("simulate", [importance_sampling, conditional_monte_carlo])
def test_proposal_for_another_plan_is_refused(simulate):
    other = PLAN.with_means(2 * PLAN.means)
    with pytest.raises(ValueError, match="made for another plan"):
        simulate(PLAN, 70, n=10, proposal=scaled(other, 2))
    with pytest.raises(ValueError, match="made for another plan"):
        simulate(PLAN, 70, n=10, proposal=mixture([scaled(other, 2)]))


# Long runs


@estimators
def test_memory_does_not_grow_with_the_number_of_projects(estimate):
    peaks = []
    for n in (200_000, 2_000_000):
        tracemalloc.start()
        estimate(deadline=20, n=n, threads=1)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # Fitting k-hat to 3 sqrt(n) weights takes some 6 MB; keeping every late weight would take 10 MB more.
    assert peaks[1] - peaks[0] < 8e6


@pytest.mark.parametrize(("patience", "shown"), [(0, True), (3600, False)])
def test_progress_shows_only_on_long_runs(monkeypatch, patience, shown):
    monkeypatch.setattr(simulation, "_PATIENCE_SECONDS", patience)
    screen = io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    monte_carlo(PLAN, 70, 400_000)
    assert ("projects" in screen.getvalue()) == shown


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="needs a signal sent to one thread")
@pytest.mark.parametrize("threads", [1, 2])
def test_interrupted_run_stops_and_leaves_no_thread_behind(threads):
    drawn = []

    class Interrupting(Proposal):
        def draw(self, rng, n):
            drawn.append(n)
            if len(drawn) == 40:
                signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            return super().draw(rng, n)

    before = set(threading.enumerate())
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            importance_sampling(PLAN, 70, Interrupting(PLAN, 2 * PLAN.means), 10**9, threads=threads)
    finally:
        signal.signal(signal.SIGINT, handler)
    assert set(threading.enumerate()) <= before
    # Of 100,000 chunks; those in flight may end.
    assert len(drawn) < 1_000
