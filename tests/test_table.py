"""Plans of tasks with other laws: as tables, with what a bad row is told, and with durations that are correlated."""

import math
from itertools import combinations

import numpy as np
import pytest
from scipy import special, stats

from course_lib.projects import Project
from course_lib.projects.durations import (
    Exponential,
    Fixed,
    Gamma,
    Hyperexponential,
    Lognormal,
    Pert,
    Triangular,
    Uniform,
    erlang,
    symmetric,
)

HEADER = "task,predecessors,mean_days,distribution,cv,optimistic,most_likely,pessimistic\n"
POINTS = "task,predecessors,distribution,optimistic,most_likely,pessimistic\n"


@pytest.fixture
def read(tmp_path):
    """Reads a plan from the text of a CSV file."""

    def from_text(text):
        path = tmp_path / "plan.csv"
        path.write_text(text, encoding="utf-8")
        return Project.from_csv(path)

    return from_text


@pytest.mark.parametrize(
    ("cells", "law"),
    [
        ("4,,,,,", Exponential(4)),
        ("4,exponential,,,,", Exponential(4)),
        ("4,gamma,0.6,,,", Gamma(4, 0.6)),
        ("4,erlang,0.5,,,", erlang(4, 4)),
        ("4,erlang,0.58,,,", erlang(4, 3)),
        ("4,erlang,1,,,", erlang(4, 1)),
        ("4,hyperexponential,1.5,,,", Hyperexponential.from_cv(4, 1.5)),
        ("4,lognormal,0.8,,,", Lognormal(4, 0.8)),
        ("4,fixed,,,,", Fixed(4)),
        (",triangular,,1,2,6", Triangular(1, 2, 6)),
        (",pert,,1,2,6", Pert(1, 2, 6)),
        (",uniform,,1,,6", Uniform(1, 6)),
        ("4,triangular,0.2,,,", symmetric(Triangular, 4, 0.2)),
        ("4,pert,0.2,,,", symmetric(Pert, 4, 0.2)),
        ("4,uniform,0.2,,,", symmetric(Uniform, 4, 0.2)),
        ("4, LogNormal , 0.8 ,,,", Lognormal(4, 0.8)),
        (",PERT,, 1 ,2,6", Pert(1, 2, 6)),
        ("2.5,pert,,1,2,6", Pert(1, 2, 6)),
        ("2.6,pert,,1,2,6", Pert(1, 2, 6)),
        ("3.5,uniform,,1,,6", Uniform(1, 6)),
    ],
)
def test_every_distribution_is_read(read, cells, law):
    plan = read(HEADER + f"a,,{cells}\nb,a,1,,,,,\n")
    assert plan.durations == (law, Exponential(1))
    assert plan.means.tolist() == [law.mean, 1]
    assert plan.predecessors == {"a": (), "b": ("a",)}


def test_three_points_make_up_for_a_mean(read):
    rows = "a,,pert,1,2,6\nb,a,triangular,2,2,3\nc,a,uniform,2,,3\n"
    assert read(POINTS + rows).durations == (Pert(1, 2, 6), Triangular(2, 2, 3), Uniform(2, 3))
    two = "task,predecessors,distribution,optimistic,pessimistic\n"
    assert read(two + "a,,uniform,2,3\n").durations == (Uniform(2, 3),)


def test_columns_come_in_any_order_and_case_among_others(read):
    text = "CV,note,Distribution,task,Mean_Days,predecessors\n0.8,wet,lognormal,a,4,\n,,,b,2,a\n"
    assert read(text) == Project({"a": Lognormal(4, 0.8), "b": 2}, {"b": ["a"]})


def test_a_table_without_the_new_columns_reads_as_before(read):
    plan = read("task,predecessors,mean_days\na,,4\nb,a,2.5\n")
    assert plan == Project({"a": 4, "b": 2.5}, {"b": ["a"]})
    assert plan.durations == (Exponential(4), Exponential(2.5))
    assert plan.common_factor == 0 and plan.copula is None


@pytest.mark.parametrize(
    ("cells", "told"),
    [
        ("4,weibull,2,,,", ["no distribution 'weibull'", "write one of exponential, gamma, erlang", "or nothing"]),
        ("4,gamma,,,,", ["gamma takes mean_days, cv", "it lacks cv"]),
        (",lognormal,0.5,,,", ["lognormal takes mean_days, cv", "it lacks mean_days"]),
        (",gamma,,,,", ["it lacks mean_days and cv"]),
        ("4,gamma,0.5,1,,", ["gamma takes mean_days, cv", "empty the others, or name another distribution"]),
        ("4,,0.5,,,", ["exponential takes mean_days", "empty the others"]),
        ("4,fixed,,1,2,6", ["fixed takes mean_days alone", "write pert, triangular or uniform"]),
        (",fixed,,,,", ["''", "is not a number", "2.5"]),
        (",,,1,2,6", ["exponential takes mean_days alone", "write pert, triangular or uniform"]),
        (",pert,,1,,6", ["pert takes optimistic, most_likely, pessimistic", "it lacks most_likely"]),
        (",uniform,,1,2,6", ["uniform takes optimistic, pessimistic", "empty the others"]),
        ("4,pert,0.2,1,2,6", ["pert takes mean_days, cv", "empty the others"]),
        (",pert,0.2,,,", ["pert takes mean_days, cv", "it lacks mean_days"]),
        ("2.7,pert,,1,2,6", ["mean_days says 2.7", "these points have mean 2.5", "correct one of them"]),
        ("soon,pert,,1,2,6", ["'soon'", "is not a number"]),
        ("4,gamma,some,,,", ["cv 'some' is not a number", "4 or 0.5"]),
        ("4,gamma,1_0,,,", ["cv '1_0' is not a number"]),
        (",pert,,1,two,6", ["most_likely 'two' is not a number"]),
        (",pert,,1,nan,6", ["the most likely duration must be a number of days"]),
        (",pert,,3,2,6", ["optimistic 3, most likely 2", "in this order"]),
        ("0,lognormal,0.5,,,", ["the mean duration is 0", "positive"]),
        ("4,lognormal,-1,,,", ["coefficient of variation must be a positive, finite number", "-1"]),
        ("4,hyperexponential,0.9,,,", ["above 1; got 0.9", "use gamma"]),
        ("4,erlang,0.6,,,", ["an Erlang has a cv of 1, 0.707, 0.577, 0.5", "got 0.6"]),
        ("4,erlang,1.5,,,", ["an Erlang has a cv of 1", "got 1.5"]),
        ("4,erlang,0,,,", ["an Erlang has a cv of 1", "got 0"]),
        ("4,erlang,nan,,,", ["an Erlang has a cv of 1", "got nan"]),
        ("4,erlang,inf,,,", ["an Erlang has a cv of 1", "got inf"]),
        ("4,erlang,1e-200,,,", ["an Erlang has a cv of 1", "got 1e-200"]),
        ("4,triangular,0.5,,,", ["shortest duration would be negative", "give 0.41 at most"]),
        ("4,gamma,0.5", ["5 cells where the header has 8; add commas for empty cells"]),
    ],
)
def test_bad_row_is_named_with_its_task_and_the_way_to_mend_it(read, cells, told):
    with pytest.raises(ValueError) as error:
        read(HEADER + f"a,,1,,,,,\nb,a,{cells}\n")
    for part in ["plan.csv, row 3, task 'b': ", *told]:
        assert part in str(error.value)
    assert str(error.value).endswith(".")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (POINTS + "a,,,,,\n", ["row 2, task 'a'", "''", "is not a number"]),
        (POINTS + "a,,fixed,,,\n", ["row 2, task 'a'", "''", "is not a number"]),
        ("task,predecessors,distribution,cv\na,,gamma,0.5\n", ["no column 'mean_days'"]),
        ("task,predecessors,mean_days,cv,cv\na,,1,,\n", ["more than one column 'cv'"]),
        ("task,predecessors,mean_days,distribution,Distribution\na,,1,,\n", ["more than one column 'distribution'"]),
    ],
)
def test_a_table_without_the_columns_that_it_needs_is_refused(read, content, told):
    with pytest.raises(ValueError) as error:
        read(content)
    for part in ["plan.csv", *told]:
        assert part in str(error.value)


# Correlated plans

PLAN = Project({"a": Lognormal(4, 0.8), "b": Pert(1, 2, 6), "c": 3}, {"c": ["a", "b"]})
PAIRS = list(combinations(range(3), 2))
N = 200_000


def average_is(values, expected):
    return abs(values.mean() - expected) < 4.5 * values.std() / math.sqrt(values.size)


def correlation(x):
    return np.array([np.corrcoef(x.T)[pair] for pair in PAIRS])


def test_a_common_factor_multiplies_all_tasks_of_a_project():
    plan = PLAN.correlated(common_factor=0.3)
    t, alone = plan.draw(np.random.default_rng(3), N), PLAN.draw(np.random.default_rng(3), N)
    factor = t / alone  # the same seed draws the same durations first
    assert np.ptp(factor, axis=1).max() < 1e-12
    assert average_is(factor[:, 0], 1)
    assert average_is((factor[:, 0] - 1) ** 2, 0.3**2)
    assert (correlation(t) > 4.5 / math.sqrt(N)).all()


@pytest.mark.parametrize("how", [{}, {"common_factor": 0.3}, {"copula": 0.5}, {"common_factor": 0.3, "copula": 0.5}])
def test_draws_and_normal_numbers_make_the_same_durations(how):
    plan = PLAN.correlated(**how)
    t = plan.draw(np.random.default_rng(4), N)
    other = plan.from_normals(np.random.default_rng(5).standard_normal((N, plan.n_normals)))
    for j, law in enumerate(PLAN.durations):
        assert average_is(t[:, j], law.mean) and average_is(other[:, j], law.mean)
        assert stats.ks_2samp(t[:, j], other[:, j]).pvalue > 1e-4
    # The correlation of logarithms, which are nearly normal: its standard error is at most about 1 over root n.
    assert correlation(np.log(t)) == pytest.approx(correlation(np.log(other)), abs=4.5 * math.sqrt(2 / N))


@pytest.mark.parametrize("copula", [0.5, [[1, 0.5, -0.2], [0.5, 1, 0.1], [-0.2, 0.1, 1]]])
def test_a_copula_correlates_the_normal_numbers_and_keeps_each_law(copula):
    t = PLAN.correlated(copula=copula).draw(np.random.default_rng(6), N)
    hazards = np.stack([law.hazard(t[:, j]) for j, law in enumerate(PLAN.durations)], axis=-1)
    scores = -special.ndtri_exp(-hazards)
    expected = [0.5 if copula == 0.5 else copula[i][j] for i, j in PAIRS]
    assert correlation(scores) == pytest.approx(expected, abs=4.5 / math.sqrt(N))
    assert min(stats.kstest(column, "expon").pvalue for column in hazards.T) > 1e-4


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ({"common_factor": -0.1}, "must be 0 or more, and finite; got -0.1"),
        ({"common_factor": math.inf}, "must be 0 or more, and finite"),
        ({"copula": np.eye(2)}, r"matrix of shape \(3, 3\); got \(2, 2\)"),
        ({"copula": [[1, 0.5, 0], [0.4, 1, 0], [0, 0, 1]]}, "must be symmetric"),
        ({"copula": 2 * np.eye(3)}, "with 1 on its diagonal"),
        ({"copula": -0.5}, "contradict each other"),
        ({"copula": 1.0}, "not positive definite"),
        ({"copula": math.nan}, "must be symmetric"),
        ({"common_factor": "much"}, "common factor's standard deviation must be a number"),
    ],
)
def test_correlations_that_cannot_be_are_refused_in_a_sentence(how, told):
    with pytest.raises(ValueError, match=told):
        PLAN.correlated(**how)


def test_other_means_keep_the_correlation_and_equality_notices_it_and_the_law():
    plan = PLAN.correlated(0.3, 0.5)
    assert plan.with_means(2 * PLAN.means).with_means(PLAN.means) == plan
    assert plan == PLAN.correlated(0.3, 0.5) and hash(plan) == hash(PLAN.correlated(0.3, 0.5))
    assert PLAN.correlated() == PLAN != plan
    assert plan.correlated() == PLAN
    for other in (PLAN.correlated(0.3), PLAN.correlated(0.3, 0.4), PLAN.correlated(0.2, 0.5), PLAN.correlated(0, 0.5)):
        assert other != plan
    assert Project({"a": 4}) != Project({"a": Fixed(4)})


def test_normal_numbers_of_another_shape_are_refused():
    plan = PLAN.correlated(0.3)
    assert (PLAN.n_normals, plan.n_normals) == (3, 4)
    assert plan.from_normals(np.zeros((2, 5, 4))).shape == (2, 5, 3)
    for wrong in (np.zeros(3), np.zeros((4, 3)), 0.0):
        with pytest.raises(ValueError, match="z needs a last axis of 4 numbers; got shape"):
            plan.from_normals(wrong)


def test_headers_are_read_as_people_write_them(read):
    plan = read("Task, Predecessors,Distribution,Optimistic,Most likely,Pessimistic\na,,pert,1,2,6\n")
    assert plan.durations == (Pert(1, 2, 6),)


def test_a_column_of_three_points_that_is_missing_is_named(read):
    with pytest.raises(ValueError, match="pert takes optimistic, most_likely, pessimistic; it lacks pessimistic"):
        read("task,predecessors,distribution,optimistic,most_likely\na,,pert,1,2\n")
