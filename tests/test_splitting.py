"""Splitting: right on average, with an honest error, for any law; and estimates that are averages of runs."""

import math

import numpy as np
import pytest
from scipy import stats

from course_lib.estimates import Estimate
from course_lib.projects import Project, completion_law, monte_carlo, splitting
from course_lib.projects.durations import (
    Exponential,
    Fixed,
    Gamma,
    Hyperexponential,
    Lognormal,
    Pert,
    Triangular,
    Twisted,
    Uniform,
    as_duration,
    erlang,
)

PLAN = Project.example()
LAW = completion_law(PLAN)
P70 = float(LAW.sf(70))
# A fifth to an eighth of the projects pass from one to the next.
LEVELS = [15, 25, 35, 45, 55, 62]
ONE_TASK = Project({"a": 4})


def with_law(of_mean):
    """The ten tasks with another law for each, from its mean."""
    laws = {task: of_mean(mean) for task, mean in zip(PLAN.tasks, PLAN.means.tolist(), strict=True)}
    return Project(laws, PLAN.predecessors)


def agrees(estimate, other, other_error=0.0, errors=4):
    return abs(estimate.value - other) < errors * math.hypot(estimate.std_error, other_error)


# Against exact laws


@pytest.fixture(scope="module")
def repeated():
    """Of ten runs only, since each takes as long for 20 projects as for 200: 16 would take half a minute."""
    return [splitting(PLAN, 70, n=1_600, seed=seed, runs=10, threads=1) for seed in range(200)]


def test_the_mean_over_many_seeds_is_the_exact_answer(repeated):
    values = np.array([estimate.value for estimate in repeated])
    error = values.std(ddof=1) / math.sqrt(len(values))
    assert abs(values.mean() - P70) < 4 * error
    # The test would notice a bias of this size.
    assert error < 0.012 * P70


def test_the_reported_error_is_the_spread_over_seeds(repeated):
    values = np.array([estimate.value for estimate in repeated])
    squares = (values - values.mean()) ** 2 * len(values) / (len(values) - 1)
    reported = np.array([estimate.std_error for estimate in repeated]) ** 2
    error = math.hypot(squares.std(), reported.std()) / math.sqrt(len(values))
    assert abs(squares.mean() - reported.mean()) < 4 * error < reported.mean()


def test_95_percent_intervals_cover_the_exact_answer(repeated):
    covering = sum(low <= P70 <= high for low, high in (estimate.interval() for estimate in repeated))
    lowest, highest = stats.binom.ppf([0.001, 0.999], len(repeated), 0.95)
    assert lowest <= covering <= highest


@pytest.mark.parametrize(("levels", "runs"), [(LEVELS, 400), ([26, 48], 1_000)], ids=["close", "far apart"])
def test_given_levels_leave_no_bias_however_small_the_runs(levels, runs):
    """Many runs of 40 projects, of which some lose all on the way and must count as zeros."""
    estimate = splitting(PLAN, 70, n=40 * runs, seed=1, runs=runs, levels=levels, threads=1)
    assert agrees(estimate, P70)
    assert estimate.std_error < 0.1 * P70


@pytest.mark.parametrize("deadline", [10, 30])
def test_without_levels_it_is_plain_monte_carlo(deadline):
    estimate, p = splitting(PLAN, deadline, n=32_000, levels=[]), float(LAW.sf(deadline))
    error = math.sqrt(p * (1 - p) / 32_000)
    assert estimate.n == 32_000
    assert abs(estimate.value - p) < 4 * error
    # The spread of 32 normals has a relative error of 1 / sqrt(62).
    assert abs(estimate.std_error / error - 1) < 4 / math.sqrt(62)


@pytest.mark.parametrize(
    "law",
    [
        Exponential(4),
        Gamma(4, 0.6),
        Gamma(4, 1.3),
        Lognormal(4, 1),
        Twisted(Lognormal(4, 1), 1.5),
        Uniform(2, 5),
        Triangular(1, 2, 6),
        Pert(1, 2, 6),
        as_duration(stats.weibull_min(0.7, scale=3)),
    ],
    ids=str,
)
def test_one_task_of_any_law_has_the_tail_of_its_law(law):
    deadline = float(law.quantile(np.array([1 - 1e-6]), np.array([1e-6]))[0])
    estimate = splitting(Project({"a": law}), deadline, n=6_400, threads=1)
    # What the quantile says is also what the hazard says.
    exact = math.exp(-float(law.hazard(np.array([deadline]))[0]))
    assert exact == pytest.approx(1e-6, rel=1e-6)
    assert agrees(estimate, exact)
    assert estimate.std_error < 0.15 * exact


def test_twenty_paths_where_cross_entropy_stalls():
    """Two tasks of three days on each: an Erlang of two stages, and the latest of twenty."""
    paths = [(f"dig {j}", f"fill {j}") for j in range(20)]
    plan = Project({task: 3 for path in paths for task in path}, {fill: [dig] for dig, fill in paths})
    exact = -math.expm1(20 * math.log1p(-stats.gamma.sf(35, 2, scale=3)))
    assert f"{exact:.6f}" == "0.002170"
    estimate = splitting(plan, 35, n=6_400)
    assert agrees(estimate, exact)
    assert estimate.std_error < 0.1 * exact


@pytest.mark.parametrize(
    ("plan", "deadline", "runs"),
    [
        pytest.param(with_law(lambda mean: erlang(mean, 2)), 55, 32, id="erlang"),
        # Newton's steps make quantiles of hyperexponentials slow: fewer runs, and only one such task.
        pytest.param(
            Project({"a": Hyperexponential.from_cv(4, 1.5), "b": erlang(3, 2), "c": 6}, {"b": ["a"]}),
            70,
            10,
            id="mixed",
        ),
    ],
)
def test_plans_of_stages_have_their_exact_tail(plan, deadline, runs):
    exact = float(completion_law(plan).sf(deadline))
    assert 1e-7 < exact < 1e-3
    estimate = splitting(plan, deadline, n=200 * runs, runs=runs, threads=1)
    assert agrees(estimate, exact)
    assert estimate.std_error < 0.15 * exact


# Where there is no exact law


def test_two_hundred_tasks_of_notebook_2():
    rng = np.random.default_rng(0)
    means, predecessors = {}, {}
    for j in range(200):
        means[f"T{j}"] = round(rng.uniform(1, 6), 1)
        if j >= 5:
            predecessors[f"T{j}"] = [f"T{i}" for i in rng.choice(np.arange(max(0, j - 12), j), 2, replace=False)]
    estimate = splitting(Project(means, predecessors), 400, n=3_200, seed=1)
    # Counted twice among 60 million projects: (6.32 ± 0.10)e-5 and (6.51 ± 0.10)e-5.
    assert agrees(estimate, 6.41e-5, 0.07e-5)
    assert estimate.std_error < 0.2 * 6.41e-5


@pytest.mark.parametrize(
    ("plan", "deadline"),
    [
        pytest.param(with_law(lambda mean: Lognormal(mean, 1)), 70, id="lognormal"),
        pytest.param(with_law(lambda mean: Pert(mean / 2, mean, 3 * mean)), 29.5, id="pert"),
        pytest.param(PLAN.correlated(copula=0.3), 70, id="copula"),
        pytest.param(PLAN.correlated(common_factor=0.3, copula=0.3), 75, id="copula and common factor"),
    ],
)
def test_other_laws_and_correlated_durations_agree_with_counting(plan, deadline):
    counted = monte_carlo(plan, deadline, n=1_000_000)
    assert 4e-4 < counted.value < 4e-3
    estimate = splitting(plan, deadline, n=3_200)
    assert agrees(estimate, counted.value, counted.std_error)
    assert estimate.std_error < 0.1 * counted.value


@pytest.mark.parametrize("deadline", [70, 100])
def test_a_common_factor_agrees_with_the_integral_over_it(deadline):
    """Given the factor F the durations are independent: P(D >= t) = E[P(D' >= t / F)]."""
    sigma = math.sqrt(math.log1p(0.3**2))
    z = np.linspace(-8, 8, 801)
    given = LAW.sf(deadline / np.exp(sigma * z - sigma**2 / 2))
    exact = float(stats.norm.pdf(z) @ given) * (z[1] - z[0])
    # The factor makes a difference that the estimate could not miss.
    assert exact > 5 * LAW.sf(deadline)
    estimate = splitting(PLAN.correlated(common_factor=0.3), deadline, n=6_400)
    assert agrees(estimate, exact)
    assert estimate.std_error < 0.1 * exact


# Reproducible


def test_same_seed_same_estimate_on_any_number_of_threads():
    runs = [splitting(PLAN, 40, n=1_600, seed=7, threads=threads) for threads in (1, 2, 3, None)]
    assert runs[0] == runs[1] == runs[2] == runs[3]
    assert repr(runs[0]) == repr(runs[1])


def test_other_seed_other_estimate():
    estimates = [splitting(PLAN, 40, n=1_600, seed=seed, threads=1) for seed in (0, 1, 2, 2**40)]
    assert len({estimate.value for estimate in estimates}) == 4


def test_n_counts_every_project_of_the_runs(monkeypatch):
    simulated = []
    plain = Project.completion_times

    def counted(plan, durations):
        simulated.append(len(durations))
        return plain(plan, durations)

    monkeypatch.setattr(Project, "completion_times", counted)
    estimate = splitting(PLAN, 40, n=1_600, threads=1, levels=[15, 27])
    assert (estimate.kind, estimate.runs) == ("runs", 32)
    # Fifty in each run, and ten steps of each at two levels; the pilot run takes as many and is not counted.
    assert estimate.n == 32 * 50 * (1 + 2 * 10)
    assert sum(simulated) == 33 * 50 * (1 + 2 * 10)


def test_a_run_that_lost_all_its_projects_simulates_no_more():
    """At seed 2 the pilot run gets there, and others do not."""
    estimate = splitting(PLAN, 70, n=1_280, seed=2, levels=[40, 60], threads=1)
    assert 32 * 40 < estimate.n < 32 * 40 * (1 + 2 * 10)


@pytest.mark.parametrize("n", [640, 670])
def test_runs_share_the_projects_and_none_gets_part_of_one(n):
    assert splitting(PLAN, 15, n=n, levels=[], threads=1).n == 640


# Certain, and impossible


@pytest.mark.parametrize(
    ("plan", "deadline"),
    [
        pytest.param(PLAN, 0, id="today"),
        pytest.param(PLAN, -5, id="past"),
        pytest.param(Project({"a": Fixed(3), "b": Fixed(4)}, {"b": ["a"]}), 7, id="fixed"),
        pytest.param(Project({"a": Uniform(1, 3), "b": Fixed(10)}), 10, id="at least as long as its fixed task"),
    ],
)
def test_what_every_project_misses_is_certain(plan, deadline):
    estimate = splitting(plan, deadline, n=640, threads=1)
    assert (estimate.value, estimate.std_error, estimate.n) == (1, 0, 640)
    assert estimate.interval() == (1, 1)
    assert estimate.against(1).agrees
    assert estimate.caveats == ()


@pytest.mark.parametrize(
    ("plan", "deadline"),
    [
        pytest.param(Project({"a": Uniform(1, 3), "b": Uniform(1, 4)}, {"b": ["a"]}), 7.5, id="uniform"),
        pytest.param(Project({"a": Fixed(3), "b": Fixed(4)}, {"b": ["a"]}), 8, id="fixed"),
        pytest.param(Project({"a": Pert(1, 2, 6), "b": Fixed(10)}), 10.5, id="fixed task longer"),
    ],
)
def test_a_deadline_that_no_project_can_miss_is_refused(plan, deadline):
    told = rf"does not get beyond .* of {deadline:g} days; raise n, or, if no project can take so long, choose an earl"
    with pytest.raises(ValueError, match=told):
        splitting(plan, deadline, n=1_600, threads=1)


def test_near_the_longest_possible_time_the_answer_is_the_corner_of_a_rectangle():
    plan = Project({"a": Uniform(1, 3), "b": Uniform(1, 4)}, {"b": ["a"]})
    estimate = splitting(plan, 6.99, n=6_400, threads=1)
    assert agrees(estimate, 0.01**2 / 2 / 6)
    assert estimate.std_error < 0.15 * estimate.value


def test_many_projects_that_take_equally_long_do_not_end_the_climb():
    """P(D >= 40) is exp(-10), and nine projects in ten take the ten days of the fixed task."""
    estimate = splitting(Project({"a": Fixed(10), "b": Exponential(4)}), 40, n=6_400, threads=1)
    assert agrees(estimate, math.exp(-10))


@pytest.mark.filterwarnings("error")
def test_a_chance_below_all_floats_is_refused_in_a_sentence():
    assert LAW.sf(4_000) == 0
    with pytest.raises(ValueError, match="4000 days"):
        splitting(PLAN, 4_000, n=640, runs=2, threads=1)


# Bad arguments


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ({"deadline": math.nan}, "the deadline must be a number of days; got nan"),
        ({"deadline": "soon"}, "the deadline must be a number of days; got 'soon'"),
        ({"deadline": math.inf}, "the deadline must be finite; got inf"),
        ({"deadline": -math.inf}, "the deadline must be finite; got -inf"),
        ({"n": 0}, "n must be a whole number of at least 1; got 0"),
        ({"n": 1.5}, "n must be a whole number of at least 1; got 1.5"),
        ({"n": 639}, "639 projects in 32 runs are 19 in each; a run needs 20, better 500"),
        ({"runs": 1}, "runs must be a whole number of at least 2; got 1"),
        ({"runs": 2.5}, "runs must be a whole number of at least 2; got 2.5"),
        ({"seed": -1}, "the seed must be a whole number of at least 0; got -1"),
        ({"seed": None}, "the seed must be a whole number of at least 0; got None"),
        ({"threads": 0}, "threads must be a whole number of at least 1; got 0"),
        ({"threads": 1.5}, "threads must be a whole number of at least 1; got 1.5"),
        ({"levels": [20, 10]}, r"levels must rise, and end before the deadline of 70 days; got \[20, 10\]"),
        ({"levels": [20, 20]}, "levels must rise, and end before"),
        ({"levels": [20, 70]}, r"end before the deadline of 70 days; got \[20, 70\]"),
        ({"levels": [80]}, r"end before the deadline of 70 days; got \[80\]"),
        ({"levels": [20, math.inf]}, "levels must rise, and end before"),
        ({"levels": [math.nan]}, "a level must be a number of days; got nan"),
        ({"levels": ["20"]}, "a level must be a number of days; got '20'"),
        ({"levels": [69]}, "no project of the pilot run passed the level of 69 days; give levels closer by"),
        ({"levels": [20, 69]}, "no project of the pilot run passed the level of 69 days"),
    ],
)
def test_arguments_out_of_range_are_refused(how, told):
    with pytest.raises(ValueError, match=told) as error:
        splitting(PLAN, **{"deadline": 70, "n": 640, "threads": 1, **how})
    assert str(error.value).endswith(".")


def test_levels_come_in_any_sequence():
    given = [splitting(PLAN, 40, 640, levels=kind([15, 27]), threads=1) for kind in (list, tuple, np.array)]
    assert given[0] == given[1] == given[2]


# Averages of runs


def test_an_average_of_runs_has_the_error_of_their_spread():
    values = np.random.default_rng(0).gamma(4, size=12)
    estimate = Estimate.from_runs(values, n=600)
    assert (estimate.kind, estimate.runs, estimate.n, estimate.n_hits) == ("runs", 12, 600, 600)
    assert estimate.value == pytest.approx(values.mean(), rel=1e-12)
    assert estimate.std_error == pytest.approx(stats.sem(values), rel=1e-12)
    assert estimate.max_weight_share == pytest.approx(values.max() / values.sum(), rel=1e-12)
    # Of draws that depend on each other these say nothing.
    assert math.isnan(estimate.ess) and math.isnan(estimate.pareto_k)
    assert estimate == Estimate.from_runs(list(values), n=600) != Estimate.from_runs(values, n=601)


@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
def test_interval_of_runs_is_student_s(level):
    values = np.random.default_rng(1).gamma(4, size=7)
    expected = stats.t.interval(level, 6, values.mean(), stats.sem(values))
    assert Estimate.from_runs(values, 70).interval(level) == pytest.approx(expected, rel=1e-9)


def test_interval_of_few_runs_covers_what_it_promises():
    samples = np.random.default_rng(2).normal(3, 1, size=(1_500, 4))
    intervals = [Estimate.from_runs(values, 400).interval() for values in samples]
    covered = np.mean([low <= 3 <= high for low, high in intervals])
    assert abs(covered - 0.95) < 4 * math.sqrt(0.95 * 0.05 / len(samples))


@pytest.mark.parametrize(
    ("values", "told"),
    [
        pytest.param([1.0, 2.0] * 4 + [3.0], "9 runs are few: the error itself is known only roughly", id="few"),
        pytest.param([1.0, 2.0] * 5, None, id="enough"),
        pytest.param([1.0] * 31 + [5.0], "one of 32 runs makes up 14% of the mean: enlarge them", id="one dominates"),
        pytest.param([1.0] * 31 + [3.0], None, id="none dominates"),
        pytest.param([0.0] * 31 + [1.0], "one of 32 runs makes up 100% of the mean: enlarge them", id="one alone"),
        pytest.param([0.0] * 32, "every one of the 32 runs found 0: this says nothing about the value", id="none"),
        pytest.param([0.0] * 2, "every one of the 2 runs found 0: this says nothing about the value", id="none of two"),
    ],
)
def test_caveats_of_runs(values, told):
    estimate = Estimate.from_runs(values, 3_200)
    assert estimate.caveats == (() if told is None else (told,))
    assert ("caution" in str(estimate)) == (told is not None)


def test_runs_that_all_found_nothing_bound_nothing():
    """The same as for weights without a hit; as it is, it disagrees with every truth."""
    nothing = Estimate.from_runs([0.0] * 32, 3_200)
    assert nothing.interval() == (0, math.inf)
    assert nothing.against(P70).agrees


def test_the_error_of_very_small_runs_does_not_vanish():
    """`splitting` gets there, at 2,000 days for the ten tasks, and then reports an error of 0."""
    values = np.random.default_rng(3).gamma(4, size=12)
    small = Estimate.from_runs(1e-200 * values, 600)
    assert small.value == pytest.approx(1e-200 * values.mean(), rel=1e-9, abs=0)
    assert small.std_error == pytest.approx(1e-200 * stats.sem(values), rel=1e-9, abs=0)


@pytest.mark.parametrize("values", [[], [0.5]])
def test_an_average_of_less_than_two_runs_is_refused(values):
    with pytest.raises(ValueError, match="at least two"):
        Estimate.from_runs(values, 100)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_runs_that_are_no_numbers_are_refused(bad):
    with pytest.raises(ValueError, match=f"is {bad}; every"):
        Estimate.from_runs([0.5, bad, 0.5], 100)


def test_runs_are_shown_in_place_of_what_tells_nothing_of_them():
    estimate = Estimate.from_runs(np.linspace(2e-5, 4e-5, 32), 32 * 3_050)
    assert str(estimate).startswith("(3.00 ± 0.11)e-05 (95 %: 2.782e-05 to 3.218e-05)")
    assert str(estimate).endswith(", runs 32, of 3,050 draws")
    assert repr(estimate) == str(estimate)
    table = estimate._repr_html_()
    assert ">runs</th><td>32, of 3,050 draws</td>" in table
    assert "ESS" not in table and "k-hat" not in table
