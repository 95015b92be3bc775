"""Control variates, antithetic and stratified draws, Sobol points: right, honest about their error, and worth it."""

import itertools
import math
import tracemalloc

import numpy as np
import pytest
from scipy import stats

from course_lib.projects import (
    Project,
    antithetic,
    completion_law,
    control_variates,
    durations,
    monte_carlo,
    sobol,
    stratified,
)
from course_lib.projects.variance_reduction import _longest_paths

PLAN = Project.example()
LAW = completion_law(PLAN)
PATHS = ["1 2 4 10", "1 2 5 9 10", "1 3 8 10", "1 3 6 9 10", "1 3 7 9 10"]
METHODS = [control_variates, antithetic, stratified, sobol]
methods = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__name__)
quantities = pytest.mark.parametrize("deadline", [None, 15, 30], ids=["mean", "day 15", "day 30"])


def exact(deadline):
    return LAW.mean if deadline is None else float(LAW.sf(deadline))


def variance(deadline):
    """Of one plain draw."""
    return LAW.std**2 if deadline is None else exact(deadline) * (1 - exact(deadline))


# Right, with an error that is right


@quantities
@methods
def test_mean_and_error_over_many_seeds(method, deadline):
    """Over seeds the values average to the exact one, and spread as their errors say."""
    found = [method(PLAN, 2**13, deadline, seed, runs=16 if deadline is None else 2) for seed in range(60)]
    values, errors = np.array([(e.value, e.std_error) for e in found]).T
    assert abs(values.mean() - exact(deadline)) < 4 * values.std(ddof=1) / math.sqrt(60)
    # Both are variances of the mean; the first has a relative standard error of sqrt(2 / 59), the second less.
    ratio = values.var(ddof=1) / np.mean(errors**2)
    assert abs(math.log(ratio)) < 4 * (math.sqrt(2 / 59) + math.sqrt(2 / 60 / (found[0].runs - 1)))


@methods
def test_intervals_cover(method):
    covered = 0
    for seed in range(200):
        low, high = method(PLAN, 2**11, None, 1000 + seed, runs=10).interval()
        covered += low <= LAW.mean <= high
    assert covered >= stats.binom(200, 0.95).ppf(1e-4)


@pytest.mark.parametrize(
    ("method", "deadline", "least", "most"),
    [
        pytest.param(antithetic, None, 1.6, 1.8, id="pairs"),
        pytest.param(stratified, None, 13, 19, id="hypercubes"),
        pytest.param(sobol, None, 400, 1200, id="Sobol points"),
        pytest.param(sobol, 30, 3, 9, id="Sobol points meet a jump"),
    ],
)
def test_what_each_saves(method, deadline, least, most):
    """The ratio of plain Monte Carlo's variance to this one's; a range, as it depends on the size of a run, 8,192."""
    estimate = method(PLAN, 200 * 2**13, deadline, seed=3, runs=200)
    ratio = variance(deadline) / (estimate.n * estimate.std_error**2)
    slack = 1 + 4 * math.sqrt(2 / 199)
    assert least / slack < ratio < most * slack


@pytest.mark.parametrize("deadline", [None, 30], ids=["durations", "paths"])
def test_control_variates_save_what_a_regression_explains(deadline):
    """By hand: the variance of 400,000 plain draws over that of their residuals, whose relative errors are small."""
    drawn = PLAN.draw(np.random.default_rng(0), 400_000)
    times, controls = PLAN.completion_times(drawn), drawn
    if deadline is not None:
        along = [drawn[:, PLAN.task_indices(path.split())].sum(axis=1) >= deadline for path in PATHS]
        times, controls = (times >= deadline).astype(float), np.stack(along, axis=1).astype(float)
    design = np.column_stack([np.ones(len(times)), controls])
    residuals = times - design @ np.linalg.lstsq(design, times)[0]
    estimate = control_variates(PLAN, 200 * 2**13, deadline, seed=3, runs=200)
    ratio = variance(deadline) / (estimate.n * estimate.std_error**2)
    assert abs(math.log(ratio * residuals.var() / times.var())) < 4 * math.sqrt(2 / 199)


def test_regression_is_the_one_of_numpy():
    """One run of control variates is an ordinary regression; the constant is the estimate."""
    plan = Project({"a": 2, "b": 3, "c": durations.Lognormal(1, 0.5)}, {"b": ["a"]})
    runs = []
    for number in range(2):
        rng = np.random.Generator(np.random.SFC64(np.random.SeedSequence(5, spawn_key=(number,))))
        drawn = plan.draw(rng, 500)
        design = np.column_stack([np.ones(500), drawn - plan.means])
        runs.append(np.linalg.lstsq(design, plan.completion_times(drawn))[0][0])
    assert control_variates(plan, 1000, seed=5, runs=2).value == pytest.approx(np.mean(runs), rel=1e-9)


def test_sums_have_no_error_left():
    """Tasks in a row: D is a sum of durations, so that the regression explains all of it."""
    series = Project({"a": 2, "b": 3, "c": 4}, {"b": ["a"], "c": ["b"]})
    estimate = control_variates(series, 3200)
    assert estimate.value == pytest.approx(9, rel=1e-9)
    assert estimate.std_error < 1e-9
    late = control_variates(series, 32_000, deadline=12)
    assert late.value == pytest.approx(float(completion_law(series).sf(12)), rel=1e-9)


# Any plan

OTHERS = {
    "three points": Project(
        {task: durations.Pert(mean / 2, mean, 3 * mean) for task, mean in zip(PLAN.tasks, PLAN.means, strict=True)},
        PLAN.predecessors,
    ),
    "some fixed": Project(
        {
            task: durations.Fixed(mean) if task in "159" else durations.Lognormal(mean, 1)
            for task, mean in zip(PLAN.tasks, PLAN.means, strict=True)
        },
        PLAN.predecessors,
    ),
    "common factor": PLAN.correlated(common_factor=0.3),
    "copula": PLAN.correlated(copula=0.4),
}


@pytest.mark.parametrize("name", OTHERS)
@methods
def test_other_laws(method, name):
    plan = OTHERS[name]
    plain = monte_carlo(plan, 25, 400_000, seed=9)
    found = method(plan, 2**18, 25)
    assert abs(found.value - plain.value) < 5 * math.hypot(plain.std_error, found.std_error)
    times = plan.completion_times(plan.draw(np.random.default_rng(1), 200_000))
    mean = method(plan, 2**16)
    assert abs(mean.value - times.mean()) < 5 * math.hypot(mean.std_error, times.std() / math.sqrt(200_000))


def test_a_common_factor_is_no_control_of_paths():
    """What a path takes by itself is not known then, and a wrong mean would bias the answer by a factor."""
    plan = OTHERS["common factor"]
    found, plain = control_variates(plan, 2**17, 40), monte_carlo(plan, 40, 2_000_000)
    assert abs(found.value - plain.value) < 5 * math.hypot(plain.std_error, found.std_error)


@pytest.mark.parametrize("n_tasks", [1, 60])
@methods
def test_small_and_large_plans(method, n_tasks):
    """The mean of the longest of equal exponentials is a harmonic number."""
    plan = Project({f"t{j}": 3 for j in range(n_tasks)})
    found = method(plan, 2**17)
    wanted = 3 * sum(1 / j for j in range(1, n_tasks + 1))
    assert abs(found.value - wanted) < 5 * found.std_error + 1e-9


def test_longest_paths():
    named = [[PLAN.tasks[j] for j in path] for path in _longest_paths(PLAN)]
    assert sorted(named) == sorted(path.split() for path in PATHS)
    days = [float(PLAN.means[path].sum()) for path in _longest_paths(PLAN)]
    assert days == sorted(days, reverse=True)


def test_longest_paths_of_many():
    """Ten of the 4,096 paths of twelve layers of two tasks, and the right ten."""
    tasks = {f"{layer}{side}": 1 + 0.01 * layer * side for layer in range(12) for side in (0, 1)}
    waits = {f"{a}{s}": [f"{a - 1}0", f"{a - 1}1"] for a in range(1, 12) for s in (0, 1)}
    plan = Project(tasks, waits)
    lengths = sorted((12 + 0.01 * sum(chosen) for chosen in subsets(range(12))), reverse=True)[:10]
    found = [float(plan.means[path].sum()) for path in _longest_paths(plan)]
    assert found == pytest.approx(lengths)


def subsets(items):
    items = list(items)
    return itertools.chain.from_iterable(itertools.combinations(items, k) for k in range(len(items) + 1))


# What the caller is promised


@methods
def test_same_seed_same_answer_on_any_number_of_threads(method):
    assert len({method(PLAN, 40_000, seed=2, runs=5, threads=threads).value for threads in (1, 2, 3)}) == 1
    assert len({method(PLAN, 40_000, seed=seed, runs=5).value for seed in range(5)}) == 5


@methods
def test_what_is_counted(method):
    estimate = method(PLAN, 50_001, 20, runs=16)
    in_run = {antithetic: 3124, sobol: 2048}.get(method, 3125)
    assert estimate.n == 16 * in_run
    assert (estimate.kind, estimate.runs) == ("runs", 16)


@pytest.mark.parametrize(("deadline", "wanted"), [(0, 1.0), (2.5, 0.0)], ids=["all", "none"])
@methods
def test_a_deadline_that_all_or_none_meet(method, deadline, wanted):
    plan = Project({"a": durations.Uniform(1, 2)})
    if method is control_variates:
        with pytest.raises(ValueError, match="too few, or too many, to fit 1 controls; raise n"):
            method(plan, 6400, deadline)
    else:
        assert method(plan, 6400, deadline).value == wanted


@pytest.mark.parametrize("method", [antithetic, stratified, sobol], ids=lambda method: method.__name__)
def test_nothing_seen_is_not_nothing(method):
    assert "every one of the 32 runs found 0" in str(method(PLAN, 6400, 140))


@methods
def test_memory_does_not_grow_with_the_number_of_projects(method):
    tracemalloc.start()
    try:
        peaks = []
        for n in (2 * 2**14, 2 * 2**18):
            tracemalloc.reset_peak()
            method(PLAN, n, 20, runs=2, threads=1)
            peaks.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()
    assert peaks[1] < 2 * peaks[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param({"n": 0}, "n must be", id="no projects"),
        pytest.param({"n": 1.5}, "n must be", id="half a project"),
        pytest.param({"n": 31}, "31 projects in 32 runs are 0 in each; a run needs", id="fewer than runs"),
        pytest.param({"runs": 1}, "runs must be", id="one run"),
        pytest.param({"seed": -1}, "the seed must be", id="negative seed"),
        pytest.param({"threads": 0}, "threads must be", id="no threads"),
        pytest.param({"deadline": math.nan}, "the deadline", id="no deadline"),
        pytest.param({"deadline": "soon"}, "the deadline", id="a word"),
    ],
)
@methods
def test_bad_input(method, arguments, message):
    with pytest.raises(ValueError, match=message):
        method(PLAN, **{"n": 6400} | arguments)


def test_too_few_late_projects_for_a_regression():
    """Fitted to three late projects, the regression would report an error of nothing."""
    with pytest.raises(ValueError, match=r"in a run of 1,000 projects 0 are late, .* use importance_sampling or split"):
        control_variates(PLAN, 32_000, deadline=70)


def test_too_many_tasks_for_sobol_points():
    plan = Project({f"t{j}": 1 for j in range(21_202)})
    with pytest.raises(ValueError, match=r"at most 21,201 coordinates, and this plan needs 21,202; use stratified"):
        sobol(plan, 64)
