"""Every figure of notebooks 01 and 02 has a title that says what it shows, and named axes."""

import numpy as np
import pytest
from figure_checks import check_titles_axes_and_shown_once, drawing_functions
from matplotlib.figure import Figure

from course_lib.projects import Project, completion_law, importance_sampling, late_projects, monte_carlo, plots, scaled

PLAN = Project.example()
LAW = completion_law(PLAN)
CRITICAL = scaled(PLAN, 4, PLAN.critical_path())
RNG = np.random.default_rng(0)
DURATIONS = RNG.exponential(PLAN.means, size=(500, 10))
TIMES = PLAN.completion_times(DURATIONS)
LATE = late_projects(PLAN, 70, 500)
STATES = [frozenset(), frozenset({"1"}), frozenset({"1", "2"}), frozenset({"1", "3"}), frozenset({"1", "2", "3"})]

FIGURES = {
    "draw_plan": lambda: plots.draw_plan(PLAN),
    "gantt": lambda: plots.gantt(PLAN, DURATIONS[:3]),
    "running_mean": lambda: plots.running_mean(TIMES, LAW.mean),
    "sampling_distribution": lambda: plots.sampling_distribution(TIMES, 1, LAW.mean, LAW.std),
    "error_against_n": lambda: plots.error_against_n(np.array([10, 100]), np.ones((2, 3)), LAW.std),
    "merging_paths": lambda: plots.merging_paths({"1-2": DURATIONS[:, 0] + DURATIONS[:, 1]}, TIMES),
    "chain": lambda: plots.chain(STATES, np.full(5, 0.2), day=3),
    "law_against_simulation": lambda: plots.law_against_simulation(LAW, TIMES, {"mean": LAW.mean}),
    "estimates_with_intervals": lambda: plots.estimates_with_intervals(
        {"none": monte_carlo(PLAN, 70, 10), "some": monte_carlo(PLAN, 30, 1000)}, 1e-3, "n", "Two estimates"
    ),
    "relative_error_against_deadline": lambda: plots.relative_error_against_deadline(LAW, [100, 10_000]),
    "bars_by_task": lambda: plots.bars_by_task(PLAN, {"plan": PLAN.means, "late": LATE[0]}, "days", "Late"),
    "one_task": lambda: plots.one_task(4.0, [0.45, 2.0]),
    "factor_sweep": lambda: plots.factor_sweep(
        np.array([2.0, 3.0]), {"all": np.array([5.0, 6.0])}, 30.0, {"a point": (2.0, 9.0)}
    ),
    "weight_histograms": lambda: plots.weight_histograms(PLAN, 70, [2.0, 4.0], n=1000),
    "running_estimates": lambda: plots.running_estimates({"run": TIMES}, LAW.mean, "One run"),
    "error_bars_that_lie": lambda: plots.error_bars_that_lie(
        [importance_sampling(PLAN, 70, CRITICAL, 2000, seed) for seed in range(5)], 184.9
    ),
    "late_by_longest_path": lambda: plots.late_by_longest_path(
        PLAN, LATE, CRITICAL.log_weights(LATE), PLAN.completion_times(LATE)
    ),
    "seconds_to_one_percent": lambda: plots.seconds_to_one_percent({"fast": 0.1, "slow": 20.0}),
}


def test_every_figure_is_covered():
    assert drawing_functions(plots) == set(FIGURES)


@pytest.mark.parametrize("name", FIGURES)
def test_figure_has_titles_and_named_axes_and_is_shown_once(name):
    check_titles_axes_and_shown_once(FIGURES[name])


def test_slider_redraws_for_its_value():
    explorer = plots.explore_factor(PLAN, 70, n=500)
    slider = explorer.children[0]
    explorer.update()
    slider.value = 5.0
    assert explorer.kwargs == {"factor": 5.0}
    assert isinstance(explorer.result, Figure)
