"""Every figure of notebooks 01 and 02 has a title that says what it shows, and named axes."""

import numpy as np
import pytest
from figure_checks import (
    TITLE,
    TITLES,
    check_described,
    check_titles_axes_and_shown_once,
    check_titles_given_are_titles_shown,
    drawing_functions,
    titled,
)

from course_lib.estimates import Estimate
from course_lib.figures import notebook_01, notebook_02, plans
from course_lib.figures.style import Figure
from course_lib.projects import Project, completion_law, importance_sampling, late_projects, monte_carlo, scaled

PLAN = Project.example()
LAW = completion_law(PLAN)
CRITICAL = scaled(PLAN, 4, PLAN.critical_path())
RNG = np.random.default_rng(0)
DURATIONS = RNG.exponential(PLAN.means, size=(500, 10))
TIMES = PLAN.completion_times(DURATIONS)
LATE = late_projects(PLAN, 70, 500)
WEIGHED = (np.log([1.0, 1.0, 2.0, 5.0]), np.array([True, True, False, False]))
STATES = [frozenset(), frozenset({"1"}), frozenset({"1", "2"}), frozenset({"1", "3"}), frozenset({"1", "2", "3"})]

DRAWING = drawing_functions(notebook_01, notebook_02, plans)
FIGURES = {
    "draw_plan": lambda: notebook_01.draw_plan(PLAN),
    "gantt": lambda: plans.gantt(PLAN, DURATIONS[:3]),
    "running_mean": lambda: notebook_01.running_mean(TIMES, LAW.mean, TITLE),
    "sampling_distribution": lambda: notebook_01.sampling_distribution(TIMES, 1, LAW.mean, LAW.std, TITLE),
    "error_against_n": lambda: notebook_01.error_against_n(np.array([10, 100]), np.ones((2, 3)), LAW.std, TITLE),
    "merging_paths": lambda: notebook_01.merging_paths({"1-2": DURATIONS[:, 0] + DURATIONS[:, 1]}, TIMES, TITLE),
    "chain": lambda: notebook_01.chain(STATES, np.full(5, 0.2), day=3),
    "law_against_simulation": lambda: notebook_01.law_against_simulation(LAW, TIMES, {"mean": LAW.mean}, TITLES),
    "tails": lambda: notebook_01.tails({"one": TIMES, "other": 2 * TIMES}, 70, TITLE),
    "control_variate": lambda: notebook_01.control_variate(DURATIONS[:, 0], TIMES, 4.0, LAW.mean, TITLE),
    "errors_of_methods": lambda: notebook_01.errors_of_methods(
        np.array([10, 100]), {"one": [3.0, 1.0], "other": [1.0, 0.1]}, LAW.std, TITLE
    ),
    "estimates_with_intervals": lambda: plans.estimates_with_intervals(
        {"none": monte_carlo(PLAN, 70, 10), "some": monte_carlo(PLAN, 30, 1000)}, 1e-3, "n", TITLE
    ),
    "relative_error_against_deadline": lambda: notebook_01.relative_error_against_deadline(LAW, [100, 10_000], TITLE),
    "bars_by_task": lambda: plans.bars_by_task(PLAN, {"plan": PLAN.means, "late": LATE[0]}, "days", TITLE),
    "one_task": lambda: notebook_02.one_task(4.0, [0.45, 2.0]),
    "factor_sweep": lambda: notebook_02.factor_sweep(
        np.array([2.0, 3.0]), {"all": np.array([5.0, 6.0])}, 30.0, {"a point": (2.0, 9.0)}, TITLE
    ),
    "weight_histograms": lambda: notebook_02.weight_histograms({2.0: WEIGHED, 4.0: WEIGHED}, {2.0: 1.5, 4.0: 1.0}),
    "running_estimates": lambda: notebook_02.running_estimates({"run": TIMES}, LAW.mean, TITLE),
    "variances_and_k_hats": lambda: notebook_02.variances_and_k_hats(
        [importance_sampling(PLAN, 70, CRITICAL, 2000, seed) for seed in range(5)], 184.9, TITLES
    ),
    "late_by_longest_path": lambda: notebook_02.late_by_longest_path(
        PLAN, LATE, CRITICAL.log_weights(LATE), PLAN.completion_times(LATE), TITLES
    ),
    "seconds_to_one_percent": lambda: notebook_02.seconds_to_one_percent({"fast": 0.1, "slow": 20.0}, TITLE),
}


def test_every_figure_is_covered():
    assert set(DRAWING) == set(FIGURES)


@pytest.mark.parametrize("name", FIGURES)
def test_figure_has_titles_and_named_axes_and_is_shown_once(name):
    check_titles_axes_and_shown_once(FIGURES[name])


@pytest.mark.parametrize("name", FIGURES)
def test_figure_says_in_words_what_it_shows(name):
    check_described(FIGURES[name])


@pytest.mark.parametrize("name", titled(DRAWING))
def test_titles_given_are_titles_shown(name):
    check_titles_given_are_titles_shown(DRAWING[name], FIGURES[name])


def test_late_draws_are_counted_and_what_they_are_worth():
    """Two late draws of one weight are worth two, whatever the others weigh; with one of nine times the weight, one."""
    log_w, late = WEIGHED
    weighed = {2.0: WEIGHED, 4.0: (log_w + np.log([9, 1, 1, 1]), late)}
    left, right = notebook_02.weight_histograms(weighed, {2.0: 1.5, 4.0: 0.021}).axes
    assert left.get_title(loc="left") == "means × 2: 2 late\nworth 2, exact 1.5"
    assert right.get_title(loc="left") == "means × 4: 2 late\nworth 1.2, exact 0.021"
    assert left.get_ylabel() == "draws out of 4"


def test_slider_weighs_and_redraws_for_its_value():
    asked = []

    def weigh(factor):
        asked.append(factor)
        return np.full(500, -factor), np.arange(500) < 100 * factor

    explorer = notebook_02.explore_factor(weigh, lambda factor: 100 * factor)
    slider = explorer.children[0]
    explorer.update()
    slider.value = 4.0
    assert explorer.kwargs == {"factor": 4.0}
    assert asked[0] == 2.0
    assert asked[-1] == 4.0
    assert isinstance(explorer.result, Figure)
    (ax,) = explorer.result.axes
    assert ax.get_title(loc="left").startswith("400 late draws, worth 400, exact 400; estimate 0.01")
    assert "× 4" in explorer.result.alt


def test_panels_of_weights_have_their_own_ranges_and_mark_their_means():
    log_w, late = WEIGHED
    figure = notebook_02.weight_histograms({2.0: WEIGHED, 8.0: (40 * log_w - 60, late)}, {2.0: 1.0, 8.0: 1.0})
    left, right = figure.axes
    assert left.get_xlim()[0] > -2 > -60 > right.get_xlim()[0]
    for ax, mean in ((left, log_w.mean()), (right, (40 * log_w - 60).mean())):
        (mark,) = (line for line in ax.lines if line.get_label().startswith("mean log-weight"))
        assert mark.get_xdata() == pytest.approx([mean, mean])


def test_lines_that_leave_the_chart_are_marked_once_a_time_and_in_the_legend():
    run = np.array([1.0] * 10 + [100.0] + [0.0] * 1_000 + [3_000.0])
    (ax,) = notebook_02.running_estimates({"run": run, "quiet": np.ones(100)}, 1.0, TITLE).axes
    marks = [line for line in ax.lines if line.get_marker() == "^" and len(line.get_xdata())]
    assert [line.get_ydata()[0] for line in marks] == [1, 1]
    assert 11 <= marks[0].get_xdata()[0] < marks[1].get_xdata()[0] == 1_012
    assert {line.get_color() for line in marks} == {ax.lines[0].get_color()}
    assert "beyond the axis" in [text.get_text() for text in ax.get_legend().get_texts()]
    (ax,) = notebook_02.running_estimates({"quiet": np.ones(100)}, 1.0, TITLE).axes
    assert len(ax.get_legend().get_texts()) == 1


def test_a_one_sided_bound_is_a_cap_with_an_arrow_from_it_to_the_edge():
    none = monte_carlo(PLAN, 70, 10)
    (ax,) = plans.estimates_with_intervals({"none": none, "some": monte_carlo(PLAN, 30, 1000)}, 1e-3, "n", TITLE).axes
    bound = none.interval()[1]
    (cap,) = (line for line in ax.lines if line.get_label().startswith("none seen"))
    assert (*cap.get_xdata(), *cap.get_ydata()) == (0, bound)
    (arrow,) = ax.texts
    assert arrow.xyann == (0, bound)
    assert arrow.xy == (0, ax.get_ylim()[0])
    assert arrow.arrow_patch.shrinkA == arrow.arrow_patch.shrinkB == 0
    assert ax.get_ylim()[1] > bound
    assert any("bound" in text.get_text() for text in ax.get_legend().get_texts())


def test_an_interval_that_goes_down_to_zero_is_marked_on_a_logarithmic_axis():
    wide = Estimate.from_log_weights(np.array([0.0, -np.inf, -np.inf, -np.inf]))
    assert wide.interval()[0] < 0
    (ax,) = plans.estimates_with_intervals({"wide": wide}, 0.1, "n", TITLE).axes
    (mark,) = (line for line in ax.lines if line.get_marker() == "v")
    assert mark.get_label() == "bar down to 0"
